//! `[probes]` and `[witness]`: what the gateway needs to measure itself, and the host that stands for the internet.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use sheshi_policy::read::Section;

/// What the gateway needs to know to measure itself.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Two or more servers of time (SNTP), to compare our clock with.
    pub clocks: Vec<SocketAddr>,
    /// SHA-256 of the policy file that was approved, in hexadecimal, as `sha256sum` writes it.
    pub approved: Option<PathBuf>,
    /// Popular names, one a line: few of them may be blocked without a category.
    pub popular: Option<PathBuf>,
    /// The public key that the city enrolled for this gateway (PEM).
    pub enrolled: Option<PathBuf>,
    /// The host that stands for the internet.
    pub witness: Option<Witness>,
}

/// A host of the city on the internet: it answers, so that no answer means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// Its address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// The UDP port on which it sends back what it gets.
    pub echo: u16,
}

/// Reads `[probes]`; `folder` is the configuration's own.
pub(crate) fn settings(section: &mut Section<'_, '_>, folder: &Path) -> Settings {
    let want = "want ADDR:PORT, such as \"193.204.114.232:123\"";
    let clock = |text: &str| text.parse().map_err(|_| (format!("{text:?} is none"), want.to_owned()));
    let clocks = section.list("clocks", clock).into_iter().flatten().map(|field| field.value).collect();
    let mut file = |key| section.text(key).map(|field| folder.join(field.value));
    Settings { clocks, approved: file("approved"), popular: file("popular"), enrolled: file("enrolled"), witness: None }
}

/// Reads `[witness]`.
pub(crate) fn witness(section: &mut Section<'_, '_>) -> Option<Witness> {
    let name = section.required_text("name", "write the host's name, such as \"witness.wifi.tirana.al\"");
    let address =
        |text: &str| text.parse().map_err(|_| (format!("{text:?} is none"), "want an IPv4 address".to_owned()));
    let v4 = section.parsed::<Ipv4Addr>("v4", address).map(|field| field.value);
    if v4.is_none() && !section.has("v4") {
        section.missing("v4", "write its IPv4 address");
    }
    let address =
        |text: &str| text.parse().map_err(|_| (format!("{text:?} is none"), "want an IPv6 address".to_owned()));
    let v6 = section.parsed::<Ipv6Addr>("v6", address).map(|field| field.value);
    let echo = section.integer("echo").map_or(7, |field| field.value);
    let Ok(echo) = u16::try_from(echo) else {
        section.tell("echo", format!("{echo} is no port"), "want a UDP port on which it sends back what it gets");
        return None;
    };
    Some(Witness { name: name?.value, v4: v4?, v6, echo })
}
