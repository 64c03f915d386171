//! Answers a replica's questions about its services over HTTP, from the view that names come from.
//!
//! The program inside may be hostile, to its own harm only: what it can make this process hold and do
//! is bounded by the limits below and by the size of its networks.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::NetError;
use super::sys::{Epoll, READ, WRITE};
use super::zones::Zones;
use crate::wire::http::{Ask, Heard, MAX_HEAD, Status, hear, refusal, response};
use crate::wire::listing::{Sources, list};
use crate::wire::nft_client::RESOLVER;
use crate::wire::plan::Plan;

/// How many requests may be open at once.
const MAX_OPEN: usize = 8;
/// How long a request may take to arrive, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a change beyond the replica's own networks is seen by those who wait.
const FAR: Duration = Duration::from_secs(1);

/// Marks of the events of our descriptors, in the upper byte of their tokens.
pub(super) const CALLERS: u64 = 7 << 56;
pub(super) const CALLS: u64 = 8 << 56;

/// Set in the environment of a replica that may ask.
const VARIABLE: &str = "UNMOOR_DISCOVERY_TOKEN=";

/// Who may ask, and for whom it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Discovery {
    token: String,
    stack: String,
}

impl Discovery {
    /// As the replica's own program was told; `None` if it was told nothing.
    pub(crate) fn of(plan: &Plan, service: &str) -> Option<Self> {
        let mut variables = plan.process.env.iter();
        let token = variables.find_map(|variable| variable.strip_prefix(VARIABLE))?;
        // `stack-service-slot`
        let (name, _) = plan.replica.rsplit_once('-')?;
        let stack = name.strip_suffix(service)?.strip_suffix('-')?;
        Self::new(token, stack)
    }

    /// Nobody may ask without a token.
    pub(crate) fn new(token: &str, stack: &str) -> Option<Self> {
        (!token.is_empty()).then(|| Self {
            token: token.to_owned(),
            stack: stack.to_owned(),
        })
    }
}

