//! Names that are answered here and never asked of an upstream, because they mean nothing outside this network; and signals, which
//! the policy answers for clients but strangers must not be told anything about.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::Name;

/// How a local name is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Local {
    /// There is no such name.
    NoName,
    /// The name exists, with nothing of any type.
    NoData,
    /// The client itself (RFC 6761 section 6.3).
    Loopback,
}

/// What `localhost` means.
pub(crate) const LOOPBACK4: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// What `localhost` means over IPv6.
pub(crate) const LOOPBACK6: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// Names below which everything is local. The last label decides first, so that an ordinary name costs one comparison.
const ZONES: &[(&str, Local)] = &[
    ("localhost", Local::Loopback),     // RFC 6761 section 6.3
    ("invalid", Local::NoName),         // RFC 6761 section 6.4
    ("onion", Local::NoName),           // RFC 7686: asking would tell the world what somebody tried
    ("local", Local::NoName),           // RFC 6762 section 22.1: multicast DNS only
    ("alt", Local::NoName),             // RFC 9476: not DNS
    ("internal", Local::NoName),        // reserved for private use by ICANN, 2024
    ("home.arpa", Local::NoName),       // RFC 8375
    ("resolver.arpa", Local::NoData),   // RFC 9462: the upstream's designated resolvers would lead round the filter
    ("10.in-addr.arpa", Local::NoName), // RFC 6303 and 6761: private addresses have no public names
    ("168.192.in-addr.arpa", Local::NoName),
    ("127.in-addr.arpa", Local::NoName),
    ("0.in-addr.arpa", Local::NoName),
    ("254.169.in-addr.arpa", Local::NoName),
    ("255.255.255.255.in-addr.arpa", Local::NoName),
    ("d.f.ip6.arpa", Local::NoName),
    ("8.e.f.ip6.arpa", Local::NoName),
    ("9.e.f.ip6.arpa", Local::NoName),
    ("a.e.f.ip6.arpa", Local::NoName),
    ("b.e.f.ip6.arpa", Local::NoName),
    ("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", Local::NoName), // :: and ::1
];

/// Exact names whose absence tells a device to leave DNS to the network.
const SIGNALS: &[&str] = &[
    "use-application-dns.net", // Firefox: no DNS over HTTPS by default
    "mask.icloud.com",         // Apple Private Relay
    "mask-h2.icloud.com",
];

/// The table of local names, in wire form.
pub(crate) struct Locals {
    zones: Vec<(Name, Local)>,
    signals: Vec<Name>,
}

impl Locals {
    pub(crate) fn new() -> Self {
        let mut zones: Vec<_> = ZONES.iter().filter_map(|(text, how)| Some((Name::from_text(text)?, *how))).collect();
        // 172.16/12 and 100.64/10 in their octets (RFC 6303, 6598).
        for (second, first) in (16..32).map(|n| (n, 172)).chain((64..128).map(|n| (n, 100))) {
            zones.extend(Name::from_text(&format!("{second}.{first}.in-addr.arpa")).map(|zone| (zone, Local::NoName)));
        }
        Self { zones, signals: SIGNALS.iter().filter_map(|text| Name::from_text(text)).collect() }
    }

    /// Whether `name` is a signal.
    pub(crate) fn is_signal(&self, name: &Name) -> bool {
        self.signals.contains(name)
    }

    /// How `name` is answered here, if it is. `last` is where its last label begins.
    pub(crate) fn find(&self, name: &Name, last: usize) -> Option<Local> {
        match &name.as_bytes()[last..] {
            b"\x09localhost\0" | b"\x07invalid\0" | b"\x05onion\0" | b"\x05local\0" | b"\x03alt\0"
            | b"\x08internal\0" | b"\x04arpa\0" => {
                self.zones.iter().find(|(zone, _)| name.is_within(zone)).map(|(_, how)| *how)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Option<Local> {
        let name = Name::from_text(text).unwrap();
        let last = name.as_bytes().len() - 2 - text.rsplit('.').next().unwrap().len();
        Locals::new().find(&name, last)
    }

    #[test]
    fn every_zone_and_signal_is_found_and_its_neighbours_are_not() {
        assert_eq!(Locals::new().zones.len(), ZONES.len() + 16 + 64, "a zone is misspelt");
        for (zone, how) in ZONES {
            assert_eq!(find(zone), Some(*how), "{zone}");
            assert_eq!(find(&format!("a.{zone}")), Some(*how), "a.{zone}");
            assert_eq!(find(&format!("{zone}.example")), None);
        }
        for signal in SIGNALS {
            assert!(Locals::new().is_signal(&Name::from_text(signal).unwrap()));
            assert!(!Locals::new().is_signal(&Name::from_text(&format!("x.{signal}")).unwrap()));
        }
        for public in ["example.com", "net", "8.8.8.8.in-addr.arpa", "15.172.in-addr.arpa", "ipv4only.arpa", "notlocal"]
        {
            assert_eq!(find(public), None, "{public}");
        }
        assert_eq!(find("1.0.31.172.in-addr.arpa"), Some(Local::NoName));
    }
}
