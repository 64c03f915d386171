//! nf_tables messages: one atomic batch of tables, chains, sets and rules of the `ip` family.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::netlink::{ACK, APPEND, Attrs, Batch, CREATE, DUMP, EXCL, Message};
use super::nft_rule::{GOTO, REG, Rule, data, verdict};

const SUBSYSTEM: u16 = 10;
const FAMILY_IPV4: u8 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const BATCH_GENID: u16 = 1;

/// Kinds of message, without the subsystem.
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const GETGEN: u16 = 16;

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Packets that came in, before routing.
    Prerouting = 0,
    /// Packets for this namespace.
    Input = 1,
    /// Packets routed through.
    Forward = 2,
    /// Packets made here.
    Output = 3,
    /// Packets about to leave.
    Postrouting = 4,
}

/// What the keys or values of a set are; numbers that `nft list` understands.
pub mod types {
    /// An IPv4 address.
    pub const ADDRESS: u32 = 7;
    /// An IPv4 address and a port.
    pub const ADDRESS_PORT: u32 = 7 << 6 | 13;
    /// Two IPv4 addresses.
    pub const ADDRESS_PAIR: u32 = 7 << 6 | 7;
    /// A number in the machine's order.
    pub const INTEGER: u32 = 4;
    /// A protocol and a port.
    pub const PROTO_PORT: u32 = 12 << 6 | 13;
    /// An address, a protocol and a port.
    pub const ADDRESS_PROTO_PORT: u32 = 7 << 12 | 12 << 6 | 13;
    /// An interface's name.
    pub const IFNAME: u32 = 41;
    /// Two names of interfaces.
    pub const IFNAME_PAIR: u32 = 41 << 6 | 41;
    /// What happens to the packet.
    pub const VERDICT: u32 = 0xffff_ff00;
}

const SET_ANONYMOUS: u32 = 1;
const SET_CONSTANT: u32 = 2;
const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_TIMED: u32 = 16;
const SET_LEARNED: u32 = 32;
/// The most keys of one message: its list has room for 64 KiB.
const KEYS_MAX: usize = 1000;
/// The most keys that rules may add to a set.
const LEARNED_MAX: u32 = 4096;
const ELEM_INTERVAL_END: u32 = 1;
/// Tells `nft list` that the keys are in the machine's order.
const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];

/// What the keys of a set lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// Nothing: the set only knows which keys it holds.
    Nowhere,
    /// What happens to the packet.
    Verdicts,
    /// An IPv4 address.
    Addresses,
}

/// Whether rules add keys to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// They do not.
    No,
    /// They do, and keys stay until they are removed.
    Kept,
    /// They do, and each key is forgotten after this time.
    For(Duration),
}

/// A set or map to make.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its keys are.
    pub key: u32,
    /// Length of a key in bytes.
    pub key_len: u32,
    /// Keys are ranges.
    pub ranges: bool,
    /// What its keys lead to.
    pub leads: Leads,
    /// Rules add keys to it.
    pub learned: Learned,
}

/// What a key of a map leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: the set only knows which keys it holds.
    None,
    /// The end of a range that another key starts.
    RangeEnd,
    /// Continue in this chain.
    Goto(&'a str),
    /// This address.
    Address(Ipv4Addr),
}

/// One atomic change of the rules of a table.
#[derive(Debug)]
pub struct Change {
    batch: Batch,
    table: &'static str,
    sets: u32,
    is_empty: bool,
}

impl Change {
    /// Starts a change; with `generation` it is refused when the rules changed meanwhile.
    pub fn new(table: &'static str, generation: Option<u32>) -> Self {
        let mut batch = Batch::new();
        batch.message(BATCH_BEGIN, 0, &[0, 0, 0, 10]);
        if let Some(generation) = generation {
            batch.attr(BATCH_GENID, &generation.to_be_bytes());
        }
        Self {
            batch,
            table,
            sets: 0,
            is_empty: true,
        }
    }

    /// True as long as it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The bytes to send; the last message is acknowledged.
    pub fn finish(mut self) -> Vec<u8> {
        self.batch.flag(ACK);
        self.batch.message(BATCH_END, 0, &[0, 0, 0, 10]);
        self.batch.finish()
    }

    fn start(&mut self, kind: u16, flags: u16) -> &mut Batch {
        self.is_empty = false;
        self.batch
            .message(SUBSYSTEM << 8 | kind, flags, &[FAMILY_IPV4, 0, 0, 0]);
        self.batch.attr_str(1, self.table)
    }

    /// Makes the table if it is not there.
    pub fn table(&mut self) {
        self.start(NEWTABLE, CREATE);
    }

    /// Removes the table and everything in it; it must be there.
    pub fn del_table(&mut self) {
        self.start(DELTABLE, 0);
    }

