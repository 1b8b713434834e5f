//! The promises of docs/network-contract.md, with real packets. Each test shows first, or besides, that the packet it
//! finds stopped would have come through.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::time::{Duration, Instant};

use common::{network, square};
use lab::*;
use sheshi_firewall::{Admin, Ipv6Mode, Ruleset};

/// Protocols that are neither TCP, UDP nor ICMP: IP in IP, 6in4, GRE, ESP, AH, L2TP, SCTP, UDP-Lite, and one that nobody has.
const OTHER_PROTOCOLS: [i32; 9] = [4, 41, 47, 50, 51, 115, 132, 136, 200];

/// Everything a device can think of to reach the internet.
fn try_everything(device: &Namespace) {
    for (web, resolver) in [(WEB4, RESOLVER4), (WEB6, RESOLVER6)] {
        for port in [22, 25, 443, 853, 4433] {
            assert!(device.tcp(web, port).is_err(), "{web} tcp {port}");
        }
        for port in [123, 443, 500, 853, 1194, 4433, 4500, 51820] {
            assert!(device.udp(web, port).is_err(), "{web} udp {port}");
        }
        assert!(device.udp(resolver, 443).is_err());
        assert!(!device.ping(web), "ping {web}");
        for protocol in OTHER_PROTOCOLS {
            device.raw(web, protocol, b"a tunnel, perhaps");
        }
    }
}

#[test]
fn naive_gateway_lets_all_of_it_through() {
    lab("naive_gateway_lets_all_of_it_through", |lab| {
        sysctl("ipv4/ip_forward", "1");
        sysctl("ipv6/conf/all/forwarding", "1");
        lab.bounce();
        for (web, thief) in [(WEB4, THIEF4), (WEB6, THIEF6)] {
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.udp(web, 443).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.udp(web, 53).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.tcp(web, 853).as_deref(), Ok("internet"));
            assert!(lab.guest.ping(web));
            lab.tap.take();
            for protocol in OTHER_PROTOCOLS {
                lab.guest.raw(web, protocol, b"a tunnel, perhaps");
            }
            let seen =
                lab.tap.take().into_iter().filter(|packet| packet.windows(8).any(|part| part == b"a tunnel")).count();
            assert!(seen >= OTHER_PROTOCOLS.len(), "{web}: {seen}");
            assert!(lab.guest.ping(thief), "{thief}");
        }
    });
}

#[test]
fn stranger_reaches_nothing_of_the_internet() {
    lab("stranger_reaches_nothing_of_the_internet", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        lab.tap.take();
        try_everything(&lab.thief);
        let leaked = lab.tap.take();
        assert!(leaked.is_empty(), "{} packets of a stranger on the internet, first {:02x?}", leaked.len(), leaked[0]);
        for web in [WEB4, WEB6] {
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.udp(web, 443).as_deref(), Ok("internet"));
            assert!(lab.guest.ping(web));
        }
        assert!(!lab.tap.take().is_empty());
    });
}

#[test]
fn stranger_is_refused_at_once_and_not_left_waiting() {
    lab("stranger_is_refused_at_once_and_not_left_waiting", |lab| {
        lab.services();
        let _guard = lab.guarding(&square());
        for web in [WEB4, WEB6] {
            let begun = Instant::now();
            assert_eq!(lab.guest.tcp(web, 443), Err(Failure::Refused));
            assert_eq!(lab.guest.udp(web, 443), Err(Failure::Refused));
            assert_eq!(lab.guest.tcp(web, 4433), Err(Failure::Refused));
            assert!(begun.elapsed() < Duration::from_millis(300), "{web}: {:?}", begun.elapsed());
        }
    });
}

#[test]
fn dns_and_http_lead_to_our_own_services() {
    lab("dns_and_http_lead_to_our_own_services", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for (resolver, web) in [(RESOLVER4, WEB4), (RESOLVER6, WEB6), (GATEWAY4, GATEWAY4), (GATEWAY6, GATEWAY6)] {
            assert_eq!(lab.guest.udp(resolver, 53).as_deref(), Ok("resolver"), "{resolver}");
            assert_eq!(lab.guest.tcp(resolver, 53).as_deref(), Ok("resolver"), "{resolver}");
            assert_eq!(lab.thief.udp(resolver, 53).as_deref(), Ok("strangers"), "{resolver}");
            assert_eq!(lab.thief.tcp(resolver, 53).as_deref(), Ok("strangers"), "{resolver}");
            assert_eq!(lab.thief.tcp(web, 80).as_deref(), Ok("portal"), "{web}");
            let admitted = if web == GATEWAY4 || web == GATEWAY6 { "portal" } else { "internet" };
            assert_eq!(lab.guest.tcp(web, 80).as_deref(), Ok(admitted), "{web}");
        }
        let _ = guard.expel(GUEST).unwrap();
        assert_eq!(lab.guest.udp(RESOLVER4, 53).as_deref(), Ok("strangers"));
        assert_eq!(lab.guest.tcp(WEB6, 80).as_deref(), Ok("portal"));
    });
}

