//! The plan's own mounts: binds and volumes, memory, files with given content.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::inside::{Inside, Kind};
use super::{devices, populate};
use crate::fault::{Outcome, Step, refuse};
use crate::sys::abi;
use crate::sys::fs::{self, At};
use crate::sys::mount::{self, Depth};
use crate::wire::plan::{Mount, MountKind, Plan};

/// Makes the detached mounts of all binds, in the plan's order; runs in the shim, which may see
/// what the replica's root may not.
pub(crate) fn prepare_binds(
    plan: &Plan,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Outcome<Vec<OwnedFd>> {
    let mut binds = Vec::new();
    for Mount { target, kind } in &plan.mounts {
        let MountKind::Bind {
            source,
            idmapped,
            read_only,
            recursive,
            ..
        } = kind
        else {
            continue;
        };
        if *idmapped && *recursive {
            let why = "a shifted bind cannot include mounts beneath it";
            return Err(refuse("bind", format_args!("{source} to {target}: {why}")));
        }
        let depth = if *recursive { Depth::All } else { Depth::One };
        let detail = format_args!("{source} to {target}");
        let bind = mount::clone_tree(At::Cwd, source, depth).step("bind", detail)?;
        if let Some(namespace) = user_namespace.filter(|_| *idmapped) {
            mount::set_id_map(bind.as_fd(), namespace).step("shift owners of bind", detail)?;
        }
        let read_only = if *read_only {
            abi::MOUNT_ATTR_RDONLY
        } else {
            0
        };
        let set = abi::MOUNT_ATTR_NOSUID | abi::MOUNT_ATTR_NODEV | read_only;
        mount::set_attributes(bind.as_fd(), set, depth).step("guard bind", detail)?;
        mount::set_private(bind.as_fd(), depth).step("guard bind", detail)?;
        binds.push(bind);
    }
    Ok(binds)
}

/// Makes the plan's mounts inside, in order; `stage` is a directory in memory for contents.
pub(crate) fn attach_all(
    plan: &Plan,
    inside: &Inside,
    stage: &OwnedFd,
    mut binds: Vec<OwnedFd>,
) -> Outcome<()> {
    let is_bind = |mount: &&Mount| matches!(mount.kind, MountKind::Bind { .. });
    let count = plan.mounts.iter().filter(is_bind).count();
    // What comes behind the binds are the devices.
    if let Some(folder) = binds.get(count) {
        devices::stage(stage, folder)?;
    }
    binds.truncate(count);
    let mut binds = binds.into_iter();
    for (index, Mount { target, kind }) in plan.mounts.iter().enumerate() {
        match kind {
            MountKind::Bind { populate, .. } => {
                let bind = binds.next().ok_or_else(|| refuse("bind", "not prepared"))?;
                attach_bind(inside, target, &bind, *populate)?;
            }
            MountKind::Tmpfs { .. } => mount_memory(inside, target, kind)?,
            MountKind::Device { .. } => devices::attach(inside, target, stage, index)?,
            MountKind::File { .. } => mount_file(inside, target, kind, stage, index)?,
        }
    }
    Ok(())
}

fn attach_bind(inside: &Inside, target: &str, bind: &OwnedFd, populate: bool) -> Outcome<()> {
    let found = fs::stat(bind.as_fd()).step("look at bind", target)?;
    let is_dir = u32::from(found.mode) & abi::S_IFMT == abi::S_IFDIR;
    let kind = if is_dir { Kind::Directory } else { Kind::File };
    let at = inside.mount_target(target, kind)?;
    if populate && is_dir {
        populate::fill_empty(&at, target, bind)?;
    }
    mount::attach(bind.as_fd(), at.as_fd()).step("bind", target)
}

fn mount_memory(inside: &Inside, target: &str, kind: &MountKind) -> Outcome<()> {
    let MountKind::Tmpfs {
        size,
        mode,
        uid,
        gid,
        read_only,
        no_exec,
    } = kind
    else {
        return Ok(());
    };
    let at = inside.mount_target(target, Kind::Directory)?;
    let mut options = format!("mode={mode:o},uid={uid},gid={gid}");
    if *size > 0 {
        options.push_str(&format!(",size={size}"));
    }
    let mut flags = abi::MS_NOSUID | abi::MS_NODEV;
    if *read_only {
        flags |= abi::MS_RDONLY;
    }
    if *no_exec {
        flags |= abi::MS_NOEXEC;
    }
    mount::mount_at(at.as_fd(), "tmpfs", flags, &options).step("mount tmpfs", target)
}

fn mount_file(
    inside: &Inside,
    target: &str,
    kind: &MountKind,
    stage: &OwnedFd,
    index: usize,
) -> Outcome<()> {
    let MountKind::File {
        content,
        mode,
        uid,
        gid,
        read_only,
    } = kind
    else {
        return Ok(());
    };
    let step = "provide file";
    let name = format!("file-{index}");
    let flags = abi::O_CREAT | abi::O_EXCL | abi::O_WRONLY;
    let file = fs::open(At::from(stage), &name, flags, 0o600).step(step, target)?;
    fs::write_all(file.as_fd(), content).step(step, target)?;
    fs::chown(file.as_fd(), *uid, *gid).step(step, target)?;
    fs::chmod(file.as_fd(), *mode).step(step, target)?;
    drop(file);
    let copy = mount::clone_tree(At::from(stage), &name, Depth::One).step(step, target)?;
    let read_only = if *read_only {
        abi::MOUNT_ATTR_RDONLY
    } else {
        0
    };
    let set = abi::MOUNT_ATTR_NOSUID | abi::MOUNT_ATTR_NODEV | read_only;
    mount::set_attributes(copy.as_fd(), set, Depth::One).step(step, target)?;
    let at = inside.mount_target(target, Kind::File)?;
    mount::attach(copy.as_fd(), at.as_fd()).step(step, target)
}
