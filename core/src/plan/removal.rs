//! The way from observed to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::order::levels;
use super::retire::{Retirement, retire};
use super::{Plan, facts};
use crate::backend::{Action, ObservedReplica, ObservedStack};
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
    let facts = facts(observed);
    let mut plan = Plan::new(known.name.clone(), format!("down-{facts}"), facts);
    let mut gone: BTreeMap<&ServiceName, Vec<usize>> = BTreeMap::new();
    let services: BTreeSet<&ServiceName> = observed
        .services
        .keys()
        .chain(observed.replicas.iter().map(|replica| &replica.id.service))
        .collect();
    let dependents = Dependents::of(known);
    let mut seen: BTreeMap<&ServiceName, Vec<&ObservedReplica>> = BTreeMap::new();
    for replica in &observed.replicas {
        seen.entry(&replica.id.service).or_default().push(replica);
    }
    for service in dependents.stop_order(&services) {
        let after: Vec<usize> = dependents
            .on(service)
            .filter_map(|dependent| gone.get(dependent))
            .flatten()
            .copied()
            .collect();
        let mut replicas = Vec::new();
        for replica in seen.get(service).into_iter().flatten() {
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
        plan.push(action, "the stack goes", &replicas);
        gone.insert(service, replicas);
    }
    // What services used goes once all of them are gone.
    plan.ground = plan.entries.len();
    for network in observed.networks.keys() {
        plan.push(
            Action::RemoveNetwork {
                name: network.clone(),
            },
            "the stack goes",
            &[],
        );
    }
    let blobs: Vec<&BlobId> = observed.blobs.keys().collect();
    for id in blobs {
        plan.push(Action::RemoveBlob { id: id.clone() }, "the stack goes", &[]);
    }
    for volume in &observed.volumes {
        let spec = known.volumes.get(volume);
        let external = spec.is_some_and(|spec| spec.external.is_some());
        if options.volumes && !external {
            let action = Action::RemoveVolume {
                name: volume.clone(),
            };
            plan.push(action, "its removal was asked for", &[]);
        } else {
            plan.notes
                .push(format!("volume `{volume}` stays with its data"));
        }
    }
    plan
}

/// Who depends on whom.
struct Dependents<'a>(BTreeMap<&'a ServiceName, Vec<&'a ServiceName>>);

impl<'a> Dependents<'a> {
    fn of(known: &'a Stack) -> Self {
        let mut found: BTreeMap<&ServiceName, Vec<&ServiceName>> = BTreeMap::new();
        for (name, service) in &known.services {
            for needed in service.depends_on.keys() {
                found.entry(needed).or_default().push(name);
            }
        }
        Self(found)
    }

    /// Those that depend on this service.
    fn on(&self, service: &ServiceName) -> impl Iterator<Item = &'a ServiceName> {
        self.0.get(service).into_iter().flatten().copied()
    }

    /// Dependents before what they depend on, by name where the order is free.
    fn stop_order(&self, services: &BTreeSet<&'a ServiceName>) -> Vec<&'a ServiceName> {
        let needs =
            |service: &&'a ServiceName| self.on(service).filter(|one| services.contains(one));
        let (mut order, rest) = levels(services.iter().copied().collect(), |one| {
            needs(&one).collect()
        });
        // A record from elsewhere may hold a cycle; removal must not depend on it.
        order.extend(rest);
        order
    }
}
