//! The rules as nft text, in the very form `nft --stateless list` prints.

use std::fmt::{self, Display, Write};

use crate::{
    Ruleset, contract,
    ir::{Base, Chain, Content, Expr, Family, Hook, Key, Kind, L4, Measure, Rule, Set, States, Table},
    network,
};

impl Ruleset {
    /// The rules as nft text: what the kernel is given, readable, and what `nft --check --file` accepts.
    pub fn render(&self) -> String {
        let tables = contract::tables(self);
        tables.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.name)?;
        let sets = self.sets.iter().map(ToString::to_string);
        let parts: Vec<String> = sets.chain(self.chains.iter().map(ToString::to_string)).collect();
        f.write_str(&parts.join("\n"))?;
        writeln!(f, "}}")
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leads = matches!(self.content, Content::Marks { .. });
        writeln!(f, "\t{} {} {{", if leads { "map" } else { "set" }, self.name)?;
        let key = match self.key {
            Key::Mac => "ether_addr",
            Key::MacIpv4 => "ether_addr . ipv4_addr",
            Key::MacIpv6 => "ether_addr . ipv6_addr",
            Key::Ipv4 => "ipv4_addr",
            Key::Ipv6 => "ipv6_addr",
            Key::Mark => "mark",
        };
        writeln!(f, "\t\ttype {key}{}", if leads { " : mark" } else { "" })?;
        match &self.content {
            Content::Timed { size } => writeln!(f, "\t\tsize {size}\n\t\tflags timeout")?,
            Content::Counted { size } => writeln!(f, "\t\tsize {size}\n\t\tflags dynamic")?,
            Content::Marks { size } => writeln!(f, "\t\tsize {size}")?,
            Content::Measured { size, measure } => {
                let nothing = match measure {
                    Measure::Rate => "limit rate over 1 bytes/second",
                    Measure::Data => "quota over 1 bytes",
                };
                writeln!(f, "\t\tsize {size}\n\t\t{nothing}")?;
            }
            Content::Networks(networks) => {
                writeln!(f, "\t\tflags interval")?;
                if !networks.is_empty() {
                    let list: Vec<_> = networks.iter().map(network::written).collect();
                    writeln!(f, "\t\telements = {{ {} }}", list.join(",\n\t\t\t     "))?;
                }
            }
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = &self.base {
            writeln!(f, "\t\t{base}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Postrouting => "postrouting",
        };
        let priority = match self.priority {
            -300 => "raw".to_string(),
            -150 => "mangle".to_string(),
            -100 => "dstnat".to_string(),
            100 => "srcnat".to_string(),
            0 => "filter".to_string(),
            other => format!("filter {} {}", if other < 0 { '-' } else { '+' }, other.abs()),
        };
        let policy = if self.drop { "drop" } else { "accept" };
        write!(f, "type {kind} hook {hook} priority {priority}; policy {policy};")
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for expr in &self.exprs {
            write!(f, "{expr} ")?;
        }
        write!(f, "comment \"{}\"", self.comment())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iifname(name) => write!(f, "iifname \"{name}\""),
            Self::Oifname(name) => write!(f, "oifname \"{name}\""),
            Self::Family(Family::Ipv4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::Ipv6) => f.write_str("meta nfproto ipv6"),
            Self::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::Dport(protocol, port) => write!(f, "{protocol} dport {port}"),
            Self::Icmp(icmp) => match icmp.family {
                Family::Ipv4 => write!(f, "icmp type {}", icmp.name),
                Family::Ipv6 => write!(f, "icmpv6 type {}", icmp.name),
            },
            Self::Target(address) => write!(f, "@th,64,128 {:#x}", address.to_bits()),
            Self::FromNeighbour => f.write_str("ip6 hoplimit 255"),
            Self::Saddr(source) => {
                let family = if network::is_ipv4(source) { Family::Ipv4 } else { Family::Ipv6 };
                write!(f, "{family} saddr {}", network::written(source))
            }
            Self::DaddrIn(set, family) => write!(f, "{family} daddr @{set}"),
            Self::PairIn(set, family) => write!(f, "ether saddr . {family} saddr @{set}"),
            Self::State(states) => write!(f, "ct state {states}"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::Reply => f.write_str("ct direction reply"),
            Self::MarkBegins(bits) => write!(f, "ct mark {:#010x}/8", u32::from(*bits) << 24),
            Self::SetMark(mark) => write!(f, "ct mark set {mark:#010x}"),
            Self::SetMarkOfMac(set) => write!(f, "ct mark set ether saddr map @{set}"),
            Self::Over(set) => write!(f, "ct mark @{set}"),
            Self::Syn => f.write_str("tcp flags syn / syn,rst"),
            Self::SourceAstray => f.write_str("fib saddr . iif oif missing"),
            Self::NotOfThisInterface => f.write_str("fib daddr . iif type != local"),
            Self::Limit(rate) => write!(f, "limit rate {rate}/second burst {rate} packets"),
            Self::TooMany(set, most) => write!(f, "add @{set} {{ ether saddr ct count over {most} }}"),
            Self::Count => f.write_str("counter"),
            Self::ClampMss => f.write_str("tcp option maxseg size set rt mtu"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Prohibit => f.write_str("reject with icmpx admin-prohibited"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for L4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "ipv6-icmp",
        })
    }
}

/// As the protocol's name stands before `saddr` and `daddr`.
impl Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        })
    }
}

impl Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::INVALID, "invalid"),
            (Self::ESTABLISHED, "established"),
            (Self::RELATED, "related"),
            (Self::NEW, "new"),
        ];
        let mut first = true;
        for (_, name) in names.iter().filter(|(state, _)| self.0 & state.0 != 0) {
            if !std::mem::take(&mut first) {
                f.write_char(',')?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
