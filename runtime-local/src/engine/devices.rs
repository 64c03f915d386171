//! Devices of the node as mounts of the shim's plan.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use unmoor_core::spec::Device;

use crate::error::LocalError;
use crate::layout::Layout;
use crate::sandbox::idmap;
use crate::wire::plan::{Mount, MountKind};

/// Directories within directories of devices.
const DEPTH_MAX: u32 = 8;

/// Refuses what cannot be had, before anything is made.
///
/// The nodes are the replica's own, with owner and permissions as the node has them; what root
/// inside may do with one cannot be less than to read and to write it.
pub(super) fn check(device: &Device) -> Result<(), LocalError> {
    let has = |letter| device.access.contains(letter);
    if has('r') && has('w') {
        return Ok(());
    }
    Err(LocalError::Unsupported {
        what: format!(
            "devices: {}: reading and writing cannot be given apart",
            device.source
        ),
        hint: "give it `rw` or `rwm`".to_owned(),
    })
}

/// What appears inside for a device, or for each in a directory of them.
pub(super) fn mounts(device: &Device) -> Result<Vec<Mount>, LocalError> {
    let mut found = Vec::new();
    collect(
        Path::new(&device.source),
        &device.target,
        DEPTH_MAX,
        &mut found,
    )?;
    if found.is_empty() {
        let text = format!("devices: {}: it holds no device", device.source);
        return Err(LocalError::Spec(text));
    }
    Ok(found)
}

fn collect(
    source: &Path,
    target: &str,
    depth: u32,
    found: &mut Vec<Mount>,
) -> Result<(), LocalError> {
    let meta = match std::fs::metadata(source) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("devices: {}: there is no such device", source.display());
            return Err(LocalError::Spec(text));
        }
        other => other.map_err(|error| LocalError::io("look at", source, error))?,
    };
    let kind = meta.file_type();
    if kind.is_dir() && depth > 0 {
        let entries =
            std::fs::read_dir(source).map_err(|error| LocalError::io("list", source, error))?;
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = Layout::text(Path::new(path.file_name().unwrap_or_default()))?;
            let target = format!("{}/{name}", target.trim_end_matches('/'));
            collect(&path, &target, depth - 1, found)?;
        }
        return Ok(());
    }
    if !kind.is_char_device() && !kind.is_block_device() {
        // In a directory there is more than devices.
        return match depth {
            DEPTH_MAX => {
                let text = format!("devices: {}: it is no device", source.display());
                Err(LocalError::Spec(text))
            }
            _ => Ok(()),
        };
    }
    // An owner that does not exist inside is nobody's; root inside may use it all the same.
    let inside = |id: u32| if id < idmap::SIZE { id } else { 0 };
    found.push(Mount {
        target: target.to_owned(),
        kind: MountKind::Device {
            block: kind.is_block_device(),
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
            mode: meta.mode() & 0o777,
            uid: inside(meta.uid()),
            gid: inside(meta.gid()),
        },
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(source: &str, access: &str) -> Device {
        Device {
            source: source.to_owned(),
            target: "/dev/x".to_owned(),
            access: access.to_owned(),
        }
    }

    #[test]
    fn devices_are_found_alone_and_in_directories_and_nothing_else_is_one() {
        let found = mounts(&device("/dev/null", "rwm")).expect("there");
        assert_eq!(found.len(), 1);
        let MountKind::Device { major, minor, .. } = found[0].kind else {
            panic!("{found:?}");
        };
        assert_eq!((major, minor), (1, 3));
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("text"), "").expect("written");
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("link")).expect("linked");
        let path = dir.path().to_str().expect("text");
        let found = mounts(&device(path, "rwm")).expect("one is there");
        let targets: Vec<_> = found.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/dev/x/link"]);
        for wrong in ["/dev/no-such-device", "/etc/passwd"] {
            assert!(mounts(&device(wrong, "rwm")).is_err(), "{wrong}");
        }
        assert!(check(&device("/dev/null", "rw")).is_ok());
        assert!(check(&device("/dev/null", "r")).is_err());
    }
}
