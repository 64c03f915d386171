//! Images that were loaded, and the names they have.

mod archive;
mod change;
mod config;
mod layer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use unmoor_core::backend::{ImageDefaults, ImageEntry, ImageInput, ResolvedImage};
use unmoor_core::image::{Digest, ImageRef};
use unmoor_core::{Error, ErrorKind, Result};

use crate::model::Tree;

/// A loaded image.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) created: Option<SystemTime>,
    pub(crate) defaults: ImageDefaults,
    pub(crate) files: Tree,
}

/// All images of a world.
#[derive(Debug, Default)]
pub(crate) struct ImageStore {
    names: BTreeMap<ImageRef, Digest>,
    images: BTreeMap<Digest, Arc<Image>>,
}

impl ImageStore {
    pub(crate) fn find(&self, digest: &Digest) -> Option<Arc<Image>> {
        self.images.get(digest).cloned()
    }

    pub(crate) fn resolve(&self, reference: &ImageRef) -> Option<ResolvedImage> {
        let digest = match reference.digest() {
            Some(digest) => digest,
            None => self.names.get(reference)?,
        };
        let image = self.images.get(digest)?;
        Some(ResolvedImage {
            reference: reference.clone(),
            digest: image.digest.clone(),
            defaults: image.defaults.clone(),
        })
    }

    pub(crate) fn add(
        &mut self,
        found: Vec<(Option<ImageRef>, Arc<Image>)>,
        replace: bool,
    ) -> Result<Vec<ImageEntry>> {
        for (name, image) in &found {
            let Some(name) = name else { continue };
            let other = self.names.get(name).filter(|there| **there != image.digest);
            if other.is_some() && !replace {
                let text = format!("load image: the name `{name}` has other content");
                return Err(Error::new(ErrorKind::AlreadyExists, text)
                    .hint("remove the name first, or ask for its replacement"));
            }
        }
        let mut entries = Vec::new();
        for (name, image) in found {
            entries.push(entry(name.clone(), &image));
            if let Some(name) = name {
                self.names.insert(name, image.digest.clone());
            }
            self.images.insert(image.digest.clone(), image);
        }
        Ok(entries)
    }

    pub(crate) fn list(&self) -> Vec<ImageEntry> {
        let mut entries: Vec<ImageEntry> = self
            .names
            .iter()
            .filter_map(|(name, digest)| Some(entry(Some(name.clone()), self.images.get(digest)?)))
            .collect();
        for (digest, image) in &self.images {
            if !self.names.values().any(|named| named == digest) {
                entries.push(entry(None, image));
            }
        }
        entries
    }

    /// The digest that a name or a digest leads to.
    pub(crate) fn digest_of(&self, reference: &ImageRef) -> Option<Digest> {
        let digest = reference.digest().or_else(|| self.names.get(reference))?;
        self.images.contains_key(digest).then(|| digest.clone())
    }

    /// How many names an image has besides this one.
    pub(crate) fn other_names(&self, reference: &ImageRef, digest: &Digest) -> usize {
        self.names
            .iter()
            .filter(|(name, named)| *named == digest && *name != reference)
            .count()
    }

    pub(crate) fn remove(&mut self, reference: &ImageRef, digest: &Digest) {
        self.names.remove(reference);
        if !self.names.values().any(|named| named == digest) {
            self.images.remove(digest);
        }
    }
}

fn entry(reference: Option<ImageRef>, image: &Image) -> ImageEntry {
    ImageEntry {
        reference,
        digest: image.digest.clone(),
        size: image.size,
        created: image.created,
    }
}

/// Reads every image of `input`.
pub(crate) fn read(input: &ImageInput) -> Result<Vec<(Option<ImageRef>, Arc<Image>)>> {
    match input {
        ImageInput::Archive(path) => archive::read(path),
        ImageInput::Rootfs {
            path,
            reference,
            changes,
        } => {
            let image = change::import(path, changes)?;
            Ok(vec![(Some(reference.clone()), Arc::new(image))])
        }
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "the model reads OCI layouts, docker archives and root file systems only",
        )),
    }
}

/// The digest of content.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    Digest::parse(&format!("sha256:{hex}")).expect("64 hexadecimal digits")
}

/// An image file that is not what it should be.
fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidSpec, what.into())
}
