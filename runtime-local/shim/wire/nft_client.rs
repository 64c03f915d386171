//! The table in a replica's own namespace: where its stable addresses lead.
//!
//! Connections are redirected where they start, so no other namespace, bridge or filter setting
//! takes part, a replica may be sent back to itself, and the target sees the real source.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::nft::{Change, Hook, Set, Value, types};
use super::nft_rule::{REG, Rule};

/// Name of our tables, here and on the host.
pub const TABLE: &str = "unmoor";
/// The address that a replica's `/etc/resolv.conf` names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Where datagrams go that have nobody to go to: they are refused there, beyond the point at which
/// a refusal would be told as "not permitted" to whoever sends.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

/// The set of stable addresses from which datagrams have been sent to [`NOBODY`].
pub const REFUSED: &str = "refused";

/// Stable addresses, each with the targets of a round of connections.
pub type Balanced = BTreeMap<Ipv4Addr, Vec<Ipv4Addr>>;

/// What a replica's table is made from.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Ports on which our answers wait, UDP and TCP.
    pub dns: (u16, u16),
    /// The replica's subnets: any address in them and the length of the prefix.
    pub subnets: Vec<(Ipv4Addr, u8)>,
}

/// The half of a subnet that holds stable addresses, as a subnet; the other holds replicas.
pub fn stable_half(subnet: Ipv4Addr, prefix: u8) -> (Ipv4Addr, u8) {
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let base = subnet.to_bits() & !host_bits;
    (
        Ipv4Addr::from_bits(base | (host_bits & !(host_bits >> 1))),
        (prefix + 1).min(32),
    )
}

fn chain_of(address: Ipv4Addr) -> String {
    format!("to-{address}")
}

impl Client {
    /// The whole table, in place of whatever was there.
    pub fn install(&self, balanced: &Balanced) -> Vec<u8> {
        let mut c = Change::new(TABLE, None);
        // Making what may be there and removing it works whether it was there or not.
        c.table();
        c.del_table();
        c.table();
        c.base_chain("redirect", "nat", Hook::Output, -100);
        c.base_chain("refuse", "filter", Hook::Output, 0);
        c.base_chain("closed", "filter", Hook::Input, 0);
        let stable = Set {
            name: "stable",
            key: types::ADDRESS,
            key_len: 4,
            ranges: false,
            verdicts: true,
            learned: false,
        };
        c.set(&stable);
        c.set(&Set {
            name: REFUSED,
            verdicts: false,
            learned: true,
            ..stable
        });
        for (protocol, port) in [(17, self.dns.0), (6, self.dns.1)] {
            c.rule("redirect", |r| {
                r.destination(REG);
                r.equals(REG, &RESOLVER.octets());
                r.protocol_is(protocol);
                r.port(REG);
                r.equals(REG, &53_u16.to_be_bytes());
                r.load(REG, &RESOLVER.octets());
                r.dnat(Some(port));
            });
        }
        c.rule("redirect", |r| {
            r.destination(REG);
            r.look_up_verdict("stable");
        });
        c.rule("closed", |r| {
            r.destination(REG);
            r.equals(REG, &NOBODY.octets());
            r.was_redirected();
            r.reject(false);
        });
        for (subnet, prefix) in &self.subnets {
            refuse(&mut c, *subnet, *prefix);
        }
        for (address, slots) in balanced {
            add(&mut c, *address, slots);
        }
        c.finish()
    }

    /// The change by which refusals of these addresses are forgotten.
    pub fn forget_refused(addresses: &[Ipv4Addr]) -> Vec<u8> {
        let mut c = Change::new(TABLE, None);
        for address in addresses {
            c.del_key(REFUSED, &address.octets(), Value::None);
        }
        c.finish()
    }

