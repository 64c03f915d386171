//! Processes: clone, exec, wait, namespaces, process descriptors.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null;

use super::abi::{
    CLONE_INTO_CGROUP, CLONE_PIDFD, CloneArgs, PIDFD_GET_INFO, PIDFD_INFO_EXIT, PidfdInfo, SIGCHLD,
    WALL, WNOHANG, c_int, c_long, nr, nr_common,
};
use super::{Errno, Result, again, owned, sys};

/// Which side of a clone this is.
#[derive(Debug)]
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The old one: the child's pid, and a descriptor of it.
    Parent(i32, OwnedFd),
}

/// Makes a child with a copy of this process's memory.
///
/// The process must have one thread: the child goes on running ordinary code.
pub(crate) fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Side> {
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        exit_signal: u64::from(SIGCHLD),
        ..CloneArgs::default()
    };
    if flags & super::abi::CLONE_PARENT != 0 {
        // The kernel takes the exit signal from the parent's own clone.
        args.exit_signal = 0;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let size = size_of::<CloneArgs>();
    // SAFETY: no CLONE_VM, so the child runs on its own copy of this stack; the shim has one
    // thread, so no lock is held by a thread that the child does not have.
    let pid = unsafe { sys!(nr_common::CLONE3, &raw mut args, size) }?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    let pid = i32::try_from(pid).map_err(|_| Errno::IO)?;
    Ok(Side::Parent(pid, owned(c_long::from(pidfd))?))
}

/// Gives the kernel back what was allocated and is free again.
pub(crate) fn release_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            safe fn malloc_trim(keep: usize) -> c_int;
        }
        // Whether there was anything to give back changes nothing.
        let _ = malloc_trim(0);
    }
}

/// Leaves the process at once.
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        let _ = unsafe { sys!(nr::EXIT_GROUP, code) };
    }
}

/// Replaces the program; returns only on failure.
pub(crate) fn exec(path: &CString, argv: &[*const u8], env: &[*const u8]) -> Errno {
    let null_last = |list: &[*const u8]| list.last().is_some_and(|last| last.is_null());
    assert!(
        null_last(argv) && null_last(env),
        "exec lists end with a null pointer"
    );
    let (argv, env) = (argv.as_ptr(), env.as_ptr());
    // SAFETY: path and both null-terminated lists of strings outlive the call.
    match unsafe { sys!(nr::EXECVE, path.as_ptr(), argv, env) } {
        Err(errno) => errno,
        Ok(_) => Errno::IO,
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code, 128 + signal for a signal.
    pub(crate) code: i32,
    /// Signal; 0: none.
    pub(crate) signal: u32,
}

impl Ended {
    /// Reads a wait status.
    pub(crate) fn from_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 {
            Self {
                code: (status >> 8) & 0xff,
                signal: 0,
            }
        } else {
            Self {
                code: 128 + signal,
                signal: signal.cast_unsigned(),
            }
        }
    }
}

/// Collects one child that has ended, if there is one.
pub(crate) fn reap(pid: i32) -> Result<Option<(i32, Ended)>> {
    wait4(pid, WNOHANG | WALL)
}

/// Waits until a child ends.
pub(crate) fn wait(pid: i32) -> Result<Ended> {
    match wait4(pid, WALL)? {
        Some((_, ended)) => Ok(ended),
        None => Err(Errno::SRCH),
    }
}

fn wait4(pid: i32, flags: c_int) -> Result<Option<(i32, Ended)>> {
    let mut status: c_int = 0;
    let usage = null::<u8>();
    // SAFETY: the status is writable; no usage is asked for.
    let found = again(|| unsafe { sys!(nr::WAIT4, pid, &raw mut status, flags, usage) })?;
    if found == 0 {
        return Ok(None);
    }
    let found = i32::try_from(found).map_err(|_| Errno::IO)?;
    Ok(Some((found, Ended::from_status(status))))
}

/// A descriptor of a process.
pub(crate) fn pidfd(pid: u32) -> Result<OwnedFd> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr_common::PIDFD_OPEN, pid, 0) }.and_then(owned)
}

