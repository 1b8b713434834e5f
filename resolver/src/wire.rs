//! A query, read in place: one walk over its name, no allocation, no structure that the reply does not need.

use crate::cookies::{self, Cookie};

/// Bytes of a message header (RFC 1035 section 4.1.1).
pub(crate) const HEADER: usize = 12;
/// Longest name in wire form, root label included (RFC 1035 section 3.1).
pub(crate) const MAX_NAME: usize = 255;
/// What we take and send over UDP at most: fits the smallest path without fragments (RFC 9715).
pub(crate) const MAX_UDP: usize = 1232;
/// What a client without EDNS takes over UDP (RFC 1035 section 4.2.1).
pub(crate) const PLAIN_UDP: usize = 512;

/// Record types that this room knows by number.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const MD: u16 = 3;
    pub(crate) const MF: u16 = 4;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const MB: u16 = 7;
    pub(crate) const MG: u16 = 8;
    pub(crate) const MR: u16 = 9;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const MINFO: u16 = 14;
    pub(crate) const MX: u16 = 15;
    pub(crate) const RP: u16 = 17;
    pub(crate) const AFSDB: u16 = 18;
    pub(crate) const RT: u16 = 21;
    pub(crate) const PX: u16 = 26;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const KX: u16 = 36;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const RRSIG: u16 = 46;
    pub(crate) const NSEC: u16 = 47;
    pub(crate) const NSEC3: u16 = 50;
    pub(crate) const SVCB: u16 = 64;
    pub(crate) const HTTPS: u16 = 65;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const ANY: u16 = 255;
}

/// Response codes (RFC 1035, 6891, 7873).
pub(crate) mod rcode {
    pub(crate) const NOERROR: u16 = 0;
    pub(crate) const FORMERR: u16 = 1;
    pub(crate) const SERVFAIL: u16 = 2;
    pub(crate) const NXDOMAIN: u16 = 3;
    pub(crate) const NOTIMP: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    pub(crate) const BADVERS: u16 = 16;
    pub(crate) const BADCOOKIE: u16 = 23;
}

/// A name in wire form, lower case, without compression, ending in the root label.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; MAX_NAME + 1],
    len: u8,
}

impl Name {
    /// Takes over `wire`, which must be an uncompressed name; `None` when it is not exactly one.
    pub(crate) fn parse(wire: &[u8]) -> Option<Self> {
        let (end, _) = name_end(wire, 0)?;
        (end == wire.len()).then(|| {
            let mut name = Self::root();
            name.fold(wire);
            name
        })
    }

    /// The root, as a place to read names into.
    pub(crate) const fn root() -> Self {
        Name { bytes: [0; MAX_NAME + 1], len: 1 }
    }

    /// Becomes `wire` in lower case. Length octets are below 64 and letters above, so the whole name folds in one sweep.
    fn fold(&mut self, wire: &[u8]) {
        for (to, from) in self.bytes.iter_mut().zip(wire) {
            *to = from.to_ascii_lowercase();
        }
        // The hash reads whole words: what an earlier name left behind the end must not show in it.
        if let Some(behind) = self.bytes[wire.len()..].first_chunk_mut::<8>() {
            *behind = [0; 8];
        } else {
            self.bytes[wire.len()..].fill(0);
        }
        self.len = wire.len() as u8;
    }

