//! What this room asks of a network beyond what `policy` knows of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sheshi_policy::Network;

/// Whether it is of IPv4.
pub(crate) fn is_ipv4(network: &Network) -> bool {
    network.address().is_ipv4()
}

/// The last address of a network.
pub fn last_address(network: &Network) -> IpAddr {
    match network.address() {
        IpAddr::V4(first) => {
            let host = u32::MAX.checked_shr(u32::from(network.length())).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | host))
        }
        IpAddr::V6(first) => {
            let host = u128::MAX.checked_shr(u32::from(network.length())).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | host))
        }
    }
}

/// Whether the two share an address.
pub(crate) fn overlap(one: &Network, other: &Network) -> bool {
    one.contains(other.address()) || other.contains(one.address())
}

/// As nft writes it: a single address has no prefix.
pub(crate) fn written(network: &Network) -> String {
    if last_address(network) == network.address() { network.address().to_string() } else { network.to_string() }
}

/// The same addresses with nothing said twice: sorted, and without networks that lie in another. The kernel's interval
/// sets refuse overlaps.
pub(crate) fn distinct(networks: impl IntoIterator<Item = Network>) -> Vec<Network> {
    let mut sorted: Vec<_> = networks.into_iter().collect();
    sorted.sort_by_key(|network| (network.address(), network.length()));
    let mut kept: Vec<Network> = Vec::with_capacity(sorted.len());
    for network in sorted {
        if !kept.last().is_some_and(|last| last.contains(network.address())) {
            kept.push(network);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_address_belongs_to_the_network_and_the_next_does_not() {
        for (text, wanted) in [
            ("10.80.16.0/20", "10.80.31.255"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("0.0.0.0/0", "255.255.255.255"),
            ("2001:db8:80::/64", "2001:db8:80:0:ffff:ffff:ffff:ffff"),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(last_address(&network).to_string(), wanted);
            assert!(network.contains(last_address(&network)));
        }
    }

    #[test]
    fn contained_and_repeated_networks_are_dropped() {
        let given = ["9.9.9.9", "9.9.9.0/24", "1.1.1.1", "1.1.1.1", "9.9.10.0/24"].map(|text| text.parse().unwrap());
        let wanted: Vec<Network> = ["1.1.1.1", "9.9.9.0/24", "9.9.10.0/24"].map(|text| text.parse().unwrap()).into();
        assert_eq!(distinct(given), wanted);
    }
}
