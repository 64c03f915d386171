//! The host's firewall table: networks and published ports come and go in atomic changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::{fmt, io};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::bridge::set_forwarding;
use super::netlink::{CHANGED_MEANWHILE, Netlink};
use super::{NetError, NetworkConfig, read_endpoints};
use crate::wire::names::slots;
use crate::wire::netplan::{Proto, PublishedPort};
use crate::wire::nft::{Value, ifname};
use crate::wire::nft_host;
use crate::wire::nft_host::{
    BRIDGES, GUARDED, HostNetwork, PORTS, PORTS_AT, base, change, is_chain_of, port_chain,
    port_key, set_targets,
};

/// A member of [`GUARDED`] that no interface can be: we switched routing on. The note is as old as
/// the rules and belongs to every installation on this host, so the last network of any takes back
/// what the first of another has done, and a lost database forgets nothing.
const ROUTES: &str = "unmoor/routes";
/// How often a change is made anew because others changed the rules meanwhile.
const ATTEMPTS: u32 = 200;
/// Ports that are taken back by one change: a message of a few hundred kilobytes.
const AT_ONCE: usize = 1024;

/// The published ports of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// The service.
    pub(crate) service: String,
    /// Its ports.
    pub(crate) ports: Vec<PublishedPort>,
    /// The zones of the networks that the ports lead to, by the network's id.
    pub(crate) zones: Vec<(String, PathBuf)>,
}

impl NetworkConfig {
    fn rules(&self) -> HostNetwork<'_> {
        HostNetwork {
            bridge: &self.bridge,
            subnet: self.subnet.base(),
            prefix: self.subnet.prefix(),
            internal: self.internal,
        }
    }
}

fn open() -> Result<Netlink, NetError> {
    Netlink::netfilter().map_err(NetError::kernel("open a netfilter socket"))
}

/// A state of this host's firewall rules: whose they are, and how often they have been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    namespace: u64,
    generation: u32,
    changes: u32,
}

impl Rules {
    /// The state now.
    pub(crate) fn now() -> Result<Self, NetError> {
        let namespace = rustix::fs::stat("/proc/thread-self/ns/net")
            .map_err(io::Error::from)
            .map_err(NetError::kernel("look at the network namespace"))?;
        let generation = open()?.generation();
        Ok(Self {
            namespace: namespace.st_ino,
            generation: generation.map_err(NetError::kernel("read the generation of rules"))?,
            changes: Netlink::changes(),
        })
    }

    /// True if what was changed since then was changed by this process alone.
    pub(crate) fn followed_by(&self, later: &Self) -> bool {
        let passed = later.generation.wrapping_sub(self.generation);
        self.namespace == later.namespace && passed == later.changes.wrapping_sub(self.changes)
    }
}

/// As it is noted: equal for two looks between which nobody changed anything.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.namespace, self.generation)
    }
}

/// Adds a network; makes the table with the first, and puts its fixed rules right in any case.
pub(super) fn add_network(network: &NetworkConfig) -> Result<(), NetError> {
    let mut c = change(None);
    base(&mut c);
    network.rules().add(&mut c);
    let changed = open()?.change_rules(&c.finish());
    changed.map_err(NetError::kernel(format!(
        "add firewall rules for {}",
        network.bridge
    )))
}

/// Between these interfaces nothing may be routed once we switch routing on; see [`GUARDED`].
pub(super) fn guard(interfaces: &[&str]) -> Result<(), NetError> {
    let mut c = change(None);
    base(&mut c);
    for name in interfaces.iter().chain([&ROUTES]) {
        c.add_key(GUARDED, &ifname(name), Value::None, false);
    }
    let changed = open()?.change_rules(&c.finish());
    changed.map_err(NetError::kernel("guard the other interfaces of this host"))
}

