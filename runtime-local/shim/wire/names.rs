//! What one replica sees of its networks: names and where they lead, addresses and who shares them.
//!
//! Pure: built from the zone files of the networks the replica is on and from its links.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::netplan::Proto;
use super::zone::{EndpointFile, Link, Mode, NamedPort, ServiceFile};

/// The most connections in a round before the first replica's turn comes again.
const MAX_SLOTS: u32 = 256;

/// One network the replica is on.
#[derive(Debug, Clone, Default)]
pub struct NetworkView {
    /// Its id.
    pub id: String,
    /// Its name for users.
    pub name: String,
    /// Its services, by name.
    pub services: BTreeMap<String, ServiceFile>,
    /// Its ready replicas, by id.
    pub endpoints: BTreeMap<String, EndpointFile>,
}

/// The ready replicas of a network's services, found once for all of them: to look through every
/// replica for every service makes a large network slow in each of its members.
#[derive(Debug)]
struct Ready<'a>(HashMap<&'a str, Vec<&'a EndpointFile>>);

impl<'a> Ready<'a> {
    fn of(view: &'a NetworkView, which: impl Fn(&str) -> bool) -> Self {
        let mut services: HashMap<_, Vec<_>> = HashMap::new();
        let endpoints = view.endpoints.values();
        for endpoint in endpoints.filter(|endpoint| which(&endpoint.service)) {
            let service = services.entry(endpoint.service.as_str());
            service.or_default().push(endpoint);
        }
        Self(services)
    }

    fn service(&self, name: &str) -> &[&'a EndpointFile] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn addresses(&self, service: &str) -> Vec<Ipv4Addr> {
        let ready = self.service(service).iter();
        ready.filter_map(|endpoint| endpoint.address).collect()
    }

    /// Where new connections to a service go, in turn.
    fn slots(&self, service: &str, turn: u32) -> Vec<Ipv4Addr> {
        let ready = self.service(service).iter();
        let targets: Vec<_> = ready
            .filter_map(|endpoint| Some((endpoint.address?, endpoint.weight)))
            .collect();
        slots(&targets, turn)
    }

    /// The answer to a question for a service.
    fn answers(&self, service: &ServiceFile) -> Vec<Ipv4Addr> {
        match (service.mode, service.vip) {
            (Mode::Stable, Some(vip)) => vec![vip],
            _ => self.addresses(&service.name),
        }
    }

    fn targets(&self, service: &ServiceFile) -> Targets {
        let replicas = self.service(&service.name).iter().filter_map(|endpoint| {
            Some(Target {
                name: endpoint.names.first().cloned()?,
                address: endpoint.address?,
                weight: endpoint.weight,
            })
        });
        Targets {
            replicas: replicas.collect(),
            ports: service.ports.clone(),
        }
    }
}

/// Spreads weighted targets over a round so that heavy ones are not asked in a row.
///
/// `turn` rotates the round, so that many clients that start together do not all begin with the
/// same target. A weight of 0 gets nothing unless every weight is 0.
pub fn slots(targets: &[(Ipv4Addr, u32)], turn: u32) -> Vec<Ipv4Addr> {
    let total: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let scaled: Vec<(Ipv4Addr, i64)> = targets
        .iter()
        .map(|(address, weight)| (*address, scale(*weight, total, targets.len())))
        .filter(|(_, weight)| *weight > 0)
        .take(MAX_SLOTS as usize)
        .collect();
    let divisor = scaled
        .iter()
        .fold(0, |divisor, (_, weight)| gcd(divisor, *weight))
        .max(1);
    let round: i64 = scaled.iter().map(|(_, weight)| weight / divisor).sum();
    let mut credit = vec![0_i64; scaled.len()];
    let mut order = Vec::new();
    for _ in 0..round {
        for (credit, (_, weight)) in credit.iter_mut().zip(&scaled) {
            *credit += weight / divisor;
        }
        let best = (0..credit.len()).rev().max_by_key(|at| credit[*at]);
        let Some(best) = best else { break };
        credit[best] -= round;
        order.push(scaled[best].0);
    }
    if !order.is_empty() {
        let len = order.len();
        order.rotate_left(turn as usize % len);
    }
    order
}

