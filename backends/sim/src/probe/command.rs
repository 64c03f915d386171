//! Commands of the probe that end at once.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Program, Reply};
use crate::bug::Bug;
use crate::model::{Event, FileError, Kind, Model, Write, normal};
use crate::probe::Timer;

/// What the probe itself and its replica need before any is asked for.
const USED_MIB: u64 = 4;
const USED_PIDS: u32 = 3;

impl Model {
    /// Runs a command in the place of a process.
    pub(super) fn command(&mut self, pid: u64, words: &[String]) -> Reply {
        let Some((name, rest)) = words.split_first() else {
            return Reply::fail(64, "no command\n");
        };
        match name.as_str() {
            "hello" => Reply::out(self.hello(pid)),
            "hostname" => Reply::out(format!("{}\n", self.hostname(pid))),
            "ready" => self.readiness(pid),
            "env" => self.env(pid, rest.first()),
            "resolve" => self.resolve_command(pid, rest),
            "connect" | "udp" => self.connect_command(pid, name, rest),
            "check" => self.check_command(pid, rest),
            "discover" => self.discover_command(pid, rest),
            "count" => self.count_command(pid, rest),
            "route" => self.route_command(pid),
            "read" | "hash" | "stat" | "remove" => self.file_command(pid, name, rest),
            "write" | "append" => self.write_command(pid, name, rest),
            "id" => self.id_command(pid),
            "cwd" => Reply::out(format!("{}\n", self.processes[&pid].cwd)),
            "tty" => Reply::out(if self.processes[&pid].tty {
                "tty\n"
            } else {
                "no tty\n"
            }),
            "limits" => self.limits_command(pid),
            "print" => print_command(rest),
            "lines" => lines_command(rest),
            "exit" => match rest.first().and_then(|word| word.parse().ok()) {
                Some(code) => Reply {
                    code,
                    ..Reply::default()
                },
                None => Reply::fail(64, "wrong arguments\n"),
            },
            "die" => self.die_command(pid, rest),
            "burn" => self.burn_command(pid, rest),
            "forkmany" => self.fork_command(pid, rest),
            _ => Reply::fail(64, format!("unknown command {name}\n")),
        }
    }

    pub(super) fn hostname(&self, pid: u64) -> String {
        let replica = self
            .processes
            .get(&pid)
            .and_then(|process| self.replica(&process.replica));
        replica
            .map(|replica| replica.hostname.clone())
            .unwrap_or_default()
    }

    fn hello(&self, pid: u64) -> String {
        let process = &self.processes[&pid];
        let own = match &process.program {
            Program::Serve(serve) => serve.name.clone(),
            _ => None,
        };
        let name = own.or_else(|| process.env.get("PROBE_NAME").cloned());
        format!(
            "{} {}\n",
            self.hostname(pid),
            name.as_deref().unwrap_or("-")
        )
    }

    fn env(&self, pid: u64, key: Option<&String>) -> Reply {
        let env = &self.processes[&pid].env;
        match key {
            Some(key) => match env.get(key) {
                Some(value) => Reply::out(format!("{value}\n")),
                None => Reply::fail(1, format!("{key} is not set\n")),
            },
            None => Reply::out(env.iter().fold(String::new(), |mut text, (key, value)| {
                let _ = writeln!(text, "{key}={value}");
                text
            })),
        }
    }

    pub(super) fn read_for(&self, pid: u64, path: &str) -> Result<Arc<Vec<u8>>, FileError> {
        let process = &self.processes[&pid];
        let path = normal(&process.cwd, path);
        self.read_file(&process.replica, &process.who, &path)
    }

    pub(super) fn write_for(
        &mut self,
        pid: u64,
        path: &str,
        bytes: &[u8],
        how: Write,
    ) -> Result<(), FileError> {
        let process = &self.processes[&pid];
        let path = normal(&process.cwd, path);
        let (replica, who) = (process.replica.clone(), process.who.clone());
        self.write_file(&replica, &who, &path, bytes, how)
    }

