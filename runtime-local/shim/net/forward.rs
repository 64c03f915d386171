//! Asks the host's resolvers for names that are not ours, one socket for each question.
//!
//! A fresh socket gives every question a port of its own, a random number makes it harder still
//! to forge an answer, and only the server that was asked can reach the socket.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::sys::{self, Epoll, READ, WRITE};
use crate::wire::dns::{HEADER, question};

/// How many questions may be open at once; more are answered with a failure.
const MAX_OPEN: usize = 256;
/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest datagram that is passed on.
const MAX_DATAGRAM: usize = 8192;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// By datagram.
    Udp(SocketAddrV4),
    /// By the stream in this place of its table.
    Tcp(usize, u32),
}

/// What became of a question.
#[derive(Debug)]
pub(super) struct Done {
    /// Who asked.
    pub(super) asker: Asker,
    /// The answer, with the asker's own number; none when no server gave one.
    pub(super) answer: Option<Vec<u8>>,
    /// The question as it was asked.
    pub(super) query: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    fd: OwnedFd,
    serial: u32,
    asker: Asker,
    query: Vec<u8>,
    id: u16,
    attempt: usize,
    deadline: Instant,
    stream: Option<Stream>,
}

/// Progress of a question asked over TCP.
#[derive(Debug)]
struct Stream {
    sent: usize,
    input: Vec<u8>,
}

/// The questions that wait for an answer.
#[derive(Debug)]
pub(super) struct Forward {
    servers: Vec<SocketAddr>,
    open: Vec<Option<Open>>,
    serial: u32,
    token: u64,
}

impl Forward {
    /// Asks these servers in turn; `token` marks the events of our sockets in its upper byte.
    pub(super) fn new(servers: Vec<SocketAddr>, token: u64) -> Self {
        Self {
            servers,
            open: Vec::new(),
            serial: 0,
            token,
        }
    }

