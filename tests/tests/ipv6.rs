//! IPv6 where a prefix is routed to the gateway, and where there is none: the other flows have it translated.

use std::{net::IpAddr, time::Duration};

use hickory_proto::rr::RecordType;
use sheshi_tests::{Ipv6, Lab, Options, attacks, dns::Transport, plan};

fn lab(ipv6: Ipv6) -> Lab {
    Lab::start(Options { ipv6, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn routed_prefix_is_used_as_it_is_and_filtered_all_the_same() {
    let lab = lab(Ipv6::Routed);
    let guest = lab.guest("guest1");
    let lease = guest.join().unwrap();
    assert_eq!(lease.v6[0].segments()[..4], plan::GATEWAY_ROUTED.segments()[..4]);
    let (arrived, _) = attacks::try_all(&lab, &guest).unwrap();
    assert_eq!(arrived, Vec::<String>::new(), "got out of the gateway");
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
    for server in [plan::GATEWAY_ROUTED, plan::FOREIGN_V6[0]] {
        let answer = guest.ask((server, 53), "pornhub.com", RecordType::AAAA, Transport::Udp).unwrap();
        assert!(answer.is_blocked(), "{server}: {:?}", answer.message);
    }
    // Not translated: the internet sees the device's own address.
    let arrivals = lab.arrivals().unwrap();
    assert!(arrivals.iter().any(|arrival| arrival.source == lease.v6[0] && arrival.target == plan::WEB_V6));
    assert!(!arrivals.iter().any(|arrival| arrival.source == plan::UPLINK_V6 && arrival.target == plan::WEB_V6));
}

#[test]
fn without_a_prefix_nothing_of_ipv6_gets_out() {
    let lab = lab(Ipv6::Off);
    let guest = lab.guest("guest1");
    let lease = guest.join().unwrap();
    assert!(lease.v6.is_empty(), "{lease:?}");
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
    // A device that helps itself to an address and a route.
    guest.output(&["ip", "addr", "add", "fd5e:5e:1::9/64", "dev", "eth0", "nodad"]).unwrap();
    let link_local = lab.place("gateway").output(&["ip", "-6", "-brief", "addr", "show", "dev", "guests"]).unwrap();
    let router = link_local.split_whitespace().find(|word| word.starts_with("fe80")).unwrap();
    let router = router.split('/').next().unwrap();
    guest.output(&["ip", "route", "replace", "::/0", "via", router, "dev", "eth0"]).unwrap();
    assert!(guest.connect((plan::WEB_V6, 443).into(), Duration::from_secs(1)).is_err());
    let (arrived, _) = attacks::try_all(&lab, &guest).unwrap();
    let v6: Vec<_> = arrived.iter().filter(|name| name.ends_with(&IpAddr::V6(plan::ECHO_V6).to_string())).collect();
    assert!(v6.is_empty(), "got out: {v6:?}");
    assert!(arrived.contains(&format!("tcp/443 to {}", plan::ECHO_V4)), "the log is blind");
}
