//! The program's output on its way to the log and to who follows it live, and its input.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::log::{Log, Stream};
use crate::fault::{Outcome, Step};
use crate::start::stdio::{self, ShimEnds};
use crate::sys::fs;
use crate::sys::socket::{self, Pair};
use crate::sys::{Errno, abi, tty};
use crate::wire::plan::Plan;

/// Bytes taken from one stream before others get their turn.
const TURN: usize = 256 * 1024;
/// Followers at once.
const FOLLOWERS_MAX: usize = 16;
/// Input taken from a follower at once.
const INPUT: usize = 4096;
/// The most of a terminal's first words that is kept for who joins it first.
const HELD_MAX: usize = 4096;

/// Who follows the output live.
#[derive(Debug)]
pub(super) struct Follower {
    id: u64,
    out: OwnedFd,
    err: Option<OwnedFd>,
    stdin: bool,
    /// Input that the program has not taken yet.
    pending: Vec<u8>,
}

/// The shim's ends of the program's streams.
#[derive(Debug)]
pub(super) struct Streams {
    ends: Option<ShimEnds>,
    master: Option<OwnedFd>,
    followers: Vec<Follower>,
    last_id: u64,
    buffer: Vec<u8>,
    /// What a terminal has said before anybody joined it: its prompt, as a rule.
    held: Option<Vec<u8>>,
    /// The program's input ends once it has taken what waits for it.
    input_ends: bool,
}

/// The descriptors a follower gets.
#[derive(Debug)]
pub(super) struct FollowerEnds {
    pub(super) out: OwnedFd,
    pub(super) err: Option<OwnedFd>,
}

impl Streams {
    /// Streams through FIFOs, or (`None`) through a terminal that each run brings along.
    pub(super) fn new(ends: Option<ShimEnds>) -> Self {
        Self {
            ends,
            master: None,
            followers: Vec::new(),
            last_id: 0,
            buffer: Vec::new(),
            held: None,
            input_ends: false,
        }
    }

    /// Opens the input again for a run that begins, if the one before came to its end.
    pub(super) fn renew_input(&mut self, plan: &Plan, run: &OwnedFd) -> Outcome<()> {
        self.input_ends = false;
        if let Some(ends) = &mut self.ends
            && ends.stdin.is_none()
        {
            ends.stdin = stdio::open_input(plan, run)?;
        }
        Ok(())
    }

    /// Takes the terminal of a run that begins.
    pub(super) fn set_terminal(&mut self, master: Option<OwnedFd>) {
        if let Some(master) = &master {
            let _ = tty::set_nonblocking(master.as_fd());
        }
        self.held = master.is_some().then(Vec::new);
        self.master = master;
    }

