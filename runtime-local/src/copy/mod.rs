//! Files of running replicas, reached by descriptors beneath the root that their program sees.
//!
//! Every path is resolved by `openat2` as a process inside would resolve it, so that no symbolic
//! link and no rename leads out of the replica; descriptors of devices and pipes are never opened.

mod archive;
mod extract;
mod pieces;

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, set_capabilities_secure_bits, set_thread_res_gid, set_thread_res_uid,
};
use unmoor_core::backend::{FileKind, FileStat};

pub(crate) use pieces::{sink, source};

use crate::error::LocalError;
use crate::state::start_time;
use crate::wire::status::ProcessId;

/// Ids that a replica has.
const IDS: u32 = 65_536;

/// The files of a replica, as its first process sees them.
#[derive(Debug)]
pub(crate) struct View {
    root: OwnedFd,
    /// Host id of root inside.
    base: u32,
}

impl View {
    /// Opens the root of a replica's first process; nothing if that has ended.
    pub(crate) fn open(init: ProcessId, base: u32) -> Result<Option<Self>, LocalError> {
        let path = format!("/proc/{}/root", init.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match fs::open(&path, flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(source) => return Err(LocalError::io("open", Path::new(&path), source)),
        };
        // Looked at with the root held: had the number changed hands, it would be another's root.
        let same = start_time(init.pid) == Some(init.start_time);
        Ok(same.then_some(Self { root, base }))
    }

    /// Opens a path as a process inside would, except that its end is never followed.
    fn find(&self, path: &str, flags: OFlags) -> Result<OwnedFd, LocalError> {
        let trimmed = path.trim_start_matches('/');
        let trimmed = if trimmed.is_empty() { "." } else { trimmed };
        open(
            &self.root,
            trimmed,
            flags | OFlags::NOFOLLOW,
            ResolveFlags::IN_ROOT,
        )
        .map_err(|error| refused("open", path, error))
    }

    /// What a path leads to.
    pub(crate) fn stat(&self, path: &str) -> Result<FileStat, LocalError> {
        let fd = self.find(path, OFlags::PATH)?;
        let failed = |error| refused("look at", path, error);
        let stat = fs::fstat(&fd).map_err(failed)?;
        let kind = kind_of(&stat);
        let target = match kind {
            FileKind::Link => {
                let target = fs::readlinkat(&fd, "", Vec::new()).map_err(failed)?;
                Some(target.to_string_lossy().into_owned())
            }
            _ => None,
        };
        Ok(FileStat {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            target,
        })
    }
}

fn kind_of(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    }
}

/// `openat2`, again while the kernel asks for it because something is being renamed.
fn open(at: &OwnedFd, path: &str, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let how = how | ResolveFlags::NO_MAGICLINKS;
    loop {
        match fs::openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// A refusal of the system, where the path is the caller's mistake told as such.
fn refused(action: &'static str, path: &str, error: Errno) -> LocalError {
    match error {
        Errno::NOENT => LocalError::NotFound(path.to_owned()),
        Errno::NOTDIR => LocalError::Spec(format!("{path} is not a directory")),
        Errno::ISDIR => LocalError::Spec(format!("{path} is a directory")),
        Errno::LOOP => LocalError::Spec(format!("{path}: too many or forbidden symbolic links")),
        error => LocalError::io(action, Path::new(path), error),
    }
}

/// Makes the calling thread root of the replica for all that it makes, with our own rights over it.
///
/// Only for threads of their own: the change is never taken back.
fn become_root_of(base: u32) -> Result<(), LocalError> {
    let failed = |source: Errno| LocalError::io("become root of", Path::new("a replica"), source);
    // Otherwise the kernel takes the rights over files away with the user id.
    set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP).map_err(failed)?;
    set_thread_res_gid(Gid::ROOT, Gid::from_raw(base), Gid::ROOT).map_err(failed)?;
    set_thread_res_uid(Uid::ROOT, Uid::from_raw(base), Uid::ROOT).map_err(failed)
}

/// Runs work as root of a replica, on a thread of its own.
pub(crate) fn as_root_of<T: Send + 'static>(
    base: u32,
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<Result<T, LocalError>> {
    let (told, hears) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let done = become_root_of(base).and_then(|()| work());
        // Whoever does not listen any more has given up.
        let _ = told.send(done);
    });
    hears
}

impl View {
    /// Host id of root inside.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }
}
