//! The table in the host's namespace: isolation, the way out, and published ports.
//!
//! Every change is made so that doing it twice is the same as doing it once. Rules that packets
//! meet first are fixed; networks and ports are keys in sets, so that several libraries and shims
//! can change them at once, each in one atomic batch.

use std::net::Ipv4Addr;

use super::netplan::PublishedPort;
use super::nft::{Change, Hook, Leads, Learned, Set, Value, ifname, types};
use super::nft_client::{TABLE, second_try, tried};
use super::nft_rule::{
    ACCEPT, DROP, ESTABLISHED, NEW, REG, REG_PART1, REG_PART2, REG2, RELATED, RETURN, Rule,
};

/// Every bridge of ours.
pub const BRIDGES: &str = "bridges";
/// Bridges that nothing may leave or enter.
pub const INTERNAL: &str = "internal";
/// Interfaces between which nothing was routed before we switched routing on.
pub const GUARDED: &str = "guarded";
/// Ports published on every address.
pub const PORTS: &str = "ports";
/// Ports published on one address.
pub const PORTS_AT: &str = "ports-at";

/// Links across networks: from which replica, to which stable address.
pub const ACROSS: &str = "across";
/// The same pairs, for the refusal of those whose target nobody answers for.
const LINKED: &str = "linked";

const SAME: &str = "same";
const SUBNETS: &str = "subnets";
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 0);

/// A network as the host's rules know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostNetwork<'a> {
    /// Its bridge.
    pub bridge: &'a str,
    /// Any address of its subnet.
    pub subnet: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// Nothing may leave or enter.
    pub internal: bool,
}

/// Starts a change of the host's table.
pub fn change(generation: Option<u32>) -> Change {
    Change::new(TABLE, generation)
}

/// Makes the table with its fixed rules, or puts them back as they should be.
pub fn base(c: &mut Change) {
    c.table();
    for (name, key, key_len, ranges) in [
        (BRIDGES, types::IFNAME, 16, false),
        (INTERNAL, types::IFNAME, 16, false),
        (GUARDED, types::IFNAME, 16, false),
        (SAME, types::IFNAME_PAIR, 32, false),
        (SUBNETS, types::ADDRESS, 4, true),
        (LINKED, types::ADDRESS_PAIR, 8, false),
    ] {
        c.set(&Set {
            name,
            key,
            key_len,
            ranges,
            leads: Leads::Nowhere,
            learned: Learned::No,
        });
    }
    for (name, key, key_len) in [
        (PORTS, types::PROTO_PORT, 8),
        (PORTS_AT, types::ADDRESS_PROTO_PORT, 12),
        (ACROSS, types::ADDRESS_PAIR, 8),
    ] {
        c.set(&Set {
            name,
            key,
            key_len,
            ranges: false,
            leads: Leads::Verdicts,
            learned: Learned::No,
        });
    }
    tried(c);
    for (name, kind, hook, priority) in [
        ("loopback", "filter", Hook::Prerouting, -300),
        ("published", "nat", Hook::Prerouting, -100),
        ("published-here", "nat", Hook::Output, -100),
        ("source", "nat", Hook::Postrouting, 100),
        ("forward", "filter", Hook::Forward, 0),
        ("input", "filter", Hook::Input, 0),
    ] {
        c.base_chain(name, kind, hook, priority);
        c.flush_chain(name);
    }
    for chain in ["forward", "input"] {
        second_try(c, chain);
    }
    loopback(c);
    published(c);
    source(c);
    forward(c);
    c.rule("input", |r| {
        r.input_name(REG);
        r.is_in(INTERNAL);
        r.state_any(NEW);
        r.verdict(DROP);
    });
}

/// Nothing that comes in from anywhere may reach what listens on loopback only, and no replica may
/// speak in the name of another network's.
fn loopback(c: &mut Change) {
    c.rule("loopback", |r| {
        r.input_name(REG);
        r.is_in(BRIDGES);
        r.source_is_elsewhere();
        r.verdict(DROP);
    });
    c.rule("loopback", |r| {
        r.input_name(REG);
        r.differs(REG, &ifname("lo"));
        r.destination_in(LOOPBACK, 8);
        r.verdict(DROP);
    });
}

fn published(c: &mut Change) {
    // A port published on a loopback address is for this host alone. Redirection comes before
    // the kernel drops such packets, so it must not take place.
    c.rule("published", |r| {
        r.destination_in(LOOPBACK, 8);
        r.verdict(RETURN);
    });
    c.rule("published", |r| {
        r.source(REG);
        r.destination(REG_PART1);
        r.look_up_verdict(ACROSS);
    });
    for chain in ["published", "published-here"] {
        c.rule(chain, |r| {
            r.destination(REG);
            r.protocol(REG_PART1);
            r.port(REG_PART2);
            r.look_up_verdict(PORTS_AT);
        });
        c.rule(chain, |r| {
            r.destination_is_local();
            r.protocol(REG);
            r.port(REG_PART1);
            r.look_up_verdict(PORTS);
        });
    }
}