#[test]
fn link_local_dns_follows_the_pair_too() {
    lab("link_local_dns_follows_the_pair_too", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        assert_eq!(lab.guest.udp(GATEWAY_LINK, 53).as_deref(), Ok("strangers"));
        // The kernel makes it of the MAC (RFC 4291, appendix A).
        guard.admit(GUEST, &["fe80::5eff:fe10:1".parse().unwrap()], Duration::from_secs(60)).unwrap();
        assert_eq!(lab.guest.udp(GATEWAY_LINK, 53).as_deref(), Ok("resolver"));
        assert_eq!(lab.thief.udp(GATEWAY_LINK, 53).as_deref(), Ok("strangers"));
    });
}

#[test]
fn encrypted_dns_is_refused_and_its_neighbours_pass() {
    lab("encrypted_dns_is_refused_and_its_neighbours_pass", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for (web, closed) in [(WEB4, CLOSED4), (WEB6, CLOSED6)] {
            assert_eq!(lab.guest.tcp(web, 853), Err(Failure::Refused), "DoT {web}");
            assert_eq!(lab.guest.udp(web, 853), Err(Failure::Refused), "DoQ {web}");
            assert_eq!(lab.guest.tcp(closed, 443), Err(Failure::Refused), "DoH {closed}");
            assert_eq!(lab.guest.udp(closed, 443), Err(Failure::Refused), "DoH3 {closed}");
            assert_eq!(lab.guest.tcp(closed, 4433).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
        }
        let counted =
            |promise: &str| guard.health().unwrap().counters.iter().find(|c| c.promise == promise).unwrap().packets;
        assert!(counted("C12") >= 4 && counted("C13") >= 4);
    });
}

#[test]
fn stolen_address_under_another_mac_gets_nothing() {
    lab("stolen_address_under_another_mac_gets_nothing", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
        assert_eq!(lab.guest.udp(WEB6, 4433).as_deref(), Ok("internet"));
        // The victim leaves, the thief takes its addresses, and the gateway's neighbour table follows.
        lab.guest.call(|| ip("link set eth0 down"));
        lab.thief.call(|| {
            ip("addr flush dev eth0 scope global");
            ip(&format!("addr add {GUEST4}/20 dev eth0"));
            ip(&format!("addr add {GUEST6}/64 dev eth0 nodad"));
            ip("route replace default via 10.80.0.1");
            ip("route replace default via 2001:db8:80::1");
        });
        for v in ["-4", "-6"] {
            run("ip", &format!("{v} neigh flush dev br-guest"));
        }
        lab.tap.take();
        // It is really there under that address: the portal answers it.
        assert_eq!(lab.thief.tcp(WEB4, 80).as_deref(), Ok("portal"));
        assert_eq!(lab.thief.udp(RESOLVER6, 53).as_deref(), Ok("strangers"));
        try_everything(&lab.thief);
        let leaked = lab.tap.take();
        assert!(leaked.is_empty(), "{leaked:02x?}");
    });
}

