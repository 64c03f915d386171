//! The table in a replica's own namespace: where its stable addresses lead.
//!
//! Connections are redirected where they start, so no other namespace, bridge or filter setting
//! takes part, a replica may be sent back to itself, and the target sees the real source.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::nft::{Change, Hook, Leads, Learned, Set, Value, types};
use super::nft_rule::{DROP, REG, REG_PART1, Rule};

/// Name of our tables, here and on the host.
pub const TABLE: &str = "unmoor";
/// The address that a replica's `/etc/resolv.conf` names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Where datagrams go that have nobody to go to: they are refused there, beyond the point at which
/// a refusal would be told as "not permitted" to whoever sends.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

/// The set of stable addresses from which datagrams have been sent to [`NOBODY`].
pub const REFUSED: &str = "refused";

/// The set of connections that were refused once.
const TRIED: &str = "tried";

/// How long a refusal is remembered: longer than the kernel waits before its second try.
const TRY: Duration = Duration::from_secs(3);

/// The map of stable addresses that several targets share in turn, to the chains that do so.
const BALANCED: &str = "stable";
/// The map of stable addresses with one target, to that.
const DIRECT: &str = "direct";

/// Stable addresses, each with the targets of a round of connections.
pub type Balanced = BTreeMap<Ipv4Addr, Vec<Ipv4Addr>>;

/// What a replica's table is made from.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Ports on which our answers wait, UDP and TCP.
    pub dns: (u16, u16),
    /// The port on which we answer requests, if we do.
    pub http: Option<u16>,
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
        // A chain is walked as it was when the walk began, but each look into a map sees the keys
        // as they are by then: whoever comes at the moment of a change can find neither the old
        // nor the new. Who was not redirected is led through the same rules once more.
        c.base_chain("again", "nat", Hook::Output, -99);
        c.base_chain("refuse", "filter", Hook::Output, 0);
        c.base_chain("closed", "filter", Hook::Input, 0);
        let balanced_by_chains = Set {
            name: BALANCED,
            key: types::ADDRESS,
            key_len: 4,
            ranges: false,
            leads: Leads::Verdicts,
            learned: Learned::No,
        };
        c.set(&balanced_by_chains);
        c.set(&Set {
            name: DIRECT,
            leads: Leads::Addresses,
            ..balanced_by_chains
        });
        c.set(&Set {
            name: REFUSED,
            leads: Leads::Nowhere,
            learned: Learned::Kept,
            ..balanced_by_chains
        });
        tried(&mut c);
        second_try(&mut c, "closed");
        let http = self.http.map(|port| (6, 80_u16, port));
        let names = [(17, 53_u16, self.dns.0), (6, 53, self.dns.1)];
        for (protocol, asked, port) in names.into_iter().chain(http) {
            c.rule("redirect", |r| {
                r.destination(REG);
                r.equals(REG, &RESOLVER.octets());
                r.protocol_is(protocol);
                r.port(REG);
                r.equals(REG, &asked.to_be_bytes());
                r.load(REG, &RESOLVER.octets());
                r.dnat(Some(port));
            });
        }
        for chain in ["redirect", "again"] {
            c.rule(chain, |r| {
                r.destination(REG);
                r.look_up_verdict(BALANCED);
            });
            c.rule(chain, |r| {
                r.destination(REG);
                r.look_up_address(DIRECT);
                r.dnat(None);
            });
        }
        c.rule("closed", |r| {
            r.destination(REG);
            r.equals(REG, &NOBODY.octets());
            r.was_redirected();
            r.reject(false);
        });
        for (subnet, prefix) in &self.subnets {
            refuse(&mut c, *subnet, *prefix);
        }
        let mut keys = Keys::default();
        for (address, slots) in balanced {
            add(&mut c, &mut keys, *address, &Way::of(slots));
        }
        keys.put(&mut c);
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
        let mut keys = Keys::default();
        for (address, slots) in old {
            if !new.contains_key(address) {
                remove(&mut c, &mut keys, *address, &Way::of(slots));
            }
        }
        for (address, slots) in new {
            let before = old.get(address);
            if before == Some(slots) {
                continue;
            }
            let before = before.map_or(Way::Nobody, |slots| Way::of(slots));
            change(&mut c, &mut keys, *address, (&before, &Way::of(slots)));
        }
        keys.put(&mut c);
        (!c.is_empty()).then(|| c.finish())
    }
}

/// How the table leads to targets. A key is made and removed in a fraction of the time of a chain,
/// which the kernel also walks through with every later change.
#[derive(Debug, PartialEq, Eq)]
enum Way<'a> {
    /// No entry: what goes to a stable address that is not known goes to nobody.
    Nobody,
    /// A key that leads to the only target.
    Direct(Ipv4Addr),
    /// A chain that takes them in turn.
    InTurn(&'a [Ipv4Addr]),
}

impl<'a> Way<'a> {
    fn of(slots: &'a [Ipv4Addr]) -> Self {
        match slots.split_first() {
            None => Self::Nobody,
            Some((first, rest)) if rest.iter().all(|slot| slot == first) => Self::Direct(*first),
            Some(_) => Self::InTurn(slots),
        }
    }
}

