//! From what is wanted to the rules that give it. docs/network-contract.md says the same in prose, promise by promise.

use std::net::IpAddr;

use crate::{
    Ipv6Mode, Promise, Ruleset,
    ir::{Base, Chain, Content, Expr, Family, Hook, IcmpType, Key, Kind, L4, Measure, Rule, Set, States, Table},
    network,
};

/// The working table: all rules of a ruleset.
pub const WORKING: &str = "sheshi";
/// The guard table: behind the working table, passes only connections that carry [`MARK`].
pub const GUARD: &str = "sheshi_guard";
/// Connection mark of what the working table let out for a device without limits. The letters `she` and a version.
pub const MARK: u32 = 0x7368_6501;
/// What every mark of ours begins with. Behind it, a device with limits has a number of 24 bits, which means nothing beyond
/// this kernel and is forgotten with its admission.
pub const MARK_BEGINS: u8 = (MARK >> 24) as u8;
/// The set of admitted pairs of MAC and IPv4 address.
pub const GUEST4: &str = "guest4";
/// The set of admitted pairs of MAC and IPv6 address.
pub const GUEST6: &str = "guest6";
/// Leads from the MAC of a device with limits to the mark of its connections.
pub const DEVICE: &str = "device_mark";
/// The rates of devices, by mark: what they send.
pub const UP: &str = "rate_up";
/// The rates of devices, by mark: what is sent to them.
pub const DOWN: &str = "rate_down";
/// What devices may use up in all, by mark.
pub const DATA: &str = "data_used";
/// IPv4 addresses that strangers reach.
pub const GARDEN4: &str = "garden4";
/// IPv6 addresses that strangers reach.
pub const GARDEN6: &str = "garden6";
const TOR4: &str = "tor4";
const TOR6: &str = "tor6";
const BLOCK4: &str = "block4";
const BLOCK6: &str = "block6";
const COUNTED: &str = "counted";

/// A device has one IPv4 address here, and a handful of IPv6 addresses at a time.
const GUEST4_SIZE: u32 = 16_384;
const GUEST6_SIZE: u32 = 65_536;
/// Devices with limits: as many as there can be with an IPv4 address.
const DEVICE_SIZE: u32 = GUEST4_SIZE;
/// Devices whose connections are counted at a time; the kernel forgets those without any.
const COUNTED_SIZE: u32 = 65_536;
/// Addresses that strangers may reach at a time.
const GARDEN_SIZE: u32 = 4096;
/// Ports of VPN protocols (IANA): WireGuard has none assigned and uses 51820, OpenVPN 1194, IKE 500 and 4500, L2TP 1701, PPTP 1723.
const VPN: [(&str, L4, u16); 7] = [
    ("WireGuard", L4::Udp, 51820),
    ("OpenVPN", L4::Udp, 1194),
    ("OpenVPN", L4::Tcp, 1194),
    ("IKE", L4::Udp, 500),
    ("IKE through a NAT", L4::Udp, 4500),
    ("L2TP", L4::Udp, 1701),
    ("PPTP", L4::Tcp, 1723),
];
/// Connections one device may have open, of both families together. A busy laptop has a few hundred; the kernel's table on
/// the smallest routers has room for 16,384.
const CONNECTIONS: u32 = 1000;
/// Pings a second that the gateway answers, over all guests.
const PINGS: u32 = 50;
/// Refusals a second that we send; what is beyond is dropped in silence, so that nobody is flooded through us.
const RESETS: u32 = 1000;
const ERRORS: u32 = 500;

