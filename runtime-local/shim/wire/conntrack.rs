//! Connection tracking messages: finding and forgetting datagram flows to a target that is gone.
//!
//! A stream to a dead target ends by itself; a flow of datagrams goes on into the void for as long
//! as its sender sends, because the kernel remembers where the first one went.

use std::net::Ipv4Addr;

use super::netlink::{ACK, Attrs, Batch, DUMP, Message, NESTED};

const SUBSYSTEM: u16 = 1;
const NEW: u16 = 0;
const GET: u16 = 1;
const DELETE: u16 = 2;
const GET_STATS: u16 = 5;
const FAMILY_IPV4: u8 = 2;
const UDP: u8 = 17;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;
const STATS_ENTRIES: u16 = 1;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTO_NUMBER: u16 = 1;

/// Asks how many flows of any kind the namespace has.
pub fn ask_count() -> Vec<u8> {
    let mut batch = Batch::new();
    batch.message(SUBSYSTEM << 8 | GET_STATS, 0, &[0; 4]);
    batch.finish()
}

/// Reads the answer to [`ask_count`]; anything else is none.
pub fn count(message: &Message<'_>) -> Option<u32> {
    if message.kind != SUBSYSTEM << 8 | GET_STATS {
        return None;
    }
    let bytes = message.attrs(4).find(STATS_ENTRIES)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Asks for every datagram flow, or for those that `target` answers.
///
/// The kernel looks through its whole table for each question, whatever is asked for.
pub fn ask_flows(target: Option<Ipv4Addr>) -> Vec<u8> {
    const REPLY_FLAGS: u16 = 2;
    const BY_SOURCE: u32 = 1;
    const BY_PROTOCOL: u32 = 1 << 3;
    let by_source = target.map_or(0, |_| BY_SOURCE);
    let mut batch = Batch::new();
    batch.message(SUBSYSTEM << 8 | GET, DUMP, &[FAMILY_IPV4, 0, 0, 0]);
    batch.nest(TUPLE_REPLY | NESTED, &[], |b| {
        if let Some(target) = target {
            b.nest(TUPLE_IP | NESTED, &[], |b| {
                b.attr(IP_SOURCE, &target.octets());
            });
        }
        b.nest(TUPLE_PROTO | NESTED, &[], |b| {
            b.attr(PROTO_NUMBER, &[UDP]);
        });
    });
    batch.nest(FILTER | NESTED, &[], |b| {
        b.attr_u32(REPLY_FLAGS, by_source | BY_PROTOCOL);
    });
    batch.finish()
}

/// A flow in an answer to [`ask_flows`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where the sender sends.
    pub destination: Ipv4Addr,
    /// Who answers.
    pub target: Ipv4Addr,
    key: Vec<u8>,
}

/// Reads a flow of datagrams; anything else is none.
pub fn flow(message: &Message<'_>) -> Option<Flow> {
    if message.kind != SUBSYSTEM << 8 | NEW {
        return None;
    }
    let attrs = message.attrs(4);
    let key = attrs.find(TUPLE_ORIG)?;
    let orig = Attrs::new(key);
    let reply = attrs.nested(TUPLE_REPLY)?;
    let protocol = orig.nested(TUPLE_PROTO)?.find(PROTO_NUMBER)?;
    let address = |tuple: &Attrs<'_>, which| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = tuple.nested(TUPLE_IP)?.find(which)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    (protocol == [UDP]).then_some(())?;
    Some(Flow {
        destination: address(&orig, IP_DESTINATION)?,
        target: address(&reply, IP_SOURCE)?,
        key: key.to_vec(),
    })
}

/// Forgets a flow: the sender's next datagram is sent as a first one.
pub fn forget(flow: &Flow) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.message(SUBSYSTEM << 8 | DELETE, ACK, &[FAMILY_IPV4, 0, 0, 0]);
    batch.attr(TUPLE_ORIG | NESTED, &flow.key);
    batch.finish()
}

#[cfg(test)]
mod tests {
    use super::super::netlink::Messages;
    use super::*;

    fn tuple(b: &mut Batch, kind: u16, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) {
        b.nest(kind | NESTED, &[], |b| {
            b.nest(TUPLE_IP | NESTED, &[], |b| {
                b.attr(IP_SOURCE, &source.octets())
                    .attr(IP_DESTINATION, &destination.octets());
            });
            b.nest(TUPLE_PROTO | NESTED, &[], |b| {
                b.attr(PROTO_NUMBER, &[protocol]);
            });
        });
    }

    fn message(protocol: u8) -> Vec<u8> {
        let ip = |last| Ipv4Addr::new(10, 201, 0, last);
        let mut batch = Batch::new();
        batch.message(SUBSYSTEM << 8 | NEW, 0, &[FAMILY_IPV4, 0, 0, 0]);
        tuple(&mut batch, TUPLE_ORIG, ip(10), ip(130), protocol);
        tuple(&mut batch, TUPLE_REPLY, ip(2), ip(10), protocol);
        batch.finish()
    }

    #[test]
    fn a_flow_is_read_and_named_as_it_came() {
        let bytes = message(UDP);
        let found = flow(&Messages::new(&bytes).next().unwrap()).unwrap();
        assert_eq!(found.destination, Ipv4Addr::new(10, 201, 0, 130));
        assert_eq!(found.target, Ipv4Addr::new(10, 201, 0, 2));
        let bytes = forget(&found);
        let asked = Messages::new(&bytes).next().unwrap();
        assert_eq!(asked.attrs(4).find(TUPLE_ORIG), Some(&found.key[..]));
    }

    #[test]
    fn streams_and_cut_messages_are_no_flows() {
        let bytes = message(6);
        assert_eq!(flow(&Messages::new(&bytes).next().unwrap()), None);
        let bytes = message(UDP);
        for len in 0..bytes.len() {
            assert_eq!(
                Messages::new(&bytes[..len])
                    .filter_map(|m| flow(&m))
                    .count(),
                0
            );
        }
    }
}
