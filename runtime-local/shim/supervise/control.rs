//! The control socket and its clients; what they ask is carried out in `requests`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fault::{Outcome, Step, failure, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{Errno, abi, mount, poll, socket};
use crate::wire::control::{FRAME_MAX, Incoming, Refusal, Request, Response};
use crate::wire::report::Failure;

/// The socket's name in the run directory.
pub(super) const NAME: &str = "ctl";
/// Clients at once; each costs a descriptor.
const CLIENTS_MAX: usize = 64;

/// The one who asked, and the number of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) client: u64,
    pub(super) number: u32,
}

#[derive(Debug)]
struct Client {
    id: u64,
    socket: OwnedFd,
}

/// The socket and who is connected to it.
#[derive(Debug)]
pub(super) struct Control {
    listener: OwnedFd,
    clients: Vec<Client>,
    last_id: u64,
    own_uid: u32,
}

/// What came in from a client.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) waiter: Waiter,
    pub(super) request: Request,
    pub(super) fds: Vec<OwnedFd>,
}

impl Control {
    /// Listens in the run directory; a socket left by a dead shim is replaced.
    pub(super) fn open(run: &OwnedFd, run_path: &str) -> Outcome<Self> {
        let _ = fs::unlink(At::from(run), NAME);
        let path = format!("{run_path}/{NAME}");
        let path = if path.len() <= 107 {
            path
        } else {
            format!("{}/{NAME}", mount::fd_path(run.as_fd()))
        };
        let mask = fs::umask(0o177);
        let listener = socket::listen(&path);
        fs::umask(mask);
        let listener = listener.step("open control socket", &path)?;
        let own_uid = fs::stat_at(At::from(run), NAME)
            .step("open control socket", path)?
            .uid;
        Ok(Self {
            listener,
            clients: Vec::new(),
            last_id: 0,
            own_uid,
        })
    }

    /// The listening socket.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The clients and their sockets.
    pub(super) fn clients(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.clients
            .iter()
            .map(|client| (client.id, client.socket.as_fd()))
    }

    /// Accepts who is waiting; only root and the shim's own user are heard.
    pub(super) fn accept(&mut self) {
        while let Ok(socket) = socket::accept(self.listener.as_fd()) {
            let uid = socket::peer_uid(socket.as_fd());
            let known = uid.is_ok_and(|uid| uid == 0 || uid == self.own_uid);
            if !known || self.clients.len() >= CLIENTS_MAX {
                continue;
            }
            socket::widen(socket.as_fd(), 2 * FRAME_MAX as u32);
            self.last_id += 1;
            self.clients.push(Client {
                id: self.last_id,
                socket,
            });
        }
    }

    /// Takes the next request of a client; `None` when there is none, or the client is gone.
    pub(super) fn next(&mut self, id: u64) -> Option<Asked> {
        loop {
            let client = self.clients.iter().find(|client| client.id == id)?;
            // No buffer of the longest frame: it would stay with an idle shim for ever.
            let len = match socket::next_len(client.socket.as_fd()) {
                Err(Errno::AGAIN) => return None,
                Ok(len) if len <= FRAME_MAX => len,
                _ => {
                    self.drop_client(id);
                    return None;
                }
            };
            let mut buffer = vec![0; len];
            let got = match socket::receive(client.socket.as_fd(), &mut buffer, 0) {
                Err(Errno::AGAIN) => return None,
                Ok(got) if got.len > 0 && !got.cut => got,
                _ => {
                    self.drop_client(id);
                    return None;
                }
            };
            match Request::decode(&buffer[..got.len]) {
                Ok(Incoming::Request(number, request)) => {
                    let waiter = Waiter { client: id, number };
                    return Some(Asked {
                        waiter,
                        request,
                        fds: got.fds,
                    });
                }
                Ok(Incoming::Unknown(number)) => {
                    self.answer(Waiter { client: id, number }, &Response::Unsupported);
                }
                Err(_) => {
                    self.drop_client(id);
                    return None;
                }
            }
        }
    }

    /// Whether who asked has hung up, so that nobody would hear the answer.
    pub(super) fn is_gone(&self, waiter: Waiter) -> bool {
        let client = self
            .clients
            .iter()
            .find(|client| client.id == waiter.client);
        client.is_none_or(|client| poll::has_hung_up(client.socket.as_fd()))
    }

    /// Forgets a client.
    pub(super) fn drop_client(&mut self, id: u64) {
        self.clients.retain(|client| client.id != id);
    }

    /// Answers; a client that does not take its answers is dropped.
    pub(super) fn answer(&mut self, to: Waiter, response: &Response) {
        self.answer_with(to, response, &[]);
    }

    /// Answers and sends descriptors along; false if there is nobody to take it.
    pub(super) fn answer_with(
        &mut self,
        to: Waiter,
        response: &Response,
        fds: &[BorrowedFd<'_>],
    ) -> bool {
        let Some(client) = self.clients.iter().find(|client| client.id == to.client) else {
            return false;
        };
        let frame = response.encode(to.number);
        let sent = socket::send(client.socket.as_fd(), &frame, fds, abi::MSG_DONTWAIT);
        if sent.is_err() {
            self.drop_client(to.client);
        }
        sent.is_ok()
    }

    /// Answers with the result of something that has no other answer.
    pub(super) fn answer_result(&mut self, to: Waiter, result: Outcome<()>) {
        match result {
            Ok(()) => self.answer(to, &Response::Done),
            Err(failure) => self.refuse(to, failure),
        }
    }

    /// Answers that it failed.
    pub(super) fn refuse(&mut self, to: Waiter, failure: Failure) {
        let refusal = Refusal {
            wrong_phase: false,
            failure,
        };
        self.answer(to, &Response::Refused(refusal));
    }

    /// Answers that the replica is in the wrong state for it.
    pub(super) fn refuse_phase(&mut self, to: Waiter, what: &str, why: &str) {
        let refusal = Refusal {
            wrong_phase: true,
            failure: refuse(what, why),
        };
        self.answer(to, &Response::Refused(refusal));
    }
}

/// Removes the socket.
pub(super) fn remove(run: &OwnedFd) {
    let _ = fs::unlink(At::from(run), NAME);
}

/// A system call's refusal as an answer.
pub(super) fn outcome(result: crate::sys::Result<()>, step: &str, detail: &str) -> Outcome<()> {
    result.map_err(|errno| failure(step, errno, detail))
}
