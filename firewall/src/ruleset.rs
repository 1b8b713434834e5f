//! What is wanted of the firewall, and the check that it makes sense.

use std::{collections::HashSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{Error, Network, network};

/// Most closed addresses a ruleset may name.
pub const MAX_CLOSED_ADDRESSES: usize = 65_536;
const MAX_GUEST_SIDES: usize = 16;
const MAX_UPLINKS: usize = 8;
const MAX_ADMIN_ENTRIES: usize = 16;

/// What is wanted of the firewall. Whatever it does not name is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruleset {
    /// The policy's running number; the kernel carries it, so that counters can be tied to a policy.
    pub generation: u64,
    /// Nothing is forwarded at all, and every guest is treated as a stranger: the portal explains.
    #[serde(default)]
    pub closed: bool,
    /// The networks guests are in. Empty only in a closed ruleset.
    #[serde(default)]
    pub guests: Vec<GuestSide>,
    /// Interfaces towards the internet.
    #[serde(default)]
    pub uplinks: Vec<String>,
    /// Where our own services listen.
    #[serde(default)]
    pub ports: Ports,
    /// How IPv6 reaches the internet.
    #[serde(default)]
    pub ipv6: Ipv6Mode,
    /// Addresses whose port 443 (tcp and udp) is refused: known resolvers that speak DNS over HTTPS.
    #[serde(default)]
    pub block: Vec<Network>,
    /// Ways round the filter that are closed besides.
    #[serde(default)]
    pub ways: Ways,
    /// Strangers reach, on TCP ports 80 and 443, the addresses that are opened one by one ([`crate::Guard::open`]).
    #[serde(default)]
    pub garden: bool,
    /// From where the gateway itself may be administered. Never from a guest's network.
    #[serde(default)]
    pub admin: Vec<Admin>,
}

/// Ways round the filter that an admitted guest finds closed. By default none is: a hotspot is for getting out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ways {
    /// The ports of WireGuard, OpenVPN, IKE, L2TP and PPTP are refused.
    #[serde(default)]
    pub no_vpn: bool,
    /// UDP port 443 is refused: browsers go on over TCP.
    #[serde(default)]
    pub no_quic: bool,
    /// Addresses to which everything is refused: the relays of Tor.
    #[serde(default)]
    pub tor: Vec<Network>,
}

/// One guest network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestSide {
    /// The interface guests arrive on, such as `br-guest`.
    pub interface: String,
    /// Its IPv4 network.
    #[serde(default)]
    pub v4: Option<Side>,
    /// Its IPv6 networks, such as a delegated prefix and a unique local one.
    #[serde(default)]
    pub v6: Vec<Side>,
}

/// A guest network's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// The addresses guests have.
    pub network: Network,
    /// The gateway's own address in it.
    pub gateway: IpAddr,
}

/// Ports of our own services on the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// DNS for admitted guests, udp and tcp.
    pub dns: u16,
    /// DNS for strangers, udp and tcp: answers everything with the portal and forwards nothing.
    pub stranger_dns: u16,
    /// The portal, tcp.
    pub portal: u16,
    /// The portal's API over TLS, tcp, once there is a certificate.
    pub portal_tls: Option<u16>,
    /// DNS over TLS for admitted guests, tcp, once there is a certificate.
    #[serde(default)]
    pub dns_tls: Option<u16>,
    /// DNS over HTTPS for admitted guests, tcp, once there is a certificate.
    #[serde(default)]
    pub dns_https: Option<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { dns: 53, stranger_dns: 5300, portal: 80, portal_tls: None, dns_tls: None, dns_https: None }
    }
}

/// How guests' IPv6 reaches the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6Mode {
    /// Guests have addresses of a delegated prefix.
    Routed,
    /// Guests have unique local addresses, translated to the uplink's.
    Nat66,
    /// IPv6 is not forwarded at all.
    #[default]
    Off,
}

/// One way in for administration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The interface; not a guest's.
    pub interface: String,
    /// Only from here; empty means from anywhere behind that interface.
    #[serde(default)]
    pub from: Vec<Network>,
    /// TCP ports, such as 22.
    pub tcp: Vec<u16>,
}

impl Ruleset {
    /// A ruleset under which nothing is forwarded. It names no interface, so it leaves the gateway's own services alone:
    /// it is what holds before anybody said which side is which.
    pub fn closed() -> Self {
        Self {
            generation: 0,
            closed: true,
            guests: Vec::new(),
            uplinks: Vec::new(),
            ports: Ports::default(),
            ipv6: Ipv6Mode::Off,
            block: Vec::new(),
            ways: Ways::default(),
            garden: false,
            admin: Vec::new(),
        }
    }

