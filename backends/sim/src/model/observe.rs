//! The model as others see it: observed stacks and endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use unmoor_core::backend::{Observed, ObservedReplica, ObservedService, ObservedStack, StackPlace};
use unmoor_core::discover::{Endpoint, Readiness, Scope};
use unmoor_core::label::Selector;
use unmoor_core::name::{NetworkName, ServiceName, StackName, VolumeName};
use unmoor_core::spec::{Exposed, Protocol};

use super::{Declared, Holding, Model, Replica};
use crate::bug::Bug;
use crate::sim::Glance;

/// Share of new connections of a replica that serves.
const WEIGHT: u16 = 1;

fn addresses(of: &BTreeMap<NetworkName, Ipv4Addr>) -> BTreeMap<NetworkName, IpAddr> {
    of.iter()
        .map(|(network, address)| (network.clone(), IpAddr::V4(*address)))
        .collect()
}

impl Model {
    /// Every replica of a stack in short.
    pub(crate) fn glance(&self, stack: &StackName) -> Vec<Glance> {
        let holding = self.holding(stack).into_iter();
        let replicas = holding.flat_map(|holding| holding.replicas.values());
        let glance = |replica: &Replica| Glance {
            id: replica.id.clone(),
            alive: replica.phase.is_alive(),
            serves: self.serves(replica),
        };
        replicas.map(glance).collect()
    }

    /// What there is of the selected stacks; what a selector leaves empty is left out.
    pub(crate) fn observe(&self, selector: &Selector) -> Observed {
        let mut observed = Observed::default();
        for (name, holding) in &self.stacks {
            if !selector.matches_stack(name) {
                continue;
            }
            let stack = self.observe_stack(name, holding, selector);
            if !stack.is_empty() {
                observed.stacks.insert(name.clone(), stack);
            }
        }
        observed
    }

    fn observe_stack(
        &self,
        name: &StackName,
        holding: &Holding,
        selector: &Selector,
    ) -> ObservedStack {
        let mut stack = ObservedStack::default();
        let narrow = !selector.services.is_empty() || !selector.labels.is_empty();
        if !narrow && selector.slot.is_none() {
            let network = |place: &NetworkName| StackPlace::Network {
                stack: name.clone(),
                name: place.clone(),
            };
            let volume = |place: &VolumeName| StackPlace::Volume {
                stack: name.clone(),
                name: place.clone(),
            };
            let networks = holding.networks.iter();
            stack.networks = networks
                .filter(|(name, _)| !self.is_foreign(&network(name)))
                .map(|(name, net)| (name.clone(), net.spec.clone()))
                .collect();
            let volumes = holding.volumes.keys();
            stack.volumes = volumes
                .filter(|name| !self.is_foreign(&volume(name)))
                .cloned()
                .collect();
            let blobs = holding.blobs.iter();
            stack.blobs = blobs
                .map(|(id, content)| (id.clone(), content.fingerprint()))
                .collect();
        }
        for (service, declared) in &holding.services {
            if self.is_undeclared(name, service) {
                continue;
            }
            if selector.matches_service(name, service, &declared.service.spec.labels) {
                let seen = self.observe_service(name, service, declared);
                stack.services.insert(service.clone(), seen);
            }
        }
        stack.replicas = holding
            .replicas
            .values()
            .filter(|replica| selector.matches(&replica.id, &replica.service.spec.labels))
            .filter(|replica| !self.is_foreign_replica(&replica.id))
            .map(|replica| self.observe_replica(replica))
            .collect();
        stack
    }

    fn observe_service(
        &self,
        stack: &StackName,
        name: &ServiceName,
        declared: &Declared,
    ) -> ObservedService {
        let hash = declared.service.spec_hash.clone();
        let forgotten = self.bugs.has(Bug::HashForgotten);
        ObservedService {
            stack: stack.clone(),
            name: name.clone(),
            spec_hash: if forgotten { String::new() } else { hash },
            links: declared.service.links.clone(),
            addresses: addresses(&declared.addresses),
        }
    }

    fn told_hash(&self, replica: &Replica) -> String {
        let id = &replica.id;
        let holding = self.holding(&id.stack);
        let declared = holding.and_then(|holding| holding.services.get(&id.service));
        match declared {
            Some(declared) if self.bugs.has(Bug::HashOfService) => {
                declared.service.spec_hash.clone()
            }
            _ => replica.service.spec_hash.clone(),
        }
    }