    /// Makes a chain that packets meet at `hook`, if it is not there.
    pub fn base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        let b = self.start(NEWCHAIN, CREATE).attr_str(3, name);
        b.nest(4, &[], |b| {
            b.attr(1, &(hook as u32).to_be_bytes())
                .attr(2, &priority.to_be_bytes());
        });
        b.attr(5, &1_u32.to_be_bytes()).attr_str(7, kind);
    }

    /// Makes a chain that other rules lead to, if it is not there.
    pub fn chain(&mut self, name: &str) {
        self.start(NEWCHAIN, CREATE).attr_str(3, name);
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        self.start(DELRULE, 0).attr_str(2, name);
    }

    /// Removes an empty chain that nothing leads to.
    pub fn del_chain(&mut self, name: &str) {
        self.start(DELCHAIN, 0).attr_str(3, name);
    }

    /// Makes a set or map if it is not there.
    pub fn set(&mut self, set: &Set<'_>) {
        self.sets += 1;
        let id = self.sets;
        let mut flags = 0;
        if set.ranges {
            flags |= SET_INTERVAL;
        }
        if set.leads != Leads::Nowhere {
            flags |= SET_MAP;
        }
        match set.learned {
            Learned::No => {}
            Learned::Kept => flags |= SET_LEARNED,
            Learned::For(_) => flags |= SET_LEARNED | SET_TIMED,
        }
        let b = self.start(NEWSET, CREATE).attr_str(2, set.name);
        b.attr(3, &flags.to_be_bytes());
        b.attr(4, &set.key.to_be_bytes())
            .attr(5, &set.key_len.to_be_bytes());
        match set.leads {
            Leads::Nowhere => {}
            Leads::Verdicts => {
                b.attr(6, &types::VERDICT.to_be_bytes());
            }
            Leads::Addresses => {
                b.attr(6, &types::ADDRESS.to_be_bytes())
                    .attr(7, &4_u32.to_be_bytes());
            }
        }
        if set.learned != Learned::No {
            b.nest(9, &[], |b| {
                b.attr(1, &LEARNED_MAX.to_be_bytes());
            });
        }
        b.attr(10, &id.to_be_bytes());
        if let Learned::For(time) = set.learned {
            let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            b.attr(11, &time.to_be_bytes());
        }
        if set.key == types::IFNAME {
            b.attr(13, &HOST_ORDER);
        }
    }

    /// Adds a key; with `exclusive` it must not be there yet.
    pub fn add_key(&mut self, set: &str, key: &[u8], value: Value<'_>, exclusive: bool) {
        let flags = if exclusive { CREATE | EXCL } else { CREATE };
        self.start(NEWSETELEM, flags).attr_str(2, set);
        self.one_key(key, value);
    }

    /// Removes a key; it must be there.
    pub fn del_key(&mut self, set: &str, key: &[u8], value: Value<'_>) {
        self.start(DELSETELEM, 0).attr_str(2, set);
        self.one_key(key, value);
    }

    /// Adds many addresses to a map of addresses.
    pub fn add_addresses(&mut self, map: &str, pairs: &[(Ipv4Addr, Ipv4Addr)]) {
        for some in pairs.chunks(KEYS_MAX) {
            self.start(NEWSETELEM, CREATE).attr_str(2, map);
            self.batch.nest(3, &[], |b| {
                for (key, value) in some {
                    element(b, &key.octets(), Value::Address(*value));
                }
            });
        }
    }

    /// Removes many keys that are addresses; they must be there.
    pub fn del_addresses(&mut self, set: &str, keys: &[Ipv4Addr]) {
        for some in keys.chunks(KEYS_MAX) {
            self.start(DELSETELEM, 0).attr_str(2, set);
            self.batch.nest(3, &[], |b| {
                for key in some {
                    element(b, &key.octets(), Value::None);
                }
            });
        }
    }

    fn one_key(&mut self, key: &[u8], value: Value<'_>) {
        self.batch.nest(3, &[], |b| element(b, key, value));
    }

    /// Appends a rule to a chain.
    pub fn rule(&mut self, chain: &str, fill: impl FnOnce(&mut Rule<'_>)) {
        let b = self.start(NEWRULE, CREATE | APPEND).attr_str(2, chain);
        b.nest(4, &[], |b| fill(&mut Rule::new(b)));
    }

    /// Appends rules that send each new connection to the next of `slots`, in turn.
    ///
    /// No slot, no rule: what happens then is up to the rules behind.
    pub fn balance(&mut self, chain: &str, slots: &[Ipv4Addr], port: Option<u16>) {
        let Some(first) = slots.first() else { return };
        let count = u32::try_from(slots.len()).expect("slots are bounded");
        if slots.iter().all(|slot| slot == first) {
            return self.rule(chain, |r| {
                r.load(REG, &first.octets());
                r.dnat(port);
            });
        }
        let id = self.numbered_map(slots, count);
        self.rule(chain, |r| {
            r.next_number(count);
            r.look_up_value("__map%d", id);
            r.dnat(port);
        });
    }

    fn numbered_map(&mut self, slots: &[Ipv4Addr], count: u32) -> u32 {
        self.sets += 1;
        let id = self.sets;
        let flags = SET_ANONYMOUS | SET_CONSTANT | SET_MAP;
        let b = self.start(NEWSET, CREATE).attr_str(2, "__map%d");
        b.attr(3, &flags.to_be_bytes());
        b.attr(4, &types::INTEGER.to_be_bytes())
            .attr(5, &4_u32.to_be_bytes());
        b.attr(6, &types::ADDRESS.to_be_bytes())
            .attr(7, &4_u32.to_be_bytes());
        b.nest(9, &[], |b| {
            b.attr(1, &count.to_be_bytes());
        });
        b.attr(10, &id.to_be_bytes());
        b.attr(13, &HOST_ORDER);
        let b = self.start(NEWSETELEM, CREATE).attr_str(2, "__map%d");
        b.attr(4, &id.to_be_bytes());
        b.nest(3, &[], |b| {
            for (number, slot) in (0_u32..).zip(slots) {
                b.nest(1, &[], |b| {
                    data(b, 1, &number.to_ne_bytes());
                    data(b, 2, &slot.octets());
                });
            }
        });
        id
    }
}

