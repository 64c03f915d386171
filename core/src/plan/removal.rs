//! The way from observed to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::retire::{Retirement, retire};
use super::{Plan, facts};
use crate::backend::{Action, ObservedStack};
use crate::name::ServiceName;
use crate::spec::{BlobId, Stack};

/// How a stack is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovalOptions {
    /// Remove named volumes **with their data**.
    pub volumes: bool,
    /// Time between stop signal and kill, over what the services say.
    pub grace: Option<Duration>,
}

/// Plans the removal of a stack: dependents first, then what they depended on, then networks,
/// secrets and configs; volumes with their data only if asked for.
///
/// `known` is the stack as last applied, for the order; services it does not have stop at once.
#[must_use]
pub fn plan_removal(known: &Stack, observed: &ObservedStack, options: RemovalOptions) -> Plan {
    let mut plan = Plan {
        stack: known.name.clone(),
        id: format!("down-{}", facts(observed)),
        facts: facts(observed),
        entries: Vec::new(),
        gaps: Vec::new(),
        notes: Vec::new(),
        rollouts: Vec::new(),
    };
    let mut gone: BTreeMap<&ServiceName, Vec<usize>> = BTreeMap::new();
    let services: BTreeSet<&ServiceName> = observed
        .services
        .keys()
        .chain(observed.replicas.iter().map(|replica| &replica.id.service))
        .collect();
    let mut ends = Vec::new();
    for service in stop_order(&services, known) {
        let after: Vec<usize> = dependents(service, known)
            .filter_map(|dependent| gone.get(dependent))
            .flatten()
            .copied()
            .collect();
        let mut replicas = Vec::new();
        for replica in observed.replicas_of(service) {
            let way = Retirement {
                // Nobody is left to send to: those who connect are gone, and no other replica stays.
                drains: false,
                drain: Duration::ZERO,
                grace: options.grace,
                reason: "the stack goes",
            };
            replicas.push(retire(&mut plan, replica, way, &after));
        }
        let action = Action::RemoveService {
            name: service.clone(),
        };
        ends.push(plan.push(action, "the stack goes", &replicas));
        gone.insert(service, replicas);
    }
    for network in observed.networks.keys() {
        plan.push(
            Action::RemoveNetwork {
                name: network.clone(),
            },
            "the stack goes",
            &ends,
        );
    }
    let blobs: Vec<&BlobId> = observed.blobs.keys().collect();
    for id in blobs {
        plan.push(
            Action::RemoveBlob { id: id.clone() },
            "the stack goes",
            &ends,
        );
    }
    for volume in &observed.volumes {
        let spec = known.volumes.get(volume);
        let external = spec.is_some_and(|spec| spec.external.is_some());
        if options.volumes && !external {
            let action = Action::RemoveVolume {
                name: volume.clone(),
            };
            plan.push(action, "its removal was asked for", &ends);
        } else {
            plan.notes
                .push(format!("volume `{volume}` stays with its data"));
        }
    }
    plan
}

fn dependents<'a>(
    service: &'a ServiceName,
    known: &'a Stack,
) -> impl Iterator<Item = &'a ServiceName> {
    known
        .services
        .iter()
        .filter(move |(_, spec)| spec.depends_on.contains_key(service))
        .map(|(name, _)| name)
}

/// Dependents before what they depend on.
fn stop_order<'a>(services: &BTreeSet<&'a ServiceName>, known: &Stack) -> Vec<&'a ServiceName> {
    let mut order: Vec<&ServiceName> = Vec::new();
    let mut rest: Vec<&ServiceName> = services.iter().copied().collect();
    while !rest.is_empty() {
        let free = |service: &&ServiceName| {
            dependents(service, known)
                .filter(|dependent| services.contains(dependent))
                .all(|dependent| order.contains(&dependent))
        };
        let (mut now, mut later): (Vec<_>, Vec<_>) = rest.into_iter().partition(free);
        if now.is_empty() {
            // A record from elsewhere may hold a cycle; removal must not depend on it.
            now = std::mem::take(&mut later);
        }
        order.extend(now);
        rest = later;
    }
    order
}
