//! Rollouts that rest: paused by somebody, or until their first replicas are approved.

use std::collections::HashMap;

use super::diff::Planner;
use crate::backend::{DesiredService, ObservedReplica};

/// What is known of the rollouts of a service that rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Somebody paused them.
    Paused,
    /// The first replicas of the specification with this hash were approved.
    Approved(String),
}

impl Planner<'_> {
    /// True for a service whose rollouts somebody paused: its replicas stay as they are.
    pub(super) fn is_paused(&mut self, service: &DesiredService) -> bool {
        if self.desired.holds.get(&service.name) != Some(&Hold::Paused) {
            return false;
        }
        let name = &service.name;
        let seen = self.seen(name);
        let new = seen.iter().filter(|r| r.spec_hash == service.spec_hash);
        let (new, all) = (new.count(), seen.len());
        let wanted = service.spec.replicas as usize;
        self.plan.resting.push(name.clone());
        if new != wanted || all != wanted {
            self.plan.halfway.push(name.clone());
        }
        let text = format!(
            "the rollouts of `{name}` are paused and its replicas stay as they are: {new} of \
             {wanted} are as wanted, {} are not",
            all - new
        );
        let go_on = format!("`unmoor rollout resume {name}` lets them go on");
        self.plan.notes.push(format!("{text}; {go_on}"));
        true
    }

    /// Those outdated replicas that may go before the first new ones are approved, if the service
    /// wants that, and how many of the missing ones wait with the others.
    pub(super) fn canary<'o>(
        &mut self,
        service: &DesiredService,
        kept: &[&ObservedReplica],
        outdated: &[&'o ObservedReplica],
        missing: usize,
    ) -> (Option<Vec<&'o ObservedReplica>>, usize) {
        let Some(first) = self.policy(service).canary else {
            return (None, 0);
        };
        let name = &service.name;
        let approved = Hold::Approved(service.spec_hash.clone());
        let is_approved =
            self.options.approve.contains(name) || self.desired.holds.get(name) == Some(&approved);
        let pairs = missing.min(outdated.len());
        // What is lost comes back as it is wanted now, and is part of the trial.
        let new = kept.len() + missing - pairs;
        let now = pairs.min((first as usize).saturating_sub(new));
        if is_approved || now == pairs {
            return (None, 0);
        }
        let waiting = pairs - now;
        let text = format!(
            "the rollout of `{name}` rests once {} of {} replicas are new",
            new + now,
            service.spec.replicas
        );
        let go_on = format!("`unmoor rollout resume {name}` replaces the others");
        self.plan.notes.push(format!("{text}; {go_on}"));
        self.plan.resting.push(name.clone());
        self.plan.halfway.push(name.clone());
        // What another trial has left goes before what was there before it, and what does not serve
        // before what does.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for replica in outdated {
            *counts.entry(&replica.spec_hash).or_default() += 1;
        }
        let (replaced, extra) = outdated.split_at(pairs);
        let mut going = replaced.to_vec();
        going.sort_by_key(|replica| (counts[replica.spec_hash.as_str()], replica.is_ready()));
        going.truncate(now);
        going.extend(extra);
        (Some(going), waiting)
    }
}
