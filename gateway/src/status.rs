//! What `sheshi status` and `sheshi guests` show: values that travel over the control socket, and how a person reads them.
//! Counts and states only: no name that was asked for, and devices only where somebody asks for the list of guests.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use sheshi_firewall::Health;
use sheshi_policy::Mac;

use crate::{city::CityStatus, plan::Trouble};

/// How a running gateway is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// What guests call the place.
    pub site: String,
    /// Seconds since it started.
    pub running: u64,
    /// What guests get.
    pub service: Service,
    /// What is wrong, and what mends it.
    pub troubles: Vec<Trouble>,
    /// The policy in force.
    pub policy: Option<PolicyStatus>,
    /// The city's dashboard, when the configuration names one.
    #[serde(default)]
    pub city: Option<CityStatus>,
    /// The network.
    pub network: NetworkStatus,
    /// The firewall, when the guard answers.
    pub firewall: Option<Health>,
    /// What the gateway's own measurement amounts to; none where it does not measure, or has not yet.
    #[serde(default)]
    pub evidence: Option<crate::probe::standing::Standing>,
    /// The portal's figures.
    pub portal: serde_json::Value,
    /// The resolver's figures.
    pub dns: serde_json::Value,
}

/// What guests get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Admitted guests reach the internet, filtered.
    Open,
    /// Nothing is forwarded; the portal says so.
    Closed,
}

/// The policy in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its running number.
    pub generation: u64,
    /// SHA-256 of the compiled policy, hexadecimal.
    pub digest: String,
    /// Its lists.
    pub lists: Vec<ListLine>,
}

/// A list of the policy in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListLine {
    /// Its name.
    pub name: String,
    /// Its category; none for allowed names.
    pub category: Option<String>,
    /// Its edition.
    pub edition: String,
    /// How many entries are in force.
    pub entries: u32,
    /// How many lines were not taken.
    pub refused: u32,
    /// The same by reason.
    #[serde(default)]
    pub refused_by: Vec<(String, u32)>,
    /// Why a newer edition is held back, when one is.
    pub held: Option<String>,
    /// Why it could not be fetched the last time, when it could not.
    #[serde(default)]
    pub unreachable: Option<String>,
    /// How many times in a row it could not be fetched.
    #[serde(default)]
    pub failures: u32,
    /// Whether the edition is older than the policy wants.
    pub stale: bool,
}

/// The network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Our addresses on the guest side.
    pub addresses: Vec<IpAddr>,
    /// How IPv6 reaches the internet: `routed`, `nat66` or `off`.
    pub ipv6: String,
    /// Addresses lent to devices now, and how many there are.
    pub leases: (u32, u32),
}

/// An admitted device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GuestLine {
    /// The device.
    pub mac: Mac,
    /// Its group.
    pub group: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Seconds left.
    pub left: u64,
}

/// Hours, minutes and seconds, the two largest that are not zero.
pub(crate) fn span(seconds: u64) -> String {
    let seconds = Duration::from_secs(seconds).as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

impl fmt::Display for GuestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "{}  {:<10}  {:>12} left  {}", self.mac, self.group, span(self.left), addresses.join(" "))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = match self.service {
            Service::Open => "open: admitted guests reach the internet, filtered",
            Service::Closed => "CLOSED: nothing is forwarded, and the portal says so",
        };
        writeln!(f, "{} — sheshi {}, running {}", self.site, self.version, span(self.running))?;
        writeln!(f, "service   {service}")?;
        for Trouble { what, fix } in &self.troubles {
            writeln!(f, "trouble   {what}\n          fix: {fix}")?;
        }
        match &self.policy {
            None => writeln!(f, "policy    none")?,
            Some(policy) => {
                writeln!(f, "policy    generation {}, sha256 {:.16}…", policy.generation, policy.digest)?;
                for list in &policy.lists {
                    let category = list.category.as_deref().unwrap_or("allowed");
                    writeln!(
                        f,
                        "  list    {:<20} {category:<12} {:>9} entries, {} lines not taken, edition {}",
                        list.name, list.entries, list.refused, list.edition
                    )?;
                    for (reason, count) in &list.refused_by {
                        writeln!(f, "          {count:>9} not taken: {reason}")?;
                    }
                    if list.stale {
                        writeln!(f, "          older than the policy wants")?;
                    }
                    if let Some(reason) = &list.held {
                        writeln!(f, "          a newer edition is held: {reason}")?;
                    }
                    if let Some(reason) = &list.unreachable {
                        writeln!(f, "          not fetched, {} times in a row: {reason}", list.failures)?;
                    }
                }
            }
        }
        if let Some(city) = &self.city {
            let heard = city.heard.map_or("not heard yet".to_owned(), |ago| format!("heard {} ago", span(ago)));
            writeln!(f, "city      {}: {}, {heard}; key {:.19}…", city.dashboard, city.state, city.fingerprint)?;
        }
        let addresses: Vec<_> = self.network.addresses.iter().map(ToString::to_string).collect();
        let (used, size) = self.network.leases;
        writeln!(f, "network   {}, IPv6 {}, {used} of {size} addresses lent", addresses.join(", "), self.network.ipv6)?;
        match &self.firewall {
            None => writeln!(f, "firewall  the guard does not answer; what it last put in force holds")?,
            Some(health) => {
                let state = match (health.in_force, health.matches) {
                    (true, true) => "in force, as rendered".to_owned(),
                    (true, false) => format!("in force, but CHANGED by somebody: {}", health.difference),
                    (false, _) => "NOT in force".to_owned(),
                };
                writeln!(f, "firewall  {state}; generation {}, put back {} times", health.generation, health.restored)?;
                for weaker in &health.weaker_promises {
                    writeln!(f, "          weaker: {weaker}")?;
                }
            }
        }
        match &self.evidence {
            None => writeln!(f, "evidence  nothing measured yet")?,
            Some(standing) => writeln!(f, "evidence  {standing}")?,
        }
        let figure = |value: &serde_json::Value, key: &str| value[key].as_u64().unwrap_or_default();
        writeln!(
            f,
            "guests    {} admitted, {} times since the start",
            figure(&self.portal, "sessions"),
            figure(&self.portal, "admitted")
        )?;
        let [queries, allowed, blocked, strangers, hits, misses, failed] =
            ["queries", "allowed", "blocked", "stranger", "cache_hits", "cache_misses", "failed"]
                .map(|key| figure(&self.dns, key));
        write!(
            f,
            "dns       {queries} queries: {allowed} allowed, {blocked} blocked, {strangers} of strangers, {failed} failed; {hits} of {} from the cache",
            hits + misses
        )?;
        match figure(&self.dns, "new_names_slowed") {
            0 => Ok(()),
            slowed => {
                write!(f, "\n          {slowed} questions for new names turned away: somebody sends data through DNS")
            }
        }
    }
}