const DESTINATION_UNREACHABLE: IcmpType = icmp(3, "destination-unreachable");
const ECHO_REPLY: IcmpType = icmp(0, "echo-reply");
const ECHO_REQUEST: IcmpType = icmp(8, "echo-request");
/// RFC 1812 §4.3: the errors a host must hear. Redirects and source quench are not among them.
const ERRORS4: [IcmpType; 3] = [DESTINATION_UNREACHABLE, icmp(11, "time-exceeded"), icmp(12, "parameter-problem")];
const ECHO_REPLY6: IcmpType = icmp6(129, "echo-reply");
const ECHO_REQUEST6: IcmpType = icmp6(128, "echo-request");
/// RFC 4890 §4.3.1: errors that must not be dropped.
const ERRORS6: [IcmpType; 4] = [
    icmp6(1, "destination-unreachable"),
    icmp6(2, "packet-too-big"),
    icmp6(3, "time-exceeded"),
    icmp6(4, "parameter-problem"),
];
const LISTENER_QUERY: IcmpType = icmp6(130, "mld-listener-query");
const ROUTER_SOLICITATION: IcmpType = icmp6(133, "nd-router-solicit");
const ROUTER_ADVERTISEMENT: IcmpType = icmp6(134, "nd-router-advert");
const NEIGHBOUR_SOLICITATION: IcmpType = icmp6(135, "nd-neighbor-solicit");
const NEIGHBOUR_ADVERTISEMENT: IcmpType = icmp6(136, "nd-neighbor-advert");
const REDIRECT: IcmpType = icmp6(137, "nd-redirect");

const fn icmp(number: u8, name: &'static str) -> IcmpType {
    IcmpType { family: Family::Ipv4, number, name }
}

const fn icmp6(number: u8, name: &'static str) -> IcmpType {
    IcmpType { family: Family::Ipv6, number, name }
}

/// The tables of a ruleset, the guard table last. The ruleset must have passed its check.
pub fn tables(ruleset: &Ruleset) -> [Table; 2] {
    [working(ruleset), guard()]
}

/// The guard table. It stands behind the working table (priority 10) and is the same under every ruleset. Its second
/// chain is empty: as long as there is a chain of its kind, the kernel goes on translating the connections it tracks.
pub fn guard() -> Table {
    let marked =
        vec![rule(24, "marked by the working table", [Expr::MarkBegins(MARK_BEGINS), Expr::Count, Expr::Accept])];
    let chains = vec![
        base("forward", Kind::Filter, Hook::Forward, 10, true, marked),
        base("translation", Kind::Nat, Hook::Postrouting, 100, false, Vec::new()),
    ];
    Table { name: GUARD, sets: Vec::new(), chains }
}

/// The working table of a ruleset.
pub fn working(ruleset: &Ruleset) -> Table {
    let mut chains = Vec::new();
    if !ruleset.guests.is_empty() {
        chains.extend([source(ruleset), connections(ruleset), destination(ruleset)]);
        if !ruleset.closed {
            chains.push(to_resolver(ruleset));
        }
        chains.extend([to_portal(ruleset), input(ruleset), guest_services(ruleset), other_services()]);
    }
    chains.push(forward(ruleset));
    if !ruleset.guests.is_empty() {
        chains.extend([from_guests(ruleset), refused()]);
    }
    if !ruleset.closed {
        chains.extend([admitted(ruleset), out(), from_uplinks(ruleset), to_guests(ruleset), postrouting(ruleset)]);
    }
    Table { name: WORKING, sets: sets(ruleset), chains }
}

fn sets(ruleset: &Ruleset) -> Vec<Set> {
    let (block4, block6) = network::distinct(ruleset.block.iter().copied()).into_iter().partition(network::is_ipv4);
    let (tor4, tor6) = network::distinct(ruleset.ways.tor.iter().copied()).into_iter().partition(network::is_ipv4);
    vec![
        Set { name: GUEST4, key: Key::MacIpv4, content: Content::Timed { size: GUEST4_SIZE } },
        Set { name: GUEST6, key: Key::MacIpv6, content: Content::Timed { size: GUEST6_SIZE } },
        Set { name: BLOCK4, key: Key::Ipv4, content: Content::Networks(block4) },
        Set { name: BLOCK6, key: Key::Ipv6, content: Content::Networks(block6) },
        Set { name: COUNTED, key: Key::Mac, content: Content::Counted { size: COUNTED_SIZE } },
        Set { name: DEVICE, key: Key::Mac, content: Content::Marks { size: DEVICE_SIZE } },
        Set { name: TOR4, key: Key::Ipv4, content: Content::Networks(tor4) },
        Set { name: TOR6, key: Key::Ipv6, content: Content::Networks(tor6) },
        Set { name: GARDEN4, key: Key::Ipv4, content: Content::Timed { size: GARDEN_SIZE } },
        Set { name: GARDEN6, key: Key::Ipv6, content: Content::Timed { size: GARDEN_SIZE } },
        measured(UP, Measure::Rate),
        measured(DOWN, Measure::Rate),
        measured(DATA, Measure::Data),
    ]
}

