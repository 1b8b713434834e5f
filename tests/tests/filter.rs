//! What an admitted guest cannot resolve, however it asks, and that nothing else is in the way.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use sheshi_tests::{Guest, Lab, Options, REAL_PAGE, dns::Transport, plan};
use socket2::{Domain, Type};

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    Lab::start(Options { guests: 7, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"))
});

const TYPES: [RecordType; 10] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::HTTPS,
    RecordType::TXT,
    RecordType::MX,
    RecordType::CNAME,
    RecordType::SRV,
    RecordType::NULL,
    RecordType::NS,
    RecordType::SVCB,
];

fn admitted(name: &str) -> Guest {
    let guest = LAB.guest(name);
    guest.join_and_accept().unwrap();
    guest
}

fn own_servers() -> [IpAddr; 2] {
    [plan::GATEWAY_V4.into(), plan::GATEWAY_ULA.into()]
}

/// Resolvers that devices have built in, one of each family.
fn foreign_servers() -> [IpAddr; 2] {
    [plan::FOREIGN_V4[0].into(), plan::FOREIGN_V6[0].into()]
}

/// Blocked by sheshi, and no address or data came along.
fn assert_blocked(guest: &Guest, server: IpAddr, name: &str, kind: RecordType, transport: Transport) {
    let answer = guest.ask((server, 53), name, kind, transport).unwrap();
    let what = format!("{name} {kind} at {server} over {transport:?}");
    assert!(answer.is_blocked(), "{what}: {:?} {:?}", answer.code(), answer.extended_error());
    let leads_out = |address: &IpAddr| !address.is_unspecified() && !own_servers().contains(address);
    assert!(!answer.addresses().iter().any(leads_out), "{what}: {:?}", answer.addresses());
    let (_, text) = answer.extended_error().unwrap();
    assert!(!text.is_empty(), "{what}: no text says why");
}

fn assert_resolved(guest: &Guest, server: IpAddr, name: &str, transport: Transport) {
    for (kind, address) in [(RecordType::A, IpAddr::V4(plan::WEB_V4)), (RecordType::AAAA, IpAddr::V6(plan::WEB_V6))] {
        let answer = guest.ask((server, 53), name, kind, transport).unwrap();
        assert_eq!(answer.addresses(), [address], "{name} {kind} at {server}: {:?}", answer.extended_error());
    }
}

#[test]
fn blocked_name_is_blocked_in_every_type_and_spelling() {
    let guest = admitted("guest1");
    for name in ["pornhub.com", "PORNHUB.COM", "PornHub.Com", "www.pornhub.com", "a.b.c.pornhub.com"] {
        for kind in TYPES {
            assert_blocked(&guest, plan::GATEWAY_V4.into(), name, kind, Transport::Udp);
        }
        for server in own_servers() {
            for transport in [Transport::Udp, Transport::Tcp] {
                assert_blocked(&guest, server, name, RecordType::A, transport);
            }
        }
    }
    for name in ["notpornhub.com", "pornhub.com.example.org", "pornhub.co"] {
        assert_resolved(&guest, plan::GATEWAY_V4.into(), name, Transport::Udp);
    }
    let asked = LAB.asked();
    let leaked: Vec<_> =
        asked.iter().filter(|asked| asked.name.ends_with("pornhub.com") && !asked.name.starts_with("not")).collect();
    assert!(leaked.is_empty(), "asked upstream: {leaked:?}");
    assert!(asked.iter().any(|asked| asked.name == "notpornhub.com"), "the log is blind");
}

#[test]
fn every_list_of_the_policy_blocks() {
    let guest = admitted("guest2");
    for name in [
        "adult.sheshi-lab.example",
        "casino.example",
        "malware.sheshi-lab.example",
        "x.cryptominer.sheshi-lab.example",
        "phishing.sheshi-lab.example",
        "dns.google",
        "denied.example.org",
    ] {
        assert_blocked(&guest, plan::GATEWAY_V4.into(), name, RecordType::A, Transport::Udp);
    }
    assert_resolved(&guest, plan::GATEWAY_V4.into(), "museum.casino.example", Transport::Udp);
    let blocked = guest.get("casino.example", "/").unwrap();
    assert_eq!(blocked.status, 403, "{blocked:?}");
    assert!(blocked.body.contains("casino.example") && !blocked.body.contains(REAL_PAGE), "{blocked:?}");
}

