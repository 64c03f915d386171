//! Rounds in alternating order, medians, ratios.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use unmoor::{Error, ErrorKind, Result};

use crate::local::{Bench, Way};

/// A peer: one command that starts a container of its own and ends with it.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    command: String,
}

impl Contestant {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| Error::new(ErrorKind::InvalidSpec, "a peer is NAME=COMMAND"))?;
        Ok(Self {
            name: name.to_owned(),
            command: format!("exec {command}"),
        })
    }

    pub(crate) fn run(&self) -> Result<Duration> {
        let failed = |text: String| Error::new(ErrorKind::Unavailable, text).on(&self.name);
        let start = Instant::now();
        let status = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|error| failed("start the peer".to_owned()).because(error))?;
        if !status.success() {
            return Err(failed(format!("the peer ended with {status}")));
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

/// Runs every contestant once a round.
pub(crate) async fn rounds(
    bench: &Bench,
    peers: &[Contestant],
    rounds: usize,
    gap: Duration,
) -> Result<Vec<Row>> {
    let row = |name: &str| Row {
        name: name.to_owned(),
        times: Vec::new(),
    };
    let mut rows: Vec<Row> = Way::ALL.iter().map(|way| row(way.name())).collect();
    rows.extend(peers.iter().map(|peer| row(&peer.name)));
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            tokio::time::sleep(gap).await;
            let time = match Way::ALL.get(index) {
                Some(way) => bench.run_true(*way).await?,
                None => peers[index - Way::ALL.len()].run()?,
            };
            rows[index].times.push(time);
        }
    }
    Ok(rows)
}

/// Median, tenth percentile and ratio to the first row.
pub(crate) fn table(rows: &[Row]) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let at = |row: &Row, part: usize| {
        let mut times = row.times.clone();
        times.sort_unstable();
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    let mut text = format!(
        "{:40} {:>9} {:>9} {:>7}\n",
        "", "median ms", "p10 ms", "ratio"
    );
    let first = rows.first().map_or(1.0, |row| ms(at(row, 50)).max(1e-6));
    for row in rows {
        let median = ms(at(row, 50));
        let p10 = ms(at(row, 10));
        let _ = writeln!(
            text,
            "{:40} {median:9.2} {p10:9.2} {:7.2}",
            row.name,
            median / first
        );
    }
    text
}