/// Removes a network; the table goes with the last one, and the routing with the table.
pub(super) fn remove_network(network: &NetworkConfig) -> Result<(), NetError> {
    let netlink = open()?;
    let failed = || NetError::kernel(format!("remove firewall rules of {}", network.bridge));
    let ours = ifname(&network.bridge);
    for _ in 0..ATTEMPTS {
        let generation = netlink.generation().map_err(failed())?;
        let bridges = netlink.keys(BRIDGES).map_err(failed())?;
        if bridges.is_empty() {
            return Ok(());
        }
        let mut c = change(Some(generation));
        let last = bridges.iter().all(|(key, _)| key[..] == ours);
        let routes = last && we_route(&netlink).map_err(failed())?;
        if routes {
            // Before the note goes: whoever is killed in between leaves it to the next.
            set_forwarding("0")?;
        }
        if last {
            c.del_table();
        } else {
            for (set, key, value) in network.rules().keys() {
                c.del_key(set, &key, value);
            }
        }
        match netlink.change_rules(&c.finish()) {
            Ok(()) => {
                netlink.leave();
                return Ok(());
            }
            Err(error) if error.raw_os_error() == Some(CHANGED_MEANWHILE) => {
                if routes {
                    // It may be a new network, which needs it.
                    set_forwarding("1")?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return remove_keys(&netlink, network).map_err(failed());
            }
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(NetError::Busy("removing a network's rules"))
}

fn we_route(netlink: &Netlink) -> io::Result<bool> {
    let guarded = netlink.keys(GUARDED)?;
    Ok(guarded.iter().any(|(key, _)| key[..] == ifname(ROUTES)))
}

/// Removes one key after the other, for a network of which some are missing.
fn remove_keys(netlink: &Netlink, network: &NetworkConfig) -> io::Result<()> {
    for (set, key, value) in network.rules().keys() {
        let mut c = change(None);
        c.del_key(set, &key, value);
        absent_is_fine(netlink.change_rules(&c.finish()))?;
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Puts back every rule of these networks and services, after others have flushed them.
pub(crate) fn restore(
    networks: &[NetworkConfig],
    published: &[Publication],
) -> Result<(), NetError> {
    for network in networks {
        add_network(network)?;
    }
    for publication in published {
        change_targets(publication, true)?;
    }
    Ok(())
}

/// Whether all of these ports are published for the service.
pub(crate) fn is_published(service: &str, ports: &[PublishedPort]) -> Result<bool, NetError> {
    let known = published(&open()?);
    let known = known.map_err(NetError::kernel("list the published ports"))?;
    Ok(ports
        .iter()
        .all(|port| known.contains(&entry(port, service))))
}

/// A port that leads to a chain: its map, its key, the chain.
type Led = (&'static str, Vec<u8>, String);
type Entry = (&'static str, Vec<u8>, Option<String>);

/// Every published port: its map, its key, its chain.
fn published(netlink: &Netlink) -> io::Result<BTreeSet<Entry>> {
    let mut known = BTreeSet::new();
    for map in [PORTS, PORTS_AT] {
        let keys = netlink.keys(map)?;
        known.extend(keys.into_iter().map(|(key, owner)| (map, key, owner)));
    }
    Ok(known)
}

/// A port of a service as it stands there.
fn entry(port: &PublishedPort, service: &str) -> Entry {
    let (map, key) = port_key(port);
    (map, key, Some(port_chain(port, service)))
}

/// Makes ports of the host lead to the ready replicas of a service; a replica's own port leads
/// nowhere until that replica is ready.
///
/// The replicas' shims keep the targets from then on. The network's rules must be there.
///
/// # Errors
/// `PortInUse` and `PortPublished`, with nothing changed.
pub(crate) fn publish(publication: &Publication) -> Result<(), NetError> {
    publication.ports.iter().try_for_each(check_free)?;
    change_targets(publication, true)
}

/// Sets the targets of published ports from the zone on disk, as after a shim was lost.
pub(crate) fn republish(publication: &Publication) -> Result<(), NetError> {
    change_targets(publication, false)
}

fn change_targets(publication: &Publication, make: bool) -> Result<(), NetError> {
    if publication.ports.is_empty() {
        return Ok(());
    }
    let netlink = open()?;
    let failed = || NetError::kernel(format!("publish the ports of {}", publication.service));
    for _ in 0..ATTEMPTS {
        let generation = netlink.generation().map_err(failed())?;
        let mut c = change(Some(generation));
        if make {
            for (map, key, chain) in in_the_way(&netlink, publication)? {
                nft_host::take_back(&mut c, map, &key, &chain);
            }
            for port in &publication.ports {
                nft_host::publish(&mut c, port, &publication.service);
            }
        }
        let ready = ready(publication)?;
        for port in &publication.ports {
            let here = ready.get(port.network.as_str()).filter(|_| !port.own);
            let here = here.map(Vec::as_slice).unwrap_or_default();
            set_targets(&mut c, port, &publication.service, here);
        }
        match netlink.change_rules(&c.finish()) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(CHANGED_MEANWHILE) => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(NetError::Busy("publishing a port"))
}

/// The slots of the service's ready replicas, by the network's id.
fn ready(publication: &Publication) -> Result<BTreeMap<&str, Vec<Ipv4Addr>>, NetError> {
    let mut found = BTreeMap::new();
    for (network, zone) in &publication.zones {
        let ready: Vec<_> = read_endpoints(zone)?
            .into_iter()
            .filter(|endpoint| endpoint.service == publication.service)
            .filter_map(|endpoint| Some((endpoint.address?, endpoint.weight)))
            .collect();
        found.insert(network.as_str(), slots(&ready, 0));
    }
    Ok(found)
}

/// What the service itself has of the same ports on other addresses or to other places inside, which
/// gives way.
///
/// # Errors
/// `PortPublished` if another service has one, on the same address or on every address.
fn in_the_way(netlink: &Netlink, publication: &Publication) -> Result<BTreeSet<Led>, NetError> {
    let all = published(netlink).map_err(NetError::kernel("list the published ports"))?;
    let mut known: BTreeMap<&[u8], Vec<&Entry>> = BTreeMap::new();
    for entry in &all {
        known.entry(same_port(&entry.1)).or_default().push(entry);
    }
    let service = &publication.service;
    let wanted = publication.ports.iter().map(|port| entry(port, service));
    let wanted: BTreeSet<Entry> = wanted.collect();
    let mut own = BTreeSet::new();
    for port in &publication.ports {
        let (_, key) = port_key(port);
        let others = known.get(same_port(&key)).into_iter().flatten();
        // Equal ports want the same packets on equal addresses, or where one is "every".
        let overlaps = |other: &&&Entry| other.1.len() != key.len() || other.1 == key;
        for other in others
            .filter(overlaps)
            .filter(|other| !wanted.contains(**other))
        {
            let chain = other.2.as_deref().unwrap_or_default();
            if !is_chain_of(chain, &port.network, service) {
                let (address, proto) = (address(port), port.proto.name());
                return Err(NetError::PortPublished { address, proto });
            }
            own.insert((other.0, other.1.clone(), chain.to_owned()));
        }
    }
    Ok(own)
}

/// The part of a key that is its protocol and port.
fn same_port(key: &[u8]) -> &[u8] {
    &key[key.len().saturating_sub(8)..]
}

fn address(port: &PublishedPort) -> SocketAddrV4 {
    SocketAddrV4::new(port.host_ip, port.host_port)
}

/// Tries to take the port as a shim will; our own shims share it, other programs do not.
fn check_free(port: &PublishedPort) -> Result<(), NetError> {
    let kind = match port.proto {
        Proto::Tcp => SocketType::STREAM,
        Proto::Udp => SocketType::DGRAM,
    };
    let address = address(port);
    let taken = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)
        .and_then(|socket| set_socket_reuseport(&socket, true).map(|()| socket))
        .and_then(|socket| bind(&socket, &address));
    let proto = port.proto.name();
    taken.map_err(|error| match error {
        Errno::ADDRINUSE => NetError::PortInUse {
            address,
            proto,
            source: error.into(),
        },
        _ => NetError::Kernel {
            what: format!("take port {address}/{proto} of this host"),
            source: error.into(),
        },
    })
}

/// Takes ports back; absent ones are fine.
pub(crate) fn unpublish(service: &str, ports: &[PublishedPort]) -> Result<(), NetError> {
    if ports.is_empty() {
        return Ok(());
    }
    let netlink = open()?;
    // Many at once: each change waits until no processor reads the rules before it.
    for ports in ports.chunks(AT_ONCE) {
        take_back(&netlink, service, ports)?;
    }
    netlink.leave();
    Ok(())
}

fn take_back(netlink: &Netlink, service: &str, ports: &[PublishedPort]) -> Result<(), NetError> {
    let failed = || NetError::kernel(format!("take back the ports of {service}"));
    for _ in 0..ATTEMPTS {
        let generation = netlink.generation().map_err(failed())?;
        let known = published(netlink).map_err(failed())?;
        let ours = |port: &&PublishedPort| known.contains(&entry(port, service));
        let mut there = ports.iter().filter(ours).peekable();
        if there.peek().is_none() {
            return Ok(());
        }
        let mut c = change(Some(generation));
        there.for_each(|port| nft_host::unpublish(&mut c, port, service));
        match netlink.change_rules(&c.finish()) {
            Err(error) if error.raw_os_error() == Some(CHANGED_MEANWHILE) => {}
            other => return absent_is_fine(other).map_err(failed()),
        }
    }
    Err(NetError::Busy("taking back a port"))
}
