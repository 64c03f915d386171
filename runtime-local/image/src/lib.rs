//! OCI images: a local store, archives, a builder, and a registry client (feature `registry`).
//!
//! - [`Store`]: blobs by digest, layers unpacked once, names; shared by several processes.
//! - [`ImageBuilder`]: an image from files, the same digest wherever it is built.
//! - [`archive`]: load, import and save.
//! - [`manifest`]: what images say about themselves.
//! - [`rootfs_user`]: users and groups of an image.
//!
//! Images are hostile until proven otherwise: every byte is checked against a digest, every
//! document is bounded, and layers are unpacked beneath one directory by descriptors only.

pub mod archive;
mod build;
mod error;
mod extract;
mod hash;
mod limits;
pub mod manifest;
#[cfg(feature = "registry")]
pub mod registry;
pub mod store;
#[cfg(test)]
mod testing;
mod users;

pub use build::ImageBuilder;
pub use error::{ImageError, LayerError, LayerProblem};
pub use limits::Limits;
pub use manifest::config::{ExposedPort, HealthTest, Healthcheck, ImageConfig};
pub use store::{
    Hold, InUse, Incoming, LayerId, Listing, Prune, Pruned, Replace, Store, StoredImage,
};
pub use users::{RootfsUser, UserError, rootfs_user};