#[test]
fn alias_of_a_blocked_name_is_blocked() {
    let guest = admitted("guest3");
    let own = plan::GATEWAY_V4.into();
    for kind in [RecordType::A, RecordType::AAAA, RecordType::CNAME] {
        assert_blocked(&guest, own, "pornhub.com.alias.example.org", kind, Transport::Udp);
    }
    assert_blocked(&guest, own, "pornhub.com.alias.example.org.alias.example.org", RecordType::A, Transport::Udp);
    for name in ["pornhub.com.service.example.org", "pornhub.com.target.example.org"] {
        assert_blocked(&guest, own, name, RecordType::HTTPS, Transport::Udp);
    }
    let control = guest.resolve("harmless.example.net.alias.example.org", RecordType::A).unwrap();
    assert_eq!(control.addresses(), [plan::WEB_V4]);
    let control = guest.resolve("harmless.example.net.target.example.org", RecordType::HTTPS).unwrap();
    assert_eq!(control.message.answers.len(), 1, "{:?}", control.message);
}

#[test]
fn foreign_resolver_is_ours_all_the_same() {
    let guest = admitted("guest4");
    for server in foreign_servers() {
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_blocked(&guest, server, "pornhub.com", RecordType::A, transport);
            assert_blocked(&guest, server, "pornhub.com", RecordType::AAAA, transport);
            // Not the foreign resolver's answer, which would lead elsewhere.
            assert_resolved(&guest, server, "foreign.example.org", transport);
        }
    }
    let foreign: Vec<_> = LAB.asked().into_iter().filter(|asked| asked.foreign).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn encrypted_dns_is_refused_at_once() {
    let guest = admitted("guest5");
    for server in foreign_servers() {
        let started = Instant::now();
        let refused = guest.connect((server, 853).into(), Duration::from_secs(5)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(1), "{server} is dropped, not refused: {refused}");
        assert!(guest.ask((server, 853), "pornhub.com", RecordType::A, Transport::Tls).is_err());
        assert!(is_refused_udp(&guest, (server, 853).into()), "{server}/udp is not refused");
    }
    // The control: other ports of the same hosts are open, so it is the port that is refused.
    for server in foreign_servers() {
        guest.connect((server, 80).into(), Duration::from_secs(5)).unwrap();
    }
    let arrivals = LAB.arrivals().unwrap();
    assert!(!arrivals.iter().any(|arrival| arrival.target_port == 853), "DNS over TLS or QUIC got out");
    assert!(arrivals.iter().any(|arrival| arrival.target_port == 80), "the log is blind");
}

/// Whether a datagram there comes back as an ICMP error within a second.
fn is_refused_udp(guest: &Guest, to: SocketAddr) -> bool {
    let socket = guest.socket(Domain::for_address(to), Type::DGRAM, None).unwrap();
    // ICMP "administratively prohibited" is told to a socket only when it wants to hear all errors (ip(7)).
    let told = if to.is_ipv4() { socket2_errors::v4(&socket) } else { socket2_errors::v6(&socket) };
    told.unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.send(b"\x00\x01").unwrap();
    match std::net::UdpSocket::from(socket).recv(&mut [0; 16]) {
        Err(problem) => !matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        Ok(_) => false,
    }
}

/// `IP_RECVERR` and its sister.
mod socket2_errors {
    use nix::sys::socket::{setsockopt, sockopt};
    use socket2::Socket;

    pub(super) fn v4(socket: &Socket) -> nix::Result<()> {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    }

    pub(super) fn v6(socket: &Socket) -> nix::Result<()> {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    }
}

#[test]
fn answers_of_the_internet_come_through_as_they_are() {
    let guest = admitted("guest6");
    let gone = guest.resolve("shop.dead.example.net", RecordType::A).unwrap();
    assert_eq!((gone.code(), gone.is_blocked()), (ResponseCode::NXDomain, false));
    let nothing = guest.resolve("news.example.org", RecordType::MX).unwrap();
    assert_eq!((nothing.code(), nothing.message.answers.len()), (ResponseCode::NoError, 0));
    let text = guest.resolve("news.example.org", RecordType::TXT).unwrap();
    assert_eq!(text.message.answers.len(), 1);
}

#[test]
fn name_that_leads_into_the_guests_own_network_has_no_address() {
    let guest = admitted("guest7");
    for spelled in ["10-77-0-1", "127-0-0-1", "192-168-1-1", "169-254-169-254", "0-0-0-0", "100-64-0-1"] {
        let answer = guest.resolve(&format!("{spelled}.address.example.org"), RecordType::A).unwrap();
        assert_eq!(answer.addresses(), [] as [IpAddr; 0], "{spelled}");
    }
    let control = guest.resolve("93-184-215-14.address.example.org", RecordType::A).unwrap();
    assert_eq!(control.addresses(), [IpAddr::from([93, 184, 215, 14])]);
}
