//! Rounds in alternating order, medians, minima, ratios.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use unmoor::{Error, ErrorKind, Result};

/// A peer: one command that starts what is measured.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    command: String,
    /// Removes what the command has left; its time does not count.
    after: Option<String>,
    /// Name of the processes that supervise its containers.
    pub(crate) process: Option<String>,
}

/// Splits `NAME=VALUE`.
fn pair(text: &str) -> Result<(&str, &str)> {
    text.split_once('=').ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidSpec,
            format!("`{text}` is not NAME=VALUE"),
        )
    })
}

impl Peer {
    /// Reads peers, and what is said about them by name.
    pub(crate) fn all(peers: &[String], after: &[String], process: &[String]) -> Result<Vec<Self>> {
        let about = |list: &[String], name: &str| -> Result<Option<String>> {
            for text in list {
                let (of, value) = pair(text)?;
                if of == name {
                    return Ok(Some(value.to_owned()));
                }
            }
            Ok(None)
        };
        let peer = |text: &String| {
            let (name, command) = pair(text)?;
            Ok(Self {
                name: name.to_owned(),
                command: command.to_owned(),
                after: about(after, name)?,
                process: about(process, name)?,
            })
        };
        peers.iter().map(peer).collect()
    }

    /// Runs the command and takes its time.
    pub(crate) fn run(&self) -> Result<Duration> {
        self.shell(&self.command)
    }

    /// Removes what a run has left.
    pub(crate) fn clean(&self) -> Result<()> {
        match &self.after {
            Some(command) => self.shell(command).map(drop),
            None => Ok(()),
        }
    }

    fn shell(&self, command: &str) -> Result<Duration> {
        let failed = |text: String| Error::new(ErrorKind::Unavailable, text).on(&self.name);
        let start = Instant::now();
        let status = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|error| failed("start the peer".to_owned()).because(error))?;
        if !status.success() {
            return Err(failed(format!("`{command}` ended with {status}")));
        }
        Ok(start.elapsed())
    }
}

/// All times of one contestant.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    times: Vec<Duration>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            times: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// The time in milliseconds that this share of all were below.
    fn at(&self, percent: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let time = times.get(times.len() * percent / 100);
        time.copied().unwrap_or_default().as_secs_f64() * 1e3
    }
}

/// The order of a round: forwards, then backwards.
pub(crate) fn order(round: usize, contestants: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contestants).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// How busy the machine is: its load, averaged over a minute.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Median, tenth percentile and minimum, with ratios to the first row.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:40} {:>9} {:>9} {:>9} {:>8} {:>8}\n",
        "", "median ms", "p10 ms", "min ms", "x median", "x min"
    );
    let Some(first) = rows.first() else {
        return text;
    };
    for row in rows {
        let (median, least) = (row.at(50), row.at(0));
        let _ = writeln!(
            text,
            "{:40} {median:9.2} {:9.2} {least:9.2} {:8.2} {:8.2}",
            row.name,
            row.at(10),
            median / first.at(50).max(1e-6),
            least / first.at(0).max(1e-6),
        );
    }
    text
}
