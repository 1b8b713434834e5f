//! What a body is: no list at all, or a list of which format.

use std::net::IpAddr;

use super::{NotAList, lines};
use crate::{Format, Network};

/// Lines that are looked at to find out the format.
const LOOKED_AT: usize = 300;

/// Refuses what is no list at all.
pub(super) fn check(text: &[u8]) -> Result<(), NotAList> {
    let start = text.trim_ascii_start();
    if start.is_empty() {
        return Err(NotAList::Empty);
    }
    if u32::try_from(text.len()).is_err() {
        return Err(NotAList::Huge);
    }
    let packed: [&[u8]; 5] = [b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];
    if packed.iter().any(|magic| text.starts_with(magic)) || text.contains(&0) {
        return Err(NotAList::Binary);
    }
    // Text of another encoding than UTF-8 has odd octets here and there; a picture has them everywhere.
    let head = &text[..text.len().min(4096)];
    let odd = head.iter().filter(|octet| octet.is_ascii_control() && !octet.is_ascii_whitespace()).count();
    if odd * 20 > head.len() {
        return Err(NotAList::Binary);
    }
    let head = start[..start.len().min(2048)].to_ascii_lowercase();
    let has = |tag: &[u8]| head.windows(tag.len()).any(|window| window == tag);
    if head.starts_with(b"<") && (has(b"<html") || has(b"<!doctype") || has(b"<head") || has(b"<body") || has(b"<?xml"))
    {
        return Err(NotAList::Html);
    }
    Ok(())
}

/// The format that most of the first lines have.
pub(super) fn format(text: &[u8]) -> Format {
    let kinds = [
        Format::Domains,
        Format::Hosts,
        Format::Adblock,
        Format::Dnsmasq,
        Format::Unbound,
        Format::Rpz,
        Format::Hashed,
        Format::Addresses,
        Format::Regex,
    ];
    let mut votes = [0; 9];
    let mut looked_at = 0;
    for line in text.split(|&octet| octet == b'\n') {
        let Ok(line) = str::from_utf8(line) else { continue };
        let Some(format) = line_format(line.trim()) else { continue };
        looked_at += 1;
        if let Some(place) = kinds.iter().position(|kind| *kind == format) {
            votes[place] += 1;
        }
        if looked_at == LOOKED_AT {
            break;
        }
    }
    // A zone file's records span lines and abbreviate; a few that are unmistakable are enough.
    let [.., rpz, _, _, _] = votes;
    if rpz > 0 && rpz * 4 >= looked_at {
        return Format::Rpz;
    }
    let best = (0..votes.len()).max_by_key(|&place| (votes[place], votes.len() - place)).unwrap_or(0);
    kinds[best]
}

fn line_format(line: &str) -> Option<Format> {
    if line.starts_with("$TTL") || line.starts_with("$ORIGIN") {
        return Some(Format::Rpz);
    }
    if line.is_empty() || line.starts_with(['!', ';']) || line.starts_with('#') && !line.starts_with("##") {
        return None;
    }
    if line.starts_with("||") || line.starts_with("@@") || line.starts_with("[Adblock") || line.contains("##") {
        return Some(Format::Adblock);
    }
    if ["address=/", "server=/", "local=/"].iter().any(|key| line.starts_with(key)) {
        return Some(Format::Dnsmasq);
    }
    if ["local-zone:", "local-data:", "server:"].iter().any(|key| line.starts_with(key)) {
        return Some(Format::Unbound);
    }
    let line = lines::before_comment(line, &['#', ';']);
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first.parse::<IpAddr>().is_ok() && words.next().is_some() {
        return Some(Format::Hosts);
    }
    if line.split_whitespace().any(|word| matches!(word, "CNAME" | "SOA" | "IN")) {
        return Some(Format::Rpz);
    }
    if lines::unhex(line).is_some() {
        return Some(Format::Hashed);
    }
    if first.parse::<Network>().is_ok() {
        return Some(Format::Addresses);
    }
    let url = line.contains("://");
    if !url && line.contains(['\\', '(', '[', '^', '$', '+', '{', '|'])
        || line.len() > 2 && line.starts_with('/') && line.ends_with('/')
    {
        return Some(Format::Regex);
    }
    Some(Format::Domains)
}
