//! The server: answers one line for each connection, on every port it was given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::command::{self, Reply};
use crate::load::Load;
use crate::{files, leave, pause, system};

/// Longest line that is read.
const LINE: u64 = 64 * 1024;
/// How long the last connections may take when the server ends.
const LAST: Duration = Duration::from_secs(2);

/// What the server was told, and what it knows of itself.
#[derive(Debug)]
pub(crate) struct Server {
    name: Option<String>,
    ready_at: Instant,
    unready_file: Option<String>,
    presence: Option<String>,
    ignore_term: bool,
    /// How long it thinks before it says hello.
    slow: Duration,
    load: Option<Load>,
    doors: Mutex<Vec<Door>>,
    ending: AtomicBool,
    open: Open,
}

/// A port that takes connections.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

/// How many connections are being answered.
#[derive(Debug, Default)]
struct Open {
    count: Mutex<usize>,
    fewer: Condvar,
}

impl Open {
    fn change(&self, by: impl FnOnce(usize) -> usize) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = by(*count);
        self.fewer.notify_all();
    }

    /// Waits until there is none, or not for ever.
    fn none_within(&self, limit: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.fewer
                .wait_timeout_while(count, limit, |count| *count > 0),
        );
    }
}

#[derive(Default)]
struct Options {
    tcp: Vec<u16>,
    udp: Vec<u16>,
    name: Option<String>,
    ready_after: Duration,
    listen_after: Duration,
    unready_file: Option<String>,
    presence: Option<String>,
    ignore_term: bool,
    exit_after: Option<Duration>,
    code: u8,
    slow: Duration,
    load: Option<(String, u16, Duration)>,
}

fn parse(words: &[String]) -> Option<Options> {
    let mut options = Options::default();
    let mut rest = words.iter();
    let time = |word: Option<&String>| word?.parse().ok().map(Duration::from_millis);
    while let Some(option) = rest.next() {
        match option.as_str() {
            "--tcp" => options.tcp.push(rest.next()?.parse().ok()?),
            "--udp" => options.udp.push(rest.next()?.parse().ok()?),
            "--name" => options.name = Some(rest.next()?.clone()),
            "--ready-after" => options.ready_after = time(rest.next())?,
            "--listen-after" => options.listen_after = time(rest.next())?,
            "--unready-file" => options.unready_file = Some(rest.next()?.clone()),
            "--presence" => options.presence = Some(rest.next()?.clone()),
            "--ignore-term" => options.ignore_term = true,
            "--exit-after" => options.exit_after = Some(time(rest.next())?),
            "--code" => options.code = rest.next()?.parse().ok()?,
            "--slow" => options.slow = time(rest.next())?,
            "--load" => {
                let (host, port) = (rest.next()?.clone(), rest.next()?.parse().ok()?);
                options.load = Some((host, port, time(rest.next())?));
            }
            _ => return None,
        }
    }
    Some(options)
}

/// Starts serving; the error is what went wrong, or `None` for wrong arguments.
pub(crate) fn start(words: &[String]) -> Result<Arc<Server>, Option<String>> {
    let options = parse(words).ok_or(None)?;
    let server = Arc::new(Server {
        name: options.name,
        ready_at: Instant::now() + options.ready_after,
        unready_file: options.unready_file,
        presence: options.presence,
        ignore_term: options.ignore_term,
        slow: options.slow,
        load: options
            .load
            .map(|(host, port, every)| Load::new(host, port, every)),
        doors: Mutex::default(),
        ending: AtomicBool::new(false),
        open: Open::default(),
    });
    server.note_presence("start");
    if options.listen_after.is_zero() {
        listen(&server, &options.tcp, &options.udp)?;
    } else {
        let (server, tcp, udp) = (Arc::clone(&server), options.tcp, options.udp);
        thread::spawn(move || {
            pause(options.listen_after);
            if let Err(Some(problem)) = listen(&server, &tcp, &udp) {
                eprintln!("{problem}");
                leave(1);
            }
        });
    }
    println!("serving");
    // Not earlier: a slow machine would end before it has said anything.
    if let Some(after) = options.exit_after {
        let code = options.code;
        thread::spawn(move || {
            pause(after);
            leave(code);
        });
    }
    if server.load.is_some() {
        let server = Arc::clone(&server);
        thread::spawn(move || {
            if let Some(load) = &server.load {
                load.run();
            }
        });
    }
    Ok(server)
}

