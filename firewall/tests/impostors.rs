//! Devices that pass for the gateway, with real packets.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use common::square;
use lab::*;
use sheshi_firewall::Guard;
use socket2::{Domain, Protocol, Socket, Type};

/// Sends an ICMPv6 message to everybody on the wire, as neighbours do (hop limit 255); the kernel fills in the checksum.
fn icmp6(device: &Namespace, message: Vec<u8>) {
    device.call(move || {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        socket.set_multicast_if_v6(2).unwrap();
        let to: SocketAddr = "[ff02::1%2]:0".parse().unwrap();
        socket.send_to(&message, &to.into()).unwrap();
    });
}

/// RFC 4861 §4.2: a router for half an hour.
fn advertise_router(device: &Namespace) {
    icmp6(device, vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// RFC 4861 §4.4: this address is mine, whoever said otherwise.
fn advertise_neighbour(device: &Namespace, address: &str) {
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.parse::<Ipv6Addr>().unwrap().octets());
    // Target link-layer address.
    message.extend([2, 1, 2, 0, 0x5e, 0x10, 0, 2]);
    icmp6(device, message);
}

/// An offer of DHCP, as far as a firewall looks.
fn offer_addresses(device: &Namespace) {
    device.call(|| {
        let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(&[2, 1, 6, 0], "255.255.255.255:68").unwrap();
    });
}

fn counted(guard: &Guard) -> u64 {
    guard.health().unwrap().counters.iter().find(|counter| counter.promise == "C38").unwrap().packets
}

#[test]
fn who_passes_for_the_gateway_is_counted_and_the_admitted_stay_online() {
    lab("who_passes_for_the_gateway_is_counted_and_the_admitted_stay_online", |lab| {
        lab.services();
        // A DHCP client on the gateway's own port: without rules it hears the offer.
        let client = UdpSocket::bind("0.0.0.0:68").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        offer_addresses(&lab.thief);
        assert!(client.recv(&mut [0; 64]).is_ok(), "the control: the offer arrives");

        let guard = lab.guarding(&square());
        guard.admit_guest();
        assert_eq!(counted(&guard), 0);
        let mut open = lab.guest.connect(WEB6, 443);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        for (round, attack) in
            [advertise_router as fn(&Namespace), offer_addresses, |device| advertise_neighbour(device, GATEWAY6)]
                .into_iter()
                .enumerate()
        {
            attack(&lab.thief);
            eventually("it is counted", || (counted(&guard) == round as u64 + 1).then_some(()));
        }
        assert!(client.recv(&mut [0; 64]).is_err(), "the offer arrived");
        assert_eq!(talk(&mut open).unwrap(), "internet");
        for web in [WEB4, WEB6] {
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
        }
        assert_eq!(lab.guest.udp(GATEWAY6, 53).as_deref(), Ok("resolver"));
        // What a neighbour says of itself is no attempt.
        advertise_neighbour(&lab.thief, THIEF6);
        assert!(lab.thief.ping(GATEWAY6));
        assert_eq!(counted(&guard), 3);
    });
}
