//! A plan that makes everything and starts nothing.

use std::collections::BTreeSet;

use super::{Entry, Plan};
use crate::backend::{Action, ObservedStack};
use crate::name::ReplicaId;

/// Turns starts of replicas that are not there into their making, and drops other starts and waits.
pub(super) fn without_starts(plan: &mut Plan, observed: &ObservedStack) {
    let mut there: BTreeSet<ReplicaId> = observed.replicas.iter().map(|r| r.id.clone()).collect();
    // For each former entry: the entries that one after it now waits for.
    let mut stands_for: Vec<Vec<usize>> = Vec::new();
    let mut kept: Vec<Entry> = Vec::new();
    for mut entry in std::mem::take(&mut plan.entries) {
        let before = entry
            .after
            .iter()
            .flat_map(|index| stands_for[*index].clone());
        let before: BTreeSet<usize> = before.collect();
        entry.after = before.into_iter().collect();
        match changed(&entry.action, &mut there) {
            None => stands_for.push(entry.after),
            Some(action) => {
                stands_for.push(vec![kept.len()]);
                entry.action = action;
                // What is made and not started serves nobody: it may stay after a failure.
                entry.undo = None;
                kept.push(entry);
            }
        }
    }
    plan.entries = kept;
    // Nothing is waited for, so no batch can fail.
    plan.rollouts.clear();
}

/// What is done in place of an action, if anything.
fn changed(action: &Action, there: &mut BTreeSet<ReplicaId>) -> Option<Action> {
    match action {
        Action::StartReplica { replica, service } => {
            there
                .insert(replica.clone())
                .then(|| Action::CreateReplica {
                    replica: replica.clone(),
                    service: service.clone(),
                })
        }
        Action::RemoveReplica { replica } => {
            there.remove(replica);
            Some(action.clone())
        }
        action if action.is_wait() => None,
        action => Some(action.clone()),
    }
}
