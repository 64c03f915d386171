//! The executor: the only caller of `Backend::apply`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};

use super::state::{Batch, Failed, State};
use super::{Gate, monitor, wait};
use crate::backend::{Action, Applied, Backend, Commit, Step, Until};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::name::ServiceName;
use crate::plan::Plan;

/// Longest time of one action if nobody says otherwise.
const DEADLINE: Duration = Duration::from_mins(2);

/// What became of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Under way.
    Started,
    /// Done.
    Changed,
    /// It was so already, or a wait is over.
    Unchanged,
    /// Failed; the error ends the run.
    Failed,
    /// Taken back after a failure elsewhere.
    Undone,
}

/// One change in the state of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The entry's place in the plan.
    pub index: usize,
    /// How many entries the plan has.
    pub total: usize,
    /// What the entry is about, as `replica shop-web-1`.
    pub subject: String,
    /// What is done, as `start`.
    pub verb: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, once it is over.
    pub elapsed: Option<Duration>,
}

/// Called with progress; must return at once.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How a plan is carried out.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct RunOptions<'a> {
    /// Most actions at a time, those that mostly wait not counted.
    pub parallel: usize,
    /// Most actions at a time of those that mostly wait: fifty programs that use up their grace
    /// need no more time than one.
    pub waiting: usize,
    /// Longest time of one action, to which comes what a program may take to end where one is
    /// asked to; what takes longer is given up with `Timeout`. `None`: as long as the client's
    /// [`Deadlines`](crate::backend::wrap::Deadlines) say.
    pub deadline: Option<Duration>,
    /// Called with progress.
    pub on_progress: OnProgress<'a>,
    /// When the steps must survive a loss of power.
    pub(crate) commit: Commit,
    /// Asked before each batch of a rollout.
    pub(crate) gate: Option<&'a dyn Gate>,
}

impl fmt::Debug for RunOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions")
            .field("parallel", &self.parallel)
            .field("waiting", &self.waiting)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Default for RunOptions<'_> {
    fn default() -> Self {
        Self {
            parallel: 16,
            waiting: 128,
            deadline: None,
            on_progress: &|_| {},
            commit: Commit::Now,
            gate: None,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Actions that wrote something.
    pub changed: usize,
    /// Actions that found everything as wanted.
    pub unchanged: usize,
    /// What was left alone, and why.
    pub notes: Vec<String>,
    /// Services whose rollouts rest: they are paused, or wait for an approval.
    #[serde(default)]
    pub resting: Vec<ServiceName>,
}

struct Run<'a> {
    plan: &'a Plan,
    backend: &'a Arc<dyn Backend>,
    clock: &'a Arc<dyn Clock>,
    options: RunOptions<'a>,
}

/// How many more actions may begin.
struct Free {
    work: usize,
    waits: usize,
}

impl Free {
    fn of(options: &RunOptions<'_>) -> Self {
        Self {
            work: options.parallel.max(1),
            waits: options.waiting.max(1),
        }
    }

    /// Those that an action counts against.
    fn slots(&mut self, action: &Action) -> &mut usize {
        match action.mostly_waits() {
            true => &mut self.waits,
            false => &mut self.work,
        }
    }
}

/// Carries out a plan.
///
/// An entry starts when those before it are done. After the first failure nothing new starts, what
/// is under way ends, and new copies that do not serve yet are taken back; where a service's update
/// policy lets a batch fail, only that batch is. Dropped in the middle, the platform has each action
/// whole or repeatable; a new plan goes on from there.
///
/// # Errors
/// The first failure, with what failed while taking back in its `cleanup`.
pub async fn run(
    plan: &Plan,
    backend: &Arc<dyn Backend>,
    clock: &Arc<dyn Clock>,
    options: RunOptions<'_>,
) -> Result<Report> {
    let outcome = run_plan(plan, backend, clock, options).await;
    outcome.map_err(|failed| failed.error)
}

