//! In which order services start, and what they share.

use std::collections::BTreeSet;

use super::Desired;
use crate::name::{NetworkName, ServiceName};
use crate::spec::{NetworkMode, Service, default_network};

/// Services with every dependency before its dependents; by name where the order is free.
pub(super) fn start_order(desired: &Desired, selected: &BTreeSet<ServiceName>) -> Vec<ServiceName> {
    let mut order = Vec::new();
    let mut placed: BTreeSet<&ServiceName> = BTreeSet::new();
    let mut rest: Vec<&ServiceName> = selected.iter().collect();
    while !rest.is_empty() {
        let ready = |name: &&ServiceName| {
            let needs = desired.stack.services[*name].depends_on.keys();
            needs
                .filter(|need| selected.contains(*need))
                .all(|need| placed.contains(need))
        };
        let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(ready);
        // Cycles were refused before; an empty level would loop for ever.
        assert!(!now.is_empty(), "dependencies were checked for cycles");
        placed.extend(&now);
        order.extend(now.into_iter().cloned());
        rest = later;
    }
    order
}

/// Networks that a service is on, the default one included.
pub(super) fn networks_of(service: &Service) -> Vec<NetworkName> {
    match service.network_mode {
        NetworkMode::Networks if service.networks.is_empty() => vec![default_network()],
        NetworkMode::Networks => service.networks.keys().cloned().collect(),
        NetworkMode::None | NetworkMode::Host => Vec::new(),
    }
}
