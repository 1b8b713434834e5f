//! What an upstream said, reduced to what was asked: the alias chain from the question and the records at its end.
//!
//! Everything else in the message (unsolicited records, glue, other people's names) is neither kept nor passed on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{HEADER, MAX_NAME, Name, Question, rcode, rtype};

/// Aliases followed at most (what unbound allows; longer chains are somebody's game).
const MAX_HOPS: usize = 11;
/// Nothing is kept longer than a day (RFC 8767 section 4 would allow a week).
const MAX_TTL: u32 = 86_400;
/// "There is no such name" is kept for three hours at most (RFC 2308 section 5).
const MAX_NEGATIVE_TTL: u32 = 10_800;

/// Why an upstream's message is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("malformed message")]
    Malformed,
    #[error("answer to another question")]
    OtherQuestion,
    #[error("answer cut short although it came over a stream")]
    Truncated,
    #[error("aliases form a loop or a chain of more than {MAX_HOPS}")]
    Chain,
    #[error("response code {0}")]
    Code(u16),
}

/// An upstream's answer, ready to be copied behind a client's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// NOERROR or NXDOMAIN.
    pub(crate) rcode: u16,
    /// Answer and authority records in wire form; pointers count from the start of a message with this question.
    pub(crate) body: Vec<u8>,
    /// Records in the answer and authority sections.
    pub(crate) counts: [u16; 2],
    /// Where in `body` each record's TTL stands.
    pub(crate) ttls: Vec<u16>,
    /// Where in `body` pointers stand; all of them lead into the question's name.
    pub(crate) pointers: Vec<u16>,
    /// How long the whole may be kept, in seconds: the smallest TTL in it.
    pub(crate) ttl: u32,
    /// Names that the answer leads to (alias targets, service targets), in wire form and lower case, one after the other.
    pub(crate) hops: Vec<u8>,
    /// Addresses and address hints in it.
    pub(crate) addresses: Vec<IpAddr>,
}

/// One record of a message, its owner in lower case.
struct Record<'a> {
    owner: Name,
    rtype: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
    data_at: usize,
    section: u8,
}

/// Reads the name at `at`, following pointers, which may only lead backwards; gives where reading goes on.
fn read_name(message: &[u8], at: usize, out: &mut [u8; MAX_NAME]) -> Option<(usize, usize)> {
    let (mut here, mut end, mut floor, mut length) = (at, None, at, 0);
    loop {
        match *message.get(here)? {
            0 => {
                *out.get_mut(length)? = 0;
                return Some((length + 1, end.unwrap_or(here + 1)));
            }
            label @ 1..=63 => {
                let take = 1 + usize::from(label);
                out.get_mut(length..length + take)?.copy_from_slice(message.get(here..here + take)?);
                length += take;
                here += take;
            }
            high @ 0xc0.. => {
                let to = usize::from(high & 0x3f) << 8 | usize::from(*message.get(here + 1)?);
                end.get_or_insert(here + 2);
                // Strictly backwards, so that no message can make this go on for ever.
                if to >= floor {
                    return None;
                }
                (here, floor) = (to, to);
            }
            _ => return None,
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reduces `message`, an upstream's reply, to the answer of `question`.
pub(crate) fn reduce(message: &[u8], question: &Question) -> Result<Answer, Unusable> {
    let records = records(message, question)?;
    let code = u16::from(message[3] & 0x0f);
    let mut keep = Keep::new(message, question);
    let end = keep.chain(&records, question)?;
    // "There is no such name", and here is what it has: one of the two is wrong (RFC 2308 section 2.1).
    let has = |record: &Record<'_>| {
        record.section == 0 && record.class == 1 && record.owner == end && record.rtype == question.qtype
    };
    if code == rcode::NXDOMAIN && records.iter().any(has) {
        return Err(Unusable::Malformed);
    }
    keep.proofs(&records, question, &end, code)?;
    keep.finish(code)
}

/// Header and question checked, then all records of the answer and authority sections.
fn records<'a>(message: &'a [u8], question: &Question) -> Result<Vec<Record<'a>>, Unusable> {
    use Unusable::{Code, Malformed, OtherQuestion, Truncated};
    if message.len() < HEADER || message[2] & 0x80 == 0 {
        return Err(Malformed);
    }
    if message[2] & 0x02 != 0 {
        return Err(Truncated);
    }
    let code = u16::from(message[3] & 0x0f);
    if code != rcode::NOERROR && code != rcode::NXDOMAIN {
        return Err(Code(code));
    }
    let mut buffer = [0; MAX_NAME];
    if be16(message, 4) != Some(1) {
        return Err(OtherQuestion);
    }
    let (length, mut at) = read_name(message, HEADER, &mut buffer).ok_or(Malformed)?;
    let asked = Name::parse(&buffer[..length]).ok_or(Malformed)?;
    if asked != question.name || be16(message, at) != Some(question.qtype) || be16(message, at + 2) != Some(1) {
        return Err(OtherQuestion);
    }
    at += 4;
    let mut records = Vec::new();
    for (section, count_at) in [(0, 6), (1, 8)] {
        for _ in 0..be16(message, count_at).ok_or(Malformed)? {
            let (length, next) = read_name(message, at, &mut buffer).ok_or(Malformed)?;
            let owner = Name::parse(&buffer[..length]).ok_or(Malformed)?;
            let size = usize::from(be16(message, next + 8).ok_or(Malformed)?);
            let data = message.get(next + 10..next + 10 + size).ok_or(Malformed)?;
            let ttl = be32(message, next + 4).ok_or(Malformed)?;
            records.push(Record {
                owner,
                rtype: be16(message, next).ok_or(Malformed)?,
                class: be16(message, next + 2).ok_or(Malformed)?,
                // The top bit set means zero (RFC 2181 section 8).
                ttl: if ttl > i32::MAX as u32 { 0 } else { ttl.min(MAX_TTL) },
                data,
                data_at: next + 10,
                section,
            });
            at = next + 10 + size;
        }
    }
    Ok(records)
}