    /// The name from text such as `portal.example`; `None` when a label is empty, longer than 63 or the whole too long.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            if label.is_empty() || label.len() > 63 || !label.is_ascii() {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        if wire.len() > MAX_NAME { None } else { Self::parse(&wire) }
    }

    /// The wire form.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this is `parent` or below it, on label boundaries.
    pub(crate) fn is_within(&self, parent: &Name) -> bool {
        let (name, parent) = (self.as_bytes(), parent.as_bytes());
        let mut at = 0;
        while name.len() - at > parent.len() {
            at += 1 + usize::from(name[at]);
        }
        name[at..] == *parent
    }

    /// A keyed hash of the name and `more`: a guest who does not know the seed cannot aim at one bucket.
    pub(crate) fn hash(&self, seed: u64, more: u64) -> u64 {
        let mut hash = fold(seed ^ more, 0x9e37_79b9_7f4a_7c15);
        let words = (usize::from(self.len) + 7) & !7;
        for word in self.bytes[..words].as_chunks::<8>().0 {
            hash = fold(hash ^ u64::from_le_bytes(*word), 0xd6e8_feb8_6659_fd93);
        }
        fold(hash ^ u64::from(self.len), 0xa076_1d64_78bd_642f)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.as_bytes();
        while let [length, tail @ ..] = rest
            && *length != 0
        {
            let (label, next) = tail.split_at(usize::from(*length));
            write!(f, "{}.", label.escape_ascii())?;
            rest = next;
        }
        Ok(())
    }
}

/// Multiply and fold the halves: every input bit reaches every output bit.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Where the uncompressed name at `at` ends, and where its last label before the root begins (the root's own place for the
/// root). `None` for a pointer, a label type nobody uses (RFC 6891 section 5), a name over 255 octets or past the end.
fn name_end(message: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut here, mut last) = (at, at);
    loop {
        let length = usize::from(*message.get(here)?);
        if length == 0 {
            let end = here + 1;
            return (end - at <= MAX_NAME).then_some((end, last));
        }
        if length > 63 {
            return None;
        }
        last = here;
        here += 1 + length;
    }
}

/// What is asked, its name owned: a question under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) qtype: u16,
    /// Bit 0: the client wants DNSSEC records (DO). Bit 1: it checks them itself (CD).
    pub(crate) dnssec: u8,
}

impl Question {
    pub(crate) const DO: u8 = 1;
    pub(crate) const CD: u8 = 2;

    /// The same, to look up with.
    pub(crate) fn key(&self) -> Key<'_> {
        Key { name: &self.name, qtype: self.qtype, dnssec: self.dnssec }
    }
}

impl std::hash::Hash for Question {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.name.as_bytes());
        state.write_u32(u32::from(self.qtype) << 8 | u32::from(self.dnssec));
    }
}

/// What is asked, its name borrowed: the key of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) name: &'a Name,
    pub(crate) qtype: u16,
    pub(crate) dnssec: u8,
}

impl Key<'_> {
    pub(crate) fn hash(&self, seed: u64) -> u64 {
        self.name.hash(seed, u64::from(self.qtype) << 8 | u64::from(self.dnssec))
    }

    /// The same, to keep.
    pub(crate) fn question(&self) -> Question {
        Question { name: *self.name, qtype: self.qtype, dnssec: self.dnssec }
    }
}

/// What a query's OPT record says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) payload: u16,
    pub(crate) version: u8,
    pub(crate) wants_dnssec: bool,
}

/// A well-formed standard query with one question.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    /// Header and question as the client wrote them: the reply begins with the same bytes.
    pub(crate) head: &'a [u8],
    pub(crate) question: Key<'a>,
    pub(crate) class: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) edns: Option<Edns>,
    /// Where the last label before the root begins in the name.
    pub(crate) last_label: usize,
    /// How long a reply may be.
    pub(crate) limit: usize,
    /// The cookie the client showed: its own 8 octets, with 8 to 32 of ours behind them if it has any (RFC 7873 section 4).
    pub(crate) cookie: Option<&'a [u8]>,
    /// The cookie for the reply.
    pub(crate) reply_cookie: Option<Cookie>,
}

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    /// Over TLS or HTTPS: as long as over TCP, and padded for who wants it.
    Encrypted,
}

/// What a datagram or TCP message turned out to be.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    Query(Query<'a>),
    /// Not to be answered: too short to have an id, or itself a reply (two resolvers would answer each other for ever).
    Ignore,
    /// To be answered with this code and nothing of what came but id, opcode and RD.
    Refuse(u16),
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
}

