//! Netlink messages: a writer, a reader, and the few route messages that links need.
//!
//! Pure bytes in, bytes out; sockets are elsewhere. Every read is bounded by what is there.

use std::net::Ipv4Addr;

/// The message asks for something.
pub const REQUEST: u16 = 0x1;
/// The kernel answers with success too, not only with failure.
pub const ACK: u16 = 0x4;
/// Every object is wanted.
pub const DUMP: u16 = 0x300;
/// Replace what is there.
pub const REPLACE: u16 = 0x100;
/// Fail if it is there.
pub const EXCL: u16 = 0x200;
/// Make it if it is not there.
pub const CREATE: u16 = 0x400;
/// Put it behind its fellows.
pub const APPEND: u16 = 0x800;

/// Marks an attribute that holds attributes.
pub const NESTED: u16 = 0x8000;

/// A reply that carries an error number, 0 for success.
pub const MSG_ERROR: u16 = 2;
/// The error number where an address family is not there.
pub const NO_SUCH_FAMILY: i32 = 97;
/// The last reply of a dump.
pub const MSG_DONE: u16 = 3;

/// Make or change a link.
pub const RTM_NEWLINK: u16 = 16;
/// Remove a link.
pub const RTM_DELLINK: u16 = 17;
/// List links.
pub const RTM_GETLINK: u16 = 18;
/// Change a link.
pub const RTM_SETLINK: u16 = 19;
/// Add an address.
pub const RTM_NEWADDR: u16 = 20;
/// List addresses.
pub const RTM_GETADDR: u16 = 22;
/// Add a route.
pub const RTM_NEWROUTE: u16 = 24;
/// List routes.
pub const RTM_GETROUTE: u16 = 26;

/// A link's hardware address.
pub const IFLA_ADDRESS: u16 = 1;
/// A link's name.
pub const IFLA_IFNAME: u16 = 3;
/// A link's largest packet.
pub const IFLA_MTU: u16 = 4;
/// The bridge a link is a port of.
pub const IFLA_MASTER: u16 = 10;
/// What depends on the link's kind.
pub const IFLA_LINKINFO: u16 = 18;
/// The kind, inside [`IFLA_LINKINFO`].
pub const IFLA_INFO_KIND: u16 = 1;

const IFLA_PROTINFO: u16 = 12;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_INET_CONF: u16 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const AF_BRIDGE: u8 = 7;
const IFF_UP: u32 = 1;
const DEVCONF_ROUTE_LOCALNET: u16 = 26;

/// Several messages to be sent at once.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    start: usize,
    count: u32,
}

