//! The one place of this program with `unsafe`: whether standard output was open when it began, and
//! descriptors whose readiness is awaited.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// True if the program was started with its standard output closed (`>&-`).
///
/// The start of a Rust program opens `/dev/null` in place of closed standard streams, after which
/// lost output looks like written output; so this is noted before, where the system offers a place.
pub(crate) fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
extern "C" fn note() {
    let closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: the dynamic loader, or the start code of a static program, calls each entry of this
// section once before `main`, as a function without a result; it passes arguments that `note` does
// not take, which the C calling convention allows. `note` makes one system call and one atomic
// store: it needs nothing of the standard library that is not set up yet.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

/// Hands a descriptor, which must not block, to the reactor.
#[cfg(target_os = "linux")]
pub(crate) fn watched(
    descriptor: std::os::fd::OwnedFd,
) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor from here to its drop, and gives nobody
    // else the means to close it; `AsyncFd` takes it back from the reactor before that.
    let registered = unsafe { tokio::io::unix::AsyncFd::register(descriptor) };
    registered.map_err(std::io::Error::from)
}