fn scale(weight: u32, total: u64, count: usize) -> i64 {
    if total == 0 {
        return 1;
    }
    if total <= u64::from(MAX_SLOTS) {
        return i64::from(weight);
    }
    if count > MAX_SLOTS as usize / 2 {
        return i64::from(weight.min(1));
    }
    // A target with any weight keeps at least one slot.
    let share = u64::from(weight) * u64::from(MAX_SLOTS / 2) / total;
    i64::try_from(share.max(u64::from(weight > 0))).unwrap_or(1)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Every stable address the replica can use, with the targets behind it.
///
/// Links come with addresses of their own; a link to no known service has no targets and refuses. One
/// to a network that the replica is not on leads there by the host.
pub fn balanced(
    views: &[NetworkView],
    links: &[Link],
    turn: u32,
) -> BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> {
    balanced_some(views, links, turn, |_, _| true)
}

/// The same, of some services only: they are picked by the number of their network and their name.
pub fn balanced_some(
    views: &[NetworkView],
    links: &[Link],
    turn: u32,
    which: impl Fn(usize, &str) -> bool,
) -> BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> {
    let mut map = BTreeMap::new();
    for (at, view) in views.iter().enumerate() {
        let ready = Ready::of(view, |name| which(at, name));
        for service in view.services.values() {
            if let Some(vip) = service.vip
                && which(at, &service.name)
            {
                map.insert(vip, ready.slots(&service.name, turn));
            }
        }
        for link in links.iter().filter(|link| link.network == view.id) {
            if let Some(vip) = link.vip
                && which(at, &link.service)
            {
                map.insert(vip, ready.slots(&link.service, turn));
            }
        }
    }
    map
}

/// One target of an SRV answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name that resolves to the address.
    pub name: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Its share.
    pub weight: u32,
}

/// A service as SRV questions see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Its ready replicas.
    pub replicas: Vec<Target>,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

impl Targets {
    /// The number of a port given by name or number.
    pub fn port(&self, name: &[u8], proto: Proto) -> Option<u16> {
        let named = self
            .ports
            .iter()
            .find(|port| port.proto == proto && port.name.as_bytes().eq_ignore_ascii_case(name));
        named
            .map(|port| port.port)
            .or_else(|| core::str::from_utf8(name).ok()?.parse().ok())
    }
}

/// The names one replica can ask for. Keys are lower case.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    names: HashMap<Box<[u8]>, Vec<Ipv4Addr>>,
    addresses: HashMap<Ipv4Addr, Box<str>>,
    targets: HashMap<Box<[u8]>, Targets>,
    /// Subnets whose addresses are ours alone to explain: base and mask.
    pub subnets: Vec<(u32, u32)>,
    /// Names we do not know may be asked of the host's resolvers.
    pub forward: bool,
}

impl Zone {
    /// Builds the names from the networks, nearest first, and the links.
    pub fn build(views: &[NetworkView], links: &[Link]) -> Self {
        let mut zone = Self::default();
        for link in links {
            zone.link(views, link);
        }
        for view in views {
            zone.network(view);
        }
        zone
    }

    fn link(&mut self, views: &[NetworkView], link: &Link) {
        let view = views.iter().find(|view| view.id == link.network);
        let service = view.and_then(|view| view.services.get(&link.service));
        let known = view.zip(service);
        let known = known.map(|(view, service)| (Ready::of(view, |_| true), service));
        let addresses = match (link.vip, &known) {
            (Some(vip), _) => vec![vip],
            (None, Some((ready, service))) => ready.answers(service),
            (None, None) => Vec::new(),
        };
        if let Some((ready, service)) = &known {
            self.targets
                .entry(key(&link.alias))
                .or_insert_with(|| ready.targets(service));
        }
        self.names.entry(key(&link.alias)).or_insert(addresses);
    }

