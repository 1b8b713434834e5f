//! The rules as one value: tables, sets, chains, rules, expressions. Both back ends read this and nothing else.

use std::net::Ipv6Addr;

use crate::{Network, Promise};

/// An `inet` table: IPv4 and IPv6 in one, because a table of one family lets the other through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its named sets.
    pub sets: Vec<Set>,
    /// Its chains. A chain stands after those it jumps to.
    pub chains: Vec<Chain>,
}

/// A named set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What its elements are.
    pub key: Key,
    /// What it holds.
    pub content: Content,
}

/// What a set's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `ether_addr`
    Mac,
    /// `ether_addr . ipv4_addr`
    MacIpv4,
    /// `ether_addr . ipv6_addr`
    MacIpv6,
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `mark`
    Mark,
}

/// What a set holds, and who fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Elements with a time each, put in and taken out one by one; they outlive a change of the rules.
    Timed {
        /// Most elements it takes.
        size: u32,
    },
    /// Networks, replaced with the rules.
    Networks(Vec<Network>),
    /// Elements that rules put in themselves, each with a counter of its connections.
    Counted {
        /// Most elements it takes.
        size: u32,
    },
    /// Each element leads to a mark.
    Marks {
        /// Most elements it takes.
        size: u32,
    },
    /// Elements with a measure each, which matches when it is over.
    Measured {
        /// Most elements it takes.
        size: u32,
        /// Of what.
        measure: Measure,
    },
}

/// What an element of a set measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Bytes a second.
    Rate,
    /// Bytes.
    Data,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where the kernel enters it; `None` for a chain that others jump to.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where the kernel enters a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What the chain may do.
    pub kind: Kind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// In which order among others there; lower is earlier.
    pub priority: i32,
    /// Whether what falls through is dropped.
    pub drop: bool,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accept, drop, reject.
    Filter,
    /// Translate addresses, for the first packet of a connection.
    Nat,
}

/// A point of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To the gateway itself.
    Input,
    /// Through the gateway.
    Forward,
    /// After routing.
    Postrouting,
}

/// A rule: its expressions apply from left to right, until one does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is there for.
    pub promise: Promise,
    /// A few words more, for whoever reads the kernel's listing.
    pub note: String,
    /// What it does.
    pub exprs: Vec<Expr>,
}

impl Rule {
    /// The comment the kernel keeps with it: the promise's number first.
    pub fn comment(&self) -> String {
        format!("{} {}", self.promise, self.note)
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// ICMPv6.
    Icmpv6,
}

impl L4 {
    /// Its protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmpv6 => 58,
        }
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// States of a connection, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(pub u32);

impl States {
    /// Belongs to no connection and cannot begin one.
    pub const INVALID: Self = Self(1);
    /// A reply has been seen.
    pub const ESTABLISHED: Self = Self(2);
    /// An error about a connection.
    pub const RELATED: Self = Self(4);
    /// Begins a connection.
    pub const NEW: Self = Self(8);

    /// Either of the two.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An ICMP or ICMPv6 type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpType {
    /// Of which family.
    pub family: Family,
    /// Its number.
    pub number: u8,
    /// What nft calls it.
    pub name: &'static str,
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Arrived on this interface.
    Iifname(String),
    /// Leaves by this interface.
    Oifname(String),
    /// Is of this family.
    Family(Family),
    /// Carries this protocol; behind extension headers, too.
    Protocol(L4),
    /// Carries TCP or UDP to this port.
    Dport(L4, u16),
    /// Carries this ICMP type.
    Icmp(IcmpType),
    /// Is an ICMPv6 message about this address: the target of neighbour discovery (RFC 4861 §4.3, §4.4).
    Target(Ipv6Addr),
    /// Has crossed no router (RFC 4861 §7.1: hop limit 255).
    FromNeighbour,
    /// Comes from this network.
    Saddr(Network),
    /// Goes to a network of this set; the set's key says which family.
    DaddrIn(&'static str, Family),
    /// The pair of the sender's MAC and address is in this set.
    PairIn(&'static str, Family),
    /// The connection is in one of these states.
    State(States),
    /// The connection's destination was translated.
    Translated,
    /// Answers a connection that the other side began.
    Reply,
    /// The connection carries a mark that begins with these eight bits.
    MarkBegins(u8),
    /// Gives the connection this mark.
    SetMark(u32),
    /// Gives the connection the mark to which the sender's MAC leads in this set, if it is there.
    SetMarkOfMac(&'static str),
    /// The connection's mark is in this set, and its measure there is over.
    Over(&'static str),
    /// A TCP segment that opens a connection, from either side.
    Syn,
    /// The way back to the source does not lead over the interface it came from.
    SourceAstray,
    /// The destination is not an address of the interface it arrived on.
    NotOfThisInterface,
    /// At most so many a second, with a burst of as many.
    Limit(u32),
    /// The sender's MAC, as counted in this set, has more than so many connections open.
    TooMany(&'static str, u32),
    /// Counts.
    Count,
    /// Lowers the TCP option MSS to what the path carries.
    ClampMss,
    /// To this port of the address of the interface it came from.
    Redirect(u16),
    /// Under the address of the interface it leaves by.
    Masquerade,
    /// Ends here, and passes.
    Accept,
    /// Ends here.
    Drop,
    /// Ends here, with a TCP reset.
    Reset,
    /// Ends here, with an ICMP error "administratively prohibited".
    Prohibit,
    /// On in that chain, for good: what falls through there meets the base chain's policy.
    Goto(&'static str),
}