/// Opens the socket in the current namespace, on a port that nobody else has.
pub(super) fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((RESOLVER, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A list, by its cursor, as it is sent.
type Made = (u64, Rc<Vec<u8>>);

#[derive(Debug)]
enum Stage {
    Hearing(Vec<u8>),
    Waiting(Ask),
    Saying { text: Rc<Vec<u8>>, sent: usize },
}

#[derive(Debug)]
struct Call {
    stream: TcpStream,
    serial: u32,
    stage: Stage,
    deadline: Instant,
}

/// Answers the requests of one replica.
#[derive(Debug)]
pub(super) struct Speaker {
    listener: TcpListener,
    discovery: Discovery,
    calls: Vec<Option<Call>>,
    serial: u32,
    /// When the far ends of links are looked at again.
    look: Option<Instant>,
}

impl Speaker {
    pub(super) fn new(
        listener: TcpListener,
        discovery: Discovery,
        epoll: &Epoll,
    ) -> Result<Self, NetError> {
        let added = epoll.add(&listener, READ, CALLERS);
        added.map_err(NetError::io("wait for the replica's requests"))?;
        Ok(Self {
            listener,
            discovery,
            calls: Vec::new(),
            serial: 0,
            look: None,
        })
    }

    /// The socket, which the kernel may close later.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.listener.into()
    }

    /// Does what an event asks for.
    pub(super) fn ready(&mut self, epoll: &Epoll, token: u64, zones: &Zones) {
        if token & 0xff << 56 == CALLERS {
            return self.accept(epoll);
        }
        let Ok(place) = usize::try_from(token & 0xffff_ffff) else {
            return;
        };
        let serial = u32::try_from(token >> 32 & 0x00ff_ffff).unwrap_or(0);
        let call = self.calls.get_mut(place).and_then(Option::as_mut);
        let Some(call) = call.filter(|call| call.serial == serial) else {
            return;
        };
        match call.hear(&self.discovery.token) {
            Ok(None) => {}
            Ok(Some(Heard::Ask(ask))) => {
                let wait = Duration::from_secs(ask.wait);
                (call.stage, call.deadline) = (Stage::Waiting(ask), Instant::now() + wait);
                self.answer(zones, Some(place));
            }
            Ok(Some(Heard::Refused(status))) => call.say(refusal(status).into()),
            Ok(Some(Heard::Part)) => {}
            Err(_) => return self.calls[place] = None,
        }
        self.go_on(epoll, place);
    }

    fn accept(&mut self, epoll: &Epoll) {
        // Names have their turn, however many come.
        for _ in 0..2 * MAX_OPEN {
            let Ok((mut stream, _)) = self.listener.accept() else {
                return;
            };
            let place = match self.calls.iter().position(Option::is_none) {
                Some(place) => place,
                None if self.calls.len() < MAX_OPEN => {
                    self.calls.push(None);
                    self.calls.len() - 1
                }
                None => {
                    // As much as fits at once; the newcomer goes.
                    let _ = stream.set_nonblocking(true);
                    let _ = stream.write(&refusal(Status::Busy));
                    continue;
                }
            };
            self.serial = self.serial.wrapping_add(1) & 0x00ff_ffff;
            let token = CALLS | u64::from(self.serial) << 32 | place as u64;
            let watched = stream
                .set_nonblocking(true)
                .and_then(|()| epoll.add(&stream, READ, token));
            if watched.is_err() {
                continue;
            }
            self.calls[place] = Some(Call {
                stream,
                serial: self.serial,
                stage: Stage::Hearing(Vec::new()),
                deadline: Instant::now() + PATIENCE,
            });
        }
    }

    /// Answers those whose list is another one by now.
    pub(super) fn changed(&mut self, epoll: &Epoll, zones: &Zones) {
        self.answer(zones, None);
        for place in 0..self.calls.len() {
            self.go_on(epoll, place);
        }
    }

    /// Has an answer ready for those who wait and need not wait longer: all, or one.
    fn answer(&mut self, zones: &Zones, one: Option<usize>) {
        if !self.calls.iter().flatten().any(Call::waits) {
            return;
        }
        let now = Instant::now();
        let far = zones.far();
        self.look = (!far.is_empty()).then(|| now + FAR);
        let sources = Sources {
            stack: &self.discovery.stack,
            views: &zones.views,
            links: &zones.links,
            far: &far,
        };
        // Many may wait for the same: it is made once, and held once.
        let mut made: Vec<(Option<String>, Option<Made>)> = Vec::new();
        for (place, call) in self.calls.iter_mut().enumerate() {
            let Some(call) = call.as_mut().filter(|_| one.is_none_or(|one| one == place)) else {
                continue;
            };
            let Stage::Waiting(ask) = &call.stage else {
                continue;
            };
            let known = made.iter().position(|(name, _)| *name == ask.name);
            let known = known.unwrap_or_else(|| {
                let listing = list(&sources, ask.name.as_deref()).map(|found| {
                    let text = response(Status::Ok, found.text.as_bytes());
                    (found.cursor, Rc::new(text))
                });
                made.push((ask.name.clone(), listing));
                made.len() - 1
            });
            match &made[known].1 {
                None => call.say(refusal(Status::NotFound).into()),
                Some((cursor, text)) if ask.after != Some(*cursor) => call.say(Rc::clone(text)),
                Some(_) if call.deadline <= now => call.say(refusal(Status::Unchanged).into()),
                Some(_) => {}
            }
        }
    }

    /// Sends what can be sent, and waits for what comes next.
    fn go_on(&mut self, epoll: &Epoll, place: usize) {
        let Some(call) = self.calls[place].as_mut() else {
            return;
        };
        let token = CALLS | u64::from(call.serial) << 32 | place as u64;
        let done = match &mut call.stage {
            Stage::Saying { text, sent } => match call.stream.write(&text[*sent..]) {
                Ok(some) => {
                    *sent += some;
                    *sent == text.len()
                }
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            },
            _ => false,
        };
        let wanted = match &call.stage {
            Stage::Saying { .. } => WRITE,
            _ => READ,
        };
        if done || epoll.change(&call.stream, wanted, token).is_err() {
            self.calls[place] = None;
        }
    }

    /// Ends what took too long.
    pub(super) fn expire(&mut self, epoll: &Epoll, now: Instant, zones: &Zones) {
        for call in &mut self.calls {
            let late = |call: &Call| call.deadline <= now && !call.waits();
            if call.as_ref().is_some_and(late) {
                *call = None;
            }
        }
        self.changed(epoll, zones);
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let calls = || self.calls.iter().flatten();
        let look = self.look.filter(|_| calls().any(Call::waits));
        calls().map(|call| call.deadline).chain(look).min()
    }
}

impl Call {
    fn waits(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    /// Reads what has come; `None` if that is nothing. Whoever waits has nothing more to say.
    fn hear(&mut self, token: &str) -> io::Result<Option<Heard>> {
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let Stage::Hearing(input) = &mut self.stage else {
            let mut more = [0; 1];
            return match (&self.stage, self.stream.read(&mut more)) {
                (Stage::Saying { .. }, _) => Ok(None),
                (_, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(gone()),
            };
        };
        let mut buffer = [0; MAX_HEAD + 1];
        let room = buffer.len() - input.len().min(MAX_HEAD);
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => Err(gone()),
            Ok(len) => {
                input.extend_from_slice(&buffer[..len]);
                Ok(Some(hear(input, token)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn say(&mut self, text: Rc<Vec<u8>>) {
        self.stage = Stage::Saying { text, sent: 0 };
        self.deadline = Instant::now() + PATIENCE;
    }
}