fn source(c: &mut Change) {
    // Way out: a replica's address means nothing beyond this host.
    c.rule("source", |r| {
        r.source(REG);
        r.is_in(SUBNETS);
        r.output_name(REG);
        r.is_not_in(BRIDGES);
        r.masquerade();
    });
    // A published port reached by a loopback address, or by a replica of the same network: the
    // answer must come back through this host.
    c.rule("source", |r| {
        r.output_name(REG);
        r.is_in(BRIDGES);
        r.was_redirected();
        source_in_loopback(r);
        r.masquerade();
    });
    c.rule("source", |r| {
        r.output_name(REG);
        r.is_in(BRIDGES);
        r.was_redirected();
        r.source(REG);
        r.is_in(SUBNETS);
        r.masquerade();
    });
}

fn source_in_loopback(r: &mut Rule<'_>) {
    r.source(REG);
    r.mask(REG, [255, 0, 0, 0]);
    r.equals(REG, &LOOPBACK.octets());
}

fn forward(c: &mut Change) {
    let in_bridges = |r: &mut Rule<'_>| {
        r.input_name(REG);
        r.is_in(BRIDGES);
    };
    // Frames inside one bridge come here too where the kernel filters bridged frames.
    c.rule("forward", |r| {
        r.input_name(REG);
        r.output_name(REG2);
        r.is_in(SAME);
        r.verdict(ACCEPT);
    });
    for input in [true, false] {
        c.rule("forward", |r| {
            if input {
                r.input_name(REG)
            } else {
                r.output_name(REG)
            }
            r.is_in(INTERNAL);
            r.verdict(DROP);
        });
    }
    c.rule("forward", |r| {
        r.state_any(ESTABLISHED | RELATED);
        r.verdict(ACCEPT);
    });
    c.rule("forward", |r| {
        r.was_redirected();
        r.verdict(ACCEPT);
    });
    // A link whose target nobody answers for: refused at once.
    for reset in [true, false] {
        c.rule("forward", |r| {
            if reset {
                r.protocol_is(6);
            }
            r.source(REG);
            r.destination(REG_PART1);
            r.is_in(LINKED);
            r.reject(reset);
        });
    }
    // Neither from another network nor from outside, except to published ports.
    c.rule("forward", |r| {
        r.output_name(REG);
        r.is_in(BRIDGES);
        r.verdict(DROP);
    });
    c.rule("forward", |r| {
        in_bridges(r);
        r.verdict(ACCEPT);
    });
    // Routing was off before us: what it did not let pass still does not.
    c.rule("forward", |r| {
        r.input_name(REG);
        r.is_in(GUARDED);
        r.verdict(DROP);
    });
}

impl HostNetwork<'_> {
    fn bounds(&self) -> ([u8; 4], Option<[u8; 4]>) {
        let host_bits = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        let base = self.subnet.to_bits() & !host_bits;
        let end = base
            .checked_add(host_bits)
            .and_then(|last| last.checked_add(1));
        (base.to_be_bytes(), end.map(u32::to_be_bytes))
    }

    fn pair(&self) -> [u8; 32] {
        let mut pair = [0; 32];
        pair[..16].copy_from_slice(&ifname(self.bridge));
        pair[16..].copy_from_slice(&ifname(self.bridge));
        pair
    }

    /// Every key of the network, with the set it belongs to.
    pub fn keys(&self) -> Vec<(&'static str, Vec<u8>, Value<'static>)> {
        let (base, end) = self.bounds();
        let name = ifname(self.bridge).to_vec();
        let mut keys = vec![
            (BRIDGES, name.clone(), Value::None),
            (SAME, self.pair().to_vec(), Value::None),
            (SUBNETS, base.to_vec(), Value::None),
        ];
        if self.internal {
            keys.push((INTERNAL, name, Value::None));
        }
        keys.extend(end.map(|end| (SUBNETS, end.to_vec(), Value::RangeEnd)));
        keys
    }

    /// Adds the network; twice is fine.
    pub fn add(&self, c: &mut Change) {
        for (set, key, value) in self.keys() {
            c.add_key(set, &key, value, false);
        }
    }
}

/// The key of a published port, and the map it belongs to.
pub fn port_key(port: &PublishedPort) -> (&'static str, Vec<u8>) {
    let [high, low] = port.host_port.to_be_bytes();
    let tail = [port.proto.number(), 0, 0, 0, high, low, 0, 0];
    if port.host_ip.is_unspecified() {
        (PORTS, tail.to_vec())
    } else {
        (PORTS_AT, [&port.host_ip.octets()[..], &tail].concat())
    }
}

