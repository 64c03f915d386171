//! Images from files and into files: OCI layouts, `docker save` archives, root file systems.
//!
//! Everything here blocks; asynchronous callers move it to a thread for such work.

mod docker;
mod import;
mod layout;
mod reader;
mod save;

use std::path::Path;

use unmoor_core::image::{ImageRef, Platform};

pub use self::import::{ImportOptions, import};
pub use self::save::save;

use self::reader::ArchiveReader;
use crate::error::ImageError;
use crate::manifest::config::ImageConfig;
use crate::store::{Replace, Store, StoredImage};

/// What to take from an archive, and how to call it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Call the one image of the archive this; otherwise the archive's own names count.
    pub name: Option<ImageRef>,
    /// Whether names may move away from images that have them.
    pub replace: Replace,
    /// Which image of an index to take.
    pub platform: Platform,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            name: None,
            replace: Replace::No,
            platform: Platform::linux_here(),
        }
    }
}

/// Loads images from an OCI layout or a `docker save` archive: a directory, or a tar file that
/// may be compressed.
///
/// Nothing is named before everything has been checked.
pub fn load(
    store: &Store,
    path: impl AsRef<Path>,
    options: &LoadOptions,
) -> Result<Vec<StoredImage>, ImageError> {
    whole_or_nothing(store, || {
        let mut archive = ArchiveReader::open(store, path.as_ref())?;
        if archive.has(b"index.json") {
            return layout::load(store, &mut archive, options);
        }
        if archive.has(b"manifest.json") {
            return docker::load(store, &mut archive, options);
        }
        Err(archive.bad("it has neither index.json (OCI) nor manifest.json (docker save)"))
    })
}

/// Takes back what failed work has put into the store: what failed for want of room must not keep
/// the room.
fn whole_or_nothing<T>(
    store: &Store,
    work: impl FnOnce() -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let before = store.inventory()?;
    let hold = store.hold()?;
    let result = work();
    drop(hold);
    if result.is_err() {
        // The failure itself is what the caller needs to hear; a prune finds what is left.
        let _ = store.take_back(&before);
    }
    result
}

/// An image for another processor would be loaded without complaint and then not start.
fn check_platform(config: &ImageConfig, wanted: &Platform, what: &str) -> Result<(), ImageError> {
    let offered = &config.platform;
    if offered.os() == wanted.os() && offered.arch() == wanted.arch() {
        return Ok(());
    }
    Err(ImageError::NoPlatform {
        what: what.to_owned(),
        wanted: Box::new(wanted.clone()),
        offered: vec![offered.clone()],
    })
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
