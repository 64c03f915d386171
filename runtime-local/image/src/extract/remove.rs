//! Removes foreign trees without recursion: a tree may be far deeper than any stack or fd limit.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A name no other thread or process uses at the same time.
pub(crate) fn unique(prefix: &str) -> String {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!(
        "{prefix}-{}-{serial}",
        rustix::process::getpid().as_raw_nonzero()
    )
}

/// Removes `name` in `parent`, whatever it is; absent is fine.
///
/// Subdirectories that are not empty are first moved up into `parent`, so that at most two
/// directories are open at any time. If this is interrupted, what is left lies in `parent`.
pub(crate) fn remove_tree(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let parent = parent.as_fd();
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut work = vec![CString::new(name)?];
    while let Some(name) = work.pop() {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = fs::openat(parent, &name, flags, Mode::empty())?;
        empty(dir.as_fd(), parent, &mut work)?;
        fs::unlinkat(parent, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

fn empty(dir: BorrowedFd<'_>, parent: BorrowedFd<'_>, work: &mut Vec<CString>) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // The type was not known to the directory itself.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // Moving a directory rewrites its "..", which its owner needs write permission for.
        let _ = fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty());
        let moved = CString::new(unique("trash"))?;
        fs::renameat(dir, name, parent, &moved)?;
        work.push(moved);
    }
    Ok(())
}
