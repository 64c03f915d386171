//! From desired, observed and capabilities to an ordered list of actions. Pure: no I/O, no clock.

mod create;
mod desired;
mod diff;
mod drift;
mod foreign;
mod gaps;
mod handover;
mod hashed;
mod hold;
mod judge;
mod order;
mod refuse;
mod removal;
mod replace;
mod retire;
mod rollout;
mod scope;
mod select;

pub use desired::Desired;
pub use drift::{Drift, DriftItem, DriftKind, drift};
pub use gaps::{FieldSupport, fields};
pub use hold::Hold;
pub(crate) use order::networks_of;
pub use removal::{RemovalOptions, plan_removal};
pub use rollout::{Direction, Rollout};
pub use scope::{Orphans, Scope};

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{Action, Capabilities, Gap, ObservedReplica, ObservedStack};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{ServiceName, StackName};
use crate::spec::{DriftPolicy, Stack};

/// When replicas that are as wanted are made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recreate {
    /// If their specification changed.
    #[default]
    Changed,
    /// Always.
    Always,
    /// Never, even if their specification changed.
    Never,
}

/// Whether replicas that are made are also started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// They wait to be started; nothing is waited for, and what is stopped stays so.
    Later,
}

/// How a plan is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanOptions {
    /// What becomes of services that are observed but not desired.
    pub orphans: Orphans,
    /// Services that the files have and that are left out just now: they are no orphans.
    pub left_out: Vec<ServiceName>,
    /// When replicas are made anew.
    pub recreate: Recreate,
    /// Replicas of services that are there for the sake of others are made anew.
    pub recreate_dependencies: bool,
    /// Plan although the backend lacks something; what it lacks is in the plan.
    pub allow_gaps: bool,
    /// Which services it is about; the others are left as they are.
    pub only: Scope,
    /// Longest wait for a dependency.
    pub dependency_deadline: Duration,
    /// End with a wait until every service is ready.
    pub wait: Option<Duration>,
    /// Whether replicas are started.
    pub start: Start,
    /// Time between stop signal and kill of what goes, over what its service says.
    pub grace: Option<Duration>,
    /// Whether it leads to a new specification or back to a former one.
    pub direction: Direction,
    /// What becomes of what somebody changed on the platform, over what the services say.
    #[serde(default)]
    pub drift: Option<DriftPolicy>,
    /// Services whose first new replicas are approved: the rest of their rollouts follows.
    #[serde(default)]
    pub approve: Vec<ServiceName>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            orphans: Orphans::default(),
            left_out: Vec::new(),
            recreate: Recreate::default(),
            recreate_dependencies: false,
            allow_gaps: false,
            only: Scope::default(),
            dependency_deadline: Duration::from_secs(600),
            wait: None,
            start: Start::default(),
            grace: None,
            direction: Direction::default(),
            drift: None,
            approve: Vec::new(),
        }
    }
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Entries that must be done before, besides the ground.
    pub after: Vec<usize>,
    /// How many entries at the beginning of the plan must be done before: what all share.
    pub ground: usize,
    /// What its programs may take to end, on top of the deadline of every action.
    #[serde(skip)]
    pub allowance: Duration,
    /// What undoes it if the plan fails before the entry `commit` is done.
    #[serde(skip)]
    pub undo: Option<Undo>,
}

/// How an entry is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The action that takes it back.
    pub action: Action,
    /// Once this entry is done, it stays.
    pub commit: usize,
}

/// An ordered list of actions with reasons: printable, storable, checked again when applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The stack it changes.
    pub stack: StackName,
    /// Names this plan; the same facts give the same name.
    pub id: String,
    /// Fingerprint of what was observed; if that changes, the plan is void.
    pub facts: String,
    /// The actions. Entry `i` only ever waits for entries before it.
    pub entries: Vec<Entry>,
    /// What the backend cannot do of what is wanted.
    pub gaps: Vec<Gap>,
    /// What was left alone, and why.
    pub notes: Vec<String>,
    /// Services whose rollouts are not at their end once this is carried out: they are paused, or
    /// wait for an approval.
    pub resting: Vec<ServiceName>,
    /// Those of them of which not every replica is of the wanted specification.
    #[serde(skip)]
    pub(crate) halfway: Vec<ServiceName>,
    /// Which entries replace the replicas of a service, batch by batch.
    #[serde(skip)]
    pub rollouts: Vec<Rollout>,
    /// The ground of the entries that are added.
    #[serde(skip)]
    ground: usize,
}

impl Plan {
    pub(crate) fn new(stack: StackName, id: String, facts: String) -> Self {
        Self {
            stack,
            id,
            facts,
            entries: Vec::new(),
            gaps: Vec::new(),
            notes: Vec::new(),
            resting: Vec::new(),
            halfway: Vec::new(),
            rollouts: Vec::new(),
            ground: 0,
        }
    }