fn measured(name: &'static str, measure: Measure) -> Set {
    Set { name, key: Key::Mark, content: Content::Measured { size: DEVICE_SIZE, measure } }
}

/// Before connections are tracked: a packet with a false source costs no state.
fn source(ruleset: &Ruleset) -> Chain {
    let astray = |name: &String| {
        rule(
            2,
            "source is not on this interface",
            [Expr::Iifname(name.clone()), Expr::SourceAstray, Expr::Count, Expr::Drop],
        )
    };
    let mut rules: Vec<_> = guest_interfaces(ruleset).map(astray).collect();
    for uplink in &ruleset.uplinks {
        let networks =
            ruleset.guests.iter().flat_map(|guest| guest.v4.iter().chain(&guest.v6)).map(|side| side.network);
        rules.extend(networks.map(|network| {
            let exprs = [Expr::Iifname(uplink.clone()), Expr::Saddr(network), Expr::Count, Expr::Drop];
            rule(3, "guest address from the uplink", exprs)
        }));
    }
    base("source", Kind::Filter, Hook::Prerouting, -300, false, rules)
}

/// After connections are tracked, before anything is translated: strangers count, too, for what goes to the portal.
fn connections(ruleset: &Ruleset) -> Chain {
    let limit = |name: &String| {
        let too_many = Expr::TooMany(COUNTED, CONNECTIONS);
        let exprs = [Expr::Iifname(name.clone()), Expr::State(States::NEW), too_many, Expr::Count, Expr::Drop];
        rule(31, "too many connections of one device", exprs)
    };
    let rules = guest_interfaces(ruleset).map(limit).collect();
    base("connections", Kind::Filter, Hook::Prerouting, -150, false, rules)
}

fn destination(ruleset: &Ruleset) -> Chain {
    let mut rules = Vec::new();
    for name in guest_interfaces(ruleset) {
        if !ruleset.closed {
            for (promise, pair) in [(8, Expr::PairIn(GUEST4, Family::Ipv4)), (8, Expr::PairIn(GUEST6, Family::Ipv6))] {
                rules.push(rule(promise, "admitted", [Expr::Iifname(name.clone()), pair, Expr::Goto("to_resolver")]));
            }
        }
        rules.push(rule(9, "strangers", [Expr::Iifname(name.clone()), Expr::Goto("to_portal")]));
    }
    base("destination", Kind::Nat, Hook::Prerouting, -100, false, rules)
}

fn to_resolver(ruleset: &Ruleset) -> Chain {
    let dns = |l4| rule(8, "DNS to the resolver", redirected(l4, 53, ruleset.ports.dns));
    branch("to_resolver", vec![dns(L4::Udp), dns(L4::Tcp)])
}

fn to_portal(ruleset: &Ruleset) -> Chain {
    let dns = |l4| rule(9, "DNS to the stranger port", redirected(l4, 53, ruleset.ports.stranger_dns));
    let mut rules = vec![dns(L4::Udp), dns(L4::Tcp)];
    if has_garden(ruleset) {
        for (set, family) in [(GARDEN4, Family::Ipv4), (GARDEN6, Family::Ipv6)] {
            let exprs = [Expr::DaddrIn(set, family), Expr::Dport(L4::Tcp, 80), Expr::Accept];
            rules.push(rule(34, "the garden's own HTTP", exprs));
        }
    }
    rules.push(rule(10, "HTTP to the portal", redirected(L4::Tcp, 80, ruleset.ports.portal)));
    branch("to_portal", rules)
}