    /// Whether the ruleset makes sense; if not, every problem at once.
    pub fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        self.check_interfaces(&mut problems);
        self.check_networks(&mut problems);
        self.check_ports(&mut problems);
        self.check_block(&mut problems);
        self.check_admin(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(Error::Refused(problems)) }
    }

    /// Whether IPv6 of guests may be forwarded.
    pub fn forwards_ipv6(&self) -> bool {
        !self.closed && self.ipv6 != Ipv6Mode::Off
    }

    fn check_interfaces(&self, problems: &mut Vec<String>) {
        if !self.closed && self.guests.is_empty() {
            problems.push("guests: empty; want at least one guest network, or `closed`".into());
        }
        if !self.closed && self.uplinks.is_empty() {
            problems.push("uplinks: empty; want at least one interface, or `closed`".into());
        }
        bound(problems, "guests", self.guests.len(), MAX_GUEST_SIDES);
        bound(problems, "uplinks", self.uplinks.len(), MAX_UPLINKS);
        let mut seen = HashSet::new();
        let guests =
            self.guests.iter().enumerate().map(|(n, side)| (format!("guests[{n}].interface"), &side.interface));
        let uplinks = self.uplinks.iter().enumerate().map(|(n, uplink)| (format!("uplinks[{n}]"), uplink));
        for (path, name) in guests.chain(uplinks) {
            check_interface(problems, &path, name);
            if !seen.insert(name) {
                problems.push(format!("{path}: {name:?} is named twice; an interface has one side only"));
            }
        }
    }

    fn check_networks(&self, problems: &mut Vec<String>) {
        let mut seen: Vec<(String, Network)> = Vec::new();
        for (n, guest) in self.guests.iter().enumerate() {
            if guest.v4.is_none() && guest.v6.is_empty() {
                problems.push(format!("guests[{n}]: no network; want `v4`, `v6` or both"));
            }
            bound(problems, &format!("guests[{n}].v6"), guest.v6.len(), 8);
            let v4 = guest.v4.iter().map(|side| (format!("guests[{n}].v4"), side, true));
            let v6 = guest.v6.iter().enumerate().map(|(m, side)| (format!("guests[{n}].v6[{m}]"), side, false));
            for (path, side, ipv4) in v4.chain(v6) {
                let Side { network, gateway } = side;
                let narrow_enough = network::is_ipv4(network) == ipv4 && network.length() >= if ipv4 { 8 } else { 32 };
                if !narrow_enough || network.length() > if ipv4 { 30 } else { 126 } {
                    let right = if ipv4 { "IPv4 network from /8 to /30" } else { "IPv6 network from /32 to /126" };
                    problems.push(format!("{path}.network: {network} is not usable; want an {right}"));
                    continue;
                }
                if !network.contains(*gateway)
                    || ipv4 && (*gateway == network.address() || *gateway == network::last_address(network))
                {
                    problems.push(format!("{path}.gateway: {gateway} is not a host address of {network}"));
                }
                if let Some((other, _)) = seen.iter().find(|(_, other)| network::overlap(other, network)) {
                    problems.push(format!("{path}.network: {network} overlaps {other}; networks must be apart"));
                }
                seen.push((format!("{path}.network"), *network));
            }
        }
    }

    fn check_ports(&self, problems: &mut Vec<String>) {
        let Ports { dns, stranger_dns, portal, portal_tls, dns_tls, dns_https } = self.ports;
        let all = [
            ("dns", Some(dns)),
            ("stranger_dns", Some(stranger_dns)),
            ("portal", Some(portal)),
            ("portal_tls", portal_tls),
            ("dns_tls", dns_tls),
            ("dns_https", dns_https),
        ];
        let mut seen = HashSet::new();
        for (name, port) in all.into_iter().filter_map(|(name, port)| Some((name, port?))) {
            if port == 0 {
                problems.push(format!("ports.{name}: 0 is not a port; want 1 to 65535"));
            } else if !seen.insert(port) {
                problems
                    .push(format!("ports.{name}: {port} is taken by another of our services; want a port of its own"));
            }
        }
    }

    fn check_block(&self, problems: &mut Vec<String>) {
        for (path, list) in [("block", &self.block), ("ways.tor", &self.ways.tor)] {
            bound(problems, path, list.len(), MAX_CLOSED_ADDRESSES);
            for (n, network) in list.iter().enumerate() {
                // A list that names half the internet is a broken list, not a list of resolvers or relays.
                if network.length() < if network::is_ipv4(network) { 8 } else { 16 } {
                    problems.push(format!("{path}[{n}]: {network} is too wide; want IPv4 from /8, IPv6 from /16"));
                }
            }
        }
    }

    fn check_admin(&self, problems: &mut Vec<String>) {
        bound(problems, "admin", self.admin.len(), MAX_ADMIN_ENTRIES);
        for (n, admin) in self.admin.iter().enumerate() {
            check_interface(problems, &format!("admin[{n}].interface"), &admin.interface);
            if self.guests.iter().any(|side| side.interface == admin.interface) {
                problems.push(format!(
                    "admin[{n}].interface: {:?} is a guest's; administer from elsewhere",
                    admin.interface
                ));
            }
            bound(problems, &format!("admin[{n}].from"), admin.from.len(), 64);
            for (m, network) in admin.from.iter().enumerate().filter(|(_, network)| network.length() == 0) {
                problems.push(format!("admin[{n}].from[{m}]: {network} is everybody; leave `from` empty to say so"));
            }
            bound(problems, &format!("admin[{n}].tcp"), admin.tcp.len(), 64);
            if admin.tcp.is_empty() || admin.tcp.contains(&0) {
                problems.push(format!("admin[{n}].tcp: want one or more ports from 1 to 65535"));
            }
        }
    }
}

fn bound(problems: &mut Vec<String>, path: &str, length: usize, most: usize) {
    if length > most {
        problems.push(format!("{path}: {length} entries; want at most {most}"));
    }
}

/// Names end up in rules, so they are held to what no parser can misread: the kernel itself takes nearly anything.
fn check_interface(problems: &mut Vec<String>, path: &str, name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'@');
    let length = (1..=15).contains(&name.len());
    if !length || !name.bytes().all(plain) || matches!(name, "lo" | "." | "..") {
        let shown: String = name.chars().take(20).collect();
        problems.push(format!(
            "{path}: {shown:?} is no interface for this; want 1 to 15 letters, digits, `.`, `-`, `_`, `@`, not lo"
        ));
    }
}
