//! Networks, addresses, names, and who reaches whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use unmoor_core::backend::Phase;
use unmoor_core::name::{NetworkName, ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{AddressMode, Network, NetworkMode, Protocol, Service, default_network};
use unmoor_core::{Error, ErrorKind, Result};

use super::{Model, Replica};
use crate::bug::Bug;

/// One network of a stack.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) spec: Network,
    base: u32,
    size: u32,
    next: u32,
    used: BTreeSet<u32>,
}

/// Why a connection was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody listens there.
    Closed,
    /// There is no way there.
    NoWay,
}

impl Refused {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "refused",
            Self::NoWay => "no way there",
        }
    }
}

impl Net {
    /// A network on its own subnet, or on the `index`-th of 10.64.0.0/10.
    pub(super) fn new(spec: &Network, index: u32) -> Result<Self> {
        let (base, prefix) = match &spec.subnet {
            None => (u32::from(Ipv4Addr::new(10, 64, 0, 0)) + index * 256, 24),
            Some(text) => parse_subnet(text)?,
        };
        Ok(Self {
            spec: spec.clone(),
            base,
            size: 1 << (32 - prefix),
            next: 2,
            used: BTreeSet::new(),
        })
    }

    /// The next free address: a released one comes round again as late as possible.
    fn take(&mut self) -> Option<Ipv4Addr> {
        let first = 2;
        let last = self.size - 2;
        for _ in first..=last {
            let host = self.next;
            self.next = if host >= last { first } else { host + 1 };
            if self.used.insert(host) {
                return Some(Ipv4Addr::from(self.base + host));
            }
        }
        None
    }

    fn release(&mut self, address: Ipv4Addr) {
        self.used
            .remove(&u32::from(address).wrapping_sub(self.base));
    }

    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }
}

fn parse_subnet(text: &str) -> Result<(u32, u32)> {
    let wrong = || {
        let shown = text.escape_default();
        Error::new(
            ErrorKind::InvalidSpec,
            format!("`{shown}` is not a subnet such as 10.5.0.0/24"),
        )
    };
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
    if !(8..=29).contains(&prefix) {
        return Err(wrong());
    }
    let mask = u32::MAX << (32 - prefix);
    Ok((u32::from(address) & mask, prefix))
}

