//! Unpacked layers: each content once, shared by every image and container.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::fs::{self as sys, AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use unmoor_core::image::Digest;

use super::blob::copy;
use super::{Store, StoredImage};
use crate::error::{ImageError, IoContext, LayerContext, LayerError, LayerProblem};
use crate::extract::apply::Applier;
use crate::extract::remove::{remove_tree, unique};
use crate::extract::{Expected, Packed, extract};
use crate::hash::{Hasher, HashingWriter};

/// How many layers are unpacked at once; each takes up to two processors.
const AT_ONCE: usize = 2;

/// The name of an unpacked layer beneath [`Store::layer_dir`].
///
/// It is made from the digest of the unpacked content: 26 lower-case letters and digits, safe in
/// paths and mount options, and long enough that no two contents can be made to share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

impl LayerId {
    const LENGTH: usize = 26;
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// The id of content with this digest.
    pub fn of(diff_id: &Digest) -> Self {
        let mut bits = 0_u32;
        let mut held = 0;
        let mut text = String::with_capacity(Self::LENGTH);
        // Five bits a letter: 33 digits are enough for 26 letters.
        for digit in diff_id.hex().chars().take(Self::LENGTH * 5 / 4 + 1) {
            bits = (bits << 4) | digit.to_digit(16).unwrap_or(0);
            held += 4;
            if held >= 5 {
                held -= 5;
                let index = (bits >> held) & 31;
                text.push(char::from(Self::LETTERS[index as usize]));
            }
            bits &= (1 << held) - 1;
        }
        text.truncate(Self::LENGTH);
        Self(text)
    }

    /// Reads an id that was written down.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == Self::LENGTH && text.bytes().all(|b| Self::LETTERS.contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The id as it stands in paths.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for LayerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("\"{text}\" is not the id of a layer"))
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

/// What is known of an unpacked tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LayerMeta {
    pub(super) diff_id: Digest,
    pub(super) bytes: u64,
    entries: u64,
    notes: Vec<String>,
    pub(super) opaque_root: bool,
    /// The boot in which it was written, until it is certain to be on the disk.
    boot: Option<String>,
}

impl Store {
    /// Unpacks what is not unpacked yet; answers the layers to combine, lowest first.
    ///
    /// The answer has no layer twice, and none that is hidden as a whole. Keep a [`super::Hold`]
    /// from before this call until the use of the layers is on record.
    pub fn unpack(&self, image: &StoredImage) -> Result<Vec<LayerId>, ImageError> {
        let _hold = self.hold()?;
        let layers = image.expected();
        if let Ok(there) = self.combined(&layers) {
            return Ok(there);
        }
        self.unpack_layers(&layers)?;
        self.combined(&layers)
    }

