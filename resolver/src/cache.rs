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

/// A bucket's tags; the entry of the same place belongs to the tag, or is about to.
#[repr(align(64))]
#[derive(Default)]
struct Tags([AtomicU64; WAYS]);

pub(crate) struct Cache {
    seed: u64,
    tags: Box<[Tags]>,
    entries: Box<[ArcSwapOption<Entry>]>,
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
        let tables = buckets * (size_of::<Tags>() + WAYS * size_of::<usize>());
        Self {
            seed,
            tags: (0..buckets).map(|_| Tags::default()).collect(),
            entries: (0..buckets * WAYS).map(|_| ArcSwapOption::empty()).collect(),
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
        (hash | 1 << 63, hash as usize & (self.tags.len() - 1))
    }

    /// What is known about `question`, fresh or not.
    pub(crate) fn find(&self, question: &Key<'_>) -> Option<Guard<Option<Arc<Entry>>>> {
        let (tag, bucket) = self.place(question);
        for (way, held) in self.tags[bucket].0.iter().enumerate() {
            if held.load(Relaxed) == tag {
                let entry = self.entries[bucket * WAYS + way].load();
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
        let way = self.choose(bucket, tag, question, now);
        if let Some(old) = &*self.entries[bucket * WAYS + way].load() {
            if kept.is_failure() && old.answers(question) && old.is_stale(now) {
                return;
            }
            self.bytes.fetch_sub(old.size(), Relaxed);
        }
        self.entries[bucket * WAYS + way].store(Some(kept));
        self.tags[bucket].0[way].store(tag, Relaxed);
        self.bytes.fetch_add(size, Relaxed);
        // The first round of the hand forgives, the second drops; a third only while readers keep forgiving.
        for _ in 0..self.tags.len() * 3 {
            if self.bytes() <= self.limit {
                break;
            }
            self.sweep(*hand, bucket, now);
            *hand = (*hand + 1) & (self.tags.len() - 1);
        }
    }

    /// The place in a bucket for a new entry: its own, an empty one, an expired one, one not asked for lately, or any.
    fn choose(&self, bucket: usize, tag: u64, question: &Key<'_>, now: u32) -> usize {
        let worth = |way: usize| match &*self.entries[bucket * WAYS + way].load() {
            Some(entry) if self.tags[bucket].0[way].load(Relaxed) == tag && entry.answers(question) => 0,
            None => 1,
            Some(entry) if !entry.is_stale(now) && !entry.is_fresh(now) => 2,
            Some(entry) if !entry.used.load(Relaxed) => 3,
            Some(_) => 4,
        };
        let way = (0..WAYS).min_by_key(|way| worth(*way)).unwrap_or(0);
        // The bucket is full of names in use: they have to be asked for again to be safe from the next newcomer.
        if worth(way) == 4 {
            for other in 0..WAYS {
                if let Some(entry) = &*self.entries[bucket * WAYS + other].load() {
                    entry.used.store(false, Relaxed);
                }
            }
        }
        way
    }

    /// Drops what in one bucket was not asked for since the hand last passed, except what has just been stored in `spare`.
    fn sweep(&self, bucket: usize, spare: usize, now: u32) {
        if bucket == spare {
            return;
        }
        for way in 0..WAYS {
            let place = &self.entries[bucket * WAYS + way];
            let size = match &*place.load() {
                Some(entry) if entry.used.swap(false, Relaxed) && entry.is_fresh(now) => continue,
                Some(entry) => entry.size(),
                None => continue,
            };
            self.tags[bucket].0[way].store(0, Relaxed);
            place.store(None);
            self.bytes.fetch_sub(size, Relaxed);
        }
    }

    /// How many entries are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.load().is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, rtype};

    fn question(name: &str) -> Question {
        Question { name: Name::from_text(name).unwrap(), qtype: rtype::A, dnssec: 0 }
    }

    fn answer(size: usize, ttl: u32) -> Answer {
        let nothing = Entry::failure(&question("x"), None, 0);
        assert!(nothing.is_failure());
        Answer {
            rcode: rcode::NOERROR,
            body: vec![7; size],
            counts: [1, 0],
            ttls: vec![],
            pointers: vec![],
            ttl,
            hops: vec![],
            addresses: vec![],
        }
    }

    fn store(cache: &Cache, name: &str, size: usize, now: u32) {
        let question = question(name);
        cache.store(&question, Arc::new(Entry::new(&question, answer(size, 300), now)), now);
    }

    #[test]
    fn stored_answer_is_found_by_its_exact_question_only() {
        let cache = Cache::new(1 << 20, 1);
        store(&cache, "www.example", 40, 0);
        let asked = question("www.example");
        assert!(cache.find(&asked.key()).is_some());
        for other in [
            Question { qtype: rtype::AAAA, ..asked },
            Question { dnssec: Question::DO, ..asked },
            Question { dnssec: Question::CD, ..asked },
            question("ww.example"),
        ] {
            assert!(cache.find(&other.key()).is_none(), "{other:?}");
        }
    }

    #[test]
    fn cache_stays_below_its_bytes_and_keeps_hot_names() {
        let cache = Cache::new(1 << 20, 2);
        for hot in 0..50 {
            store(&cache, &format!("hot{hot}.example"), 100, 0);
        }
        for flood in 0..20_000 {
            store(&cache, &format!("flood{flood}.example"), 1500, 0);
            assert!(cache.bytes() <= 1 << 20);
            if flood % 20 == 0 {
                for hot in 0..50 {
                    cache.find(&question(&format!("hot{hot}.example")).key());
                }
            }
        }
        let left = (0..50).filter(|hot| cache.find(&question(&format!("hot{hot}.example")).key()).is_some()).count();
        assert!(left >= 45, "{left} of 50 hot names survived");
        assert!(cache.len() > 100);
    }

    #[test]
    fn failures_are_remembered_longer_each_time_up_to_five_seconds() {
        let asked = question("dead.example");
        let mut before: Option<Entry> = None;
        for want in [1, 2, 4, 5, 5] {
            let next = Entry::failure(&asked, before.as_ref(), 100);
            assert_eq!(next.expires - next.stored, want);
            before = Some(next);
        }
    }

    #[test]
    fn failure_does_not_displace_what_could_be_served_stale() {
        let cache = Cache::new(1 << 20, 3);
        store(&cache, "www.example", 40, 0);
        let asked = question("www.example");
        cache.store(&asked, Arc::new(Entry::failure(&asked, None, 400)), 400);
        let found = cache.find(&asked.key()).unwrap();
        let found = found.as_ref().unwrap();
        assert!(!found.is_failure() && !found.is_fresh(400) && found.is_stale(400));
    }

    #[test]
    fn judgement_holds_for_its_epoch_and_view() {
        let entry = Entry::new(&question("www.example"), answer(1, 1), 0);
        entry.set_clean(5, 1);
        entry.set_clean(5, 3);
        assert!(entry.is_clean(5, 1) && entry.is_clean(5, 3));
        assert!(!entry.is_clean(5, 2) && !entry.is_clean(6, 1));
        entry.set_clean(6, 2);
        assert!(entry.is_clean(6, 2) && !entry.is_clean(6, 1) && !entry.is_clean(5, 1));
        entry.set_clean(6, 40);
        assert!(!entry.is_clean(6, 40));
    }
}
