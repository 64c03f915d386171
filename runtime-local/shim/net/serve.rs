//! Takes questions inside a replica's namespace and answers them, by datagram and by stream.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::NetError;
use super::forward::{Asker, Done, Forward};
use super::sys::{Burst, Epoll, READ, ROOM, WRITE};
use crate::wire::dns::{Outcome, Transport, answer, fail};
use crate::wire::names::Zone;
use crate::wire::netplan::NetPlan;
use crate::wire::nft_client::RESOLVER;

/// How many streams may be open at once.
const MAX_STREAMS: usize = 16;
/// Longest question taken over a stream.
const MAX_QUESTION: usize = 4096;
/// How long a stream may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// How many bursts are answered before others get their turn.
const BURSTS: usize = 16;
/// Longest answer of our own over a stream.
const MAX_ANSWER: usize = 32 * 1024;

/// Marks of the events of our descriptors, in the upper byte of their tokens.
pub(super) const DATAGRAMS: u64 = 3 << 56;
pub(super) const LISTENER: u64 = 4 << 56;
pub(super) const STREAMS: u64 = 5 << 56;
pub(super) const UPSTREAM: u64 = 6 << 56;

#[derive(Debug)]
struct Conversation {
    stream: TcpStream,
    serial: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// A question of it is with another server.
    waiting: bool,
    /// It will send nothing more.
    ended: bool,
    deadline: Instant,
}

/// The sockets a replica's questions come to.
#[derive(Debug)]
pub(super) struct Sockets {
    datagrams: UdpSocket,
    listener: TcpListener,
}

impl Sockets {
    /// Opens them in the current namespace, on ports that nobody else has.
    pub(super) fn open() -> io::Result<Self> {
        let datagrams = UdpSocket::bind((RESOLVER, 0))?;
        let listener = TcpListener::bind((RESOLVER, 0))?;
        datagrams.set_nonblocking(true)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            datagrams,
            listener,
        })
    }

    /// Their ports: datagrams, streams.
    pub(super) fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((
            self.datagrams.local_addr()?.port(),
            self.listener.local_addr()?.port(),
        ))
    }
}

/// Answers the questions of one replica.
#[derive(Debug)]
pub(super) struct Server {
    sockets: Sockets,
    burst: Box<Burst>,
    streams: Vec<Option<Conversation>>,
    forward: Forward,
    serial: u32,
}

impl Server {
    /// Starts answering on these sockets.
    pub(super) fn new(sockets: Sockets, plan: &NetPlan, epoll: &Epoll) -> Result<Self, NetError> {
        let added = epoll
            .add(&sockets.datagrams, READ, DATAGRAMS)
            .and_then(|()| epoll.add(&sockets.listener, READ, LISTENER));
        added.map_err(NetError::io("wait for the replica's questions"))?;
        let forward = Forward::new(plan.upstreams.clone(), UPSTREAM);
        let burst = Burst::new();
        Ok(Self {
            sockets,
            burst,
            streams: Vec::new(),
            forward,
            serial: 0,
        })
    }

    /// Does what an event asks for.
    pub(super) fn ready(&mut self, epoll: &Epoll, token: u64, zone: &Zone) {
        match token & 0xff << 56 {
            DATAGRAMS => self.datagrams(epoll, zone),
            LISTENER => self.accept(epoll),
            STREAMS => self.stream(epoll, token, zone),
            _ => {
                if let Some(done) = self.forward.ready(epoll, token) {
                    self.deliver(epoll, done, zone);
                }
            }
        }
    }

    fn datagrams(&mut self, epoll: &Epoll, zone: &Zone) {
        for _ in 0..BURSTS {
            let Ok(count) = self.burst.receive(self.sockets.datagrams.as_fd()) else {
                return;
            };
            for n in 0..count {
                self.datagram(epoll, zone, n);
            }
            self.burst.reply(self.sockets.datagrams.as_fd());
        }
    }

    fn datagram(&mut self, epoll: &Epoll, zone: &Zone, n: usize) {
        let asker = Asker::Udp(self.burst.sender(n));
        let burst = &mut *self.burst;
        let len = burst.input_len[n];
        // A question that was cut cannot be answered, only refused.
        let query = &burst.input[n][..len.min(ROOM)];
        let output = &mut burst.output[n];
        let outcome = match answer(query, zone, Transport::Udp, output) {
            Outcome::Forward if len <= ROOM && self.forward.ask(epoll, query, asker) => {
                Outcome::Drop
            }
            Outcome::Forward => fail(query, output),
            other => other,
        };
        if let Outcome::Answer(len) = outcome {
            burst.output_len[n] = len;
        }
    }