/// The chain of a published port. It names its owner, so that two owners never share one.
pub fn port_chain(port: &PublishedPort, service: &str) -> String {
    let (proto, host_port, host_ip) = (port.proto.name(), port.host_port, port.host_ip);
    let owner = owner(&port.network, service);
    format!("{proto}-{host_port}-{host_ip}-{}{owner}", port.port)
}

/// True for a chain of a published port of this service on this network.
pub fn is_chain_of(chain: &str, network: &str, service: &str) -> bool {
    chain.ends_with(&owner(network, service))
}

fn owner(network: &str, service: &str) -> String {
    let hash = hash(&[network.as_bytes(), b"\0", service.as_bytes()]);
    format!("-{hash:016x}")
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().copied().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Makes the port lead to its chain; refused by the kernel when it leads elsewhere.
pub fn publish(c: &mut Change, port: &PublishedPort, service: &str) {
    let chain = port_chain(port, service);
    let (map, key) = port_key(port);
    c.chain(&chain);
    c.add_key(map, &key, Value::Goto(&chain), false);
}

/// Sends new connections of a published port to these targets.
pub fn set_targets(c: &mut Change, port: &PublishedPort, service: &str, slots: &[Ipv4Addr]) {
    let chain = port_chain(port, service);
    c.flush_chain(&chain);
    c.balance(&chain, slots, Some(port.port));
}

/// Takes the port back; it must be there.
pub fn unpublish(c: &mut Change, port: &PublishedPort, service: &str) {
    let (map, key) = port_key(port);
    take_back(c, map, &key, &port_chain(port, service));
}

/// Takes back what leads to a chain of a published port, and the chain.
pub fn take_back(c: &mut Change, map: &str, key: &[u8], chain: &str) {
    c.del_key(map, key, Value::Goto(chain));
    c.flush_chain(chain);
    c.del_chain(chain);
}

/// The key of a link from a replica to a stable address of another network.
pub fn pair_key(from: Ipv4Addr, to: Ipv4Addr) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&from.octets());
    key[4..].copy_from_slice(&to.octets());
    key
}

/// The chain that leads to the ready replicas of a service for those who have a link to it from
/// another network.
pub fn across_chain(network: &str, service: &str) -> String {
    let hash = hash(&[network.as_bytes(), b"\0", service.as_bytes()]);
    format!("across-{hash:016x}")
}

/// Lets a link lead to its chain.
pub fn link(c: &mut Change, key: [u8; 8], chain: &str) {
    c.add_key(ACROSS, &key, Value::Goto(chain), false);
    c.add_key(LINKED, &key, Value::None, false);
}

/// Takes a link back; it must be there.
pub fn unlink(c: &mut Change, key: [u8; 8], chain: &str) {
    c.del_key(ACROSS, &key, Value::Goto(chain));
    c.del_key(LINKED, &key, Value::None);
}

/// Sends new connections of a link to these targets; the chain must be there.
pub fn lead_across(c: &mut Change, chain: &str, slots: &[Ipv4Addr]) {
    c.flush_chain(chain);
    c.balance(chain, slots, None);
}

#[cfg(test)]
mod tests {
    use super::super::netplan::Proto;
    use super::*;

    fn port(host_ip: Ipv4Addr) -> PublishedPort {
        let proto = Proto::Tcp;
        PublishedPort {
            host_ip,
            host_port: 8080,
            port: 80,
            proto,
            network: "n".into(),
            own: false,
        }
    }

    #[test]
    fn ports_are_keyed_by_address_only_where_one_is_given() {
        let any = port_key(&port(Ipv4Addr::UNSPECIFIED));
        assert_eq!(any, (PORTS, vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0]));
        let one = port_key(&port(Ipv4Addr::LOCALHOST));
        assert_eq!(
            one,
            (PORTS_AT, vec![127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0])
        );
    }

    #[test]
    fn owners_do_not_share_a_chain() {
        let chain = port_chain(&port(Ipv4Addr::LOCALHOST), "web");
        assert_ne!(chain, port_chain(&port(Ipv4Addr::LOCALHOST), "api"));
        assert!(chain.len() < 100);
    }

    #[test]
    fn a_subnet_at_the_end_of_the_world_has_no_end() {
        let subnet = Ipv4Addr::new(255, 255, 255, 0);
        let network = HostNetwork {
            bridge: "um-x",
            subnet,
            prefix: 24,
            internal: false,
        };
        assert_eq!(network.bounds(), ([255, 255, 255, 0], None));
        let network = HostNetwork {
            subnet: Ipv4Addr::new(10, 201, 0, 9),
            ..network
        };
        assert_eq!(network.bounds(), ([10, 201, 0, 0], Some([10, 201, 1, 0])));
    }
}
