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

#[cfg(test)]
mod tests;

use std::io::Read;
use std::thread;

use unmoor_core::image::Digest;

use self::op::Sink;
use self::tar::{TarReader, stream};
use self::translate::Translator;
use crate::error::{LayerContext, LayerError, LayerProblem, shown};
use crate::hash::Hasher;
use crate::limits::Limits;

/// What a layer must turn out to be.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Digest of the packed bytes.
    pub(crate) digest: Digest,
    /// Number of the packed bytes.
    pub(crate) size: u64,
    /// Digest of the unpacked bytes.
    pub(crate) diff_id: Digest,
}

/// What became of a layer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Unpacked bytes.
    pub(crate) bytes: u64,
    /// Entries read.
    pub(crate) entries: u64,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
    /// The layer hides everything below it.
    pub(crate) opaque_root: bool,
}

/// Unpacks `source` into `sink` and proves both digests; `sink` is worthless after an error.
pub(crate) fn extract(
    source: impl Read + Send,
    expected: &Expected,
    sink: &mut dyn Sink,
    limits: &Limits,
) -> Result<Summary, LayerError> {
    let mut at = None;
    let result = thread::scope(|scope| {
        let hashers = (
            Hasher::like(&expected.digest),
            Hasher::like(&expected.diff_id),
        );
        let (unpacked, worker) = decode::start(scope, (source, expected.size), hashers, limits)
            .doing("start the unpacking thread")?;
        let mut archive = TarReader::new(unpacked, limits.clone());
        let mut translator = Translator::new(limits.clone());
        while let Some(entry) = archive.next_entry()? {
            at = Some(shown(&entry.name));
            translator.entry(entry, &mut archive, sink)?;
        }
        at = None;
        let (diff_id, bytes) = archive.into_source().finish().map_err(stream)?;
        let packed = worker
            .join()
            .map_err(|_| LayerProblem::format("the decoder failed"))?;
        verify(expected, &packed, diff_id)?;
        Ok(translator.summary(bytes))
    });
    result.map_err(|problem| LayerError {
        layer: expected.digest.clone(),
        entry: at,
        problem,
    })
}

fn verify(
    expected: &Expected,
    packed: &decode::Packed,
    diff_id: Digest,
) -> Result<(), LayerProblem> {
    if packed.size != expected.size {
        return Err(LayerProblem::Size {
            wanted: expected.size,
            found: packed.size,
        });
    }
    if packed.digest != expected.digest {
        return Err(LayerProblem::Digest {
            found: packed.digest.clone(),
        });
    }
    if diff_id != expected.diff_id {
        return Err(LayerProblem::DiffId {
            wanted: expected.diff_id.clone(),
            found: diff_id,
        });
    }
    Ok(())
}