    /// True if there is nothing to write. Waits alone write nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.action.is_wait())
    }

    /// Its actions in words.
    pub(crate) fn actions(&self) -> Vec<String> {
        let actions = self.entries.iter().map(|entry| entry.action.to_string());
        actions.collect()
    }

    /// Has every further entry wait for all that are there.
    pub(crate) fn stand_on_all(&mut self) {
        self.ground = self.entries.len();
    }

    pub(crate) fn push(
        &mut self,
        action: Action,
        reason: impl Into<String>,
        after: &[usize],
    ) -> usize {
        let mut after = after.to_vec();
        after.sort_unstable();
        after.dedup();
        let allowance = action.grace(None);
        self.entries.push(Entry {
            action,
            reason: reason.into(),
            after,
            ground: self.ground,
            allowance,
            undo: None,
        });
        self.entries.len() - 1
    }
}

impl Plan {
    /// Adds an action on a replica that is there: its programs have the grace that is observed.
    pub(crate) fn push_on(
        &mut self,
        replica: &ObservedReplica,
        action: Action,
        reason: impl Into<String>,
        after: &[usize],
    ) -> usize {
        let allowance = action.grace(replica.stop_grace);
        let index = self.push(action, reason, after);
        self.entries[index].allowance = allowance;
        index
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for gap in &self.gaps {
            writeln!(f, "! {gap}")?;
        }
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        if self.is_empty() {
            return writeln!(f, "{}: nothing to change", self.stack);
        }
        for entry in self.entries.iter().filter(|entry| !entry.reason.is_empty()) {
            let mark = match entry.action.verb() {
                "remove" | "stop" | "drain" => '-',
                "create" | "start" | "declare" | "adopt" => '+',
                _ => ' ',
            };
            writeln!(f, "{mark} {} ({})", entry.action, entry.reason)?;
        }
        Ok(())
    }
}

/// Plans the way from `observed` to `desired`.
///
/// # Errors
/// `Unsupported` with **all** gaps if the backend lacks something and gaps are not allowed;
/// `InvalidSpec` for an impossible wish; `Conflict` if a network exists with other settings.
pub fn plan(
    desired: &Desired,
    observed: &ObservedStack,
    capabilities: &Capabilities,
    options: &PlanOptions,
) -> Result<Plan> {
    if let Some(error) = desired.stack.problems().into_iter().next() {
        return Err(error);
    }
    let gaps = checked(&desired.stack, capabilities, options)?;
    if let Some(error) = refuse::clash(&desired.stack, observed, options) {
        return Err(error);
    }
    if let Some(error) = desired.never_healthy(&options.only) {
        return Err(error);
    }
    let stack = desired.stack.name.clone();
    let mut plan = Plan::new(stack, String::new(), facts(observed));
    plan.gaps = gaps;
    let services = desired.services();
    let id = desired::fingerprint(&services);
    let way = diff::Way {
        desired,
        services,
        observed,
        options,
    };
    diff::diff(&mut plan, way, capabilities)?;
    if options.start == Start::Later {
        create::without_starts(&mut plan, observed);
    }
    plan.id = desired::short_hash(&[plan.facts.as_bytes(), id.as_bytes()]);
    Ok(plan)
}

/// Refuses what the backend cannot run, before anything is looked up or sent.
///
/// # Errors
/// `NotFound` if a service is named that the stack does not have; `InvalidSpec` if services that would
/// start cannot run beside each other; `Unsupported` for what no backend
/// honours, and with **all** gaps of what the plan is about, unless gaps are allowed.
pub fn check(stack: &Stack, capabilities: &Capabilities, options: &PlanOptions) -> Result<()> {
    checked(stack, capabilities, options).map(|_| ())
}

/// The gaps that a plan goes on with.
fn checked(stack: &Stack, capabilities: &Capabilities, options: &PlanOptions) -> Result<Vec<Gap>> {
    let mut named = options.only.names().unwrap_or_default().iter();
    if let Some(unknown) = named.find(|name| !stack.services.contains_key(*name)) {
        let text = format!("no service `{unknown}`");
        return Err(Error::new(ErrorKind::NotFound, text).on(&stack.name));
    }
    let first = refuse::clash(stack, &ObservedStack::default(), options);
    if let Some(error) = first.or_else(|| refuse::unhonoured(stack, options)) {
        return Err(error);
    }
    let gaps = gaps::gaps(stack, capabilities, &options.only);
    let fatal = gaps.iter().filter(|gap| gap.fatal).count();
    if options.allow_gaps || fatal == 0 {
        return Ok(gaps);
    }
    let text = format!("the backend cannot do {fatal} of the things asked for");
    Err(Error::new(ErrorKind::Unsupported, text)
        .on(&stack.name)
        .with_gaps(gaps))
}

/// Fingerprint of everything in `observed` that a plan rests on.
#[must_use]
pub fn facts(observed: &ObservedStack) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(
        observed
            .networks
            .keys()
            .map(|name| format!("network {name}")),
    );
    parts.extend(observed.volumes.iter().map(|name| format!("volume {name}")));
    parts.extend(
        observed
            .blobs
            .iter()
            .map(|(id, hash)| format!("{id} {hash}")),
    );
    parts.extend(
        observed
            .services
            .values()
            .map(|s| format!("service {} {}", s.name, s.spec_hash)),
    );
    for replica in &observed.replicas {
        let alive = replica.phase.is_alive();
        parts.push(format!(
            "replica {} {} {alive}",
            replica.id, replica.spec_hash
        ));
    }
    parts.sort();
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    desired::short_hash(&parts)
}

#[cfg(test)]
mod tests;