    /// The change from one set of targets to another; `None` when there is none.
    pub fn update(&self, old: &Balanced, new: &Balanced) -> Option<Vec<u8>> {
        if old == new {
            return None;
        }
        let mut c = Change::new(TABLE, None);
        for address in old.keys().filter(|address| !new.contains_key(address)) {
            let chain = chain_of(*address);
            c.del_key("stable", &address.octets(), Value::Goto(&chain));
            c.flush_chain(&chain);
            c.del_chain(&chain);
        }
        for (address, slots) in new {
            match old.get(address) {
                None => add(&mut c, *address, slots),
                Some(before) if before != slots => {
                    let chain = chain_of(*address);
                    c.flush_chain(&chain);
                    lead(&mut c, &chain, slots);
                }
                Some(_) => {}
            }
        }
        Some(c.finish())
    }
}

fn add(c: &mut Change, address: Ipv4Addr, slots: &[Ipv4Addr]) {
    let chain = chain_of(address);
    c.chain(&chain);
    lead(c, &chain, slots);
    c.add_key("stable", &address.octets(), Value::Goto(&chain), false);
}

/// Sends new connections to the targets in turn, or datagrams to nobody.
fn lead(c: &mut Change, chain: &str, slots: &[Ipv4Addr]) {
    if slots.is_empty() {
        c.rule(chain, to_nobody);
    } else {
        c.balance(chain, slots, None);
    }
}

fn to_nobody(r: &mut Rule<'_>) {
    r.protocol_is(17);
    r.destination(REG);
    r.remember(REFUSED);
    r.load(REG, &NOBODY.octets());
    r.dnat(None);
}

/// What still goes to a stable address after redirection has nobody to go to.
fn refuse(c: &mut Change, subnet: Ipv4Addr, prefix: u8) {
    let (base, half) = stable_half(subnet, prefix);
    let broadcast = base.to_bits() | u32::MAX.checked_shr(u32::from(half)).unwrap_or(0);
    let is_stable = |r: &mut Rule<'_>| {
        r.destination_in(base, half);
        r.destination(REG);
        r.differs(REG, &broadcast.to_be_bytes());
    };
    c.rule("redirect", |r| {
        is_stable(r);
        to_nobody(r);
    });
    for reset in [true, false] {
        c.rule("refuse", |r| {
            is_stable(r);
            if reset {
                r.protocol_is(6);
            }
            r.reject(reset);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::Messages;
    use super::*;

    fn kinds(bytes: &[u8]) -> Vec<u16> {
        Messages::new(bytes)
            .map(|message| message.kind & 0xff)
            .collect()
    }

    #[test]
    fn the_upper_half_is_stable() {
        let half = stable_half(Ipv4Addr::new(10, 201, 0, 7), 24);
        assert_eq!(half, (Ipv4Addr::new(10, 201, 0, 128), 25));
        let half = stable_half(Ipv4Addr::new(10, 201, 7, 7), 20);
        assert_eq!(half, (Ipv4Addr::new(10, 201, 8, 0), 21));
    }

    #[test]
    fn an_update_touches_only_what_changed() {
        let ip = |last| Ipv4Addr::new(10, 201, 0, last);
        let client = Client::default();
        let old: Balanced = [(ip(130), vec![ip(2)]), (ip(131), vec![ip(3)])].into();
        assert_eq!(client.update(&old, &old.clone()), None);
        let mut new = old.clone();
        new.insert(ip(131), vec![]);
        // begin, flush, rule, end
        let expected = [0x10, 8, 6, 0x11];
        assert_eq!(kinds(&client.update(&old, &new).unwrap()), expected);
        new.insert(ip(131), vec![ip(3), ip(4)]);
        // begin, flush, map, its elements, rule, end
        assert_eq!(
            kinds(&client.update(&old, &new).unwrap()),
            [0x10, 8, 9, 12, 6, 0x11]
        );
        new = old.clone();
        new.remove(&ip(130));
        new.insert(ip(132), vec![ip(2)]);
        let expected = [0x10, 14, 8, 5, 3, 6, 12, 0x11];
        assert_eq!(kinds(&client.update(&old, &new).unwrap()), expected);
    }
}