impl Batch {
    /// Starts with no message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a message; its sequence number, which counts from 1, is returned.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8]) -> u32 {
        self.close();
        self.count += 1;
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.pad();
        self.count
    }

    /// Adds an attribute to the current message.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len() + 4).expect("attributes stay under 64 KiB");
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a number in the machine's own order.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds text with the closing zero that the kernel expects.
    pub fn attr_str(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Adds an attribute made of what `fill` adds; `header` comes before the first of them.
    pub fn nest(&mut self, kind: u16, header: &[u8], fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.attr(kind, header);
        fill(self);
        let len = u16::try_from(self.bytes.len() - at).expect("attributes stay under 64 KiB");
        self.bytes[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// Adds flags to the current message.
    pub fn flag(&mut self, flags: u16) {
        if let Some(at) = self.bytes.get_mut(self.start + 6..self.start + 8) {
            let old = u16::from_ne_bytes([at[0], at[1]]);
            at.copy_from_slice(&(old | flags).to_ne_bytes());
        }
    }

    /// The bytes to send.
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn close(&mut self) {
        if self.bytes.len() > self.start {
            let len = u32::try_from(self.bytes.len() - self.start).expect("batches stay small");
            self.bytes[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
        }
    }
}

/// One message received.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What it is.
    pub kind: u16,
    /// Number of the request it answers.
    pub seq: u32,
    /// What follows the netlink header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind a family header of `header` bytes.
    pub fn attrs(&self, header: usize) -> Attrs<'a> {
        Attrs {
            rest: self.payload.get(header..).unwrap_or_default(),
        }
    }

    /// The error number of an error or end message; `None` for any other.
    pub fn errno(&self) -> Option<i32> {
        if self.kind != MSG_ERROR && self.kind != MSG_DONE {
            return None;
        }
        let bytes = self.payload.get(..4)?.try_into().ok()?;
        Some(i32::from_ne_bytes(bytes).wrapping_neg())
    }
}

/// The messages in one received datagram.
#[derive(Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Reads `bytes`; anything malformed ends the list.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let head = self.rest.get(..16)?;
        let len = u32::from_ne_bytes(head[..4].try_into().ok()?) as usize;
        let payload = self.rest.get(16..len)?;
        let message = Message {
            kind: u16::from_ne_bytes(head[4..6].try_into().ok()?),
            seq: u32::from_ne_bytes(head[8..12].try_into().ok()?),
            payload,
        };
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The attributes of a message.
#[derive(Debug, Clone)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Reads `bytes`; anything malformed ends the list.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first attribute of this kind.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        let mut all = self.clone();
        Iterator::find(&mut all, |(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The first attribute of this kind, as attributes.
    pub fn nested(&self, kind: u16) -> Option<Self> {
        self.find(kind).map(Self::new)
    }

    /// The first attribute of this kind, as a number in the machine's order.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        self.find(kind)?.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The first attribute of this kind, as text up to a closing zero.
    pub fn str(&self, kind: u16) -> Option<&'a str> {
        let bytes = self.find(kind)?;
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        core::str::from_utf8(&bytes[..end]).ok()
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.rest.get(..4)?;
        let len = usize::from(u16::from_ne_bytes(head[..2].try_into().ok()?));
        let kind = u16::from_ne_bytes(head[2..4].try_into().ok()?) & 0x3fff;
        let value = self.rest.get(4..len)?;
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The hardware address that belongs to an IPv4 address: locally administered, never random.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// A pair of interfaces: one end a port of a bridge here, the other inside a process's namespace.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// Name of the end that stays here.
    pub host_if: &'a str,
    /// Number of the bridge.
    pub bridge: u32,
    /// Process whose network namespace gets the other end.
    pub pid: u32,
    /// Which interface of the replica it is: 0 is `eth0`.
    pub n: usize,
    /// The replica's address, for the hardware address.
    pub address: Ipv4Addr,
    /// Largest packet.
    pub mtu: u32,
}

fn ifinfo(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Makes a pair in one message: port of the bridge, up, other end in the replica.
pub fn add_pair(batch: &mut Batch, pair: &Pair<'_>) -> u32 {
    let seq = batch.message(
        RTM_NEWLINK,
        ACK | CREATE | EXCL,
        &ifinfo(0, 0, IFF_UP, IFF_UP),
    );
    batch.attr_str(IFLA_IFNAME, pair.host_if);
    batch.attr_u32(IFLA_MTU, pair.mtu);
    batch.attr_u32(IFLA_MASTER, pair.bridge);
    batch.nest(IFLA_LINKINFO, &[], |b| {
        b.attr(IFLA_INFO_KIND, b"veth");
        b.nest(IFLA_INFO_DATA, &[], |b| {
            // The other end cannot be up yet: the kernel opens it before the pair is complete.
            // Nor can its number be chosen without choosing one for this end too.
            let peer = ifinfo(0, 0, 0, 0);
            b.nest(VETH_INFO_PEER, &peer, |b| {
                b.attr_str(IFLA_IFNAME, &format!("eth{}", pair.n));
                b.attr_u32(IFLA_MTU, pair.mtu);
                b.attr(IFLA_ADDRESS, &mac_of(pair.address));
                b.attr_u32(IFLA_NET_NS_PID, pair.pid);
            });
        });
    });
    seq
}

/// Keeps the kernel from making IPv6 addresses of its own for a link here.
///
/// Refused with [`NO_SUCH_FAMILY`] where there is no IPv6. The same by `/proc/sys` would not wait
/// for the lock on all links but try again and again until it is free.
pub fn no_ipv6_address(batch: &mut Batch, name: &str) -> u32 {
    let seq = batch.message(RTM_SETLINK, ACK, &ifinfo(0, 0, 0, 0));
    batch.attr_str(IFLA_IFNAME, name);
    batch.nest(IFLA_AF_SPEC, &[], |b| {
        b.nest(u16::from(AF_INET6), &[], |b| {
            b.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
        });
    });
    seq
}

/// Lets a bridge send a frame back out of the port it came from.
///
/// A replica that calls its own published port needs it where the kernel filters bridged frames.
pub fn set_hairpin(batch: &mut Batch, index: u32) -> u32 {
    let seq = batch.message(RTM_SETLINK, ACK, &ifinfo(AF_BRIDGE, index, 0, 0));
    batch.nest(IFLA_PROTINFO | NESTED, &[], |b| {
        b.attr(IFLA_BRPORT_MODE, &[1]);
    });
    seq
}

/// Makes a link a port of a bridge.
pub fn set_master(batch: &mut Batch, index: u32, bridge: u32) -> u32 {
    let seq = batch.message(RTM_SETLINK, ACK, &ifinfo(0, index, 0, 0));
    batch.attr_u32(IFLA_MASTER, bridge);
    seq
}

/// Makes a bridge that is up, with a hardware address of its own that ports do not change.
pub fn add_bridge(batch: &mut Batch, name: &str, mac: [u8; 6], mtu: u32) -> u32 {
    let seq = batch.message(
        RTM_NEWLINK,
        ACK | CREATE | EXCL,
        &ifinfo(0, 0, IFF_UP, IFF_UP),
    );
    batch.attr_str(IFLA_IFNAME, name);
    batch.attr(IFLA_ADDRESS, &mac);
    batch.attr_u32(IFLA_MTU, mtu);
    batch.nest(IFLA_LINKINFO, &[], |b| {
        b.attr(IFLA_INFO_KIND, b"bridge");
        b.nest(IFLA_INFO_DATA, &[], |b| {
            b.attr(IFLA_BR_MCAST_SNOOPING, &[0]);
        });
    });
    seq
}

/// Lets packets with a loopback source leave by this link, for ports published on 127.0.0.1.
pub fn route_localnet(batch: &mut Batch, index: u32) -> u32 {
    let seq = batch.message(RTM_SETLINK, ACK, &ifinfo(0, index, 0, 0));
    batch.nest(IFLA_AF_SPEC, &[], |b| {
        b.nest(u16::from(AF_INET), &[], |b| {
            b.nest(IFLA_INET_CONF, &[], |b| {
                b.attr_u32(DEVCONF_ROUTE_LOCALNET, 1);
            });
        });
    });
    seq
}

/// Brings a link up.
pub fn set_up(batch: &mut Batch, index: u32) -> u32 {
    batch.message(RTM_NEWLINK, ACK, &ifinfo(0, index, IFF_UP, IFF_UP))
}

/// Asks for one link; recent kernels first finish whatever they still have to do for it.
pub fn get_link(batch: &mut Batch, index: u32) -> u32 {
    batch.message(RTM_GETLINK, 0, &ifinfo(0, index, 0, 0))
}

/// True when an answer to [`get_link`], or an event, says that the link carries packets.
pub fn carries(message: &Message<'_>, index: u32) -> bool {
    const IFLA_OPERSTATE: u16 = 16;
    const UNKNOWN: u8 = 0;
    const UP: u8 = 6;
    let state = message
        .attrs(16)
        .find(IFLA_OPERSTATE)
        .and_then(|value| value.first().copied());
    message.kind == RTM_NEWLINK
        && message.payload.get(4..8) == Some(&index.to_ne_bytes()[..])
        && matches!(state, Some(UNKNOWN | UP))
}

/// Removes a link by name.
pub fn del_link(batch: &mut Batch, name: &str) -> u32 {
    let seq = batch.message(RTM_DELLINK, ACK, &ifinfo(0, 0, 0, 0));
    batch.attr_str(IFLA_IFNAME, name);
    seq
}

/// Removes this very link, whatever has its name by then.
pub fn del_link_at(batch: &mut Batch, index: u32) -> u32 {
    batch.message(RTM_DELLINK, ACK, &ifinfo(0, index, 0, 0))
}

/// Gives a link an address; doing it twice is fine.
pub fn add_address(batch: &mut Batch, index: u32, address: Ipv4Addr, prefix: u8) -> u32 {
    let mut header = [0; 8];
    header[0] = AF_INET;
    header[1] = prefix;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let seq = batch.message(RTM_NEWADDR, ACK | CREATE | REPLACE, &header);
    batch.attr(IFA_LOCAL, &address.octets());
    batch.attr(IFA_ADDRESS, &address.octets());
    if prefix < 31 {
        let broadcast = address.to_bits() | (u32::MAX >> prefix);
        batch.attr(IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    seq
}

/// Adds the way out.
pub fn add_default_route(batch: &mut Batch, gateway: Ipv4Addr) -> u32 {
    const TABLE_MAIN: u8 = 254;
    const PROTO_STATIC: u8 = 4;
    const TYPE_UNICAST: u8 = 1;
    let header = [
        AF_INET,
        0,
        0,
        0,
        TABLE_MAIN,
        PROTO_STATIC,
        0,
        TYPE_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let seq = batch.message(RTM_NEWROUTE, ACK | CREATE, &header);
    batch.attr(RTA_GATEWAY, &gateway.octets());
    seq
}

/// Asks for every link, address or route.
pub fn dump(batch: &mut Batch, kind: u16) -> u32 {
    match kind {
        RTM_GETLINK => batch.message(kind, DUMP, &ifinfo(0, 0, 0, 0)),
        RTM_GETADDR => batch.message(kind, DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]),
        _ => batch.message(kind, DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_message_is_byte_exact() {
        let mut batch = Batch::new();
        add_address(&mut batch, 100, Ipv4Addr::new(10, 201, 0, 2), 24);
        let expected: Vec<u8> = [
            &[48, 0, 0, 0, 20, 0, 0x05, 0x05, 1, 0, 0, 0, 0, 0, 0, 0][..],
            &[2, 24, 0, 0, 100, 0, 0, 0],
            &[8, 0, 2, 0, 10, 201, 0, 2],
            &[8, 0, 1, 0, 10, 201, 0, 2],
            &[8, 0, 4, 0, 10, 201, 0, 255],
        ]
        .concat();
        assert_eq!(batch.finish(), expected);
    }

    #[test]
    fn pair_message_reads_back() {
        let mut batch = Batch::new();
        let address = Ipv4Addr::new(10, 201, 0, 7);
        let pair = Pair {
            host_if: "uv-0ac90007",
            bridge: 9,
            pid: 77,
            n: 1,
            address,
            mtu: 1400,
        };
        add_pair(&mut batch, &pair);
        set_up(&mut batch, 100);
        let bytes = batch.finish();
        let messages: Vec<_> = Messages::new(&bytes).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(
            (messages[0].kind, messages[0].seq, messages[1].seq),
            (RTM_NEWLINK, 1, 2)
        );
        let attrs = messages[0].attrs(16);
        assert_eq!(attrs.str(IFLA_IFNAME), Some("uv-0ac90007"));
        assert_eq!(attrs.u32(IFLA_MASTER), Some(9));
        let info = attrs.nested(IFLA_LINKINFO).unwrap();
        assert_eq!(info.find(IFLA_INFO_KIND), Some(&b"veth"[..]));
        let peer = info
            .nested(IFLA_INFO_DATA)
            .unwrap()
            .find(VETH_INFO_PEER)
            .unwrap();
        let peer = Attrs::new(&peer[16..]);
        assert_eq!(peer.str(IFLA_IFNAME), Some("eth1"));
        assert_eq!(peer.find(IFLA_ADDRESS), Some(&[2, 0x42, 10, 201, 0, 7][..]));
        assert_eq!(peer.u32(IFLA_NET_NS_PID), Some(77));
    }

    #[test]
    fn reading_never_leaves_the_buffer() {
        let mut batch = Batch::new();
        add_bridge(&mut batch, "um-x", [2, 0, 0, 0, 0, 1], 1500);
        let bytes = batch.finish();
        for len in 0..bytes.len() {
            for message in Messages::new(&bytes[..len]) {
                message.attrs(16).for_each(drop);
            }
        }
        // Lengths that lie, in the message and in the attribute.
        for byte in 0..=255 {
            let mut lie = bytes.clone();
            lie[0] = byte;
            lie[32] = byte;
            for message in Messages::new(&lie).take(1000) {
                message.attrs(16).take(1000).for_each(drop);
            }
        }
    }

    #[test]
    fn errors_are_positive_numbers() {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&MSG_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&3_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(-17_i32).to_ne_bytes());
        let message = Messages::new(&bytes).next().unwrap();
        assert_eq!((message.seq, message.errno()), (3, Some(17)));
    }
}
