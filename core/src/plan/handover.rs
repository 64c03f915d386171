//! Ports of the node that go from one service to another: who gives one up is declared first.

use std::collections::{BTreeMap, BTreeSet};

use super::Desired;
use crate::backend::ObservedStack;
use crate::name::ServiceName;
use crate::spec::{Protocol, Published};

/// Who must be declared before whom.
type Givers<'a> = BTreeMap<&'a ServiceName, Vec<&'a ServiceName>>;

/// The order in which services are declared, and for each those that must be before it. Services
/// that swap ports wait for nobody: the backend tells what is taken.
pub(super) fn order<'a>(
    desired: &'a Desired,
    observed: &'a ObservedStack,
    selected: &'a BTreeSet<ServiceName>,
) -> (Vec<&'a ServiceName>, Givers<'a>) {
    let given = given_up(desired, observed, selected);
    let mut givers = Givers::new();
    if given.is_empty() {
        return (selected.iter().collect(), givers);
    }
    for name in selected {
        let Some(service) = desired.stack.services.get(name) else {
            continue;
        };
        let wanted = service.ports.iter().flat_map(ports);
        let from: BTreeSet<&ServiceName> = wanted
            .filter_map(|port| given.get(&port).copied())
            .filter(|giver| *giver != name)
            .collect();
        if !from.is_empty() {
            givers.insert(name, from.into_iter().collect());
        }
    }
    let mut order = Vec::new();
    let mut left: Vec<&ServiceName> = selected.iter().collect();
    while !left.is_empty() {
        let waits = |name: &&ServiceName| {
            let givers = givers.get(*name).into_iter().flatten();
            givers.into_iter().any(|giver| left.contains(giver))
        };
        let (later, mut now): (Vec<_>, Vec<_>) = left.iter().partition(|name| waits(name));
        if now.is_empty() {
            now.clone_from(&later);
            left.clear();
        } else {
            left = later;
        }
        order.append(&mut now);
    }
    (order, givers)
}

/// Ports that services have and want no more, by who has them.
fn given_up<'a>(
    desired: &Desired,
    observed: &'a ObservedStack,
    selected: &BTreeSet<ServiceName>,
) -> BTreeMap<(Protocol, u16), &'a ServiceName> {
    let mut given = BTreeMap::new();
    for replica in &observed.replicas {
        let name = &replica.id.service;
        if replica.ports.is_empty() || !selected.contains(name) {
            continue;
        }
        let wanted = desired.stack.services.get(name);
        let wanted: BTreeSet<_> = wanted
            .map(|service| service.ports.iter().flat_map(ports).collect())
            .unwrap_or_default();
        let had = replica.ports.iter().flat_map(ports);
        given.extend(
            had.filter(|port| !wanted.contains(port))
                .map(|port| (port, name)),
        );
    }
    given
}

/// The ports of the node that are asked for.
fn ports(published: &Published) -> impl Iterator<Item = (Protocol, u16)> {
    let range = published.host_port.into_iter();
    let protocol = published.protocol;
    range.flat_map(move |range| (range.first..=range.last).map(move |port| (protocol, port)))
}
