//! The rebinding guard: a public name that points into this network would let a page in a guest's browser talk to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether no public name may lead to `address`. `ours` are addresses of the gateway itself.
pub(crate) fn is_inside(address: IpAddr, ours: &[IpAddr]) -> bool {
    let address = address.to_canonical();
    ours.contains(&address)
        || match address {
            IpAddr::V4(v4) => is_inside4(v4),
            IpAddr::V6(v6) => {
                is_inside6(v6) || embedded(v6).is_some_and(|v4| is_inside4(v4) || ours.contains(&v4.into()))
            }
        }
}

fn is_inside4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 0 // this network, and 0.0.0.0 which many systems take for themselves (RFC 1122 section 3.2.1.3)
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || (a == 100 && b & 0xc0 == 64) // carrier-grade NAT (RFC 6598)
        || a >= 224 // multicast, reserved, broadcast
}

fn is_inside6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address.segments()[0] & 0xffc0 == 0xfec0 // site-local, deprecated but routed by some (RFC 3879)
}

/// The IPv4 address inside a translated one: NAT64 (RFC 6052, well-known and local prefix), IPv4-compatible, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let low = Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7]));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0, 0, 0, 0, 0, 0, ..] => Some(low),
        [0x2002, high, next, ..] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(next))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_outside() {
        let ours = ["198.51.100.1".parse().unwrap(), "2001:db8:1::1".parse().unwrap()];
        for inside in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.251",
            "255.255.255.255",
            "198.51.100.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::fb",
            "fec0::1",
            "2001:db8:1::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::192.168.0.1",
            "64:ff9b::198.51.100.1",
            "2002:7f00:1::",
            "2002:c0a8:101::5",
        ] {
            assert!(is_inside(inside.parse().unwrap(), &ours), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.0.170",
            "198.18.0.1",
            "192.0.2.1",
            "2606:4700::1111",
            "2001:db8::1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(!is_inside(outside.parse().unwrap(), &ours), "{outside}");
        }
    }
}
