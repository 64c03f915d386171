//! What the proxy saw and did, for a checker to read.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::rule::{Action, Rule, When};
use super::seed::Dice;

/// One request, or one connection of a TCP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Time since the proxy started.
    pub at: Duration,
    /// Which connection, from one.
    pub connection: u64,
    /// The method; `TCP` for a connection.
    pub method: String,
    /// The path with its query; `/` for a connection.
    pub path: String,
    /// What was done to it, if anything.
    pub action: Option<Action>,
    /// The server's status, once it has answered; of a duplicate, the second.
    pub upstream: Option<u16>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            connection,
            method,
            path,
            action,
            upstream,
        } = self;
        write!(
            f,
            "{:.3}s connection {connection}: {method} {path}",
            at.as_secs_f64()
        )?;
        if let Some(action) = action {
            write!(f, " -> {action:?}")?;
        }
        if let Some(status) = upstream {
            write!(f, " (server said {status})")?;
        }
        Ok(())
    }
}

/// The rules with their counters, and the log. Written by every connection's thread.
#[derive(Debug)]
pub(super) struct Judge {
    rules: Vec<Rule>,
    seed: u64,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    matched: HashMap<usize, u64>,
    log: Vec<Event>,
}

/// What was decided, and where in the log it stands.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) action: Option<Action>,
    pub(super) dice: Dice,
    event: usize,
}

impl Judge {
    pub(super) fn new(rules: Vec<Rule>, seed: u64) -> Self {
        Self {
            rules,
            seed,
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Decides about one request and writes it down.
    pub(super) fn decide(&self, connection: u64, method: &str, path: &str) -> Verdict {
        let mut state = self.lock();
        let mut chosen = None;
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.matches(method, path) {
                continue;
            }
            let count = state.matched.entry(index).or_default();
            *count += 1;
            let mut dice = Dice::new(self.seed, index, *count);
            let fires = match rule.when() {
                When::Always => true,
                When::Nth(first, last) => (first..=last).contains(count),
                When::Percent(share) => dice.chance(share),
            };
            if fires {
                chosen = Some((rule.action().clone(), dice));
                break;
            }
        }
        let (action, dice) = match chosen {
            Some((action, dice)) => (Some(action), dice),
            None => (None, Dice::new(self.seed, usize::MAX, 0)),
        };
        let event = state.log.len();
        state.log.push(Event {
            at: self.started.elapsed(),
            connection,
            method: method.to_owned(),
            path: path.to_owned(),
            action: action.clone(),
            upstream: None,
        });
        Verdict {
            action,
            dice,
            event,
        }
    }

    pub(super) fn answered(&self, verdict: &Verdict, status: u16) {
        if let Some(event) = self.lock().log.get_mut(verdict.event) {
            event.upstream = Some(status);
        }
    }

    pub(super) fn log(&self) -> Vec<Event> {
        self.lock().log.clone()
    }

    /// A thread that panicked while writing has at worst left one event out.
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rules: &[&str], seed: u64) -> Judge {
        Judge::new(
            rules
                .iter()
                .map(|rule| rule.parse().expect("a rule"))
                .collect(),
            seed,
        )
    }

    #[test]
    fn the_second_match_fires_once() {
        let judge = judge(&["GET /a* 2 drop-before"], 0);
        let actions: Vec<_> = (0..3)
            .map(|_| judge.decide(1, "GET", "/ab").action.is_some())
            .collect();
        assert_eq!(actions, [false, true, false]);
        assert!(judge.decide(1, "POST", "/ab").action.is_none());
        assert_eq!(judge.log().len(), 4);
    }

    #[test]
    fn a_seed_repeats_a_run() {
        let run = |seed| {
            let judge = judge(&["* * 50% drop-after"], seed);
            (0..64)
                .map(|_| judge.decide(1, "GET", "/").action.is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