/// The answer as it grows.
struct Keep<'a> {
    message: &'a [u8],
    question: Name,
    /// How long header and question of a reply are: where `body` begins in it.
    base: usize,
    body: Vec<u8>,
    counts: [u16; 2],
    ttls: Vec<u16>,
    pointers: Vec<u16>,
    ttl: u32,
    hops: Vec<u8>,
    addresses: Vec<IpAddr>,
}

impl<'a> Keep<'a> {
    fn new(message: &'a [u8], question: &Question) -> Self {
        Self {
            message,
            question: question.name,
            base: HEADER + question.name.as_bytes().len() + 4,
            body: Vec::new(),
            counts: [0; 2],
            ttls: Vec::new(),
            pointers: Vec::new(),
            ttl: u32::MAX,
            hops: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Keeps the chain that begins at the question; gives the name it ends at.
    fn chain(&mut self, records: &[Record<'_>], question: &Question) -> Result<Name, Unusable> {
        let dnssec = question.dnssec & Question::DO != 0;
        let mut current = question.name;
        let mut seen = vec![current];
        let here = |record: &&Record<'_>| record.section == 0 && record.class == 1;
        loop {
            let wanted =
                |record: &&Record<'_>| here(record) && record.owner == current && record.rtype == question.qtype;
            if records.iter().any(|record| wanted(&record)) {
                for record in records.iter().filter(wanted) {
                    self.record(record)?;
                }
                self.signatures(records, current, question.qtype, dnssec)?;
                return Ok(current);
            }
            let alias = |record: &&Record<'_>| here(record) && record.owner == current && record.rtype == rtype::CNAME;
            let Some(cname) = records.iter().find(alias) else { return Ok(current) };
            // A CNAME made from a DNAME travels with it, so that a validating client can follow (RFC 6672 section 5.3.1).
            let above = |record: &&Record<'_>| {
                here(record)
                    && record.rtype == rtype::DNAME
                    && record.owner != current
                    && current.is_within(&record.owner)
            };
            if let Some(dname) = records.iter().find(above) {
                self.record(dname)?;
                self.signatures(records, dname.owner, rtype::DNAME, dnssec)?;
            }
            let mut buffer = [0; MAX_NAME];
            let (length, _) = read_name(self.message, cname.data_at, &mut buffer).ok_or(Unusable::Malformed)?;
            self.record(cname)?;
            self.signatures(records, current, rtype::CNAME, dnssec)?;
            current = Name::parse(&buffer[..length]).ok_or(Unusable::Malformed)?;
            if seen.len() > MAX_HOPS || seen.contains(&current) {
                return Err(Unusable::Chain);
            }
            seen.push(current);
        }
    }

    /// Keeps the signatures over the records of `owner` and `covered`, for who asked for them.
    fn signatures(&mut self, records: &[Record<'_>], owner: Name, covered: u16, dnssec: bool) -> Result<(), Unusable> {
        for record in records.iter().filter(|record| dnssec && record.section == 0 && record.class == 1) {
            if record.owner == owner && record.rtype == rtype::RRSIG && be16(record.data, 0) == Some(covered) {
                self.record(record)?;
            }
        }
        Ok(())
    }

    /// Keeps what proves a "no": the zone's SOA, and for DNSSEC clients the denial records of that zone.
    fn proofs(&mut self, records: &[Record<'_>], question: &Question, end: &Name, code: u16) -> Result<(), Unusable> {
        let negative = code == rcode::NXDOMAIN
            || !records.iter().any(|record| {
                record.section == 0 && record.owner == *end && record.rtype == question.qtype && record.class == 1
            });
        let authority = || records.iter().filter(|record| record.section == 1 && record.class == 1);
        let soa = authority().find(|record| record.rtype == rtype::SOA && end.is_within(&record.owner));
        if negative {
            match soa {
                Some(soa) => self.negative_soa(soa)?,
                // Without an SOA nothing says how long the "no" holds: it is passed on, not kept (RFC 2308 section 5).
                None => self.ttl = 0,
            }
        }
        if question.dnssec & Question::DO == 0 {
            return Ok(());
        }
        for record in authority() {
            let denies = matches!(record.rtype, rtype::NSEC | rtype::NSEC3);
            let signs = record.rtype == rtype::RRSIG
                && match be16(record.data, 0) {
                    Some(rtype::NSEC | rtype::NSEC3) => true,
                    Some(rtype::SOA) => negative,
                    _ => false,
                };
            let near = soa.is_none_or(|soa| record.owner.is_within(&soa.owner));
            if (denies || signs) && near {
                self.record(record)?;
            }
        }
        Ok(())
    }

    /// The SOA of a "no": its TTL is the smaller of its own and its last field (RFC 2308 section 5).
    fn negative_soa(&mut self, soa: &Record<'_>) -> Result<(), Unusable> {
        let minimum = soa.data.len().checked_sub(4).and_then(|at| be32(soa.data, at)).ok_or(Unusable::Malformed)?;
        self.record(&Record { ttl: soa.ttl.min(minimum).min(MAX_NEGATIVE_TTL), ..*soa })
    }

    /// Keeps one record: its names written out or shortened against our own question, its data checked.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Unusable> {
        let owner = record.owner;
        self.name(owner.as_bytes(), true);
        self.body.extend_from_slice(&record.rtype.to_be_bytes());
        self.body.extend_from_slice(&record.class.to_be_bytes());
        self.ttls.push(u16::try_from(self.body.len()).map_err(|_| Unusable::Malformed)?);
        self.body.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.body.len();
        self.body.extend_from_slice(&[0, 0]);
        self.data(record).ok_or(Unusable::Malformed)?;
        let length = u16::try_from(self.body.len() - length_at - 2).map_err(|_| Unusable::Malformed)?;
        self.body[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        // With its question the answer must fit a message, and TTL places their type.
        if self.base + self.body.len() + 300 > usize::from(u16::MAX) {
            return Err(Unusable::Malformed);
        }
        self.counts[usize::from(record.section)] += 1;
        self.ttl = self.ttl.min(record.ttl);
        Ok(())
    }

    /// Writes a record's data. Names in it may point into the upstream's message, so they are followed and rewritten.
    fn data(&mut self, record: &Record<'_>) -> Option<()> {
        let data = record.data;
        // Octets before the names, how many names, and whether ours may be shortened (RFC 3597 section 4).
        let (before, names, shorten) = match record.rtype {
            rtype::A => {
                self.addresses.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?));
                (data.len(), 0, false)
            }
            rtype::AAAA => {
                self.addresses.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?));
                (data.len(), 0, false)
            }
            rtype::NS | rtype::CNAME | rtype::PTR | rtype::MB | rtype::MD | rtype::MF | rtype::MG | rtype::MR => {
                (0, 1, true)
            }
            rtype::SOA | rtype::MINFO => (0, 2, true),
            rtype::MX => (2, 1, true),
            rtype::DNAME | rtype::NSEC => (0, 1, false),
            rtype::RP => (0, 2, false),
            rtype::AFSDB | rtype::RT | rtype::KX | rtype::SVCB | rtype::HTTPS => (2, 1, false),
            rtype::PX => (2, 2, false),
            rtype::SRV => (6, 1, false),
            rtype::RRSIG => (18, 1, false),
            _ => (data.len(), 0, false),
        };
        self.body.extend_from_slice(data.get(..before)?);
        let mut at = record.data_at + before;
        let stop = record.data_at + data.len();
        for _ in 0..names {
            let mut buffer = [0; MAX_NAME];
            let (length, next) = read_name(self.message, at, &mut buffer)?;
            if next > stop {
                return None;
            }
            self.name(&buffer[..length], shorten);
            // The root as a service's target means the owner itself, or nothing (RFC 9460 section 2.5).
            let leads = matches!(record.rtype, rtype::CNAME | rtype::DNAME | rtype::SVCB | rtype::HTTPS);
            if leads && length > 1 {
                self.hops.extend_from_slice(Name::parse(&buffer[..length])?.as_bytes());
            }
            at = next;
        }
        let rest = self.message.get(at..stop)?;
        match record.rtype {
            rtype::SVCB | rtype::HTTPS => self.hints(rest)?,
            rtype::SOA if rest.len() != 20 => return None,
            rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME | rtype::MX | rtype::SRV if !rest.is_empty() => {
                return None;
            }
            _ => {}
        }
        self.body.extend_from_slice(rest);
        Some(())
    }

