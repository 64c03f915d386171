//! The one place of this library with `unsafe`: descriptors whose readiness is awaited.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Hands a descriptor, which must not block, to the reactor.
#[allow(
    unsafe_code,
    reason = "the reactor keeps the number of a descriptor that it does not own"
)]
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor from here to its drop, and gives nobody
    // else the means to close it; `AsyncFd` takes it back from the reactor before that.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(io::Error::from)
}
