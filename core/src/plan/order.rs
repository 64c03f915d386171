//! In which order services start, and what they share.

use std::collections::{BTreeSet, HashMap};

use super::Desired;
use crate::name::{NetworkName, ServiceName};
use crate::spec::{NetworkMode, Service, default_network};

/// Services with every dependency before its dependents; by name where the order is free.
pub(super) fn start_order(desired: &Desired, selected: &BTreeSet<ServiceName>) -> Vec<ServiceName> {
    let needs = |name: &ServiceName| {
        let needs = desired.stack.services[name].depends_on.keys();
        needs.filter(|need| selected.contains(*need)).collect()
    };
    let (order, rest) = levels(selected.iter().collect(), needs);
    // Cycles were refused before.
    assert!(rest.is_empty(), "dependencies were checked for cycles");
    order.into_iter().cloned().collect()
}

/// Names in levels, each after all that it `needs`, a level in the given order; then those that are
/// in a cycle, or need one that is.
pub(super) fn levels<'a>(
    names: Vec<&'a ServiceName>,
    needs: impl Fn(&'a ServiceName) -> Vec<&'a ServiceName>,
) -> (Vec<&'a ServiceName>, Vec<&'a ServiceName>) {
    let mut open: HashMap<&ServiceName, usize> = HashMap::with_capacity(names.len());
    let mut needed_by: HashMap<&ServiceName, Vec<&ServiceName>> = HashMap::new();
    for name in &names {
        let needs = needs(name);
        open.insert(name, needs.len());
        for need in needs {
            needed_by.entry(need).or_default().push(name);
        }
    }
    let place: HashMap<&ServiceName, usize> = names.iter().copied().zip(0..).collect();
    let mut order = Vec::with_capacity(names.len());
    let mut level: Vec<&ServiceName> = names
        .iter()
        .copied()
        .filter(|name| open[name] == 0)
        .collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        for name in level.iter().flat_map(|name| needed_by.get(name)).flatten() {
            let left = open.get_mut(name).expect("it is one of the names");
            *left -= 1;
            if *left == 0 {
                next.push(*name);
            }
        }
        order.append(&mut level);
        next.sort_unstable_by_key(|name| place[name]);
        level = next;
    }
    let rest = names.into_iter().filter(|name| open[name] > 0).collect();
    (order, rest)
}

/// Networks that a service is on, the default one included.
pub(crate) fn networks_of(service: &Service) -> Vec<NetworkName> {
    match service.network_mode {
        NetworkMode::Networks if service.networks.is_empty() => vec![default_network()],
        NetworkMode::Networks => service.networks.keys().cloned().collect(),
        NetworkMode::None | NetworkMode::Host => Vec::new(),
    }
}