    fn observe_replica(&self, replica: &Replica) -> ObservedReplica {
        ObservedReplica {
            id: replica.id.clone(),
            spec_hash: self.told_hash(replica),
            image: replica.service.image.reference.familiar(),
            image_digest: replica.service.image.digest.to_string(),
            command: replica.command.clone(),
            phase: replica.phase,
            health: replica.health,
            in_discovery: self.serves(replica),
            drained: replica.draining && !self.bugs.has(Bug::DrainUntold),
            stop_grace: Some(replica.service.stop_grace()),
            exit: replica.exit,
            message: replica.message.clone(),
            created: Some(replica.created),
            started: replica.started,
            ended: replica.ended,
            restarts: replica.restarts,
            addresses: addresses(&replica.addresses),
            ports: replica.ports.clone(),
            labels: replica.service.spec.labels.clone(),
        }
    }

    /// The addresses that answer for the selected services: of replicas, of services, of the node.
    pub(crate) fn endpoints(&self, selector: &Selector) -> Vec<Endpoint> {
        let mut list = Vec::new();
        for (stack, holding) in &self.stacks {
            for replica in holding.replicas.values() {
                let selected = selector.matches(&replica.id, &replica.service.spec.labels);
                let selected = selected && !self.is_foreign_replica(&replica.id);
                if selected && replica.phase.is_alive() {
                    self.replica_endpoints(replica, &mut list);
                }
            }
            for (name, declared) in &holding.services {
                let labels = &declared.service.spec.labels;
                if self.is_undeclared(stack, name) {
                    continue;
                }
                if selector.slot.is_none() && selector.matches_service(stack, name, labels) {
                    self.service_endpoints(stack, name, declared, &mut list);
                }
            }
        }
        list.sort();
        list
    }

    fn replica_endpoints(&self, replica: &Replica, list: &mut Vec<Endpoint>) {
        let serves = self.serves(replica);
        let base = Endpoint {
            stack: replica.id.stack.clone(),
            service: replica.id.service.clone(),
            replica: Some(replica.id.clone()),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: None,
            protocol: Protocol::Tcp,
            scope: Scope::External,
            health: if serves {
                Readiness::Ready
            } else {
                Readiness::NotReady
            },
            weight: if serves { WEIGHT } else { 0 },
            zone: None,
            backend: "sim".to_owned(),
        };
        for (network, address) in &replica.addresses {
            let on_network = Endpoint {
                address: IpAddr::V4(*address),
                scope: Scope::Network(network.clone()),
                ..base.clone()
            };
            push_ports(list, &on_network, &replica.service.known_ports());
        }
        let own = self
            .published
            .iter()
            .filter(|entry| entry.replica.as_ref() == Some(&replica.id));
        for entry in own {
            list.push(Endpoint {
                address: entry.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port: Some(entry.port),
                protocol: entry.protocol,
                ..base.clone()
            });
        }
    }

    fn service_endpoints(
        &self,
        stack: &StackName,
        name: &ServiceName,
        declared: &Declared,
        list: &mut Vec<Endpoint>,
    ) {
        let ready = self
            .replicas_of(stack, name)
            .filter(|replica| self.serves(replica))
            .count();
        let weight = u16::try_from(ready).unwrap_or(u16::MAX);
        let base = Endpoint {
            stack: stack.clone(),
            service: name.clone(),
            replica: None,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: None,
            protocol: Protocol::Tcp,
            scope: Scope::External,
            health: if ready > 0 {
                Readiness::Ready
            } else {
                Readiness::NotReady
            },
            weight,
            zone: None,
            backend: "sim".to_owned(),
        };
        for (network, address) in &declared.addresses {
            let on_network = Endpoint {
                address: IpAddr::V4(*address),
                scope: Scope::Network(network.clone()),
                ..base.clone()
            };
            push_ports(list, &on_network, &declared.service.known_ports());
        }
        let fixed = self.published.iter().filter(|entry| {
            entry.stack == *stack && entry.service == *name && entry.replica.is_none()
        });
        for entry in fixed {
            list.push(Endpoint {
                address: entry.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port: Some(entry.port),
                protocol: entry.protocol,
                ..base.clone()
            });
        }
    }
}

/// One endpoint for each port; one without a port if none is known.
fn push_ports(list: &mut Vec<Endpoint>, base: &Endpoint, ports: &[Exposed]) {
    if ports.is_empty() {
        list.push(base.clone());
    }
    for port in ports {
        list.push(Endpoint {
            port: Some(port.port),
            protocol: port.protocol,
            ..base.clone()
        });
    }
}
