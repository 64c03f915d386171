//! Rollouts that rest: paused by anybody, or waiting for the approval of their first replicas. What
//! rests is kept in the stack's record, so that any client can let it go on, or go back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::record::RolloutMark;
use super::{Client, StackRecord, UpOptions};
use crate::apply::{Gate, Report};
use crate::backend::{ObservedReplica, ObservedStack, Revision};
use crate::error::{ErrorKind, Result};
use crate::name::{ServiceName, StackName};
use crate::plan::{Hold, Scope};

/// How long a look into the record is believed.
const FRESH: Duration = Duration::from_millis(100);
/// How often a record is written anew that somebody else has just written.
const TRIES: usize = 16;

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutPhase {
    /// Every replica is as the service is declared.
    Complete,
    /// Some are not: a caller is at work, or has given up; the next `up` goes on.
    Unfinished,
    /// Its first replicas are replaced, and the others wait for an approval.
    Canary,
    /// Somebody paused it.
    Paused,
}

impl RolloutPhase {
    /// The phase in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unfinished => "unfinished",
            Self::Canary => "canary",
            Self::Paused => "paused",
        }
    }
}

/// The rollout of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// Whose.
    pub service: ServiceName,
    /// Where it stands.
    pub phase: RolloutPhase,
    /// How many replicas are wanted.
    pub wanted: usize,
    /// How many are as the service is declared.
    pub updated: usize,
    /// How many of those serve.
    pub ready: usize,
    /// How many are as it was declared before.
    pub outdated: usize,
    /// True if it is known what it was before, so that it can go back.
    pub can_undo: bool,
}

impl fmt::Display for RolloutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            phase,
            wanted,
            updated,
            ready,
            outdated,
            ..
        } = self;
        write!(
            f,
            "{service}: {}: {updated} of {wanted} replaced, {ready} of them serve, {outdated} of before",
            phase.as_str()
        )
    }
}

impl Client {
    /// Pauses the rollouts of a service: the one that is under way, whoever carries it out, rests
    /// after the batch it is at, and no other begins until [`resume_rollout`](Self::resume_rollout).
    ///
    /// Old and new replicas serve meanwhile. It waits for nobody's lock; a caller at work sees it
    /// before his next batch and is told. Idempotent; false if it was paused already.
    /// *Cancelled*: it is paused or not.
    ///
    /// # Errors
    /// `NotFound` without such a service, `Unsupported` if the backend keeps no record of stacks,
    /// `Conflict` if others write the record without an end.
    pub async fn pause_rollout(&self, stack: &StackName, service: &ServiceName) -> Result<bool> {
        let state = self.state_facet()?;
        let mut tries = 0;
        loop {
            let (mut record, revision) = self.load_record(stack).await?;
            self.need(&record, stack, service)?;
            let mark = record.rollouts.entry(service.clone()).or_default();
            if std::mem::replace(&mut mark.paused, true) {
                return Ok(false);
            }
            let stored = state.store(stack, &record.encode(), revision).await;
            tries += 1;
            match stored {
                Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(true),
            }
        }
    }

    /// Lets the rollout of a service go on to its end: one that was paused, and one that waits for
    /// the approval of its first replicas. Another service is left as it is.
    ///
    /// Idempotent. *Cancelled*: what serves goes on serving; the next `up`, or this again, goes on.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn resume_rollout(
        &self,
        stack: &StackName,
        service: &ServiceName,
        options: &UpOptions<'_>,
    ) -> Result<Report> {
        let edit = |record: &mut StackRecord| {
            self.need(record, stack, service)?;
            if let Some(mark) = record.rollouts.get_mut(service) {
                mark.paused = false;
            }
            Ok(())
        };
        let mut options = options.clone().only(Scope::Change(vec![service.clone()]));
        options.plan.approve.push(service.clone());
        self.change(stack, &options, edit).await
    }

    /// Where the rollouts of a stack's services stand. A read.
    ///
    /// # Errors
    /// `Unsupported` if the backend keeps no record of stacks; what the backend gives.
    pub async fn rollouts(&self, stack: &StackName) -> Result<Vec<RolloutStatus>> {
        self.state_facet()?;
        let (record, _) = self.load_record(stack).await?;
        let observed = self.whole(stack).await?;
        let effective = record.effective(stack);
        let all = effective.services.iter();
        Ok(all
            .map(|(name, spec)| {
                let canary = spec.update.canary.map(|count| count as usize);
                status(&record, &observed, name, (spec.replicas as usize, canary))
            })
            .collect())
    }
}

