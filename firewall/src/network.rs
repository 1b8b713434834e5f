//! A prefix of IPv4 or IPv6 addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network in CIDR notation; the bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network: want a prefix with zero host bits, such as 10.80.0.0/20 or 2001:db8:1::/64")]
pub struct NotANetwork(String);

impl Network {
    /// The network of this address and prefix length in bits; `None` if the prefix is too long or host bits are set.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let network = Self { address, prefix };
        (prefix <= bits(address) && network.first() == address).then_some(network)
    }

    /// The single address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix: bits(address) }
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        }
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() | host))
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() | host))
            }
        }
    }

    /// How many leading bits are fixed.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is one address only.
    pub fn is_host(&self) -> bool {
        self.prefix == bits(self.address)
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether the address lies in it. An address of the other family never does.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4() && self.first() <= address && address <= self.last()
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Network {
    /// As nft writes it: a single address has no prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { write!(f, "{}", self.address) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.chars().take(64).collect());
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| wrong());
        };
        let address = address.parse().map_err(|_| wrong())?;
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        Self::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)
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

/// The same addresses with nothing said twice: sorted, and without networks that lie in another. The kernel's interval
/// sets refuse overlaps.
pub(crate) fn distinct(networks: impl IntoIterator<Item = Network>) -> Vec<Network> {
    let mut sorted: Vec<_> = networks.into_iter().collect();
    sorted.sort_by_key(|network| (network.first(), network.prefix));
    let mut kept: Vec<Network> = Vec::with_capacity(sorted.len());
    for network in sorted {
        if !kept.last().is_some_and(|last| last.contains(network.first())) {
            kept.push(network);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_read_and_written_the_same() {
        for text in ["10.80.0.0/20", "0.0.0.0/0", "::/0", "2001:db8:1::/64", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.1/32".parse::<Network>().unwrap().to_string(), "192.0.2.1");
    }

    #[test]
    fn malformed_network_is_refused() {
        for text in ["", "10.80.0.1/20", "10.80.0.0/33", "::/129", "10.80.0.0/", "10.80.0.0/+8", "10.80.0.0/8/8", "a/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn edges_of_a_network_belong_to_it() {
        let network: Network = "10.80.16.0/20".parse().unwrap();
        assert!(network.contains("10.80.16.0".parse().unwrap()) && network.contains("10.80.31.255".parse().unwrap()));
        assert!(!network.contains("10.80.15.255".parse().unwrap()) && !network.contains("10.80.32.0".parse().unwrap()));
        assert!(!"::/0".parse::<Network>().unwrap().contains("10.80.16.0".parse().unwrap()));
    }

    #[test]
    fn contained_and_repeated_networks_are_dropped() {
        let given = ["9.9.9.9", "9.9.9.0/24", "1.1.1.1", "1.1.1.1", "9.9.10.0/24"].map(|text| text.parse().unwrap());
        let wanted: Vec<Network> = ["1.1.1.1", "9.9.9.0/24", "9.9.10.0/24"].map(|text| text.parse().unwrap()).into();
        assert_eq!(distinct(given), wanted);
    }
}
