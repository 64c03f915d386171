//! Running other programs: printed, timed, and ended by pid when they take too long.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Failure, Outcome};

/// How long output may stay open after a program's end, when something it started holds it.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(given.unwrap_or_else(|| PathBuf::from("target")))
}

/// A program built in the development profile.
pub(crate) fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// Cargo, in the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Whether a program is found on the path.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Prints a command as one would type it.
pub(crate) fn announce(command: &Command) {
    let mut line = String::from("+");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            line.push_str(&format!(
                " {}={:?}",
                name.display(),
                value.display().to_string()
            ));
        }
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    for word in words.map(|word| word.to_string_lossy()) {
        let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,+@%".contains(char);
        let quoted = if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        };
        line.push(' ');
        line.push_str(&quoted);
    }
    eprintln!("{line}");
}

/// Prints and runs a command, whose output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Outcome {
    announce(command);
    let status = command
        .status()
        .map_err(|error| cannot_start(command, &error))?;
    ended(command, status)
}

/// Runs a command quietly and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .output()
        .map_err(|error| cannot_start(command, &error))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    ended(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "cannot start {}: {error}",
        command.get_program().display()
    ))
}

fn ended(command: &Command, status: ExitStatus) -> Outcome {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} ended with {status}",
        command.get_program().display()
    )))
}

/// Prints and runs a command, showing its output and handing each line to `read` as well.
///
/// A command that outlives its budget is killed with all its descendants, each by its pid.
pub(crate) fn watch(
    command: &mut Command,
    budget: Duration,
    read: &mut dyn FnMut(&str),
) -> Result<ExitStatus, Failure> {
    announce(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| cannot_start(command, &error))?;
    let (send, lines) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child
            .stdout
            .take()
            .map(|out| Box::new(out) as Box<dyn Read + Send>),
        child
            .stderr
            .take()
            .map(|err| Box::new(err) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let send = send.clone();
        thread::spawn(move || forward(stream, &send));
    }
    drop(send);
    let deadline = Instant::now() + budget;
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                show(&line);
                read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return wait(&mut child),
            Err(RecvTimeoutError::Timeout) => {
                if finished(&mut child)? {
                    drain(&lines, read);
                    return wait(&mut child);
                }
            }
        }
        if Instant::now() >= deadline {
            kill_tree(child.id());
            wait(&mut child)?;
            let minutes = budget.as_secs() / 60;
            let name = command.get_program().display().to_string();
            return Err(Failure::new(format!(
                "{name} was killed after {minutes} minutes"
            )));
        }
    }
}

fn forward(stream: impl Read, to: &Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line)
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        line.clear();
        if to.send(text).is_err() {
            return;
        }
    }
}

fn show(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever closed our output does not want to read it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Reads what is left after a program's end; something it started may keep its output open.
fn drain(lines: &mpsc::Receiver<String>, read: &mut dyn FnMut(&str)) {
    let deadline = Instant::now() + STRAGGLERS;
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        show(&line);
        read(&line);
    }
}

fn finished(child: &mut Child) -> Result<bool, Failure> {
    child
        .try_wait()
        .map(|status| status.is_some())
        .map_err(lost)
}

fn wait(child: &mut Child) -> Result<ExitStatus, Failure> {
    child.wait().map_err(lost)
}

fn lost(error: std::io::Error) -> Failure {
    Failure::new(format!("cannot wait for a child: {error}"))
}

/// Kills a process and everything below it, leaves first.
fn kill_tree(pid: u32) {
    let children = children();
    let mut line = vec![pid];
    let mut next = 0;
    while let Some(parent) = line.get(next) {
        line.extend(
            children
                .get(parent)
                .into_iter()
                .flatten()
                .copied()
                .collect::<Vec<_>>(),
        );
        next += 1;
    }
    for pid in line.into_iter().rev() {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = raw {
            // One that has ended meanwhile needs no killing.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn children() -> HashMap<u32, Vec<u32>> {
    let mut table: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            table.entry(parent).or_default().push(pid);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_streams_are_read() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let status = watch(&mut command, Duration::from_secs(60), &mut |line| {
            lines.push(line.to_owned());
        });
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
        assert_eq!(status.expect("it ran").code(), Some(3));
    }

    #[test]
    fn a_program_over_its_budget_is_killed_with_its_children() {
        let mut pids = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]);
        let outcome = watch(&mut command, Duration::from_secs(1), &mut |line| {
            pids.extend(line.parse::<u32>());
        });
        assert!(outcome.is_err_and(|failure| failure.to_string().contains("killed")));
        let [pid] = pids.try_into().expect("one child");
        // The kernel ends it a moment after the signal; an orphan stays a zombie for a while.
        let alive = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive() && Instant::now() < deadline {
            thread::yield_now();
        }
        assert!(!alive());
    }

    #[test]
    fn output_held_open_by_a_stranger_does_not_hold_us() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 30 & echo $!"]);
        let mut pid = 0;
        let started = Instant::now();
        let status = watch(&mut command, Duration::from_secs(60), &mut |line| {
            pid = line.parse().expect("a pid");
        });
        assert!(status.expect("it ran").success());
        assert!(started.elapsed() < Duration::from_secs(20));
        kill_tree(pid);
    }
}
