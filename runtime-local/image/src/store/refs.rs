//! Names in the store, and the images they lead to.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use unmoor_core::image::{Digest, ImageRef};

use super::Store;
use super::layers::LayerId;
use crate::error::{ImageError, IoContext};
use crate::extract::Expected;
use crate::manifest::config::ImageConfig;
use crate::manifest::{Descriptor, Document};

/// Whether a name may be taken from the image that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// The name stays with the image that has it; the same image is fine.
    #[default]
    No,
    /// The name moves to the new image.
    Yes,
}

/// An image whose manifest and configuration are in the store and were checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredImage {
    /// The name it was found by.
    pub reference: ImageRef,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// The digest of the index it was chosen from, if there was one.
    pub index_digest: Option<Digest>,
    /// The digest of its configuration.
    pub config_digest: Digest,
    /// How to run it.
    pub config: ImageConfig,
    /// Its layers, lowest first, as the manifest lists them; see [`Store::unpack`] for use.
    pub layers: Vec<LayerId>,
    /// Where the packed layers are, in the same order.
    pub layer_descriptors: Vec<Descriptor>,
}

impl StoredImage {
    /// Bytes of all packed layers.
    pub fn packed_size(&self) -> u64 {
        self.layer_descriptors.iter().map(|layer| layer.size).sum()
    }

    /// What the layers must turn out to be.
    pub(crate) fn expected(&self) -> Vec<Expected> {
        let layers = self.layer_descriptors.iter().zip(&self.config.diff_ids);
        layers
            .map(|(descriptor, diff_id)| Expected {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                diff_id: diff_id.clone(),
            })
            .collect()
    }
}

/// All images of a store.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// Images by name.
    pub images: Vec<StoredImage>,
    /// Names whose images cannot be read, and why.
    pub unreadable: Vec<(ImageRef, ImageError)>,
}

/// Most images that are remembered.
const KNOWN_MOST: usize = 256;

/// What a file looks like from outside: device, number, last change, size.
type Stamp = (u64, u64, (i64, i64), u64);

/// An image that was read, and what its manifest and configuration looked like then.
#[derive(Debug)]
pub(super) struct Known {
    stamps: [Stamp; 2],
    image: StoredImage,
}

/// A name on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefRecord {
    pub(crate) reference: ImageRef,
    pub(crate) manifest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Digest>,
}

impl Store {
    /// The image of this name, or pinned by this digest; nothing if it is not stored.
    ///
    /// A pinned reference is answered by any name of the same repository that leads to the
    /// digest, never by another repository's.
    pub fn resolve(&self, reference: &ImageRef) -> Result<Option<StoredImage>, ImageError> {
        let record = match reference.digest() {
            None => self.read_ref(&self.ref_path(reference))?,
            Some(digest) => {
                let leads = |record: &RefRecord| {
                    record.manifest == *digest || record.index.as_ref() == Some(digest)
                };
                // Mostly the tag beside the digest leads there: no other name need be read.
                let tagged = self.read_ref(&self.ref_path(&reference.without_digest()))?;
                match tagged.filter(leads) {
                    Some(record) => Some(record),
                    None => self.refs()?.into_iter().find(|record| {
                        record.reference.registry() == reference.registry()
                            && record.reference.repository() == reference.repository()
                            && leads(record)
                    }),
                }
            }
        };
        let Some(record) = record else {
            return Ok(None);
        };
        self.load_image(reference, &record).map(Some)
    }

    /// The image of this name, or an error that says it is not here.
    pub fn get(&self, reference: &ImageRef) -> Result<StoredImage, ImageError> {
        self.resolve(reference)?
            .ok_or_else(|| ImageError::NotFound(reference.clone()))
    }

    /// All images, in the order of their names.
    pub fn images(&self) -> Result<Listing, ImageError> {
        let mut listing = Listing::default();
        for record in self.refs()? {
            match self.load_image(&record.reference, &record) {
                Ok(image) => listing.images.push(image),
                Err(error) => listing.unreadable.push((record.reference, error)),
            }
        }
        Ok(listing)
    }

    /// Gives a stored image another name.
    pub fn tag(
        &self,
        image: &StoredImage,
        name: &ImageRef,
        replace: Replace,
    ) -> Result<StoredImage, ImageError> {
        let record = store_record(
            name,
            image.manifest_digest.clone(),
            image.index_digest.clone(),
        );
        self.set_ref(&record, replace)?;
        Ok(StoredImage {
            reference: record.reference,
            ..image.clone()
        })
    }