    /// Unpacks layers, a few at a time.
    fn unpack_layers(&self, layers: &[Expected]) -> Result<(), ImageError> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(layers.len()) {
                scope.spawn(|| {
                    while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.unpack_layer(layer) {
                            // The others stop after their current layer; the first error counts.
                            next.store(layers.len(), Ordering::Relaxed);
                            failure
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Whether all of an image's layers are unpacked.
    pub fn is_unpacked(&self, image: &StoredImage) -> bool {
        image
            .config
            .diff_ids
            .iter()
            .all(|diff_id| self.layer_meta(diff_id).is_some())
    }

    /// What was left out of an image's layers when they were unpacked, and why.
    pub fn notes(&self, image: &StoredImage) -> Vec<String> {
        let metas = image
            .config
            .diff_ids
            .iter()
            .filter_map(|diff_id| self.layer_meta(diff_id));
        metas.flat_map(|meta| meta.notes).collect()
    }

    fn combined(&self, layers: &[Expected]) -> Result<Vec<LayerId>, ImageError> {
        let mut ids = Vec::with_capacity(layers.len());
        let mut seen = HashSet::new();
        for layer in layers.iter().rev() {
            let meta = self
                .layer_meta(&layer.diff_id)
                .ok_or_else(|| ImageError::BlobMissing {
                    digest: layer.digest.clone(),
                    what: "an image that is being unpacked".to_owned(),
                })?;
            let id = LayerId::of(&layer.diff_id);
            // Overlayfs refuses a directory twice, and the lower of two equal layers adds nothing.
            if seen.insert(id.clone()) {
                ids.push(id);
            }
            if meta.opaque_root {
                break;
            }
        }
        ids.reverse();
        Ok(ids)
    }

    /// Unpacks one layer unless it is there.
    pub(crate) fn unpack_layer(&self, layer: &Expected) -> Result<(), ImageError> {
        if self.layer_meta(&layer.diff_id).is_some() {
            return Ok(());
        }
        let id = LayerId::of(&layer.diff_id);
        let _lock = self.lock(&format!("layer-{id}"))?;
        if self.layer_meta(&layer.diff_id).is_some() {
            return Ok(());
        }
        let packed = Packed {
            digest: layer.digest.clone(),
            size: layer.size,
        };
        self.in_tmp(&packed, |trash, name| {
            let known = self.unpack_to(&packed, Some(&layer.diff_id), trash, name)?;
            self.put_layer(trash, name, &known)
        })
    }

    /// Unpacks a stored layer whose unpacked content nobody has described, and tells its digest.
    pub(crate) fn unpack_new(&self, digest: &Digest, size: u64) -> Result<Digest, ImageError> {
        let packed = Packed {
            digest: digest.clone(),
            size,
        };
        self.in_tmp(&packed, |trash, name| {
            let known = self.unpack_to(&packed, None, trash, name)?;
            let id = LayerId::of(&known.diff_id);
            let _lock = self.lock(&format!("layer-{id}"))?;
            match self.layer_meta(&known.diff_id) {
                Some(_) => remove_tree(trash, name.as_bytes()).at("remove", self.dir("tmp"))?,
                None => self.put_layer(trash, name, &known)?,
            }
            Ok(known.diff_id)
        })
    }

    /// Gives the work a name in a place where leftovers do not count, and cleans up after it.
    fn in_tmp<T>(
        &self,
        packed: &Packed,
        work: impl FnOnce(&OwnedFd, &str) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let trash = self.open_dir("tmp")?;
        let name = unique("layer");
        let result = work(&trash, &name);
        if result.is_err() {
            let _ = remove_tree(&trash, name.as_bytes());
        }
        match result {
            Err(ImageError::Layer(error)) => match self.damage(packed) {
                // The disk lost it since it was verified: make room for a good copy.
                Some(problem) => {
                    self.discard_blob(&packed.digest);
                    Err(ImageError::Layer(Box::new(LayerError {
                        problem,
                        entry: None,
                        ..*error
                    })))
                }
                None => Err(ImageError::Layer(error)),
            },
            result => result,
        }
    }

    /// What is wrong with a stored blob itself, if anything.
    fn damage(&self, packed: &Packed) -> Option<LayerProblem> {
        let mut file = self.open_blob(&packed.digest, "a layer").ok()?;
        let mut hashing = HashingWriter::new(io::sink(), Hasher::like(&packed.digest));
        copy(&mut file, &mut hashing, packed.size).ok()?;
        let (_, found, size) = hashing.finish();
        if size != packed.size {
            return Some(LayerProblem::Size {
                wanted: packed.size,
                found: size,
            });
        }
        (found != packed.digest).then_some(LayerProblem::Digest { found })
    }

    fn unpack_to(
        &self,
        packed: &Packed,
        diff_id: Option<&Digest>,
        trash: &OwnedFd,
        name: &str,
    ) -> Result<LayerMeta, ImageError> {
        let blob = self.open_blob(&packed.digest, "an image that is being unpacked")?;
        let failed = |problem| {
            let layer = packed.digest.clone();
            ImageError::Layer(Box::new(LayerError {
                layer,
                entry: None,
                problem,
            }))
        };
        let root = make_root(trash.as_fd(), name).map_err(failed)?;
        let second = trash.try_clone().at("use", self.dir("tmp"))?;
        let limits = self.limits().clone();
        let mut applier = Applier::new(root, second, self.inner.owners, limits);
        let summary = extract(blob, packed, diff_id, &mut applier, self.limits())?;
        let notes = applier.finish().map_err(failed)?;
        tracing::debug!(layer = %packed.digest, bytes = summary.bytes, "layer unpacked");
        Ok(LayerMeta {
            diff_id: summary.diff_id,
            bytes: summary.bytes,
            entries: summary.entries,
            notes: summary.notes.into_iter().chain(notes).take(128).collect(),
            opaque_root: summary.opaque_root,
            boot: Some(self.inner.boot.clone()),
        })
    }

    /// Makes the tree known; what is known of it is written first. The layer is locked.
    fn put_layer(&self, trash: &OwnedFd, name: &str, known: &LayerMeta) -> Result<(), ImageError> {
        let id = LayerId::of(&known.diff_id);
        let layers = self.open_dir("layers")?;
        // A tree whose description was lost, or one that a power failure may have damaged.
        self.set_aside(&id)?;
        self.write_meta(&id, known)?;
        sys::renameat(trash, name, &layers, id.as_str()).at("put in place", self.layer_dir())
    }

    /// Moves a tree out of sight and removes it; absent is fine.
    pub(super) fn set_aside(&self, id: &LayerId) -> Result<(), ImageError> {
        let (layers, trash) = (self.open_dir("layers")?, self.open_dir("tmp")?);
        let moved = unique("removed");
        match sys::renameat(&layers, id.as_str(), &trash, moved.as_str()) {
            Ok(()) => remove_tree(&trash, moved.as_bytes()).at("remove", self.layer_dir()),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error).at("remove", self.layer_dir().join(id.as_str())),
        }
    }

    /// What is known of a complete tree; nothing if it has to be unpacked (again).
    pub(super) fn layer_meta(&self, diff_id: &Digest) -> Option<LayerMeta> {
        let id = LayerId::of(diff_id);
        let layers = self.open_dir("layers").ok()?;
        sys::statat(&layers, id.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let meta = self.read_meta(&id)?;
        let whole = meta
            .boot
            .as_ref()
            .is_none_or(|boot| *boot == self.inner.boot);
        (whole && meta.diff_id == *diff_id).then_some(meta)
    }

    pub(super) fn read_meta(&self, id: &LayerId) -> Option<LayerMeta> {
        serde_json::from_slice(&fs::read(self.meta_path(id)).ok()?).ok()
    }

    fn write_meta(&self, id: &LayerId, meta: &LayerMeta) -> Result<(), ImageError> {
        let content = serde_json::to_vec(meta).expect("a description has only text keys");
        self.write_file(&self.meta_path(id), &content)
    }

    pub(super) fn meta_path(&self, id: &LayerId) -> PathBuf {
        self.dir("meta").join(format!("{id}.json"))
    }

    /// Waits until everything is on the disk.
    ///
    /// Until then a layer survives any crash of a process, but is unpacked again after the
    /// machine itself went down.
    pub fn settle(&self) -> Result<(), ImageError> {
        let _hold = self.hold()?;
        let mut unsettled = Vec::new();
        for entry in fs::read_dir(self.layer_dir()).at("list", self.layer_dir())? {
            let name = entry.at("list", self.layer_dir())?.file_name();
            let Some(id) = name.to_str().and_then(LayerId::parse) else {
                continue;
            };
            match self.read_meta(&id) {
                Some(meta) if meta.boot.as_ref() == Some(&self.inner.boot) => {
                    unsettled.push((id, meta));
                }
                _ => {}
            }
        }
        if unsettled.is_empty() {
            return Ok(());
        }
        sys::syncfs(&self.open_dir("layers")?).at("flush", self.path())?;
        for (id, meta) in unsettled {
            let _lock = self.lock(&format!("layer-{id}"))?;
            self.write_meta(&id, &LayerMeta { boot: None, ..meta })?;
        }
        Ok(())
    }
}

fn make_root(trash: impl AsFd, name: &str) -> Result<OwnedFd, LayerProblem> {
    sys::mkdirat(&trash, name, Mode::RWXU).doing("make its directory")?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = sys::openat(&trash, name, flags, Mode::empty()).doing("open its directory")?;
    // What a root directory is like when no entry of the layer describes it.
    sys::fchmod(&root, Mode::from_raw_mode(0o755)).doing("set permissions")?;
    Ok(root)
}
