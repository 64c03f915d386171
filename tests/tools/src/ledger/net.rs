//! Links, addresses, routes and permanent neighbours of the caller's network namespace.
//!
//! Read from `/proc/self/net`, which follows the namespace; `/sys/class/net` shows the one its
//! mount was made in, and the `ip` program may be missing.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::snapshot::{read_if_there, read_text};
use super::{Ledger, LedgerError, Section};

/// `NUD_PERMANENT` entries carry this flag in `/proc/net/arp`.
const ARP_PERMANENT: u32 = 0x4;

pub(super) fn read(ledger: &mut Ledger) -> Result<(), LedgerError> {
    for link in links(&read_text(Path::new("/proc/self/net/dev"))?) {
        ledger.add(Section::Link, link);
    }
    let table = |name: &str| read_if_there(format!("/proc/self/net/{name}")).unwrap_or_default();
    let addresses = addresses_v4(&table("fib_trie")).into_iter();
    for address in addresses.chain(addresses_v6(&table("if_inet6"))) {
        ledger.add_once(Section::Address, address);
    }
    for route in routes_v4(&table("route"))
        .into_iter()
        .chain(routes_v6(&table("ipv6_route")))
    {
        ledger.add(Section::Route, route);
    }
    for neighbour in neighbours(&table("arp")) {
        ledger.add(Section::Neighbour, neighbour);
    }
    Ok(())
}

fn links(text: &str) -> Vec<String> {
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    text.lines().skip(2).filter_map(name).collect()
}

/// An address of ours is a leaf followed by a `/32 host LOCAL` line.
fn addresses_v4(text: &str) -> Vec<String> {
    let mut leaf = "";
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address;
        } else if line == "/32 host LOCAL" {
            found.push(leaf.to_owned());
        }
    }
    found
}

fn addresses_v6(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [address, _, prefix, _, _, link] = fields.as_slice() else {
                return None;
            };
            let prefix = u8::from_str_radix(prefix, 16).ok()?;
            Some(format!("{}/{prefix} on {link}", ipv6(address)?))
        })
        .collect()
}

fn routes_v4(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [link, to, via, _, _, _, metric, mask, ..] = fields.as_slice() else {
                return None;
            };
            let (to, via, mask) = (ipv4(to)?, ipv4(via)?, ipv4(mask)?);
            Some(format!(
                "{to}/{} via {via} on {link} metric {metric}",
                u32::from(mask).count_ones()
            ))
        })
        .collect()
}

fn routes_v6(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (to, prefix, via, link) = (
                fields.first()?,
                fields.get(1)?,
                fields.get(4)?,
                fields.get(9)?,
            );
            let prefix = u8::from_str_radix(prefix, 16).ok()?;
            Some(format!(
                "{}/{prefix} via {} on {link}",
                ipv6(to)?,
                ipv6(via)?
            ))
        })
        .collect()
}

fn neighbours(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [address, _, flags, hardware, _, link] = fields.as_slice() else {
                return None;
            };
            let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
            (flags & ARP_PERMANENT != 0).then(|| format!("{address} is {hardware} on {link}"))
        })
        .collect()
}

/// The kernel prints IPv4 addresses as a number in the machine's own byte order.
pub(super) fn ipv4(hex: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(
        u32::from_str_radix(hex, 16).ok()?.to_ne_bytes(),
    ))
}

/// `if_inet6` and `ipv6_route` print sixteen bytes in network order.
fn ipv6(hex: &str) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_the_host_leaves() {
        let text = "Local:\n  +-- 10.0.0.0/24 2 0 2\n     |-- 10.0.0.0\n        /32 link BROADCAST\n     \
                    |-- 10.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(addresses_v4(text), ["10.0.0.1"]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_default_route_reads_as_one() {
        let text = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                    eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0\n";
        assert_eq!(
            routes_v4(text),
            ["0.0.0.0/0 via 192.0.2.1 on eth0 metric 100"]
        );
    }

    #[test]
    fn only_permanent_neighbours_count() {
        let text = "IP address HW type Flags HW address Mask Device\n\
                    192.0.2.1 0x1 0x2 02:fc:00:00:00:05 * eth0\n\
                    192.0.2.2 0x1 0x6 02:fc:00:00:00:06 * eth0\n";
        assert_eq!(neighbours(text), ["192.0.2.2 is 02:fc:00:00:00:06 on eth0"]);
    }
}