/// As [`run`], and says which rollout it was that failed.
pub(crate) async fn run_plan(
    plan: &Plan,
    backend: &Arc<dyn Backend>,
    clock: &Arc<dyn Clock>,
    options: RunOptions<'_>,
) -> std::result::Result<Report, Failed> {
    let run = Run {
        plan,
        backend,
        clock,
        options,
    };
    let mut report = Report {
        notes: plan.notes.clone(),
        resting: plan.resting.clone(),
        ..Report::default()
    };
    let mut state = State::new(plan);
    let mut working: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
    let mut free = Free::of(&options);
    loop {
        for index in state.ready() {
            if let Some(gate) = options.gate
                && let Some((batch, service)) = state.unasked(index)
            {
                state.ask(batch);
                let is_open = async move { Ended::Asked(batch, gate.is_open(service).await) };
                working.push(Box::pin(is_open));
                continue;
            }
            if options.gate.is_some() && !state.may_begin(index) {
                continue;
            }
            let slots = free.slots(&plan.entries[index].action);
            if *slots > 0 {
                *slots -= 1;
                state.begin(index);
                working.push(Box::pin(run.entry(index, state.given_up_slots(index))));
            }
        }
        let Some(ended) = working.next().await else {
            break;
        };
        match ended {
            Ended::Entry(index, outcome) => {
                *free.slots(&plan.entries[index].action) += 1;
                match outcome {
                    Ok(applied) => {
                        state.succeed(index);
                        report.count(&applied);
                    }
                    Err(error) => state.fail(index, error),
                }
            }
            Ended::TakenBack(batch, failed) => state.taken_back(batch, failed),
            Ended::Asked(batch, answer) => state.answered(batch, answer),
        }
        while let Some((batch, back)) = state.next_taken_back() {
            let run = &run;
            working.push(Box::pin(async move {
                Ended::TakenBack(batch, run.undo(&back).await)
            }));
        }
    }
    let failed = run.undo(&state.to_take_back()).await;
    state.end(failed).map(|()| report)
}

/// What has come to its end in a run.
enum Ended {
    Entry(usize, Result<Applied>),
    TakenBack(Batch, Vec<Error>),
    Asked(Batch, Result<bool>),
}

impl Report {
    fn count(&mut self, applied: &Applied) {
        match applied {
            Applied::Changed => self.changed += 1,
            Applied::Unchanged => self.unchanged += 1,
        }
    }
}

impl Run<'_> {
    /// Carries an entry out; nobody waits for the slots in `gone`.
    async fn entry(&self, index: usize, gone: BTreeSet<u32>) -> Ended {
        let action = &self.plan.entries[index].action;
        let start = self.clock.monotonic();
        self.tell(index, Outcome::Started, None);
        let left = |slots: &[u32]| -> Vec<u32> {
            let left = slots.iter().filter(|slot| !gone.contains(slot));
            left.copied().collect()
        };
        let outcome = match action {
            Action::Await { slots, .. } | Action::Monitor { slots, .. }
                if !slots.is_empty() && left(slots).is_empty() =>
            {
                Ok(Applied::Unchanged)
            }
            Action::Await {
                service,
                slots,
                until,
                deadline,
            } => {
                let wanted = wait::Wanted {
                    stack: &self.plan.stack,
                    service,
                    slots: &left(slots),
                    until: *until,
                };
                wait::until(self.backend, self.clock, &wanted, *deadline).await
            }
            Action::Monitor {
                service,
                slots,
                time,
            } => {
                let wanted = wait::Wanted {
                    stack: &self.plan.stack,
                    service,
                    slots: &left(slots),
                    until: Until::Ready,
                };
                monitor::stays_ready(self.backend, self.clock, &wanted, *time).await
            }
            Action::Pause { time } => {
                self.clock.sleep(*time).await;
                Ok(Applied::Unchanged)
            }
            _ => {
                let step = self.step(index, self.plan.entries[index].allowance);
                self.backend.apply(action, &step).await
            }
        };
        let told = match &outcome {
            Ok(Applied::Changed) => Outcome::Changed,
            Ok(Applied::Unchanged) => Outcome::Unchanged,
            Err(_) => Outcome::Failed,
        };
        self.tell(
            index,
            told,
            Some(self.clock.monotonic().saturating_sub(start)),
        );
        Ended::Entry(index, outcome)
    }

    fn step(&self, index: usize, allowance: Duration) -> Step {
        let limit = self.options.deadline.unwrap_or(DEADLINE);
        Step {
            stack: self.plan.stack.clone(),
            plan: self.plan.id.clone(),
            index,
            deadline: limit.saturating_add(allowance),
            commit: self.options.commit,
        }
    }

    /// Takes these entries back, last first; goes on after a failure.
    async fn undo(&self, entries: &[usize]) -> Vec<Error> {
        let mut failed = Vec::new();
        for index in entries.iter().rev() {
            let Some(undo) = &self.plan.entries[*index].undo else {
                continue;
            };
            let grace = match &self.plan.entries[*index].action {
                Action::StartReplica { service, .. } => Some(service.stop_grace()),
                _ => None,
            };
            let step = self.step(*index, undo.action.grace(grace));
            match self.backend.apply(&undo.action, &step).await {
                Ok(_) => self.tell(*index, Outcome::Undone, None),
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    fn tell(&self, index: usize, outcome: Outcome, elapsed: Option<Duration>) {
        let action = &self.plan.entries[index].action;
        (self.options.on_progress)(Progress {
            index,
            total: self.plan.entries.len(),
            subject: action.subject(),
            verb: action.verb(),
            outcome,
            elapsed,
        });
    }
}
