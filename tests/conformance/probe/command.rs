//! Commands that end at once, from the command line or from a line that a server was sent.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::serve::Server;
use crate::{ask, connect, files, system};

/// What a command printed, and its exit code.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Reply {
    pub(crate) fn out(text: impl Into<String>) -> Self {
        Self {
            out: text.into(),
            ..Self::default()
        }
    }

    pub(crate) fn fail(code: u8, text: impl Into<String>) -> Self {
        let err = text.into() + "\n";
        Self {
            code,
            err,
            out: String::new(),
        }
    }

    pub(crate) fn wrong() -> Self {
        Self::fail(64, "wrong arguments")
    }
}

/// Runs a command, as itself or in the place of a server.
pub(crate) fn run(words: &[String], server: Option<&Server>) -> Reply {
    let Some((name, rest)) = words.split_first() else {
        return Reply::fail(64, "no command");
    };
    match name.as_str() {
        "hello" => Reply::out(hello(server)),
        "hostname" => Reply::out(system::hostname() + "\n"),
        "ready" => Reply::out(if server.is_none_or(Server::is_ready) {
            "ready\n"
        } else {
            "not ready\n"
        }),
        "env" => env(rest.first()),
        "resolve" => connect::resolve(rest),
        "connect" | "udp" => connect::connect(name, rest),
        "check" => connect::check(rest),
        "discover" => ask::discover(rest),
        "count" => match (rest.first().and_then(|word| word.parse().ok()), server) {
            (Some(port), _) => connect::count(port),
            (None, Some(server)) => server.count(),
            (None, None) => Reply::fail(1, "there is no load"),
        },
        "route" => Reply::out(system::route()),
        "read" | "hash" | "stat" | "remove" => files::look(name, rest),
        "write" | "append" => files::write(name, rest),
        "id" => Reply::out(system::id()),
        "cwd" => Reply::out(
            std::env::current_dir()
                .map(|path| format!("{}\n", path.display()))
                .unwrap_or_default(),
        ),
        "tty" => Reply::out(if system::has_terminal() {
            "tty\n"
        } else {
            "no tty\n"
        }),
        "limits" => Reply::out(system::limits()),
        "print" => print(rest),
        "lines" => lines(rest),
        "exit" => match rest.first().and_then(|word| word.parse().ok()) {
            Some(code) => Reply {
                code,
                ..Reply::default()
            },
            None => Reply::wrong(),
        },
        "die" => match server {
            Some(server) => {
                server.die(rest.first().and_then(|word| word.parse().ok()).unwrap_or(1));
                Reply::out("dying\n")
            }
            None => Reply::wrong(),
        },
        "burn" => burn(rest),
        "spin" => spin(rest),
        "forkmany" => fork(rest),
        _ => Reply::fail(64, format!("unknown command {name}")),
    }
}

fn hello(server: Option<&Server>) -> String {
    let own = server.and_then(|server| server.name().map(str::to_owned));
    let name = own
        .or_else(|| std::env::var("PROBE_NAME").ok())
        .unwrap_or_else(|| "-".to_owned());
    format!("{} {name}\n", system::hostname())
}

fn env(key: Option<&String>) -> Reply {
    if let Some(key) = key {
        return match std::env::var_os(key) {
            Some(value) => Reply::out(format!("{}\n", value.to_string_lossy())),
            None => Reply::fail(1, format!("{key} is not set")),
        };
    }
    let mut pairs: Vec<String> = std::env::vars_os()
        .map(|(key, value)| format!("{}={}\n", key.to_string_lossy(), value.to_string_lossy()))
        .collect();
    pairs.sort();
    Reply::out(pairs.concat())
}

fn print(rest: &[String]) -> Reply {
    let mut reply = Reply::default();
    let mut to_stderr = false;
    for word in rest {
        if word == "--stderr" {
            to_stderr = true;
            continue;
        }
        let text = if to_stderr {
            &mut reply.err
        } else {
            &mut reply.out
        };
        text.push_str(word);
        text.push('\n');
    }
    reply
}

fn lines(rest: &[String]) -> Reply {
    let Some((count, text)) = rest.split_first() else {
        return Reply::wrong();
    };
    let text = text.join(" ");
    let count: u64 = count.parse().unwrap_or(0);
    Reply::out((0..count).fold(String::new(), |mut all, number| {
        let _ = writeln!(all, "{number} {text}");
        all
    }))
}

/// Takes memory and touches every page of it.
fn burn(rest: &[String]) -> Reply {
    let Some(mib) = rest.first().and_then(|word| word.parse::<usize>().ok()) else {
        return Reply::wrong();
    };
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mib {
        let mut part = vec![0u8; 1 << 20];
        part.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        taken.push(std::hint::black_box(part));
    }
    Reply::out(format!("burned {}\n", taken.len()))
}

/// Computes for so many milliseconds; tells how many of them it had a processor.
fn spin(rest: &[String]) -> Reply {
    let Some(time) = rest.first().and_then(|word| word.parse().ok()) else {
        return Reply::wrong();
    };
    let end = Instant::now() + Duration::from_millis(time);
    let before = system::cpu_time();
    let mut number = 0u64;
    while Instant::now() < end {
        number = std::hint::black_box(
            number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1),
        );
    }
    let used = system::cpu_time().saturating_sub(before);
    Reply::out(format!("cpu {}\n", used.as_millis()))
}

/// Starts as many processes as it may, up to the number; all are ended again.
fn fork(rest: &[String]) -> Reply {
    let Some(wanted) = rest.first().and_then(|word| word.parse::<usize>().ok()) else {
        return Reply::wrong();
    };
    let mut children: Vec<Child> = Vec::new();
    while children.len() < wanted {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["sleep"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        match command.spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let started = children.len();
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    Reply {
        code: u8::from(started < wanted),
        out: format!("started {started}\n"),
        err: String::new(),
    }
}
