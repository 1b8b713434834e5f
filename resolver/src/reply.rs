//! Replies, written straight into the buffer they are sent from.

use std::net::IpAddr;

use crate::{
    cache::Entry,
    cookies::{self, Cookie},
    ech::{self, Stripped},
    wire::{Edns, HEADER, MAX_UDP, Name, Query, rcode, rtype},
};

/// TTL of what we make up ourselves for block answers and rewrites, in seconds: short, so that an objection or a new policy
/// takes effect soon.
pub(crate) const BLOCK_TTL: u32 = 30;
/// TTL of local names that never change.
pub(crate) const LOCAL_TTL: u32 = 3600;
/// TTL for strangers: what they hear must be forgotten by the time they are admitted.
pub(crate) const STRANGER_TTL: u32 = 5;
/// TTL of answers served past their end (RFC 8767 section 4).
pub(crate) const STALE_TTL: u32 = 30;

/// Extended DNS Error codes that we send (RFC 8914 section 4).
pub(crate) mod ede {
    pub(crate) const OTHER: u16 = 0;
    pub(crate) const STALE: u16 = 3;
    pub(crate) const FORGED: u16 = 4;
    pub(crate) const BLOCKED: u16 = 15;
    pub(crate) const NOT_AUTHORITATIVE: u16 = 20;
    pub(crate) const NO_REACHABLE_AUTHORITY: u16 = 22;
}

/// Bytes of an OPT record without options.
const OPT: usize = 11;
/// Bytes of a cookie as an option.
const COOKIE: usize = 4 + size_of::<Cookie>();
/// Pointer to the question's name.
const QUESTION: [u8; 2] = [0xc0, HEADER as u8];

/// A reply being written.
pub(crate) struct Reply<'o> {
    out: &'o mut [u8],
    len: usize,
    limit: usize,
    /// Where the records begin.
    base: usize,
    counts: [u16; 2],
    edns: Option<Edns>,
    ede: Option<u16>,
    cookie: Option<Cookie>,
}

impl<'o> Reply<'o> {
    /// Begins a reply to `query`: header, the question as the client spelt it. `out` must hold the largest reply of the transport.
    pub(crate) fn new(query: &Query<'_>, out: &'o mut [u8]) -> Self {
        let base = query.head.len();
        out[..base].copy_from_slice(query.head);
        let limit = query.limit.min(out.len());
        Self { out, len: base, limit, base, counts: [0; 2], edns: query.edns, ede: None, cookie: query.reply_cookie }
    }

    /// Room for records, an OPT record kept free.
    fn room(&self) -> usize {
        let opt = if self.edns.is_some() { OPT } else { 0 } + if self.cookie.is_some() { COOKIE } else { 0 };
        (self.limit - self.len).saturating_sub(opt)
    }