/// From this port of any address to that port of ours. What is on its way there already needs no translation, and so
/// outlives the deletion of its connection when the guest is admitted: the page that says so arrives.
fn redirected(l4: L4, from: u16, to: u16) -> Vec<Expr> {
    let mut exprs = vec![Expr::Dport(l4, from)];
    if from == to {
        exprs.push(Expr::NotOfThisInterface);
    }
    exprs.extend([Expr::Count, Expr::Redirect(to)]);
    exprs
}

fn input(ruleset: &Ruleset) -> Chain {
    let mut rules = vec![
        rule(21, "the gateway itself", [Expr::Iifname("lo".into()), Expr::Accept]),
        rule(4, "no connection", [Expr::State(States::INVALID), Expr::Count, Expr::Drop]),
    ];
    for name in guest_interfaces(ruleset) {
        rules.push(rule(19, "guests", [Expr::Iifname(name.clone()), Expr::Goto("guest_services")]));
    }
    for admin in &ruleset.admin {
        let sources: Vec<Option<Expr>> = match admin.from.as_slice() {
            [] => vec![None],
            from => {
                network::distinct(from.iter().copied()).into_iter().map(|network| Some(Expr::Saddr(network))).collect()
            }
        };
        for source in sources {
            for port in &admin.tcp {
                let mut exprs = vec![Expr::Iifname(admin.interface.clone())];
                exprs.extend(source.clone());
                exprs.extend([Expr::Dport(L4::Tcp, *port), Expr::Count, Expr::Accept]);
                rules.push(rule(22, "administration", exprs));
            }
        }
    }
    rules.push(rule(21, "everybody else", [Expr::Goto("other_services")]));
    base("input", Kind::Filter, Hook::Input, 0, true, rules)
}

/// What guests reach on the gateway. Each packet has to name a service: a connection that once was allowed is no key.
fn guest_services(ruleset: &Ruleset) -> Chain {
    let ports = ruleset.ports;
    let service =
        |promise, note: &str, l4, port| rule(promise, note, [Expr::Dport(l4, port), Expr::Count, Expr::Accept]);
    let mut rules = vec![service(19, "DHCP", L4::Udp, 67), service(19, "DHCPv6", L4::Udp, 547)];
    for (note, port) in [("DHCP server", 68), ("DHCPv6 server", 546)] {
        rules.push(rule(38, note, [Expr::Dport(L4::Udp, port), Expr::Count, Expr::Drop]));
    }
    for gateway in ruleset.guests.iter().flat_map(|guest| &guest.v6).map(|side| side.gateway) {
        if let IpAddr::V6(gateway) = gateway {
            let exprs = [Expr::Icmp(NEIGHBOUR_ADVERTISEMENT), Expr::Target(gateway), Expr::Count, Expr::Drop];
            rules.push(rule(38, "our address", exprs));
        }
    }
    for icmp in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, ROUTER_SOLICITATION] {
        rules.push(rule(20, "neighbours", [Expr::Icmp(icmp), Expr::FromNeighbour, Expr::Count, Expr::Accept]));
    }
    for icmp in [ROUTER_ADVERTISEMENT, REDIRECT] {
        rules.push(rule(38, "router", [Expr::Icmp(icmp), Expr::Count, Expr::Drop]));
    }
    rules.push(rule(19, "not an address of this interface", [Expr::NotOfThisInterface, Expr::Count, Expr::Drop]));
    let replies = [Expr::State(States::ESTABLISHED), Expr::Reply, Expr::Count, Expr::Accept];
    rules.push(rule(19, "answers to the gateway", replies));
    rules.extend(errors(&ERRORS4, 18));
    rules.extend(errors(&ERRORS6, 17));
    for icmp in [ECHO_REQUEST, ECHO_REQUEST6] {
        rules.push(rule(19, "ping", [Expr::Icmp(icmp), Expr::Limit(PINGS), Expr::Count, Expr::Accept]));
    }
    for l4 in [L4::Udp, L4::Tcp] {
        if !ruleset.closed {
            for pair in [Expr::PairIn(GUEST4, Family::Ipv4), Expr::PairIn(GUEST6, Family::Ipv6)] {
                rules.push(rule(
                    19,
                    "DNS of the admitted",
                    [Expr::Dport(l4, ports.dns), pair, Expr::Count, Expr::Accept],
                ));
            }
        }
        let redirected = [Expr::Dport(l4, ports.stranger_dns), Expr::Translated, Expr::Count, Expr::Accept];
        rules.push(rule(19, "DNS of strangers, only redirected", redirected));
    }
    for (note, port) in [("DNS over TLS", ports.dns_tls), ("DNS over HTTPS", ports.dns_https)] {
        let Some(port) = port.filter(|_| !ruleset.closed) else { continue };
        for pair in [Expr::PairIn(GUEST4, Family::Ipv4), Expr::PairIn(GUEST6, Family::Ipv6)] {
            rules.push(rule(19, note, [Expr::Dport(L4::Tcp, port), pair, Expr::Count, Expr::Accept]));
        }
    }
    rules.push(service(19, "portal", L4::Tcp, ports.portal));
    rules.extend(ports.portal_tls.map(|port| service(19, "portal over TLS", L4::Tcp, port)));
    rules.push(rule(19, "nothing else", [Expr::Count, Expr::Drop]));
    branch("guest_services", rules)
}

