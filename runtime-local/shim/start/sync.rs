//! What the shim and a process it is starting say to each other over a socket pair.
//!
//! One byte of tag, then the content. The end of the socket without a failure means that the
//! program has been executed: every copy is close-on-exec.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fault::{Outcome, Step, refuse};
use crate::sys::socket::{self, Received};
use crate::sys::{Errno, abi};
use crate::wire::report::{Failure, Report};

/// The longest message; failures carry paths.
const MESSAGE_MAX: usize = 16 * 1024;
/// Descriptors per message.
const BATCH: usize = 16;

/// A message of either side.
#[derive(Debug)]
pub(crate) enum Message {
    /// Shim: the id maps are written; descriptors of prepared mounts. More follow if `more`.
    Mounts { fds: Vec<OwnedFd>, more: bool },
    /// Shim: the interfaces are there.
    Wired,
    /// Child: everything stands but the program; the master of its terminal, if it has one.
    Ready(Option<OwnedFd>),
    /// Shim: execute the program.
    Go,
    /// Helper of an exec: the program's process in the host's pid namespace.
    Pid(u32),
    /// Exec: the master of its terminal.
    Terminal(OwnedFd),
    /// Child: it failed.
    Failed(Failure),
    /// The other end is closed.
    End,
}

/// Sends the descriptors of prepared mounts, in as many messages as they need.
pub(crate) fn send_mounts(socket: &impl AsFd, fds: &[OwnedFd]) -> Outcome<()> {
    let mut rest = fds;
    loop {
        let (now, later) = rest.split_at(rest.len().min(BATCH));
        let borrowed: Vec<BorrowedFd<'_>> = now.iter().map(AsFd::as_fd).collect();
        let bytes = [b'M', u8::from(!later.is_empty())];
        socket::send(socket.as_fd(), &bytes, &borrowed, 0).step("hand over mounts", "")?;
        rest = later;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Sends a message without mounts.
pub(crate) fn send(socket: &impl AsFd, message: &Message) -> Outcome<()> {
    let (bytes, fds): (Vec<u8>, Vec<BorrowedFd<'_>>) = match message {
        Message::Wired => (b"W".to_vec(), Vec::new()),
        Message::Ready(master) => (b"R".to_vec(), master.iter().map(AsFd::as_fd).collect()),
        Message::Go => (b"G".to_vec(), Vec::new()),
        Message::Pid(pid) => {
            let mut bytes = b"P".to_vec();
            bytes.extend(pid.to_le_bytes());
            (bytes, Vec::new())
        }
        Message::Terminal(master) => (b"T".to_vec(), vec![master.as_fd()]),
        Message::Failed(failure) => {
            let mut bytes = b"F".to_vec();
            bytes.extend(Report::Failed(failure.clone()).encode());
            bytes.truncate(MESSAGE_MAX);
            (bytes, Vec::new())
        }
        Message::Mounts { .. } | Message::End => return Ok(()),
    };
    socket::send(socket.as_fd(), &bytes, &fds, 0)
        .step("talk to the other side", "")
        .map(drop)
}

/// Waits for the next message.
pub(crate) fn receive(socket: &impl AsFd) -> Outcome<Message> {
    // The shim says nothing long.
    let mut buffer = [0; 16];
    let got = past_reset(|| socket::receive(socket.as_fd(), &mut buffer, 0));
    parse(&buffer, got.step("hear the other side", "")?)
}

/// Hears what was said before the other side went without having heard all: the kernel tells of
/// that first, and once.
fn past_reset<T>(mut hear: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match hear() {
        Err(Errno::CONNRESET) => hear(),
        other => other,
    }
}

/// Takes the next message if there is one.
pub(crate) fn try_receive(socket: &impl AsFd) -> Outcome<Option<Message>> {
    let len = match past_reset(|| socket::next_len(socket.as_fd())) {
        Err(Errno::AGAIN) => return Ok(None),
        other => other.step("hear the other side", "")?,
    };
    let mut buffer = vec![0; len.min(MESSAGE_MAX)];
    let got = past_reset(|| socket::receive(socket.as_fd(), &mut buffer, abi::MSG_DONTWAIT));
    parse(&buffer, got.step("hear the other side", "")?).map(Some)
}

fn parse(buffer: &[u8], mut got: Received) -> Outcome<Message> {
    let bytes = &buffer[..got.len];
    let Some((tag, content)) = bytes.split_first() else {
        return Ok(Message::End);
    };
    let unexpected = || refuse("hear the other side", "a message that makes no sense");
    Ok(match tag {
        b'M' => Message::Mounts {
            more: content == [1],
            fds: got.fds,
        },
        b'W' => Message::Wired,
        b'R' => Message::Ready(got.fds.pop()),
        b'G' => Message::Go,
        b'P' => Message::Pid(u32::from_le_bytes(
            content.try_into().map_err(|_| unexpected())?,
        )),
        b'T' => Message::Terminal(got.fds.pop().ok_or_else(unexpected)?),
        b'F' => match Report::decode(content) {
            Ok(Report::Failed(failure)) => Message::Failed(failure),
            _ => return Err(unexpected()),
        },
        _ => return Err(unexpected()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::fault::failure;
    use crate::sys::socket::Pair;

    #[test]
    fn messages_arrive_in_order_with_their_descriptors() {
        let (a, b) = socket::pair(Pair::Packets).expect("pair");
        let (file, _) = socket::pair(Pair::Stream).expect("pair");
        assert!(try_receive(&b).expect("nothing yet").is_none());
        send(&a, &Message::Wired).expect("send");
        send(&a, &Message::Pid(70_000)).expect("send");
        send(&a, &Message::Ready(Some(file))).expect("send");
        let failed = failure("exec", Errno::NOENT, "x".repeat(5000));
        send(&a, &Message::Failed(failed.clone())).expect("send");
        drop(a);
        assert!(matches!(receive(&b), Ok(Message::Wired)));
        assert!(matches!(receive(&b), Ok(Message::Pid(70_000))));
        assert!(matches!(receive(&b), Ok(Message::Ready(Some(_)))));
        match try_receive(&b) {
            Ok(Some(Message::Failed(got))) => assert_eq!(got, failed),
            other => panic!("{other:?}"),
        }
        assert!(matches!(try_receive(&b), Ok(Some(Message::End))));
    }

    #[test]
    fn who_fails_without_having_heard_all_is_heard() {
        let told = |message: &Message| {
            let (a, b) = socket::pair(Pair::Packets).expect("pair");
            send(&b, &Message::Go).expect("send");
            send(&a, message).expect("send");
            b
        };
        let failed = failure("mount", Errno::NOENT, "/data");
        match try_receive(&told(&Message::Failed(failed.clone()))) {
            Ok(Some(Message::Failed(got))) => assert_eq!(got, failed),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            receive(&told(&Message::Wired)),
            Ok(Message::Wired)
        ));
    }

    #[test]
    fn many_mounts_take_several_messages() {
        let (a, b) = socket::pair(Pair::Packets).expect("pair");
        let (file, _) = socket::pair(Pair::Stream).expect("pair");
        let copy = || file.try_clone().expect("copy");
        let fds: Vec<OwnedFd> = (0..BATCH * 2 + 3).map(|_| copy()).collect();
        send_mounts(&a, &fds).expect("send");
        let mut got = Vec::new();
        loop {
            let Ok(Message::Mounts { fds, more }) = receive(&b) else {
                panic!("mounts")
            };
            got.extend(fds);
            if !more {
                break;
            }
        }
        assert_eq!(got.len(), fds.len());
        assert!(got.iter().all(|fd| fd.as_raw_fd() > 2));
    }
}