    /// Asks a question; `false` when nobody can be asked now.
    pub(super) fn ask(&mut self, epoll: &Epoll, query: &[u8], asker: Asker) -> bool {
        // A question that is repeated while it is open needs no second one.
        let mut open = self.open.iter().flatten();
        if matches!(asker, Asker::Udp(_))
            && open.any(|open| open.asker == asker && open.query == query)
        {
            return true;
        }
        let place = match self.open.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.open.len() < MAX_OPEN => {
                self.open.push(None);
                self.open.len() - 1
            }
            None => return false,
        };
        let started = self.start(epoll, place, query.to_vec(), asker, 0);
        started.is_ok()
    }

    /// Tries servers from `attempt` on until one takes the question; gives it back if none does.
    fn start(
        &mut self,
        epoll: &Epoll,
        place: usize,
        query: Vec<u8>,
        asker: Asker,
        attempt: usize,
    ) -> Result<(), Vec<u8>> {
        let attempts = (2 * self.servers.len()).min(4);
        for attempt in attempt..attempts {
            let server = self.servers[attempt % self.servers.len()];
            self.serial = self.serial.wrapping_add(1) & 0x00ff_ffff;
            let Ok((fd, id)) = self.contact(epoll, place, server, &query, asker) else {
                continue;
            };
            let stream = matches!(asker, Asker::Tcp(..)).then(|| Stream {
                sent: 0,
                input: Vec::new(),
            });
            let deadline = Instant::now() + PATIENCE;
            let serial = self.serial;
            self.open[place] = Some(Open {
                fd,
                serial,
                asker,
                query,
                id,
                attempt,
                deadline,
                stream,
            });
            return Ok(());
        }
        Err(query)
    }

    fn contact(
        &self,
        epoll: &Epoll,
        place: usize,
        server: SocketAddr,
        query: &[u8],
        asker: Asker,
    ) -> io::Result<(OwnedFd, u16)> {
        let id = sys::random_u16()?;
        let stream = matches!(asker, Asker::Tcp(..));
        let fd = sys::connected(stream, server)?;
        if !stream {
            let mut renumbered = query.to_vec();
            renumbered[..2].copy_from_slice(&id.to_be_bytes());
            sys::send_bytes(&fd, &renumbered)?;
        }
        let token = self.token | u64::from(self.serial) << 32 | place as u64;
        epoll.add(&fd, if stream { WRITE } else { READ }, token)?;
        Ok((fd, id))
    }

    /// Goes on with the question that `token` stands for.
    pub(super) fn ready(&mut self, epoll: &Epoll, token: u64) -> Option<Done> {
        let place = usize::try_from(token & 0xffff_ffff).ok()?;
        let serial = u32::try_from(token >> 32 & 0x00ff_ffff).ok()?;
        let open = self
            .open
            .get_mut(place)?
            .as_mut()
            .filter(|open| open.serial == serial)?;
        let progress = if open.stream.is_some() {
            open.go_on(epoll, token)
        } else {
            open.take()
        };
        match progress {
            Ok(None) => None,
            Ok(Some(answer)) => {
                let open = self.open[place].take()?;
                Some(Done {
                    asker: open.asker,
                    answer: Some(answer),
                    query: open.query,
                })
            }
            Err(_) => self.retry(epoll, place),
        }
    }

    /// Asks the next server, or gives up.
    fn retry(&mut self, epoll: &Epoll, place: usize) -> Option<Done> {
        let open = self.open[place].take()?;
        let asker = open.asker;
        match self.start(epoll, place, open.query, asker, open.attempt + 1) {
            Ok(()) => None,
            Err(query) => Some(Done {
                asker,
                answer: None,
                query,
            }),
        }
    }

    /// Goes on with one question whose server took too long.
    pub(super) fn expire(&mut self, epoll: &Epoll, now: Instant) -> Option<Done> {
        loop {
            let late = |open: &Option<Open>| open.as_ref().is_some_and(|open| open.deadline <= now);
            let place = self.open.iter().position(late)?;
            if let Some(done) = self.retry(epoll, place) {
                return Some(done);
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.iter().flatten().map(|open| open.deadline).min()
    }
}

impl Open {
    /// Reads datagrams until one is the answer.
    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match sys::receive(&self.fd, &mut buffer) {
                Ok(len) if len > buffer.len() => {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                Ok(len) => {
                    if let Some(answer) = accept(&self.query, self.id, &buffer[..len]) {
                        return Ok(Some(answer));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the question over the stream, then reads the answer.
    fn go_on(&mut self, epoll: &Epoll, token: u64) -> io::Result<Option<Vec<u8>>> {
        let len = u16::try_from(self.query.len()).unwrap_or(0).to_be_bytes();
        let mut framed = [&len[..], &self.query].concat();
        framed[2..4].copy_from_slice(&self.id.to_be_bytes());
        let Some(stream) = self.stream.as_mut() else {
            return Ok(None);
        };
        if stream.sent < framed.len() {
            match sys::send_bytes(&self.fd, &framed[stream.sent..]) {
                Ok(sent) => stream.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if stream.sent == framed.len() {
                epoll.change(&self.fd, READ, token)?;
            }
            return Ok(None);
        }
        let mut buffer = [0; 4096];
        match sys::receive_some(&self.fd, &mut buffer) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(len) => stream.input.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let Some((len, rest)) = stream.input.split_at_checked(2) else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        let Some(message) = rest.get(..len) else {
            return Ok(None);
        };
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        accept(&self.query, self.id, message)
            .ok_or_else(invalid)
            .map(Some)
    }
}

/// The message with the asker's number, if it answers the question that was sent as `id`.
fn accept(query: &[u8], id: u16, message: &[u8]) -> Option<Vec<u8>> {
    let head = message.get(..HEADER)?;
    let asked = question(query)?;
    // A server that could not read the question may leave it out, but only with an error.
    let same = match question(message) {
        Some(answered) => answered.same(&asked),
        None => head[4..6] == [0, 0] && head[3] & 0x0f != 0,
    };
    if head[..2] != id.to_be_bytes() || head[2] & 0x80 == 0 || !same {
        return None;
    }
    let mut answer = message.to_vec();
    answer[..2].copy_from_slice(&query[..2]);
    Some(answer)
}
