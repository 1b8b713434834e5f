//! What upstreams said, by question. Policy is applied on the way out, so nothing here knows of groups or verdicts, and a
//! new policy flushes nothing.
//!
//! A table of buckets of eight. Readers compare eight tags in one cache line and take the entry with one atomic load, no
//! lock. Writers (only ever the slow path) take one lock and keep the whole below its bound in bytes: in a full bucket, and
//! when a clock hand sweeps for room, whoever was not asked for since the last visit goes first, so hot names survive a flood.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwapOption, Guard};

use crate::{
    answer::Answer,
    wire::{Key, Question, rcode},
};

/// Entries in a bucket: their tags fill one cache line.
const WAYS: usize = 8;
/// How long after its end an answer may still be served when no upstream answers, in seconds (RFC 8767 section 5).
pub(crate) const STALE: u32 = 86_400;
/// A failure is remembered for a second at first and never for more than five (RFC 9520 section 3.2 asks for one second at least
/// and allows five minutes; five seconds bring everything back soon after the uplink).
const MAX_FAILURE: u32 = 5;

/// One question's answer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) counts: [u16; 2],
    /// NOERROR, NXDOMAIN, or SERVFAIL for a failure that is remembered.
    pub(crate) rcode: u16,
    qtype: u16,
    dnssec: u8,
    name_end: u8,
    /// Asked for since the clock hand last passed.
    used: AtomicBool,
    /// When it was stored and until when it holds, in seconds of the room's monotonic clock.
    pub(crate) stored: u32,
    pub(crate) expires: u32,
    /// Until when it is served stale without asking again, in seconds.
    spared: AtomicU32,
    /// Upper half: the epoch of the views; lower half: bit `n` is set when view `n` found nothing to object to in it.
    judged: AtomicU64,
    marks_end: u32,
    body_end: u32,
    hops_end: u32,
    /// Name, marks (two bytes each: where in the body TTLs stand, one a record, and behind them where pointers stand), body, hops,
    /// addresses (17 bytes each), one behind the other.
    data: Data,
}

/// Bytes that most answers fit in.
const SMALL: usize = 112;

/// An entry's bytes: small ones in the entry itself, so that a hit touches few cache lines.
#[derive(Debug)]
enum Data {
    Small([u8; SMALL], u8),
    Large(Box<[u8]>),
}

impl Data {
    fn new(bytes: Vec<u8>) -> Self {
        let mut small = [0; SMALL];
        match small.get_mut(..bytes.len()) {
            Some(part) => {
                part.copy_from_slice(&bytes);
                Self::Small(small, bytes.len() as u8)
            }
            None => Self::Large(bytes.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes, length) => &bytes[..usize::from(*length)],
            Self::Large(bytes) => bytes,
        }
    }
}

impl Entry {
    /// An upstream's answer, at `now`.
    pub(crate) fn new(question: &Question, answer: Answer, now: u32) -> Self {
        let name = question.name.as_bytes();
        let mut data = name.to_vec();
        for mark in answer.ttls.iter().chain(&answer.pointers) {
            data.extend_from_slice(&mark.to_ne_bytes());
        }
        let marks_end = data.len();
        data.extend_from_slice(&answer.body);
        let body_end = data.len();
        data.extend_from_slice(&answer.hops);
        let hops_end = data.len();
        for address in &answer.addresses {
            let (family, v6) = match address {
                IpAddr::V4(v4) => (4, v4.to_ipv6_mapped()),
                IpAddr::V6(v6) => (6, *v6),
            };
            data.push(family);
            data.extend_from_slice(&v6.octets());
        }
        Self {
            counts: answer.counts,
            rcode: answer.rcode,
            qtype: question.qtype,
            dnssec: question.dnssec,
            name_end: name.len() as u8,
            used: AtomicBool::new(false),
            stored: now,
            expires: now.saturating_add(answer.ttl),
            spared: AtomicU32::new(0),
            judged: AtomicU64::new(0),
            marks_end: marks_end as u32,
            body_end: body_end as u32,
            hops_end: hops_end as u32,
            data: Data::new(data),
        }
    }

    /// A failure to get an answer, remembered twice as long as the one before it.
    pub(crate) fn failure(question: &Question, before: Option<&Entry>, now: u32) -> Self {
        let last = before.filter(|entry| entry.is_failure()).map_or(0, |entry| entry.expires - entry.stored);
        let ttl = (last * 2).clamp(1, MAX_FAILURE);
        let nothing = Answer {
            rcode: rcode::SERVFAIL,
            body: Vec::new(),
            counts: [0; 2],
            ttls: Vec::new(),
            pointers: Vec::new(),
            ttl,
            hops: Vec::new(),
            addresses: Vec::new(),
        };
        Self::new(question, nothing, now)
    }

