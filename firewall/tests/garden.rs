//! The garden: what strangers reach before they are admitted, with real packets.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{net::IpAddr, time::Duration};

use common::square;
use lab::*;
use sheshi_firewall::Ruleset;

fn with_garden() -> Ruleset {
    Ruleset { garden: true, ..square() }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn strangers_reach_the_garden_and_nothing_beside_it() {
    lab("strangers_reach_the_garden_and_nothing_beside_it", |lab| {
        lab.services();
        let guard = lab.guarding(&with_garden());
        // The control: nothing is open yet.
        for web in [WEB4, WEB6] {
            assert_eq!(lab.guest.tcp(web, 443), Err(Failure::Refused));
            assert_eq!(lab.guest.tcp(web, 80).as_deref(), Ok("portal"));
        }
        guard.open(&addresses(&[WEB4, WEB6]), Duration::from_secs(3)).unwrap();
        lab.tap.take();
        for (web, beside) in [(WEB4, RESOLVER4), (WEB6, RESOLVER6)] {
            assert_eq!(lab.guest.tcp(web, 443).as_deref(), Ok("internet"));
            assert_eq!(lab.guest.tcp(web, 80).as_deref(), Ok("internet"));
            lab.tap.take();
            for port in [22, 25, 853, 4433] {
                assert_eq!(lab.guest.tcp(web, port), Err(Failure::Refused), "{web} tcp {port}");
            }
            for port in [443, 4433] {
                assert_eq!(lab.guest.udp(web, port), Err(Failure::Refused), "{web} udp {port}");
            }
            assert_eq!(lab.guest.udp(web, 53).as_deref(), Ok("strangers"));
            assert!(!lab.guest.ping(web));
            assert_eq!(lab.guest.tcp(beside, 443), Err(Failure::Refused));
            assert_eq!(lab.guest.tcp(beside, 80).as_deref(), Ok("portal"));
            assert_eq!(lab.tap.take(), NOTHING, "{web}");
        }
        // Opened again it stays open for longer; then its time is over, for what is open, too.
        guard.open(&addresses(&[WEB4]), Duration::from_secs(6)).unwrap();
        let mut open6 = lab.guest.connect(WEB6, 443);
        assert_eq!(talk(&mut open6).unwrap(), "internet");
        std::thread::sleep(Duration::from_millis(3200));
        assert!(talk(&mut open6).is_err());
        assert_eq!(lab.guest.tcp(WEB6, 443), Err(Failure::Refused));
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
        // A change of rules forgets nothing, a ruleset without a garden opens nothing.
        guard.apply(&Ruleset { generation: 8, ..with_garden() }).unwrap();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
        guard.apply(&square()).unwrap();
        assert_eq!(lab.guest.tcp(WEB4, 443), Err(Failure::Refused));
        assert!(guard.open(&addresses(&[WEB4]), Duration::from_secs(3)).is_err());
    });
}

#[test]
fn no_address_inside_is_opened_whoever_asks() {
    lab("no_address_inside_is_opened_whoever_asks", |lab| {
        lab.services();
        let guard = lab.guarding(&with_garden());
        let minute = Duration::from_secs(60);
        for inside in [
            GUEST4,
            GUEST6,
            GATEWAY4,
            GATEWAY6,
            GATEWAY_LINK,
            "192.168.1.1",
            "127.0.0.1",
            "fd00::1",
            "::ffff:198.18.0.10",
        ] {
            assert!(guard.open(&addresses(&[WEB4, inside]), minute).is_err(), "{inside}");
        }
        assert!(guard.open(&[], minute).is_err());
        assert!(guard.open(&addresses(&[WEB4]), Duration::from_secs(1 << 40)).is_err());
        // None of them opened the one beside it.
        assert_eq!(lab.guest.tcp(WEB4, 443), Err(Failure::Refused));
        guard.open(&addresses(&[WEB4]), minute).unwrap();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}
