//! Starting and stopping a proxy: the listener, one thread a connection, and an end to all of them.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::log::{Event, Judge};
use super::rule::Rule;
use super::{http, tcp};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Tcp,
}

/// A proxy that has not started yet.
#[derive(Debug, Clone)]
pub struct FaultProxy {
    protocol: Protocol,
    upstream: String,
    listen: String,
    seed: u64,
    rules: Vec<Rule>,
}

impl FaultProxy {
    /// A proxy that understands HTTP/1.1, before a server at `host:port`.
    #[must_use]
    pub fn http(upstream: impl Into<String>) -> Self {
        Self::before(Protocol::Http, upstream.into())
    }

    /// A proxy that passes bytes; rules match a connection as method `TCP`, path `/`.
    #[must_use]
    pub fn tcp(upstream: impl Into<String>) -> Self {
        Self::before(Protocol::Tcp, upstream.into())
    }

    fn before(protocol: Protocol, upstream: String) -> Self {
        Self {
            protocol,
            upstream,
            listen: "127.0.0.1:0".to_owned(),
            seed: 0,
            rules: Vec::new(),
        }
    }

    /// Where to listen; by default a free port of the loopback address.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// What chance is drawn from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a rule behind those already there; the first that fires wins.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Listens and serves until [`Running`] is dropped.
    ///
    /// # Errors
    /// When the address cannot be bound, or a rule asks a TCP proxy for what only HTTP has.
    pub fn start(self) -> io::Result<Running> {
        if self.protocol == Protocol::Tcp {
            for rule in &self.rules {
                rule.check_for_tcp().map_err(io::Error::other)?;
            }
        }
        let listener = TcpListener::bind(&self.listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            judge: Judge::new(self.rules, self.seed),
            upstream: self.upstream,
            protocol: self.protocol,
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let acceptor = Arc::clone(&shared);
        let thread = thread::spawn(move || acceptor.accept(&listener));
        Ok(Running {
            address,
            shared,
            acceptor: Some(thread),
        })
    }
}

/// A proxy at work; dropping it closes every connection and waits for its threads.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Running {
    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was seen and done so far.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        self.shared.judge.log()
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            // The acceptor ends only by a panic here, which has been printed.
            let _ = acceptor.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The acceptor sleeps in accept(); a connection wakes it, and it sees the flag.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT);
        let _ = acceptor.join();
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) judge: Judge,
    upstream: String,
    protocol: Protocol,
    stopping: AtomicBool,
    /// Every open stream, written by the threads that own them, read once to close all.
    open: Mutex<HashMap<u64, Vec<TcpStream>>>,
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for (number, client) in (1..).zip(listener.incoming()) {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            if let Ok(client) = client {
                let shared = Arc::clone(self);
                threads.push(thread::spawn(move || shared.connection(number, client)));
            }
        }
        for stream in self.streams().values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// A broken connection is what this program is for, so its errors are nobody's news.
    fn connection(&self, number: u64, client: TcpStream) {
        let _ = self.keep(number, &client);
        let _ = match self.protocol {
            Protocol::Http => http::serve(self, number, &client),
            Protocol::Tcp => tcp::serve(self, number, &client),
        };
        self.streams().remove(&number);
    }

    /// Connects to the server on behalf of a connection.
    pub(super) fn connect(&self, number: u64) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.upstream.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    self.keep(number, &stream)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn keep(&self, number: u64, stream: &TcpStream) -> io::Result<()> {
        self.streams()
            .entry(number)
            .or_default()
            .push(stream.try_clone()?);
        // Registered and only then looked: whoever stops has set the flag before it reads the map.
        if self.stopping.load(Ordering::SeqCst) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    /// Closes the streams of a connection for good, the client's with a reset.
    pub(super) fn reset(&self, number: u64, client: &TcpStream) -> io::Result<()> {
        // With a linger time of zero the last close sends a reset instead of an end.
        rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO))?;
        self.streams().remove(&number);
        Ok(())
    }

    /// Forgets the connections to the server, which belong to one request each.
    pub(super) fn forget_upstream(&self, number: u64) {
        if let Some(streams) = self.streams().get_mut(&number) {
            streams.truncate(1);
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Vec<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a delay is the fault that was asked for"
)]
pub(super) fn pause(time: Duration) {
    thread::sleep(time);
}
