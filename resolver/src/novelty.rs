//! New names: a tunnel writes its data into names that nobody has asked for before, one after the other, below one domain. How fast
//! a guest may do that is bounded apart from the ordinary rate.
//!
//! Nothing here can be read back: names are bits of a sketch that is thrown away after minutes, guests and domains only the key that
//! a time is found by.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use sheshi_policy::registrable;

use crate::{limits::Rates, wire::Name};

/// How fast one guest may ask for names that nobody has asked for lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewNames {
    /// New names a minute below one registered domain in the long run. Twice that at once, and twenty times as many over all
    /// domains: pages, apps and phones that join need a few dozen below one domain, and a few hundred in all.
    pub per_minute: u16,
}

/// A name counts once, and once more for so many octets below its domain: what a tunnel carries is what its names are long.
const WEIGHT: usize = 32;
/// What is granted at once below a domain, in minutes.
const BURST: u64 = 2;
/// Domains that a guest may use up at once.
const DOMAINS: u64 = 20;

/// Bits of one sketch, 64 KiB of them.
const BITS: usize = 1 << 19;
/// Names that a sketch takes before it is put away: with more than that it would take new names for known ones (one in a hundred now).
const FULL: u32 = 50_000;
/// And how long, in milliseconds; a name is forgotten after twice that.
const WINDOW: u64 = 600_000;

/// Names asked for lately, as bits. Two sketches: one is written, the one before is only read.
struct Lately {
    words: [Box<[AtomicU64]>; 2],
    /// The number of the sketch that is written, and since when (milliseconds) in the upper 63 bits.
    written: AtomicU64,
    names: AtomicU32,
}

impl Lately {
    fn new() -> Self {
        let empty = || (0..BITS / 64).map(|_| AtomicU64::new(0)).collect();
        Self { words: [empty(), empty()], written: AtomicU64::new(0), names: AtomicU32::new(0) }
    }

    /// Four bits that `hash` stands for.
    fn places(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        (0..4).map(move |part| {
            let bit = (hash >> (part * 16)).wrapping_add(hash.rotate_left(23 + part as u32)) as usize % BITS;
            (bit / 64, 1 << (bit % 64))
        })
    }

    fn holds(&self, hash: u64) -> bool {
        let all = |words: &[AtomicU64]| Self::places(hash).all(|(word, bit)| words[word].load(Relaxed) & bit != 0);
        self.words.iter().any(|words| all(words))
    }

    fn add(&self, hash: u64, now: u64) {
        let written = self.written.load(Relaxed);
        let (mut which, since) = ((written & 1) as usize, written >> 1);
        if (self.names.load(Relaxed) >= FULL || now.saturating_sub(since) >= WINDOW)
            && self.written.compare_exchange(written, now << 1 | (1 - which as u64), SeqCst, Relaxed).is_ok()
        {
            which = 1 - which;
            self.words[which].iter().for_each(|word| word.store(0, Relaxed));
            self.names.store(0, Relaxed);
        }
        self.names.fetch_add(1, Relaxed);
        for (word, bit) in Self::places(hash) {
            self.words[which][word].fetch_or(bit, Relaxed);
        }
    }
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Novel {
    /// Asked for before.
    Known,
    /// New, and within the guest's rate.
    New,
    /// New, and too many of them.
    TooMany,
}

/// Who is how far ahead with new names.
pub(crate) struct Novelty {
    seed: u64,
    lately: Lately,
    per_domain: Rates,
    in_all: Rates,
}

impl Novelty {
    pub(crate) fn new(limit: NewNames, seed: u64) -> Self {
        let seed = seed.rotate_left(17) ^ 0x5bd1_e995_9d1b_58d3;
        let (each, minute) = (u64::from(limit.per_minute.max(1)), 60_000_000);
        let per_domain = Rates::paced(minute / each, each * BURST, seed);
        let in_all = Rates::paced(minute / (each * DOMAINS), each * DOMAINS, !seed);
        Self { seed, lately: Lately::new(), per_domain, in_all }
    }

