//! Counts for status and metrics: of answers and of categories, never of clients or names.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Serialize;

/// Places that categories are counted in.
pub(crate) const CATEGORIES: usize = 128;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident $variant:ident),* $(,)?) => {
        /// One of the things that are counted.
        #[derive(Clone, Copy)]
        pub(crate) enum Count { $($variant),* }

        const COUNTS: usize = [$(Count::$variant),*].len();

        /// What the resolver has done since it started.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Blocked queries by the name of the category.
            pub blocked_by_category: BTreeMap<Box<str>, u64>,
            /// Bytes the cache holds now.
            pub cache_bytes: u64,
            /// Questions that wait for an upstream now.
            pub waiting: u64,
            /// Safe modes of search engines that do not exist now.
            pub search_targets_missing: u64,
            /// Open TCP connections now.
            pub connections: u64,
        }

        impl Stats {
            fn add(&mut self, tally: &Tally) {
                $(self.$name += tally.counts[Count::$variant as usize].load(Relaxed);)*
            }
        }
    };
}

counts! {
    /// Messages that came in and were answered or handed on.
    queries Queries,
    /// Answered from an upstream's words, now or from the cache.
    allowed Allowed,
    /// Answered with a block answer.
    blocked Blocked,
    /// Blocked or rewritten because of a name or address that the answer led to, not the name asked for. Part of `blocked` or
    /// `rewritten`.
    redecided_in_answer RedecidedInAnswer,
    /// Answers withheld because they pointed into this network. Not part of `blocked`.
    rebinding Rebinding,
    /// Rewritten to an alias or to fixed addresses.
    rewritten Rewritten,
    /// Answered from tables of our own: portal, signals, special names.
    local Local,
    /// Answered as a stranger's.
    stranger Stranger,
    /// Refused as malformed or not offered.
    refused Refused,
    /// Dropped: over the rate, replies, datagrams from ports that would loop.
    dropped Dropped,
    /// Answered without waiting for an upstream.
    cache_hits CacheHits,
    /// Had to wait for an upstream.
    cache_misses CacheMisses,
    /// Served although expired, because no upstream answered.
    stale Stale,
    /// Turned away because too many questions were under way.
    over_limit OverLimit,
    /// Turned away because a client asked for too many new names: somebody sends data through DNS.
    new_names_slowed NewNamesSlowed,
    /// Failed because no upstream gave a usable answer.
    failed Failed,
    /// Questions sent to upstreams.
    upstream_queries UpstreamQueries,
    /// Attempts at an upstream that gave no usable answer.
    upstream_failures UpstreamFailures,
    /// TCP connections refused or closed because there were too many.
    connections_refused ConnectionsRefused,
}

/// Counts of one batch, in the thread that answers it: no atomic operation a query.
pub(crate) struct Counts {
    counts: [Cell<u64>; COUNTS],
    categories: [Cell<u64>; CATEGORIES],
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self { counts: [const { Cell::new(0) }; COUNTS], categories: [const { Cell::new(0) }; CATEGORIES] }
    }

    pub(crate) fn count(&self, what: Count) {
        let count = &self.counts[what as usize];
        count.set(count.get() + 1);
    }

    pub(crate) fn count_category(&self, place: u8) {
        let count = &self.categories[usize::from(place) % CATEGORIES];
        count.set(count.get() + 1);
    }

    /// Adds everything to `tally` and starts again from zero.
    pub(crate) fn flush(&self, tally: &Tally) {
        let blocked = self.counts[Count::Blocked as usize].get() != 0;
        add(&self.counts, &tally.counts);
        if blocked {
            add(&self.categories, &tally.categories);
        }
    }
}

fn add(from: &[Cell<u64>], to: &[AtomicU64]) {
    for (from, to) in from.iter().zip(to).filter(|(from, _)| from.get() != 0) {
        to.fetch_add(from.take(), Relaxed);
    }
}

/// One thread's counts, for everybody to read.
pub(crate) struct Tally {
    counts: [AtomicU64; COUNTS],
    categories: [AtomicU64; CATEGORIES],
}

impl Tally {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            counts: [const { AtomicU64::new(0) }; COUNTS],
            categories: [const { AtomicU64::new(0) }; CATEGORIES],
        })
    }

    pub(crate) fn count(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, Relaxed);
    }
}

impl Stats {
    /// The counts of all threads; `names` are those of the categories, by place.
    pub(crate) fn sum(tallies: &[Arc<Tally>], names: &[Box<str>]) -> Self {
        let mut stats = Self::default();
        for tally in tallies {
            stats.add(tally);
            for (name, count) in names.iter().zip(&tally.categories) {
                let count = count.load(Relaxed);
                if count != 0 {
                    *stats.blocked_by_category.entry(name.clone()).or_default() += count;
                }
            }
        }
        stats
    }
}
