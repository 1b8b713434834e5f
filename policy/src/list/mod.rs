//! Lists: from untrusted text to entries, each line taken or refused with a counted reason.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{Format, List, Name, Network, atom::Scope, name};

mod adblock;
mod detect;
mod lines;
mod rpz;
mod servers;

/// Why a line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Not a line of this format.
    Malformed,
    /// Too long for the DNS, or with an empty label.
    Length,
    /// Characters that no name has.
    Character,
    /// An address where a name should be.
    Address,
    /// A URL with a path: a resolver cannot block it, and it is not widened to the name.
    Url,
    /// A name under which anybody can register (public suffix).
    PublicSuffix,
    /// The root, `localhost`, or another name with a special use.
    Special,
    /// A modifier that a resolver cannot honour.
    Modifier,
    /// A redirect to elsewhere.
    Redirect,
    /// A rule about a page's content, not about a name.
    Cosmetic,
    /// A pattern that is no regular expression, or none that takes linear time.
    Expression,
    /// A pattern that is too big.
    Big,
    /// A pattern without fixed characters, or one that matches nearly everything.
    Loose,
    /// A trigger of a response policy zone other than the asked name.
    Trigger,
}

impl Refusal {
    /// As it reads in a status line.
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed => "not a line of this format",
            Self::Length => "name too long or with an empty label",
            Self::Character => "characters that no name has",
            Self::Address => "an address, not a name",
            Self::Url => "a URL with a path: not enforceable by DNS",
            Self::PublicSuffix => "a public suffix",
            Self::Special => "a special-use name",
            Self::Modifier => "a modifier that DNS cannot honour",
            Self::Redirect => "a redirect to elsewhere",
            Self::Cosmetic => "about a page, not about a name",
            Self::Expression => "not a linear-time regular expression",
            Self::Big => "too big a pattern",
            Self::Loose => "a pattern without fixed characters",
            Self::Trigger => "an RPZ trigger other than QNAME",
        }
    }
}

impl From<name::NotAName> for Refusal {
    fn from(error: name::NotAName) -> Self {
        match error {
            name::NotAName::Empty => Self::Special,
            name::NotAName::Length => Self::Length,
            name::NotAName::Character => Self::Character,
            name::NotAName::Address => Self::Address,
        }
    }
}

/// What an entry says within its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Listed,
    Important,
    Spared,
    Stopped,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    start: u32,
    length: u8,
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) line: u32,
}

/// What a body is that is no list at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAList {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A web page.
    #[error("it is a web page, not a list")]
    Html,
    /// Octets that no text has.
    #[error("it is not text")]
    Binary,
    /// More than can be counted.
    #[error("it is larger than 4 GiB")]
    Huge,
    /// A hashed list without a key.
    #[error("it is a hashed list and has no key")]
    NoKey,
}

/// One edition of a list, parsed: its entries, and how many lines were refused.
#[derive(Debug, Clone)]
pub struct Edition {
    pub(crate) list: Box<str>,
    edition: Box<str>,
    digest: [u8; 32],
    format: Format,
    subdomains: bool,
    /// All names of the entries, one after the other.
    arena: Vec<u8>,
    entries: Vec<Entry>,
    pub(crate) patterns: Vec<(Box<str>, u32)>,
    pub(crate) hashes: Vec<[u8; 32]>,
    pub(crate) key: Option<[u8; 32]>,
    pub(crate) networks: Vec<(Network, u32)>,
    refused: BTreeMap<Refusal, u32>,
    /// The first refused lines, for people.
    samples: Vec<(u32, Refusal)>,
}

/// Refused lines that are kept with their numbers.
const SAMPLES: usize = 20;

impl Edition {
    /// Parses a list's text. What cannot be used is counted by reason; an error means that it is no list at all.
    pub fn parse(list: &List, text: &[u8]) -> Result<Self, NotAList> {
        Self::parse_parts(list, &[(list.format, text)], None)
    }

    /// The same from several files, each with its format (a folder of UT1), and with the key of a hashed list.
    pub fn parse_parts(list: &List, parts: &[(Format, &[u8])], key: Option<[u8; 32]>) -> Result<Self, NotAList> {
        let mut digest = Sha256::new();
        let mut edition = Self::new(list, key);
        for (format, text) in parts {
            digest.update(text);
            edition.take(*format, text)?;
        }
        edition.digest = digest.finalize().into();
        edition.edition = hex(&edition.digest[..6]).into();
        Ok(edition)
    }