/// Keys of the map of only targets: all that a change removes and adds is one message each.
#[derive(Debug, Default)]
struct Keys {
    gone: Vec<Ipv4Addr>,
    new: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Keys {
    fn put(&self, c: &mut Change) {
        c.del_addresses(DIRECT, &self.gone);
        c.add_addresses(DIRECT, &self.new);
    }
}

fn add(c: &mut Change, keys: &mut Keys, address: Ipv4Addr, way: &Way<'_>) {
    match way {
        Way::Nobody => {}
        Way::Direct(target) => keys.new.push((address, *target)),
        Way::InTurn(slots) => {
            let chain = chain_of(address);
            c.chain(&chain);
            c.balance(&chain, slots, None);
            c.add_key(BALANCED, &address.octets(), Value::Goto(&chain), false);
        }
    }
}

fn remove(c: &mut Change, keys: &mut Keys, address: Ipv4Addr, way: &Way<'_>) {
    match way {
        Way::Nobody => {}
        Way::Direct(_) => keys.gone.push(address),
        Way::InTurn(_) => {
            let chain = chain_of(address);
            c.del_key(BALANCED, &address.octets(), Value::Goto(&chain));
            c.flush_chain(&chain);
            c.del_chain(&chain);
        }
    }
}

fn change(c: &mut Change, keys: &mut Keys, address: Ipv4Addr, (before, now): (&Way<'_>, &Way<'_>)) {
    match (before, now) {
        (before, now) if before == now => {}
        (Way::InTurn(_), Way::InTurn(slots)) => {
            let chain = chain_of(address);
            c.flush_chain(&chain);
            c.balance(&chain, slots, None);
        }
        _ => {
            remove(c, keys, address, before);
            add(c, keys, address, now);
        }
    }
}

/// The set that [`second_try`] needs.
pub(super) fn tried(c: &mut Change) {
    c.set(&Set {
        name: TRIED,
        key: types::ADDRESS_PORT,
        key_len: 8,
        ranges: false,
        leads: Leads::Nowhere,
        learned: Learned::For(TRY),
    });
}

/// Keeps the first refusal of a redirected connection from whoever asked for it: between the death
/// of a target and the moment when every map leads around it, its address refuses. The kernel asks
/// again a second later, is redirected anew, because it forgets a connection that was refused, and
/// a refusal then is told.
pub(super) fn second_try(c: &mut Change, chain: &str) {
    c.rule(chain, |r| {
        r.is_refusal();
        r.was_redirected();
        r.destination(REG);
        r.port(REG_PART1);
        r.is_not_in(TRIED);
        r.remember(TRIED);
        r.verdict(DROP);
    });
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
    c.rule("again", |r| {
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
        const BEGIN: u16 = 0x10;
        const END: u16 = 0x11;
        // Numbers of messages: a chain made and removed, a rule made and removed, a set made, a key
        // made and removed.
        let [chain, no_chain, rule, no_rule, set, key, no_key]: [u16; 7] = [3, 5, 6, 8, 9, 12, 14];
        let ip = |last| Ipv4Addr::new(10, 201, 0, last);
        let one: Balanced = [(ip(130), vec![ip(2)]), (ip(131), vec![ip(3)])].into();
        let with = |last, slots: &[Ipv4Addr]| {
            let mut new = one.clone();
            new.insert(ip(last), slots.to_vec());
            new
        };
        let client = Client::default();
        let update = |old: &Balanced, new: &Balanced| client.update(old, new);
        assert_eq!(update(&one, &one.clone()), None);
        let between = |old: &Balanced, new: &Balanced, expected: &[u16]| {
            let all = kinds(&update(old, new).expect("a change"));
            assert_eq!(all.first().zip(all.last()), Some((&BEGIN, &END)));
            assert_eq!(all[1..all.len() - 1], *expected);
        };
        let none = with(131, &[]);
        let two = with(131, &[ip(3), ip(4)]);
        between(&one, &none, &[no_key]);
        between(&none, &one, &[key]);
        between(&one, &with(131, &[ip(4)]), &[no_key, key]);
        between(&one, &with(132, &[ip(2)]), &[key]);
        // A chain, a map with its elements, a rule, and the key that leads there.
        let in_turn = [chain, set, key, rule, key];
        between(&none, &two, &in_turn);
        between(&one, &two, &[&in_turn[..], &[no_key]].concat());
        between(&two, &one, &[no_key, no_rule, no_chain, key]);
        between(&two, &none, &[no_key, no_rule, no_chain]);
        let three = with(131, &[ip(3), ip(4), ip(5)]);
        between(&two, &three, &[no_rule, set, key, rule]);
        // However many keys there are, they are one message.
        between(&Balanced::new(), &one, &[key]);
        between(&one, &Balanced::new(), &[no_key]);
        assert_eq!(update(&none, &[(ip(130), vec![ip(2)])].into()), None);
    }
}
