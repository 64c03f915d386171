//! Hand-made archives and images for tests, and a canary tree that nothing may touch.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use unmoor_core::image::{Digest, ImageRef, Platform};

use crate::build::put_image;
use crate::extract::decode::Compression;
use crate::manifest::config::ImageConfig;
use crate::manifest::{Descriptor, media};
use crate::store::{Replace, Store, StoredImage};
use crate::{ImageError, Limits};

/// A tar archive written header by header, as wrong as one likes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape(pub(crate) Vec<u8>);

/// One header; every field can be made to lie.
#[derive(Debug, Clone)]
pub(crate) struct Raw<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) flag: u8,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) mtime: u64,
    pub(crate) size: u64,
    pub(crate) magic: &'a [u8],
}

impl<'a> Raw<'a> {
    pub(crate) fn new(name: &'a [u8], flag: u8) -> Self {
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        Self {
            name,
            flag,
            link: b"",
            mode,
            uid: 0,
            mtime: 0,
            size: 0,
            magic: b"ustar\x0000",
        }
    }

    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let put = |block: &mut [u8; 512], at: usize, text: &[u8]| {
            block[at..at + text.len()].copy_from_slice(text);
        };
        put(&mut block, 0, &self.name[..self.name.len().min(100)]);
        put(&mut block, 100, format!("{:07o}", self.mode).as_bytes());
        put(&mut block, 108, format!("{:07o}", self.uid).as_bytes());
        put(&mut block, 116, b"0000000");
        put(&mut block, 124, format!("{:011o}", self.size).as_bytes());
        put(&mut block, 136, format!("{:011o}", self.mtime).as_bytes());
        block[156] = self.flag;
        put(&mut block, 157, &self.link[..self.link.len().min(100)]);
        put(&mut block, 257, self.magic);
        seal(&mut block);
        block
    }
}

/// Writes a right checksum into a header.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tape {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn raw(mut self, header: &Raw<'_>, content: &[u8]) -> Self {
        self.0.extend_from_slice(&header.block());
        self.content(content)
    }

    pub(crate) fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        let raw = Raw {
            size: content.len() as u64,
            ..Raw::new(name.as_bytes(), b'0')
        };
        self.raw(&raw, content)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.raw(&Raw::new(name.as_bytes(), b'5'), b"")
    }

    pub(crate) fn link(self, flag: u8, name: &str, target: &Path) -> Self {
        let target = target.to_str().expect("text").as_bytes();
        let raw = Raw::new(name.as_bytes(), flag);
        if target.len() <= 100 {
            return self.raw(
                &Raw {
                    link: target,
                    ..raw
                },
                b"",
            );
        }
        self.pax(&[(b"linkpath", target)]).raw(&raw, b"")
    }

    pub(crate) fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        self.extended(b'x', &pax_records(records))
    }

    pub(crate) fn extended(self, flag: u8, data: &[u8]) -> Self {
        self.raw(
            &Raw {
                size: data.len() as u64,
                ..Raw::new(b"PaxHeader", flag)
            },
            data,
        )
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn pax_records(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        data.extend_from_slice(format!("{length} ").as_bytes());
        data.extend_from_slice(key);
        data.push(b'=');
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    data
}

/// A store and a canary tree in one temporary directory.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open_with(dir.path().join("store"), limits).expect("a store");
        let canary = dir.path().join("canary");
        fs::create_dir_all(canary.join("dir")).expect("a directory");
        fs::write(canary.join("file"), "canary").expect("a file");
        fs::write(canary.join("dir/inner"), "canary").expect("a file");
        fs::write(canary.join("setuid"), "canary").expect("a file");
        fs::set_permissions(canary.join("setuid"), fs::Permissions::from_mode(0o4755))
            .expect("permissions");
        symlink("file", canary.join("link")).expect("a link");
        Self { dir, store }
    }

    pub(crate) fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    /// Everything that can be seen of the canary.
    pub(crate) fn canary_state(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let mut todo = vec![self.canary()];
        while let Some(path) = todo.pop() {
            let m = fs::symlink_metadata(&path).expect("the canary is there");
            if m.is_dir() {
                todo.extend(
                    fs::read_dir(&path)
                        .expect("a list")
                        .map(|e| e.expect("one").path()),
                );
            }
            let content = if m.is_file() {
                fs::read(&path).expect("content")
            } else {
                Vec::new()
            };
            let state = format!(
                "{:o} {}:{} {}.{} {} {} {content:?}",
                m.mode(),
                m.uid(),
                m.gid(),
                m.mtime(),
                m.mtime_nsec(),
                m.ino(),
                m.nlink()
            );
            seen.insert(path, state);
        }
        seen
    }

    /// An image of these layers, each a tar archive, packed or not.
    pub(crate) fn image(&self, layers: &[Vec<u8>]) -> Result<StoredImage, ImageError> {
        let mut config = ImageConfig::new(Platform::linux_here());
        let mut descriptors = Vec::new();
        for layer in layers {
            let (digest, size) = self.store.put(&mut layer.as_slice())?;
            let (kind, diff_id) = match Compression::of(layer) {
                Compression::Gzip => (media::OCI_TAR_GZIP, Digest::sha256_of(b"unknown")),
                Compression::Zstd => (media::OCI_TAR_ZSTD, Digest::sha256_of(b"unknown")),
                Compression::None => (media::OCI_TAR, digest.clone()),
            };
            config.diff_ids.push(diff_id);
            descriptors.push(Descriptor::new(kind, digest, size));
        }
        put_image(
            &self.store,
            &name("hostile"),
            &config,
            descriptors,
            Replace::Yes,
        )
    }

    /// Unpacks these layers and answers the directories, lowest first.
    pub(crate) fn unpack(&self, layers: &[Vec<u8>]) -> Result<Vec<PathBuf>, ImageError> {
        let ids = self.store.unpack(&self.image(layers)?)?;
        Ok(ids
            .iter()
            .map(|id| self.store.layer_dir().join(id.as_str()))
            .collect())
    }

    /// What is left in the store's working places.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for dir in ["tmp", "partial"] {
            for entry in fs::read_dir(self.store.path().join(dir)).expect("a list") {
                names.push(
                    entry
                        .expect("an entry")
                        .file_name()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
        names
    }
}

pub(crate) fn name(text: &str) -> ImageRef {
    text.parse().expect("a valid name")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The whole chain of an error as text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