    fn file_command(&mut self, pid: u64, name: &str, rest: &[String]) -> Reply {
        let Some(path) = rest.first() else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let answer = match name {
            "read" => self
                .read_for(pid, path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            "hash" => self
                .read_for(pid, path)
                .map(|bytes| format!("{:016x}\n", fnv(&bytes))),
            "stat" => self.stat(pid, path),
            _ => {
                let process = &self.processes[&pid];
                let whole = normal(&process.cwd, path);
                let (replica, who) = (process.replica.clone(), process.who.clone());
                self.remove_file(&replica, &who, &whole)
                    .map(|()| String::new())
            }
        };
        match answer {
            Ok(text) => Reply::out(text),
            Err(problem) => Reply::fail(1, format!("{name} {path}: {problem}\n")),
        }
    }

    fn stat(&self, pid: u64, path: &str) -> Result<String, FileError> {
        let process = &self.processes[&pid];
        let node = self.file_node(&process.replica, &normal(&process.cwd, path))?;
        let (size, kind) = match &node.kind {
            Kind::File(content) => (content.len(), "file"),
            Kind::Folder | Kind::Link(_) => (0, "directory"),
        };
        Ok(format!(
            "{:04o} {} {} {size} {kind}\n",
            node.mode, node.uid, node.gid
        ))
    }

    fn write_command(&mut self, pid: u64, name: &str, rest: &[String]) -> Reply {
        let Some((path, text)) = rest.split_first() else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let how = if name == "write" {
            Write::Whole
        } else {
            Write::Append
        };
        match self.write_for(pid, path, text.join(" ").as_bytes(), how) {
            Ok(()) => Reply::default(),
            Err(problem) => Reply::fail(1, format!("{name} {path}: {problem}\n")),
        }
    }

    fn id_command(&self, pid: u64) -> Reply {
        let process = &self.processes[&pid];
        let who = &process.who;
        let groups: Vec<String> = who.groups.iter().map(u32::to_string).collect();
        let number = if process.main { 1 } else { pid + 1 };
        Reply::out(format!(
            "uid={} gid={} groups={} caps={:016x} pid={number}\n",
            who.uid,
            who.gid,
            groups.join(","),
            who.caps.bits()
        ))
    }

    fn limits_command(&self, pid: u64) -> Reply {
        let replica = self.replica(&self.processes[&pid].replica);
        let limit = replica.and_then(|replica| replica.service.spec.security.ulimits.get("nofile"));
        let (soft, hard) = limit.map_or((1024, 1_048_576), |limit| (limit.soft, limit.hard));
        Reply::out(format!("nofile={soft}:{hard}\n"))
    }

    fn route_command(&self, pid: u64) -> Reply {
        Reply::out(match self.way_out(&self.processes[&pid].replica) {
            Some(gateway) => format!("default via {gateway}\n"),
            None => "no default route\n".to_owned(),
        })
    }

    fn die_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        let code = rest.first().and_then(|word| word.parse().ok()).unwrap_or(1);
        self.schedule(
            std::time::Duration::ZERO,
            Event::Process(pid, Timer::Exit(code)),
        );
        Reply::out("dying\n")
    }

    fn burn_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        let Some(mib) = rest.first().and_then(|word| word.parse::<u64>().ok()) else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let replica = self.replica(&self.processes[&pid].replica);
        let limit = replica.and_then(|replica| replica.service.spec.resources.memory);
        let over = limit.is_some_and(|limit| (mib + USED_MIB) << 20 > limit.0);
        if over && !self.bugs.has(Bug::NoMemoryLimit) {
            return Reply {
                code: 137,
                out_of_memory: true,
                ..Reply::default()
            };
        }
        Reply::out(format!("burned {mib}\n"))
    }

    fn fork_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        let Some(wanted) = rest.first().and_then(|word| word.parse::<u32>().ok()) else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let replica = self.replica(&self.processes[&pid].replica);
        let limit = replica.and_then(|replica| replica.service.spec.resources.pids);
        let limit = limit.filter(|_| !self.bugs.has(Bug::NoPidsLimit));
        let room = limit.map_or(wanted, |limit| limit.saturating_sub(USED_PIDS));
        let started = wanted.min(room);
        let code = i32::from(started < wanted);
        Reply {
            code,
            out: format!("started {started}\n"),
            ..Reply::default()
        }
    }
}

fn print_command(rest: &[String]) -> Reply {
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

fn lines_command(rest: &[String]) -> Reply {
    let Some((count, text)) = rest.split_first() else {
        return Reply::fail(64, "wrong arguments\n");
    };
    let text = text.join(" ");
    let count: u64 = count.parse().unwrap_or(0);
    Reply::out((0..count).fold(String::new(), |mut all, number| {
        let _ = writeln!(all, "{number} {text}");
        all
    }))
}

/// FNV-1a over 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
