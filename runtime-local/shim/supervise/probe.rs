//! Health checks over the network, from inside the replica's network namespace, never waiting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fault::{Outcome, Step};
use crate::sys::fs::{self, At};
use crate::sys::{abi, process, socket};

/// A try under way.
#[derive(Debug)]
pub(super) struct Probe {
    socket: OwnedFd,
    /// Addresses not tried yet.
    rest: Vec<IpAddr>,
    port: u16,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Connecting { request: Option<String> },
    Answering { answer: Vec<u8> },
}

/// How far a try has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Pending,
    Done(bool),
}

/// Runs something inside a network namespace and comes back.
pub(super) fn within<T>(network: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Outcome<T> {
    let own = fs::open(At::Cwd, "/proc/self/ns/net", abi::O_RDONLY, 0)
        .step("open own network namespace", "")?;
    process::enter(network, abi::CLONE_NEWNET).step("enter network namespace", "")?;
    let result = work();
    if process::enter(own.as_fd(), abi::CLONE_NEWNET).is_err() {
        // A shim that is lost in its replica's network would do harm; a successor adopts.
        process::exit(crate::fault::EXIT_SETUP);
    }
    Ok(result)
}

impl Probe {
    /// Begins to connect to a port of the replica; with a path, to ask it by HTTP.
    pub(super) fn begin(
        network: BorrowedFd<'_>,
        port: u16,
        path: Option<&str>,
    ) -> Outcome<Option<Self>> {
        let request = path.map(|path| {
            format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nUser-Agent: unmoor\r\n\r\n")
        });
        within(network, || {
            let own = socket::address_of("eth0").ok().map(IpAddr::V4);
            let mut rest: Vec<IpAddr> = own.into_iter().collect();
            rest.extend([
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
            ]);
            let socket = connect_next(&mut rest, port)?;
            Some(Self {
                socket,
                rest,
                port,
                stage: Stage::Connecting { request },
            })
        })
    }

    /// What to wait for.
    pub(super) fn wanted(&self) -> (BorrowedFd<'_>, i16) {
        let events = match self.stage {
            Stage::Connecting { .. } => abi::POLLOUT,
            Stage::Answering { .. } => abi::POLLIN,
        };
        (self.socket.as_fd(), events)
    }

    /// Goes on when the socket is ready.
    pub(super) fn advance(&mut self, network: BorrowedFd<'_>) -> Progress {
        match &mut self.stage {
            Stage::Connecting { request } => {
                let request = request.take();
                self.connected(network, request)
            }
            Stage::Answering { answer } => {
                let mut buffer = [0; 64];
                match fs::read(self.socket.as_fd(), &mut buffer) {
                    Err(crate::sys::Errno::AGAIN) => Progress::Pending,
                    Err(_) | Ok(0) => Progress::Done(false),
                    Ok(len) => {
                        answer.extend_from_slice(&buffer[..len]);
                        judge(answer)
                    }
                }
            }
        }
    }

    fn connected(&mut self, network: BorrowedFd<'_>, request: Option<String>) -> Progress {
        if socket::connect_result(self.socket.as_fd()).is_err() {
            let (rest, port) = (&mut self.rest, self.port);
            let Ok(Some(socket)) = within(network, || connect_next(rest, port)) else {
                return Progress::Done(false);
            };
            self.socket = socket;
            self.stage = Stage::Connecting { request };
            return Progress::Pending;
        }
        let Some(request) = request else {
            return Progress::Done(true);
        };
        // A fresh socket takes a request of this size at once.
        match socket::send(self.socket.as_fd(), request.as_bytes(), &[], 0) {
            Ok(sent) if sent == request.len() => {
                self.stage = Stage::Answering { answer: Vec::new() };
                Progress::Pending
            }
            _ => Progress::Done(false),
        }
    }
}

/// Begins a connection to the next address that does not refuse at once.
fn connect_next(rest: &mut Vec<IpAddr>, port: u16) -> Option<OwnedFd> {
    while let Some(address) = rest.pop() {
        if let Ok(socket) = socket::begin_connect(SocketAddr::new(address, port)) {
            return Some(socket);
        }
    }
    None
}

/// Reads the status from the beginning of an HTTP answer.
fn judge(answer: &[u8]) -> Progress {
    const NEEDED: usize = "HTTP/1.1 200".len();
    let prefix = answer.len().min(NEEDED);
    let expected = b"HTTP/1.";
    let same = prefix.min(expected.len());
    if answer[..same] != expected[..same] {
        return Progress::Done(false);
    }
    if answer.len() < NEEDED {
        return Progress::Pending;
    }
    let status = std::str::from_utf8(&answer[9..12])
        .ok()
        .and_then(|text| text.parse().ok());
    Progress::Done(answer[8] == b' ' && status.is_some_and(|code: u16| (200..400).contains(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_status() {
        assert_eq!(judge(b"HTT"), Progress::Pending);
        assert_eq!(judge(b"HTTP/1.1 20"), Progress::Pending);
        assert_eq!(judge(b"HTTP/1.1 204 No Content"), Progress::Done(true));
        assert_eq!(judge(b"HTTP/1.0 302 Found"), Progress::Done(true));
        assert_eq!(judge(b"HTTP/1.1 404 Not Found"), Progress::Done(false));
        assert_eq!(judge(b"SSH-2.0"), Progress::Done(false));
        assert_eq!(judge(b"HTTP/1.1 abc"), Progress::Done(false));
    }
}
