//! Unpacking one layer: decode, read the archive, check, and carry out the operations.
//!
//! The archive is hostile until proven otherwise. What parses it ([`translate`]) never touches
//! the file system; what touches the file system ([`apply`]) sees only checked operations and
//! works beneath one directory descriptor.

pub(crate) mod apply;
pub(crate) mod decode;
pub(crate) mod op;
pub(crate) mod path;
pub(crate) mod remove;
pub(crate) mod tar;
pub(crate) mod tar_number;
pub(crate) mod translate;
pub(crate) mod whiteout;

use std::io::Read;
use std::thread;

use unmoor_core::image::{Digest, DigestAlgorithm};

use self::op::Sink;
use self::tar::{TarReader, stream};
use self::translate::Translator;
use crate::error::{LayerContext, LayerError, LayerProblem, shown};
use crate::hash::Hasher;
use crate::limits::Limits;

/// What a layer of an image must turn out to be.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Digest of the packed bytes.
    pub(crate) digest: Digest,
    /// Number of the packed bytes.
    pub(crate) size: u64,
    /// Digest of the unpacked bytes.
    pub(crate) diff_id: Digest,
}

/// What a layer is before it is unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// Digest of the packed bytes.
    pub(crate) digest: Digest,
    /// Number of the packed bytes.
    pub(crate) size: u64,
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Digest of the unpacked bytes.
    pub(crate) diff_id: Digest,
    /// Unpacked bytes.
    pub(crate) bytes: u64,
    /// Entries read.
    pub(crate) entries: u64,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
    /// The layer hides everything below it.
    pub(crate) opaque_root: bool,
}

/// Unpacks `source` into `sink` and proves its digest and, if known, that of its content.
///
/// `sink` is worthless after an error.
pub(crate) fn extract(
    source: impl Read + Send,
    packed: &Packed,
    diff_id: Option<&Digest>,
    sink: &mut dyn Sink,
    limits: &Limits,
) -> Result<Summary, Box<LayerError>> {
    let mut at = None;
    // A layer that is not packed has one digest; one look at it is enough.
    let once = diff_id == Some(&packed.digest);
    let result = thread::scope(|scope| {
        let outside = (!once).then(|| Hasher::like(&packed.digest));
        let inside = diff_id.map_or_else(|| Hasher::new(DigestAlgorithm::Sha256), Hasher::like);
        let start = decode::start(scope, (source, packed.size), (outside, inside), limits);
        let (unpacked, worker) = start.doing("start the unpacking thread")?;
        let mut archive = TarReader::new(unpacked, limits.clone());
        let mut translator = Translator::new(limits.clone());
        while let Some(entry) = archive.next_entry()? {
            at = Some(shown(&entry.name));
            translator.entry(entry, &mut archive, sink)?;
        }
        at = None;
        let (inside, bytes) = archive.into_source().finish().map_err(stream)?;
        let outside = worker
            .join()
            .map_err(|_| LayerProblem::format("the decoder failed"))?;
        if outside.size != packed.size {
            return Err(LayerProblem::Size {
                wanted: packed.size,
                found: outside.size,
            });
        }
        let found = outside.digest.unwrap_or_else(|| inside.clone());
        if found != packed.digest {
            return Err(LayerProblem::Digest { found });
        }
        match diff_id {
            Some(wanted) if *wanted != inside => Err(LayerProblem::DiffId {
                wanted: wanted.clone(),
                found: inside,
            }),
            _ => Ok(translator.summary(inside, bytes)),
        }
    });
    result.map_err(|problem| {
        let layer = packed.digest.clone();
        Box::new(LayerError {
            layer,
            entry: at,
            problem,
        })
    })
}

#[cfg(test)]
mod tests;
