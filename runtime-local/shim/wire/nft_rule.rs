//! The expressions of one nf_tables rule, in the order the kernel runs them.

use std::net::Ipv4Addr;

use super::netlink::Batch;

/// Accept the packet.
pub const ACCEPT: i32 = 1;
/// Drop the packet.
pub const DROP: i32 = 0;
/// Go back to the calling chain.
pub const RETURN: i32 = -5;
/// Continue in another chain and do not come back.
pub const GOTO: i32 = -4;

/// First 16-byte register.
pub const REG: u32 = 1;
/// Second 16-byte register.
pub const REG2: u32 = 2;
/// Second 4-byte part of the first register.
pub const REG_PART1: u32 = 9;
/// Third 4-byte part of the first register.
pub const REG_PART2: u32 = 10;

/// A connection of a state that was seen before.
pub const ESTABLISHED: u32 = 1 << 1;
/// A connection that belongs to one seen before, or an error about one.
pub const RELATED: u32 = 1 << 2;
/// The first packet of a connection.
pub const NEW: u32 = 1 << 3;

const FAMILY_IPV4: u32 = 2;

pub(super) fn data(b: &mut Batch, kind: u16, bytes: &[u8]) {
    b.nest(kind, &[], |b| {
        b.attr(1, bytes);
    });
}

pub(super) fn verdict(b: &mut Batch, code: i32, chain: Option<&str>) {
    b.nest(2, &[], |b| {
        b.attr(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            b.attr_str(2, chain);
        }
    });
}

/// The expressions of one rule.
#[derive(Debug)]
pub struct Rule<'b> {
    b: &'b mut Batch,
}

impl<'b> Rule<'b> {
    /// Starts a rule inside the message that makes it.
    pub(super) fn new(b: &'b mut Batch) -> Self {
        Self { b }
    }

    fn expr(&mut self, name: &str, fill: impl FnOnce(&mut Batch)) {
        self.b.nest(1, &[], |b| {
            b.attr_str(1, name);
            b.nest(2, &[], fill);
        });
    }

    fn numbers(&mut self, name: &str, attrs: &[(u16, u32)]) {
        self.expr(name, |b| {
            for (kind, value) in attrs {
                b.attr(*kind, &value.to_be_bytes());
            }
        });
    }

    /// Loads the source address.
    pub fn source(&mut self, reg: u32) {
        self.numbers("payload", &[(1, reg), (2, 1), (3, 12), (4, 4)]);
    }

    /// Loads the destination address.
    pub fn destination(&mut self, reg: u32) {
        self.numbers("payload", &[(1, reg), (2, 1), (3, 16), (4, 4)]);
    }

    /// Loads the destination port.
    pub fn port(&mut self, reg: u32) {
        self.numbers("payload", &[(1, reg), (2, 2), (3, 2), (4, 2)]);
    }

    /// Loads the transport protocol's number.
    pub fn protocol(&mut self, reg: u32) {
        self.numbers("meta", &[(1, reg), (2, 16)]);
    }

    /// Loads the name of the interface the packet came in by.
    pub fn input_name(&mut self, reg: u32) {
        self.numbers("meta", &[(1, reg), (2, 6)]);
    }

    /// Loads the name of the interface the packet leaves by.
    pub fn output_name(&mut self, reg: u32) {
        self.numbers("meta", &[(1, reg), (2, 7)]);
    }

    /// Continues only if the register holds these bytes.
    pub fn equals(&mut self, reg: u32, bytes: &[u8]) {
        self.compare(reg, 0, bytes);
    }

    /// Continues only if the register holds other bytes.
    pub fn differs(&mut self, reg: u32, bytes: &[u8]) {
        self.compare(reg, 1, bytes);
    }

    fn compare(&mut self, reg: u32, op: u32, bytes: &[u8]) {
        self.expr("cmp", |b| {
            b.attr(1, &reg.to_be_bytes()).attr(2, &op.to_be_bytes());
            data(b, 3, bytes);
        });
    }

    /// Keeps only the bits of `mask` in a 4-byte register.
    pub fn mask(&mut self, reg: u32, mask: [u8; 4]) {
        self.expr("bitwise", |b| {
            b.attr(1, &reg.to_be_bytes()).attr(2, &reg.to_be_bytes());
            b.attr(3, &4_u32.to_be_bytes());
            data(b, 4, &mask);
            data(b, 5, &[0; 4]);
        });
    }

    /// Continues only if the destination lies in the subnet.
    pub fn destination_in(&mut self, base: Ipv4Addr, prefix: u8) {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.destination(REG);
        self.mask(REG, mask.to_be_bytes());
        self.equals(REG, &(base.to_bits() & mask).to_be_bytes());
    }

    /// Continues only for this transport protocol.
    pub fn protocol_is(&mut self, number: u8) {
        self.protocol(REG);
        self.equals(REG, &[number]);
    }

    /// Continues only if the connection's state has one of these bits.
    pub fn state_any(&mut self, bits: u32) {
        self.connection_any(0, bits);
    }

    /// Continues only if the connection's destination was rewritten.
    pub fn was_redirected(&mut self) {
        self.connection_any(2, 1 << 5);
    }

    fn connection_any(&mut self, key: u32, bits: u32) {
        self.numbers("ct", &[(1, REG), (2, key)]);
        self.mask(REG, bits.to_ne_bytes());
        self.differs(REG, &[0; 4]);
    }

