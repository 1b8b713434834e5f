//! Arithmetic on address ranges: the guest side's, and whether it overlaps the uplink's.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address of ours with the length of its on-link prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnLink<A> {
    /// The address.
    pub address: A,
    /// How many leading bits the range has in common.
    pub prefix: u8,
}

impl<A: fmt::Display> fmt::Display for OnLink<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Ranges for guests, tried in this order when one must be proposed. The usual ranges of home routers are left out.
const PROPOSALS: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 77, 0, 1), 22),
    (Ipv4Addr::new(172, 29, 0, 1), 22),
    (Ipv4Addr::new(10, 213, 0, 1), 22),
    (Ipv4Addr::new(192, 168, 224, 1), 22),
];

impl OnLink<Ipv4Addr> {
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The first address of the range.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// The mask in dotted form.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(self.mask())
    }

    /// Whether some address lies in both ranges.
    pub fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }

    /// The addresses that guests may be given: all but the first ten (ours and room for access points) and the last
    /// (broadcast). `None` when the range is too small to be of use.
    pub fn pool(self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        if !(16..=27).contains(&self.prefix) {
            return None;
        }
        let (first, last) = (u32::from(self.network()), u32::from(self.network()) | !self.mask());
        Some((Ipv4Addr::from(first + 10), Ipv4Addr::from(last - 1)))
    }

    /// How many addresses [`Self::pool`] holds.
    pub fn pool_size(self) -> u32 {
        self.pool().map_or(0, |(first, last)| u32::from(last) - u32::from(first) + 1)
    }
}

/// A range for guests that overlaps none of these.
pub fn propose(taken: &[OnLink<Ipv4Addr>]) -> Option<OnLink<Ipv4Addr>> {
    PROPOSALS
        .into_iter()
        .map(|(address, prefix)| OnLink { address, prefix })
        .find(|candidate| !taken.iter().any(|other| candidate.overlaps(*other)))
}

/// The IPv4 addresses among these.
pub fn v4(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = OnLink<Ipv4Addr>> {
    addresses.iter().filter_map(|(address, prefix)| match address {
        IpAddr::V4(address) => Some(OnLink { address: *address, prefix: *prefix }),
        IpAddr::V6(_) => None,
    })
}

/// The IPv6 addresses among these that are not link-local.
pub fn v6(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = OnLink<Ipv6Addr>> {
    addresses.iter().filter_map(|(address, prefix)| match address {
        IpAddr::V6(address) if !address.is_unicast_link_local() => Some(OnLink { address: *address, prefix: *prefix }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> OnLink<Ipv4Addr> {
        let (address, prefix) = text.split_once('/').unwrap();
        OnLink { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    #[test]
    fn overlap_is_seen_whichever_range_is_the_larger() {
        for (one, other, expected) in [
            ("10.77.0.1/22", "10.0.0.5/8", true),
            ("10.77.0.1/22", "10.77.3.9/24", true),
            ("10.77.0.1/22", "10.77.4.1/24", false),
            ("192.168.1.1/24", "192.168.1.2/32", true),
            ("10.77.0.1/22", "0.0.0.0/0", true),
        ] {
            assert_eq!(range(one).overlaps(range(other)), expected, "{one} {other}");
            assert_eq!(range(other).overlaps(range(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn proposal_avoids_what_the_uplink_has() {
        assert_eq!(propose(&[]), Some(range("10.77.0.1/22")));
        assert_eq!(propose(&[range("10.1.2.3/8")]), Some(range("172.29.0.1/22")));
        assert_eq!(propose(&[range("1.2.3.4/0")]), None);
    }

    #[test]
    fn pool_leaves_out_our_address_and_broadcast() {
        assert_eq!(range("10.77.0.1/22").pool(), Some((Ipv4Addr::new(10, 77, 0, 10), Ipv4Addr::new(10, 77, 3, 254))));
        assert_eq!(range("10.77.0.1/22").pool_size(), 1013);
        assert_eq!(range("10.77.0.1/30").pool(), None);
        assert_eq!(range("10.77.0.1/8").pool(), None);
    }
}