    /// Hands on what a server answered, or says that none did.
    fn deliver(&mut self, epoll: &Epoll, done: Done, zone: &Zone) {
        let bytes = done.answer.unwrap_or_else(|| {
            let mut out = [0; ROOM];
            match fail(&done.query, &mut out) {
                Outcome::Answer(len) => out[..len].to_vec(),
                _ => Vec::new(),
            }
        });
        match done.asker {
            Asker::Udp(asker) => {
                let _ = self
                    .sockets
                    .datagrams
                    .send_to(&bytes, SocketAddr::V4(asker));
            }
            Asker::Tcp(place, serial) => {
                let open = self.streams.get_mut(place).and_then(Option::as_mut);
                let Some(open) = open.filter(|open| open.serial == serial) else {
                    return;
                };
                open.waiting = false;
                open.say(&bytes);
                self.converse(epoll, place, zone);
            }
        }
    }

    fn accept(&mut self, epoll: &Epoll) {
        while let Ok((stream, _)) = self.sockets.listener.accept() {
            let place = match self.streams.iter().position(Option::is_none) {
                Some(place) => place,
                None if self.streams.len() < MAX_STREAMS => {
                    self.streams.push(None);
                    self.streams.len() - 1
                }
                // The newcomer goes: it can ask again by datagram.
                None => continue,
            };
            self.serial = self.serial.wrapping_add(1) & 0x00ff_ffff;
            let token = STREAMS | u64::from(self.serial) << 32 | place as u64;
            let watched = stream
                .set_nonblocking(true)
                .and_then(|()| epoll.add(&stream, READ, token));
            if watched.is_err() {
                continue;
            }
            self.streams[place] = Some(Conversation {
                stream,
                serial: self.serial,
                input: Vec::new(),
                output: Vec::new(),
                waiting: false,
                ended: false,
                deadline: Instant::now() + IDLE,
            });
        }
    }

    fn stream(&mut self, epoll: &Epoll, token: u64, zone: &Zone) {
        let Ok(place) = usize::try_from(token & 0xffff_ffff) else {
            return;
        };
        let serial = u32::try_from(token >> 32 & 0x00ff_ffff).unwrap_or(0);
        let open = self.streams.get_mut(place).and_then(Option::as_mut);
        let Some(open) = open.filter(|open| open.serial == serial) else {
            return;
        };
        if open.hear().is_err() {
            self.streams[place] = None;
            return;
        }
        self.converse(epoll, place, zone);
    }

    /// Answers what has been asked completely and sends what can be sent.
    fn converse(&mut self, epoll: &Epoll, place: usize, zone: &Zone) {
        let Some(open) = self.streams[place].as_mut() else {
            return;
        };
        let mut result = open.flush();
        while result.is_ok() && !open.waiting && open.output.is_empty() {
            let Some(query) = open.question() else { break };
            let asker = Asker::Tcp(place, open.serial);
            let mut out = vec![0; MAX_ANSWER];
            let outcome = match answer(&query, zone, Transport::Tcp, &mut out) {
                Outcome::Forward if self.forward.ask(epoll, &query, asker) => {
                    open.waiting = true;
                    Outcome::Drop
                }
                Outcome::Forward => fail(&query, &mut out),
                other => other,
            };
            if let Outcome::Answer(len) = outcome {
                open.say(&out[..len]);
                result = open.flush();
            }
        }
        let token = STREAMS | u64::from(open.serial) << 32 | place as u64;
        let idle = !open.waiting && open.output.is_empty();
        let wanted = match (open.output.is_empty(), open.ended) {
            (false, _) => WRITE,
            (true, false) => READ,
            (true, true) => 0,
        };
        let gone = result.is_err()
            || open.input.len() > MAX_QUESTION + 2
            || (idle && open.ended)
            || epoll.change(&open.stream, wanted, token).is_err();
        if gone {
            self.streams[place] = None;
        }
    }

    /// Gives up on what took too long.
    pub(super) fn expire(&mut self, epoll: &Epoll, now: Instant, zone: &Zone) {
        while let Some(done) = self.forward.expire(epoll, now) {
            self.deliver(epoll, done, zone);
        }
        for place in &mut self.streams {
            if place
                .as_ref()
                .is_some_and(|open| open.deadline <= now && !open.waiting)
            {
                *place = None;
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.streams.iter().flatten().filter(|open| !open.waiting);
        self.forward
            .deadline()
            .into_iter()
            .chain(idle.map(|open| open.deadline))
            .min()
    }
}

impl Conversation {
    /// Reads what is there, up to one question too many.
    fn hear(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1024];
        while self.output.is_empty() && self.input.len() <= MAX_QUESTION + 2 {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(len) => self.input.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next complete question. Only one that is complete earns the stream more time.
    fn question(&mut self) -> Option<Vec<u8>> {
        let (len, rest) = self.input.split_at_checked(2)?;
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        let query = rest.get(..len)?.to_vec();
        self.input.drain(..len + 2);
        self.deadline = Instant::now() + IDLE;
        Some(query)
    }

    fn say(&mut self, answer: &[u8]) {
        let len = u16::try_from(answer.len()).unwrap_or(0);
        self.output.extend_from_slice(&len.to_be_bytes());
        self.output.extend_from_slice(&answer[..usize::from(len)]);
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
