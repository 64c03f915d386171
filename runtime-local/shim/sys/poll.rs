//! Waiting: descriptors, signals, clocks.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null;

use super::abi::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, O_CLOEXEC, O_NONBLOCK, POLLHUP, PollFd, Timespec, c_int, nr,
};
use super::{Errno, Result, owned, sys};

/// Waits until a descriptor is ready or the time is over; `None` waits for ever.
pub(crate) fn poll(fds: &mut [PollFd], timeout_ms: Option<u64>) -> Result<usize> {
    let wait = timeout_ms.map(|ms| Timespec {
        sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
    });
    let wait = wait.as_ref().map_or(null(), std::ptr::from_ref);
    let mask = null::<u64>();
    // SAFETY: the slice is writable and as long as said, the time outlives the call.
    let ready = unsafe { sys!(nr::PPOLL, fds.as_mut_ptr(), fds.len(), wait, mask, 8) };
    match ready {
        // A signal that is not ours to see: as if nothing was ready.
        Err(Errno::INTR) => Ok(0),
        other => other.map(|count| usize::try_from(count).unwrap_or(0)),
    }
}

/// Whether the other end of a connection has been closed; what it has sent may still be read.
pub(crate) fn has_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd {
        fd: fd.as_raw_fd(),
        events: 0,
        revents: 0,
    }];
    poll(&mut fds, Some(0)).is_ok() && fds[0].revents & POLLHUP != 0
}

/// Nanoseconds since 1970.
pub(crate) fn wall_ns() -> u64 {
    clock(CLOCK_REALTIME)
}

/// Milliseconds of a clock that only goes forward.
pub(crate) fn monotonic_ms() -> u64 {
    clock(CLOCK_MONOTONIC) / 1_000_000
}

fn clock(id: c_int) -> u64 {
    let mut now = Timespec::default();
    // SAFETY: the structure is what the call fills in.
    let result = unsafe { sys!(nr::CLOCK_GETTIME, id, &raw mut now) };
    debug_assert!(result.is_ok(), "these clocks always exist");
    now.sec.cast_unsigned() * 1_000_000_000 + now.nsec.cast_unsigned()
}

/// A set of signals.
pub(crate) fn signal_set(signals: &[u32]) -> u64 {
    signals
        .iter()
        .fold(0, |set, signal| set | 1 << (signal - 1))
}

/// A descriptor that becomes readable when one of the (blocked) signals arrives.
pub(crate) fn signal_fd(set: u64) -> Result<OwnedFd> {
    let flags = O_CLOEXEC | O_NONBLOCK;
    // SAFETY: the set outlives the call and has the size said.
    unsafe { sys!(nr::SIGNALFD4, -1, &raw const set, 8, flags) }.and_then(owned)
}

/// Forgets the signals that a signal descriptor holds.
pub(crate) fn drain_signals(fd: BorrowedFd<'_>) {
    let mut buffer = [0_u8; 128 * 4];
    while super::fs::read(fd, &mut buffer).is_ok_and(|len| len == buffer.len()) {}
}

/// Who sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A process.
    Process,
    /// The kernel by itself, such as for a key on the terminal.
    Kernel,
}

/// Waits for one of the (blocked) signals and returns its number and sender.
pub(crate) fn wait_signal(set: u64) -> Result<(u32, Sender)> {
    // A siginfo is 128 bytes: number, error, code, and what depends on them.
    let mut info = [0_i32; 32];
    let wait = null::<Timespec>();
    let out = info.as_mut_ptr();
    // SAFETY: the set outlives the call and the information is as large as the kernel's.
    let signal = unsafe { sys!(nr::RT_SIGTIMEDWAIT, &raw const set, out, wait, 8) }?;
    let sender = if info[2] > 0 {
        Sender::Kernel
    } else {
        Sender::Process
    };
    Ok((u32::try_from(signal).map_err(|_| Errno::IO)?, sender))
}

/// Replaces the set of blocked signals.
pub(crate) fn block_only(set: u64) -> Result<()> {
    const SETMASK: c_int = 2;
    let old = null::<u64>();
    // SAFETY: the set outlives the call.
    unsafe { sys!(nr::RT_SIGPROCMASK, SETMASK, &raw const set, old, 8) }.map(drop)
}

/// What happens on a signal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disposition {
    /// What the kernel does by default.
    Default,
    /// Nothing.
    Ignore,
}

/// Sets what happens on a signal.
pub(crate) fn set_disposition(signal: u32, what: Disposition) {
    let handler = match what {
        Disposition::Default => 0,
        Disposition::Ignore => 1,
    };
    let action = super::abi::KernelSigaction {
        handler,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let old = null::<u8>();
    // SAFETY: the structure outlives the call; no handler code is installed. SIGKILL and
    // SIGSTOP are refused by the kernel, which is as good.
    let _ = unsafe { sys!(nr::RT_SIGACTION, signal, &raw const action, old, 8) };
}

/// The entry for one descriptor.
pub(crate) fn watch(fd: &impl AsRawFd, events: i16) -> PollFd {
    PollFd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}