    /// Answer and authority records in wire form; pointers count from the start of a message with this question.
    pub(crate) fn body(&self) -> &[u8] {
        &self.data.bytes()[self.marks_end as usize..self.body_end as usize]
    }

    /// Names that the answer leads to, one after the other.
    pub(crate) fn hops(&self) -> &[u8] {
        &self.data.bytes()[self.body_end as usize..self.hops_end as usize]
    }

    /// Addresses and address hints in the answer.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let (addresses, _) = self.data.bytes()[self.hops_end as usize..].as_chunks::<17>();
        addresses.iter().map(|[family, v6 @ ..]| {
            let v6 = Ipv6Addr::from(*v6);
            if *family == 4 { v6.to_canonical() } else { v6.into() }
        })
    }

    /// Where in the body TTLs stand.
    pub(crate) fn ttls(&self) -> impl Iterator<Item = usize> {
        self.marks().take(self.records())
    }

    /// Where in the body pointers into the question's name stand.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = usize> {
        self.marks().skip(self.records())
    }

    fn marks(&self) -> impl Iterator<Item = usize> {
        let (marks, _) = self.data.bytes()[usize::from(self.name_end)..self.marks_end as usize].as_chunks::<2>();
        marks.iter().map(|mark| usize::from(u16::from_ne_bytes(*mark)))
    }

    fn records(&self) -> usize {
        usize::from(self.counts[0]) + usize::from(self.counts[1])
    }

    pub(crate) fn is_failure(&self) -> bool {
        self.rcode == rcode::SERVFAIL
    }

    pub(crate) fn is_fresh(&self, now: u32) -> bool {
        now < self.expires
    }

    /// Whether it may be served although it has expired, should no upstream answer.
    pub(crate) fn is_stale(&self, now: u32) -> bool {
        !self.is_failure() && now < self.expires.saturating_add(STALE)
    }

    /// Whether it is served stale without asking again.
    pub(crate) fn is_spared(&self, now: u32) -> bool {
        self.is_stale(now) && now < self.spared.load(Relaxed)
    }

    /// No upstream renewed it: for a few seconds nobody asks again (RFC 8767 section 5, failure recheck).
    pub(crate) fn spare(&self, now: u32) {
        self.spared.store(now + MAX_FAILURE, Relaxed);
    }

    /// Whether this answers `question`.
    pub(crate) fn answers(&self, question: &Key<'_>) -> bool {
        self.qtype == question.qtype
            && self.dnssec == question.dnssec
            && self.data.bytes()[..usize::from(self.name_end)] == *question.name.as_bytes()
    }

    /// Whether view `view` of `epoch` is known to have no objection.
    pub(crate) fn is_clean(&self, epoch: u32, view: usize) -> bool {
        let judged = self.judged.load(Relaxed);
        view < 32 && (judged >> 32) as u32 == epoch && judged >> view & 1 == 1
    }

    /// Notes that view `view` of `epoch` has no objection. Two writers at once may lose one note: it is made again.
    pub(crate) fn set_clean(&self, epoch: u32, view: usize) {
        if view < 32 {
            let judged = self.judged.load(Relaxed);
            let same = if (judged >> 32) as u32 == epoch { judged & u64::from(u32::MAX) } else { 0 };
            self.judged.store(u64::from(epoch) << 32 | same | 1 << view, Relaxed);
        }
    }

    /// Bytes this costs, reference counts and the allocator's share included.
    fn size(&self) -> usize {
        let large = if let Data::Large(bytes) = &self.data { bytes.len() + 16 } else { 0 };
        size_of::<Self>() + 32 + large
    }
}

/// A bucket: tags in one cache line, entries in the next, which the processor fetches with it. The entry of the same place belongs
/// to the tag, or is about to.
#[repr(align(128))]
#[derive(Default)]
struct Bucket {
    tags: [AtomicU64; WAYS],
    entries: [ArcSwapOption<Entry>; WAYS],
}

pub(crate) struct Cache {
    seed: u64,
    buckets: Box<[Bucket]>,
    bytes: AtomicUsize,
    limit: usize,
    /// The bucket the clock hand points at; whoever holds it may write.
    hand: Mutex<usize>,
}

