//! The one program the model can run: the conformance suite's probe, interpreted.
//!
//! What it does and prints is that of the real program in `tests/conformance/probe`; a file is the
//! probe if it contains [`MARKER`].

mod ask;
mod command;
mod connect;
mod context;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use unmoor_core::backend::{Channel, ExecOutput};
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::Protocol;

use crate::model::{Event, Identity, Model};
use serve::Serve;

/// A program file that contains these bytes is the probe.
pub const MARKER: &[u8] = b"unmoor conformance probe 1";

/// A program to start inside a replica.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) replica: ReplicaId,
    /// The replica's own program, not a command beside it.
    pub(crate) main: bool,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
}

/// A running program, or one whose end was not read yet.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) replica: ReplicaId,
    pub(crate) main: bool,
    pub(crate) argv: Vec<String>,
    pub(crate) started: std::time::SystemTime,
    pub(crate) who: Identity,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    pub(crate) tty: bool,
    pub(crate) output: VecDeque<ExecOutput>,
    pub(crate) exit: Option<i32>,
    pub(crate) stdin: bool,
    program: Program,
}

/// What a running program is about.
#[derive(Debug)]
enum Program {
    /// Waits for a timer or a signal.
    Waiting,
    Serve(Box<Serve>),
    Tick {
        every: Duration,
        done: u64,
        most: Option<u64>,
    },
    Cat,
}

/// A timer of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    /// It ends with this code.
    Exit(i32),
    /// It prints its counter.
    Tick,
    /// It makes its next connection.
    Load,
}

/// What a command that ends at once printed, and its exit code.
#[derive(Debug, Default)]
struct Reply {
    code: i32,
    out: String,
    err: String,
    /// The kernel killed it for want of memory.
    out_of_memory: bool,
}

impl Reply {
    fn out(text: impl Into<String>) -> Self {
        Self {
            out: text.into(),
            ..Self::default()
        }
    }

    fn fail(code: i32, text: impl Into<String>) -> Self {
        Self {
            code,
            err: text.into(),
            ..Self::default()
        }
    }
}

impl Process {
    pub(crate) fn end(&mut self, code: i32) {
        self.exit = Some(code);
        self.output.push_back(ExecOutput::Exited(code));
    }

    /// True if it accepts connections to this port now.
    pub(crate) fn listens(&self, protocol: Protocol, port: u16, now: Duration) -> bool {
        match &self.program {
            Program::Serve(serve) if self.exit.is_none() => serve.listens(protocol, port, now),
            _ => false,
        }
    }
}

fn milliseconds(word: &str) -> Option<Duration> {
    word.parse().ok().map(Duration::from_millis)
}

impl Model {
    /// Starts a program; one that cannot be started ends at once with 126 or 127.
    pub(crate) fn spawn(&mut self, start: Start) -> u64 {
        let pid = self.ticket();
        let context = self.context(&start);
        let (who, env, cwd, problem) = match context {
            Ok((who, env, cwd)) => (who, env, cwd, None),
            Err(problem) => (
                Identity::root(),
                BTreeMap::new(),
                "/".to_owned(),
                Some(problem),
            ),
        };
        let process = Process {
            replica: start.replica.clone(),
            main: start.main,
            argv: start.argv.clone(),
            started: self.wall(),
            who,
            env,
            cwd,
            tty: start.tty,
            output: VecDeque::new(),
            exit: None,
            stdin: start.stdin,
            program: Program::Waiting,
        };
        self.processes.insert(pid, process);
        if start.main
            && let Some(replica) = self.replica_mut(&start.replica)
        {
            replica.main = Some(pid);
        }
        match problem {
            Some((code, text)) => {
                if start.main
                    && let Some(replica) = self.replica_mut(&start.replica)
                {
                    replica.message = Some(text.clone());
                }
                self.emit(pid, Channel::Stderr, &format!("{text}\n"));
                self.leave(pid, code, false);
            }
            None => self.launch(pid, &start.argv[1..]),
        }
        pid
    }

    /// Runs the probe with these arguments.
    fn launch(&mut self, pid: u64, words: &[String]) {
        let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
        let program = match word(0) {
            "serve" => return self.launch_serve(pid, &words[1..]),
            "flaky" => return self.launch_flaky(pid, words),
            "sleep" => {
                if let Some(pause) = milliseconds(word(1)) {
                    self.schedule(pause, Event::Process(pid, Timer::Exit(0)));
                }
                Program::Waiting
            }
            "exit" if milliseconds(word(2)).is_some() => {
                let pause = milliseconds(word(2)).unwrap_or_default();
                let code = word(1).parse().unwrap_or(64);
                self.schedule(pause, Event::Process(pid, Timer::Exit(code)));
                Program::Waiting
            }
            "tick" => {
                let every = milliseconds(word(1)).unwrap_or(Duration::from_secs(1));
                self.schedule(Duration::ZERO, Event::Process(pid, Timer::Tick));
                Program::Tick {
                    every,
                    done: 0,
                    most: word(2).parse().ok(),
                }
            }
            "cat" => {
                let open = self
                    .processes
                    .get(&pid)
                    .is_some_and(|process| process.stdin);
                if !open {
                    return self.leave(pid, 0, false);
                }
                Program::Cat
            }
            _ => {
                let reply = self.command(pid, words);
                self.emit(pid, Channel::Stdout, &reply.out);
                self.emit(pid, Channel::Stderr, &reply.err);
                return self.leave(pid, reply.code, reply.out_of_memory);
            }
        };
        if let Some(process) = self.processes.get_mut(&pid) {
            process.program = program;
        }
    }

