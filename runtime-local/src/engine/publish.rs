//! Published ports: which host port leads where, for services and for single replicas.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;

use rusqlite::Connection;
use unmoor_core::name::{NetworkName, ServiceName, StackName};
use unmoor_core::spec::{PortRange, Protocol, Published, Service};

use super::compile::is_on_node;
use super::{Runtime, networks_of};
use crate::error::LocalError;
use crate::net::{self, NetError, Publication};
use crate::shim::Seen;
use crate::state::{
    DbFailure, Durability, NetworkRecord, ReplicaRecord, ServiceRecord, networks, replicas,
    services, write_private,
};
use crate::wire::codec::{Reader, Writer};
use crate::wire::control::Request;
use crate::wire::netplan::{NetPlan, Proto, PublishedPort};

/// Tries to find a free port when any will do.
const TRIES: u32 = 32;
/// Most host ports of one service: all of them come in one change of the firewall, and the kernel
/// takes no message of much more than 4 MiB.
const MOST_PORTS: usize = 16_384;

/// The one host port that is asked for, if it is one.
pub(super) fn fixed(published: &Published) -> Option<u16> {
    published
        .host_port
        .filter(|range| range.count() == 1)
        .map(|range| range.first)
}

fn proto(protocol: Protocol) -> Proto {
    match protocol {
        Protocol::Tcp => Proto::Tcp,
        Protocol::Udp => Proto::Udp,
    }
}

impl Runtime {
    /// The records of a service's networks, in the order of their names.
    pub(super) fn network_records(
        &self,
        stack: &StackName,
        service: &ServiceName,
        spec: &Service,
    ) -> Result<Vec<NetworkRecord>, LocalError> {
        let on = self
            .db()
            .read("read networks", |c| Self::networks_in(c, stack, spec))?;
        found(on, service)
    }

    /// The networks of a service in the order of their names, as far as they are on record.
    pub(super) fn networks_in(
        c: &Connection,
        stack: &StackName,
        spec: &Service,
    ) -> Result<Vec<(NetworkName, Option<NetworkRecord>)>, DbFailure> {
        let wanted = networks_of(spec).into_iter();
        wanted
            .map(|name| Ok((name.clone(), networks::load(c, stack, &name)?)))
            .collect()
    }

    /// The published ports with fixed host ports, as the networks know them.
    pub(super) fn fixed_ports(
        spec: &Service,
        on: &[NetworkRecord],
    ) -> Result<Vec<PublishedPort>, LocalError> {
        // What listens there listens on the node itself.
        let ports = match is_on_node(spec) {
            true => &[],
            false => spec.ports.as_slice(),
        };
        if ports.len() > MOST_PORTS {
            return Err(LocalError::Unsupported {
                what: format!(
                    "publish {} ports for one service: {MOST_PORTS} at most",
                    ports.len()
                ),
                hint: "publish fewer, or use `network_mode: host`".to_owned(),
            });
        }
        let fixed = ports.iter().filter_map(|p| fixed(p).map(|port| (p, port)));
        fixed
            .map(|(published, port)| port_on(published, port, on, false))
            .collect()
    }

    /// These ports of a service, with the zones where their targets are told.
    pub(super) fn publication(
        &self,
        service: &ServiceName,
        ports: Vec<PublishedPort>,
        on: &[NetworkRecord],
    ) -> Result<Publication, LocalError> {
        let mut zones = Vec::new();
        for network in on {
            zones.push((network.id.clone(), self.zone(network)?));
        }
        Ok(Publication {
            service: service.as_str().to_owned(),
            ports,
            zones,
        })
    }

