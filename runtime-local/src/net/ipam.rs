//! Which address the next replica or service gets: pure, over what is recorded.
//!
//! The lower half of a subnet is for replicas, the upper one for stable addresses. Addresses go
//! round: one that was given back is used again as late as possible, so that nobody who still
//! remembers it meets another service there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::Subnet;

/// The next free address for a replica; `after` is the one given out last.
pub(crate) fn next_replica(
    subnet: Subnet,
    gateway: Option<Ipv4Addr>,
    taken: &BTreeSet<Ipv4Addr>,
    after: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let first = subnet.base().to_bits() + 2;
    let last = subnet.stable().base().to_bits().checked_sub(1)?;
    next(first, last, after, |address| {
        taken.contains(&address) || gateway == Some(address)
    })
}

/// The next free stable address; `after` is the one given out last.
pub(crate) fn next_stable(
    subnet: Subnet,
    gateway: Option<Ipv4Addr>,
    taken: &BTreeSet<Ipv4Addr>,
    after: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let first = subnet.stable().base().to_bits();
    let last = subnet.last().to_bits().checked_sub(1)?;
    next(first, last, after, |address| {
        taken.contains(&address) || gateway == Some(address)
    })
}

fn next(
    first: u32,
    last: u32,
    after: Option<Ipv4Addr>,
    unusable: impl Fn(Ipv4Addr) -> bool,
) -> Option<Ipv4Addr> {
    let start = after
        .and_then(|address| address.to_bits().checked_add(1))
        .filter(|start| (first..=last).contains(start))
        .unwrap_or(first);
    (start..=last)
        .chain(first..start)
        .map(Ipv4Addr::from_bits)
        .find(|address| !unusable(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);

    fn subnet() -> Subnet {
        Subnet::new(GATEWAY, 28).unwrap()
    }

    /// Gives out addresses until there are none, checking each.
    fn all(give: impl Fn(&BTreeSet<Ipv4Addr>, Option<Ipv4Addr>) -> Option<Ipv4Addr>) -> Vec<u8> {
        let mut taken = BTreeSet::new();
        let mut last = None;
        while let Some(address) = give(&taken, last) {
            assert!(taken.insert(address), "{address} was given out twice");
            last = Some(address);
        }
        taken
            .into_iter()
            .map(|address| address.octets()[3])
            .collect()
    }

    #[test]
    fn each_half_is_used_up_and_never_left() {
        let replicas = all(|taken, after| next_replica(subnet(), Some(GATEWAY), taken, after));
        assert_eq!(replicas, [2, 3, 4, 5, 6, 7]);
        let stable = all(|taken, after| next_stable(subnet(), Some(GATEWAY), taken, after));
        assert_eq!(stable, [8, 9, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn an_address_given_back_waits_its_turn() {
        let ip = |last| Ipv4Addr::new(10, 201, 0, last);
        let taken = BTreeSet::from([ip(2), ip(4)]);
        assert_eq!(
            next_replica(subnet(), None, &taken, Some(ip(4))),
            Some(ip(5))
        );
        assert_eq!(
            next_replica(subnet(), None, &taken, Some(ip(7))),
            Some(ip(3))
        );
        assert_eq!(
            next_replica(subnet(), None, &taken, Some(ip(200))),
            Some(ip(3))
        );
    }

    #[test]
    fn a_gateway_anywhere_is_left_alone() {
        let ip = |last| Ipv4Addr::new(10, 201, 0, last);
        let none = BTreeSet::new();
        assert_eq!(
            next_replica(subnet(), Some(ip(2)), &none, None),
            Some(ip(3))
        );
        assert_eq!(next_stable(subnet(), Some(ip(8)), &none, None), Some(ip(9)));
    }
}
