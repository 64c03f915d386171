//! Requests to a shim over its socket, and the answers.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};

use super::status::{is_shim_alive, read};
use crate::error::LocalError;
use crate::wire::control::{FRAME_MAX, Request, Response, VERSION};

/// Most descriptors of one message.
const DESCRIPTORS: usize = 4;
/// Longest wait for an answer that needs no waiting on the shim's side.
pub(super) const PROMPT: Duration = Duration::from_secs(30);

/// Tries to connect to a shim that has its lock and does not listen yet, and the pause between.
const TRIES: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(2);

/// A connection to a shim.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    replica: String,
    number: u32,
}

impl Control {
    /// Connects to the shim of a run directory.
    ///
    /// A shim that has only just begun is waited for.
    ///
    /// # Errors
    /// `Gone` if nobody listens there; `Later` if it would not obey.
    pub(crate) fn connect(run: &Path, replica: &str) -> Result<Self, LocalError> {
        obeys(run, replica)?;
        for _ in 0..TRIES {
            match Self::try_connect(run, replica) {
                Err(_) if is_shim_alive(run) => std::thread::park_timeout(PAUSE),
                result => return result,
            }
        }
        Self::try_connect(run, replica)
    }

    /// Connects at once or not at all.
    pub(super) fn try_connect(run: &Path, replica: &str) -> Result<Self, LocalError> {
        let failed = |source: Errno| LocalError::Gone {
            replica: replica.to_owned(),
            problem: format!("does not take requests: {source}"),
        };
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let dir = rustix::fs::open(run, flags, rustix::fs::Mode::empty()).map_err(failed)?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed)?;
        // A socket's path has room for 107 bytes only; this one is always short.
        let path = format!("/proc/self/fd/{}/ctl", dir.as_raw_fd());
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        connect(&socket, &address).map_err(failed)?;
        Ok(Self {
            socket,
            replica: replica.to_owned(),
            number: 0,
        })
    }

    /// The replica, for messages.
    pub(super) fn replica(&self) -> &str {
        &self.replica
    }

    /// The socket, to be waited on.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The socket itself.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Response, LocalError> {
        self.ask_within(request, PROMPT)
    }

    /// Sends a request and waits for its answer, which may take this long.
    pub(crate) fn ask_within(
        &mut self,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, LocalError> {
        let number = self.send(request, &[])?;
        loop {
            self.wait(patience)?;
            let (answers, response, _) = self.receive()?;
            if answers == number {
                return self.accept(response);
            }
        }
    }

    /// Joins the program's streams: standard output, to which input is written, and standard error
    /// unless there is a terminal.
    pub(crate) fn attach(&mut self, stdin: bool) -> Result<Vec<OwnedFd>, LocalError> {
        let number = self.send(&Request::Attach { stdin }, &[])?;
        loop {
            self.wait(PROMPT)?;
            let (answers, response, descriptors) = self.receive()?;
            if answers == number {
                self.accept(response)?;
                return Ok(descriptors);
            }
        }
    }

    /// Sends a request with descriptors; returns its number.
    pub(super) fn send(
        &mut self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<u32, LocalError> {
        self.number += 1;
        let frame = request.encode(self.number);
        if frame.len() > FRAME_MAX {
            return Err(LocalError::Spec(
                "the command and its environment are too long".into(),
            ));
        }
        send_frame(&self.socket, &frame, descriptors).map_err(|e| self.lost(e))?;
        Ok(self.number)
    }

    fn wait(&self, patience: Duration) -> Result<(), LocalError> {
        let limit = Timespec::try_from(patience).ok();
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        loop {
            match poll(&mut fds, limit.as_ref()) {
                Ok(0) => return Err(silence(&self.replica, patience)),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    /// The next answer: its request's number, itself, and descriptors that came along.
    pub(super) fn receive(&self) -> Result<(u32, Response, Vec<OwnedFd>), LocalError> {
        let (frame, descriptors) = receive_frame(&self.socket).map_err(|e| self.lost(e))?;
        let (number, response) = decode(&frame, &self.replica)?;
        Ok((number, response, descriptors))
    }

    /// Turns a refusal into an error.
    pub(super) fn accept(&self, response: Response) -> Result<Response, LocalError> {
        accept(response, &self.replica)
    }

    fn lost(&self, error: Errno) -> LocalError {
        LocalError::Gone {
            replica: self.replica.clone(),
            problem: format!("is lost: {error}"),
        }
    }
}

/// Whether the shim of a run directory, if there is one, obeys this version.
///
/// # Errors
/// `Later` if it does not.
pub(crate) fn obeys(run: &Path, replica: &str) -> Result<(), LocalError> {
    match read(run)? {
        Some(status) if status.obeys > VERSION && is_shim_alive(run) => Err(LocalError::Later {
            replica: replica.to_owned(),
            obeys: status.obeys,
            known: VERSION,
        }),
        _ => Ok(()),
    }
}

/// The error for a shim that says nothing.
pub(crate) fn silence(replica: &str, waited: Duration) -> LocalError {
    LocalError::Protocol {
        replica: replica.to_owned(),
        problem: format!("has not answered for {} s", waited.as_secs()),
    }
}

/// Reads an answer.
pub(super) fn decode(frame: &[u8], replica: &str) -> Result<(u32, Response), LocalError> {
    if frame.is_empty() {
        let problem = "closed the connection".to_owned();
        return Err(LocalError::Gone {
            replica: replica.to_owned(),
            problem,
        });
    }
    Response::decode(frame).map_err(|error| LocalError::Protocol {
        replica: replica.to_owned(),
        problem: format!("sent an answer that cannot be read: {error}"),
    })
}

/// Turns a refusal into an error.
pub(super) fn accept(response: Response, replica: &str) -> Result<Response, LocalError> {
    let replica = replica.to_owned();
    match response {
        Response::Refused(refusal) if refusal.wrong_phase => Err(LocalError::WrongPhase(format!(
            "{replica}: {}",
            refusal.failure
        ))),
        Response::Refused(refusal) => Err(LocalError::Shim {
            replica,
            failure: refusal.failure,
        }),
        Response::Unsupported => Err(LocalError::Unsupported {
            what: format!("the shim of {replica} is of an older version that cannot do this"),
            hint: format!("restart {replica}: that gives it a shim of this version"),
        }),
        other => Ok(other),
    }
}

/// Sends one frame with descriptors.
pub(super) fn send_frame(
    socket: &OwnedFd,
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    loop {
        match sendmsg(
            socket,
            &[IoSlice::new(frame)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Receives one frame with descriptors; an empty frame is the end.
pub(super) fn receive_frame(socket: &OwnedFd) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut frame = vec![0; FRAME_MAX];
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut frame)];
        match recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => {
                let mut descriptors = Vec::new();
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        descriptors.extend(rights);
                    }
                }
                frame.truncate(received.bytes);
                return Ok((frame, descriptors));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