    /// The terminal.
    pub(super) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.master.as_ref().map(AsFd::as_fd)
    }

    fn source(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        let ends = self.ends.as_ref();
        match stream {
            Stream::Out => self.terminal().or(ends.map(|ends| ends.stdout.as_fd())),
            Stream::Err => ends.map(|ends| ends.stderr.as_fd()),
        }
    }

    /// What output is read from.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let each = [Stream::Out, Stream::Err].into_iter();
        each.filter_map(|stream| self.source(stream).map(|fd| (stream, fd)))
    }

    /// Moves what is there to the log and the followers; false when the stream has ended.
    pub(super) fn pump(&mut self, stream: Stream, log: &mut Log) -> bool {
        self.take_turn(stream, log).0
    }

    /// The same; also tells how much was there.
    fn take_turn(&mut self, stream: Stream, log: &mut Log) -> (bool, usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            buffer = vec![0; 16 * 1024];
        }
        let mut is_open = true;
        let mut moved = 0;
        while moved < TURN {
            let Some(source) = self.source(stream) else {
                break;
            };
            match fs::read(source, &mut buffer) {
                Ok(len) if len > 0 => {
                    moved += len;
                    let bytes = &buffer[..len];
                    log.add(stream, bytes);
                    self.held = self.held.take().and_then(|held| hold(held, bytes));
                    self.followers
                        .retain(|follower| follower.is_fed(stream, bytes));
                }
                Err(Errno::AGAIN) => break,
                // A terminal whose last user is gone; a FIFO has its user in the program.
                _ => {
                    is_open = self.ends.is_some();
                    break;
                }
            }
        }
        self.buffer = buffer;
        (is_open, moved)
    }

    /// Reads everything that is left after the end of the program.
    pub(super) fn drain(&mut self, log: &mut Log) {
        for stream in [Stream::Out, Stream::Err] {
            // Bounded by the largest pipe: nobody writes any more.
            while self.source(stream).is_some() && self.take_turn(stream, log).1 >= TURN {}
        }
        log.end();
        self.master = None;
        self.held = None;
        self.followers.clear();
        self.buffer = Vec::new();
    }

    /// Adds a follower.
    pub(super) fn follow(&mut self, stdin: bool) -> Outcome<FollowerEnds> {
        let make = || socket::pair(Pair::Stream).step("attach", "make socket pair");
        if self.followers.len() >= FOLLOWERS_MAX {
            return Err(crate::fault::refuse("attach", "too many followers already"));
        }
        let (ours, theirs) = make()?;
        let (our_err, their_err) = match self.ends {
            Some(_) => make().map(|(a, b)| (Some(a), Some(b)))?,
            None => (None, None),
        };
        self.last_id += 1;
        let id = self.last_id;
        let follower = Follower {
            id,
            out: ours,
            err: our_err,
            stdin,
            pending: Vec::new(),
        };
        if let Some(held) = self.held.take() {
            // There is room for it: the socket is new.
            follower.is_fed(Stream::Out, &held);
        }
        self.followers.push(follower);
        Ok(FollowerEnds {
            out: theirs,
            err: their_err,
        })
    }

    /// The followers to listen to.
    pub(super) fn speakers(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        let listening = self.followers.iter().filter(|f| f.pending.is_empty());
        listening.map(|follower| (follower.id, follower.out.as_fd()))
    }

    /// Where input waits for room.
    pub(super) fn full_sink(&self) -> Option<BorrowedFd<'_>> {
        let waiting = self
            .followers
            .iter()
            .any(|follower| !follower.pending.is_empty());
        if waiting { self.sink() } else { None }
    }

    fn sink(&self) -> Option<BorrowedFd<'_>> {
        let fifo = self.ends.as_ref().and_then(|ends| ends.stdin.as_ref());
        self.terminal().or(fifo.map(AsFd::as_fd))
    }

    /// Takes input from a follower.
    pub(super) fn listen(&mut self, id: u64) {
        let Some(at) = self.followers.iter().position(|follower| follower.id == id) else {
            return;
        };
        let mut buffer = [0; INPUT];
        let follower = &mut self.followers[at];
        let got = socket::receive(follower.out.as_fd(), &mut buffer, abi::MSG_DONTWAIT);
        match got {
            Ok(got) if got.len > 0 => {
                if follower.stdin {
                    follower.pending.extend_from_slice(&buffer[..got.len]);
                }
                self.feed();
            }
            Err(Errno::AGAIN) => {}
            _ => {
                self.followers.remove(at);
            }
        }
    }

    /// Hands waiting input to the program as far as it takes it.
    pub(super) fn feed(&mut self) {
        let Some(sink) = self.sink().and_then(|sink| sink.try_clone_to_owned().ok()) else {
            for follower in &mut self.followers {
                follower.pending.clear();
            }
            return;
        };
        for follower in self.followers.iter_mut().filter(|f| !f.pending.is_empty()) {
            match fs::write(sink.as_fd(), &follower.pending) {
                Ok(len) => {
                    follower.pending.drain(..len);
                }
                Err(Errno::AGAIN) => {}
                Err(_) => follower.pending.clear(),
            }
        }
        self.end_input();
    }

    /// Lets the program meet the end of its input once it has read what was sent before.
    pub(super) fn close_input(&mut self) {
        // Whoever asks has sent everything, but not all of it may have been taken.
        for follower in self.followers.iter_mut().filter(|follower| follower.stdin) {
            let mut buffer = [0; INPUT];
            while let Ok(got) =
                socket::receive(follower.out.as_fd(), &mut buffer, abi::MSG_DONTWAIT)
                && got.len > 0
            {
                follower.pending.extend_from_slice(&buffer[..got.len]);
            }
        }
        self.input_ends = true;
        self.feed();
    }

    /// Closes the input if it is to end and nothing waits for it any more.
    fn end_input(&mut self) {
        let waits = self.followers.iter().any(|one| !one.pending.is_empty());
        if self.input_ends
            && !waits
            && let Some(ends) = &mut self.ends
        {
            ends.stdin = None;
        }
    }
}

/// Adds to what is held, unless it becomes too much.
fn hold(mut held: Vec<u8>, bytes: &[u8]) -> Option<Vec<u8>> {
    let fits = held.len() + bytes.len() <= HELD_MAX;
    fits.then(|| {
        held.extend_from_slice(bytes);
        held
    })
}

impl Follower {
    /// Passes output on; a follower that cannot keep up is dropped rather than waited for.
    fn is_fed(&self, stream: Stream, bytes: &[u8]) -> bool {
        let to = match (stream, &self.err) {
            (Stream::Err, Some(err)) => err,
            _ => &self.out,
        };
        socket::send(to.as_fd(), bytes, &[], abi::MSG_DONTWAIT)
            .is_ok_and(|sent| sent == bytes.len())
    }
}
