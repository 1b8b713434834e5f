//! Who is behind an address: the directory that the portal publishes and the resolver reads.

use std::{collections::HashMap, fmt, net::IpAddr, str::FromStr, sync::Arc};

/// A device's link-layer address (EUI-48).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Same as `Display`; a device's address is never printed above debug level.
impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six two-digit hexadecimal octets separated by colons or hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: want six hexadecimal octets such as 02:00:5e:10:00:01")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(NotAMac)?;
            // `from_str_radix` takes a sign, an octet has none.
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        if parts.next().is_some() { Err(NotAMac) } else { Ok(Self(octets)) }
    }
}

impl serde::Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An admitted device, as the resolver needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The device's link-layer address.
    pub mac: Mac,
    /// The group whose policy holds for it.
    pub group: Arc<str>,
}

/// Admitted devices by address. Immutable: a change makes a new one. An address that is not in it is a stranger's.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    clients: HashMap<IpAddr, Client>,
}

impl Directory {
    /// A directory of the given addresses.
    pub fn new(clients: impl IntoIterator<Item = (IpAddr, Client)>) -> Self {
        Self { clients: clients.into_iter().map(|(address, client)| (address.to_canonical(), client)).collect() }
    }

    /// Who has this address; `None` is a stranger.
    pub fn client(&self, address: IpAddr) -> Option<&Client> {
        self.clients.get(&address.to_canonical())
    }

    /// All admitted addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Client)> {
        self.clients.iter()
    }

    /// How many addresses are admitted.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether nobody is admitted.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_is_read_and_written_the_same() {
        let mac: Mac = "02:00:5E:10:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        assert_eq!("02-00-5e-10-00-ff".parse(), Ok(mac));
    }

    #[test]
    fn malformed_mac_is_refused() {
        for text in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "2:0:5e:10:0:1", "02:00:5e:10:00:g1", "+2:00:5e:10:00:01"]
        {
            assert_eq!(text.parse::<Mac>(), Err(NotAMac), "{text}");
        }
    }

    #[test]
    fn v4_mapped_address_is_the_v4_client() {
        let client = Client { mac: Mac([2, 0, 0, 0, 0, 1]), group: "guest".into() };
        let directory = Directory::new([("192.0.2.7".parse().unwrap(), client.clone())]);
        assert_eq!(directory.client("::ffff:192.0.2.7".parse().unwrap()), Some(&client));
        assert_eq!(directory.client("192.0.2.8".parse().unwrap()), None);
    }
}
