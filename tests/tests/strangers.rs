//! What strangers and admitted guests cannot reach: counted by packets that arrive, not by answers that stay away.

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::Duration,
};

use sheshi_tests::{Guest, Lab, Options, attacks, plan};
use socket2::{Domain, Socket, Type};

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    Lab::start(Options { guests: 8, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"))
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
    let (guest, thief) = (LAB.guest("guest4"), LAB.guest("guest5"));
    let lease = guest.join_and_accept().unwrap();
    thief.join().unwrap();
    for address in [IpAddr::V4(lease.address), IpAddr::V6(lease.v6[0])] {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mut add = vec!["ip", "addr", "add"];
        let text = format!("{address}/{bits}");
        add.extend([text.as_str(), "dev", "eth0"]);
        if address.is_ipv6() {
            add.push("nodad");
        }
        thief.output(&add).unwrap();
        let target = SocketAddr::new(if address.is_ipv4() { plan::ECHO_V4.into() } else { plan::ECHO_V6.into() }, 1194);
        send_from(&thief, address, target);
    }
    // The control: the guest itself, to another port, after the thief.
    let udp = guest.udp((plan::ECHO_V4, 4500).into()).unwrap();
    udp.send(b"it is me").unwrap();
    guest.get("news.example.org", "/").unwrap();
    let arrivals = LAB.arrivals().unwrap();
    let to_echo = |port: u16| {
        arrivals.iter().any(|arrival| {
            arrival.target_port == port
                && (arrival.target == plan::ECHO_V4 || arrival.target == plan::ECHO_V6)
                && arrival.protocol == 17
        })
    };
    assert!(!to_echo(1194), "the thief got out");
    assert!(to_echo(4500), "the log is blind");
}

#[test]
fn mac_of_an_admitted_guest_is_no_key_without_its_address() {
    let (guest, thief) = (LAB.guest("guest6"), LAB.guest("guest7"));
    guest.join_and_accept().unwrap();
    let own = thief.join().unwrap();
    // It keeps the address that was lent to its real MAC.
    thief.output(&["ip", "link", "set", "eth0", "address", &plan::mac_text(plan::guest_mac(6))]).unwrap();
    send_from(&thief, own.address.into(), (plan::ECHO_V4, 51820).into());
    let page = thief.get_at(plan::WEB_V4.into(), "news.example.org", "/");
    assert!(!page.is_ok_and(|page| page.status == 200), "the thief browses");
    let arrivals = LAB.arrivals().unwrap();
    let out = arrivals
        .iter()
        .any(|arrival| arrival.target == plan::ECHO_V4 && arrival.target_port == 51820 && arrival.protocol == 17);
    assert!(!out, "the thief got out");
}

fn send_from(guest: &Guest, source: IpAddr, target: SocketAddr) {
    let socket = guest.socket(Domain::for_address(target), Type::DGRAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    for _ in 0..3 {
        // A refusal of the packet before shows up here.
        let _ = socket.send_to(b"let me out", &target.into());
    }
}

#[test]
fn gateway_offers_guests_its_services_and_nothing_else() {
    let guest = LAB.guest("guest8");
    guest.join().unwrap();
    let addresses: [IpAddr; 4] =
        [plan::GATEWAY_V4.into(), plan::GATEWAY_ULA.into(), plan::UPLINK_V4.into(), plan::UPLINK_V6.into()];
    let ports = || (1..=1024).chain([3000, 5300, 5432, 8000, 8080, 8443, 9090, 9100]);
    for address in addresses {
        let tried: Vec<(u16, Socket)> = ports()
            .map(|port| {
                let to = SocketAddr::new(address, port);
                let socket = guest.socket(Domain::for_address(to), Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&to.into());
                (port, socket)
            })
            .collect();
        // A request that is answered after all others were sent: whoever wanted to answer has had the time.
        guest.resolve("example.com", hickory_proto::rr::RecordType::A).unwrap();
        guest.connect((plan::GATEWAY_V4, 80).into(), Duration::from_secs(5)).unwrap();
        let open: Vec<u16> =
            tried.iter().filter(|(_, socket)| socket.peer_addr().is_ok()).map(|(port, _)| *port).collect();
        // Port 80 of any address is the portal for a stranger, and port 53 the stranger's resolver.
        let allowed: &[u16] =
            if address == plan::GATEWAY_V4 || address == plan::GATEWAY_ULA { &[53, 80, 443] } else { &[53, 80] };
        assert!(open.iter().all(|port| allowed.contains(port)), "{address} has open ports {open:?}");
        assert!(open.contains(&80), "{address}: the probe is blind, open are {open:?}");
    }
}
