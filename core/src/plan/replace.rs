//! The replacement of outdated replicas, batch by batch, by the service's policy.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::diff::Planner;
use super::judge::change_reason;
use super::{Direction, Rollout, Undo};
use crate::backend::{Action, DesiredService, ObservedReplica, Until};
use crate::name::ReplicaId;
use crate::spec::{FailureAction, Pace, Role, UpdatePolicy};

/// Slots that nobody has.
struct Free(BTreeSet<u32>);

impl Free {
    fn beside(seen: &[&ObservedReplica]) -> Self {
        Self(seen.iter().map(|replica| replica.id.slot).collect())
    }

    fn take(&mut self) -> u32 {
        let slot = (1..)
            .find(|slot| !self.0.contains(slot))
            .expect("there are 4 billion slots");
        self.0.insert(slot);
        slot
    }
}

/// What the batches of one service have in common.
struct Way<'a> {
    service: &'a Arc<DesiredService>,
    policy: UpdatePolicy,
    /// Why replicas start or stop first.
    why: &'static str,
}

impl Planner<'_> {
    /// The policy that replacements of a service go by.
    pub(super) fn policy(&self, service: &DesiredService) -> UpdatePolicy {
        match self.options.direction {
            Direction::Forward => service.spec.update,
            Direction::Back => service.spec.rollback_policy(),
        }
    }

    /// The size of a batch where `pairs` replicas are to be replaced.
    pub(super) fn pace(&self, service: &DesiredService, pairs: usize) -> Pace {
        let policy = self.policy(service);
        policy.pace(service.spec.order_by(&policy).0, pairs)
    }

    /// Retires what an update that was not finished left beside its replacements, once those serve.
    pub(super) fn retire_extra(
        &mut self,
        service: &Arc<DesiredService>,
        extra: &[&ObservedReplica],
        unready: &[u32],
        before: &[usize],
    ) -> Vec<usize> {
        if extra.is_empty() {
            return Vec::new();
        }
        let first = self.plan.entries.len();
        let mut before = before.to_vec();
        if !unready.is_empty() {
            let way = self.way_of(service);
            before.push(self.await_ready(&way, unready.to_vec(), &before));
        }
        let gone = extra
            .iter()
            .map(|replica| self.retire(service, replica, "it is outdated", &before))
            .collect();
        let batch = first..self.plan.entries.len();
        self.note_batches(service, vec![batch]);
        gone
    }

    fn way_of<'w>(&self, service: &'w Arc<DesiredService>) -> Way<'w> {
        let policy = self.policy(service);
        let (_, why) = service.spec.order_by(&policy);
        Way {
            service,
            policy,
            why,
        }
    }

    /// Makes these entries batches of the service's rollout.
    fn note_batches(&mut self, service: &DesiredService, batches: Vec<Range<usize>>) {
        if batches.is_empty() {
            return;
        }
        self.replaced.insert(service.name.clone());
        let policy = self.policy(service);
        let rollouts = &mut self.plan.rollouts;
        let same = rollouts
            .iter()
            .position(|known| known.service == service.name);
        let at = same.unwrap_or_else(|| {
            rollouts.push(Rollout {
                service: service.name.clone(),
                on_failure: policy.on_failure,
                tolerated: 0,
                batches: Vec::new(),
            });
            rollouts.len() - 1
        });
        let rollout = &mut rollouts[at];
        rollout.batches.extend(batches);
        rollout.tolerated = policy.tolerated(rollout.batches.len());
    }

    /// Starts `missing` new replicas in the place of the `outdated` ones, batch by batch; those
    /// beyond them are started at once.
    pub(super) fn replace(
        &mut self,
        service: &Arc<DesiredService>,
        outdated: &[&ObservedReplica],
        missing: usize,
        seen: &[&ObservedReplica],
        after: &[usize],
    ) -> Vec<usize> {
        let way = self.way_of(service);
        let policy = way.policy;
        let mut free = Free::beside(seen);
        let pace = self.pace(service, outdated.len());
        let mut last = Vec::new();
        let mut before = after.to_vec();
        let mut batches: Vec<Range<usize>> = Vec::new();
        let mut new: Vec<u32> = Vec::new();
        for chunk in outdated.chunks(pace.surge + pace.unavailable) {
            if !batches.is_empty() && !policy.delay.is_zero() {
                let action = Action::Pause { time: policy.delay };
                before = vec![self.plan.push(action, "the pause between batches", &before)];
            }
            let first = self.plan.entries.len();
            let (stop, start) = chunk.split_at(pace.unavailable.min(chunk.len()));
            let mut ends = Vec::new();
            // One that goes on over failures is held up by none.
            let earlier = match policy.on_failure {
                FailureAction::Continue => Vec::new(),
                FailureAction::Pause | FailureAction::Rollback => new.clone(),
            };
            if !stop.is_empty() {
                ends.extend(self.retire_then_start(&way, stop, &earlier, &before));
                new.extend(stop.iter().map(|replica| replica.id.slot));
            }
            if !start.is_empty() {
                let slots: Vec<u32> = start.iter().map(|_| free.take()).collect();
                ends.extend(self.start_then_retire(&way, start, (&slots, &earlier), &before));
                new.extend(slots);
            }
            batches.push(first..self.plan.entries.len());
            before.clone_from(&ends);
            before.extend(after);
            last = ends;
        }
        self.note_batches(service, batches);
        for _ in outdated.len()..missing {
            let slot = free.take();
            last.push(self.start(service, slot, "it is missing", after));
        }
        last
    }

    fn start_then_retire(
        &mut self,
        way: &Way<'_>,
        old: &[&ObservedReplica],
        (slots, earlier): (&[u32], &[u32]),
        before: &[usize],
    ) -> Vec<usize> {
        let service = way.service;
        let reason = format!(
            "{}; starts first because {}",
            self.replacement_reason(old[0], service),
            way.why
        );
        let starts: Vec<usize> = slots
            .iter()
            .map(|slot| self.start(service, *slot, &reason, before))
            .collect();
        let ready = self.await_ready(way, [earlier, slots].concat(), &starts);
        let retired: Vec<usize> = old
            .iter()
            .map(|replica| self.retire(service, replica, "it is replaced", &[ready]))
            .collect();
        // Until the copies it replaces leave discovery, a new copy can be taken back unnoticed.
        for (index, slot) in starts.iter().zip(slots) {
            let replica = ReplicaId::new(self.plan.stack.clone(), service.name.clone(), *slot);
            let undo = Undo {
                action: Action::RemoveReplica { replica },
                commit: ready,
            };
            self.plan.entries[*index].undo = Some(undo);
        }
        retired
    }

    fn retire_then_start(
        &mut self,
        way: &Way<'_>,
        old: &[&ObservedReplica],
        earlier: &[u32],
        before: &[usize],
    ) -> Vec<usize> {
        let service = way.service;
        let mut before = before.to_vec();
        // Nothing more goes before those that came serve.
        if !earlier.is_empty() {
            before.push(self.await_slots(way, earlier.to_vec(), &before));
        }
        let reason = format!(
            "{}; stops first because {}",
            self.replacement_reason(old[0], service),
            way.why
        );
        let gone: Vec<usize> = old
            .iter()
            .map(|replica| self.retire(service, replica, &reason, &before))
            .collect();
        let slots: Vec<u32> = old.iter().map(|replica| replica.id.slot).collect();
        let starts: Vec<usize> = slots
            .iter()
            .map(|slot| self.start(service, *slot, "it replaces the former one", &gone))
            .collect();
        vec![self.await_ready(way, [earlier, &slots].concat(), &starts)]
    }

    fn replacement_reason(&self, old: &ObservedReplica, service: &DesiredService) -> String {
        match self.restarting_dependency(service) {
            Some(name) if old.spec_hash == service.spec_hash => {
                format!("`{name}` that it depends on is replaced")
            }
            _ => change_reason(old, service, self.options),
        }
    }

    /// Waits until the replacements serve, those of earlier batches still, and then sees that they
    /// go on to.
    fn await_ready(&mut self, way: &Way<'_>, slots: Vec<u32>, after: &[usize]) -> usize {
        let service = way.service;
        let job = service.spec.role == Role::Job;
        let ready = self.await_slots(way, slots.clone(), after);
        if job || way.policy.monitor.is_zero() {
            return ready;
        }
        let action = Action::Monitor {
            service: service.name.clone(),
            slots,
            time: way.policy.monitor,
        };
        self.plan.push(action, "it must go on to serve", &[ready])
    }

    fn await_slots(&mut self, way: &Way<'_>, slots: Vec<u32>, after: &[usize]) -> usize {
        let job = way.service.spec.role == Role::Job;
        let action = Action::Await {
            service: way.service.name.clone(),
            slots,
            // A copy that runs to completion is replaced once it ran; others must serve.
            until: if job { Until::Running } else { Until::Ready },
            deadline: way.policy.deadline,
        };
        self.plan.push(action, "the replacement must serve", after)
    }
}
