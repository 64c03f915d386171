//! Where everything of one installation lies, beneath one directory that only its owner enters.
//!
//! ```text
//! state.db             records and intents
//! images/              blobs and unpacked layers
//! volumes/             <stack>_<name>/{_data,record}
//! blobs/<stack>/       secrets and configs, mode 0600
//! replicas/<key>/      record, plan, log, upper, work: what outlives a boot
//! run/<key>/           status, ctl, lock: what does not
//! run/net/<id>/        the zone of a network
//! locks/               a file for each held lock
//! shim-<hash>          the shim
//! rules                the state in which the host's firewall rules were last found right
//! room                 takes up room for commands on a full disk
//! ```

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use unmoor_core::name::{StackName, VolumeName};
use unmoor_core::spec::BlobId;

use crate::error::LocalError;
use crate::state::make_private_dir;

/// The directory if the URI names none.
pub(crate) const DEFAULT_ROOT: &str = "/var/lib/unmoor";

const DATABASE: &str = "state.db";
const DIRECTORIES: [&str; 6] = ["images", "volumes", "blobs", "replicas", "run", "locks"];

/// The directories of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// Refuses what cannot be the directory of an installation; one that is not there can be made.
pub(crate) fn check(root: &Path) -> Result<(), LocalError> {
    let found = match std::fs::symlink_metadata(root) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(LocalError::io("look at", root, source)),
    };
    match found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() {
        true => Ok(()),
        false => Err(LocalError::Forbidden {
            what: format!("{} is not a directory of this user", root.display()),
            hint: "choose another directory: `local:///path`".to_owned(),
        }),
    }
}

/// Whether there is an installation, even one that has lost its database.
pub(crate) fn is_made(root: &Path) -> bool {
    root.join(DATABASE).exists() || root.join("replicas").is_dir()
}

impl Layout {
    /// Makes what is missing; refuses a directory that others may write.
    pub(crate) fn open(root: &Path) -> Result<Self, LocalError> {
        let root =
            std::path::absolute(root).map_err(|source| LocalError::io("find", root, source))?;
        if let Some(parent) = root.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|source| LocalError::io("make directory", parent, source))?;
        }
        make_private_dir(&root)?;
        check(&root)?;
        let found = std::fs::symlink_metadata(&root)
            .map_err(|source| LocalError::io("look at", &root, source))?;
        if found.mode() & 0o077 != 0 {
            // Images hold set-user-id programs that nobody else on this machine may reach.
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700))
                .map_err(|source| LocalError::io("close to others", &root, source))?;
        }
        let layout = Self { root };
        for name in DIRECTORIES {
            make_private_dir(&layout.root.join(name))?;
        }
        Ok(layout)
    }

    /// Whether it lies on a file system that takes no writes.
    pub(crate) fn is_read_only(&self) -> bool {
        let flags = rustix::fs::statvfs(&self.root).map(|found| found.f_flag);
        flags.is_ok_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn replicas(&self) -> PathBuf {
        self.root.join("replicas")
    }

    pub(crate) fn replica(&self, key: &str) -> PathBuf {
        self.replicas().join(key)
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn run(&self, key: &str) -> PathBuf {
        self.runs().join(key)
    }

    /// The state in which the host's rules were last found right.
    pub(crate) fn rules(&self) -> PathBuf {
        self.root.join("rules")
    }

    /// The zones of all networks.
    pub(crate) fn zones(&self) -> PathBuf {
        self.runs().join("net")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// A named volume. Names hold neither slashes nor leading dots, so they are safe in paths.
    pub(crate) fn volume(&self, stack: &StackName, name: &VolumeName) -> PathBuf {
        self.volumes().join(format!("{stack}_{name}"))
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn blob(&self, stack: &StackName, id: &BlobId) -> PathBuf {
        self.blobs()
            .join(stack.as_str())
            .join(format!("{}.{}", id.kind.as_str(), id.name))
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.locks().join(name)
    }

    /// The locks that are held, or were by the dead, on things of a stack: `kind.stack.name`.
    pub(crate) fn locks_of(&self, stack: &StackName) -> Result<Vec<PathBuf>, LocalError> {
        let locks = self.locks();
        let entries =
            std::fs::read_dir(&locks).map_err(|source| LocalError::io("list", &locks, source))?;
        let of_stack = |name: &str| name.split('.').nth(1) == Some(stack.as_str());
        Ok(entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| !name.starts_with("stack.") && of_stack(name))
            })
            .collect())
    }

    /// The path as the shim's plan carries it.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub(crate) fn text(path: &Path) -> Result<String, LocalError> {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| LocalError::Spec(format!("the path {} is not UTF-8", path.display())))
    }
}
