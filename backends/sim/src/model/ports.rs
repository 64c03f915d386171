//! Published ports: who has which, and that no two have the same.

use std::net::IpAddr;

use unmoor_core::backend::DesiredService;
use unmoor_core::name::{ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{PortRange, Protocol, Published};
use unmoor_core::{Error, ErrorKind, Result};

use super::Model;
use crate::bug::Bug;

/// First of the ports that the model chooses by itself.
const FIRST_CHOSEN: u16 = 49_152;

/// A port of the node that leads to a service, or to one replica of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) target: u16,
    pub(crate) stack: StackName,
    pub(crate) service: ServiceName,
    pub(crate) replica: Option<ReplicaId>,
}

impl Reservation {
    pub(super) fn is_at(&self, protocol: Protocol, port: u16, ip: Option<IpAddr>) -> bool {
        let overlaps = match (self.ip, ip) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        self.protocol == protocol && self.port == port && overlaps
    }

    fn owner(&self) -> String {
        match &self.replica {
            Some(replica) => format!("replica {replica}"),
            None => format!("service {} of stack {}", self.service, self.stack),
        }
    }
}

fn single(published: &Published) -> Option<u16> {
    published
        .host_port
        .filter(|range| range.count() == 1)
        .map(|range| range.first)
}

impl Model {
    fn taken(&self, protocol: Protocol, port: u16, ip: Option<IpAddr>) -> Option<&Reservation> {
        if self.bugs.has(Bug::PortsShared) {
            return None;
        }
        self.published
            .iter()
            .find(|entry| entry.is_at(protocol, port, ip))
    }

    /// Reserves the fixed ports of a service: all of them, or none and an error with the owner.
    pub(super) fn reserve_ports(
        &mut self,
        stack: &StackName,
        service: &DesiredService,
    ) -> Result<()> {
        let own = |entry: &Reservation| {
            entry.stack == *stack && entry.service == service.name && entry.replica.is_none()
        };
        let mut wanted = Vec::new();
        for published in &service.spec.ports {
            let Some(port) = single(published) else {
                continue;
            };
            let other = self.taken(published.protocol, port, published.host_ip);
            if let Some(other) = other.filter(|other| !own(other)) {
                let text = format!(
                    "publish port {port}/{} for {}: {} has it",
                    published.protocol,
                    service.name,
                    other.owner()
                );
                return Err(Error::new(ErrorKind::AlreadyExists, text)
                    .on(stack)
                    .hint("publish another port, or take the other stack down"));
            }
            if !self.doors.take(published.protocol, published.host_ip, port) {
                let text = format!(
                    "publish port {port}/{} for {}: another program of this machine has it",
                    published.protocol, service.name
                );
                return Err(Error::new(ErrorKind::AlreadyExists, text)
                    .on(stack)
                    .hint("publish another port, or end the other program"));
            }
            wanted.push(Reservation {
                protocol: published.protocol,
                port,
                ip: published.host_ip,
                target: published.target,
                stack: stack.clone(),
                service: service.name.clone(),
                replica: None,
            });
        }
        self.published.retain(|entry| !own(entry));
        self.published.extend(wanted);
        Ok(())
    }

    /// The ports of one replica: the service's fixed ones, and its own from ranges or chosen.
    pub(super) fn ports_of_replica(
        &mut self,
        id: &ReplicaId,
        service: &DesiredService,
    ) -> Result<Vec<Published>> {
        let mut ports = Vec::new();
        let before = self.published.len();
        for published in &service.spec.ports {
            let mut published = published.clone();
            if single(&published).is_none() {
                let free = self.free_port(&published);
                let Some(port) = free else {
                    self.published.truncate(before);
                    let text = format!("start {id}: no port of {published} is free");
                    return Err(Error::new(ErrorKind::AlreadyExists, text));
                };
                self.published.push(Reservation {
                    protocol: published.protocol,
                    port,
                    ip: published.host_ip,
                    target: published.target,
                    stack: id.stack.clone(),
                    service: id.service.clone(),
                    replica: Some(id.clone()),
                });
                published.host_port = Some(PortRange::one(port));
            }
            ports.push(published);
        }
        Ok(ports)
    }

    /// A port that nobody has: of the range, or of all that may be chosen.
    fn free_port(&self, published: &Published) -> Option<u16> {
        let (protocol, ip) = (published.protocol, published.host_ip);
        let range = published.host_port;
        if range.is_none()
            && let Some(port) = self.doors.take_any(protocol, ip)
        {
            return Some(port);
        }
        let (first, last) = range.map_or((FIRST_CHOSEN, u16::MAX), |r| (r.first, r.last));
        (first..=last).find(|port| {
            self.taken(protocol, *port, ip).is_none() && self.doors.take(protocol, ip, *port)
        })
    }

    pub(super) fn release_ports_of(&mut self, id: &ReplicaId) {
        self.published
            .retain(|entry| entry.replica.as_ref() != Some(id));
    }

    pub(super) fn release_service_ports(&mut self, stack: &StackName, service: &ServiceName) {
        self.published
            .retain(|entry| entry.stack != *stack || entry.service != *service);
    }
}