impl Cache {
    /// A cache of at most `limit` bytes, tables included. `seed` keeps guests from aiming at one bucket.
    pub(crate) fn new(limit: usize, seed: u64) -> Self {
        // About one place for every 384 bytes: most answers are smaller than that and their names few.
        let buckets = (limit / 384 / WAYS).next_power_of_two().max(16) / 2;
        let tables = buckets * size_of::<Bucket>();
        Self {
            seed,
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            bytes: AtomicUsize::new(tables),
            limit: limit.max(tables + 65_536),
            hand: Mutex::new(0),
        }
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    fn place(&self, question: &Key<'_>) -> (u64, usize) {
        let hash = question.hash(self.seed);
        // Never zero: zero is an empty place.
        (hash | 1 << 63, hash as usize & (self.buckets.len() - 1))
    }

    /// What is known about `question`, fresh or not.
    pub(crate) fn find(&self, question: &Key<'_>) -> Option<Guard<Option<Arc<Entry>>>> {
        let (tag, bucket) = self.place(question);
        let Bucket { tags, entries } = &self.buckets[bucket];
        for (held, entry) in tags.iter().zip(entries) {
            if held.load(Relaxed) == tag {
                let entry = entry.load();
                if entry.as_ref().is_some_and(|entry| entry.answers(question)) {
                    let known = entry.as_ref()?;
                    // Only the first to ask since the hand passed writes: hits share the line unmodified.
                    if !known.used.load(Relaxed) {
                        known.used.store(true, Relaxed);
                    }
                    return Some(entry);
                }
            }
        }
        None
    }

    /// Stores an entry for `question`. A failure never replaces an answer that could still be served stale.
    pub(crate) fn store(&self, question: &Question, entry: Arc<Entry>, now: u32) {
        let (question, kept) = (&question.key(), entry);
        let (tag, bucket) = self.place(question);
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let size = kept.size();
        if size > self.limit / 64 {
            return;
        }
        let way = self.choose(bucket, tag, question);
        let Bucket { tags, entries } = &self.buckets[bucket];
        if let Some(old) = &*entries[way].load() {
            if kept.is_failure() && old.answers(question) && old.is_stale(now) {
                return;
            }
            self.bytes.fetch_sub(old.size(), Relaxed);
        }
        entries[way].store(Some(kept));
        tags[way].store(tag, Relaxed);
        self.bytes.fetch_add(size, Relaxed);
        // The first round of the hand forgives, the second drops; a third only while readers keep forgiving.
        for _ in 0..self.buckets.len() * 3 {
            if self.bytes() <= self.limit {
                break;
            }
            self.sweep(*hand, bucket, now);
            *hand = (*hand + 1) & (self.buckets.len() - 1);
        }
    }

    /// The place in a bucket for a new entry: its own, an empty one, or one not asked for lately.
    fn choose(&self, bucket: usize, tag: u64, question: &Key<'_>) -> usize {
        let Bucket { tags, entries } = &self.buckets[bucket];
        let tagged = |want: u64| tags.iter().enumerate().filter(move |(_, held)| held.load(Relaxed) == want);
        let own = |way: &usize| entries[*way].load().as_ref().is_some_and(|entry| entry.answers(question));
        if let Some(way) = tagged(tag).map(|(way, _)| way).find(own) {
            return way;
        }
        if let Some((way, _)) = tagged(0).next() {
            return way;
        }
        // Beginning at a place that the newcomer's hash names, so that few entries have to be touched.
        let from = (tag >> 40) as usize;
        let ways = (0..WAYS).map(|step| (from + step) % WAYS);
        let unused = |way: &usize| entries[*way].load().as_ref().is_none_or(|entry| !entry.used.load(Relaxed));
        if let Some(way) = ways.clone().find(unused) {
            return way;
        }
        // All are in use: they have to be asked for again to be safe from the next newcomer.
        for way in ways {
            if let Some(entry) = &*entries[way].load() {
                entry.used.store(false, Relaxed);
            }
        }
        from % WAYS
    }

    /// Drops what in one bucket was not asked for since the hand last passed, except what has just been stored in `spare`.
    fn sweep(&self, bucket: usize, spare: usize, now: u32) {
        if bucket == spare {
            return;
        }
        let Bucket { tags, entries } = &self.buckets[bucket];
        for (tag, place) in tags.iter().zip(entries) {
            let size = match &*place.load() {
                Some(entry) if entry.used.swap(false, Relaxed) && entry.is_fresh(now) => continue,
                Some(entry) => entry.size(),
                None => continue,
            };
            tag.store(0, Relaxed);
            place.store(None);
            self.bytes.fetch_sub(size, Relaxed);
        }
    }

    /// How many entries are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().flat_map(|bucket| &bucket.entries).filter(|entry| entry.load().is_some()).count()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
