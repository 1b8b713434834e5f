//! What the tests of this room share.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::path::PathBuf;

use sheshi_firewall::{Admin, GuestSide, Ipv6Mode, Network, Ports, Ruleset, Side, Ways};

/// A network from its text.
pub fn network(text: &str) -> Network {
    text.parse().unwrap()
}

/// A side from its network and the gateway's address in it.
pub fn side(text: &str, gateway: &str) -> Side {
    Side { network: network(text), gateway: gateway.parse().unwrap() }
}

/// One guest network `br-guest`, one uplink `wan0`, IPv6 routed.
pub fn square() -> Ruleset {
    Ruleset {
        generation: 7,
        closed: false,
        guests: vec![GuestSide {
            interface: "br-guest".into(),
            v4: Some(side("10.80.0.0/20", "10.80.0.1")),
            v6: vec![side("2001:db8:80::/64", "2001:db8:80::1")],
        }],
        uplinks: vec!["wan0".into()],
        ports: Ports::default(),
        ipv6: Ipv6Mode::Routed,
        block: ["192.0.2.53", "198.51.100.0/25", "2001:db8:d0::53"].map(network).into(),
        ways: Ways::default(),
        garden: false,
        admin: Vec::new(),
    }
}

/// Everything a ruleset can say, at once.
pub fn library() -> Ruleset {
    let mut ruleset = square();
    ruleset.generation = 12;
    ruleset.guests.push(GuestSide {
        interface: "br-kids".into(),
        v4: Some(side("10.81.0.0/24", "10.81.0.1")),
        v6: vec![side("fd51:8::/64", "fd51:8::1"), side("2001:db8:81::/64", "2001:db8:81::1")],
    });
    ruleset.uplinks.push("lte0".into());
    ruleset.ports.portal_tls = Some(443);
    ruleset.ports.dns_tls = Some(853);
    ruleset.ports.dns_https = Some(8443);
    ruleset.ipv6 = Ipv6Mode::Nat66;
    ruleset.ways = Ways { no_vpn: true, no_quic: true, tor: ["192.0.2.99", "2001:db8:70::/48"].map(network).into() };
    ruleset.garden = true;
    ruleset.admin = vec![
        Admin {
            interface: "mgmt0".into(),
            from: vec![network("172.20.0.0/24"), network("fd51:99::/64")],
            tcp: vec![22, 9100],
        },
        Admin { interface: "wan0".into(), from: Vec::new(), tcp: vec![2222] },
    ];
    ruleset
}

/// The rulesets with a golden file, by its name.
pub fn rulesets() -> [(&'static str, Ruleset); 5] {
    [
        ("square", square()),
        ("library", library()),
        ("ipv6-off", Ruleset { ipv6: Ipv6Mode::Off, block: Vec::new(), ..square() }),
        ("closed", Ruleset { closed: true, ..square() }),
        ("bare", Ruleset::closed()),
    ]
}

/// A file of `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// Compares with a golden file; with SHESHI_BLESS=1 in the environment, writes it.
pub fn golden(name: &str, got: &str) {
    let path = testdata(name);
    if std::env::var_os("SHESHI_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == got, "{} differs; SHESHI_BLESS=1 writes it anew. Got:\n{got}", path.display());
}
