//! Where a run stands: what may begin, what is under way, which batches were given up.

use std::collections::{BTreeMap, BTreeSet};

use super::gate::was_paused;
use crate::backend::Action;
use crate::error::Error;
use crate::name::ServiceName;
use crate::plan::Plan;
use crate::spec::FailureAction;

/// Why a run did not get to the end of its plan.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The first failure, with what failed while taking back in its `cleanup`.
    pub(crate) error: Error,
    /// The rollout that it ended, by its place in the plan.
    pub(crate) rollout: Option<usize>,
}

/// Whether a batch may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Granted,
    /// Its rollout was paused.
    Refused,
}

/// A batch of a rollout, by the places of both.
pub(super) type Batch = (usize, usize);

/// Where a run stands.
#[derive(Debug)]
pub(super) struct State<'a> {
    plan: &'a Plan,
    waiting: BTreeSet<usize>,
    flying: BTreeSet<usize>,
    done: BTreeSet<usize>,
    /// Left out with their batch; who waits for them goes on.
    left_out: BTreeSet<usize>,
    /// Batches that were asked for, with the answer.
    asked: BTreeMap<Batch, Option<Permission>>,
    /// Batches that failed and were given up; true once they are taken back.
    given_up: BTreeMap<Batch, bool>,
    /// The failure that ends the run.
    fatal: Option<Failed>,
    /// The first failure that the run went on after.
    tolerated: Option<Error>,
    cleanup: Vec<Error>,
}

