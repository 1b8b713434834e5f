//! Which addresses a list's server may have: a URL, or whoever answers for its name, must not lead us to machines that
//! only we can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the public internet. An address that carries another one (mapped, NAT64, 6to4) is judged by
/// that. Ranges for documentation pass: nothing is behind them, but for a lab.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // The registry of RFC 6890: this network, shared (RFC 6598), protocol assignments, relays of 6to4, benchmarking, and from
    // 224.0.0.0 on multicast and what is reserved.
    let special = match a {
        0 | 224.. => true,
        100 => b & 0xc0 == 64,
        192 => (b, c) == (0, 0) || (b, c) == (88, 99),
        198 => b & 0xfe == 18,
        _ => false,
    };
    !(special || address.is_private() || address.is_loopback() || address.is_link_local())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let carried = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped (RFC 4291 section 2.5.5.2), and NAT64 (RFC 6052 section 2.1).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => carried(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => carried(high, low),
        // Teredo hides the address it carries (RFC 4380).
        [0x2001, 0, ..] => false,
        // All that is global unicast so far; unique local, link-local and multicast lie beyond.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_only_we_could_reach_is_not_public() {
        for (addresses, expected) in [
            (
                "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 \
                 172.31.255.255 192.0.0.8 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 224.0.0.1 239.1.1.1 240.0.0.1 \
                 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1 100::1 \
                 2001::1 2002:7f00:1::1 2002:0a00:1::1 fc00::1 fd12:3456::1 fe80::1 febf::1 fec0::1 ff02::1 4000::1",
                false,
            ),
            (
                "1.1.1.1 9.9.9.9 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.1.1 192.169.0.1 198.17.0.1 198.20.0.1 \
                 203.0.113.7 223.255.255.255 ::ffff:9.9.9.9 64:ff9b::9.9.9.9 2002:909:909::1 2001:db8::1 2001:1::1 \
                 2620:fe::fe 2a00:1450::1",
                true,
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
