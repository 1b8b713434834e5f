//! Ways round the filter that can be closed besides, with real packets; each is open in the same run until it is closed.

mod common;
#[path = "common/lab.rs"]
mod lab;

use common::{network, square};
use lab::*;
use sheshi_firewall::{Ruleset, Ways};

#[test]
fn vpn_ports_are_refused_where_vpn_is_closed() {
    lab("vpn_ports_are_refused_where_vpn_is_closed", |lab| {
        const UDP: [u16; 5] = [500, 1194, 1701, 4500, 51820];
        const TCP: [u16; 2] = [1194, 1723];
        lab.internet.call(|| UDP.iter().chain(&TCP[1..]).for_each(|port| serve(*port, "vpn", &[WEB4, WEB6])));
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let reached = |web| {
            let udp = UDP.iter().filter(|port| lab.guest.udp(web, **port).is_ok()).count();
            (udp, TCP.iter().filter(|port| lab.guest.tcp(web, **port).is_ok()).count())
        };
        assert_eq!((reached(WEB4), reached(WEB6)), ((5, 2), (5, 2)));
        guard.apply(&Ruleset { ways: Ways { no_vpn: true, ..Ways::default() }, generation: 8, ..square() }).unwrap();
        for web in [WEB4, WEB6] {
            for port in UDP {
                assert_eq!(lab.guest.udp(web, port), Err(Failure::Refused), "{web} udp {port}");
            }
            for port in TCP {
                assert_eq!(lab.guest.tcp(web, port), Err(Failure::Refused), "{web} tcp {port}");
            }
            assert_eq!(lab.guest.udp(web, 443).as_deref(), Ok("internet"));
        }
        let health = guard.health().unwrap();
        let counted = health.counters.iter().find(|counter| counter.promise == "C35").unwrap();
        assert!(counted.packets >= 14, "{counted:?}");
    });
}

#[test]
fn relays_of_tor_are_refused_where_tor_is_closed() {
    lab("relays_of_tor_are_refused_where_tor_is_closed", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        assert_eq!(lab.guest.tcp(RESOLVER4, 4433).as_deref(), Ok("internet"));
        assert_eq!(lab.guest.tcp(RESOLVER6, 443).as_deref(), Ok("internet"));
        // More than fit into one message.
        let mut tor: Vec<_> = (0..3000).map(|n| network(&format!("45.{}.{}.7", n / 250, n % 250))).collect();
        tor.extend([RESOLVER4, "2001:db8:e::50/124"].map(network));
        guard.apply(&Ruleset { ways: Ways { tor, ..Ways::default() }, generation: 8, ..square() }).unwrap();
        for (relay, web) in [(RESOLVER4, WEB4), (RESOLVER6, WEB6)] {
            for port in [22, 443, 4433] {
                assert_eq!(lab.guest.tcp(relay, port), Err(Failure::Refused), "{relay} tcp {port}");
            }
            assert_eq!(lab.guest.udp(relay, 4433), Err(Failure::Refused));
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
        }
        assert!(guard.health().unwrap().matches);
    });
}

#[test]
fn quic_is_refused_where_quic_is_closed() {
    lab("quic_is_refused_where_quic_is_closed", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for web in [WEB4, WEB6] {
            assert_eq!(lab.guest.udp(web, 443).as_deref(), Ok("internet"));
        }
        guard.apply(&Ruleset { ways: Ways { no_quic: true, ..Ways::default() }, generation: 8, ..square() }).unwrap();
        for web in [WEB4, WEB6] {
            assert_eq!(lab.guest.udp(web, 443), Err(Failure::Refused));
            assert_eq!(lab.guest.udp(web, 4433).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
        }
    });
}
