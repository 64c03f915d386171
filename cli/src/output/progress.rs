//! Progress of a change on standard error: live on a terminal, else one line a change, or JSON.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use unmoor::apply::{self, Outcome};
use unmoor::backend::PullProgress;
use unmoor::plan::Plan;
use unmoor::units::Bytes;

use crate::args::ProgressMode;
use crate::exit::nearer;
use crate::output::live::{Live, Mark, Row};
use crate::output::waits::Waits;
use crate::output::{Ui, clean};

/// Where a change has come to, shown as the user wants it.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: Live,
    rows: Vec<Row>,
    places: BTreeMap<String, usize>,
    counter: Counter,
    /// Percent last told, by image.
    pulled: BTreeMap<String, u64>,
    waits: Waits,
}

/// How many actions there are, and how many have ended, where one change may follow another: `rm`
/// removes replicas, and then the copies that nobody needs any more.
#[derive(Debug, Default)]
struct Counter {
    /// Of changes that are over.
    before: usize,
    total: usize,
    ended: usize,
}

impl Counter {
    /// A change of so many actions begins, or goes on.
    fn begin(&mut self, total: usize) {
        if self.total > 0 && self.ended >= self.total {
            self.before += self.ended;
            self.ended = 0;
        }
        self.total = total;
    }

    fn step(&mut self, total: usize, outcome: Outcome) {
        self.begin(total);
        if !matches!(outcome, Outcome::Started | Outcome::Undone) {
            self.ended += 1;
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.before + self.ended, self.before + self.total)
    }
}

impl Progress {
    pub(crate) fn new(ui: Ui) -> Self {
        let state = State {
            live: Live::new(ui.side.0, ui.side.1),
            rows: Vec::new(),
            places: BTreeMap::new(),
            counter: Counter::default(),
            pulled: BTreeMap::new(),
            waits: Waits::default(),
        };
        Self {
            ui,
            begun: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// How many actions have ended, of how many.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.lock().counter.counts()
    }

    /// Tells what is going to be done.
    pub(crate) fn plan(&self, plan: &Plan) {
        self.lock().counter.begin(plan.entries.len());
        if self.ui.json {
            let writes = plan.entries.iter().filter(|entry| !entry.action.is_wait());
            self.ui.event(&json!({
                "event": "plan", "stack": plan.stack, "plan": plan.id,
                "actions": plan.entries.len(), "writes": writes.count(),
            }));
        }
        // What follows must not be drawn over.
        self.finish();
        for gap in &plan.gaps {
            let told = gap.to_string();
            let told = match &gap.place {
                Some(place) => nearer(&told, place),
                None => told,
            };
            self.ui.warn(&told);
        }
        for note in &plan.notes {
            self.ui.note(note);
        }
    }

    /// Tells of one action.
    pub(crate) fn step(&self, step: apply::Progress) {
        let mut state = self.lock();
        state.counter.step(step.total, step.outcome);
        let (mark, word) = words(step.verb, step.outcome);
        match self.ui.progress {
            ProgressMode::Quiet => {}
            ProgressMode::Json => {
                let millis = step.elapsed.map(|time| time.as_millis());
                self.ui.event(&json!({
                    "event": "step", "index": step.index, "total": step.total,
                    "subject": step.subject, "verb": step.verb, "outcome": step.outcome,
                    "elapsed_ms": millis,
                }));
            }
            ProgressMode::Tty => {
                let now = self.begun.elapsed();
                state.set(&step.subject, &word, mark, now, step.elapsed);
                self.draw(&mut state, false);
            }
            ProgressMode::Auto | ProgressMode::Plain => {
                if state.waits.are_worth_telling(&step)
                    && let Some(line) = plain(&step, &word)
                {
                    self.ui.write(&format!("{}\n", clean(&line)));
                }
            }
        }
    }

    /// Tells how far an image has come that is fetched.
    pub(crate) fn pull(&self, pull: PullProgress) {
        self.travelled(pull, ("pulling", "pulled"));
    }

    /// Tells how far an image has come that is sent.
    pub(crate) fn push(&self, push: PullProgress) {
        self.travelled(push, ("pushing", "pushed"));
    }

    fn travelled(&self, pull: PullProgress, (going, gone): (&str, &str)) {
        let mut state = self.lock();
        let percent = pull
            .total
            .map(|total| pull.done * 100 / total.max(1))
            .unwrap_or(0);
        let before = state.pulled.insert(pull.reference.clone(), percent);
        let over = pull.total.is_some_and(|total| pull.done >= total);
        // A step of ten in a hundred is told; each packet is not.
        if before.is_some_and(|before| before / 10 == percent / 10) && !over {
            return;
        }
        let subject = format!("image {}", pull.reference);
        let word = if over {
            gone.to_owned()
        } else {
            format!("{going} {percent} %")
        };
        match self.ui.progress {
            ProgressMode::Quiet => {}
            ProgressMode::Json => self.ui.event(&json!({
                "event": "pull", "image": pull.reference, "done": pull.done, "total": pull.total,
            })),
            ProgressMode::Tty => {
                let now = self.begun.elapsed();
                let mark = if over { Mark::Changed } else { Mark::Working };
                state.set(&subject, &word, mark, now, None);
                self.draw(&mut state, false);
            }
            ProgressMode::Auto | ProgressMode::Plain => {
                let size = pull.total.map(|total| format!(" of {}", Bytes(total)));
                self.ui.write(&format!(
                    "{}: {word}{}\n",
                    clean(&subject),
                    size.unwrap_or_default()
                ));
            }
        }
    }

    /// Lets the seconds go on.
    pub(crate) fn tick(&self) {
        if self.ui.progress == ProgressMode::Tty {
            let mut state = self.lock();
            if !state.rows.is_empty() {
                self.draw(&mut state, false);
            }
        }
    }

    /// Draws for the last time; what follows is printed below.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        if self.ui.progress == ProgressMode::Tty && !state.rows.is_empty() {
            self.draw(&mut state, true);
            state.rows.clear();
            state.places.clear();
        }
    }

    /// Tells that all is done.
    pub(crate) fn done(&self, report: &apply::Report) {
        if self.ui.json {
            self.ui.event(&json!({
                "event": "done", "changed": report.changed, "unchanged": report.unchanged,
            }));
        } else if report.changed == 0 {
            self.ui.status("nothing to change");
        }
    }

    fn draw(&self, state: &mut State, whole: bool) {
        let now = self.begun.elapsed();
        let (ended, total) = state.counter.counts();
        let head = format!("[+] {ended}/{total} {:.1}s", now.as_secs_f32());
        let State { live, rows, .. } = state;
        self.ui.write(&live.frame(rows, &head, now, whole));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(
        &mut self,
        subject: &str,
        word: &str,
        mark: Mark,
        now: Duration,
        took: Option<Duration>,
    ) {
        let row = Row {
            subject: subject.to_owned(),
            word: word.to_owned(),
            mark,
            begun: now,
            took,
        };
        match self.places.get(subject) {
            // A wait that finds what it waits for says no more than the action before it.
            Some(at) if mark == Mark::Same && self.rows[*at].mark == Mark::Changed => {}
            Some(at) => self.rows[*at] = row,
            None => {
                self.places.insert(subject.to_owned(), self.rows.len());
                self.rows.push(row);
            }
        }
    }
}