#[test]
fn guests_do_not_meet_through_the_gateway() {
    lab("guests_do_not_meet_through_the_gateway", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        guard.admit(THIEF, &[THIEF4.parse().unwrap(), THIEF6.parse().unwrap()], Duration::from_secs(60)).unwrap();
        lab.thief.call(|| serve(9000, "another guest", &[THIEF4, THIEF6]));
        lab.bounce();
        for other in [THIEF4, THIEF6] {
            assert!(!lab.guest.ping(other));
            assert_eq!(lab.guest.tcp(other, 9000), Err(Failure::Silence));
        }
        let dropped = guard.health().unwrap().counters.into_iter().find(|counter| counter.promise == "C05").unwrap();
        assert!(dropped.packets >= 4, "{dropped:?}");
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn false_source_addresses_are_dropped_on_both_sides() {
    lab("false_source_addresses_are_dropped_on_both_sides", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let counted =
            |promise: &str| guard.health().unwrap().counters.iter().find(|c| c.promise == promise).unwrap().packets;
        lab.tap.take();
        for (address, bits, web) in [("172.16.5.5", 32, WEB4), ("2001:db8:f00::5", 128, WEB6), (WAN4, 32, WEB4)] {
            let before = counted("C02");
            lab.guest.call(move || {
                add_address(address, "eth0");
                let family = if address.contains(':') { "-6" } else { "-4" };
                let gateway = if address.contains(':') { GATEWAY6 } else { GATEWAY4 };
                run("ip", &format!("{family} route replace {web}/{bits} via {gateway} src {address}"));
            });
            assert_eq!(lab.guest.udp(web, 4433), Err(Failure::Silence), "{address}");
            assert!(counted("C02") > before, "{address}");
            lab.guest.call(move || ip(&format!("route del {web}/{bits}")));
        }
        assert_eq!(lab.tap.take(), NOTHING);
        let before = counted("C03");
        lab.internet.call(|| {
            for (address, bits, wan, family) in [("10.80.0.77", 32, WAN4, "-4"), ("2001:db8:80::77", 128, WAN6, "-6")] {
                add_address(address, "isp");
                run("ip", &format!("{family} route replace {wan}/{bits} dev isp src {address}"));
            }
        });
        assert_eq!(lab.internet.udp(WAN4, 68), Err(Failure::Silence));
        assert_eq!(lab.internet.udp(WAN6, 546), Err(Failure::Silence));
        assert!(counted("C03") >= before + 2);
    });
}

#[test]
fn uplink_reaches_guests_with_replies_only() {
    lab("uplink_reaches_guests_with_replies_only", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        lab.guest.call(|| serve(9000, "a guest's own server", &[GUEST4, GUEST6]));
        assert_eq!(lab.guest.tcp(WEB6, 443).as_deref(), Ok("internet"));
        for address in [GUEST4, GUEST6] {
            assert_eq!(lab.internet.tcp(address, 9000), Err(Failure::Silence), "{address}");
            assert_eq!(lab.internet.udp(address, 9000), Err(Failure::Silence), "{address}");
            assert!(!lab.internet.ping(address));
        }
        guard.end();
        run("nft", "flush ruleset");
        assert_eq!(lab.internet.tcp(GUEST6, 9000).as_deref(), Ok("a guest's own server"));
    });
}

#[test]
fn guests_reach_only_named_services_on_any_address_of_the_gateway() {
    lab("guests_reach_only_named_services_on_any_address_of_the_gateway", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for device in [&lab.guest, &lab.thief] {
            for address in [GATEWAY4, GATEWAY6, GATEWAY_LINK, WAN4, WAN6] {
                for port in [22, 443, 5300, 8080] {
                    assert!(device.tcp(address, port).is_err(), "{address} tcp {port}");
                    assert!(device.udp(address, port).is_err(), "{address} udp {port}");
                }
            }
            assert_eq!(device.tcp(GATEWAY4, 80).as_deref(), Ok("portal"));
            assert_eq!(device.tcp(GATEWAY_LINK, 80).as_deref(), Ok("portal"));
            for address in [GATEWAY4, GATEWAY6] {
                assert!(device.ping(address), "{address}");
            }
        }
        let mut with_tls = square();
        with_tls.ports.portal_tls = Some(443);
        guard.apply(&with_tls).unwrap();
        assert_eq!(lab.thief.tcp(GATEWAY6, 443).as_deref(), Ok("tls"));
        assert!(lab.thief.tcp(GATEWAY6, 22).is_err());
    });
}

