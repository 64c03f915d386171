//! The probe as a server, and as a client that connects again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use unmoor_core::backend::Channel;
use unmoor_core::spec::Protocol;

use super::{Program, Reply, Timer, milliseconds};
use crate::model::{Event, Model, Write};

/// Servers that ask servers stop here.
const DEEPEST: u32 = 8;

/// What `serve` was told.
#[derive(Debug, Default)]
pub(super) struct Serve {
    tcp: Vec<u16>,
    udp: Vec<u16>,
    pub(super) name: Option<String>,
    ready_at: Duration,
    listen_at: Duration,
    unready_file: Option<String>,
    presence: Option<String>,
    pub(super) ignore_term: bool,
    load: Option<Load>,
}

/// A client that connects again and again.
#[derive(Debug)]
struct Load {
    host: String,
    port: u16,
    every: Duration,
    ok: u64,
    failed: u64,
    from: BTreeSet<String>,
}

impl Serve {
    pub(super) fn listens(&self, protocol: Protocol, port: u16, now: Duration) -> bool {
        let ports = match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        };
        now >= self.listen_at && ports.contains(&port)
    }
}

/// Options of `serve`, and when and with which code it ends by itself.
fn parse(words: &[String], now: Duration) -> Option<(Serve, Option<(Duration, i32)>)> {
    let mut serve = Serve::default();
    let (mut ends, mut code) = (None, 0);
    let mut rest = words.iter();
    while let Some(option) = rest.next() {
        match option.as_str() {
            "--tcp" => serve.tcp.push(rest.next()?.parse().ok()?),
            "--udp" => serve.udp.push(rest.next()?.parse().ok()?),
            "--name" => serve.name = Some(rest.next()?.clone()),
            "--ready-after" => serve.ready_at = now + milliseconds(rest.next()?)?,
            "--listen-after" => serve.listen_at = now + milliseconds(rest.next()?)?,
            "--unready-file" => serve.unready_file = Some(rest.next()?.clone()),
            "--presence" => serve.presence = Some(rest.next()?.clone()),
            "--ignore-term" => serve.ignore_term = true,
            "--exit-after" => ends = Some(milliseconds(rest.next()?)?),
            "--code" => code = rest.next()?.parse().ok()?,
            // Whoever asks here is answered at once.
            "--slow" => drop(milliseconds(rest.next()?)?),
            "--load" => {
                serve.load = Some(Load {
                    host: rest.next()?.clone(),
                    port: rest.next()?.parse().ok()?,
                    every: milliseconds(rest.next()?)?,
                    ok: 0,
                    failed: 0,
                    from: BTreeSet::new(),
                });
            }
            _ => return None,
        }
    }
    Some((serve, ends.map(|pause| (pause, code))))
}

impl Model {
    pub(super) fn launch_serve(&mut self, pid: u64, words: &[String]) {
        let Some((serve, ends)) = parse(words, self.now) else {
            return self.usage(pid);
        };
        let loads = serve.load.is_some();
        if let Some(process) = self.processes.get_mut(&pid) {
            process.program = Program::Serve(Box::new(serve));
        }
        if let Some((pause, code)) = ends {
            self.schedule(pause, Event::Process(pid, Timer::Exit(code)));
        }
        if loads {
            self.schedule(Duration::ZERO, Event::Process(pid, Timer::Load));
        }
        self.presence(pid, "start");
        self.emit(pid, Channel::Stdout, "serving\n");
    }

    fn serve_of(&self, pid: u64) -> Option<&Serve> {
        match &self.processes.get(&pid)?.program {
            Program::Serve(serve) => Some(serve),
            _ => None,
        }
    }

    fn load_of(&mut self, pid: u64) -> Option<&mut Load> {
        match &mut self.processes.get_mut(&pid)?.program {
            Program::Serve(serve) => serve.load.as_mut(),
            _ => None,
        }
    }

