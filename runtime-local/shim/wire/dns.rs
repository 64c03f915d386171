//! Answers DNS questions from a replica's names: one question in, one answer out, no allocation.
//!
//! Nothing here talks to a network. What we do not know is for the caller to forward.

use std::net::Ipv4Addr;

use super::names::{Targets, Zone};
use super::netplan::Proto;
use super::zone::NamedPort;

/// How long an answer may be kept, in seconds.
const TTL: u32 = 1;
/// Largest UDP answer we send or ask for: fits every path without fragments.
pub const MAX_UDP: usize = 1232;
/// Length of the fixed header.
pub const HEADER: usize = 12;

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const OPT: u16 = 41;
const ANY: u16 = 255;
const CLASS_IN: u16 = 1;

const NOERROR: u8 = 0;
const FORMERR: u8 = 1;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;
const BADVERS_LOW: u8 = 0;
const BADVERS_HIGH: u8 = 1;

/// How the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, with a limit on the answer's length.
    Udp,
    /// A stream.
    Tcp,
}

/// What to do with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Send this many bytes of the output.
    Answer(usize),
    /// Ask another server.
    Forward,
    /// Say nothing: it was no question.
    Drop,
}

/// A question taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The name's labels with their lengths, as asked, without compression.
    wire: [u8; 256],
    wire_len: usize,
    /// The name in lower case, with dots between the labels.
    dotted: [u8; 256],
    dotted_len: usize,
    kind: u16,
    class: u16,
    /// Where the question ends in the message.
    end: usize,
}

impl Question {
    /// The name in lower case, with dots between the labels and none at the end.
    pub fn name(&self) -> &[u8] {
        &self.dotted[..self.dotted_len]
    }

    /// True when the other is the same question; case does not matter.
    pub fn same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.class == other.class && self.name() == other.name()
    }
}

/// The one question of a message; `None` if there is not exactly one that can be read.
pub fn question(message: &[u8]) -> Option<Question> {
    if be16(message, 4)? != 1 {
        return None;
    }
    let mut q = Question {
        wire: [0; 256],
        wire_len: 0,
        dotted: [0; 256],
        dotted_len: 0,
        kind: 0,
        class: 0,
        end: 0,
    };
    let end = read_name(message, HEADER, &mut q)?;
    q.kind = be16(message, end)?;
    q.class = be16(message, end + 2)?;
    q.end = end + 4;
    Some(q)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a name into the question; returns where the name ends in the message.
///
/// The question is the first name of a message, so a pointer in it could only lead nowhere.
fn read_name(message: &[u8], start: usize, q: &mut Question) -> Option<usize> {
    let mut at = start;
    loop {
        let len = *message.get(at)?;
        if len > 63 {
            return None;
        }
        if len == 0 {
            *q.wire.get_mut(q.wire_len)? = 0;
            q.wire_len += 1;
            return Some(at + 1);
        }
        let label = message.get(at..at + 1 + usize::from(len))?;
        push_label(q, label)?;
        at += label.len();
    }
}

fn push_label(q: &mut Question, label: &[u8]) -> Option<()> {
    // 255 bytes are all a name may have, its final zero included.
    let wire = q.wire.get_mut(q.wire_len..q.wire_len + label.len())?;
    wire.copy_from_slice(label);
    q.wire_len += label.len();
    if q.wire_len > 254 {
        return None;
    }
    if q.dotted_len > 0 {
        *q.dotted.get_mut(q.dotted_len)? = b'.';
        q.dotted_len += 1;
    }
    for byte in &label[1..] {
        *q.dotted.get_mut(q.dotted_len)? = byte.to_ascii_lowercase();
        q.dotted_len += 1;
    }
    Some(())
}

/// What the asker says about itself in an OPT record.
#[derive(Debug, Clone, Copy)]
struct Edns {
    size: usize,
    version: u8,
}

/// Finds the OPT record; `Err` when the records cannot be read.
fn edns(message: &[u8], mut at: usize) -> Result<Option<Edns>, ()> {
    let mut left = 0_u32;
    for counter in [6, 8, 10] {
        left += u32::from(be16(message, counter).ok_or(())?);
    }
    let mut found = None;
    for _ in 0..left {
        at = skip_name(message, at).ok_or(())?;
        let fixed = message.get(at..at + 10).ok_or(())?;
        if u16::from_be_bytes([fixed[0], fixed[1]]) == OPT {
            if found.is_some() {
                return Err(());
            }
            let size = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
            found = Some(Edns {
                size,
                version: fixed[5],
            });
        }
        at += 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        if at > message.len() {
            return Err(());
        }
    }
    Ok(found)
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = *message.get(at)?;
        match len >> 6 {
            0 if len == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(len),
            3 => return Some(at + 2),
            _ => return None,
        }
    }
}