#[test]
fn our_own_encrypted_dns_is_for_the_admitted_and_foreign_stays_refused() {
    lab("our_own_encrypted_dns_is_for_the_admitted_and_foreign_stays_refused", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let ours = [GATEWAY4, GATEWAY6, GATEWAY_LINK];
        for (address, port) in ours.into_iter().flat_map(|address| [(address, 853), (address, 8443)]) {
            assert!(lab.guest.tcp(address, port).is_err(), "not offered: {address} {port}");
        }
        let mut with_dns = square();
        (with_dns.ports.dns_tls, with_dns.ports.dns_https) = (Some(853), Some(8443));
        guard.apply(&with_dns).unwrap();
        // A link-local address is admitted with its MAC when the guest uses it; here only the global ones are.
        for address in [GATEWAY4, GATEWAY6] {
            assert_eq!(lab.guest.tcp(address, 853).as_deref(), Ok("dot"), "{address}");
            assert_eq!(lab.guest.tcp(address, 8443).as_deref(), Ok("doh"), "{address}");
        }
        for (address, port) in
            ours.into_iter().chain([WAN4, WAN6]).flat_map(|address| [(address, 853), (address, 8443)])
        {
            assert!(lab.thief.tcp(address, port).is_err(), "a stranger: {address} {port}");
            assert!(lab.thief.udp(address, port).is_err(), "a stranger: {address} {port}");
        }
        for address in [WAN4, WAN6] {
            assert!(lab.guest.tcp(address, 853).is_err() && lab.guest.tcp(address, 8443).is_err(), "{address}");
            assert_eq!(lab.internet.tcp(address, 853), Err(Failure::Silence), "{address}");
        }
        for web in [WEB4, WEB6] {
            assert_eq!(lab.guest.tcp(web, 853), Err(Failure::Refused), "{web}");
        }
    });
}

#[test]
fn administration_enters_where_the_ruleset_says_and_nowhere_else() {
    lab("administration_enters_where_the_ruleset_says_and_nowhere_else", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        for address in [WAN4, WAN6] {
            for port in [22, 53, 80, 443, 5300, 8080] {
                assert_eq!(lab.internet.tcp(address, port), Err(Failure::Silence), "{address} {port}");
                assert_eq!(lab.internet.udp(address, port), Err(Failure::Silence), "{address} {port}");
            }
        }
        let admin = Admin { interface: "wan0".into(), from: vec![network("203.0.113.1")], tcp: vec![22] };
        guard.apply(&Ruleset { admin: vec![admin], ..square() }).unwrap();
        assert_eq!(lab.internet.tcp(WAN4, 22).as_deref(), Ok("ssh"));
        assert_eq!(lab.internet.tcp(WAN6, 22), Err(Failure::Silence));
        assert_eq!(lab.internet.tcp(WAN4, 8080), Err(Failure::Silence));
        assert!(lab.guest.tcp(GATEWAY4, 22).is_err());
    });
}

#[test]
fn no_tunnel_protocol_leaves_even_for_the_admitted() {
    lab("no_tunnel_protocol_leaves_even_for_the_admitted", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        lab.tap.take();
        for web in [WEB4, WEB6] {
            for protocol in OTHER_PROTOCOLS {
                lab.guest.raw(web, protocol, b"a tunnel, perhaps");
            }
        }
        let leaked = lab.tap.take();
        let leaked: Vec<_> = leaked.iter().filter(|packet| packet.windows(8).any(|part| part == b"a tunnel")).collect();
        assert_eq!(leaked.len(), 0, "{leaked:02x?}");
        // Some of them are malformed as well, and dropped as such.
        let counters = guard.health().unwrap().counters.into_iter();
        let dropped: u64 =
            counters.filter(|c| c.promise == "C23" || c.promise == "C04").map(|counter| counter.packets).sum();
        assert!(dropped >= 16, "{dropped}");
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn ipv6_goes_as_configured() {
    lab("ipv6_goes_as_configured", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let source_of_syn = || {
            lab.tap.take();
            let answer = lab.guest.tcp(WEB6, 443);
            let packets = lab.tap.take();
            let first = packets.iter().find(|packet| packet[12..14] == [0x86, 0xdd]);
            (
                answer,
                first
                    .map(|packet| std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&packet[22..38]).unwrap()).to_string()),
            )
        };
        assert_eq!(source_of_syn(), (Ok("internet".into()), Some(GUEST6.into())));
        guard.apply(&Ruleset { ipv6: Ipv6Mode::Nat66, generation: 8, ..square() }).unwrap();
        assert_eq!(source_of_syn(), (Ok("internet".into()), Some(WAN6.into())));
        guard.apply(&Ruleset { ipv6: Ipv6Mode::Off, generation: 9, ..square() }).unwrap();
        assert_eq!(source_of_syn().1, None);
        // The switch alone is not what closes it.
        sysctl("ipv6/conf/all/forwarding", "1");
        assert_eq!(source_of_syn(), (Err(Failure::Refused), None));
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn guests_ipv4_leaves_under_the_uplinks_address() {
    lab("guests_ipv4_leaves_under_the_uplinks_address", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        lab.tap.take();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
        assert_eq!(lab.guest.udp(WEB4, 4433).as_deref(), Ok("internet"));
        assert!(lab.guest.ping(WEB4));
        let sources: Vec<_> = lab.tap.take().iter().map(|packet| packet[26..30].to_vec()).collect();
        assert!(sources.contains(&vec![203, 0, 113, 2]) && sources.iter().all(|source| source[0] != 10), "{sources:?}");
    });
}

#[test]
fn tcp_segments_fit_a_narrow_uplink() {
    lab("tcp_segments_fit_a_narrow_uplink", |lab| {
        ip("link set wan0 mtu 1380");
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for (web, headers, at) in [(WEB4, 40, 34), (WEB6, 60, 54)] {
            lab.tap.take();
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
            let packets = lab.tap.take();
            let syn = packets.iter().find(|packet| packet.len() > at + 24 && packet[at + 13] == 0x02).expect("a SYN");
            // The first TCP option of Linux is MSS: kind 2, length 4.
            assert_eq!(syn[at + 20..at + 22], [2, 4]);
            assert_eq!(u16::from_be_bytes([syn[at + 22], syn[at + 23]]), 1380 - headers, "{web}");
        }
    });
}

#[test]
fn path_errors_reach_the_guest() {
    lab("path_errors_reach_the_guest", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        // Behind the internet's router there is a narrower link, which it says by "packet too big", "fragmentation needed".
        lab.internet.call(|| {
            sysctl("ipv4/ip_forward", "1");
            sysctl("ipv6/conf/all/forwarding", "1");
            ip("link add far type veth peer name away");
            ip("link set far mtu 1300 up");
            ip("link set away mtu 1300 up");
            ip("route add 198.19.0.0/24 dev far");
            ip("route add 2001:db8:fa::/64 dev far");
        });
        for (far, v) in [("198.19.0.1", "-4"), ("2001:db8:fa::1", "-6")] {
            lab.guest.call(move || {
                let _ = std::process::Command::new("ping")
                    .args([v, "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1400", far])
                    .output();
                let route = run("ip", &format!("{v} route get {far}"));
                assert!(route.contains("mtu 1300"), "{route}");
            });
        }
    });
}

