//! What strangers and admitted guests cannot reach: counted by packets that arrive, not by answers that stay away.

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::Duration,
};

use hickory_proto::rr::RecordType;
use sheshi_tests::{Guest, Lab, Options, attacks, plan, until};
use socket2::{Domain, Socket, Type};

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    Lab::start(Options { guests: 10, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"))
});

#[test]
fn stranger_gets_nothing_out_in_either_family() {
    let guest = LAB.guest("guest1");
    guest.join().unwrap();
    let (arrived, _) = attacks::try_all(&LAB, &guest).unwrap();
    assert_eq!(arrived, Vec::<String>::new(), "got out of the gateway");

    // The control: the same device, admitted, gets out what an admitted guest may.
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
    let (arrived, kept) = attacks::try_all(&LAB, &guest).unwrap();
    for name in ["tcp/443", "tcp/22", "tcp/80", "udp/123", "udp/443", "udp/51820", "ping"] {
        for target in [IpAddr::V4(plan::ECHO_V4), IpAddr::V6(plan::ECHO_V6)] {
            let name = format!("{name} to {target}");
            assert!(arrived.contains(&name), "{name} did not arrive; kept back: {kept:?}");
        }
    }
    let encrypted: Vec<_> = arrived.iter().filter(|name| name.contains("/853") || name.contains("/53 ")).collect();
    assert!(encrypted.is_empty(), "an admitted guest's own DNS got out: {encrypted:?}");
}

#[test]
fn guests_cannot_reach_each_other() {
    let (from, to) = (LAB.guest("guest2"), LAB.guest("guest3"));
    from.join_and_accept().unwrap();
    let lease = to.join_and_accept().unwrap();
    for address in [IpAddr::V4(lease.address), IpAddr::V6(lease.v6[0])] {
        assert!(!attacks::reaches_neighbour(&LAB, &from, &to, address, false).unwrap(), "{address} over the bridge");
        assert!(!attacks::reaches_neighbour(&LAB, &from, &to, address, true).unwrap(), "{address} over the gateway");
    }
}

#[test]
fn address_of_an_admitted_guest_is_no_key_without_its_mac() {
    let (guest, thief, control) = (LAB.guest("guest4"), LAB.guest("guest5"), LAB.guest("guest7"));
    let lease = guest.join_and_accept().unwrap();
    control.join_and_accept().unwrap();
    thief.join().unwrap();
    for address in [IpAddr::V4(lease.address), IpAddr::V6(lease.v6[0])] {
        add_address(&thief, address);
        send_from(&thief, address, 1194);
    }
    assert_only_control_got_out(&control, 1194, 4500);
}

#[test]
fn admitted_guest_cannot_speak_for_addresses_of_other_networks() {
    let guest = LAB.guest("guest6");
    guest.join_and_accept().unwrap();
    for address in ["10.99.0.9", "198.51.100.77", "8.8.8.8", "2001:db8:113::99", "fd99::9"] {
        let address: IpAddr = address.parse().unwrap();
        add_address(&guest, address);
        send_from(&guest, address, 51820);
    }
    assert_only_control_got_out(&guest, 51820, 123);
}

fn add_address(guest: &Guest, address: IpAddr) {
    let text = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
    let mut add = vec!["ip", "addr", "add", &text, "dev", "eth0"];
    if address.is_ipv6() {
        add.push("nodad");
    }
    guest.output(&add).unwrap();
}

/// Nothing for `port` of the echo host arrived, although something sent after it to another port did.
fn assert_only_control_got_out(control: &Guest, port: u16, control_port: u16) {
    control.udp((plan::ECHO_V4, control_port).into()).unwrap().send(b"me too").unwrap();
    control.resolve("example.com", RecordType::A).unwrap();
    let arrivals = LAB.arrivals().unwrap();
    let arrived = |port: u16| {
        let targets = [IpAddr::V4(plan::ECHO_V4), IpAddr::V6(plan::ECHO_V6)];
        arrivals
            .iter()
            .any(|arrival| (arrival.protocol, arrival.target_port) == (17, port) && targets.contains(&arrival.target))
    };
    assert!(!arrived(port), "it got out");
    assert!(arrived(control_port), "the log is blind");
}

/// Sends datagrams to the echo host from this address.
fn send_from(guest: &Guest, source: IpAddr, port: u16) {
    let echo = if source.is_ipv4() { plan::ECHO_V4.into() } else { plan::ECHO_V6.into() };
    let target = SocketAddr::new(echo, port);
    let socket = guest.socket(Domain::for_address(target), Type::DGRAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    for _ in 0..3 {
        // A refusal of the packet before shows up here.
        let _ = socket.send_to(b"let me out", &target.into());
    }
}

#[test]
fn new_ipv6_address_of_an_admitted_guest_works_within_two_seconds() {
    let guest = LAB.guest("guest9");
    guest.join_and_accept().unwrap();
    // What a device does once a day for privacy (RFC 8981).
    let address: IpAddr = "fd5e:5e:1::77:77".parse().unwrap();
    guest.output(&["ip", "addr", "add", &format!("{address}/64"), "dev", "eth0", "nodad"]).unwrap();
    until("the new address to be admitted", Duration::from_secs(2), || {
        let socket = guest.socket(Domain::IPV6, Type::STREAM, None).ok()?;
        socket.bind(&SocketAddr::new(address, 0).into()).ok()?;
        socket.connect_timeout(&SocketAddr::from((plan::WEB_V6, 443)).into(), Duration::from_millis(500)).ok()
    })
    .unwrap();
}

#[test]
fn gateway_offers_guests_its_services_and_nothing_else() {
    let guest = LAB.guest("guest8");
    guest.join().unwrap();
    let addresses: [IpAddr; 4] =
        [plan::GATEWAY_V4.into(), plan::GATEWAY_ULA.into(), plan::UPLINK_V4.into(), plan::UPLINK_V6.into()];
    let ports: Vec<u16> = (1..=1024).chain([3000, 5300, 5432, 8000, 8080, 8443, 9090, 9100]).collect();
    for address in addresses {
        // In pieces: an ordinary account may have 1024 files open.
        let open: Vec<u16> = ports.chunks(256).flat_map(|ports| open_ports(&guest, address, ports)).collect();
        // Port 80 of any address is the portal for a stranger, and port 53 the stranger's resolver.
        let allowed: &[u16] =
            if address == plan::GATEWAY_V4 || address == plan::GATEWAY_ULA { &[53, 80, 443] } else { &[53, 80] };
        assert!(open.iter().all(|port| allowed.contains(port)), "{address} has open ports {open:?}");
        assert!(open.contains(&80), "{address}: the probe is blind, open are {open:?}");
    }
}

/// Which of these ports take a connection.
fn open_ports(guest: &Guest, address: IpAddr, ports: &[u16]) -> Vec<u16> {
    let try_port = |port: &u16| {
        let to = SocketAddr::new(address, *port);
        let socket = guest.socket(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&to.into());
        (*port, socket)
    };
    let tried: Vec<(u16, Socket)> = ports.iter().map(try_port).collect();
    // A request that is answered after all others were sent: whoever wanted to answer has had the time.
    guest.resolve("example.com", RecordType::A).unwrap();
    guest.connect((plan::GATEWAY_V4, 80).into(), Duration::from_secs(5)).unwrap();
    tried.iter().filter(|(_, socket)| socket.peer_addr().is_ok()).map(|(port, _)| *port).collect()
}
