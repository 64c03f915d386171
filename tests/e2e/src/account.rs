//! What became of all requests of a run, by the change that they met, and a page that keeps it.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::traffic::Visit;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It got its page.
    Answered,
    /// It was in the hands of a process that was killed.
    InFlight,
    /// It failed without such a reason.
    Failed,
}

/// Requests of one kind of change.
#[derive(Debug, Default)]
struct Row {
    change: String,
    times: usize,
    requests: usize,
    in_flight: usize,
    failed: usize,
    slowest: Duration,
}

/// All requests of a run.
#[derive(Debug)]
pub struct Account {
    rows: Vec<Row>,
    kills: usize,
    whole: Duration,
}

/// The change of which a request saw the end.
#[must_use]
pub fn during<'a>(made: &[(&'a str, Instant)], visit: &Visit) -> &'a str {
    let last = made.iter().rev().find(|(_, begun)| *begun <= visit.ended);
    last.map_or("before any change", |(name, _)| name)
}

impl Account {
    /// Counts requests by the change that they met; changes come with the time of their beginning.
    #[must_use]
    pub fn of(
        visits: &[Visit],
        made: &[(&str, Instant)],
        kills: usize,
        whole: Duration,
        fate: impl Fn(&Visit) -> Fate,
    ) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let row_of = |rows: &mut Vec<Row>, change: &str| {
            let known = rows.iter().position(|row| row.change == change);
            known.unwrap_or_else(|| {
                let change = change.to_owned();
                rows.push(Row {
                    change,
                    ..Row::default()
                });
                rows.len() - 1
            })
        };
        for (change, _) in made {
            let at = row_of(&mut rows, change);
            rows[at].times += 1;
        }
        for visit in visits {
            let at = row_of(&mut rows, during(made, visit));
            let row = &mut rows[at];
            row.requests += 1;
            match fate(visit) {
                Fate::Answered => row.slowest = row.slowest.max(visit.ended - visit.began),
                Fate::InFlight => row.in_flight += 1,
                Fate::Failed => row.failed += 1,
            }
        }
        Self { rows, kills, whole }
    }

    fn sum(&self, of: impl Fn(&Row) -> usize) -> usize {
        self.rows.iter().map(of).sum()
    }

    /// How many requests were lost in killed processes.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.sum(|row| row.in_flight)
    }

    /// Puts a part about this run into a page, before those of earlier runs.
    ///
    /// # Errors
    /// If the page cannot be read or written.
    pub fn write(&self, page: &Path) -> io::Result<()> {
        let text = fs::read_to_string(page)?;
        let earlier = text.find("\n## ").map_or(text.len(), |at| at + 1);
        let (head, rest) = text.split_at(earlier);
        fs::write(page, format!("{head}{}{rest}", self.part()))
    }

    fn part(&self) -> String {
        let day = unmoor_conformance::Options::new().date;
        let system = rustix::system::uname();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: Vec<&str> = load.split(' ').take(3).collect();
        let rows = self.rows.iter().map(|row| {
            let Row {
                change,
                times,
                requests,
                in_flight,
                failed,
                slowest,
            } = row;
            let slowest = slowest.as_millis();
            format!("| {change} | {times} | {requests} | {in_flight} | {failed} | {slowest} ms |\n")
        });
        format!(
            "## {day}: {} s\n\n{self}. Kernel {}, {processors} processors, load at the end {}.\n\n\
             | change | times | requests | in flight in a killed process | failed | slowest answer |\n\
             |---|---|---|---|---|---|\n{}\n",
            self.whole.as_secs(),
            system.release().to_string_lossy(),
            load.join(", "),
            rows.collect::<String>()
        )
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {} s, {} changes, {} processes killed: {} requests were in flight in \
             them, {} failed otherwise",
            self.sum(|row| row.requests),
            self.whole.as_secs(),
            self.sum(|row| row.times),
            self.kills,
            self.lost(),
            self.sum(|row| row.failed)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_their_change_and_their_fate() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let visit = |number, began, ended, page: Result<&str, &str>| Visit {
            number,
            began: at(began),
            ended: at(ended),
            page: page.map(str::to_owned).map_err(str::to_owned),
        };
        let visits = [
            visit(0, 0, 5, Ok("a")),
            visit(1, 5, 30, Ok("a")),
            visit(2, 12, 21, Err("lost")),
            visit(3, 31, 32, Err("bad")),
        ];
        let made = [("one", at(10)), ("two", at(20)), ("one", at(31))];
        let fate = |visit: &Visit| match &visit.page {
            Ok(_) => Fate::Answered,
            Err(why) if why == "lost" => Fate::InFlight,
            Err(_) => Fate::Failed,
        };
        let account = Account::of(&visits, &made, 1, Duration::from_secs(7), fate);
        let part = account.part();
        for row in [
            "| one | 2 | 1 | 0 | 1 | 0 ms |",
            "| two | 1 | 2 | 1 | 0 | 25 ms |",
            "| before any change | 0 | 1 | 0 | 0 | 5 ms |",
            "4 requests in 7 s, 3 changes, 1 processes killed: 1 requests were in flight in them, 1 failed otherwise.",
        ] {
            assert!(part.contains(row), "{row} in {part}");
        }
        let page = tempfile::NamedTempFile::new().expect("a file");
        fs::write(
            page.path(),
            "# Title\n\nText.\n\n## 2020-01-01: 1 s\n\nOld.\n",
        )
        .expect("a page");
        account.write(page.path()).expect("it is written");
        let text = fs::read_to_string(page.path()).expect("a page");
        let (new, old) = (text.find(": 7 s"), text.find("2020-01-01"));
        assert!(
            new < old && text.starts_with("# Title\n\nText.\n\n## "),
            "{text}"
        );
    }
}