#[test]
fn forged_router_advertisement_of_a_guest_is_dropped() {
    lab("forged_router_advertisement_of_a_guest_is_dropped", |lab| {
        sysctl("ipv6/conf/br-guest/accept_ra", "2");
        let guard = lab.guarding(&square());
        // RFC 4861 §4.2, router lifetime 1800 s. Raw sockets send with hop limit 255 for it on request only.
        let forge = || {
            lab.thief.call(|| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::RAW, Some(socket2::Protocol::ICMPV6))
                        .unwrap();
                socket.set_multicast_hops_v6(255).unwrap();
                socket.set_multicast_if_v6(2).unwrap();
                let to: std::net::SocketAddr = "[ff02::1%2]:0".parse().unwrap();
                socket.send_to(&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0], &to.into()).unwrap();
            });
            std::thread::sleep(Duration::from_millis(200));
            run("ip", "-6 route show dev br-guest").contains("default")
        };
        assert!(!forge());
        // Without the rules the gateway believes it.
        guard.end();
        run("nft", "flush ruleset");
        assert!(forge());
    });
}

/// A UDP datagram with its checksum (RFC 768, RFC 8200 §8.1).
fn udp6(from: &str, to: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let header = [7000_u16.to_be_bytes(), port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    let mut datagram = [header.as_slice(), payload].concat();
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let pseudo =
        [&address(from)[..], &address(to), &u32::from(length).to_be_bytes(), &[0, 0, 0, 17], &datagram].concat();
    let mut sum: u32 =
        pseudo.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    datagram[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    datagram
}

#[test]
fn extension_headers_and_fragments_hide_nothing() {
    lab("extension_headers_and_fragments_hide_nothing", |lab| {
        const DESTINATION_OPTIONS: u8 = 60;
        const FRAGMENT: i32 = 44;
        const UDP: u8 = 17;
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let send = |device: &Namespace, from: &str, to: &'static str, port: u16| {
            let datagram = udp6(from, to, port, b"in disguise, in disguise");
            // Two headers of destination options, padded (PadN).
            let mut dressed = vec![DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4, 0, 0, 0, 0];
            dressed.extend_from_slice(&datagram);
            device.raw(to, i32::from(DESTINATION_OPTIONS), dressed.leak());
            // Two fragments; the port is in the first only.
            let (first, second) = datagram.split_at(16);
            for (part, offset_and_more) in [(first, 1_u16), (second, 16)] {
                let header = [&[UDP, 0][..], &offset_and_more.to_be_bytes(), &[0, 0, 0, 9]].concat();
                device.raw(to, FRAGMENT, [header.as_slice(), part].concat().leak());
            }
        };
        let seen = || lab.tap.take().iter().filter(|packet| packet.windows(8).any(|part| part == b"disguise")).count();
        seen();
        send(&lab.guest, GUEST6, WEB6, 4433);
        assert_eq!(seen(), 2, "the control: an open port is reached in both disguises");
        for (to, port) in [(WEB6, 853), (RESOLVER6, 53), (CLOSED6, 443)] {
            send(&lab.guest, GUEST6, to, port);
            assert_eq!(seen(), 0, "{to} {port}");
        }
        send(&lab.thief, THIEF6, WEB6, 4433);
        assert_eq!(seen(), 0);
    });
}

#[test]
fn large_datagrams_in_fragments_are_judged_like_small_ones() {
    lab("large_datagrams_in_fragments_are_judged_like_small_ones", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for (web, resolver, closed) in [(WEB4, RESOLVER4, CLOSED4), (WEB6, RESOLVER6, CLOSED6)] {
            assert_eq!(lab.guest.udp_large(web, 4433).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.udp_large(web, 853), Err(Failure::Refused));
            assert_eq!(lab.guest.udp_large(closed, 443), Err(Failure::Refused));
            assert_eq!(lab.guest.udp_large(resolver, 53).as_deref(), Ok("resolver"));
            assert_eq!(lab.thief.udp_large(resolver, 53).as_deref(), Ok("strangers"));
            assert!(lab.thief.udp_large(web, 4433).is_err());
        }
    });
}

