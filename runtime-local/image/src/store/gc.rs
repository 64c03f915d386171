//! Removes what no name and nothing in use needs, and what killed processes left behind.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unmoor_core::image::{Digest, DigestAlgorithm};

use super::Store;
use super::layers::LayerId;
use super::refs::RefRecord;
use crate::error::{ImageError, IoContext};
use crate::extract::remove::remove_tree;
use crate::manifest::Document;

/// How long a prune waits for others to finish with the store.
const PATIENCE: Duration = Duration::from_secs(30);

/// What something runs on, and must therefore stay.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Unpacked layers.
    pub layers: BTreeSet<LayerId>,
    /// Images by the digest of their manifest.
    pub manifests: BTreeSet<Digest>,
}

/// How much a prune removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// What no name leads to.
    Unnamed,
    /// Also names, and what they lead to, if nothing uses them.
    Unused,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Names.
    pub names: usize,
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Bytes of the blobs, and of the unpacked layers as far as known.
    pub bytes: u64,
}

impl Store {
    /// Removes what neither a name nor anything in use needs.
    ///
    /// `in_use` is asked once nobody else can add anything to the store, so that what it
    /// answers cannot be out of date; an error from it stops the prune before it begins.
    pub fn prune(
        &self,
        what: Prune,
        in_use: impl FnOnce() -> Result<InUse, ImageError>,
    ) -> Result<Pruned, ImageError> {
        let _alone = self.alone(PATIENCE)?;
        let in_use = in_use()?;
        let mut pruned = Pruned::default();
        let mut named = self.refs()?;
        if what == Prune::Unused {
            let (keep, drop): (Vec<_>, Vec<_>) = named
                .into_iter()
                .partition(|record| self.is_used(record, &in_use));
            for record in &drop {
                pruned.names += usize::from(self.remove(&record.reference)?);
            }
            named = keep;
        }
        let needed = self.needed(&named, &in_use);
        self.prune_layers(&needed, &mut pruned)?;
        self.prune_blobs(&needed, &mut pruned)?;
        self.sweep(&needed)?;
        Ok(pruned)
    }

    /// The blobs that there are, whole or in part.
    pub(crate) fn inventory(&self) -> Result<Inventory, ImageError> {
        let mut found = BTreeSet::new();
        for dir in ["blobs/sha256", "blobs/sha512", "partial"] {
            let dir = self.dir(dir);
            found.extend(names(&dir)?.into_iter().map(|name| dir.join(name)));
        }
        Ok(Inventory(found))
    }

    /// Removes the blobs that have come since and that no name needs: what a failed load has
    /// brought. While others work on the store it stays, and the next prune finds it.
    pub(crate) fn take_back(&self, before: &Inventory) -> Result<(), ImageError> {
        let _alone = self.alone(Duration::ZERO)?;
        let needed = self.needed(&self.refs()?, &InUse::default());
        for path in self.inventory()?.0.difference(&before.0) {
            let is_needed = |digest: &Digest| self.blob_path(digest) == *path;
            if !needed.blobs.iter().any(is_needed) {
                fs::remove_file(path).at("remove", path)?;
            }
        }
        Ok(())
    }

    fn is_used(&self, record: &RefRecord, in_use: &InUse) -> bool {
        if in_use.manifests.contains(&record.manifest) {
            return true;
        }
        // An image whose every layer is in use has a user who only wrote the layers down.
        self.load_image(&record.reference, record)
            .is_ok_and(|image| {
                !image.layers.is_empty() && image.layers.iter().all(|l| in_use.layers.contains(l))
            })
    }

    fn needed(&self, named: &[RefRecord], in_use: &InUse) -> Needed {
        let mut needed = Needed {
            layers: in_use.layers.iter().cloned().collect(),
            ..Needed::default()
        };
        for record in named {
            needed.blobs.extend(record.index.clone());
            self.add_needed(&record.manifest, &mut needed);
        }
        for manifest in &in_use.manifests {
            self.add_needed(manifest, &mut needed);
        }
        needed
    }

    /// A manifest that cannot be read needs nothing that could still be used.
    fn add_needed(&self, manifest: &Digest, needed: &mut Needed) {
        needed.blobs.insert(manifest.clone());
        let what = "a manifest in the store";
        let Ok(bytes) = self.document(manifest, what) else {
            return;
        };
        let Ok(Document::Manifest(parsed)) = Document::parse(&bytes, what, None, self.limits())
        else {
            return;
        };
        needed.blobs.insert(parsed.config.digest.clone());
        needed
            .blobs
            .extend(parsed.layers.iter().map(|layer| layer.digest.clone()));
        let Ok(bytes) = self.document(&parsed.config.digest, what) else {
            return;
        };
        let count = parsed.layers.len();
        if let Ok(config) =
            crate::manifest::config::ImageConfig::parse(&bytes, what, count, self.limits())
        {
            needed
                .layers
                .extend(config.diff_ids.iter().map(LayerId::of));
        }
    }

    fn prune_layers(&self, needed: &Needed, pruned: &mut Pruned) -> Result<(), ImageError> {
        for name in names(&self.layer_dir())? {
            let id = LayerId::parse(&name);
            if id.as_ref().is_some_and(|id| needed.layers.contains(id)) {
                continue;
            }
            if let Some(id) = id {
                pruned.bytes += self.read_meta(&id).map_or(0, |meta| meta.bytes);
                pruned.layers += 1;
                self.set_aside(&id)?;
                let _ = fs::remove_file(self.meta_path(&id));
            }
        }
        Ok(())
    }

    fn prune_blobs(&self, needed: &Needed, pruned: &mut Pruned) -> Result<(), ImageError> {
        for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha512] {
            let dir = self.dir("blobs").join(algorithm.as_str());
            for name in names(&dir)? {
                let digest = Digest::parse(&format!("{}:{name}", algorithm.as_str()));
                if digest.is_ok_and(|digest| needed.blobs.contains(&digest)) {
                    continue;
                }
                let path = dir.join(&name);
                let known = fs::symlink_metadata(&path).at("look at", &path)?;
                fs::remove_file(&path).at("remove", &path)?;
                pruned.blobs += 1;
                pruned.bytes += known.size();
            }
        }
        Ok(())
    }

    /// Everything here belongs to processes that are gone, since this one is alone.
    fn sweep(&self, needed: &Needed) -> Result<(), ImageError> {
        for dir in ["tmp", "partial"] {
            let open = self.open_dir(dir)?;
            for name in names(&self.dir(dir))? {
                remove_tree(&open, name.as_bytes()).at("remove", self.dir(dir).join(&name))?;
            }
        }
        for name in names(&self.dir("meta"))? {
            let id = name.strip_suffix(".json").and_then(LayerId::parse);
            if !id.is_some_and(|id| needed.layers.contains(&id)) {
                let _ = fs::remove_file(self.dir("meta").join(name));
            }
        }
        for name in names(&self.dir("locks"))? {
            if name != "store" && name != "refs" {
                let _ = fs::remove_file(self.dir("locks").join(name));
            }
        }
        Ok(())
    }
}

/// The blobs of one moment, by their files.
#[derive(Debug)]
pub(crate) struct Inventory(BTreeSet<PathBuf>);

#[derive(Debug, Default)]
struct Needed {
    blobs: HashSet<Digest>,
    layers: HashSet<LayerId>,
}

fn names(dir: &Path) -> Result<Vec<String>, ImageError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        names.extend(entry.at("list", dir)?.file_name().into_string());
    }
    Ok(names)
}
