//! A client that connects to one place again and again, and counts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{connect, dns, pause};

const PATIENCE: Duration = Duration::from_secs(2);

/// So many failures are told with their reason, the last ones.
const TOLD: usize = 4;

/// The load and what came of it.
#[derive(Debug)]
pub(crate) struct Load {
    host: String,
    port: u16,
    every: Duration,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    ok: u64,
    failed: u64,
    /// Those of the failed that nobody took: no name, no connection.
    unmade: u64,
    from: BTreeSet<String>,
    why: VecDeque<String>,
}

/// Why there was no answer.
enum Failure {
    /// Nobody took the connection.
    Unmade(String),
    /// It was taken, and then broke.
    Cut(String),
}

impl Load {
    pub(crate) fn new(host: String, port: u16, every: Duration) -> Self {
        Self {
            host,
            port,
            every,
            counts: Mutex::new(Counts::default()),
        }
    }

    /// Connects for ever.
    pub(crate) fn run(&self) {
        loop {
            let start = Instant::now();
            let answer = self.once();
            let took = start.elapsed();
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(name) => {
                    counts.ok += 1;
                    counts.from.insert(name);
                }
                Err(Failure::Unmade(why)) => {
                    counts.unmade += 1;
                    counts.fail(&why, took);
                }
                Err(Failure::Cut(why)) => counts.fail(&why, took),
            }
            drop(counts);
            pause(self.every.saturating_sub(start.elapsed()));
        }
    }

    /// The host name of whoever answered.
    fn once(&self) -> Result<String, Failure> {
        let unmade = |why: std::io::Error| Failure::Unmade(connect::why(&why));
        let cut = |why: std::io::Error| Failure::Cut(connect::why(&why));
        let address = dns::resolve(&self.host).first().copied();
        let address = address.ok_or_else(|| Failure::Unmade("no such name".to_owned()))?;
        let stream = connect::open(address, self.port, PATIENCE).map_err(unmade)?;
        let answer = connect::say(stream, "hello").map_err(cut)?;
        let name = answer.split_whitespace().next().map(str::to_owned);
        name.ok_or_else(|| Failure::Cut("an empty answer".to_owned()))
    }

    pub(crate) fn count(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let from: Vec<&str> = counts.from.iter().map(String::as_str).collect();
        let from = if from.is_empty() {
            "-".to_owned()
        } else {
            from.join(",")
        };
        let Counts {
            ok, failed, unmade, ..
        } = *counts;
        let why: Vec<&str> = counts.why.iter().map(String::as_str).collect();
        format!(
            "ok {ok} failed {failed} unmade {unmade} from {from} last {}\n",
            why.join("; ")
        )
    }
}

impl Counts {
    fn fail(&mut self, why: &str, took: Duration) {
        self.failed += 1;
        if self.why.len() == TOLD {
            self.why.pop_front();
        }
        let took = took.as_millis();
        self.why.push_back(format!("{why} after {took} ms"));
    }
}
