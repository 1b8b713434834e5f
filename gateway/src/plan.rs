//! What the firewall is to hold, worked out from the configuration and from what the interfaces have now. A pure function:
//! the same input gives the same rules, and every reason for keeping the network closed has words that say how to mend it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sheshi_firewall::{Admin, GuestSide, Ipv6Mode, Network, Ports, Ruleset, Side};

use crate::{
    config::{Config, Ipv6Choice},
    network::Interface,
    subnet::{self, OnLink},
};

/// Something that keeps the gateway from doing all it should, and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub fix: String,
}

impl Trouble {
    /// One trouble and its remedy.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// What is to be in force, and why it is less than what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The rules.
    pub rules: Ruleset,
    /// Our addresses on the guest side: where the portal and the resolver answer.
    pub addresses: Vec<IpAddr>,
    /// What keeps the network closed, or IPv6 off against the admin's wish.
    pub troubles: Vec<Trouble>,
}

/// What the interfaces are like now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The interface that guests are behind, if it is there.
    pub guests: Option<Interface>,
    /// The interfaces towards the internet that are there.
    pub uplinks: Vec<Interface>,
}

/// Works out the rules. `policy` is the generation in force and the addresses it closes; without one nothing is forwarded.
pub fn plan(config: &Config, seen: &Seen, policy: Option<(u64, Vec<Network>)>) -> Plan {
    let mut troubles = Vec::new();
    let none = Interface::default();
    let guests = seen.guests.as_ref().unwrap_or(&none);
    let interface = &config.network.guests;
    if seen.guests.is_none() {
        troubles.push(Trouble::new(
            format!("interface {interface} is not there"),
            "create it, or name another as network.guests",
        ));
    }
    let v4 = subnet::v4(&guests.addresses).next();
    let taken: Vec<_> = seen.uplinks.iter().flat_map(|uplink| subnet::v4(&uplink.addresses)).collect();
    match v4 {
        None if seen.guests.is_some() => {
            let proposal = subnet::propose(&taken).map_or("10.77.0.1/22".into(), |range| range.to_string());
            troubles.push(Trouble::new(
                format!("interface {interface} has no IPv4 address"),
                format!("give it one, such as {proposal}"),
            ));
        }
        Some(range) if range.pool().is_none() => troubles.push(Trouble::new(
            format!("interface {interface} has {range}, which has no room for guests or too much"),
            "give it a range from /16 to /27",
        )),
        Some(range) => {
            if let Some(other) = taken.iter().find(|other| range.overlaps(**other)) {
                let proposal = subnet::propose(&taken).map_or_else(
                    || "no range we know is free: choose one by hand".into(),
                    |range| format!("give {interface} another range, such as {range}"),
                );
                troubles.push(Trouble::new(format!("guests' range {range} overlaps the uplink's {other}"), proposal));
            }
        }
        None => {}
    }
    if policy.is_none() {
        troubles.push(Trouble::new("no policy is in force", "run `sheshi check` on the policy, then `sheshi reload`"));
    }
    let closed = !troubles.is_empty();
    let v6: Vec<_> = subnet::v6(&guests.addresses).filter(|range| range.prefix == 64).collect();
    let ipv6 = ipv6_mode(config.network.ipv6, &v6, seen, &mut troubles);
    let (generation, block) = policy.unwrap_or_default();
    let side = |address: IpAddr, prefix| -> Option<Side> {
        Some(Side { network: Network::new(address, prefix)?, gateway: address })
    };
    let guest_v4 = v4.filter(|range| range.pool().is_some()).and_then(|range| side(range.address.into(), range.prefix));
    let guest_v6: Vec<_> = v6.iter().filter_map(|range| side(range.address.into(), range.prefix)).collect();
    let some_network = guest_v4.is_some() || !guest_v6.is_empty();
    let rules = Ruleset {
        generation,
        closed,
        guests: if some_network {
            vec![GuestSide { interface: interface.clone(), v4: guest_v4, v6: guest_v6 }]
        } else {
            Vec::new()
        },
        uplinks: config.network.uplink.clone(),
        ports: Ports {
            portal_tls: config.portal_tls,
            dns_tls: config.dns.tls.as_ref().map(|tls| tls.dot),
            dns_https: config.dns.tls.as_ref().map(|tls| tls.https),
            ..Ports::default()
        },
        ipv6,
        block,
        ways: config.egress.clone(),
        garden: !config.garden.is_empty(),
        admin: match config.network.admin.as_slice() {
            [] => Vec::new(),
            ports => config
                .network
                .uplink
                .iter()
                .map(|uplink| Admin { interface: uplink.clone(), from: Vec::new(), tcp: ports.to_vec() })
                .collect(),
        },
    };
    let addresses = v4.map(|range| range.address.into()).into_iter().chain(v6.iter().map(|range| range.address.into()));
    Plan { rules, addresses: addresses.collect(), troubles }
}