    /// Fails as often as asked, counting in a file, then becomes another command.
    fn launch_flaky(&mut self, pid: u64, words: &[String]) {
        let (Some(path), Some(most)) = (words.get(1), words.get(2).and_then(|w| w.parse().ok()))
        else {
            return self.usage(pid);
        };
        let done: u64 = self
            .read_for(pid, path)
            .ok()
            .and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse().ok())
            .unwrap_or(0);
        if done < most {
            let text = (done + 1).to_string();
            let written = self.write_for(pid, path, text.as_bytes(), crate::model::Write::Whole);
            self.emit(pid, Channel::Stdout, &format!("failing {}\n", done + 1));
            return self.leave(pid, if written.is_ok() { 1 } else { 64 }, false);
        }
        let rest = words.get(3..).unwrap_or_default().to_vec();
        let rest = if rest.is_empty() {
            vec!["sleep".to_owned()]
        } else {
            rest
        };
        self.launch(pid, &rest);
    }

    fn usage(&mut self, pid: u64) {
        self.emit(pid, Channel::Stderr, "wrong arguments\n");
        self.leave(pid, 64, false);
    }

    /// Writes to a process's standard output or error.
    pub(crate) fn emit(&mut self, pid: u64, channel: Channel, text: &str) {
        if text.is_empty() {
            return;
        }
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if process.main {
            let replica = process.replica.clone();
            return self.log(&replica, channel, text);
        }
        let bytes = text.as_bytes().to_vec();
        process.output.push_back(match channel {
            Channel::Stderr if !process.tty => ExecOutput::Stderr(bytes),
            _ => ExecOutput::Stdout(bytes),
        });
        self.touch();
    }

    /// A process ends.
    pub(crate) fn leave(&mut self, pid: u64, code: i32, out_of_memory: bool) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if process.exit.is_some() {
            return;
        }
        if process.main {
            let replica = process.replica.clone();
            self.main_ended(&replica, code, out_of_memory);
        } else {
            process.end(code);
        }
        self.touch();
    }

    /// A signal arrives. The probe handles the usual ones; as first process it ignores others.
    pub(crate) fn signal(&mut self, pid: u64, signal: i32) {
        if signal == 9 {
            return self.leave(pid, 137, false);
        }
        if ![1, 2, 3, 10, 12, 15].contains(&signal) {
            return;
        }
        self.emit(pid, Channel::Stdout, &format!("signal {signal}\n"));
        let Some(process) = self.processes.get(&pid) else {
            return;
        };
        if let Program::Serve(serve) = &process.program {
            if serve.ignore_term && signal == 15 {
                return;
            }
            self.presence(pid, "end");
        }
        self.leave(pid, 0, false);
    }

    pub(crate) fn process_timer(&mut self, pid: u64, timer: Timer) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if process.exit.is_some() {
            return;
        }
        match timer {
            Timer::Exit(code) => self.leave(pid, code, false),
            Timer::Load => self.load_once(pid),
            Timer::Tick => {
                let Program::Tick { every, done, most } = &mut process.program else {
                    return;
                };
                let (count, pause) = (*done, *every);
                *done += 1;
                let last = most.is_some_and(|most| *done >= most);
                self.emit(pid, Channel::Stdout, &format!("tick {count}\n"));
                if last {
                    self.leave(pid, 0, false);
                } else {
                    self.schedule(pause, Event::Process(pid, Timer::Tick));
                }
            }
        }
    }

    /// Bytes arrive on a command's standard input; `false` if it is closed.
    pub(crate) fn feed(&mut self, pid: u64, bytes: &[u8]) -> bool {
        let Some(process) = self.processes.get_mut(&pid) else {
            return false;
        };
        if !process.stdin || process.exit.is_some() {
            return false;
        }
        if matches!(process.program, Program::Cat) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.emit(pid, Channel::Stdout, &text);
        }
        true
    }

    /// A command's standard input ends.
    pub(crate) fn close_stdin(&mut self, pid: u64) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        process.stdin = false;
        if matches!(process.program, Program::Cat) {
            self.leave(pid, 0, false);
        }
    }
}
