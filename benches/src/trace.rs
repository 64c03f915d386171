//! The kernel's trace of this process and its descendants: few events, so that it costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use unmoor::{Error, ErrorKind, Result};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Numbers of the system calls that are traced.
pub(crate) mod call {
    pub(crate) const CLONE3: i64 = 435;
    #[cfg(target_arch = "x86_64")]
    mod of_machine {
        pub(crate) const FSYNC: i64 = 74;
        pub(crate) const FDATASYNC: i64 = 75;
        pub(crate) const PIVOT_ROOT: i64 = 155;
        pub(crate) const WAIT4: i64 = 61;
    }
    #[cfg(target_arch = "aarch64")]
    mod of_machine {
        pub(crate) const FSYNC: i64 = 82;
        pub(crate) const FDATASYNC: i64 = 83;
        pub(crate) const PIVOT_ROOT: i64 = 41;
        pub(crate) const WAIT4: i64 = 260;
    }
    pub(crate) use of_machine::{FDATASYNC, FSYNC, PIVOT_ROOT, WAIT4};
}

/// Something that happened, and when, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) at: f64,
    pub(crate) pid: u32,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A process began a system call.
    Enter(i64),
    /// A process ended a system call.
    Leave(i64),
    /// A process or thread made this one.
    Fork(u32),
    /// A process executed this program.
    Exec(String),
    /// A process ended.
    Exit,
    /// We wrote this.
    Mark(String),
}

/// A trace of our own; removed when dropped.
#[derive(Debug)]
pub(crate) struct Trace {
    dir: PathBuf,
}

impl Trace {
    /// Begins to trace this process and all that it starts from now on.
    pub(crate) fn begin() -> Result<Self> {
        let dir = Path::new(TRACEFS)
            .join("instances")
            .join(format!("unmoor-bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "make a trace of our own")
                .on(dir.display())
                .hint(format!("as root: mount -t tracefs tracefs {TRACEFS}"))
                .because(error)
        })?;
        let trace = Self { dir };
        let calls: Vec<String> = [
            call::CLONE3,
            call::FSYNC,
            call::FDATASYNC,
            call::PIVOT_ROOT,
            call::WAIT4,
        ]
        .iter()
        .map(|number| format!("id == {number}"))
        .collect();
        trace.write("trace_clock", "mono")?;
        trace.write("options/event-fork", "1")?;
        for event in ["sys_enter", "sys_exit"] {
            trace.write(
                &format!("events/raw_syscalls/{event}/filter"),
                &calls.join(" || "),
            )?;
            trace.write(&format!("events/raw_syscalls/{event}/enable"), "1")?;
        }
        for event in ["fork", "exec", "exit"] {
            trace.write(&format!("events/sched/sched_process_{event}/enable"), "1")?;
        }
        let threads = fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten();
        let ids: Vec<String> = threads
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        trace.write("set_event_pid", &ids.join(" "))?;
        trace.write("tracing_on", "1")?;
        Ok(trace)
    }

    /// Puts a mark into the trace.
    pub(crate) fn mark(&self, text: &str) -> Result<()> {
        self.write("trace_marker", text)
    }

    /// All events so far, in order.
    pub(crate) fn events(&self) -> Result<Vec<Event>> {
        let path = self.dir.join("trace");
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "read the trace")
                .on(path.display())
                .because(error)
        })?;
        Ok(text.lines().filter_map(parse).collect())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                format!("set up the trace: write {text}"),
            )
            .on(path.display())
            .because(error)
        })
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(self.dir.join("tracing_on"), "0");
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Reads a line as `tokio-rt-worker-41 [001] ..... 12.345678: sys_enter: NR 435 (7f, 58)`.
fn parse(line: &str) -> Option<Event> {
    let (task, rest) = line.split_once(" [")?;
    let (_, pid) = task.trim().rsplit_once('-')?;
    let (_, rest) = rest.split_once("] ")?;
    let (_, rest) = rest.split_once(' ')?;
    let (at, rest) = rest.trim_start().split_once(": ")?;
    let (event, about) = rest.split_once(": ")?;
    let number = || about.strip_prefix("NR ")?.split(' ').next()?.parse().ok();
    let field = |key: &str| {
        let (_, value) = about.split_once(key)?;
        value.split(' ').next()
    };
    let what = match event {
        "sys_enter" => What::Enter(number()?),
        "sys_exit" => What::Leave(number()?),
        "sched_process_fork" => What::Fork(field("child_pid=")?.parse().ok()?),
        "sched_process_exec" => What::Exec(field("filename=")?.to_owned()),
        "sched_process_exit" => What::Exit,
        "tracing_mark_write" => What::Mark(about.trim().to_owned()),
        _ => return None,
    };
    Some(Event {
        at: at.parse::<f64>().ok()? * 1e6,
        pid: pid.parse().ok()?,
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "   tokio-rt-w-2-29503   [000] ..... 12033.154463: sys_enter: NR 435 (7f, 58)";
        let event = parse(line).expect("an event");
        assert_eq!((event.pid, event.what), (29503, What::Enter(435)));
        assert!((event.at - 12_033_154_463.0).abs() < 1.0);
        let fork = " bash-7 [001] ..... 1.000001: sched_process_fork: comm=a b pid=7 child_comm=a \
                    child_pid=9";
        assert_eq!(parse(fork).expect("an event").what, What::Fork(9));
        let exec = " 12-9 [001] ..... 1.5: sched_process_exec: filename=/bin/true pid=9 old_pid=9";
        let what = parse(exec).expect("an event").what;
        assert_eq!(what, What::Exec("/bin/true".to_owned()));
        let mark = " x-9 [001] ..... 1.5: tracing_mark_write: begin";
        let what = parse(mark).expect("an event").what;
        assert_eq!(what, What::Mark("begin".to_owned()));
        assert_eq!(parse("# tracer: nop"), None);
    }
}