fn ipv6_mode(
    choice: Ipv6Choice,
    guests: &[OnLink<std::net::Ipv6Addr>],
    seen: &Seen,
    troubles: &mut Vec<Trouble>,
) -> Ipv6Mode {
    // RFC 4193: unique local addresses mean nothing beyond the site.
    let global = guests.iter().any(|range| !range.address.is_unique_local());
    let local = guests.iter().any(|range| range.address.is_unique_local());
    let uplink =
        seen.uplinks.iter().any(|uplink| subnet::v6(&uplink.addresses).any(|range| !range.address.is_unique_local()));
    match choice {
        Ipv6Choice::Off => Ipv6Mode::Off,
        Ipv6Choice::Auto if global => Ipv6Mode::Routed,
        Ipv6Choice::Auto if local && uplink => Ipv6Mode::Nat66,
        Ipv6Choice::Auto => Ipv6Mode::Off,
        Ipv6Choice::Routed if global => Ipv6Mode::Routed,
        Ipv6Choice::Routed => {
            troubles.push(Trouble::new(
                "network.ipv6 is \"routed\", but the guest side has no global IPv6 prefix",
                "have a /64 delegated to the guest interface, or set network.ipv6 to \"auto\"",
            ));
            Ipv6Mode::Off
        }
        Ipv6Choice::Nat66 if local => Ipv6Mode::Nat66,
        Ipv6Choice::Nat66 => {
            troubles.push(Trouble::new(
                "network.ipv6 is \"nat66\", but the guest side has no unique local IPv6 address",
                "give the guest interface one with /64 (RFC 4193), or set network.ipv6 to \"auto\"",
            ));
            Ipv6Mode::Off
        }
    }
}

/// Above this share of lent addresses, in percent, somebody is told.
const POOL_ALARM: u32 = 80;

/// What to say of a pool of this size with this many addresses lent.
pub fn pool_trouble(used: u32, size: u32) -> Option<Trouble> {
    let full = size > 0 && u64::from(used) * 100 >= u64::from(size) * u64::from(POOL_ALARM);
    full.then(|| {
        Trouble::new(
            format!("{used} of {size} addresses are lent"),
            "shorten network.lease, or give the guest side a larger range",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|text| {
            let (address, prefix) = text.split_once('/').unwrap();
            (address.parse().unwrap(), prefix.parse().unwrap())
        });
        Interface { name: name.into(), running: true, addresses: addresses.collect() }
    }

    fn seen(guests: &[&str], uplink: &[&str]) -> Seen {
        Seen { guests: Some(interface("guests", guests)), uplinks: vec![interface("wan0", uplink)] }
    }

    fn planned(seen: &Seen) -> Plan {
        plan(&Config::example(), seen, Some((7, Vec::new())))
    }

    #[test]
    fn a_sound_network_is_open_and_names_our_addresses() {
        let plan =
            planned(&seen(&["10.77.0.1/22", "fd5e:5e:1::1/64", "fe80::1/64"], &["203.0.113.2/24", "2001:db8::2/64"]));
        assert_eq!(plan.troubles, []);
        assert!(!plan.rules.closed);
        assert_eq!((plan.rules.generation, plan.rules.ipv6), (7, Ipv6Mode::Nat66));
        assert_eq!(plan.addresses, ["10.77.0.1".parse::<IpAddr>().unwrap(), "fd5e:5e:1::1".parse().unwrap()]);
        plan.rules.check().unwrap();
    }

    #[test]
    fn pool_that_is_four_fifths_full_raises_an_alarm() {
        for (used, size, alarm) in
            [(0, 0, false), (79, 100, false), (80, 100, true), (1013, 1013, true), (u32::MAX, u32::MAX, true)]
        {
            assert_eq!(pool_trouble(used, size).is_some(), alarm, "{used} of {size}");
        }
    }

    #[test]
    fn delegated_prefix_is_routed() {
        let plan = planned(&seen(&["10.77.0.1/22", "2001:db8:9::1/64"], &["203.0.113.2/24", "2001:db8::2/64"]));
        assert_eq!(plan.rules.ipv6, Ipv6Mode::Routed);
    }

    #[test]
    fn without_ipv6_on_the_uplink_it_is_off_and_nothing_is_wrong() {
        let plan = planned(&seen(&["10.77.0.1/22", "fd5e:5e:1::1/64"], &["203.0.113.2/24"]));
        assert_eq!((plan.rules.ipv6, plan.troubles.len()), (Ipv6Mode::Off, 0));
    }

    #[test]
    fn whatever_is_missing_or_overlaps_closes_the_network_and_says_how_to_mend_it() {
        for (seen, words) in [
            (Seen::default(), "guests is not there"),
            (seen(&[], &["203.0.113.2/24"]), "such as 10.77.0.1/22"),
            (seen(&["10.77.0.1/22"], &["10.77.1.9/24"]), "such as 172.29.0.1/22"),
            (seen(&["10.77.0.1/30"], &[]), "/16 to /27"),
        ] {
            let plan = planned(&seen);
            assert!(plan.rules.closed, "{seen:?}");
            let told = format!("{:?}", plan.troubles);
            assert!(told.contains(words), "{told}");
            plan.rules.check().unwrap();
        }
        assert!(super::plan(&Config::example(), &seen(&["10.77.0.1/22"], &[]), None).rules.closed);
    }
}