    /// Counts that `client` asks for `name`, which the cache does not know, at `now` (milliseconds). What is too much is forgotten
    /// again, so that it counts when it is asked for once more.
    pub(crate) fn take(&self, client: u64, name: &Name, now: u64) -> Novel {
        let hash = name.hash(self.seed, 0);
        if self.lately.holds(hash) {
            return Novel::Known;
        }
        let domain = registrable(name.as_bytes());
        let below = name.as_bytes().len() - domain.len();
        let weight = 1 + (below / WEIGHT) as u64;
        let theirs = Name::parse(domain).map_or(0, |domain| domain.hash(self.seed, client));
        if !self.per_domain.take_many(theirs, weight, now) || !self.in_all.take_many(client, weight, now) {
            return Novel::TooMany;
        }
        self.lately.add(hash, now);
        Novel::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// New names let through, of `count` asked for `step` milliseconds apart from `start` on.
    fn let_through(
        novelty: &Novelty,
        client: u64,
        count: u64,
        start: u64,
        step: u64,
        text: impl Fn(u64) -> String,
    ) -> u64 {
        let ask = |n: &u64| novelty.take(client, &name(&text(*n)), start + n * step) == Novel::New;
        (0..count).filter(ask).count() as u64
    }

    #[test]
    fn tunnel_is_slowed_below_its_domain_and_its_guest_and_others_go_on_elsewhere() {
        let novelty = Novelty::new(NewNames { per_minute: 60 }, 7);
        // Ten a second for a minute: the burst, then one a second.
        let through = let_through(&novelty, 1, 600, 0, 100, |n| format!("n{n}.t.tunnel.example.org"));
        assert!((170..=185).contains(&through), "{through}");
        // The second: by now the first may be due.
        assert_ne!(novelty.take(1, &name("one.example.org"), 60_000), Novel::Known);
        assert_eq!(novelty.take(1, &name("another.example.org"), 60_000), Novel::TooMany);
        assert_eq!(novelty.take(1, &name("www.news.example"), 60_000), Novel::New);
        assert_eq!(novelty.take(2, &name("another.example.org"), 60_000), Novel::New);
    }

    #[test]
    fn long_names_count_for_what_they_carry() {
        let novelty = Novelty::new(NewNames { per_minute: 60 }, 7);
        let long = "a".repeat(60);
        let through = let_through(&novelty, 1, 600, 0, 100, |n| format!("{long}.{long}.{long}.n{n}.tunnel.example"));
        assert!((20..=30).contains(&through), "{through}");
    }

    #[test]
    fn tunnel_over_many_domains_is_slowed_in_all() {
        let novelty = Novelty::new(NewNames { per_minute: 60 }, 7);
        let through = let_through(&novelty, 1, 10_000, 0, 10, |n| format!("n{n}.tunnel{}.example", n % 1000));
        assert!(through < 1200 + 2000 + 100, "{through}");
    }

    #[test]
    fn name_counts_once_whatever_types_are_asked_for_and_is_forgotten_in_time() {
        let novelty = Novelty::new(NewNames { per_minute: 1 }, 7);
        assert_eq!(novelty.take(1, &name("www.example.org"), 0), Novel::New);
        for _ in 0..100 {
            assert_eq!(novelty.take(1, &name("www.example.org"), 1), Novel::Known);
        }
        // Two windows later, in which somebody else's names came and went, nothing of it is left.
        assert_eq!(novelty.take(2, &name("a.example"), WINDOW), Novel::New);
        assert_eq!(novelty.take(2, &name("b.example"), 2 * WINDOW), Novel::New);
        assert_eq!(novelty.take(1, &name("www.example.org"), 2 * WINDOW), Novel::New);
    }

    #[test]
    fn sketch_takes_few_new_names_for_known_ones_however_many_there_are() {
        let lately = Lately::new();
        let hash = |n: u64| name(&format!("n{n}.example")).hash(3, 0);
        for n in 0..200_000 {
            lately.add(hash(n), n / 100);
        }
        assert!((199_000..200_000).all(|n| lately.holds(hash(n))));
        let wrong = (1_000_000..1_010_000).filter(|n| lately.holds(hash(*n))).count();
        assert!(wrong < 400, "{wrong} of 10000");
    }

    /// Two phones that join and read the news for ten minutes: pages of up to 80 names over many domains, apps with a few dozen
    /// names below their maker's domain, each name asked for in three types.
    #[test]
    fn browsing_is_not_touched() {
        let novelty = Novelty::new(NewNames { per_minute: 60 }, 7);
        for client in [1, 2] {
            for minute in 0..10u64 {
                let now = minute * 60_000;
                let page = (0..80).map(|n| format!("www.site{}.example", minute * 37 + n));
                let own = (0..25).map(|n| format!("img{n}.edition{minute}.news.example"));
                let shards = (0..12).map(|n| format!("d{minute}x{n}a8f3k2j4h5.cloudfront.net"));
                let apps = (0..15).map(|n| format!("gateway-{n}-{minute}.push.apple.com"));
                for (at, text) in page.chain(own).chain(shards).chain(apps).enumerate() {
                    for kind in 0..3 {
                        let novel = novelty.take(client, &name(&text), now + at as u64 * 20 + kind);
                        assert_ne!(novel, Novel::TooMany, "{text} of {client} in minute {minute}");
                    }
                }
            }
        }
    }
}
