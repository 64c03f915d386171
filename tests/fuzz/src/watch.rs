//! Starts workers, sees how they end, and keeps the input that ended one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::worker::HEADER;

/// How often a worker is looked at.
const PACE: Duration = Duration::from_millis(100);
/// A run with so many different findings has shown enough.
const MOST_FINDINGS: usize = 25;

/// What a whole run is asked to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: String,
    pub(crate) seed: u64,
    pub(crate) runs: u64,
    pub(crate) until: Duration,
    pub(crate) memory: u64,
    /// How much an input may compute.
    pub(crate) patience: Duration,
    /// Where everything is kept.
    pub(crate) folder: PathBuf,
}

/// How a worker ended.
#[derive(Debug)]
enum End {
    Done(String),
    /// By this input's doing.
    Bad {
        kind: String,
        said: String,
    },
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) runs: u64,
    pub(crate) workers: u64,
    pub(crate) told: String,
    pub(crate) findings: Vec<String>,
}

/// Runs workers until the plan is carried out.
pub(crate) fn watch(plan: &Plan) -> std::io::Result<Report> {
    let folders = ["corpus", "findings", "state"].map(|name| plan.folder.join(name));
    for folder in &folders {
        fs::create_dir_all(folder)?;
    }
    let [corpus, findings, state] = folders;
    let (began, mut report, mut known) = (Instant::now(), Report::default(), BTreeSet::new());
    while report.runs < plan.runs && began.elapsed() < plan.until {
        let left = plan.until.saturating_sub(began.elapsed());
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--worker").arg(&plan.target);
        command.args(["--seed", &(plan.seed + report.workers).to_string()]);
        command.args(["--runs", &(plan.runs - report.runs).to_string()]);
        command.args(["--milliseconds", &left.as_millis().to_string()]);
        command.args(["--memory", &plan.memory.to_string()]);
        command
            .arg("--corpus")
            .arg(&corpus)
            .arg("--state")
            .arg(&state);
        let _ = fs::remove_file(state.join("slate"));
        let end = one(&mut command, &state, plan.patience)?;
        let (runs, input) = slate(&state);
        report.runs += runs;
        report.workers += 1;
        match end {
            End::Done(told) => {
                report.told = told;
                break;
            }
            End::Bad { kind, said } => {
                // Where it panicked tells one from another; what was in the text does not.
                let place = said.lines().find(|line| line.contains("panicked at"));
                let name = match place {
                    Some(place) => place.rsplit("panicked at ").next().unwrap_or(place),
                    None => &kind,
                };
                if known.insert(name.to_owned()) {
                    let file = findings.join(format!("{}-{}", plan.seed, known.len()));
                    fs::write(&file, input)?;
                    let text = format!("{kind}: {}\n{}", file.display(), said.trim_end());
                    eprintln!("{text}");
                    report.findings.push(text);
                }
                if runs == 0 || known.len() >= MOST_FINDINGS {
                    break;
                }
            }
        }
    }
    Ok(report)
}

/// How often a worker began, and with what last.
fn slate(state: &Path) -> (u64, Vec<u8>) {
    let bytes = fs::read(state.join("slate")).unwrap_or_default();
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (runs, length) = (number(0).unwrap_or_default(), number(8).unwrap_or_default());
    let end = HEADER.saturating_add(usize::try_from(length).unwrap_or_default());
    let text = bytes.get(HEADER..end.min(bytes.len())).unwrap_or_default();
    (runs, text.to_vec())
}

/// Watches one worker to its end.
fn one(command: &mut Command, state: &Path, patience: Duration) -> std::io::Result<End> {
    let error = fs::File::create(state.join("stderr"))?;
    let output = fs::File::create(state.join("stdout"))?;
    command.stdin(Stdio::null()).stdout(output).stderr(error);
    let mut child = command.spawn()?;
    let ended = wait(&mut child, state, patience);
    if !matches!(ended, Ok(Some(_))) {
        child.kill()?;
        child.wait()?;
    }
    let read = |name: &str| fs::read_to_string(state.join(name)).unwrap_or_default();
    Ok(match ended? {
        Some(status) if status.success() => End::Done(read("stdout").trim().to_owned()),
        Some(status) => End::Bad {
            kind: kind(status, &read("stderr")),
            said: read("stderr"),
        },
        None => End::Bad {
            kind: "hang".to_owned(),
            said: format!("it computed for more than {patience:?}"),
        },
    })
}

fn kind(status: ExitStatus, said: &str) -> String {
    if said.contains("has overflowed its stack") {
        return "stack overflow".to_owned();
    }
    if said.contains("memory allocation of") {
        return "too much memory".to_owned();
    }
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => "panic".to_owned(),
    }
}

/// The worker's status; nothing if an input computes for too long.
fn wait(
    child: &mut Child,
    state: &Path,
    patience: Duration,
) -> std::io::Result<Option<ExitStatus>> {
    let mut last = (0, Duration::ZERO);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let (runs, computed) = (slate(state).0, computed(child.id()));
        if runs != last.0 {
            last = (runs, computed);
        } else if computed.saturating_sub(last.1) > patience {
            return Ok(None);
        }
        // A child's end wakes nobody but its waiter, and its silence is what is looked for.
        std::thread::park_timeout(PACE);
    }
}

/// What all threads of a process have computed (proc(5): `utime` and `stime`, in hundredths).
fn computed(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|tick| tick.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