    /// Forgets a name; what it led to goes with the next [`Store::prune`]. Tells if it was there.
    pub fn remove(&self, reference: &ImageRef) -> Result<bool, ImageError> {
        let _lock = self.lock("refs")?;
        let path = self.ref_path(reference);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("remove", &path),
        }
    }

    /// Writes a name down. The caller holds the store since before it wrote the manifest.
    pub(crate) fn set_ref(&self, record: &RefRecord, replace: Replace) -> Result<(), ImageError> {
        let _lock = self.lock("refs")?;
        let path = self.ref_path(&record.reference);
        match self.read_ref(&path)? {
            Some(known) if known == *record => return Ok(()),
            Some(known) if replace == Replace::No && known.manifest != record.manifest => {
                return Err(ImageError::TagTaken {
                    reference: Box::new(record.reference.clone()),
                    present: known.manifest,
                    offered: record.manifest.clone(),
                });
            }
            _ => {}
        }
        let content = serde_json::to_vec(record).expect("a name has only text keys");
        self.write_file(&path, &content)
    }

    /// All names, in order.
    pub(super) fn refs(&self) -> Result<Vec<RefRecord>, ImageError> {
        let dir = self.dir("refs");
        let mut records = Vec::new();
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let path = entry.at("list", &dir)?.path();
            // A name removed meanwhile is simply not there.
            records.extend(self.read_ref(&path)?);
        }
        records.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(records)
    }

    fn read_ref(&self, path: &PathBuf) -> Result<Option<RefRecord>, ImageError> {
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", path),
        };
        let record: RefRecord =
            serde_json::from_slice(&content).map_err(|error| ImageError::Store {
                path: path.clone(),
                problem: error.to_string(),
            })?;
        Ok(Some(record))
    }

    fn ref_path(&self, reference: &ImageRef) -> PathBuf {
        let name = Digest::sha256_of(reference.to_string().as_bytes());
        self.dir("refs").join(format!("{}.json", name.hex()))
    }

    /// Reads an image from its documents, unless they are as they were when it was read before.
    pub(crate) fn load_image(
        &self,
        reference: &ImageRef,
        record: &RefRecord,
    ) -> Result<StoredImage, ImageError> {
        let known = || {
            self.inner
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = known().get(&record.manifest)
            && self.stamps(&known.image) == Some(known.stamps)
        {
            return Ok(StoredImage {
                reference: reference.clone(),
                index_digest: record.index.clone(),
                ..known.image.clone()
            });
        }
        let image = self.read_image(reference, record)?;
        if let Some(stamps) = self.stamps(&image) {
            let mut known = known();
            if known.len() >= KNOWN_MOST {
                known.clear();
            }
            let image = image.clone();
            known.insert(record.manifest.clone(), Known { stamps, image });
        }
        Ok(image)
    }

    /// What an image's documents look like now; nothing if one is not there.
    fn stamps(&self, image: &StoredImage) -> Option<[Stamp; 2]> {
        let stamp = |digest: &Digest| {
            let found = fs::metadata(self.blob_path(digest)).ok()?;
            let changed = (found.ctime(), found.ctime_nsec());
            Some((found.dev(), found.ino(), changed, found.len()))
        };
        Some([stamp(&image.manifest_digest)?, stamp(&image.config_digest)?])
    }

    fn read_image(
        &self,
        reference: &ImageRef,
        record: &RefRecord,
    ) -> Result<StoredImage, ImageError> {
        let what = format!("manifest of {}", reference.familiar());
        let bytes = self.document(&record.manifest, &what)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, &what, None, self.limits())?
        else {
            return Err(ImageError::document(what, "it is an index, not a manifest"));
        };
        let what = format!("configuration of {}", reference.familiar());
        let bytes = self.document(&manifest.config.digest, &what)?;
        let count = manifest.layers.len();
        let config = ImageConfig::parse(&bytes, &what, count, self.limits())?;
        Ok(StoredImage {
            reference: reference.clone(),
            manifest_digest: record.manifest.clone(),
            index_digest: record.index.clone(),
            config_digest: manifest.config.digest.clone(),
            layers: config.diff_ids.iter().map(LayerId::of).collect(),
            config,
            layer_descriptors: manifest.layers,
        })
    }
}

/// What to write down for an image that was found, made or loaded under `name`.
pub(crate) fn store_record(name: &ImageRef, manifest: Digest, index: Option<Digest>) -> RefRecord {
    RefRecord {
        reference: named(name, &manifest),
        manifest,
        index,
    }
}

/// The name to write down: a tag, or else the digest that was asked for.
fn named(reference: &ImageRef, manifest: &Digest) -> ImageRef {
    if reference.tag().is_some() && reference.digest().is_none() {
        return reference.clone();
    }
    let digest = reference.digest().unwrap_or(manifest);
    ImageRef::parse(&format!("{}@{digest}", reference.name()))
        .expect("a checked name and a checked digest are a reference")
}
