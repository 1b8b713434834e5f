//! Names and addresses that everybody knows and that probes ask for: resolvers that devices have built in, names of DNS
//! over HTTPS, well-known adult sites, search engines' country names. Data, to be read by certifiers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Public resolvers that devices have built in, or that guests set by hand.
const FOREIGN_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(8, 8, 8, 8),
    Ipv4Addr::new(1, 1, 1, 1),
    Ipv4Addr::new(9, 9, 9, 9),
    Ipv4Addr::new(8, 8, 4, 4),
    Ipv4Addr::new(208, 67, 222, 222),
    Ipv4Addr::new(94, 140, 14, 14),
];
/// The same, IPv6.
const FOREIGN_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
    Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111),
    Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe),
];

/// Public resolvers of one family.
pub fn foreign(v6: bool) -> impl Iterator<Item = IpAddr> {
    let v4 = FOREIGN_V4.iter().filter(move |_| !v6).map(|address| IpAddr::V4(*address));
    v4.chain(FOREIGN_V6.iter().filter(move |_| v6).map(|address| IpAddr::V6(*address)))
}

/// Adult sites that everybody knows: the lists, not our own entries, must block them (the press test).
pub const ADULT: [&str; 4] = ["pornhub.com", "www.pornhub.com", "xvideos.com", "xnxx.com"];

/// Names of DNS over HTTPS (certification document, section 8.1).
pub const ENCRYPTED: [&str; 22] = [
    "dns.google",
    "dns.google.com",
    "cloudflare-dns.com",
    "one.one.one.one",
    "mozilla.cloudflare-dns.com",
    "chrome.cloudflare-dns.com",
    "security.cloudflare-dns.com",
    "family.cloudflare-dns.com",
    "dns.quad9.net",
    "dns10.quad9.net",
    "dns11.quad9.net",
    "doh.opendns.com",
    "doh.familyshield.opendns.com",
    "dns.adguard-dns.com",
    "unfiltered.adguard-dns.com",
    "dns.nextdns.io",
    "firefox.dns.nextdns.io",
    "doh.dns.apple.com",
    "freedns.controld.com",
    "unfiltered.joindns4.eu",
    "doh.cleanbrowsing.org",
    "odoh.cloudflare-dns.com",
];

/// The five names of YouTube.
pub const YOUTUBE: [&str; 5] = [
    "www.youtube.com",
    "m.youtube.com",
    "youtubei.googleapis.com",
    "youtube.googleapis.com",
    "www.youtube-nocookie.com",
];

/// Google's names that are asked each hour: the city's own among them.
pub const GOOGLE: [&str; 6] =
    ["www.google.com", "www.google.al", "www.google.it", "www.google.de", "www.google.gr", "www.google.co.uk"];

/// Names that must work (one a line, `#` begins a comment).
const MUST_WORK: &str = include_str!("must-work.txt");

/// The names that must work.
pub fn must_work() -> impl Iterator<Item = &'static str> {
    MUST_WORK.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, c: u16, g: u16, h: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, g, h))
}

/// Addresses of public resolvers that speak DNS over HTTPS.
pub const RESOLVERS: [IpAddr; 24] = [
    v4(8, 8, 8, 8),
    v4(8, 8, 4, 4),
    v4(1, 1, 1, 1),
    v4(1, 0, 0, 1),
    v4(1, 1, 1, 2),
    v4(1, 1, 1, 3),
    v4(9, 9, 9, 9),
    v4(149, 112, 112, 112),
    v4(9, 9, 9, 10),
    v4(208, 67, 222, 222),
    v4(208, 67, 220, 220),
    v4(94, 140, 14, 14),
    v4(94, 140, 15, 15),
    v4(94, 140, 14, 140),
    v4(76, 76, 2, 0),
    v4(76, 76, 10, 0),
    v6(0x2001, 0x4860, 0x4860, 0, 0x8888),
    v6(0x2001, 0x4860, 0x4860, 0, 0x8844),
    v6(0x2606, 0x4700, 0x4700, 0, 0x1111),
    v6(0x2606, 0x4700, 0x4700, 0, 0x1001),
    v6(0x2620, 0xfe, 0, 0, 0xfe),
    v6(0x2620, 0xfe, 0, 0, 9),
    v6(0x2620, 0x119, 0x35, 0, 0x35),
    v6(0x2a10, 0x50c0, 0, 0xad1, 0xff),
];

/// Whether an address is one of the world's: neither of a private network nor of none.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::dns;

    #[test]
    fn every_known_name_is_one_and_the_must_work_set_is_large_enough() {
        let all = ADULT.iter().chain(&ENCRYPTED).chain(&YOUTUBE).chain(&GOOGLE).copied().chain(must_work());
        for name in all {
            assert!(dns::question(1, name, dns::kind::A).is_some(), "{name}");
        }
        let mut names: Vec<_> = must_work().collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a name is there twice");
        assert!(count >= 150, "{count}");
    }
}