/// Networks that a service is on, the default one included.
pub(crate) fn networks_of(service: &Service) -> Vec<NetworkName> {
    match service.network_mode {
        NetworkMode::Networks if service.networks.is_empty() => vec![default_network()],
        NetworkMode::Networks => service.networks.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// How long a gap lasts that a bug makes.
const A_MOMENT: Duration = Duration::from_millis(50);

impl Model {
    /// Takes one address on each network of a service; none if one network has none left.
    fn take_addresses(
        &mut self,
        stack: &StackName,
        spec: &Service,
        what: &str,
    ) -> Result<BTreeMap<NetworkName, Ipv4Addr>> {
        let mut taken = BTreeMap::new();
        for name in networks_of(spec) {
            let holding = self.stacks.get_mut(stack);
            let Some(net) = holding.and_then(|holding| holding.networks.get_mut(&name)) else {
                self.give_back(stack, &taken);
                let text = format!("{what}: network `{name}` does not exist");
                return Err(Error::new(ErrorKind::NotFound, text).on(stack));
            };
            match net.take() {
                Some(address) => drop(taken.insert(name, address)),
                None => {
                    self.give_back(stack, &taken);
                    let text = format!("{what}: network `{name}` has no address left");
                    return Err(Error::new(ErrorKind::Quota, text).on(stack));
                }
            }
        }
        Ok(taken)
    }

    pub(super) fn give_back(
        &mut self,
        stack: &StackName,
        addresses: &BTreeMap<NetworkName, Ipv4Addr>,
    ) {
        let Some(holding) = self.stacks.get_mut(stack) else {
            return;
        };
        for (name, address) in addresses {
            if let Some(net) = holding.networks.get_mut(name) {
                net.release(*address);
            }
        }
    }

    pub(super) fn join_networks(
        &mut self,
        id: &ReplicaId,
        spec: &Service,
    ) -> Result<BTreeMap<NetworkName, Ipv4Addr>> {
        self.take_addresses(&id.stack, spec, &format!("start {id}"))
    }

    pub(super) fn leave_networks(&mut self, id: &ReplicaId, replica: &Replica) {
        self.give_back(&id.stack, &replica.addresses);
    }

    /// The stable addresses of a service: those it has stay, others are added or given back.
    pub(super) fn service_addresses(
        &mut self,
        stack: &StackName,
        name: &ServiceName,
        spec: &Service,
    ) -> Result<BTreeMap<NetworkName, Ipv4Addr>> {
        let declared = self
            .stacks
            .get(stack)
            .and_then(|holding| holding.services.get(name));
        let mut former = declared
            .map(|declared| declared.addresses.clone())
            .unwrap_or_default();
        if self.bugs.has(Bug::AddressMoves) {
            former.clear();
        }
        let mut fresh = self.take_addresses(stack, spec, &format!("declare {name}"))?;
        let mut spare = BTreeMap::new();
        for (network, address) in &mut fresh {
            if let Some(kept) = former.remove(network) {
                spare.insert(network.clone(), std::mem::replace(address, kept));
            }
        }
        self.give_back(stack, &spare);
        self.give_back(stack, &former);
        Ok(fresh)
    }

    /// The replica that has an address, on a network.
    fn holder(&self, address: Ipv4Addr) -> Option<(&Replica, &NetworkName)> {
        let replicas = self
            .stacks
            .values()
            .flat_map(|holding| holding.replicas.values());
        replicas.into_iter().find_map(|replica| {
            let found = replica.addresses.iter().find(|(_, held)| **held == address);
            found.map(|(network, _)| (replica, network))
        })
    }

    /// The service that has a stable address, on a network.
    fn service_at(&self, address: Ipv4Addr) -> Option<(StackName, ServiceName, NetworkName)> {
        self.stacks.iter().find_map(|(stack, holding)| {
            holding.services.iter().find_map(|(name, declared)| {
                let found = declared
                    .addresses
                    .iter()
                    .find(|(_, held)| **held == address);
                found.map(|(network, _)| (stack.clone(), name.clone(), network.clone()))
            })
        })
    }

    /// True if the replica may reach this service though they share no network.
    fn is_linked(&self, from: &Replica, stack: &StackName, service: &ServiceName) -> bool {
        let declared = self
            .holding(&from.id.stack)
            .and_then(|holding| holding.services.get(&from.id.service));
        declared.is_some_and(|declared| {
            declared.service.links.iter().any(|link| {
                link.target.service == *service
                    && link.target.stack.as_ref().unwrap_or(&from.id.stack) == stack
            })
        })
    }

    /// True if the replica gets new connections.
    pub(crate) fn serves(&self, replica: &Replica) -> bool {
        if self.bugs.has(Bug::UnreadyServes) {
            return replica.phase.is_alive();
        }
        let between = replica.phase == Phase::Starting && replica.restarts > 0;
        if between && self.bugs.has(Bug::DeathUnnoticed) {
            return true;
        }
        replica.is_ready() && (!replica.draining || self.bugs.has(Bug::DrainIgnored))
    }

    /// One of the replicas that get a service's new connections.
    pub(super) fn pick(
        &mut self,
        stack: &StackName,
        service: &ServiceName,
        protocol: Protocol,
        port: u16,
    ) -> Option<u64> {
        let ready: Vec<ReplicaId> = self
            .replicas_of(stack, service)
            .filter(|replica| self.serves(replica))
            .map(|replica| replica.id.clone())
            .collect();
        if ready.is_empty() {
            return None;
        }
        let at = if self.bugs.has(Bug::NoBalance) {
            0
        } else {
            self.rng.below(ready.len())
        };
        self.listener(&ready[at], protocol, port)
    }

    /// The process of a replica that listens on a port.
    pub(crate) fn listener(&self, id: &ReplicaId, protocol: Protocol, port: u16) -> Option<u64> {
        let now = self.now;
        self.processes
            .iter()
            .find(|(_, process)| process.replica == *id && process.listens(protocol, port, now))
            .map(|(pid, _)| *pid)
    }

    /// Where a connection from inside a replica ends.
    pub(crate) fn route(
        &mut self,
        from: &ReplicaId,
        to: Ipv4Addr,
        protocol: Protocol,
        port: u16,
    ) -> Result<u64, Refused> {
        let open = self.bugs.has(Bug::NoIsolation);
        let source = self.replica(from).ok_or(Refused::NoWay)?;
        if to.is_loopback() || source.addresses.values().any(|own| *own == to) {
            return self.listener(from, protocol, port).ok_or(Refused::Closed);
        }
        let on = |network: &NetworkName| source.addresses.contains_key(network);
        if let Some((stack, service, network)) = self.service_at(to) {
            let near = stack == from.stack && on(&network);
            if !(near || open || self.is_linked(source, &stack, &service)) {
                return Err(Refused::NoWay);
            }
            return self
                .pick(&stack, &service, protocol, port)
                .ok_or(Refused::Closed);
        }
        let Some((target, network)) = self.holder(to) else {
            return Err(Refused::NoWay);
        };
        let near = target.id.stack == from.stack && on(network);
        if !(near || open) {
            return Err(Refused::NoWay);
        }
        let target = target.id.clone();
        self.listener(&target, protocol, port)
            .ok_or(Refused::Closed)
    }

    /// What a name means inside a replica.
    pub(crate) fn resolve(&self, from: &ReplicaId, name: &str) -> Vec<Ipv4Addr> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.parse() {
            return vec![address];
        }
        let Some(replica) = self.replica(from) else {
            return Vec::new();
        };
        if name.len() > 62 && self.bugs.has(Bug::LongNamesLost) {
            return Vec::new();
        }
        if name == "localhost" {
            return vec![Ipv4Addr::LOCALHOST];
        }
        let spec = &replica.service.spec;
        let own = replica.hostname.to_ascii_lowercase() == name;
        if own && let Some(address) = replica.addresses.values().next() {
            return vec![*address];
        }
        let extra = spec
            .extra_hosts
            .iter()
            .find(|(host, _)| host.to_ascii_lowercase() == name);
        if let Some((_, address)) = extra {
            return address.parse().into_iter().collect();
        }
        let mut found = self.resolve_link(replica, &name);
        if found.is_empty() {
            for network in replica.addresses.keys() {
                found.extend(self.resolve_on(&from.stack, network, &name));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn resolve_link(&self, replica: &Replica, name: &str) -> Vec<Ipv4Addr> {
        let id = &replica.id;
        let declared = self
            .holding(&id.stack)
            .and_then(|h| h.services.get(&id.service));
        let links = declared
            .map(|declared| declared.service.links.as_slice())
            .unwrap_or_default();
        let Some(link) = links
            .iter()
            .find(|link| link.alias.as_str().to_ascii_lowercase() == name)
        else {
            return Vec::new();
        };
        let young = declared.is_some_and(|declared| self.now < declared.since + A_MOMENT);
        if young && self.bugs.has(Bug::LinkGap) {
            return Vec::new();
        }
        if self.bugs.has(Bug::NoAliases) && link.alias.as_str() != link.target.service.as_str() {
            return Vec::new();
        }
        let stack = link.target.stack.as_ref().unwrap_or(&id.stack);
        let target = self
            .holding(stack)
            .and_then(|h| h.services.get(&link.target.service));
        let Some(target) = target else {
            return Vec::new();
        };
        let shared = target
            .addresses
            .iter()
            .find(|(network, _)| stack == &id.stack && replica.addresses.contains_key(*network));
        let address = shared.or_else(|| target.addresses.iter().next());
        address.map(|(_, address)| *address).into_iter().collect()
    }

    fn resolve_on(&self, stack: &StackName, network: &NetworkName, name: &str) -> Vec<Ipv4Addr> {
        let Some(holding) = self.holding(stack) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (service, declared) in &holding.services {
            let Some(address) = declared.addresses.get(network) else {
                continue;
            };
            let plain = service.as_str().to_ascii_lowercase();
            let replicas = || self.replicas_of(stack, service);
            let late = self.bugs.has(Bug::LateNames) && replicas().all(|r| !self.serves(r));
            let aliases = declared.service.spec.networks.get(network);
            let alias = aliases.is_some_and(|attachment| {
                attachment
                    .aliases
                    .iter()
                    .any(|alias| alias.as_str().to_ascii_lowercase() == name)
            }) && !self.bugs.has(Bug::NoAliases);
            let fixed = declared.service.spec.container_name.as_deref();
            let fixed = fixed.is_some_and(|fixed| fixed.to_ascii_lowercase() == name);
            let full = format!("{plain}.{}", network.as_str().to_ascii_lowercase());
            let named = (name == plain || name == full || alias || fixed) && !late;
            let spread = declared.service.spec.address_mode == Some(AddressMode::Replicas)
                && !self.bugs.has(Bug::AddressModeIgnored);
            if named && !spread {
                found.push(*address);
            }
            let each = name.strip_prefix("tasks.") == Some(plain.as_str()) || (named && spread);
            for replica in replicas() {
                let own = replica.id.to_string().to_ascii_lowercase() == name
                    || replica.hostname.to_ascii_lowercase() == name;
                if own || (each && self.serves(replica)) {
                    found.extend(replica.addresses.get(network));
                }
            }
        }
        found
    }

    /// The way out of a replica: the gateway of a network that is not internal.
    pub(crate) fn way_out(&self, id: &ReplicaId) -> Option<Ipv4Addr> {
        let replica = self.replica(id)?;
        let holding = self.holding(&id.stack)?;
        let leaks = self.bugs.has(Bug::InternalLeaks);
        replica
            .addresses
            .keys()
            .filter_map(|name| holding.networks.get(name))
            .find(|net| !net.spec.internal || leaks)
            .map(Net::gateway)
    }

    /// The hosts file of a replica.
    pub(super) fn hosts_file(&self, replica: &Replica) -> String {
        let mut text = "127.0.0.1\tlocalhost\n".to_owned();
        for (name, address) in &replica.service.spec.extra_hosts {
            text.push_str(&format!("{address}\t{name}\n"));
        }
        if let Some(address) = replica.addresses.values().next() {
            text.push_str(&format!("{address}\t{}\n", replica.hostname));
        }
        text
    }

    /// Answers a connection to a published port of the node.
    pub(crate) fn knock(
        &mut self,
        protocol: Protocol,
        port: u16,
        text: &str,
    ) -> Result<String, Refused> {
        let pid = self.behind(protocol, port, None).ok_or(Refused::Closed)?;
        Ok(self.answer(pid, text))
    }

    /// The process that a published port leads to.
    pub(crate) fn behind(
        &mut self,
        protocol: Protocol,
        port: u16,
        ip: Option<IpAddr>,
    ) -> Option<u64> {
        let entry = self
            .published
            .iter()
            .find(|entry| entry.is_at(protocol, port, ip))?
            .clone();
        if self.bugs.has(Bug::PublishedGap) {
            let mut list = self.replicas_of(&entry.stack, &entry.service);
            if list.any(|replica| self.now < replica.since + A_MOMENT) {
                return None;
            }
        }
        match &entry.replica {
            Some(id) => {
                let ready = self.replica(id).is_some_and(|replica| self.serves(replica));
                ready
                    .then(|| self.listener(id, protocol, entry.target))
                    .flatten()
            }
            None => self.pick(&entry.stack, &entry.service, protocol, entry.target),
        }
    }
}
