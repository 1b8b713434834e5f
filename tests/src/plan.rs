//! Who lives where: the addresses of the lab. Everything is inside the lab's own namespaces, so nothing here can clash with the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The gateway's address on the guest side.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The guest subnet.
pub const GUESTS_V4: &str = "10.77.0.0/22";
/// The gateway's address on the guest side, where IPv6 is translated (NAT66).
pub const GATEWAY_ULA: Ipv6Addr = Ipv6Addr::new(0xfd5e, 0x5e, 1, 0, 0, 0, 0, 1);
/// The guest prefix where IPv6 is translated.
pub const GUESTS_ULA: &str = "fd5e:5e:1::/64";
/// The gateway's address on the guest side, where a prefix is routed to it.
pub const GATEWAY_ROUTED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);
/// The guest prefix where one is routed to the gateway.
pub const GUESTS_ROUTED: &str = "2001:db8:77::/64";

/// The gateway's uplink address.
pub const UPLINK_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The gateway's uplink address.
pub const UPLINK_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2);
/// The provider's router, as the gateway sees it.
pub const PROVIDER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The provider's router, as the gateway sees it.
pub const PROVIDER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1);

/// The resolver the city configured as upstream.
pub const UPSTREAM_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// The resolver the city configured as upstream.
pub const UPSTREAM_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53);

/// Where every name leads when asked of the upstream.
pub const WEB_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
/// Where every name leads when asked of the upstream.
pub const WEB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x80);
/// Where every name leads when asked of a foreign resolver: whoever is led here went round the filter.
pub const BYPASS_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Where every name leads when asked of a foreign resolver: whoever is led here went round the filter.
pub const BYPASS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x66);
/// A host that sends back what it gets, TCP and UDP, on every port of [`ECHO_PORTS`].
pub const ECHO_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// A host that sends back what it gets, TCP and UDP, on every port of [`ECHO_PORTS`].
pub const ECHO_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 7);
/// The ports on which the echo host answers: what tunnels and guests' programs use.
pub const ECHO_PORTS: [u16; 6] = [7, 22, 123, 1194, 4500, 51820];

/// Where the echo host also stamps time (RFC 3161 over HTTP).
pub const STAMPS_PORT: u16 = 3180;
/// Servers of the right time (SNTP).
pub const CLOCKS: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 123), Ipv4Addr::new(203, 0, 113, 124)];
/// The host that stands for the internet where the gateway measures itself: the echo host's name.
pub const WITNESS: &str = "witness.sheshi-lab.example";
/// The city's canary zone.
pub const CANARIES: &str = "canary.sheshi-lab.example";

/// Public resolvers that devices have built in.
pub const FOREIGN_V4: [Ipv4Addr; 4] =
    [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4), Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(9, 9, 9, 9)];
/// Public resolvers that devices have built in.
pub const FOREIGN_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
    Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111),
    Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 9),
];

/// The name of the city's dashboard, where a lab has one.
pub const DASHBOARD: &str = "dashboard.tirana.example";

/// Names below this are answered by a tunnel's server that a flow starts on the internet side.
pub const TUNNEL_ZONE: &str = "tunnel-lab.net";
/// The UDP port of that server, on the loopback address there.
pub const TUNNEL_PORT: u16 = 5353;

/// The portal's name.
pub const PORTAL: &str = "portal.sheshi.example";
/// What the site is called where guests read it.
pub const SITE: &str = "Lab square";

/// Link-layer address of the gateway's uplink: how the internet side tells what came in from what it sent.
pub const UPLINK_MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x00, 0x00, 0x02];

/// Link-layer address of the guest with this number (1 is `guest1`).
pub fn guest_mac(number: u8) -> [u8; 6] {
    [0x02, 0x00, 0x5e, 0x00, 0x01, number]
}

/// Every address that lives on the internet side.
pub fn internet_addresses() -> Vec<IpAddr> {
    let v4 = [UPSTREAM_V4, WEB_V4, BYPASS_V4, ECHO_V4].into_iter().chain(CLOCKS).chain(FOREIGN_V4).map(IpAddr::V4);
    let v6 = [UPSTREAM_V6, WEB_V6, BYPASS_V6, ECHO_V6].into_iter().chain(FOREIGN_V6).map(IpAddr::V6);
    v4.chain(v6).collect()
}

/// Writes a link-layer address the way `ip` reads it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}
