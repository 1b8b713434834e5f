//! What a client may use up: answers a second, questions under way, TCP connections.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// How fast one client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Queries a second in the long run.
    pub per_second: u16,
    /// Queries at once after a pause.
    pub burst: u16,
}

/// Buckets in a set; a client's set follows from its address.
const WAYS: usize = 4;
const SETS: usize = 4096;

/// How far each client is ahead of its rate, in a table of fixed size and without locks. A word holds a tag of the client (16
/// bits) and the time at which all it has asked for is paid off (48 bits of microseconds): the leaky bucket as one number.
pub(crate) struct Rates {
    /// What one query costs, and how far ahead a client may be, in microseconds.
    cost: u64,
    ahead: u64,
    seed: u64,
    words: Box<[AtomicU64]>,
}

const TIME: u64 = (1 << 48) - 1;

impl Rates {
    pub(crate) fn new(rate: Rate, seed: u64) -> Self {
        Self::paced(1_000_000 / u64::from(rate.per_second.max(1)), u64::from(rate.burst), seed)
    }

    /// One thing in `cost` microseconds in the long run, `burst` things at once.
    pub(crate) fn paced(cost: u64, burst: u64, seed: u64) -> Self {
        let ahead = cost * (burst.max(1) - 1);
        Self { cost, ahead, seed, words: (0..WAYS * SETS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a query of `client`'s at `now` (milliseconds); `false` when it is too far ahead of its rate.
    pub(crate) fn take(&self, client: u64, now: u64) -> bool {
        self.take_many(client, 1, now)
    }

    /// Counts `count` things at once: all of them, if the first is within the rate.
    pub(crate) fn take_many(&self, client: u64, count: u64, now: u64) -> bool {
        let now = (now * 1000) & TIME;
        let hash = (client ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let set = (hash >> 20) as usize % SETS * WAYS;
        // Never zero: zero is an empty place.
        let tag = hash >> 48 | 1;
        let ways = &self.words[set..set + WAYS];
        loop {
            let mine = ways.iter().find(|word| word.load(Relaxed) >> 48 == tag);
            // A client without a place takes over the one that is paid off first, and starts as after a pause.
            let Some(word) = mine.or_else(|| ways.iter().min_by_key(|word| word.load(Relaxed) & TIME)) else {
                return true;
            };
            let old = word.load(Relaxed);
            let paid = if old >> 48 == tag { (old & TIME).max(now) } else { now };
            if paid - now > self.ahead {
                return false;
            }
            if word.compare_exchange_weak(old, tag << 48 | ((paid + self.cost * count) & TIME), SeqCst, Relaxed).is_ok()
            {
                return true;
            }
        }
    }
}

/// Counts things held at once, in total and for each key.
#[derive(Clone)]
pub(crate) struct Places<K: Eq + Hash + Copy> {
    held: Arc<Mutex<Held<K>>>,
    total: usize,
    each: usize,
}

struct Held<K> {
    total: usize,
    by_key: HashMap<K, usize>,
}

/// One place; given back when dropped.
pub(crate) struct Place<K: Eq + Hash + Copy> {
    key: K,
    places: Places<K>,
}

impl<K: Eq + Hash + Copy> Places<K> {
    pub(crate) fn new(total: usize, each: usize) -> Self {
        Self { held: Arc::new(Mutex::new(Held { total: 0, by_key: HashMap::new() })), total, each }
    }

    /// A place for `key`, if there is one left for it.
    pub(crate) fn take(&self, key: K) -> Option<Place<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.total >= self.total {
            return None;
        }
        let mine = held.by_key.entry(key).or_insert(0);
        if *mine >= self.each {
            return None;
        }
        *mine += 1;
        held.total += 1;
        Some(Place { key, places: self.clone() })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl<K: Eq + Hash + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total -= 1;
        if let Some(mine) = held.by_key.get_mut(&self.key) {
            *mine -= 1;
            if *mine == 0 {
                held.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_granted_then_the_rate_and_others_are_not_touched() {
        let rates = Rates::new(Rate { per_second: 100, burst: 300 }, 9);
        assert_eq!((0..1000).filter(|_| rates.take(1, 5)).count(), 300);
        // One query each millisecond for a second: the rate's hundred.
        let granted = (0..1000).filter(|n| rates.take(1, 6 + n)).count();
        assert!((95..=105).contains(&granted), "{granted}");
        assert!(rates.take(2, 1006));
        // After a long pause the burst is there again, and no more.
        assert_eq!((0..1000).filter(|_| rates.take(1, 100_000)).count(), 300);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_memory_and_locks_nobody_out() {
        let rates = Rates::new(Rate { per_second: 10, burst: 10 }, 9);
        for client in 0..200_000 {
            assert!(rates.take(client, client / 100));
        }
    }

    #[test]
    fn places_are_bounded_in_total_and_for_each_and_come_back() {
        let places = Places::new(5, 2);
        let first = places.take(1).unwrap();
        let _second = places.take(1).unwrap();
        assert!(places.take(1).is_none());
        let others: Vec<_> = (2..5).filter_map(|key| places.take(key)).collect();
        assert_eq!((others.len(), places.taken()), (3, 5));
        assert!(places.take(9).is_none());
        drop(first);
        assert!(places.take(9).is_some());
    }
}
