//! A network in prefix notation, such as `10.20.0.0/16` or `2001:db8:20::/48`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network: want an address with a prefix length such as 10.20.0.0/16 or 2001:db8:20::/48")]
pub struct NotANetwork;

impl Network {
    /// The network of this address and prefix length in bits; bits after the prefix are cleared. `None` when the length
    /// exceeds the address.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        if length > width {
            return None;
        }
        let (first, _) = span(address, length);
        Some(Self { address: first, length })
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its prefix length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address lies in it. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address.to_canonical(), self.length).is_some_and(|network| {
            network.address == self.address && network.address.is_ipv4() == self.address.is_ipv4()
        })
    }

    /// Its first and last address, as numbers of the IPv6 space (IPv4 as IPv4-mapped).
    pub(crate) fn range(&self) -> (u128, u128) {
        let (first, last) = span(self.address, self.length);
        (number(first), number(last))
    }
}

/// The networks that together are the addresses from `first` to `last`, numbers of the IPv6 space.
pub(crate) fn covering(mut first: u128, last: u128) -> Vec<Network> {
    let mut networks = Vec::new();
    while first <= last {
        // As wide as its first address allows, and no wider than what is left.
        let mut bits = first.trailing_zeros();
        while bits > 0 && (bits == 128 || first + ((1 << bits) - 1) > last) {
            bits -= 1;
        }
        let address = Ipv6Addr::from_bits(first);
        networks.extend(match address.to_ipv4_mapped() {
            Some(address) if bits <= 32 => Network::new(address.into(), 32 - bits as u8),
            _ => Network::new(address.into(), 128 - bits as u8),
        });
        let Some(next) = first.checked_add(1 << bits) else { break };
        first = next;
    }
    networks
}

/// An address as a number of the IPv6 space; IPv4 in its IPv4-mapped place.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn span(address: IpAddr, length: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let first = address.to_bits() & mask;
            (IpAddr::V4(first.into()), IpAddr::V4((first | !mask).into()))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            let first = address.to_bits() & mask;
            (IpAddr::V6(first.into()), IpAddr::V6((first | !mask).into()))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let length = match length {
            None => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
            // `u8::from_str` takes a sign, a prefix length has none.
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map_err(|_| NotANetwork)?
            }
            Some(_) => return Err(NotANetwork),
        };
        Self::new(address, length).ok_or(NotANetwork)
    }
}

impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every range between two numbers of a small space, in IPv4, in IPv6, and at the ends.
    #[test]
    fn covering_networks_are_the_range_and_nothing_else() {
        let spaces = [number("192.0.2.0".parse().unwrap()), number("2001:db8::".parse().unwrap()), u128::MAX - 32];
        for base in spaces {
            for first in 0..=32 {
                for last in first..=32 {
                    let networks = covering(base + first, base + last);
                    let mut next = base + first;
                    for network in &networks {
                        let (from, to) = network.range();
                        assert_eq!(from, next, "{networks:?}");
                        next = to.wrapping_add(1);
                    }
                    assert_eq!(next, (base + last).wrapping_add(1), "{networks:?}");
                    assert!(networks.len() < 12, "{networks:?}");
                }
            }
        }
        assert_eq!(covering(0, u128::MAX).len(), 2);
    }

    #[test]
    fn network_holds_its_addresses_and_no_others() {
        let network: Network = "10.20.3.4/16".parse().unwrap();
        assert_eq!(network.to_string(), "10.20.0.0/16");
        assert!(network.contains("10.20.255.255".parse().unwrap()));
        assert!(network.contains("::ffff:10.20.0.1".parse().unwrap()));
        assert!(!network.contains("10.21.0.0".parse().unwrap()));
        assert!(!network.contains("2001:db8::1".parse().unwrap()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn malformed_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "guest"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }
}
