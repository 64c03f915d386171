//! Visitors that come all the time, and what each of them met.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::patience::until;
use crate::stage::{Stage, text};

/// Longest that a visitor waits for a connection, and then for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(25);

/// One request: when it began and ended, and the page or what went wrong.
#[derive(Debug)]
pub struct Visit {
    /// The number that the request carries, so that others can tell of it.
    pub number: usize,
    /// When the visitor asked for a connection.
    pub began: Instant,
    /// When the answer was whole, or had failed.
    pub ended: Instant,
    /// The body of the page.
    pub page: Result<String, String>,
}

/// Visitors at work; each opens a connection of its own for each request.
#[derive(Debug)]
pub struct Load {
    began: Instant,
    counts: Arc<Counts>,
    visitors: Vec<(Sender<()>, JoinHandle<Vec<Visit>>)>,
}

/// What the visitors count together.
#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Load {
    /// Lets this many visitors in, each of whom rests this long between two requests.
    ///
    /// # Panics
    /// If a thread cannot enter the stage's network.
    #[must_use]
    pub fn start(stage: &Stage, address: SocketAddr, visitors: usize, rest: Duration) -> Self {
        let began = Instant::now();
        let counts = Arc::new(Counts::default());
        let visitors = (0..visitors).map(|_| {
            let network = stage.network();
            let counts = Arc::clone(&counts);
            let (stop, stopped) = mpsc::channel();
            let visitor = std::thread::spawn(move || {
                enter(&network);
                let mut visits = Vec::new();
                while stopped.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                    let number = counts.begun.fetch_add(1, Ordering::Relaxed);
                    visits.push(visit(address, number));
                    counts.ended.fetch_add(1, Ordering::Relaxed);
                }
                visits
            });
            (stop, visitor)
        });
        Self {
            began,
            visitors: visitors.collect(),
            counts,
        }
    }

    /// How long they have been at it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until this many further requests have ended.
    ///
    /// # Panics
    /// If the visitors do not come on.
    pub fn more(&self, requests: usize) {
        let goal = self.counts.ended.load(Ordering::Relaxed) + requests;
        until("visitors come on", 2 * PATIENCE, || {
            let now = self.counts.ended.load(Ordering::Relaxed);
            if now >= goal { Ok(()) } else { Err(now) }
        });
    }

    /// Lets every visitor end the request it is at, and gives all that they met.
    ///
    /// # Panics
    /// If a visitor's thread panicked.
    #[must_use]
    pub fn stop(self) -> Vec<Visit> {
        let mut all = Vec::new();
        let (stops, visitors): (Vec<_>, Vec<_>) = self.visitors.into_iter().unzip();
        drop(stops);
        for visitor in visitors {
            all.extend(visitor.join().expect("a visitor"));
        }
        all.sort_by_key(|visit| visit.began);
        all
    }
}

/// Only this thread moves.
fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("the stage's network");
}

fn visit(address: SocketAddr, number: usize) -> Visit {
    let began = Instant::now();
    let page = fetch(address, number);
    Visit {
        number,
        began,
        ended: Instant::now(),
        page,
    }
}

fn fetch(address: SocketAddr, number: usize) -> Result<String, String> {
    let told = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream =
        TcpStream::connect_timeout(&address, PATIENCE).map_err(told("not connected"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(told("no limit"))?;
    stream
        .write_all(format!("GET /?{number} HTTP/1.0\r\nHost: shop\r\n\r\n").as_bytes())
        .map_err(told("not asked"))?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = text(&answer);
    let status = answer.lines().next().unwrap_or_default().to_owned();
    read.map_err(|error| format!("answer cut after {status:?}: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((_, body)) if status.contains(" 200 ") && !body.is_empty() => Ok(body.to_owned()),
        _ => Err(format!("answered {status:?}")),
    }
}