    /// Continues only if the destination is an address of this namespace.
    pub fn destination_is_local(&mut self) {
        const ADDRESS_TYPE: u32 = 3;
        const BY_DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        self.numbers("fib", &[(1, REG), (2, ADDRESS_TYPE), (3, BY_DESTINATION)]);
        self.equals(REG, &LOCAL.to_ne_bytes());
    }

    /// Continues only if answers to the source would not leave where the packet came in.
    pub fn source_is_elsewhere(&mut self) {
        const INTERFACE: u32 = 1;
        const BY_SOURCE_AND_INPUT: u32 = 1 | 8;
        const WHETHER: u32 = 32;
        let flags = BY_SOURCE_AND_INPUT | WHETHER;
        self.numbers("fib", &[(1, REG), (2, INTERFACE), (3, flags)]);
        self.equals(REG, &[0]);
    }

    /// Continues only if the set holds what is in the first register.
    pub fn is_in(&mut self, set: &str) {
        self.expr("lookup", |b| {
            b.attr_str(1, set).attr(2, &REG.to_be_bytes());
        });
    }

    /// Continues only if the set does not hold what is in the first register.
    pub fn is_not_in(&mut self, set: &str) {
        self.expr("lookup", |b| {
            b.attr_str(1, set)
                .attr(2, &REG.to_be_bytes())
                .attr(5, &1_u32.to_be_bytes());
        });
    }

    /// Continues only for the refusal of a connection: a reset in answer to its first packet.
    pub fn is_refusal(&mut self) {
        const RESET_AND_ACKNOWLEDGED: u8 = 0x14;
        self.protocol_is(6);
        self.numbers("payload", &[(1, REG), (2, 2), (3, 13), (4, 1)]);
        self.equals(REG, &[RESET_AND_ACKNOWLEDGED]);
        // Whoever has said nothing yet counts from nothing.
        self.numbers("payload", &[(1, REG), (2, 2), (3, 4), (4, 4)]);
        self.equals(REG, &[0; 4]);
    }

    /// Adds what is in the first register to the set.
    pub fn remember(&mut self, set: &str) {
        const ADD: u32 = 0;
        self.expr("dynset", |b| {
            b.attr_str(1, set)
                .attr(3, &ADD.to_be_bytes())
                .attr(4, &REG.to_be_bytes());
        });
    }

    /// Does what the map says for the first register; goes on if it says nothing.
    pub fn look_up_verdict(&mut self, map: &str) {
        self.expr("lookup", |b| {
            b.attr_str(1, map)
                .attr(2, &REG.to_be_bytes())
                .attr(3, &0_u32.to_be_bytes());
        });
    }

    /// Replaces what is in the first register by what the map says for it; goes on with the next
    /// rule if it says nothing.
    pub fn look_up_address(&mut self, map: &str) {
        self.expr("lookup", |b| {
            b.attr_str(1, map)
                .attr(2, &REG.to_be_bytes())
                .attr(3, &REG.to_be_bytes());
        });
    }

    /// Replaces what is in the first register by what the map of this number says for it.
    pub fn look_up_value(&mut self, map: &str, id: u32) {
        self.expr("lookup", |b| {
            b.attr_str(1, map)
                .attr(2, &REG.to_be_bytes())
                .attr(3, &REG.to_be_bytes());
            b.attr(4, &id.to_be_bytes());
        });
    }

    /// Counts: 0 to `modulus` - 1, again and again, one step a packet.
    pub fn next_number(&mut self, modulus: u32) {
        self.numbers("numgen", &[(1, REG), (2, modulus), (3, 0), (4, 0)]);
    }

    /// Puts bytes into a register.
    pub fn load(&mut self, reg: u32, bytes: &[u8]) {
        self.expr("immediate", |b| {
            b.attr(1, &reg.to_be_bytes());
            data(b, 2, bytes);
        });
    }

    /// Ends the rule with a verdict.
    pub fn verdict(&mut self, code: i32) {
        self.expr("immediate", |b| {
            b.attr(1, &0_u32.to_be_bytes());
            b.nest(2, &[], |b| verdict(b, code, None));
        });
    }

    /// Sends the connection to the address in the first register, and to `port` if given.
    pub fn dnat(&mut self, port: Option<u16>) {
        if let Some(port) = port {
            self.load(REG2, &port.to_be_bytes());
        }
        self.expr("nat", |b| {
            b.attr(1, &1_u32.to_be_bytes())
                .attr(2, &FAMILY_IPV4.to_be_bytes());
            b.attr(3, &REG.to_be_bytes());
            if port.is_some() {
                b.attr(5, &REG2.to_be_bytes());
            }
        });
    }

    /// Makes the connection come from the address of the interface it leaves by.
    pub fn masquerade(&mut self) {
        self.expr("masq", |_| {});
    }

    /// Refuses at once: reset for TCP packets, otherwise "port unreachable".
    pub fn reject(&mut self, reset: bool) {
        const ICMP: u32 = 0;
        const TCP_RESET: u32 = 1;
        const PORT_UNREACHABLE: u8 = 3;
        self.expr("reject", |b| {
            b.attr(1, &(if reset { TCP_RESET } else { ICMP }).to_be_bytes());
            b.attr(2, &[if reset { 0 } else { PORT_UNREACHABLE }]);
        });
    }
}