    fn network(&mut self, view: &NetworkView) {
        // A network's names never add to those of a nearer one: they only fill what is free.
        let ready = Ready::of(view, |_| true);
        let mut found: HashMap<Box<[u8]>, Vec<Ipv4Addr>> = HashMap::new();
        for service in view.services.values() {
            found.insert(key(&service.name), ready.answers(service));
            let replicas = ready.addresses(&service.name);
            found.insert(key(&format!("tasks.{}", service.name)), replicas);
            for name in [
                service.name.clone(),
                format!("{}.{}", service.name, view.name),
            ] {
                let entry = self.targets.entry(key(&name));
                entry.or_insert_with(|| ready.targets(service));
            }
            if let Some(vip) = service.vip {
                self.addresses
                    .entry(vip)
                    .or_insert_with(|| service.name.as_str().into());
            }
        }
        let services: HashSet<_> = found.keys().cloned().collect();
        let mut add = |name: &str, addresses: &[Ipv4Addr]| {
            let name = key(name);
            if !services.contains(&name) {
                let entry = found.entry(name).or_default();
                for address in addresses {
                    if !entry.contains(address) {
                        entry.push(*address);
                    }
                }
            }
        };
        for endpoint in view.endpoints.values() {
            let Some(address) = endpoint.address else {
                continue;
            };
            for name in &endpoint.names {
                add(name, &[address]);
            }
            if let Some(name) = endpoint.names.first() {
                self.addresses
                    .entry(address)
                    .or_insert_with(|| name.as_str().into());
            }
        }
        for service in view.services.values() {
            let addresses = ready.answers(service);
            for alias in &service.aliases {
                add(alias, &addresses);
                if !services.contains(&key(alias)) {
                    let entry = self.targets.entry(key(alias));
                    entry.or_insert_with(|| ready.targets(service));
                }
            }
        }
        for (name, addresses) in found {
            let mut long = name.to_vec();
            long.push(b'.');
            long.extend(view.name.bytes().map(|byte| byte.to_ascii_lowercase()));
            self.names
                .entry(long.into())
                .or_insert_with(|| addresses.clone());
            self.names.entry(name).or_insert(addresses);
        }
    }

    /// The addresses of a name in lower case; empty when the name is known but nobody answers.
    pub fn name(&self, name: &[u8]) -> Option<&[Ipv4Addr]> {
        self.names.get(name).map(Vec::as_slice)
    }

    /// The name of an address.
    pub fn address(&self, address: Ipv4Addr) -> Option<&str> {
        self.addresses.get(&address).map(|name| &**name)
    }

    /// A service as SRV questions see it, by its name in lower case.
    pub fn targets(&self, service: &[u8]) -> Option<&Targets> {
        self.targets.get(service)
    }

    /// True for addresses of the replica's own networks, which no other server knows better.
    pub fn owns(&self, address: Ipv4Addr) -> bool {
        self.subnets
            .iter()
            .any(|(base, mask)| address.to_bits() & mask == *base)
    }
}