/// Answers a question from the zone.
pub fn answer(query: &[u8], zone: &Zone, transport: Transport, out: &mut [u8]) -> Outcome {
    if query.len() < HEADER || query[2] & 0x80 != 0 {
        return Outcome::Drop;
    }
    let opcode = query[2] >> 3 & 0x0f;
    if opcode != 0 {
        return header_only(query, NOTIMP, out);
    }
    let Some(q) = question(query) else {
        return header_only(query, FORMERR, out);
    };
    let Ok(edns) = edns(query, q.end) else {
        return header_only(query, FORMERR, out);
    };
    let limit = match (transport, edns) {
        (Transport::Tcp, _) => out.len(),
        (Transport::Udp, None) => out.len().min(512),
        (Transport::Udp, Some(edns)) => out.len().min(edns.size.clamp(512, MAX_UDP)),
    };
    let Some(mut reply) = Reply::start(query, &q, edns, &mut out[..limit]) else {
        return Outcome::Drop;
    };
    if edns.is_some_and(|edns| edns.version != 0) {
        reply.extended = BADVERS_HIGH;
        return reply.finish(BADVERS_LOW);
    }
    match decide(&q, zone, &mut reply) {
        Some(code) => reply.finish(code),
        None if zone.forward => Outcome::Forward,
        None => reply.finish(NXDOMAIN),
    }
}

/// Says that a question could not be answered, for example because no server replied.
pub fn fail(query: &[u8], out: &mut [u8]) -> Outcome {
    let Some(q) = question(query) else {
        return header_only(query, SERVFAIL, out);
    };
    let edns = edns(query, q.end).ok().flatten();
    match Reply::start(query, &q, edns, out) {
        Some(reply) => reply.finish(SERVFAIL),
        None => Outcome::Drop,
    }
}

/// Adds the answers and gives the code; `None` for what is not ours to say.
fn decide(q: &Question, zone: &Zone, reply: &mut Reply<'_>) -> Option<u8> {
    if q.class != CLASS_IN && q.class != ANY {
        return Some(REFUSED);
    }
    let name = q.name();
    if let Some(addresses) = zone.name(name) {
        match q.kind {
            A | ANY => reply.addresses(addresses),
            SRV => services(zone.targets(name), None, Proto::Tcp, reply),
            _ => {}
        }
        return Some(NOERROR);
    }
    if name == b"localhost" || name.ends_with(b".localhost") {
        match q.kind {
            A | ANY => reply.addresses(&[Ipv4Addr::LOCALHOST]),
            AAAA => reply.record(AAAA, &[&std::net::Ipv6Addr::LOCALHOST.octets()]),
            _ => {}
        }
        return Some(NOERROR);
    }
    if let Some(address) = reverse(name) {
        return reverse_answer(q.kind, address, zone, reply);
    }
    if let Some((port, proto, service)) = service_name(name) {
        let targets = zone.targets(service)?;
        if q.kind == SRV || q.kind == ANY {
            services(
                Some(targets),
                Some(targets.port(port, proto)?),
                proto,
                reply,
            );
        }
        return Some(NOERROR);
    }
    // A service we cannot see has no replicas that another server could know.
    let task = name.strip_prefix(b"tasks.")?;
    if task.contains(&b'.') {
        None
    } else {
        Some(NXDOMAIN)
    }
}

fn reverse_answer(kind: u16, address: Ipv4Addr, zone: &Zone, reply: &mut Reply<'_>) -> Option<u8> {
    match zone.address(address) {
        Some(name) => {
            if kind == PTR || kind == ANY {
                let mut wire = [0; 256];
                let len = encode_name(name.as_bytes(), &mut wire)?;
                reply.record(PTR, &[&wire[..len]]);
            }
            Some(NOERROR)
        }
        // Others must not learn our addresses, and cannot know their names.
        None if zone.owns(address) || address.is_loopback() => Some(NXDOMAIN),
        None => None,
    }
}

/// The address in `d.c.b.a.in-addr.arpa`.
fn reverse(name: &[u8]) -> Option<Ipv4Addr> {
    let digits = name.strip_suffix(b".in-addr.arpa")?;
    let mut octets = [0; 4];
    let mut count = 0;
    for part in digits.split(|byte| *byte == b'.') {
        *octets.get_mut(3_usize.checked_sub(count)?)? =
            core::str::from_utf8(part).ok()?.parse().ok()?;
        count += 1;
    }
    (count == 4).then(|| Ipv4Addr::from(octets))
}

/// Takes `_port._proto.service` apart.
fn service_name(name: &[u8]) -> Option<(&[u8], Proto, &[u8])> {
    let mut parts = name.splitn(3, |byte| *byte == b'.');
    let port = parts.next()?.strip_prefix(b"_")?;
    let proto = match parts.next()? {
        b"_tcp" => Proto::Tcp,
        b"_udp" => Proto::Udp,
        _ => return None,
    };
    Some((port, proto, parts.next()?))
}