#[test]
fn packet_of_no_connection_is_dropped() {
    lab("packet_of_no_connection_is_dropped", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let invalid =
            || guard.health().unwrap().counters.iter().find(|counter| counter.promise == "C04").unwrap().packets;
        let seen = || lab.tap.take().iter().filter(|packet| packet.windows(8).any(|part| part == b"checksum")).count();
        let good = udp6(GUEST6, WEB6, 4433, b"a checksum");
        let mut wrong = good.clone();
        wrong[6] ^= 0x55;
        seen();
        lab.guest.raw(WEB6, 17, good.leak());
        assert_eq!(seen(), 1);
        let before = invalid();
        lab.guest.raw(WEB6, 17, wrong.leak());
        assert_eq!(seen(), 0);
        assert_eq!(invalid(), before + 1);
    });
}

#[test]
fn one_device_cannot_use_up_the_connections_of_all() {
    lab("one_device_cannot_use_up_the_connections_of_all", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let flood = |device: &Namespace, to: &'static str| {
            lab.tap.take();
            device.call(move || {
                let any = if to.contains(':') { "[::]" } else { "0.0.0.0" };
                for port in 20_000..21_100_u16 {
                    let socket =
                        std::net::UdpSocket::bind(format!("{any}:{port}").parse::<std::net::SocketAddr>().unwrap())
                            .unwrap();
                    let _ = socket.send_to(b"a connection", (to, 4434));
                }
            });
            // Not the errors that the far end's kernel sends back: they repeat the words.
            let udp = |packet: &Vec<u8>| if packet[12] == 0x08 { packet[23] == 17 } else { packet[20] == 17 };
            let words = |packet: &Vec<u8>| packet.windows(12).any(|part| part == b"a connection");
            lab.tap.take().iter().filter(|packet| udp(packet) && words(packet)).count()
        };
        // Both families share the thousand.
        let through = flood(&lab.guest, WEB4);
        assert!((990..=1000).contains(&through), "{through}");
        assert_eq!(flood(&lab.guest, WEB6), 0);
        let dropped = guard.health().unwrap().counters.into_iter().find(|counter| counter.promise == "C31").unwrap();
        assert!(dropped.packets >= 1190, "{dropped:?}");
        // Another device has its own, and what is open goes on.
        guard.admit(THIEF, &[THIEF4.parse().unwrap()], Duration::from_secs(60)).unwrap();
        assert_eq!(lab.thief.tcp(WEB4, 443).as_deref(), Ok("internet"));
        assert_eq!(lab.thief.udp(RESOLVER4, 53).as_deref(), Ok("resolver"));
        // Expelled and admitted again, the device begins anew: its connections are gone.
        let _ = guard.expel(GUEST).unwrap();
        guard.admit_guest();
        eventually("the count follows", || lab.guest.tcp(WEB4, 443).ok());
    });
}
