//! What was found out about names lately and is dear to find out again: records read from the file, and that a name is
//! on no hashed list.
//!
//! A fixed number of places; a record has one place, and the last one written stays. Readers never wait: each place is
//! guarded by a number that is odd while somebody writes (a sequence lock), and the name itself is compared.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Places; 2 MiB.
const PLACES: usize = 1 << 15;
/// Words for a name; longer names are not kept.
const WORDS: usize = 5;

/// A record's set, and where it is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) set: u32,
    pub(crate) bucket: u32,
    pub(crate) place: u8,
}

/// One cache line.
#[derive(Default)]
#[repr(align(64))]
struct Place {
    turn: AtomicU64,
    /// Length of the name, place and set.
    about: AtomicU64,
    bucket: AtomicU64,
    name: [AtomicU64; WORDS],
}

/// The records read lately.
pub(crate) struct Memo(Box<[Place]>);

impl Memo {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| Place::default()).collect())
    }

    /// The bucket is chosen by the upper half of a hash, the fingerprint is the lowest sixteen bits; this takes others.
    fn place(&self, hash: u64) -> Option<&Place> {
        self.0.get((hash >> 16) as usize % PLACES)
    }

    /// The record of this name, when it is kept.
    pub(crate) fn get(&self, hash: u64, name: &[u8]) -> Option<Record> {
        let place = self.place(hash)?;
        let turn = place.turn.load(Ordering::Acquire);
        if turn == 0 || turn % 2 == 1 {
            return None;
        }
        let about = place.about.load(Ordering::Relaxed);
        let bucket = place.bucket.load(Ordering::Relaxed);
        let words: [u64; WORDS] = std::array::from_fn(|n| place.name[n].load(Ordering::Relaxed));
        // What was read counts only if nobody wrote meanwhile.
        fence(Ordering::Acquire);
        if place.turn.load(Ordering::Relaxed) != turn || about & 0xff != name.len() as u64 || words != pack(name)? {
            return None;
        }
        Some(Record { set: (about >> 16) as u32, bucket: bucket as u32, place: (about >> 8) as u8 })
    }

    /// Keeps a record, unless somebody else writes at the same place now.
    pub(crate) fn put(&self, hash: u64, name: &[u8], record: Record) {
        let (Some(place), Some(words)) = (self.place(hash), pack(name)) else { return };
        let turn = place.turn.load(Ordering::Relaxed);
        if turn % 2 == 1 || place.turn.compare_exchange(turn, turn + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        fence(Ordering::Release);
        let about = name.len() as u64 | u64::from(record.place) << 8 | u64::from(record.set) << 16;
        place.about.store(about, Ordering::Relaxed);
        place.bucket.store(u64::from(record.bucket), Ordering::Relaxed);
        for (to, word) in place.name.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        place.turn.store(turn + 2, Ordering::Release);
    }
}

fn pack(name: &[u8]) -> Option<[u64; WORDS]> {
    let mut octets = [0; 8 * WORDS];
    octets.get_mut(..name.len())?.copy_from_slice(name);
    let (words, _) = octets.as_chunks::<8>();
    Some(std::array::from_fn(|n| u64::from_le_bytes(words[n])))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn record(n: u32) -> Record {
        Record { set: n & 0xff_ffff, bucket: n, place: n as u8 }
    }

    #[test]
    fn kept_record_is_of_this_very_name() {
        let memo = Memo::new();
        assert_eq!(memo.get(0, b"\x03bad"), None);
        memo.put(0, b"\x03bad", record(7));
        assert_eq!(memo.get(0, b"\x03bad"), Some(record(7)));
        assert_eq!(memo.get(0, b"\x03bed"), None);
        assert_eq!(memo.get(0, b"\x03bad\0"), None);
        assert_eq!(memo.get(1 << 16, b"\x03bad"), None);
        let long = [b'a'; 41];
        memo.put(0, &long, record(8));
        assert_eq!((memo.get(0, &long), memo.get(0, b"\x03bad")), (None, Some(record(7))));
    }

    #[test]
    fn record_is_never_a_mixture_of_two() {
        let memo = Memo::new();
        let name = |n: u32| format!("name-{n:08}-{n:08}-{n:08}").into_bytes();
        thread::scope(|scope| {
            for start in 0..2 {
                let (memo, name) = (&memo, &name);
                scope
                    .spawn(move || (0..100_000).for_each(|n| memo.put(0, &name(start + n % 7), record(start + n % 7))));
            }
            for n in (0..200_000).map(|n| n % 8) {
                assert!(memo.get(0, &name(n)).is_none_or(|found| found == record(n)));
            }
        });
    }
}