/// Adds an SRV record for each replica; with no port given, for each named port too.
fn services(targets: Option<&Targets>, port: Option<u16>, proto: Proto, reply: &mut Reply<'_>) {
    let Some(targets) = targets else { return };
    let named = targets.ports.iter().enumerate().filter(|(at, named)| {
        // A port with several names is still one.
        let same = |other: &NamedPort| (other.proto, other.port) == (named.proto, named.port);
        named.proto == proto && !targets.ports[..*at].iter().any(same)
    });
    let named = named.map(|(_, named)| named.port);
    for replica in &targets.replicas {
        let mut wire = [0; 256];
        let Some(len) = encode_name(replica.name.as_bytes(), &mut wire) else {
            continue;
        };
        let weight = u16::try_from(replica.weight).unwrap_or(u16::MAX);
        let mut add = |port: u16| {
            let parts = [
                &[0, 0][..],
                &weight.to_be_bytes(),
                &port.to_be_bytes(),
                &wire[..len],
            ];
            reply.record(SRV, &parts);
        };
        match port {
            Some(port) => add(port),
            None => named.clone().for_each(add),
        }
    }
}

fn encode_name(name: &[u8], wire: &mut [u8; 256]) -> Option<usize> {
    let mut at = 0;
    for label in name.split(|byte| *byte == b'.') {
        *wire.get_mut(at)? = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..=63).contains(len))?;
        wire.get_mut(at + 1..at + 1 + label.len())?
            .copy_from_slice(label);
        at += 1 + label.len();
    }
    *wire.get_mut(at)? = 0;
    (at < 255).then_some(at + 1)
}

fn header_only(query: &[u8], code: u8, out: &mut [u8]) -> Outcome {
    let Some(head) = out.get_mut(..HEADER) else {
        return Outcome::Drop;
    };
    let Some(asked) = query.get(..HEADER) else {
        return Outcome::Drop;
    };
    head.copy_from_slice(asked);
    head[2] = 0x80 | asked[2] & 0x79;
    head[3] = 0x80 | code;
    head[4..].fill(0);
    Outcome::Answer(HEADER)
}

struct Reply<'a> {
    out: &'a mut [u8],
    len: usize,
    /// Bytes kept free for the OPT record.
    tail: usize,
    answers: u16,
    cut: bool,
    extended: u8,
    turn: usize,
}

impl<'a> Reply<'a> {
    fn start(query: &[u8], q: &Question, edns: Option<Edns>, out: &'a mut [u8]) -> Option<Self> {
        let head = out.get_mut(..HEADER)?;
        head.copy_from_slice(&query[..HEADER]);
        // An answer, by who knows best; the wish for recursion is repeated and granted.
        head[2] = 0x84 | query[2] & 0x01;
        head[3] = 0x80;
        head[4..].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        let tail = if edns.is_some() { 11 } else { 0 };
        let turn = usize::from(u16::from_be_bytes([query[0], query[1]]));
        let mut reply = Self {
            out,
            len: HEADER,
            tail,
            answers: 0,
            cut: false,
            extended: 0,
            turn,
        };
        let fits = reply.push(&q.wire[..q.wire_len])
            && reply.push(&q.kind.to_be_bytes())
            && reply.push(&q.class.to_be_bytes());
        fits.then_some(reply)
    }

    fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        if end + self.tail > self.out.len() {
            return false;
        }
        self.out[self.len..end].copy_from_slice(bytes);
        self.len = end;
        true
    }

    /// Adds a record about the asked name, whole or not at all.
    fn record(&mut self, kind: u16, parts: &[&[u8]]) {
        let start = self.len;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(len) = u16::try_from(len) else { return };
        let [k0, k1] = kind.to_be_bytes();
        let [t0, t1, t2, t3] = TTL.to_be_bytes();
        let [l0, l1] = len.to_be_bytes();
        // The name is a pointer to the question behind the header.
        let fixed = [0xc0, 0x0c, k0, k1, 0, 1, t0, t1, t2, t3, l0, l1];
        if self.push(&fixed) && parts.iter().all(|part| self.push(part)) {
            self.answers += 1;
        } else {
            self.len = start;
            self.cut = true;
        }
    }

    /// Adds the addresses, starting with another one for every question.
    fn addresses(&mut self, addresses: &[Ipv4Addr]) {
        for n in 0..addresses.len() {
            let address = addresses[(n + self.turn) % addresses.len()];
            self.record(A, &[&address.octets()]);
        }
    }

    fn finish(mut self, code: u8) -> Outcome {
        self.out[3] |= code;
        if self.cut {
            self.out[2] |= 0x02;
        }
        self.out[6..8].copy_from_slice(&self.answers.to_be_bytes());
        if self.tail > 0 {
            self.tail = 0;
            let [s0, s1] = u16::try_from(MAX_UDP).unwrap_or(512).to_be_bytes();
            let [k0, k1] = OPT.to_be_bytes();
            if self.push(&[0, k0, k1, s0, s1, self.extended, 0, 0, 0, 0, 0]) {
                self.out[11] = 1;
            }
        }
        Outcome::Answer(self.len)
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
