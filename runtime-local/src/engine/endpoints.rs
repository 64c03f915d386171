//! The addresses that answer: of replicas, of services, of the node.

use std::net::{IpAddr, Ipv4Addr};

use unmoor_core::backend::DesiredService;
use unmoor_core::discover::{Endpoint, Endpoints, Readiness, Scope, Unreadable};
use unmoor_core::label::Selector;
use unmoor_core::name::{ServiceName, StackName};
use unmoor_core::spec::{Exposed, Protocol, Published};

use super::Runtime;
use super::compile::is_on_node;
use super::environment::ports_of;
use super::observe::Sight;
use super::publish::fixed;
use crate::error::LocalError;
use crate::state::{ServiceRecord, replicas, services};

/// Share of a replica that takes connections.
const WEIGHT: u16 = 1;

impl Runtime {
    /// The addresses that answer for the selected services now.
    pub(crate) fn endpoints(&self, selector: &Selector) -> Result<Endpoints, LocalError> {
        let stack = selector.stack.as_ref();
        let (services, replicas) = self.db().read("read the record", |c| {
            Ok((services::list(c, stack)?, replicas::list(c, stack)?))
        })?;
        let mut sights = Vec::with_capacity(replicas.len());
        let mut unreadable = Vec::new();
        for record in replicas {
            let (id, labels) = (record.id.clone(), record.desired.spec.labels.clone());
            match self.sight(record) {
                Err(LocalError::InTheWay) => return Err(LocalError::InTheWay),
                Ok(sight) => sights.push(sight),
                Err(error) if selector.matches(&id, &labels) => unreadable.push(Unreadable {
                    what: Selector::replica(&id),
                    error: unmoor_core::Error::from(error).on(&id),
                }),
                Err(_) => {}
            }
        }
        let mut list = Vec::new();
        for sight in sights.iter().filter(|sight| sight.phase().is_alive()) {
            let record = &sight.record;
            if selector.matches(&record.id, &record.desired.spec.labels) {
                of_replica(sight, &mut list);
            }
        }
        for service in &services {
            let (name, labels) = (&service.desired.name, &service.desired.spec.labels);
            if selector.slot.is_none() && selector.matches_service(&service.stack, name, labels) {
                of_service(service, &sights, &mut list);
            }
        }
        list.sort();
        list.dedup();
        Ok(Endpoints { list, unreadable })
    }
}

fn base(stack: &StackName, service: &ServiceName, ready: u16) -> Endpoint {
    Endpoint {
        stack: stack.clone(),
        service: service.clone(),
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
        weight: ready,
        zone: None,
        backend: "local".to_owned(),
    }
}

fn of_replica(sight: &Sight, list: &mut Vec<Endpoint>) {
    let record = &sight.record;
    let weight = if sight.serves() { WEIGHT } else { 0 };
    let mut base = base(&record.id.stack, &record.id.service, weight);
    base.replica = Some(record.id.clone());
    let ports = ports_of(&record.desired);
    for (network, address) in &record.addresses {
        let scope = Scope::Network(network.clone());
        let on_network = Endpoint {
            address: IpAddr::V4(*address),
            scope,
            ..base.clone()
        };
        push_ports(list, &on_network, &ports);
    }
    let own = record
        .ports
        .iter()
        .filter(|port| !record.desired.spec.ports.contains(port));
    list.extend(own.filter_map(|published| on_node(published, &base)));
    push_node_ports(list, &record.desired, &base);
}

fn of_service(service: &ServiceRecord, sights: &[Sight], list: &mut Vec<Endpoint>) {
    let (stack, name) = (&service.stack, &service.desired.name);
    let ready = sights
        .iter()
        .filter(|sight| sight.record.id.stack == *stack && sight.record.id.service == *name)
        .filter(|sight| sight.serves())
        .count();
    let base = base(stack, name, u16::try_from(ready).unwrap_or(u16::MAX));
    let ports = ports_of(&service.desired);
    for (network, address) in &service.addresses {
        let scope = Scope::Network(network.clone());
        let on_network = Endpoint {
            address: IpAddr::V4(*address),
            scope,
            ..base.clone()
        };
        push_ports(list, &on_network, &ports);
    }
    let published = service.desired.spec.ports.iter();
    if !is_on_node(&service.desired.spec) {
        list.extend(published.filter_map(|published| on_node(published, &base)));
    }
    push_node_ports(list, &service.desired, &base);
}

/// The ports of a service that uses the network of the node, as far as they are known.
fn push_node_ports(list: &mut Vec<Endpoint>, desired: &DesiredService, base: &Endpoint) {
    if is_on_node(&desired.spec) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let on_node = Endpoint {
            address,
            ..base.clone()
        };
        let ports = ports_of(desired);
        list.extend(ports.into_iter().map(|port| Endpoint {
            port: Some(port.port),
            protocol: port.protocol,
            ..on_node.clone()
        }));
    }
}

/// One endpoint for each port; one without a port if none is known.
fn push_ports(list: &mut Vec<Endpoint>, base: &Endpoint, ports: &[Exposed]) {
    if ports.is_empty() {
        list.push(base.clone());
    }
    for port in ports {
        let (port, protocol) = (Some(port.port), port.protocol);
        list.push(Endpoint {
            port,
            protocol,
            ..base.clone()
        });
    }
}

/// A published port as it is reached on this node.
fn on_node(published: &Published, base: &Endpoint) -> Option<Endpoint> {
    let every = |address: &IpAddr| address.is_unspecified();
    let address = published.host_ip.filter(|address| !every(address));
    Some(Endpoint {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: Some(fixed(published)?),
        protocol: published.protocol,
        ..base.clone()
    })
}