fn status(
    record: &StackRecord,
    observed: &ObservedStack,
    name: &ServiceName,
    (wanted, canary): (usize, Option<usize>),
) -> RolloutStatus {
    let declared = observed.services.get(name).map(|seen| &seen.spec_hash);
    let all: Vec<&ObservedReplica> = observed.replicas_of(name).collect();
    let is_new = |replica: &&&ObservedReplica| Some(&replica.spec_hash) == declared;
    let updated = all.iter().filter(is_new).count();
    let ready = all.iter().filter(is_new).filter(|r| r.is_ready()).count();
    let outdated = all.len() - updated;
    let mark = record.rollouts.get(name).cloned().unwrap_or_default();
    let approved = mark.approved.is_some() && mark.approved.as_ref() == declared;
    let rests = canary.is_some_and(|count| !approved && updated >= count);
    let phase = match () {
        () if mark.paused => RolloutPhase::Paused,
        () if outdated > 0 && rests => RolloutPhase::Canary,
        () if outdated > 0 || updated < wanted => RolloutPhase::Unfinished,
        () => RolloutPhase::Complete,
    };
    RolloutStatus {
        service: name.clone(),
        phase,
        wanted,
        updated,
        ready,
        outdated,
        can_undo: record.former.contains_key(name),
    }
}

/// What the planner must know of rollouts that rest, or that were approved.
pub(super) fn holds(record: &StackRecord) -> BTreeMap<ServiceName, Hold> {
    let hold = |mark: &RolloutMark| match (mark.paused, &mark.approved) {
        (true, _) => Some(Hold::Paused),
        (false, Some(hash)) => Some(Hold::Approved(hash.clone())),
        (false, None) => None,
    };
    let marks = record.rollouts.iter();
    marks
        .filter_map(|(name, mark)| Some((name.clone(), hold(mark)?)))
        .collect()
}

/// Notes which specification it is whose first replicas were approved.
pub(super) fn note_approvals(
    record: &mut StackRecord,
    approve: &[ServiceName],
    hash_of: impl Fn(&ServiceName) -> Option<String>,
) {
    for name in approve {
        let mark = record.rollouts.entry(name.clone()).or_default();
        mark.approved = hash_of(name);
    }
}

/// Forgets approvals of rollouts that have come to their end.
pub(super) fn forget_approvals(record: &mut StackRecord, scope: &Scope, resting: &[ServiceName]) {
    for (name, mark) in &mut record.rollouts {
        if scope.is_about(name) && !resting.contains(name) {
            mark.approved = None;
        }
    }
    let nothing = RolloutMark::default();
    record.rollouts.retain(|_, mark| *mark != nothing);
}

/// The way to the record of a change that is under way.
#[derive(Debug)]
pub(super) struct RecordGate<'a> {
    client: &'a Client,
    stack: &'a StackName,
    /// Written by whoever asks, one after the other.
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    at: Duration,
    revision: Option<Revision>,
    paused: BTreeSet<ServiceName>,
}

impl<'a> RecordGate<'a> {
    /// A gate over a record that was written just now.
    pub(super) fn new(
        client: &'a Client,
        stack: &'a StackName,
        record: &StackRecord,
        revision: Option<Revision>,
    ) -> Self {
        let seen = Seen {
            at: client.clock.monotonic(),
            revision,
            paused: paused(record),
        };
        Self {
            client,
            stack,
            seen: Mutex::new(seen),
        }
    }

    fn seen(&self) -> Seen {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn paused(record: &StackRecord) -> BTreeSet<ServiceName> {
    let paused = record.rollouts.iter().filter(|(_, mark)| mark.paused);
    paused.map(|(name, _)| name.clone()).collect()
}

#[async_trait]
impl Gate for RecordGate<'_> {
    async fn is_open(&self, service: &ServiceName) -> Result<bool> {
        let mut seen = self.seen();
        let now = self.client.clock.monotonic();
        if now.saturating_sub(seen.at) >= FRESH
            && let Some(state) = self.client.backend.state()
        {
            // A record that is gone pauses nothing.
            let found = state.load(self.stack).await?;
            let revision = found.as_ref().map(|(_, revision)| *revision);
            if revision != seen.revision {
                let record = found.map(|(bytes, _)| StackRecord::decode(self.stack, &bytes));
                seen.paused = paused(&record.transpose()?.unwrap_or_default());
            }
            (seen.at, seen.revision) = (now, revision);
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen.clone();
        }
        Ok(!seen.paused.contains(service))
    }
}
