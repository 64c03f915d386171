//! Mounts, made and attached by descriptor wherever a path could be swapped.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null;

use super::abi::{
    AT_EMPTY_PATH, AT_RECURSIVE, FSCONFIG_CMD_CREATE, FSCONFIG_SET_STRING, MNT_DETACH,
    MOUNT_ATTR_IDMAP, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, MountAttr, O_CLOEXEC,
    OPEN_TREE_CLONE, c_int, nr, nr_common,
};
use super::fs::At;
use super::{Result, c_text, owned, sys};

/// `mount(2)`.
pub(crate) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: u64,
    options: &str,
) -> Result<()> {
    let (source, target) = (c_text(source)?, c_text(target)?);
    let (kind, options) = (c_text(kind)?, c_text(options)?);
    let (s, t, k, o) = (
        source.as_ptr(),
        target.as_ptr(),
        kind.as_ptr(),
        options.as_ptr(),
    );
    // SAFETY: four zero-terminated strings that outlive the call.
    unsafe { sys!(nr::MOUNT, s, t, k, flags, o) }.map(drop)
}

/// The path that names an open file in `mount(2)`; needs the host's `/proc` in view.
pub(crate) fn fd_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Mounts a new file system of `kind` onto an open directory.
pub(crate) fn mount_at(
    target: BorrowedFd<'_>,
    kind: &str,
    flags: u64,
    options: &str,
) -> Result<()> {
    mount(kind, &fd_path(target), kind, flags, options)
}

/// Binds a path of this mount namespace onto an open file or directory.
pub(crate) fn bind(source: &str, target: BorrowedFd<'_>, flags: u64) -> Result<()> {
    mount(
        source,
        &fd_path(target),
        "",
        super::abi::MS_BIND | flags,
        "",
    )
}

/// Detaches what is mounted at a path.
pub(crate) fn unmount(path: &str) -> Result<()> {
    let path = c_text(path)?;
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr::UMOUNT2, path.as_ptr(), MNT_DETACH) }.map(drop)
}

/// Makes the working directory the root and stacks the old root on top of it.
pub(crate) fn pivot_here() -> Result<()> {
    let here = c".";
    // SAFETY: a constant zero-terminated string.
    unsafe { sys!(nr::PIVOT_ROOT, here.as_ptr(), here.as_ptr()) }.map(drop)
}

/// Whether mounts beneath a mount go along with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// That mount only.
    One,
    /// All beneath it too.
    All,
}

impl Depth {
    fn flag(self) -> c_int {
        match self {
            Self::One => 0,
            Self::All => AT_RECURSIVE,
        }
    }
}

/// A detached copy of the mount at a path; an empty path means the open file itself.
pub(crate) fn clone_tree(at: At<'_>, path: &str, depth: Depth) -> Result<OwnedFd> {
    let empty = if path.is_empty() { AT_EMPTY_PATH } else { 0 };
    let path = c_text(path)?;
    let flags = OPEN_TREE_CLONE | O_CLOEXEC | empty | depth.flag();
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr_common::OPEN_TREE, at.raw(), path.as_ptr(), flags) }.and_then(owned)
}

/// Adds attributes (`MOUNT_ATTR_*`) to a mount.
pub(crate) fn set_attributes(mount: BorrowedFd<'_>, set: u64, depth: Depth) -> Result<()> {
    set_attr(
        mount,
        &MountAttr {
            set,
            ..MountAttr::default()
        },
        depth,
    )
}

/// Makes a mount private: what is mounted in it or beneath it is seen nowhere else.
pub(crate) fn set_private(mount: BorrowedFd<'_>, depth: Depth) -> Result<()> {
    let propagation = super::abi::MS_PRIVATE;
    set_attr(
        mount,
        &MountAttr {
            propagation,
            ..MountAttr::default()
        },
        depth,
    )
}

/// Shifts the owners seen through a detached mount by the map of a user namespace.
pub(crate) fn set_id_map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<()> {
    let userns_fd = u64::from(user_namespace.as_raw_fd().cast_unsigned());
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        userns_fd,
        ..MountAttr::default()
    };
    set_attr(mount, &attr, Depth::One)
}

fn set_attr(mount: BorrowedFd<'_>, attr: &MountAttr, depth: Depth) -> Result<()> {
    let flags = AT_EMPTY_PATH | depth.flag();
    let size = size_of::<MountAttr>();
    let (fd, path, number) = (mount.as_raw_fd(), c"".as_ptr(), nr_common::MOUNT_SETATTR);
    // SAFETY: an empty constant path, and a structure of the size said.
    unsafe { sys!(number, fd, path, flags, &raw const *attr, size) }.map(drop)
}

/// Attaches a detached mount to an open file or directory.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to, empty) = (mount.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: two empty constant paths.
    unsafe { sys!(nr_common::MOVE_MOUNT, from, empty, to, empty, flags) }.map(drop)
}

/// A new detached file system of `kind` with the given options.
pub(crate) fn new_fs(kind: &str, options: &[(&str, &str)], attributes: u64) -> Result<OwnedFd> {
    const CLOEXEC: c_int = 1;
    let kind = c_text(kind)?;
    // SAFETY: the name outlives the call.
    let fs = unsafe { sys!(nr_common::FSOPEN, kind.as_ptr(), CLOEXEC) }.and_then(owned)?;
    let raw = fs.as_raw_fd();
    for (key, value) in options {
        let (key, value) = (c_text(key)?, c_text(value)?);
        let (k, v, set) = (key.as_ptr(), value.as_ptr(), FSCONFIG_SET_STRING);
        // SAFETY: both strings outlive the call.
        unsafe { sys!(nr_common::FSCONFIG, raw, set, k, v, 0) }?;
    }
    let none = null::<u8>();
    // SAFETY: this command takes neither key nor value.
    unsafe { sys!(nr_common::FSCONFIG, raw, FSCONFIG_CMD_CREATE, none, none, 0) }?;
    // SAFETY: takes no memory.
    unsafe { sys!(nr_common::FSMOUNT, raw, CLOEXEC, attributes) }.and_then(owned)
}
