//! The local store: blobs by digest, unpacked layers by content, and names.
//!
//! Several processes may use one store at once. Everything appears by an atomic rename, so a
//! process killed anywhere leaves at most files in `tmp/` and `partial/`, which the next
//! [`Store::prune`] removes. All calls here block; callers in asynchronous code move them to a
//! thread for such work.
//!
//! ```text
//! blobs/sha256/<hex>   packed layers, configurations, manifests, verified before they appear
//! layers/<id>/         unpacked trees, complete if they are there
//! meta/<id>.json       what is known of an unpacked tree
//! refs/<hash>.json     names
//! partial/             downloads that can be resumed
//! tmp/                 whatever is not finished
//! locks/               empty files to lock
//! ```

mod blob;
mod gc;
mod layers;
mod lock;
mod refs;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use unmoor_core::image::Digest;

pub use self::blob::Incoming;
pub use self::gc::{InUse, Prune, Pruned};
pub use self::layers::LayerId;
pub use self::lock::Hold;
pub(crate) use self::refs::store_record;
pub use self::refs::{Listing, Replace, StoredImage};

use crate::error::{ImageError, IoContext};
use crate::extract::apply::Owners;
use crate::extract::remove::unique;
use crate::limits::Limits;

const VERSION: &str = "unmoor image store 1\n";
const DIRS: [&str; 8] = [
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "meta",
    "refs",
    "partial",
    "tmp",
    "locks",
];

/// A directory of images; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limits: Limits,
    owners: Owners,
    boot: String,
    /// Images by the digests of their manifests.
    known: Mutex<HashMap<Digest, refs::Known>>,
}

impl Store {
    /// Opens the store in `dir`, which is made if need be and closed to other users.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ImageError> {
        Self::open_with(dir, Limits::default())
    }

    /// Opens the store with bounds of your own on what images may cost.
    pub fn open_with(dir: impl AsRef<Path>, limits: Limits) -> Result<Self, ImageError> {
        let path = std::path::absolute(dir.as_ref()).at("find", dir.as_ref())?;
        let private = |path: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .at("create", path)
        };
        private(&path)?;
        close_to_others(&path)?;
        for dir in DIRS {
            private(&path.join(dir))?;
        }
        // Seen from inside a user namespace through a mount of its own, where root is not root.
        let layers = path.join("layers");
        let known = fs::symlink_metadata(&layers).at("look at", &layers)?;
        if known.permissions().mode() & 0o7777 != 0o755 {
            fs::set_permissions(&layers, fs::Permissions::from_mode(0o755))
                .at("set permissions of", &layers)?;
        }
        let owners = if rustix::process::geteuid().is_root() {
            Owners::Keep
        } else {
            Owners::Mine
        };
        // Without a boot id nothing counts as from this boot, which only costs time.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        let store = Self {
            inner: Arc::new(Inner {
                path,
                limits,
                owners,
                boot,
                known: Mutex::default(),
            }),
        };
        store.check_version()?;
        Ok(store)
    }

    fn check_version(&self) -> Result<(), ImageError> {
        let path = self.inner.path.join("version");
        match fs::read_to_string(&path) {
            Ok(text) if text == VERSION => Ok(()),
            Ok(_) => Err(ImageError::Store {
                path: self.inner.path.clone(),
                problem: "it was made by another version of this program".to_owned(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.write_file(&path, VERSION.as_bytes())
            }
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The bounds on what images may cost.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The directory that holds all unpacked layers, each under its [`LayerId`].
    pub fn layer_dir(&self) -> PathBuf {
        self.inner.path.join("layers")
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.inner.path.join(name)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir("blobs")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    fn temporary(&self, prefix: &str) -> PathBuf {
        self.dir("tmp").join(unique(prefix))
    }

    /// A file on the store's file system that disappears when it is closed.
    pub(crate) fn nameless_file(&self) -> Result<File, ImageError> {
        let path = self.dir("tmp");
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        Ok(File::from(file.at("create a file in", &path)?))
    }

    fn open_dir(&self, name: &str) -> Result<OwnedFd, ImageError> {
        let path = self.dir(name);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)
    }

    /// Writes a small file so that it is whole or absent, also after a power failure.
    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), ImageError> {
        let temporary = self.temporary("file");
        let mut file = File::create_new(&temporary).at("create", &temporary)?;
        file.write_all(content).at("write", &temporary)?;
        file.sync_data().at("write", &temporary)?;
        fs::rename(&temporary, path).at("put in place", path)
    }
}

fn close_to_others(path: &Path) -> Result<(), ImageError> {
    let known = fs::symlink_metadata(path).at("look at", path)?;
    if !known.is_dir() || known.uid() != rustix::process::geteuid().as_raw() {
        return Err(ImageError::Store {
            path: path.to_owned(),
            problem: "it is not a directory of the user who wants to use it".to_owned(),
        });
    }
    if known.permissions().mode() & 0o777 != 0o700 {
        // Images contain setuid programs, which no other user of this machine may reach.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .at("set permissions of", path)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