fn other_services() -> Chain {
    let replies = [Expr::State(States::ESTABLISHED.or(States::RELATED)), Expr::Count, Expr::Accept];
    let mut rules = vec![rule(21, "answers to the gateway", replies)];
    for (note, port) in [("DHCP client", 68), ("DHCPv6 client", 546)] {
        rules.push(rule(21, note, [Expr::Dport(L4::Udp, port), Expr::Count, Expr::Accept]));
    }
    for icmp in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, ROUTER_ADVERTISEMENT] {
        rules.push(rule(20, "neighbours", [Expr::Icmp(icmp), Expr::FromNeighbour, Expr::Count, Expr::Accept]));
    }
    // A switch on the uplink that hears no report from us would keep neighbour discovery's multicast from us (RFC 4541).
    rules.push(rule(20, "multicast querier", [Expr::Icmp(LISTENER_QUERY), Expr::Count, Expr::Accept]));
    rules.push(rule(21, "nothing else", [Expr::Count, Expr::Drop]));
    branch("other_services", rules)
}

fn forward(ruleset: &Ruleset) -> Chain {
    let mut rules = vec![rule(1, &format!("generation {}", ruleset.generation), [Expr::Count])];
    if !ruleset.guests.is_empty() {
        rules.push(rule(4, "no connection", [Expr::State(States::INVALID), Expr::Count, Expr::Drop]));
    }
    if !ruleset.closed {
        rules.push(rule(16, "segments fit the path", [Expr::Syn, Expr::Count, Expr::ClampMss]));
    }
    for name in guest_interfaces(ruleset) {
        rules.push(rule(6, "guests", [Expr::Iifname(name.clone()), Expr::Goto("from_guests")]));
    }
    for uplink in ruleset.uplinks.iter().filter(|_| !ruleset.closed) {
        rules.push(rule(7, "uplink", [Expr::Iifname(uplink.clone()), Expr::Goto("from_uplinks")]));
    }
    rules.push(rule(1, "nothing else", [Expr::Count, Expr::Drop]));
    base("forward", Kind::Filter, Hook::Forward, 0, true, rules)
}

