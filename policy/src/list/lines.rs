//! Formats of one thing a line: hosts files, names, regular expressions, digests, addresses.

use std::net::{IpAddr, Ipv4Addr};

use super::{Edition, Kind, Refusal};
use crate::atom::Scope;

/// Numbered lines without comments and blank ones. What is not UTF-8 comes as `None`.
pub(super) fn each<'a>(text: &'a [u8], mut line: impl FnMut(u32, Option<&'a str>)) {
    for (number, octets) in text.split(|&octet| octet == b'\n').enumerate() {
        let octets = octets.trim_ascii();
        if !octets.is_empty() {
            line(number as u32 + 1, str::from_utf8(octets).ok());
        }
    }
}

/// The line up to a comment that starts a line or follows a blank.
pub(super) fn before_comment<'a>(line: &'a str, marks: &[char]) -> &'a str {
    let mut blank = true;
    for (at, letter) in line.char_indices() {
        if blank && marks.contains(&letter) {
            return line[..at].trim_end();
        }
        blank = letter.is_whitespace();
    }
    line
}

/// `name`, `*.name`, `.name`; comments with `#` and `;`, and `!` at the start of a line.
pub(super) fn domains(edition: &mut Edition, text: &[u8]) {
    each(text, |number, line| {
        let Some(line) = line else { return edition.refuse(number, Refusal::Character) };
        if line.starts_with('!') {
            return;
        }
        let line = before_comment(line, &['#', ';']);
        if !line.is_empty() {
            domain(edition, line, number);
        }
    });
}

/// One name in any of the forms that lists of names use.
pub(super) fn domain(edition: &mut Edition, text: &str, number: u32) {
    let (text, scope) = match (text.strip_prefix("*."), text.strip_prefix('.')) {
        (Some(text), _) => (text, Scope::Below),
        (_, Some(text)) if !text.is_empty() => (text, Scope::Tree),
        _ => (text, edition.plain()),
    };
    let (text, url) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|octet| octet.is_ascii_alphanumeric()) => (rest, true),
        _ => (text, false),
    };
    match text.split_once('/') {
        Some((_, path)) if !path.is_empty() => edition.refuse(number, Refusal::Url),
        Some((text, _)) => edition.add(text, Kind::Listed, scope, number),
        // A URL without a path means the whole site.
        None if url => edition.add(text, Kind::Listed, scope, number),
        None if text.contains('*') => edition.refuse(number, Refusal::Character),
        None => edition.add(text, Kind::Listed, scope, number),
    }
}

/// `0.0.0.0 name name …`; lines of one word are names.
pub(super) fn hosts(edition: &mut Edition, text: &[u8]) {
    each(text, |number, line| match line {
        Some(line) => hosts_line(edition, line, number),
        None => edition.refuse(number, Refusal::Character),
    });
}

/// One line of a hosts file.
pub(super) fn hosts_line(edition: &mut Edition, line: &str, number: u32) {
    let line = before_comment(line, &['#']);
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return };
    let scope = edition.plain();
    let Ok(address) = first.parse::<IpAddr>() else {
        return match words.next() {
            None => domain(edition, first, number),
            Some(_) => edition.refuse(number, Refusal::Malformed),
        };
    };
    // A line that gives a name a real address redirects it; a list may block, not redirect.
    if !(address.is_loopback() || address.is_unspecified() || address == IpAddr::V4(Ipv4Addr::BROADCAST)) {
        return edition.refuse(number, if words.all(own) { Refusal::Special } else { Refusal::Redirect });
    }
    let mut any = false;
    for word in words {
        any = true;
        edition.add(word, Kind::Listed, scope, number);
    }
    if !any {
        edition.refuse(number, Refusal::Address);
    }
}

/// Names that a system's own hosts file gives addresses to.
fn own(name: &str) -> bool {
    name.starts_with("ip6-") || name == "localhost"
}

/// URLs of a list that blocks by URL: none is enforced, not even one without a path, which may mean a page.
pub(super) fn urls(edition: &mut Edition, text: &[u8]) {
    each(text, |number, _| edition.refuse(number, Refusal::Url));
}

/// One regular expression a line, bare or between slashes.
pub(super) fn expressions(edition: &mut Edition, text: &[u8]) {
    each(text, |number, line| {
        let Some(line) = line else { return edition.refuse(number, Refusal::Character) };
        if line.starts_with('#') {
            return;
        }
        let bare = line.strip_prefix('/').and_then(|line| line.strip_suffix('/')).unwrap_or(line);
        edition.add_pattern(bare.to_owned(), number);
    });
}

/// One HMAC-SHA-256 a line.
pub(super) fn hashes(edition: &mut Edition, text: &[u8]) {
    each(text, |number, line| {
        let Some(line) = line else { return edition.refuse(number, Refusal::Character) };
        let line = before_comment(line, &['#']);
        if line.is_empty() {
            return;
        }
        match unhex(line) {
            Some(digest) => edition.hashes.push(digest),
            None => edition.refuse(number, Refusal::Malformed),
        }
    });
}

/// 32 octets from 64 hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    let mut octets = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *octet = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
    }
    Some(octets)
}

/// One address or network a line.
pub(super) fn addresses(edition: &mut Edition, text: &[u8]) {
    each(text, |number, line| {
        let Some(line) = line else { return edition.refuse(number, Refusal::Character) };
        let line = before_comment(line, &['#', ';', '!']);
        if line.is_empty() {
            return;
        }
        match line.parse::<crate::Network>() {
            // A line that covers a large part of the internet is a mistake.
            Ok(network) if network.length() < if network.address().is_ipv4() { 8 } else { 16 } => {
                edition.refuse(number, Refusal::Loose);
            }
            Ok(network) => edition.networks.push((network, number)),
            Err(_) => edition.refuse(number, Refusal::Malformed),
        }
    });
}
