//! What is mounted into a service.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::name::VolumeName;
use crate::units::Bytes;

/// Where mounted files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MountSource {
    /// A named volume of the stack.
    Volume(VolumeName),
    /// A volume without a name, one for each replica.
    Anonymous,
    /// A path of the machine that runs the replica.
    Bind {
        /// Absolute path.
        path: PathBuf,
        /// Make a directory if there is nothing (Compose's short form does).
        create: bool,
    },
    /// Memory.
    Tmpfs {
        /// Largest size; `None` is half of the memory.
        size: Option<Bytes>,
        /// Permission bits of its root.
        mode: u32,
    },
}

/// One mount of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where the files come from.
    pub source: MountSource,
    /// Absolute path inside the service.
    pub target: String,
    /// Nothing can be written through it.
    pub read_only: bool,
}

impl Mount {
    /// Mounts a named volume.
    #[must_use]
    pub fn volume(name: VolumeName, target: impl Into<String>) -> Self {
        Self {
            source: MountSource::Volume(name),
            target: target.into(),
            read_only: false,
        }
    }

    /// Mounts a path of the host, which must exist.
    #[must_use]
    pub fn bind(path: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        let source = MountSource::Bind {
            path: path.into(),
            create: false,
        };
        Self {
            source,
            target: target.into(),
            read_only: false,
        }
    }

    /// Makes the mount read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// True if two replicas that have this mount could write the same files.
    #[must_use]
    pub fn is_shared_and_writable(&self) -> bool {
        let shared = matches!(
            self.source,
            MountSource::Volume(_) | MountSource::Bind { .. }
        );
        shared && !self.read_only
    }
}
