//! The probe: a small static program that runs inside the services of the conformance suite.
//!
//! ```text
//! lasting    serve [--tcp P]… [--udp P]… [--name X] [--ready-after MS] [--listen-after MS]
//!                  [--unready-file PATH] [--presence PATH] [--ignore-term]
//!                  [--exit-after MS] [--code N] [--slow MS] [--load HOST PORT MS]
//!            sleep [MS]   tick MS [COUNT]   exit N MS   flaky PATH FAILURES [COMMAND…]   cat
//! at once    hello  hostname  ready  env [KEY]  id  cwd  tty  limits  route  print [--stderr] TEXT…
//!            lines N TEXT…  exit N  burn MIB  spin MS  forkmany N
//! reaching   resolve NAME  connect [--timeout MS] HOST PORT TEXT…  udp HOST PORT TEXT…
//!            check PORT  count PORT  discover [--token T] [NAME]
//! files      read PATH  write PATH TEXT…  append PATH TEXT…  remove PATH  hash PATH  stat PATH
//! ```
//!
//! A server answers one line for each connection with what the command of that line prints; `die N`
//! ends it, `count` tells of its load, `GET …` is answered as HTTP. Exit codes: 1 it failed, 2 a
//! name is not known, 3 a connection was not made, 4 it was not allowed, 64 wrong arguments. A lasting program notes
//! SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 and SIGTERM on standard output and ends with 0; a server
//! answers everybody who has come by then.

mod ask;
mod command;
mod connect;
mod dns;
mod files;
mod load;
mod serve;
mod sys;
mod system;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use command::Reply;
use serve::Server;

/// What makes a file this program, for those who only look at it.
const MARKER: &str = "unmoor conformance probe 1";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    sys::hold_signals();
    if words.first().is_some_and(|word| word == "--version") {
        println!("{MARKER}");
        return ExitCode::SUCCESS;
    }
    match lasting(&words) {
        Some(Lasting::Wrong) => finish(Reply::fail(64, "wrong arguments")),
        Some(Lasting::Ended(reply)) => finish(reply),
        Some(Lasting::Server(server)) => last(Some(&server), None),
        Some(Lasting::Worker(work)) => {
            let (sender, receiver) = channel();
            thread::spawn(move || {
                let _ = sender.send(work());
            });
            last(None, Some(receiver))
        }
        None => finish(command::run(&words, None)),
    }
}

/// A command that does not end at once.
enum Lasting {
    Wrong,
    Ended(Reply),
    Server(Arc<Server>),
    /// Ends with the code it returns.
    Worker(Box<dyn FnOnce() -> u8 + Send>),
}

fn milliseconds(word: Option<&String>) -> Option<Duration> {
    word?.parse().ok().map(Duration::from_millis)
}

fn pause(time: Duration) {
    // Nothing ever wakes this thread before its time on purpose; waking early only costs a look.
    let end = std::time::Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(std::time::Instant::now()) {
        thread::park_timeout(rest);
    }
}

fn lasting(words: &[String]) -> Option<Lasting> {
    let work = |work: Box<dyn FnOnce() -> u8 + Send>| Some(Lasting::Worker(work));
    match words.first()?.as_str() {
        "serve" => Some(match serve::start(&words[1..]) {
            Ok(server) => Lasting::Server(server),
            Err(Some(problem)) => Lasting::Ended(Reply::fail(1, problem)),
            Err(None) => Lasting::Wrong,
        }),
        "sleep" => {
            let time = milliseconds(words.get(1));
            work(Box::new(move || {
                pause(time.unwrap_or(Duration::from_secs(u64::from(u32::MAX))));
                0
            }))
        }
        "exit" if words.len() > 2 => {
            let (Some(time), Ok(code)) = (milliseconds(words.get(2)), words[1].parse()) else {
                return Some(Lasting::Wrong);
            };
            work(Box::new(move || {
                pause(time);
                code
            }))
        }
        "tick" => {
            let every = milliseconds(words.get(1)).unwrap_or(Duration::from_secs(1));
            let most: Option<u64> = words.get(2).and_then(|word| word.parse().ok());
            work(Box::new(move || tick(every, most)))
        }
        "cat" => work(Box::new(cat)),
        "flaky" => Some(flaky(words)),
        _ => None,
    }
}

fn tick(every: Duration, most: Option<u64>) -> u8 {
    let mut count = 0;
    loop {
        println!("tick {count}");
        count += 1;
        if most.is_some_and(|most| count >= most) {
            return 0;
        }
        pause(every);
    }
}

fn cat() -> u8 {
    let (mut from, mut to) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return 0,
            Ok(count)
                if to
                    .write_all(&buffer[..count])
                    .and_then(|()| to.flush())
                    .is_ok() => {}
            _ => return 1,
        }
    }
}

/// Fails as often as asked, counting in a file, then becomes another command.
fn flaky(words: &[String]) -> Lasting {
    let (Some(path), Some(most)) = (
        words.get(1),
        words.get(2).and_then(|w| w.parse::<u64>().ok()),
    ) else {
        return Lasting::Wrong;
    };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let done: u64 = text.trim().parse().unwrap_or(0);
    if done < most {
        let written = std::fs::write(path, (done + 1).to_string());
        let code = if written.is_ok() { 1 } else { 64 };
        let out = format!("failing {}\n", done + 1);
        return Lasting::Ended(Reply {
            code,
            out,
            err: String::new(),
        });
    }
    let rest = words.get(3..).unwrap_or_default().to_vec();
    let rest = if rest.is_empty() {
        vec!["sleep".to_owned()]
    } else {
        rest
    };
    lasting(&rest).unwrap_or_else(|| Lasting::Ended(command::run(&rest, None)))
}

/// Waits for a signal, or for the worker's end.
fn last(server: Option<&Arc<Server>>, worker: Option<Receiver<u8>>) -> ExitCode {
    if let Some(worker) = worker {
        thread::spawn(move || {
            if let Ok(code) = worker.recv() {
                leave(code);
            }
        });
    }
    loop {
        let signal = sys::next_signal();
        println!("signal {signal}");
        if server.is_some_and(|server| server.ignores(signal)) {
            continue;
        }
        if let Some(server) = server {
            server.finish();
            server.note_presence("end");
        }
        return ExitCode::SUCCESS;
    }
}

/// Ends the process from any of its threads.
#[expect(
    clippy::disallowed_methods,
    reason = "only the first thread could return from main, and it waits for signals"
)]
fn leave(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

fn finish(reply: Reply) -> ExitCode {
    let _ = std::io::stdout().write_all(reply.out.as_bytes());
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(reply.err.as_bytes());
    ExitCode::from(reply.code)
}
