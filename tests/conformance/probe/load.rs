//! A client that connects to one place again and again, and counts.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{connect, dns, pause};

const PATIENCE: Duration = Duration::from_secs(2);

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
    from: BTreeSet<String>,
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
            let name = self.once();
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            match name {
                Some(name) => {
                    counts.ok += 1;
                    counts.from.insert(name);
                }
                None => counts.failed += 1,
            }
            drop(counts);
            pause(self.every.saturating_sub(start.elapsed()));
        }
    }

    /// The host name of whoever answered.
    fn once(&self) -> Option<String> {
        let address = dns::resolve(&self.host).first().copied()?;
        let answer = connect::ask_tcp(address, self.port, "hello", PATIENCE).ok()?;
        answer.split_whitespace().next().map(str::to_owned)
    }

    pub(crate) fn count(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let from: Vec<&str> = counts.from.iter().map(String::as_str).collect();
        let from = if from.is_empty() {
            "-".to_owned()
        } else {
            from.join(",")
        };
        format!("ok {} failed {} from {from}\n", counts.ok, counts.failed)
    }
}