fn listen(server: &Arc<Server>, tcp: &[u16], udp: &[u16]) -> Result<(), Option<String>> {
    for port in tcp {
        let listener = TcpListener::bind(("0.0.0.0", *port))
            .map_err(|error| Some(format!("listen on {port}/tcp: {error}")))?;
        let ours = listener
            .try_clone()
            .map_err(|error| Some(format!("keep {port}/tcp: {error}")))?;
        let for_thread = Arc::clone(server);
        let thread = thread::spawn(move || for_thread.accept(&listener));
        let door = Door {
            listener: ours,
            thread,
        };
        let mut doors = server.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.push(door);
    }
    for port in udp {
        let socket = UdpSocket::bind(("0.0.0.0", *port))
            .map_err(|error| Some(format!("listen on {port}/udp: {error}")))?;
        let server = Arc::clone(server);
        thread::spawn(move || server.serve_udp(&socket));
    }
    Ok(())
}

impl Server {
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn ignores(&self, signal: i32) -> bool {
        self.ignore_term && signal == 15
    }

    pub(crate) fn is_ready(&self) -> bool {
        let blocked = self
            .unready_file
            .as_ref()
            .is_some_and(|path| std::fs::metadata(path).is_ok());
        Instant::now() >= self.ready_at && !blocked
    }

    /// Notes that the server begins or ends, in the file it was given.
    pub(crate) fn note_presence(&self, what: &str) {
        let Some(path) = &self.presence else { return };
        let line = format!("{what} {}\n", system::hostname());
        if let Err(error) = files::put(path, &line, true) {
            eprintln!("append {path}: {error}");
        }
    }

    pub(crate) fn count(&self) -> Reply {
        match &self.load {
            Some(load) => Reply::out(load.count()),
            None => Reply::fail(1, "there is no load"),
        }
    }

    /// Takes connections until the server ends, and then those that are waiting already.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.open.change(|count| count + 1);
                    let server = Arc::clone(self);
                    thread::spawn(move || {
                        server.serve(stream);
                        server.open.change(|count| count - 1);
                    });
                }
                Err(_) if self.ending.load(Ordering::SeqCst) => return,
                Err(_) => {}
            }
        }
    }

    /// Answers everybody who has come so far, as a server should that is told to end.
    pub(crate) fn finish(&self) {
        self.ending.store(true, Ordering::SeqCst);
        let doors = std::mem::take(&mut *self.doors.lock().unwrap_or_else(PoisonError::into_inner));
        for door in doors {
            let woken = door.listener.set_nonblocking(true).and_then(|()| {
                // Behind all who wait: the thread sees an empty queue after this one.
                TcpStream::connect(("127.0.0.1", door.listener.local_addr()?.port()))
            });
            if woken.is_ok() {
                let _ = door.thread.join();
            }
        }
        self.open.none_within(LAST);
    }

    /// Ends the process once the answer is on its way.
    pub(crate) fn die(&self, code: u8) {
        thread::spawn(move || {
            pause(Duration::from_millis(50));
            leave(code);
        });
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut reader = BufReader::new(&stream).take(LINE);
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() {
            return;
        }
        let line = line.trim_end();
        if line == "hello" && !self.slow.is_zero() {
            pause(self.slow);
        }
        let answer = if line.starts_with("GET ") {
            // The rest of the request is read, so that closing does not cut the answer short.
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|count| count > 2) {
                header.clear();
            }
            self.http()
        } else {
            self.line(line)
        };
        let _ = stream.write_all(answer.as_bytes());
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; 65536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let _ = socket.send_to(self.line(line.trim_end()).as_bytes(), from);
        }
    }

    fn line(&self, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let reply = command::run(&words, Some(self));
        match reply.code {
            0 => reply.out,
            code => format!("{}error {code}: {}", reply.out, reply.err),
        }
    }

    fn http(&self) -> String {
        let status = if self.is_ready() {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        let body = command::run(&["hello".to_owned()], Some(self)).out;
        let head = format!("content-length: {}\r\nconnection: close", body.len());
        format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}")
    }
}