    fn new(list: &List, key: Option<[u8; 32]>) -> Self {
        Self {
            list: list.name.clone(),
            edition: "".into(),
            digest: [0; 32],
            format: list.format,
            subdomains: list.subdomains,
            arena: Vec::new(),
            entries: Vec::new(),
            patterns: Vec::new(),
            hashes: Vec::new(),
            key,
            networks: Vec::new(),
            refused: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    fn take(&mut self, format: Format, text: &[u8]) -> Result<(), NotAList> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        detect::check(text)?;
        let format = if format == Format::Auto { detect::format(text) } else { format };
        self.format = format;
        if format == Format::Hashed && self.key.is_none() {
            return Err(NotAList::NoKey);
        }
        // Room for what a list of this size usually gives: growing step by step would hold it twice.
        self.arena.reserve(text.len());
        match format {
            Format::Auto | Format::Domains | Format::Ut1 => lines::domains(self, text),
            Format::Hosts => lines::hosts(self, text),
            Format::Urls => lines::urls(self, text),
            Format::Regex => lines::expressions(self, text),
            Format::Hashed => lines::hashes(self, text),
            Format::Addresses => lines::addresses(self, text),
            Format::Adblock => adblock::parse(self, text),
            Format::Dnsmasq => servers::dnsmasq(self, text),
            Format::Unbound => servers::unbound(self, text),
            Format::Rpz => rpz::parse(self, text),
        }
        Ok(())
    }

    /// Calls it what its publisher calls it.
    pub fn named(mut self, edition: &str) -> Self {
        self.edition = edition.into();
        self
    }

    /// The list it is an edition of.
    pub fn list(&self) -> &str {
        &self.list
    }

    /// Which edition: what the publisher calls it, or the start of its digest.
    pub fn edition(&self) -> &str {
        &self.edition
    }

    /// SHA-256 of its text.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What its lines looked like.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many entries it gave.
    pub fn entries(&self) -> usize {
        self.entries.len() + self.patterns.len() + self.hashes.len() + self.networks.len()
    }

    /// How many lines were refused, by reason.
    pub fn refused(&self) -> &BTreeMap<Refusal, u32> {
        &self.refused
    }

    /// The first lines that were refused, by number.
    pub fn refused_lines(&self) -> &[(u32, Refusal)] {
        &self.samples
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&[u8], Entry)> {
        self.entries.iter().map(|entry| {
            let start = entry.start as usize;
            (&self.arena[start..start + usize::from(entry.length)], *entry)
        })
    }

    /// Whether this list alone would block the name.
    pub fn lists(&self, name: &Name) -> bool {
        let (mut listed, mut important, mut spared) = (None, false, false);
        let mut stopped = None;
        for (entry, what) in self.names() {
            let labels = name.labels();
            let reaches = labels.ends_with(entry)
                && above(labels, entry)
                && match what.scope {
                    Scope::Tree => true,
                    Scope::Exact => labels.len() == entry.len(),
                    Scope::Below => labels.len() > entry.len(),
                };
            if reaches {
                let depth = Some(entry.len());
                match what.kind {
                    Kind::Listed => listed = listed.max(depth),
                    Kind::Important => (important, listed) = (true, listed.max(depth)),
                    Kind::Spared => spared = true,
                    Kind::Stopped => stopped = stopped.max(depth),
                }
            }
        }
        if stopped > listed {
            listed = None;
        }
        let text = name.to_string();
        let by_pattern = || {
            let stored: Vec<_> = self.patterns.iter().map(|(regex, _)| crate::pattern::plain(regex)).collect();
            let mut found = false;
            if let Some(patterns) = crate::pattern::Patterns::new(&stored) {
                patterns.matches(text.as_bytes(), |_, _| found = true);
            }
            found
        };
        let by_digest = || {
            let mut rest = Some(name.labels());
            while let (Some(labels), Some(key)) = (rest, &self.key) {
                let digest = crate::hashed::digest(key, name::dotted(labels).as_bytes());
                if digest.is_some_and(|digest| self.hashes.contains(&digest)) {
                    return true;
                }
                rest = name::parent(labels);
            }
            false
        };
        let listed = listed.is_some() || by_pattern() || !self.hashes.is_empty() && by_digest();
        listed && (important || !spared)
    }

    fn refuse(&mut self, line: u32, why: Refusal) {
        *self.refused.entry(why).or_default() += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push((line, why));
        }
    }

    /// Takes a name, unless it is one that no list may block.
    fn add(&mut self, text: &str, kind: Kind, scope: Scope, line: u32) {
        match self.push(text, kind) {
            Ok((start, length)) => self.entries.push(Entry { start, length, kind, scope, line }),
            Err(why) => self.refuse(line, why),
        }
    }