/// How an action is marked and said, by what became of it.
fn words(verb: &str, outcome: Outcome) -> (Mark, String) {
    let (doing, done) = match verb {
        "create" => ("creating", "created"),
        "declare" => ("declaring", "declared"),
        "remove" => ("removing", "removed"),
        "start" => ("starting", "started"),
        "drain" => ("draining", "drained"),
        "stop" => ("stopping", "stopped"),
        "restart" => ("restarting", "restarted"),
        "pause" => ("pausing", "paused"),
        "resume" => ("resuming", "resumed"),
        "kill" => ("killing", "killed"),
        "signal" => ("signalling", "signalled"),
        "wait until running" => ("waiting until running", "running"),
        "wait until ready" => ("waiting until ready", "ready"),
        "wait until completed" => ("waiting until completed", "completed"),
        "wait for" => ("waiting for them", "waited for"),
        other => (other, other),
    };
    let wait = verb.starts_with("wait");
    match outcome {
        Outcome::Started => (Mark::Working, doing.to_owned()),
        Outcome::Changed => (Mark::Changed, done.to_owned()),
        Outcome::Unchanged if wait => (Mark::Changed, done.to_owned()),
        Outcome::Unchanged => (Mark::Same, "unchanged".to_owned()),
        Outcome::Failed => (Mark::Failed, format!("not {done}")),
        Outcome::Undone => (Mark::Undone, "taken back".to_owned()),
    }
}

/// One line a change: ends are told, and the begin of waits, which may be long.
fn plain(step: &apply::Progress, word: &str) -> Option<String> {
    let wait = step.verb.starts_with("wait");
    match step.outcome {
        Outcome::Started if wait => Some(format!("{}: {word}", step.subject)),
        Outcome::Started | Outcome::Unchanged if !wait => None,
        _ => {
            let time = step
                .elapsed
                .map(|time| format!(" ({:.1}s)", time.as_secs_f32()));
            Some(format!(
                "{}: {word}{}",
                step.subject,
                time.unwrap_or_default()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(verb: &'static str, outcome: Outcome) -> apply::Progress {
        apply::Progress {
            index: 0,
            total: 1,
            subject: "service db".to_owned(),
            verb,
            outcome,
            elapsed: (outcome != Outcome::Started).then_some(Duration::from_millis(140)),
        }
    }

    fn said(verb: &'static str, outcome: Outcome) -> Option<String> {
        let step = step(verb, outcome);
        plain(&step, &words(verb, outcome).1)
    }

    #[test]
    fn a_second_change_counts_on_from_the_first() {
        let mut counter = Counter::default();
        counter.begin(2);
        let mut counts = Vec::new();
        for total in [2, 2, 1] {
            counter.step(total, Outcome::Started);
            counter.step(total, Outcome::Changed);
            counts.push(counter.counts());
        }
        assert_eq!(counts, [(1, 2), (2, 2), (3, 3)]);
    }

    #[test]
    fn plain_progress_is_one_line_a_change() {
        assert_eq!(said("start", Outcome::Started), None);
        assert_eq!(said("start", Outcome::Unchanged), None);
        assert_eq!(
            said("start", Outcome::Changed).as_deref(),
            Some("service db: started (0.1s)")
        );
        assert_eq!(
            said("start", Outcome::Failed).as_deref(),
            Some("service db: not started (0.1s)")
        );
        assert_eq!(
            said("wait until ready", Outcome::Started).as_deref(),
            Some("service db: waiting until ready")
        );
        assert_eq!(
            said("wait until ready", Outcome::Unchanged).as_deref(),
            Some("service db: ready (0.1s)")
        );
    }
}