/// The check for admission comes before anything that looks at a connection's state: an open connection is no key either.
fn from_guests(ruleset: &Ruleset) -> Chain {
    let mut rules: Vec<_> = guest_interfaces(ruleset)
        .map(|name| rule(5, "guest to guest", [Expr::Oifname(name.clone()), Expr::Count, Expr::Drop]))
        .collect();
    if !ruleset.closed {
        if ruleset.ipv6 == Ipv6Mode::Off {
            rules.push(rule(15, "IPv6 is off", [Expr::Family(Family::Ipv6), Expr::Count, Expr::Goto("refused")]));
        }
        for pair in [Expr::PairIn(GUEST4, Family::Ipv4), Expr::PairIn(GUEST6, Family::Ipv6)] {
            rules.push(rule(6, "admitted", [pair, Expr::Count, Expr::Goto("admitted")]));
        }
    }
    if has_garden(ruleset) {
        for (set, family) in [(GARDEN4, Family::Ipv4), (GARDEN6, Family::Ipv6)] {
            for uplink in &ruleset.uplinks {
                for port in [80, 443] {
                    let to = [Expr::Oifname(uplink.clone()), Expr::DaddrIn(set, family), Expr::Dport(L4::Tcp, port)];
                    let exprs: Vec<_> = to.into_iter().chain([Expr::Count, Expr::Goto("out")]).collect();
                    rules.push(rule(34, "the garden", exprs));
                }
            }
        }
    }
    rules.push(rule(11, "strangers", [Expr::Count, Expr::Goto("refused")]));
    branch("from_guests", rules)
}

fn refused() -> Chain {
    branch(
        "refused",
        vec![
            rule(
                11,
                "TCP, QUIC falls back to it",
                [Expr::Protocol(L4::Tcp), Expr::Limit(RESETS), Expr::Count, Expr::Reset],
            ),
            rule(11, "anything", [Expr::Limit(ERRORS), Expr::Count, Expr::Prohibit]),
            rule(11, "too much", [Expr::Count, Expr::Drop]),
        ],
    )
}

fn admitted(ruleset: &Ruleset) -> Chain {
    let mut rules = vec![
        rule(12, "DNS over TLS", [Expr::Dport(L4::Tcp, 853), Expr::Count, Expr::Reset]),
        rule(12, "DNS over QUIC", [Expr::Dport(L4::Udp, 853), Expr::Count, Expr::Prohibit]),
    ];
    for (set, family) in [(BLOCK4, Family::Ipv4), (BLOCK6, Family::Ipv6)] {
        for (l4, refusal) in [(L4::Tcp, Expr::Reset), (L4::Udp, Expr::Prohibit)] {
            let exprs = [Expr::DaddrIn(set, family), Expr::Dport(l4, 443), Expr::Count, refusal];
            rules.push(rule(13, "known resolver", exprs));
        }
    }
    for (set, family) in [(TOR4, Family::Ipv4), (TOR6, Family::Ipv6)] {
        if !ruleset.ways.tor.is_empty() {
            rules.push(rule(36, "Tor", [Expr::DaddrIn(set, family), Expr::Count, Expr::Goto("refused")]));
        }
    }
    for (note, l4, port) in VPN.iter().filter(|_| ruleset.ways.no_vpn) {
        rules.push(rule(35, note, [Expr::Dport(*l4, *port), Expr::Count, Expr::Goto("refused")]));
    }
    if ruleset.ways.no_quic {
        rules.push(rule(37, "QUIC", [Expr::Dport(L4::Udp, 443), Expr::Count, Expr::Prohibit]));
    }
    for uplink in &ruleset.uplinks {
        rules.push(rule(6, "to the internet", [Expr::Oifname(uplink.clone()), Expr::Goto("out")]));
    }
    rules.push(rule(6, "nowhere else", [Expr::Count, Expr::Drop]));
    branch("admitted", rules)
}

fn out() -> Chain {
    let mut rules = vec![
        rule(24, "mark", [Expr::State(States::NEW), Expr::SetMark(MARK)]),
        rule(32, "the device's own mark", [Expr::State(States::NEW), Expr::SetMarkOfMac(DEVICE)]),
        rule(33, "data used up", [Expr::Over(DATA), Expr::Count, Expr::Goto("refused")]),
        rule(32, "faster than the device may send", [Expr::Over(UP), Expr::Count, Expr::Drop]),
    ];
    for l4 in [L4::Tcp, L4::Udp] {
        rules.push(rule(6, "admitted", [Expr::Protocol(l4), Expr::Count, Expr::Accept]));
    }
    for (promise, request, reply) in [(18, ECHO_REQUEST, ECHO_REPLY), (17, ECHO_REQUEST6, ECHO_REPLY6)] {
        rules.push(rule(promise, "ping", [Expr::Icmp(request), Expr::Count, Expr::Accept]));
        rules.push(rule(
            promise,
            "ping",
            [Expr::Icmp(reply), Expr::State(States::ESTABLISHED), Expr::Count, Expr::Accept],
        ));
    }
    rules.extend(errors(&ERRORS4, 18));
    rules.extend(errors(&ERRORS6, 17));
    rules.push(rule(23, "no other protocol", [Expr::Count, Expr::Drop]));
    branch("out", rules)
}

