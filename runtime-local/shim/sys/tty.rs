//! Pseudo-terminals.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::abi::{
    DEVPTS_SUPER_MAGIC, F_SETFL, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR, RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS, S_IFCHR, S_IFMT, TIOCGPTPEER, TIOCSCTTY, TIOCSPTLCK, TIOCSWINSZ, Winsize,
    c_int, nr,
};
use super::fs::{self, At};
use super::{Errno, Result, owned, sys};

/// A terminal: the end the program does not see, and the end it does.
#[derive(Debug)]
pub(crate) struct Pty {
    /// Ours.
    pub(crate) master: OwnedFd,
    /// The program's.
    pub(crate) slave: OwnedFd,
}

/// Makes a terminal in the devpts whose `ptmx` is at `path`; anything else there is refused.
pub(crate) fn open(at: At<'_>, path: &str) -> Result<Pty> {
    from_master(fs::open(at, path, O_RDWR | O_NOCTTY, 0)?)
}

/// The same for a path within a root that the replica can change meanwhile.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &str) -> Result<Pty> {
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
    // Non-blocking: the path might lead to something that makes its opener wait.
    let flags = O_RDWR | O_NOCTTY | O_NONBLOCK;
    let pty = from_master(fs::open_in(root, path, flags, 0, resolve)?)?;
    set_flags(pty.master.as_fd(), O_RDWR)?;
    Ok(pty)
}

fn from_master(master: OwnedFd) -> Result<Pty> {
    let found = fs::stat(master.as_fd())?;
    let is_ptmx = u32::from(found.mode) & S_IFMT == S_IFCHR
        && (found.rdev_major, found.rdev_minor) == (5, 2)
        && fs::file_system(master.as_fd())? == DEVPTS_SUPER_MAGIC;
    if !is_ptmx {
        return Err(Errno::INVAL);
    }
    let unlock: c_int = 0;
    // SAFETY: reads one number.
    unsafe { sys!(nr::IOCTL, master.as_raw_fd(), TIOCSPTLCK, &raw const unlock) }?;
    let flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    // The peer by descriptor: no path, so nothing that could have been put in its place.
    // SAFETY: takes no memory.
    let slave = unsafe { sys!(nr::IOCTL, master.as_raw_fd(), TIOCGPTPEER, flags) };
    Ok(Pty {
        master,
        slave: owned(slave?)?,
    })
}

/// Makes a terminal the controlling one of this session.
pub(crate) fn control(slave: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::IOCTL, slave.as_raw_fd(), TIOCSCTTY, 0) }.map(drop)
}

/// Sets lines and characters a line.
pub(crate) fn resize(terminal: BorrowedFd<'_>, rows: u16, cols: u16) -> Result<()> {
    let size = Winsize {
        rows,
        cols,
        x: 0,
        y: 0,
    };
    // SAFETY: reads the structure.
    unsafe { sys!(nr::IOCTL, terminal.as_raw_fd(), TIOCSWINSZ, &raw const size) }.map(drop)
}

/// Marks a descriptor as one that never makes its user wait.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    set_flags(fd, O_NONBLOCK | O_RDWR)
}

fn set_flags(fd: BorrowedFd<'_>, flags: c_int) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::FCNTL, fd.as_raw_fd(), F_SETFL, flags) }.map(drop)
}