/// One key among those of a message.
fn element(b: &mut Batch, key: &[u8], value: Value<'_>) {
    b.nest(1, &[], |b| {
        data(b, 1, key);
        match value {
            Value::None => {}
            Value::RangeEnd => {
                b.attr(3, &ELEM_INTERVAL_END.to_be_bytes());
            }
            Value::Goto(chain) => {
                b.nest(2, &[], |b| verdict(b, GOTO, Some(chain)));
            }
            Value::Address(address) => data(b, 2, &address.octets()),
        }
    });
}

/// An interface's name as the kernel compares it.
pub fn ifname(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    let len = name.len().min(15);
    key[..len].copy_from_slice(&name.as_bytes()[..len]);
    key
}

/// Asks for the number of the current generation of rules.
pub fn ask_generation() -> Vec<u8> {
    let mut batch = Batch::new();
    batch.message(SUBSYSTEM << 8 | GETGEN, 0, &[0, 0, 0, 0]);
    batch.finish()
}

/// The generation in an answer to [`ask_generation`].
pub fn generation(message: &Message<'_>) -> Option<u32> {
    message
        .attrs(4)
        .find(1)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

/// Asks for a chain; the answer is the chain, or that there is none.
pub fn ask_chain(table: &str, chain: &str) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.message(SUBSYSTEM << 8 | GETCHAIN, 0, &[FAMILY_IPV4, 0, 0, 0]);
    batch.attr_str(1, table).attr_str(3, chain);
    batch.finish()
}

/// Asks for every key of a set.
pub fn ask_keys(table: &str, set: &str) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.message(SUBSYSTEM << 8 | GETSETELEM, DUMP, &[FAMILY_IPV4, 0, 0, 0]);
    batch.attr_str(1, table).attr_str(2, set);
    batch.finish()
}

/// The keys in an answer to [`ask_keys`], each with the chain it leads to, if any.
pub fn keys(message: &Message<'_>) -> Vec<(Vec<u8>, Option<String>)> {
    let Some(list) = message.attrs(4).nested(3) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (_, element) in list {
        let element = Attrs::new(element);
        let Some(key) = element.nested(1).and_then(|data| data.find(1)) else {
            continue;
        };
        let chain = element
            .nested(2)
            .and_then(|data| data.nested(2))
            .and_then(|verdict| verdict.str(2))
            .map(str::to_owned);
        found.push((key.to_vec(), chain));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::netlink::Messages;
    use super::*;

    #[test]
    fn a_table_is_byte_exact() {
        let mut change = Change::new("unmoor", Some(0x0102));
        change.table();
        let expected: Vec<u8> = [
            &[28, 0, 0, 0, 0x10, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 10],
            &[8, 0, 1, 0, 0, 0, 1, 2],
            &[32, 0, 0, 0, 0, 10, 0x05, 0x04, 2, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0],
            &[11, 0, 1, 0, b'u', b'n', b'm', b'o', b'o', b'r', 0, 0],
            &[20, 0, 0, 0, 0x11, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 10],
        ]
        .concat();
        assert_eq!(change.finish(), expected);
    }

    #[test]
    fn one_target_needs_no_map_and_none_no_rule() {
        let one = Ipv4Addr::new(10, 0, 0, 1);
        let count = |slots: &[Ipv4Addr]| {
            let mut change = Change::new("unmoor", None);
            change.balance("c", slots, None);
            Messages::new(&change.finish()).count() - 2
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[one, one]), 1);
        assert_eq!(count(&[one, Ipv4Addr::new(10, 0, 0, 2)]), 3);
    }

    #[test]
    fn keys_read_back() {
        let mut change = Change::new("unmoor", None);
        change.add_key(
            "ports",
            &[6, 0, 0, 0, 0, 80, 0, 0],
            Value::Goto("p-tcp-80"),
            true,
        );
        let bytes = change.finish();
        let message = Messages::new(&bytes).nth(1).unwrap();
        let expected = vec![(vec![6, 0, 0, 0, 0, 80, 0, 0], Some("p-tcp-80".to_owned()))];
        assert_eq!(keys(&message), expected);
    }
}