    /// Publishes those ports of a replica that have no fixed host port, and puts all of its ports
    /// on its record.
    ///
    /// A port is on record before it is published, so that no crash leaves one that nobody knows.
    pub(super) fn publish_own(
        &self,
        record: &mut ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<(), LocalError> {
        let desired = Arc::clone(&record.desired);
        if is_on_node(&desired.spec) {
            return Ok(());
        }
        let (own, fixed): (Vec<_>, Vec<_>) = desired
            .spec
            .ports
            .iter()
            .cloned()
            .partition(|published| fixed(published).is_none());
        record.ports = fixed;
        for published in &own {
            self.publish_some(record, published, on)?;
        }
        Ok(())
    }

    /// Publishes one port on the first free one of its range, or on any.
    fn publish_some(
        &self,
        record: &mut ReplicaRecord,
        published: &Published,
        on: &[NetworkRecord],
    ) -> Result<(), LocalError> {
        let candidates: Box<dyn Iterator<Item = Option<u16>>> = match published.host_port {
            Some(range) => Box::new((range.first..=range.last).map(Some)),
            None => Box::new((0..TRIES).map(|_| any_free(published))),
        };
        for port in candidates.flatten() {
            let host_port = Some(PortRange::one(port));
            let wanted = Published {
                host_port,
                ..published.clone()
            };
            record.ports.push(wanted.clone());
            let noted = self.db().write("record a port", Durability::Process, |c| {
                let others = replicas::list(c, None)?;
                let has = |other: &ReplicaRecord| other.ports.iter().any(|p| same(p, &wanted));
                let taken = others
                    .iter()
                    .any(|other| other.key != record.key && has(other));
                if !taken {
                    replicas::store(c, record)?;
                }
                Ok(!taken)
            })?;
            if !noted {
                record.ports.pop();
                continue;
            }
            let ports = vec![port_on(published, port, on, true)?];
            match net::publish(&self.publication(&record.id.service, ports, on)?) {
                Ok(()) => return Ok(()),
                Err(NetError::PortInUse { .. } | NetError::PortPublished { .. }) => {
                    record.ports.pop();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(LocalError::Taken(format!(
            "no port of this host is free for {published}"
        )))
    }

    /// Says whose a port is that could not be published.
    pub(super) fn name_owner(&self, error: NetError) -> Result<LocalError, LocalError> {
        let NetError::PortPublished { address, proto } = &error else {
            return Ok(error.into());
        };
        let wants = |published: &Published| {
            fixed(published) == Some(address.port()) && published.protocol.to_string() == *proto
        };
        let (services, replicas) = self.db().read("read the record", |c| {
            Ok((services::list(c, None)?, replicas::list(c, None)?))
        })?;
        let service = services
            .iter()
            .find(|service| service.desired.spec.ports.iter().any(wants));
        let replica = replicas
            .iter()
            .find(|replica| replica.ports.iter().any(wants));
        let owner = match (service, replica) {
            (Some(service), _) => {
                format!(
                    "service {} of stack {}",
                    service.desired.name, service.stack
                )
            }
            (None, Some(replica)) => format!("replica {}", replica.id),
            (None, None) => return Ok(error.into()),
        };
        Ok(LocalError::Taken(format!(
            "publish port {address}/{proto}: {owner} has it"
        )))
    }

    /// The ports of a replica, with those in force, as the networks know them.
    pub(super) fn published_ports(
        record: &ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<Vec<PublishedPort>, LocalError> {
        let ports = record
            .ports
            .iter()
            .filter_map(|p| fixed(p).map(|port| (p, port)));
        let desired: HashSet<_> = record.desired.spec.ports.iter().collect();
        let own = |port| !desired.contains(port);
        ports
            .map(|(published, port)| port_on(published, port, on, own(published)))
            .collect()
    }

    /// Tells the replicas of a service which ports it has now: each keeps their targets while it
    /// runs, and what it does not know it would leave leading to itself when it goes, or put back
    /// where it was taken away.
    pub(super) fn renew_ports(
        &self,
        service: &ServiceRecord,
        ports: &[PublishedPort],
    ) -> Result<(), LocalError> {
        let (stack, name) = (&service.stack, &service.desired.name);
        let all = self
            .db()
            .read("read replicas", |c| replicas::of_service(c, stack, name))?;
        for record in &all {
            if let Err(error) = self.renew_ports_of(record, ports) {
                let error = unmoor_core::Error::from(error);
                tracing::warn!(replica = %record.id, "tell its ports: {}", error.chain());
            }
        }
        Ok(())
    }

    fn renew_ports_of(
        &self,
        record: &ReplicaRecord,
        ports: &[PublishedPort],
    ) -> Result<(), LocalError> {
        let mut plan = self.kept_plan(record)?;
        let Some(bytes) = &plan.net else {
            return Ok(());
        };
        let damaged = |error| LocalError::Corrupt {
            what: format!("the kept plan of {}", record.id),
            problem: format!("{error}"),
        };
        let mut net = NetPlan::decode(&mut Reader::new(bytes)).map_err(damaged)?;
        let before = net.ports.clone();
        net.ports.retain(|port| port.own);
        // Of a network that it is not on it knows no endpoint.
        let on = |port: &&PublishedPort| net.attachments.iter().any(|a| a.network == port.network);
        let known: Vec<_> = ports.iter().filter(on).cloned().collect();
        net.ports.extend(known);
        if net.ports == before {
            return Ok(());
        }
        let mut bytes = Writer::new();
        net.encode(&mut bytes);
        let bytes = bytes.finish();
        self.with_shim(record, |seen| match seen {
            Seen::Alive(_) => {
                let net = Some(bytes.clone());
                self.control(record)?.ask(&Request::Reload { net })?;
                Ok(())
            }
            _ => {
                plan.net = Some(bytes.clone());
                let path = self.layout().replica(&record.key).join("plan");
                write_private(&path, &plan.encode())
            }
        })
    }

    /// The ports that lead to this replica alone.
    pub(super) fn own_ports(
        record: &ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<Vec<PublishedPort>, LocalError> {
        let mut ports = Self::published_ports(record, on)?;
        ports.retain(|port| port.own);
        Ok(ports)
    }

    /// Takes back the ports that only this replica had; absent ones are fine.
    pub(super) fn unpublish_own(
        &self,
        record: &ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<(), LocalError> {
        let ports = Self::own_ports(record, on)?;
        Ok(net::unpublish(record.id.service.as_str(), &ports)?)
    }
}

/// The networks of a service, all of which must be there.
pub(super) fn found(
    on: Vec<(NetworkName, Option<NetworkRecord>)>,
    service: &ServiceName,
) -> Result<Vec<NetworkRecord>, LocalError> {
    on.into_iter()
        .map(|(name, record)| {
            let missing = || LocalError::NotFound(format!("network `{name}` of {service}"));
            record.ok_or_else(missing)
        })
        .collect()
}

/// A published port as the networks know it; `own` is one that leads to a single replica.
pub(super) fn port_on(
    published: &Published,
    host_port: u16,
    on: &[NetworkRecord],
    own: bool,
) -> Result<PublishedPort, LocalError> {
    let host_ip = match published.host_ip {
        None => Ipv4Addr::UNSPECIFIED,
        Some(IpAddr::V4(address)) => address,
        Some(IpAddr::V6(address)) => {
            return Err(LocalError::Unsupported {
                what: format!("publish {published}: replicas have no IPv6 addresses"),
                hint: format!("publish it on an IPv4 address instead of {address}"),
            });
        }
    };
    let network = on
        .iter()
        .find(|network| !network.spec.internal)
        .ok_or_else(|| {
            let why = if on.is_empty() {
                "it is on no network"
            } else {
                "its networks are internal"
            };
            LocalError::Spec(format!("publish {published}: {why}"))
        })?;
    Ok(PublishedPort {
        host_ip,
        host_port,
        port: published.target,
        proto: proto(published.protocol),
        network: network.id.clone(),
        own,
    })
}

/// True if both want the same port on an address that they share.
fn same(one: &Published, other: &Published) -> bool {
    let shared = match (one.host_ip, other.host_ip) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    shared && one.protocol == other.protocol && fixed(one) == fixed(other)
}

/// A port that the kernel finds free now.
fn any_free(published: &Published) -> Option<u16> {
    let address = match published.host_ip {
        Some(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let any = SocketAddrV4::new(address, 0);
    let found = match published.protocol {
        Protocol::Tcp => TcpListener::bind(any).and_then(|socket| socket.local_addr()),
        Protocol::Udp => UdpSocket::bind(any).and_then(|socket| socket.local_addr()),
    };
    found.ok().map(|address| address.port())
}
