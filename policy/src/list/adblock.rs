//! Adblock rules, as far as a resolver can honour them.

use super::{Edition, Kind, Refusal, lines};
use crate::{atom::Scope, pattern};

/// Modifiers that leave a rule saying the whole name. Others limit it to parts of a page or to some clients; to take
/// such a rule without its limit would be to widen it.
const WHOLE: [&str; 5] = ["all", "document", "doc", "popup", "important"];
/// Answers of `$dnsrewrite` that only say no.
const NOTHING: [&str; 12] = [
    "",
    "nxdomain",
    "refused",
    "servfail",
    "noerror",
    "nxdomain;;",
    "refused;;",
    "servfail;;",
    "noerror;;",
    "0.0.0.0",
    "::",
    "noerror;a;0.0.0.0",
];

pub(super) fn parse(edition: &mut Edition, text: &[u8]) {
    lines::each(text, |number, line| match line {
        None => edition.refuse(number, Refusal::Character),
        Some(line) => {
            if let Err(why) = rule(edition, line, number) {
                edition.refuse(number, why);
            }
        }
    });
}

fn rule(edition: &mut Edition, line: &str, number: u32) -> Result<(), Refusal> {
    if line.starts_with('!') || line.starts_with('[') && line.ends_with(']') {
        return Ok(());
    }
    if ["##", "#@#", "#?#", "#$#", "#%#"].iter().any(|mark| line.contains(mark)) {
        return Err(Refusal::Cosmetic);
    }
    if line.starts_with('#') {
        return Ok(());
    }
    if line.split_whitespace().nth(1).is_some() && !line.starts_with('/') {
        // Lists for adblockers of resolvers mix in lines of hosts files.
        lines::hosts_line(edition, line, number);
        return Ok(());
    }
    let (rule, spared) = line.strip_prefix("@@").map_or((line, false), |rule| (rule, true));
    if let Some((regex, modifiers)) = expression(rule) {
        // What a list takes back, or limits, by expression cannot be tied to the entries it means.
        if spared || !modifiers.is_empty() {
            return Err(Refusal::Modifier);
        }
        edition.add_pattern(regex.to_owned(), number);
        return Ok(());
    }
    let (rule, modifiers) = rule.split_once('$').unwrap_or((rule, ""));
    let mut kind = if spared { Kind::Spared } else { Kind::Listed };
    let mut stops = Vec::new();
    for modifier in modifiers.split(',').filter(|modifier| !modifier.is_empty()) {
        let (key, value) = modifier.split_once('=').unwrap_or((modifier, ""));
        match key {
            "important" if kind == Kind::Listed => kind = Kind::Important,
            "denyallow" if !spared => stops.extend(value.split('|')),
            "dnsrewrite" if !spared => {
                if !NOTHING.contains(&value.to_ascii_lowercase().as_str()) {
                    return Err(Refusal::Redirect);
                }
            }
            _ if WHOLE.contains(&modifier) => {}
            _ => return Err(Refusal::Modifier),
        }
    }
    name(edition, rule, kind, number, stops.is_empty())?;
    for stop in stops {
        edition.add(stop, Kind::Stopped, Scope::Tree, number);
    }
    Ok(())
}

/// `/regex/` or `/regex/$modifiers`.
fn expression(rule: &str) -> Option<(&str, &str)> {
    let rest = rule.strip_prefix('/')?;
    let (regex, after) = rest.rsplit_once('/')?;
    match after.strip_prefix('$') {
        Some(modifiers) => Some((regex, modifiers)),
        None => after.is_empty().then_some((regex, "")),
    }
}

fn name(edition: &mut Edition, rule: &str, kind: Kind, number: u32, may_be_pattern: bool) -> Result<(), Refusal> {
    let (rule, tree) = rule.strip_prefix("||").map_or((rule, false), |rule| (rule, true));
    let (rule, start) = rule.strip_prefix('|').map_or((rule, false), |rule| (rule, true));
    let rule = rule.strip_prefix("http://").or_else(|| rule.strip_prefix("https://")).unwrap_or(rule);
    let rule = rule.strip_prefix("://").unwrap_or(rule);
    let (rule, end) = {
        let bare = rule.trim_end_matches(['^', '|', '/']);
        (bare, bare.len() < rule.len())
    };
    if rule.contains(['/', '?', '=', '&']) {
        return Err(Refusal::Url);
    }
    if rule.contains(':') {
        // A port, or an IPv6 address.
        return Err(if rule.parse::<std::net::IpAddr>().is_ok() { Refusal::Address } else { Refusal::Url });
    }
    let (rest, below) = match rule.strip_prefix("*.").or_else(|| rule.strip_prefix('.')) {
        Some(rest) => (rest, true),
        None => (rule, false),
    };
    if rest.contains('*') {
        // Something that takes back, or is limited, by pattern cannot be tied to the entries it means.
        if kind != Kind::Listed || !may_be_pattern {
            return Err(Refusal::Modifier);
        }
        if rest.bytes().any(|octet| !(octet.is_ascii_alphanumeric() || b".-_*".contains(&octet))) {
            return Err(Refusal::Character);
        }
        let mut regex = pattern::wildcard(rule, tree || start);
        if end {
            regex.push('$');
        }
        edition.add_pattern(regex, number);
        return Ok(());
    }
    let scope = match (below, tree, start, end) {
        (true, ..) => Scope::Below,
        (_, true, ..) => Scope::Tree,
        (_, _, true, _) => Scope::Exact,
        // A bare name, as in a list of names.
        _ => edition.plain(),
    };
    edition.add(rest, kind, scope, number);
    Ok(())
}
