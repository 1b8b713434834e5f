//! What kind of lab is wanted.

use std::{net::Ipv6Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan;

/// What stands between the guests and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayKind {
    /// The real thing: `sheshi-guard`, `sheshi gateway` and dnsmasq.
    Sheshi,
    /// A router that forwards and resolves for anybody: what every attack of the flows must succeed through.
    Naive,
}

/// How guests get IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6 {
    /// The provider routes a prefix to the gateway.
    Routed,
    /// Guests have a private prefix, translated by the gateway.
    Nat66,
    /// None.
    Off,
}

/// How the lab is cut off from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A user namespace of its own: needs no root.
    Rootless,
    /// No user namespace: needs root, and then processes can have owners of their own.
    Root,
}

/// What kind of lab is wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// What stands between the guests and the internet.
    pub gateway: GatewayKind,
    /// How guests get IPv6.
    pub ipv6: Ipv6,
    /// How the lab is cut off from the machine.
    pub isolation: Isolation,
    /// How many guests there are: `guest1`, `guest2` …
    pub guests: u8,
    /// The folder with the block lists the policy names; `None` is the small one that ships with the project.
    pub lists: Option<PathBuf>,
    /// The policy file; `None` is the one that ships with the project.
    pub policy: Option<PathBuf>,
    /// How long a session lasts, as the gateway's configuration writes it.
    pub session: String,
    /// More sections of the gateway's configuration, as an admin would write them.
    pub settings: String,
    /// The Unix socket of a dashboard, which stands on the lab's internet under its name then.
    pub dashboard: Option<PathBuf>,
    /// Whether the gateway measures itself through a synthetic guest.
    pub probes: bool,
    /// Whether the lab's folder (logs, state) stays when the lab ends.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway: GatewayKind::Sheshi,
            ipv6: Ipv6::Nat66,
            isolation: Isolation::Rootless,
            guests: 2,
            lists: None,
            policy: None,
            session: "8h".into(),
            settings: String::new(),
            dashboard: None,
            probes: false,
            keep: false,
        }
    }
}

impl Options {
    /// A lab with a gateway that forwards and resolves for anybody.
    pub fn naive() -> Self {
        Self { gateway: GatewayKind::Naive, ..Self::default() }
    }

    /// The gateway's IPv6 address on the guest side.
    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        match self.ipv6 {
            Ipv6::Routed => Some(plan::GATEWAY_ROUTED),
            Ipv6::Nat66 => Some(plan::GATEWAY_ULA),
            Ipv6::Off => None,
        }
    }

    /// The places of this lab.
    pub(crate) fn places(&self) -> Vec<String> {
        let guests = (1..=self.guests).map(|number| format!("guest{number}"));
        ["internet".to_owned(), "gateway".to_owned()].into_iter().chain(guests).collect()
    }
}