fn key(name: &str) -> Box<[u8]> {
    name.to_ascii_lowercase().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, 0, last)
    }

    fn view() -> NetworkView {
        let mut view = NetworkView {
            id: "n1".into(),
            name: "default".into(),
            ..NetworkView::default()
        };
        let service = |name: &str, vip, mode, alias: &str| ServiceFile {
            name: name.into(),
            vip,
            mode,
            aliases: vec![alias.into()],
            ports: Vec::new(),
        };
        let stable = service("Web", Some(ip(130)), Mode::Stable, "www");
        view.services.insert("Web".into(), stable);
        view.services
            .insert("rr".into(), service("rr", None, Mode::Replicas, "www"));
        for (id, service, last) in [("a", "Web", 2), ("b", "Web", 3), ("c", "rr", 4)] {
            let file = EndpointFile {
                replica: id.into(),
                service: service.into(),
                address: Some(ip(last)),
                weight: 1,
                names: vec![format!("{service}-{id}")],
            };
            view.endpoints.insert(id.into(), file);
        }
        view
    }

    #[test]
    fn names_lead_where_the_contract_says() {
        let zone = Zone::build(&[view()], &[]);
        assert_eq!(zone.name(b"web"), Some(&[ip(130)][..]));
        assert_eq!(zone.name(b"web.default"), Some(&[ip(130)][..]));
        assert_eq!(zone.name(b"tasks.web"), Some(&[ip(2), ip(3)][..]));
        assert_eq!(zone.name(b"rr"), Some(&[ip(4)][..]));
        assert_eq!(zone.name(b"web-b"), Some(&[ip(3)][..]));
        assert_eq!(zone.name(b"www"), Some(&[ip(130), ip(4)][..]));
        assert_eq!(zone.name(b"db"), None);
        assert_eq!(zone.address(ip(130)), Some("Web"));
        assert_eq!(zone.address(ip(3)), Some("Web-b"));
    }

    #[test]
    fn links_override_and_have_their_own_address() {
        let link = Link {
            alias: "rr".into(),
            vip: Some(ip(200)),
            network: "n1".into(),
            service: "Web".into(),
        };
        let gone = Link {
            service: "gone".into(),
            vip: Some(ip(201)),
            ..link.clone()
        };
        let links = [
            link,
            Link {
                alias: "lost".into(),
                ..gone
            },
        ];
        let zone = Zone::build(&[view()], &links);
        assert_eq!(zone.name(b"rr"), Some(&[ip(200)][..]));
        assert_eq!(zone.name(b"lost"), Some(&[ip(201)][..]));
        let map = balanced(&[view()], &links, 0);
        assert_eq!(map[&ip(200)], [ip(2), ip(3)]);
        assert_eq!(map[&ip(130)], [ip(2), ip(3)]);
        assert!(map[&ip(201)].is_empty());
    }

    #[test]
    fn a_nearer_network_wins_whole() {
        let mut far = view();
        far.id = "n2".into();
        far.name = "far".into();
        far.services.get_mut("Web").unwrap().vip = Some(Ipv4Addr::new(10, 201, 1, 130));
        let zone = Zone::build(&[view(), far], &[]);
        assert_eq!(zone.name(b"web"), Some(&[ip(130)][..]));
        assert_eq!(
            zone.name(b"web.far"),
            Some(&[Ipv4Addr::new(10, 201, 1, 130)][..])
        );
    }

    #[test]
    fn weights_are_spread_and_rotated() {
        let order = slots(&[(ip(2), 2), (ip(3), 1)], 0);
        assert_eq!(order, [ip(2), ip(3), ip(2)]);
        assert_eq!(slots(&[(ip(2), 7), (ip(3), 7)], 1), [ip(3), ip(2)]);
        assert_eq!(slots(&[(ip(2), 0), (ip(3), 5)], 0), [ip(3)]);
        assert_eq!(slots(&[(ip(2), 0), (ip(3), 0)], 0), [ip(2), ip(3)]);
        assert!(slots(&[], 3).is_empty());
    }

    #[test]
    fn rounds_are_bounded_and_nobody_is_forgotten() {
        let many: Vec<_> = (1..=200).map(|last| (ip(last), u32::MAX)).collect();
        let order = slots(&many, 0);
        assert_eq!(order.len(), 200);
        let order = slots(&[(ip(2), u32::MAX), (ip(3), 1)], 0);
        assert!(order.len() <= MAX_SLOTS as usize && order.contains(&ip(3)));
    }
}
