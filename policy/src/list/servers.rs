//! Lists written as configuration of dnsmasq and of Unbound.

use std::net::IpAddr;

use super::{Edition, Kind, Refusal, lines};
use crate::atom::Scope;

/// Whether an address says that there is none.
fn nothing(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified() || address.is_loopback())
}

/// `address=/name/name/`, `address=/name/0.0.0.0`, `server=/name/`, `local=/name/`.
pub(super) fn dnsmasq(edition: &mut Edition, text: &[u8]) {
    lines::each(text, |number, line| {
        let Some(line) = line else { return edition.refuse(number, Refusal::Character) };
        let line = lines::before_comment(line, &['#']);
        if line.is_empty() {
            return;
        }
        let Some((key, rest)) = line.split_once("=/") else { return edition.refuse(number, Refusal::Malformed) };
        let Some((names, value)) = rest.rsplit_once('/') else { return edition.refuse(number, Refusal::Malformed) };
        let kind = match (key, value) {
            ("address" | "server" | "local", "") | ("address", "#") => Kind::Listed,
            ("address", address) if nothing(address) => Kind::Listed,
            // The usual servers, although a name above is blocked.
            ("server", "#") => Kind::Spared,
            ("address" | "server" | "local", _) => return edition.refuse(number, Refusal::Redirect),
            _ => return edition.refuse(number, Refusal::Malformed),
        };
        for name in names.split('/') {
            // dnsmasq takes `.name` and `*.name` for what they say, and a name for itself and all below.
            match name.strip_prefix("*.") {
                Some(name) => edition.add(name, kind, Scope::Below, number),
                None => edition.add(name.strip_prefix('.').unwrap_or(name), kind, Scope::Tree, number),
            }
        }
    });
}

/// `local-zone: "name" always_nxdomain`, `local-data: "name A 0.0.0.0"`.
pub(super) fn unbound(edition: &mut Edition, text: &[u8]) {
    lines::each(text, |number, line| {
        let Some(line) = line else { return edition.refuse(number, Refusal::Character) };
        let line = lines::before_comment(line, &['#']);
        if line.is_empty() || line == "server:" {
            return;
        }
        let why = match line.split_once(':') {
            Some(("local-zone", rest)) => zone(edition, rest, number),
            Some(("local-data", rest)) => data(edition, rest, number),
            _ => Err(Refusal::Malformed),
        };
        if let Err(why) = why {
            edition.refuse(number, why);
        }
    });
}

fn zone(edition: &mut Edition, rest: &str, number: u32) -> Result<(), Refusal> {
    let mut words = rest.split_whitespace().map(|word| word.trim_matches('"'));
    let (Some(name), Some(kind), None) = (words.next(), words.next(), words.next()) else {
        return Err(Refusal::Malformed);
    };
    let kind = match kind {
        "always_nxdomain" | "always_null" | "always_refuse" | "always_nodata" | "always_deny" | "static" | "refuse"
        | "deny" | "inform_deny" | "redirect" | "inform_redirect" => Kind::Listed,
        "always_transparent" => Kind::Spared,
        _ => return Err(Refusal::Modifier),
    };
    edition.add(name, kind, Scope::Tree, number);
    Ok(())
}

fn data(edition: &mut Edition, rest: &str, number: u32) -> Result<(), Refusal> {
    let rest = rest.trim().trim_matches(['"', '\'']);
    let mut words = rest.split_whitespace();
    let name = words.next().ok_or(Refusal::Malformed)?;
    let mut words = words.skip_while(|word| *word == "IN" || word.bytes().all(|octet| octet.is_ascii_digit()));
    match (words.next(), words.next()) {
        (Some("A" | "AAAA"), Some(address)) if nothing(address) => {
            edition.add(name, Kind::Listed, Scope::Exact, number);
            Ok(())
        }
        (Some(_), Some(_)) => Err(Refusal::Redirect),
        _ => Err(Refusal::Malformed),
    }
}