    fn push(&mut self, text: &str, kind: Kind) -> Result<(u32, u8), Refusal> {
        let start = self.arena.len();
        name::push(text, &mut self.arena)?;
        let labels = &self.arena[start..];
        let refused = if special(labels) {
            Some(Refusal::Special)
        } else if kind != Kind::Spared && kind != Kind::Stopped && public_suffix(labels) {
            Some(Refusal::PublicSuffix)
        } else {
            None
        };
        let length = labels.len();
        match (refused, u32::try_from(start), u8::try_from(length)) {
            (None, Ok(start), Ok(length)) => Ok((start, length)),
            (why, ..) => {
                self.arena.truncate(start);
                Err(why.unwrap_or(Refusal::Big))
            }
        }
    }

    /// Takes a pattern, unless it would match nearly everything.
    fn add_pattern(&mut self, regex: String, line: u32) {
        use crate::pattern::NotAPattern;
        match crate::pattern::check(&regex) {
            Ok(()) => self.patterns.push((regex.into(), line)),
            Err(NotAPattern::Syntax) => self.refuse(line, Refusal::Expression),
            Err(NotAPattern::Big) => self.refuse(line, Refusal::Big),
            Err(NotAPattern::Loose) => self.refuse(line, Refusal::Loose),
        }
    }

    /// How far a plain name reaches.
    fn plain(&self) -> Scope {
        if self.subdomains { Scope::Tree } else { Scope::Exact }
    }
}

/// Whether `ending`, with which `labels` ends, starts where a label starts.
fn above(labels: &[u8], ending: &[u8]) -> bool {
    let mut rest = labels;
    loop {
        if rest.len() <= ending.len() {
            return rest.len() == ending.len();
        }
        match rest.split_first() {
            Some((&length, after)) => rest = after.get(usize::from(length)..).unwrap_or_default(),
            None => return false,
        }
    }
}

/// Top-level names with a special use (RFC 6761 and its registry), or that systems give themselves: no list may touch
/// them.
const SPECIAL: [&[u8]; 16] = [
    b"localhost",
    b"localdomain",
    b"local",
    b"arpa",
    b"invalid",
    b"internal",
    b"lan",
    b"home",
    b"broadcasthost",
    b"ip6-localhost",
    b"ip6-loopback",
    b"ip6-localnet",
    b"ip6-mcastprefix",
    b"ip6-allnodes",
    b"ip6-allrouters",
    b"ip6-allhosts",
];

fn special(labels: &[u8]) -> bool {
    let mut top = labels;
    while let Some(parent) = name::parent(top) {
        top = parent;
    }
    top.split_first().is_none_or(|(_, top)| SPECIAL.contains(&top))
}

/// Whether a name is one under which anybody can register. A top-level name always is.
fn public_suffix(labels: &[u8]) -> bool {
    let count = name::count(labels);
    if count == 1 {
        return true;
    }
    // No public suffix has more than five labels; most names are decided by this.
    if count > 5 {
        return false;
    }
    let mut space = [0; 256];
    let Some(text) = space.get_mut(..labels.len() - 1) else { return true };
    text.copy_from_slice(&labels[1..]);
    let mut at = 0;
    while let Some(&length) = labels.get(at) {
        if at > 0 {
            text[at - 1] = b'.';
        }
        at += 1 + usize::from(length);
    }
    psl::suffix(text).is_some_and(|suffix| suffix.is_known() && suffix.as_bytes().len() == text.len())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}

/// For the compiler: names by their places.
impl Edition {
    pub(crate) fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// How many names.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Its blocked names as text, in no order: what a sample is drawn from. Patterns, addresses and hashed names are not
    /// among them.
    pub fn listed(&self) -> impl Iterator<Item = String> + '_ {
        let blocked = self.names().filter(|(_, entry)| {
            matches!(entry.kind, Kind::Listed | Kind::Important) && matches!(entry.scope, Scope::Tree | Scope::Exact)
        });
        blocked.map(|(name, _)| {
            let mut text = String::with_capacity(name.len());
            let mut rest = name;
            while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
                let (label, after) = after.split_at(usize::from(*length).min(after.len()));
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(label.iter().map(|octet| char::from(*octet)));
                rest = after;
            }
            text
        })
    }

    pub(crate) fn placed(&self) -> impl Iterator<Item = (u32, &[u8], Entry)> {
        self.names().map(|(name, entry)| (entry.start, name, entry))
    }
}

#[cfg(test)]
mod tests;