/// Reads a query, its name into `name`. The order is RFC 8906's: what cannot be understood is refused by header alone.
pub(crate) fn parse<'a>(message: &'a [u8], transport: Transport, name: &'a mut Name) -> Parsed<'a> {
    let Some(header) = message.first_chunk::<HEADER>() else { return Parsed::Ignore };
    if header[2] & 0x80 != 0 {
        return Parsed::Ignore;
    }
    if header[2] & 0x78 != 0 {
        return Parsed::Refuse(rcode::NOTIMP);
    }
    // One question; no answers; authority only where IXFR carries the zone's SOA, which is refused below anyway.
    if header[4..8] != [0, 1, 0, 0] {
        return Parsed::Refuse(rcode::FORMERR);
    }
    let Some((end, last)) = name_end(message, HEADER) else { return Parsed::Refuse(rcode::FORMERR) };
    let (Some(qtype), Some(class)) = (u16_at(message, end), u16_at(message, end + 2)) else {
        return Parsed::Refuse(rcode::FORMERR);
    };
    let authority = u16::from_be_bytes([header[8], header[9]]);
    if authority != 0 && qtype != rtype::IXFR {
        return Parsed::Refuse(rcode::FORMERR);
    }
    // OPT asks for the transport's own record and 0 is reserved: neither can be a question.
    if qtype == rtype::OPT || qtype == 0 {
        return Parsed::Refuse(rcode::FORMERR);
    }
    let additional = u16::from_be_bytes([header[10], header[11]]);
    let Some((edns, cookie)) = parse_rest(message, end + 4, authority, additional) else {
        return Parsed::Refuse(rcode::FORMERR);
    };
    let dnssec = if edns.is_some_and(|edns| edns.wants_dnssec) { Question::DO } else { 0 }
        | if header[3] & 0x10 != 0 { Question::CD } else { 0 };
    let limit = match (transport, edns) {
        (Transport::Tcp | Transport::Encrypted, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => usize::from(edns.payload).clamp(PLAIN_UDP, MAX_UDP),
    };
    name.fold(&message[HEADER..end]);
    Parsed::Query(Query {
        head: &message[..end + 4],
        question: Key { name, qtype, dnssec },
        class,
        recursion_desired: header[2] & 1 != 0,
        edns,
        last_label: last - HEADER,
        limit,
        cookie,
        reply_cookie: None,
    })
}

/// What the records after the question say: OPT, and the cookie in it.
type Rest<'a> = (Option<Edns>, Option<&'a [u8]>);

/// The records after the question, of which only OPT matters; `None` when they are malformed, OPT comes twice or outside
/// the additional section, or bytes are left over.
fn parse_rest(message: &[u8], mut at: usize, authority: u16, additional: u16) -> Option<Rest<'_>> {
    let (mut edns, mut cookie) = (None, None);
    for number in 0..u32::from(authority) + u32::from(additional) {
        let root = *message.get(at)? == 0;
        at = skip_name(message, at)?;
        let rtype = u16_at(message, at)?;
        let length = usize::from(u16_at(message, at + 8)?);
        let data = message.get(at + 10..at + 10 + length)?;
        if rtype == rtype::OPT {
            if edns.is_some() || !root || number < u32::from(authority) {
                return None;
            }
            cookie = options(data)?;
            edns = Some(Edns {
                payload: u16_at(message, at + 2)?,
                version: message[at + 5],
                wants_dnssec: message[at + 6] & 0x80 != 0,
            });
        }
        at += 10 + length;
    }
    (at == message.len()).then_some((edns, cookie))
}

/// The cookie among EDNS options, which must fill their record exactly. All others are not looked at: none is echoed, none forwarded.
/// A cookie of an impossible length is malformed, a second one ignored (RFC 7873 section 5.2).
fn options(mut data: &[u8]) -> Option<Option<&[u8]>> {
    let mut cookie = None;
    while let [code_high, code_low, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([*code_high, *code_low]) == cookies::OPTION && cookie.is_none() {
            if !matches!(length, 8 | 16..=40) {
                return None;
            }
            cookie = Some(value);
        }
        data = &rest[length..];
    }
    data.is_empty().then_some(cookie)
}

/// Steps over a name that may end in a pointer, without following it.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