    /// Appends bytes; what does not fit shows in `finish` as a truncated reply.
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() <= self.room() {
            self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
            self.len += bytes.len();
        } else {
            (self.limit, self.len) = (0, 0);
        }
    }

    fn overflowed(&self) -> bool {
        self.limit == 0
    }

    /// One record about the question's own name.
    fn record(&mut self, section: usize, rtype: u16, ttl: u32, data: &[u8]) {
        let mut head = [0; 12];
        head[..2].copy_from_slice(&QUESTION);
        head[2..4].copy_from_slice(&rtype.to_be_bytes());
        head[4..6].copy_from_slice(&[0, 1]);
        head[6..10].copy_from_slice(&ttl.to_be_bytes());
        head[10..].copy_from_slice(&(data.len() as u16).to_be_bytes());
        self.put(&head);
        self.put(data);
        self.counts[section] += 1;
    }

    /// An A or AAAA record.
    pub(crate) fn address(&mut self, address: IpAddr, ttl: u32) {
        match address {
            IpAddr::V4(v4) => self.record(0, rtype::A, ttl, &v4.octets()),
            IpAddr::V6(v6) => self.record(0, rtype::AAAA, ttl, &v6.octets()),
        }
    }

    /// An SVCB record.
    pub(crate) fn service(&mut self, data: &[u8], ttl: u32) {
        self.record(0, rtype::SVCB, ttl, data);
    }

    /// The one record that answers ANY (RFC 8482 section 4.2).
    pub(crate) fn minimal_any(&mut self) {
        self.record(0, rtype::HINFO, LOCAL_TTL, b"\x07RFC8482\x00");
    }

    /// An SOA of our own making: without one a client may not remember a "no" (RFC 2308 section 5).
    pub(crate) fn own_soa(&mut self, ttl: u32) {
        let mut data = [0; 22];
        for field in data[2..].as_chunks_mut::<4>().0 {
            *field = ttl.to_be_bytes();
        }
        self.record(1, rtype::SOA, ttl, &data);
    }

    /// What the cache holds for the question, `age` seconds old. TTLs count down; they are `STALE_TTL` when `stale`.
    pub(crate) fn entry(&mut self, entry: &Entry, age: u32, stale: bool) {
        let at = self.len;
        self.put(entry.body());
        if self.overflowed() {
            return;
        }
        for place in entry.ttls() {
            let place = at + place;
            if let Some(ttl) = self.out[place..].first_chunk_mut::<4>() {
                let left = u32::from_be_bytes(*ttl).saturating_sub(age);
                *ttl = if stale { STALE_TTL } else { left }.to_be_bytes();
            }
        }
        self.counts[0] += entry.counts[0];
        self.counts[1] += entry.counts[1];
    }

    /// The question's name as an alias of `target`; what `entry` says about the target comes behind it.
    pub(crate) fn alias(&mut self, target: &Name, entry: Option<(&Entry, u32, bool)>) {
        let name_at = self.len + 12;
        self.record(0, rtype::CNAME, BLOCK_TTL, target.as_bytes());
        let Some((entry, age, stale)) = entry else { return };
        let at = self.len;
        self.entry(entry, age, stale);
        if self.overflowed() {
            return;
        }
        // The entry's pointers lead into the name that stands at the question's place in its own reply: here that is the target.
        for place in entry.pointers() {
            let place = at + place;
            if let Some(pointer) = self.out[place..].first_chunk_mut::<2>() {
                let to = usize::from(u16::from_be_bytes(*pointer) & 0x3fff) - HEADER + name_at;
                *pointer = (0xc000 | to as u16).to_be_bytes();
            }
        }
    }

    /// Takes `ech` out of the service bindings that have been written, and says so.
    pub(crate) fn strip_ech(&mut self) {
        if self.overflowed() {
            return;
        }
        if let Some(Stripped { len, counts }) = ech::strip(self.out, self.base, self.len, self.counts) {
            (self.len, self.counts) = (len, counts);
            self.explain(ede::FORGED, b"{\"j\":\"this network does not encrypt the names of services\"}");
        }
    }

    /// Says why, to clients that can read it (RFC 8914). The text is left out where it does not fit.
    pub(crate) fn explain(&mut self, code: u16, text: &[u8]) {
        if self.edns.is_none() || self.overflowed() {
            return;
        }
        let text = if self.room() >= 6 + text.len() { text } else { &[] };
        if self.room() < 6 {
            return;
        }
        // Behind the OPT record's head, which `finish` writes in front of it.
        let at = self.len + OPT;
        let option = &mut self.out[at..at + 6 + text.len()];
        option[..2].copy_from_slice(&15u16.to_be_bytes());
        option[2..4].copy_from_slice(&(2 + text.len() as u16).to_be_bytes());
        option[4..6].copy_from_slice(&code.to_be_bytes());
        option[6..].copy_from_slice(text);
        self.ede = Some(6 + text.len() as u16);
    }

    /// Completes header and OPT; gives the reply's length.
    ///
    /// AA is clear because we own nothing, AD because we validate nothing, Z because it is reserved; CD and RD are the client's
    /// (RFC 4035 section 3.2.2).
    pub(crate) fn finish(mut self, rcode: u16) -> usize {
        let truncated = self.overflowed();
        if truncated {
            self.len = self.base;
            self.counts = [0; 2];
            self.ede = None;
        }
        let dnssec_checked = self.out[3] & 0x10;
        self.out[2] = 0x80 | self.out[2] & 0x01 | if truncated { 0x02 } else { 0 };
        self.out[3] = 0x80 | dnssec_checked | (rcode & 0x0f) as u8;
        self.out[6..8].copy_from_slice(&self.counts[0].to_be_bytes());
        self.out[8..10].copy_from_slice(&self.counts[1].to_be_bytes());
        self.out[10..12].copy_from_slice(&[0, u8::from(self.edns.is_some())]);
        if let Some(edns) = self.edns {
            let ede = usize::from(self.ede.unwrap_or(0));
            let mut options = ede;
            if let Some(cookie) = &self.cookie {
                let at = self.len + OPT + ede;
                self.out[at..at + 2].copy_from_slice(&cookies::OPTION.to_be_bytes());
                self.out[at + 2..at + 4].copy_from_slice(&(cookie.len() as u16).to_be_bytes());
                self.out[at + 4..at + COOKIE].copy_from_slice(cookie);
                options += COOKIE;
            }
            let opt = &mut self.out[self.len..self.len + OPT];
            opt[0] = 0;
            opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
            opt[3..5].copy_from_slice(&(MAX_UDP as u16).to_be_bytes());
            // Upper bits of the code, version 0 whatever was asked, DO as it came, all other flags clear (RFC 6891 section 6.1).
            opt[5..9].copy_from_slice(&[(rcode >> 4) as u8, 0, if edns.wants_dnssec { 0x80 } else { 0 }, 0]);
            opt[9..11].copy_from_slice(&(options as u16).to_be_bytes());
            self.len += OPT + options;
        }
        self.len
    }
}

/// A refusal of what could not be understood: id, opcode and RD of `message`, which has a header, and nothing else of it.
pub(crate) fn refuse(message: &[u8], code: u16, out: &mut [u8]) -> usize {
    out[..HEADER].fill(0);
    out[..2].copy_from_slice(&message[..2]);
    out[2] = 0x80 | message[2] & 0x79;
    out[3] = if code == rcode::NOTIMP { code as u8 } else { 0x80 | code as u8 };
    HEADER
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