fn from_uplinks(ruleset: &Ruleset) -> Chain {
    let mut rules: Vec<_> = guest_interfaces(ruleset)
        .map(|name| rule(7, "to guests", [Expr::Oifname(name.clone()), Expr::Goto("to_guests")]))
        .collect();
    rules.push(rule(7, "nowhere else", [Expr::Count, Expr::Drop]));
    branch("from_uplinks", rules)
}

fn to_guests(ruleset: &Ruleset) -> Chain {
    let mut rules = Vec::new();
    if ruleset.ipv6 == Ipv6Mode::Off {
        rules.push(rule(15, "IPv6 is off", [Expr::Family(Family::Ipv6), Expr::Count, Expr::Drop]));
    }
    rules.push(rule(33, "data used up", [Expr::Over(DATA), Expr::Count, Expr::Drop]));
    rules.push(rule(32, "faster than the device may receive", [Expr::Over(DOWN), Expr::Count, Expr::Drop]));
    let reply = |promise, note, what| {
        rule(promise, note, [what, Expr::State(States::ESTABLISHED), Expr::Reply, Expr::Count, Expr::Accept])
    };
    rules.push(reply(7, "replies", Expr::Protocol(L4::Tcp)));
    rules.push(reply(7, "replies", Expr::Protocol(L4::Udp)));
    rules.push(reply(18, "ping", Expr::Icmp(ECHO_REPLY)));
    rules.push(reply(17, "ping", Expr::Icmp(ECHO_REPLY6)));
    rules.extend(errors(&ERRORS4, 18));
    rules.extend(errors(&ERRORS6, 17));
    rules.push(rule(7, "nothing else", [Expr::Count, Expr::Drop]));
    branch("to_guests", rules)
}

fn postrouting(ruleset: &Ruleset) -> Chain {
    let mut rules = Vec::new();
    for uplink in &ruleset.uplinks {
        for guest in &ruleset.guests {
            let leave = |promise, network| {
                let exprs = [Expr::Oifname(uplink.clone()), Expr::Saddr(network), Expr::Count, Expr::Masquerade];
                rule(promise, "under the uplink's address", exprs)
            };
            rules.extend(guest.v4.iter().map(|side| leave(14, side.network)));
            if ruleset.ipv6 == Ipv6Mode::Nat66 {
                rules.extend(guest.v6.iter().map(|side| leave(15, side.network)));
            }
        }
    }
    base("postrouting", Kind::Nat, Hook::Postrouting, 100, false, rules)
}

/// Errors pass when they are about a connection that is open.
fn errors(types: &[IcmpType], promise: u8) -> impl Iterator<Item = Rule> {
    types.iter().map(move |icmp| {
        rule(promise, "errors", [Expr::Icmp(*icmp), Expr::State(States::RELATED), Expr::Count, Expr::Accept])
    })
}

fn has_garden(ruleset: &Ruleset) -> bool {
    ruleset.garden && !ruleset.closed
}

fn guest_interfaces(ruleset: &Ruleset) -> impl Iterator<Item = &String> {
    ruleset.guests.iter().map(|guest| &guest.interface)
}

fn rule(promise: u8, note: &str, exprs: impl Into<Vec<Expr>>) -> Rule {
    Rule { promise: Promise(promise), note: note.into(), exprs: exprs.into() }
}

fn branch(name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain { name, base: None, rules }
}

fn base(name: &'static str, kind: Kind, hook: Hook, priority: i32, drop: bool, rules: Vec<Rule>) -> Chain {
    Chain { name, base: Some(Base { kind, hook, priority, drop }), rules }
}