/// Sends a signal to the process behind a descriptor, and to nobody else.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: u32) -> Result<()> {
    let info = null::<u8>();
    // SAFETY: no information structure is passed.
    unsafe {
        sys!(
            nr_common::PIDFD_SEND_SIGNAL,
            pidfd.as_raw_fd(),
            signal,
            info,
            0
        )
    }
    .map(drop)
}

/// Sends a signal to a child of this process, which cannot be reused before it is waited for.
pub(crate) fn signal_child(pid: i32, signal: u32) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::KILL, pid, signal) }.map(drop)
}

/// How a process ended that was not ours to wait for; `None` where the kernel (before 6.15)
/// cannot tell.
pub(crate) fn exit_info(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the request's number carries the structure's size.
    unsafe { sys!(nr::IOCTL, pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) }.ok()?;
    (info.mask & PIDFD_INFO_EXIT != 0).then(|| Ended::from_status(info.exit_code))
}

/// A copy of a descriptor of another process.
pub(crate) fn foreign_fd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr_common::PIDFD_GETFD, pidfd.as_raw_fd(), number, 0) }.and_then(owned)
}

/// Enters namespaces: one by its own descriptor, or several of a process by its descriptor.
pub(crate) fn enter(fd: BorrowedFd<'_>, kinds: u64) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::SETNS, fd.as_raw_fd(), kinds) }.map(drop)
}

/// Leaves something shared behind.
pub(crate) fn unshare(flags: u64) -> Result<()> {
    // SAFETY: takes no memory; the flags used change no memory mapping.
    unsafe { sys!(nr::UNSHARE, flags) }.map(drop)
}

/// This process's number as its own pid namespace has it.
pub(crate) fn own_pid() -> u32 {
    std::process::id()
}

/// Begins a session without a terminal.
pub(crate) fn new_session() -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::SETSID) }.map(drop)
}

/// Closes every descriptor from `first` to `last`.
///
/// # Safety
/// Nothing in this process may own one of them and use or close it later.
unsafe fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: takes no memory; the caller vouches for the descriptors.
    unsafe { sys!(nr_common::CLOSE_RANGE, first, last, 0) }.map(drop)
}

/// Closes everything but the given descriptors; for processes about to exec, which own nothing
/// any more.
pub(crate) fn keep_only(keep: &[i32]) -> Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        if fd > first {
            // SAFETY: the process is about to exec or to serve only what is kept; owners of the
            // others are never used or dropped afterwards.
            unsafe { close_range(first, fd - 1) }?;
        }
        first = fd + 1;
    }
    // SAFETY: as above.
    unsafe { close_range(first, u32::MAX) }
}

/// Takes ownership of a descriptor that this program was started with, close-on-exec; of a
/// standard stream, which keeps its place, a copy.
///
/// To be called once for each, before anything else is opened.
pub(crate) fn inherited_fd(number: i32) -> Result<OwnedFd> {
    use super::abi::{F_DUPFD_CLOEXEC, F_SETFD};
    const CLOSE_ON_EXEC: c_int = 1;
    if (0..3).contains(&number) {
        // SAFETY: takes no memory.
        return unsafe { sys!(nr::FCNTL, number, F_DUPFD_CLOEXEC, 3) }.and_then(owned);
    }
    // SAFETY: takes no memory; says if the descriptor is not open.
    unsafe { sys!(nr::FCNTL, number, F_SETFD, CLOSE_ON_EXEC) }?;
    owned(c_long::from(number))
}

/// Makes `number` a copy of a descriptor, kept over exec.
pub(crate) fn dup_to(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: takes no memory; clears the close-on-exec mark.
        return unsafe { sys!(nr::FCNTL, number, super::abi::F_SETFD, 0) }.map(drop);
    }
    // SAFETY: takes no memory; the numbers used (0, 1, 2) are owned by nobody in the shim.
    again(|| unsafe { sys!(nr::DUP3, fd.as_raw_fd(), number, 0) }).map(drop)
}
