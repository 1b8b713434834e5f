//! Well-known resolvers' DNS over HTTPS and QUIC is closed to guests who are let in, and nothing beside it is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sheshi_tests::{Lab, Options, plan};

const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn admitted_guest_reaches_no_well_known_resolver_on_port_443_and_everybody_else() {
    let lab = Lab::start(Options { guests: 1, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    guest.wait_for_internet().unwrap();
    let v4 = plan::FOREIGN_V4.map(IpAddr::V4);
    let v6 = plan::FOREIGN_V6.map(IpAddr::V6);
    let resolvers: Vec<IpAddr> = v4.into_iter().chain(v6).collect();
    let others = [IpAddr::V4(plan::WEB_V4), IpAddr::V6(plan::WEB_V6), IpAddr::V4(plan::ECHO_V4)];
    let before = lab.arrivals().unwrap().len();
    for address in &resolvers {
        let to = SocketAddr::new(*address, 443);
        assert!(guest.connect(to, Duration::from_secs(2)).is_err(), "{to} took a connection");
    }
    for address in &others[..2] {
        guest.connect(SocketAddr::new(*address, 443), Duration::from_secs(5)).unwrap();
    }
    for address in resolvers.iter().chain(&others) {
        let socket = guest.udp(SocketAddr::new(*address, 443)).unwrap();
        // Refused at once, or later: the arrivals tell.
        let _ = socket.send(b"the first packet of QUIC");
    }
    // A round trip in each family behind them: whatever was to arrive has.
    for address in &others[..2] {
        guest.connect(SocketAddr::new(*address, 80), Duration::from_secs(5)).unwrap();
    }
    let arrivals = lab.arrivals().unwrap();
    let reached: BTreeSet<(IpAddr, u8)> = arrivals[before..]
        .iter()
        .filter(|arrival| arrival.target_port == 443)
        .map(|arrival| (arrival.target, arrival.protocol))
        .collect();
    let expected = [(others[0], TCP), (others[1], TCP), (others[0], UDP), (others[1], UDP), (others[2], UDP)];
    assert_eq!(reached, BTreeSet::from(expected));
}