    /// Notes the addresses of `ipv4hint` (4) and `ipv6hint` (6) among a service's parameters (RFC 9460 section 7.3).
    fn hints(&mut self, mut parameters: &[u8]) -> Option<()> {
        while !parameters.is_empty() {
            let (key, length) = (be16(parameters, 0)?, usize::from(be16(parameters, 2)?));
            let value = parameters.get(4..4 + length)?;
            match key {
                4 => {
                    let (addresses, []) = value.as_chunks::<4>() else { return None };
                    self.addresses.extend(addresses.iter().map(|a| IpAddr::V4(Ipv4Addr::from(*a))));
                }
                6 => {
                    let (addresses, []) = value.as_chunks::<16>() else { return None };
                    self.addresses.extend(addresses.iter().map(|a| IpAddr::V6(Ipv6Addr::from(*a))));
                }
                _ => {}
            }
            parameters = &parameters[4 + length..];
        }
        Some(())
    }

    /// Writes a name, ending in a pointer to the longest part it shares with the question's name.
    fn name(&mut self, name: &[u8], shorten: bool) {
        let question = self.question;
        let question = question.as_bytes();
        let mut at = 0;
        while shorten && name[at] != 0 {
            let rest = &name[at..];
            if let Some(from) = question.len().checked_sub(rest.len())
                && question[from..].eq_ignore_ascii_case(rest)
                && on_boundary(question, from)
            {
                self.pointers.push(self.body.len() as u16);
                self.body.extend_from_slice(&(0xc000 | (HEADER + from) as u16).to_be_bytes());
                return;
            }
            let take = 1 + usize::from(name[at]);
            self.body.extend_from_slice(&name[at..at + take]);
            at += take;
        }
        self.body.extend_from_slice(&name[at..]);
    }

    fn finish(self, rcode: u16) -> Result<Answer, Unusable> {
        let ttl = if self.ttl == u32::MAX { 0 } else { self.ttl };
        let Self { body, counts, ttls, pointers, hops, addresses, .. } = self;
        Ok(Answer { rcode, body, counts, ttls, pointers, ttl, hops, addresses })
    }
}

/// Whether a label of `name` begins at `at`.
fn on_boundary(name: &[u8], at: usize) -> bool {
    let mut here = 0;
    while here < at {
        here += 1 + usize::from(name[here]);
    }
    here == at
}

/// The names in `hops`, one by one.
pub(crate) fn each_name(mut hops: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut end = 0;
        while *hops.get(end)? != 0 {
            end += 1 + usize::from(hops[end]);
        }
        let (name, rest) = hops.split_at(end + 1);
        hops = rest;
        Some(name)
    })
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
