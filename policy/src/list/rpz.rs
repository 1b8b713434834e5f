//! Response policy zones as zone files (draft-vixie-dnsop-dns-rpz; zone files: RFC 1035 §5.1).

use super::{Edition, Kind, Refusal};
use crate::atom::Scope;

/// What the reader remembers from line to line.
#[derive(Default)]
struct Zone {
    /// Appended to names without a final dot, and cut from owners; without dots at its ends, in lower case.
    origin: String,
    owner: String,
    /// Depth of parentheses: a record that goes on over lines, as the SOA does.
    open: usize,
}

pub(super) fn parse(edition: &mut Edition, text: &[u8]) {
    let mut zone = Zone::default();
    for (number, line) in text.split(|&octet| octet == b'\n').enumerate() {
        let number = number as u32 + 1;
        let Ok(line) = str::from_utf8(line) else {
            edition.refuse(number, Refusal::Character);
            continue;
        };
        let line = line.split_once(';').map_or(line, |(line, _)| line).trim_end();
        if line.trim().is_empty() {
            continue;
        }
        let inside = zone.open > 0;
        zone.open += line.matches('(').count();
        zone.open = zone.open.saturating_sub(line.matches(')').count());
        if !inside && let Err(why) = record(edition, &mut zone, line, number) {
            edition.refuse(number, why);
        }
    }
}

fn record(edition: &mut Edition, zone: &mut Zone, line: &str, number: u32) -> Result<(), Refusal> {
    let mut words = line.split_whitespace().peekable();
    if let Some(directive) = words.next_if(|word| word.starts_with('$')) {
        return match (directive, words.next()) {
            ("$ORIGIN", Some(origin)) => {
                zone.origin = origin.trim_matches('.').to_ascii_lowercase();
                Ok(())
            }
            ("$TTL", Some(_)) => Ok(()),
            _ => Err(Refusal::Malformed),
        };
    }
    // A line that starts with a blank is about the owner of the line before.
    if !line.starts_with(char::is_whitespace)
        && let Some(owner) = words.next()
    {
        zone.owner = owner.to_ascii_lowercase();
    }
    let class_or_ttl = |word: &&str| {
        matches!(word.to_ascii_uppercase().as_str(), "IN" | "CH" | "HS")
            || word.starts_with(|c: char| c.is_ascii_digit())
    };
    let kind = words.find(|word| !class_or_ttl(word)).ok_or(Refusal::Malformed)?;
    let value = words.next().unwrap_or("");
    match kind.to_ascii_uppercase().as_str() {
        "SOA" => {
            // A zone file without $ORIGIN names its zone here.
            if zone.origin.is_empty() && zone.owner != "@" {
                zone.origin = zone.owner.trim_matches('.').to_owned();
            }
            Ok(())
        }
        "NS" => Ok(()),
        "CNAME" => trigger(edition, zone, value, number),
        // Data of the zone's own instead of the name's: a block by other means.
        "A" | "AAAA" => trigger(edition, zone, ".", number),
        _ => Err(Refusal::Redirect),
    }
}

fn trigger(edition: &mut Edition, zone: &Zone, target: &str, number: u32) -> Result<(), Refusal> {
    let owner = match zone.owner.strip_suffix('.') {
        Some(owner) => match owner.strip_suffix(zone.origin.as_str()).and_then(|owner| owner.strip_suffix('.')) {
            Some(owner) if !zone.origin.is_empty() => owner,
            _ if zone.origin.is_empty() => owner,
            // Outside the zone.
            _ => return Err(Refusal::Malformed),
        },
        None => zone.owner.as_str(),
    };
    let last = owner.rsplit('.').next().unwrap_or(owner);
    if matches!(last, "rpz-ip" | "rpz-client-ip" | "rpz-nsip" | "rpz-nsdname") {
        return Err(Refusal::Trigger);
    }
    let target = target.to_ascii_lowercase();
    let kind = match target.as_str() {
        "" => return Err(Refusal::Malformed),
        "rpz-passthru." => Kind::Spared,
        // The old way to write passthru: an alias of itself.
        target if target.strip_suffix('.') == Some(owner) => Kind::Spared,
        "rpz-tcp-only." => return Err(Refusal::Modifier),
        // Nothing, no data, silence; or an alias of a page that says no.
        _ => Kind::Listed,
    };
    match owner.strip_prefix("*.") {
        Some(owner) => edition.add(owner, kind, Scope::Below, number),
        None => edition.add(owner, kind, Scope::Exact, number),
    }
    Ok(())
}
