//! Listening sockets: TCP, UDP, packet and unix.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::net::ipv4;
use super::snapshot::read_if_there;
use super::{Ledger, LedgerError, Section};

const TCP_LISTEN: &str = "0A";
/// The state of a UDP socket without a peer; one with a peer is somebody's client.
const UDP_UNCONNECTED: &str = "07";
/// `__SO_ACCEPTCON`: `listen` was called.
const UNIX_LISTENING: u32 = 0x1_0000;

pub(super) fn read(ledger: &mut Ledger) -> Result<(), LedgerError> {
    let table = |name: &str| read_if_there(format!("/proc/self/net/{name}")).unwrap_or_default();
    let kinds = [
        ("tcp", TCP_LISTEN),
        ("tcp6", TCP_LISTEN),
        ("udp", UDP_UNCONNECTED),
        ("udp6", UDP_UNCONNECTED),
    ];
    for (name, state) in kinds {
        for address in internet(&table(name), state) {
            ledger.add(
                Section::Socket,
                format!("{} {address}", name.trim_end_matches('6')),
            );
        }
    }
    for path in unix(&table("unix")) {
        ledger.add(Section::Socket, format!("unix {path}"));
    }
    let packet = table("packet").lines().skip(1).count();
    (0..packet).for_each(|_| ledger.add(Section::Socket, "packet"));
    Ok(())
}

fn internet(text: &str, wanted: &str) -> Vec<SocketAddr> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            (state == wanted).then(|| socket_address(local))?
        })
        .collect()
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = if address.len() == 8 {
        IpAddr::V4(ipv4(address)?)
    } else {
        IpAddr::V6(words_v6(address)?)
    };
    Some(SocketAddr::new(address, port))
}

/// Four words, each in the machine's own byte order.
fn words_v6(hex: &str) -> Option<Ipv6Addr> {
    let mut bytes = [0_u8; 16];
    for (word, place) in bytes.chunks_exact_mut(4).enumerate() {
        place.copy_from_slice(&ipv4(hex.get(word * 8..word * 8 + 8)?)?.octets());
    }
    Some(Ipv6Addr::from(bytes))
}

/// Listening sockets and those bound to a path; unnamed pairs are nobody's service.
fn unix(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
            let path = fields.get(7)?;
            let datagram = fields.get(4) == Some(&"0002");
            (flags & UNIX_LISTENING != 0 || datagram).then(|| (*path).to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_addresses_are_read() {
        let text = "  sl  local_address rem_address st\n   \
                    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
                    1: 0100007F:1F91 0100007F:0050 01 00000000:00000000\n";
        assert_eq!(
            internet(text, TCP_LISTEN),
            ["127.0.0.1:8080".parse().expect("an address")]
        );
        let v6 = "00000000000000000000000001000000:0016";
        assert_eq!(
            socket_address(v6),
            Some("[::1]:22".parse().expect("an address"))
        );
    }

    #[test]
    fn unix_pairs_are_no_service() {
        let text = "Num RefCount Protocol Flags Type St Inode Path\n\
                    0: 00000002 00000000 00010000 0001 01 7 /run/x.sock\n\
                    0: 00000003 00000000 00000000 0001 03 8\n\
                    0: 00000003 00000000 00000000 0001 03 9 /run/x.sock\n";
        assert_eq!(unix(text), ["/run/x.sock"]);
    }
}
