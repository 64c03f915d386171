//! Descriptors that the system treats in a special way; the one place of this library with `unsafe`.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
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

/// Lets go of a descriptor whose closing waits for a grace period of the kernel, some 10 ms.
///
/// It is put into a socket that nobody can reach any more. The kernel closes what is in such a
/// socket when it tidies up, which it does at once; before Linux 6.9 it does so in this thread, and
/// then this is no faster than closing it.
pub(crate) fn give_away(fd: OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    // What cannot be given away is closed when it is dropped.
    let Ok((one, other)) = socketpair(family, kind, SocketFlags::CLOEXEC, None) else {
        return;
    };
    let all = [fd.as_fd(), one.as_fd(), other.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if rights.push(SendAncillaryMessage::ScmRights(&all)) {
        let _ = sendmsg(
            &one,
            &[IoSlice::new(b"-")],
            &mut rights,
            SendFlags::DONTWAIT,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::give_away;

    #[test]
    fn what_is_given_away_is_closed() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        give_away(writer.into());
        let limit = Timespec::try_from(Duration::from_secs(20)).expect("short");
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)), Ok(1));
        assert!(
            fds[0].revents().contains(PollFlags::HUP),
            "nobody has the other end"
        );
    }
}
