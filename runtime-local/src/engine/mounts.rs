//! From a service's mounts, secrets and configs to those of the shim's plan.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use unmoor_core::backend::DesiredService;
use unmoor_core::name::StackName;
use unmoor_core::spec::{BlobGrant, BlobId, BlobKind, MountSource};

use super::volume::make_data_dir;
use super::{Runtime, devices};
use crate::error::LocalError;
use crate::layout::Layout;
use crate::state::{make_private_dir, volumes};
use crate::wire::plan::{Mount, MountKind};

impl Runtime {
    /// Every mount of a replica besides the system's own and the files of `/etc`.
    pub(super) fn plan_mounts(
        &self,
        stack: &StackName,
        desired: &DesiredService,
        replica_dir: &Path,
    ) -> Result<Vec<Mount>, LocalError> {
        let spec = &desired.spec;
        let anonymous = Anonymous {
            parent: replica_dir.join("volumes"),
        };
        let mut mounts = Vec::new();
        for (number, mount) in spec.mounts.iter().enumerate() {
            let kind = match &mount.source {
                MountSource::Volume(name) => {
                    let load = |c: &_| volumes::load(c, stack, name);
                    let record = self.db().read("read volumes", load)?;
                    let missing = || LocalError::NotFound(format!("volume `{name}`"));
                    let data = self.volume_data(&record.ok_or_else(missing)?)?;
                    volume(&data, mount.read_only)?
                }
                MountSource::Anonymous => anonymous.make(number, mount.read_only)?,
                MountSource::Bind { path, create } => bind(path, *create, mount.read_only)?,
                MountSource::Tmpfs { size, mode } => MountKind::Tmpfs {
                    size: size.map_or(0, |size| size.0),
                    mode: *mode,
                    uid: 0,
                    gid: 0,
                    read_only: mount.read_only,
                    no_exec: true,
                },
                _ => {
                    return Err(LocalError::Unsupported {
                        what: format!("the mount at {} is of an unknown kind", mount.target),
                        hint: "use a volume, a bind or a tmpfs".to_owned(),
                    });
                }
            };
            mounts.push(Mount {
                target: mount.target.clone(),
                kind,
            });
        }
        // What the image wants to be a volume and nobody has given it.
        let wanted = desired.image.defaults.volumes.iter();
        for (number, target) in wanted.enumerate() {
            let plain = target.trim_end_matches('/');
            let covered = mounts
                .iter()
                .any(|m| m.target.trim_end_matches('/') == plain);
            if !covered {
                let kind = anonymous.make(spec.mounts.len() + number, false)?;
                mounts.push(Mount {
                    target: target.clone(),
                    kind,
                });
            }
        }
        for device in &spec.security.devices {
            mounts.extend(devices::mounts(device)?);
        }
        for (kind, grants) in [
            (BlobKind::Secret, &spec.secrets),
            (BlobKind::Config, &spec.configs),
        ] {
            for grant in grants {
                mounts.push(self.plan_blob(stack, kind, grant)?);
            }
        }
        Ok(mounts)
    }

    fn plan_blob(
        &self,
        stack: &StackName,
        kind: BlobKind,
        grant: &BlobGrant,
    ) -> Result<Mount, LocalError> {
        let id = BlobId {
            kind,
            name: grant.name.clone(),
        };
        let kind = MountKind::File {
            content: self.blob(stack, &id)?,
            mode: grant.mode,
            uid: grant.uid,
            gid: grant.gid,
            read_only: true,
        };
        Ok(Mount {
            target: grant.target.clone(),
            kind,
        })
    }
}

/// Volumes without a name: they lie with the replica and go with it.
struct Anonymous {
    parent: std::path::PathBuf,
}

impl Anonymous {
    fn make(&self, number: usize, read_only: bool) -> Result<MountKind, LocalError> {
        make_private_dir(&self.parent)?;
        let path = self.parent.join(number.to_string());
        make_data_dir(&path)?;
        volume(&path, read_only)
    }
}

fn volume(data: &Path, read_only: bool) -> Result<MountKind, LocalError> {
    Ok(MountKind::Bind {
        source: Layout::text(data)?,
        idmapped: true,
        read_only,
        recursive: false,
        populate: !read_only,
    })
}

/// Makes a missing directory that everyone may enter, whatever the caller's mask.
fn make_for_all(path: &Path) -> Result<(), LocalError> {
    let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            // Somebody else has just made it, and knows for whom.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(source) => return Err(LocalError::io("make directory", path, source)),
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .map_err(|source| LocalError::io("open to all", path, source))?;
    }
    Ok(())
}

/// A path of the host: its files keep their owners' numbers inside, so that a file of user 1000
/// is one of user 1000 there, and root's are root's. Set-user-id programs and devices on it mean
/// nothing inside.
fn bind(path: &Path, create: bool, read_only: bool) -> Result<MountKind, LocalError> {
    if !path.is_absolute() {
        let text = format!("bind {}: the path is not absolute", path.display());
        return Err(LocalError::Spec(text));
    }
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
            make_for_all(path)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!(
                "bind {}: there is no such file or directory",
                path.display()
            );
            return Err(LocalError::Spec(text));
        }
        Err(source) => return Err(LocalError::io("bind", path, source)),
    }
    Ok(MountKind::Bind {
        source: Layout::text(path)?,
        idmapped: true,
        read_only,
        recursive: false,
        populate: false,
    })
}