    /// Notes that the server begins or ends, in the file it was given.
    pub(super) fn presence(&mut self, pid: u64, what: &str) {
        let Some(path) = self.serve_of(pid).and_then(|serve| serve.presence.clone()) else {
            return;
        };
        let line = format!("{what} {}\n", self.hostname(pid));
        if let Err(problem) = self.write_for(pid, &path, line.as_bytes(), Write::Append) {
            self.emit(pid, Channel::Stderr, &format!("append {path}: {problem}\n"));
        }
    }

    pub(super) fn readiness(&self, pid: u64) -> Reply {
        let Some(serve) = self.serve_of(pid) else {
            return Reply::out("ready\n");
        };
        let blocked = serve
            .unready_file
            .as_ref()
            .is_some_and(|path| self.read_for(pid, path).is_ok());
        let ready = self.now >= serve.ready_at && !blocked;
        Reply::out(if ready { "ready\n" } else { "not ready\n" })
    }

    /// Answers one line, as the server that the process is.
    pub(crate) fn answer(&mut self, pid: u64, line: &str) -> String {
        if self.depth >= DEEPEST {
            return "error 3: too many servers in a row\n".to_owned();
        }
        self.depth += 1;
        let answer = self.answer_line(pid, line);
        self.depth -= 1;
        answer
    }

    fn answer_line(&mut self, pid: u64, line: &str) -> String {
        if line.starts_with("GET ") {
            let ready = self.readiness(pid).out == "ready\n";
            let status = if ready {
                "200 OK"
            } else {
                "503 Service Unavailable"
            };
            let words = ["hello".to_owned()];
            let body = self.command(pid, &words).out;
            let head = format!("content-length: {}\r\nconnection: close", body.len());
            return format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}");
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let reply = self.command(pid, &words);
        if reply.out_of_memory {
            self.leave(pid, 137, true);
            return String::new();
        }
        if reply.code == 0 {
            reply.out
        } else {
            format!("{}error {}: {}", reply.out, reply.code, reply.err)
        }
    }

    /// Makes one connection of the load, and plans the next.
    pub(super) fn load_once(&mut self, pid: u64) {
        let Some(load) = self.load_of(pid) else {
            return;
        };
        let (host, port, every) = (load.host.clone(), load.port, load.every);
        let from = self.processes[&pid].replica.clone();
        let address = self.resolve(&from, &host).first().copied();
        let answer =
            address.and_then(|address| self.dial(pid, address, Protocol::Tcp, port, "hello").ok());
        let name = answer
            .as_deref()
            .and_then(|text| text.split_whitespace().next());
        let name = name.map(str::to_owned);
        if let Some(load) = self.load_of(pid) {
            match name {
                Some(name) => {
                    load.ok += 1;
                    load.from.insert(name);
                }
                None => load.failed += 1,
            }
        }
        self.schedule(every, Event::Process(pid, Timer::Load));
    }

    /// What the load of a server came to; asked from beside it, through its port.
    pub(super) fn count_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        if let Some(port) = rest.first().and_then(|word| word.parse().ok()) {
            let here = std::net::Ipv4Addr::LOCALHOST;
            return match self.dial(pid, here, Protocol::Tcp, port, "count") {
                Ok(answer) => Reply::out(answer),
                Err(why) => Reply::fail(3, format!("count {port}: {}\n", why.as_str())),
            };
        }
        match self.load_of(pid) {
            Some(load) => {
                let from: Vec<&str> = load.from.iter().map(String::as_str).collect();
                let from = if from.is_empty() {
                    "-".to_owned()
                } else {
                    from.join(",")
                };
                // A connection that is taken is answered here, so nothing is ever cut.
                let (ok, failed) = (load.ok, load.failed);
                Reply::out(format!(
                    "ok {ok} failed {failed} unmade {failed} from {from} last -\n"
                ))
            }
            None => Reply::fail(1, "there is no load\n"),
        }
    }
}
