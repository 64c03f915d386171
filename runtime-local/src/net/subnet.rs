//! Subnets: what they hold, and which one a new network gets.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::wire::nft_client::stable_half;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subnet {
    base: Ipv4Addr,
    prefix: u8,
}

/// Where subnets are taken from, in this order.
///
/// The first is what most networks get; the others are for hosts with very many networks or with
/// routes of their own in the first.
const POOLS: [(Ipv4Addr, u8); 7] = [
    (Ipv4Addr::new(10, 201, 0, 0), 16),
    (Ipv4Addr::new(10, 202, 0, 0), 15),
    (Ipv4Addr::new(10, 204, 0, 0), 14),
    (Ipv4Addr::new(10, 208, 0, 0), 12),
    (Ipv4Addr::new(10, 224, 0, 0), 12),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

impl Subnet {
    /// The subnet of this length that holds the address; none for a length that is none.
    pub(crate) fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        (prefix <= 32).then(|| Self {
            base: Ipv4Addr::from_bits(address.to_bits() & !host_bits),
            prefix,
        })
    }

    /// Its first address, which names it.
    pub(crate) fn base(self) -> Ipv4Addr {
        self.base
    }

    /// How many bits of its addresses are the same.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its last address, which reaches everyone.
    pub(crate) fn last(self) -> Ipv4Addr {
        let host_bits = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        Ipv4Addr::from_bits(self.base.to_bits() | host_bits)
    }

    /// The address of the bridge, if the network does not say otherwise.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + 1)
    }

    /// The half that holds stable addresses.
    pub(crate) fn stable(self) -> Self {
        let (base, prefix) = stable_half(self.base, self.prefix);
        Self { base, prefix }
    }

    /// True for addresses in it.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        (self.base..=self.last()).contains(&address)
    }

    /// True when they share an address.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.base <= other.last() && other.base <= self.last()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let address = address.parse().map_err(|_| ())?;
        Self::new(address, prefix.parse().map_err(|_| ())?).ok_or(())
    }
}

/// The first free subnet of this length; none when every pool is full.
///
/// `used` are the subnets of networks that are recorded, `host` what the host has addresses in or
/// routes to.
pub(crate) fn pick_subnet(used: &[Subnet], host: &[Subnet], prefix: u8) -> Option<Subnet> {
    let mut taken: Vec<_> = used.iter().chain(host).copied().collect();
    taken.sort();
    POOLS
        .iter()
        .find_map(|(base, pool)| free_in(Subnet::new(*base, *pool)?, &taken, prefix))
}

/// The first subnet of a pool that none of `taken`, in order of their first addresses, touches.
fn free_in(pool: Subnet, taken: &[Subnet], prefix: u8) -> Option<Subnet> {
    if prefix < pool.prefix || prefix > 29 {
        return None;
    }
    let mut candidate = Subnet::new(pool.base, prefix)?;
    for blocker in taken {
        if blocker.overlaps(candidate) {
            // Behind whichever reaches further, so that a large neighbour is passed in one step.
            let end = blocker.last().max(candidate.last());
            let next = Ipv4Addr::from_bits(end.to_bits().checked_add(1)?);
            candidate = Subnet::new(next, prefix)?;
        }
    }
    pool.contains(candidate.base).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn halves_and_ends() {
        let subnet = net("10.201.3.77/24");
        assert_eq!(subnet.to_string(), "10.201.3.0/24");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 201, 3, 1));
        assert_eq!(subnet.stable(), net("10.201.3.128/25"));
        assert_eq!(subnet.last(), Ipv4Addr::new(10, 201, 3, 255));
        assert!("10.0.0.0/33".parse::<Subnet>().is_err());
    }

    #[test]
    fn networks_never_share_addresses_with_others_or_the_host() {
        let host = [
            net("10.201.0.0/23"),
            net("10.201.3.128/25"),
            net("0.0.0.0/32"),
        ];
        let mut used = Vec::new();
        for expected in ["10.201.2.0/24", "10.201.4.0/24", "10.201.5.0/24"] {
            let subnet = pick_subnet(&used, &host, 24).unwrap();
            assert_eq!(subnet, net(expected));
            used.push(subnet);
        }
        assert_eq!(pick_subnet(&used, &host, 22).unwrap(), net("10.201.8.0/22"));
    }

    #[test]
    fn a_thousand_networks_fit_and_a_full_world_says_so() {
        let mut used = Vec::new();
        for _ in 0..1000 {
            let subnet = pick_subnet(&used, &[], 24).unwrap();
            assert!(!used.iter().any(|other| subnet.overlaps(*other)));
            used.push(subnet);
        }
        assert_eq!(pick_subnet(&[], &[net("0.0.0.0/0")], 24), None);
        assert_eq!(
            pick_subnet(&[], &[net("10.0.0.0/8")], 24),
            Some(net("172.16.0.0/24"))
        );
    }
}