impl<'a> State<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            waiting: (0..plan.entries.len()).collect(),
            flying: BTreeSet::new(),
            done: BTreeSet::new(),
            left_out: BTreeSet::new(),
            asked: BTreeMap::new(),
            given_up: BTreeMap::new(),
            fatal: None,
            tolerated: None,
            cleanup: Vec::new(),
        }
    }

    /// Entries that may begin as far as others go, in order; none once the run has failed.
    pub(super) fn ready(&self) -> Vec<usize> {
        if self.fatal.is_some() {
            return Vec::new();
        }
        let over = |entry: &usize| self.done.contains(entry) || self.left_out.contains(entry);
        let begun = self.waiting.union(&self.flying).next();
        let first_open = begun.copied().unwrap_or(self.plan.entries.len());
        let ready = self.waiting.iter().copied();
        let ready = ready.filter(|index| {
            let entry = &self.plan.entries[*index];
            entry.ground <= first_open && entry.after.iter().all(over)
        });
        ready.filter(|index| !self.is_given_up(*index)).collect()
    }

    /// The batch that an entry is the first of to be ready, and whose it is.
    pub(super) fn unasked(&self, entry: usize) -> Option<(Batch, &'a ServiceName)> {
        let batch = self.batch_of(entry)?;
        let service = &self.plan.rollouts[batch.0].service;
        (!self.asked.contains_key(&batch)).then_some((batch, service))
    }

    pub(super) fn ask(&mut self, batch: Batch) {
        self.asked.insert(batch, None);
    }

    /// Notes whether a batch may begin; that nobody can tell ends the run.
    pub(super) fn answered(&mut self, batch: Batch, answer: Result<bool, Error>) {
        let permission = match answer {
            Ok(true) => Permission::Granted,
            Ok(false) => Permission::Refused,
            Err(error) => {
                match self.fatal {
                    None => {
                        let rollout = None;
                        self.fatal = Some(Failed { error, rollout });
                    }
                    Some(_) => self.cleanup.push(error),
                }
                Permission::Refused
            }
        };
        self.asked.insert(batch, Some(permission));
    }

    /// True for an entry of no batch, or of one that may begin.
    pub(super) fn may_begin(&self, entry: usize) -> bool {
        self.batch_of(entry)
            .is_none_or(|batch| self.asked.get(&batch) == Some(&Some(Permission::Granted)))
    }

    /// The first service whose rollout was paused.
    fn paused(&self) -> Option<&'a ServiceName> {
        let mut asked = self.asked.iter();
        let refused = asked.find(|(_, answer)| **answer == Some(Permission::Refused));
        refused.map(|((rollout, _), _)| &self.plan.rollouts[*rollout].service)
    }

    pub(super) fn begin(&mut self, entry: usize) {
        self.waiting.remove(&entry);
        self.flying.insert(entry);
    }

    pub(super) fn succeed(&mut self, entry: usize) {
        self.flying.remove(&entry);
        self.done.insert(entry);
    }

    /// Notes a failure: of its batch alone where that is tolerated, else of the run.
    pub(super) fn fail(&mut self, entry: usize, error: Error) {
        self.flying.remove(&entry);
        let batch = self.batch_of(entry);
        match batch {
            Some(batch) if self.given_up.contains_key(&batch) => self.cleanup.push(error),
            Some(batch) if self.tolerates(batch.0) => {
                self.given_up.insert(batch, false);
                match self.tolerated {
                    None => self.tolerated = Some(error),
                    Some(_) => self.cleanup.push(error),
                }
            }
            _ => match self.fatal {
                None => {
                    let rollout = batch.map(|(rollout, _)| rollout);
                    self.fatal = Some(Failed { error, rollout });
                }
                Some(_) => self.cleanup.push(error),
            },
        }
    }

    /// A batch that was given up, of which nothing is under way any more, and what is to be taken
    /// back of it; the rest of it is left out.
    pub(super) fn next_taken_back(&mut self) -> Option<(Batch, Vec<usize>)> {
        let rests = |batch: &Batch| {
            let mut flying = self.flying.iter();
            !flying.any(|entry| self.batch_of(*entry) == Some(*batch))
        };
        let mut open = self.given_up.iter().filter(|(_, back)| !**back);
        let batch = open.find_map(|(batch, _)| rests(batch).then_some(*batch))?;
        self.given_up.insert(batch, true);
        let entries = self.plan.rollouts[batch.0].batches[batch.1].clone();
        let back: Vec<usize> = entries.filter(|entry| self.is_loose(*entry)).collect();
        self.done.retain(|entry| !back.contains(entry));
        Some((batch, back))
    }

    /// A batch is taken back: who waits for it goes on.
    pub(super) fn taken_back(&mut self, batch: Batch, failed: Vec<Error>) {
        self.cleanup.extend(failed);
        for entry in self.plan.rollouts[batch.0].batches[batch.1].clone() {
            self.waiting.remove(&entry);
            if !self.done.contains(&entry) {
                self.left_out.insert(entry);
            }
        }
    }

    /// What is done and not committed, if the run failed.
    pub(super) fn to_take_back(&self) -> Vec<usize> {
        match self.fatal {
            None => Vec::new(),
            Some(_) => self
                .done
                .iter()
                .copied()
                .filter(|e| self.is_loose(*e))
                .collect(),
        }
    }

    /// How the run ended.
    pub(super) fn end(mut self, failed: Vec<Error>) -> Result<(), Failed> {
        self.cleanup.extend(failed);
        if self.fatal.is_none()
            && let Some(service) = self.paused()
        {
            let error = was_paused(service);
            self.fatal = Some(Failed {
                error,
                rollout: None,
            });
        }
        match (self.fatal, self.tolerated) {
            (Some(fatal), tolerated) => {
                self.cleanup.extend(tolerated);
                let error = fatal.error.with_cleanup(self.cleanup);
                Err(Failed { error, ..fatal })
            }
            (None, Some(error)) => Err(Failed {
                error: error.with_cleanup(self.cleanup),
                rollout: None,
            }),
            (None, None) => Ok(()),
        }
    }

    /// True for an entry that is done and can be taken back still.
    fn is_loose(&self, entry: usize) -> bool {
        let undo = self.plan.entries[entry].undo.as_ref();
        self.done.contains(&entry) && undo.is_some_and(|undo| !self.done.contains(&undo.commit))
    }

    fn is_given_up(&self, entry: usize) -> bool {
        if self.given_up.is_empty() {
            return false;
        }
        let batch = self.batch_of(entry);
        batch.is_some_and(|batch| self.given_up.contains_key(&batch))
    }

    /// Slots whose replacements were given up in the rollout of an entry: nobody waits for those.
    pub(super) fn given_up_slots(&self, entry: usize) -> BTreeSet<u32> {
        if self.given_up.is_empty() {
            return BTreeSet::new();
        }
        let Some((rollout, _)) = self.batch_of(entry) else {
            return BTreeSet::new();
        };
        let batches = self.given_up.keys().filter(|(of, _)| *of == rollout);
        let entries = batches.flat_map(|(_, at)| self.plan.rollouts[rollout].batches[*at].clone());
        let slot = |entry: usize| match &self.plan.entries[entry].action {
            Action::StartReplica { replica, .. } => Some(replica.slot),
            _ => None,
        };
        entries.filter_map(slot).collect()
    }

    fn batch_of(&self, entry: usize) -> Option<Batch> {
        let mut rollouts = self.plan.rollouts.iter().enumerate();
        rollouts.find_map(|(at, rollout)| rollout.batch_of(entry).map(|batch| (at, batch)))
    }

    /// True if the rollout goes on after one more failed batch.
    fn tolerates(&self, rollout: usize) -> bool {
        let before = self.given_up.keys().filter(|(of, _)| *of == rollout);
        let rollout = &self.plan.rollouts[rollout];
        rollout.on_failure == FailureAction::Continue || before.count() < rollout.tolerated
    }
}
