//! The table of names: which set of atoms belongs to a name.
//!
//! Two parts. The *hot* part is an array of buckets of 64 octets: where the bucket's records start (four octets), then
//! up to thirty fingerprints of two octets, in the order of the records. The *cold* part holds the records: for each
//! bucket the lengths of its names (one octet each), then for each its set number (three octets) and the name. A
//! look-up reads one bucket, and the records only when a fingerprint fits; there it compares the name itself, so that
//! no collision of hashes can block a name that is not listed. docs/decisions/0011 has the numbers.

use std::{fs::File, os::unix::fs::FileExt};

use crate::memo::{Memo, Record};

/// Octets of a bucket: one cache line.
pub(crate) const BUCKET: usize = 64;
/// Fingerprints a bucket has room for.
const ROOM: usize = 30;
/// Names a bucket holds on average. Fewer waste memory, more make buckets run over.
const FILL: usize = 22;
/// Octets that are read for a record: what thirty usual names take.
const NEAR: usize = 768;
/// Octets of a set number.
const SET: usize = 3;
/// Sets that can be told apart.
pub(crate) const SETS: usize = 1 << (8 * SET);

/// A name on its way into the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) hash: u64,
    /// Labels in lower-case wire form, without the root label.
    pub(crate) name: &'a [u8],
    pub(crate) set: u32,
}

/// How many buckets names are spread over.
pub(crate) fn buckets(names: usize) -> u32 {
    u32::try_from(names.div_ceil(FILL).max(1)).unwrap_or(u32::MAX)
}

fn home(hash: u64, buckets: u32) -> usize {
    (((hash >> 32) * u64::from(buckets)) >> 32) as usize
}

/// Never zero, which marks a free place. The bucket comes from the other half of the hash.
fn fingerprint(hash: u64) -> u16 {
    (hash as u16).max(1)
}

/// Writes both parts. `rows` come in ascending order of their hashes; `None` when the records exceed what four octets
/// can point to.
pub(crate) fn write<'a>(
    buckets: u32,
    rows: impl IntoIterator<Item = Row<'a>>,
    hot: &mut Vec<u8>,
    cold: &mut Vec<u8>,
) -> Option<()> {
    let mut bucket: Vec<Row<'a>> = Vec::with_capacity(ROOM);
    let mut number = 0;
    for row in rows {
        let home = home(row.hash, buckets);
        // A row goes to its home, or to the first bucket after it that is not full. A bucket that is not full is closed
        // only by a row whose home is further on, so a look-up may stop at the first one that is not full.
        while number < home || bucket.len() == ROOM {
            close(&mut bucket, hot, cold)?;
            number += 1;
        }
        bucket.push(row);
    }
    // One more than the last: a look-up that runs over full buckets ends here.
    while number <= buckets as usize || !bucket.is_empty() {
        close(&mut bucket, hot, cold)?;
        number += 1;
    }
    Some(())
}

fn close(bucket: &mut Vec<Row<'_>>, hot: &mut Vec<u8>, cold: &mut Vec<u8>) -> Option<()> {
    hot.extend(u32::try_from(cold.len()).ok()?.to_le_bytes());
    for place in 0..ROOM {
        hot.extend(bucket.get(place).map_or(0, |row| fingerprint(row.hash)).to_le_bytes());
    }
    cold.extend(bucket.iter().map(|row| row.name.len() as u8));
    for row in &*bucket {
        cold.extend(&row.set.to_le_bytes()[..SET]);
        cold.extend(row.name);
    }
    bucket.clear();
    Some(())
}

/// The cold part: in memory, or read from the file so that it never becomes resident.
#[derive(Clone, Copy)]
pub(crate) enum Cold<'a> {
    Memory(&'a [u8]),
    File { file: &'a File, start: u64, length: u64, memo: &'a Memo },
}

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The name is not in the table.
    Nothing,
    /// The name has this set. `bucket` and `place` say where its record is.
    Set { set: u32, bucket: u32, place: u8 },
    /// A fingerprint fits, but the record could not be read: whether the name is listed is not known.
    Unreadable,
}

/// A table to look up in.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) buckets: u32,
    pub(crate) hot: &'a [u8],
    pub(crate) cold: Cold<'a>,
}

impl Table<'_> {
    /// Looks a name up by its hash and its labels.
    pub(crate) fn find(&self, hash: u64, name: &[u8]) -> Found {
        let print = fingerprint(hash);
        let mut number = home(hash, self.buckets);
        // Outside the array there is nothing; a checked file has a bucket with free places at its end.
        while let Some(bucket) = self.bucket(number) {
            let mut fits = fitting(bucket, print);
            if fits != 0
                && let Cold::File { memo, .. } = self.cold
                && let Some(Record { set, bucket, place }) = memo.get(hash, name)
            {
                return Found::Set { set, bucket, place };
            }
            while fits != 0 {
                let place = fits.trailing_zeros() as usize;
                match self.compare(bucket, place, name) {
                    Some(Some(set)) => {
                        let (bucket, place) = (number as u32, place as u8);
                        if let Cold::File { memo, .. } = self.cold {
                            memo.put(hash, name, Record { set, bucket, place });
                        }
                        return Found::Set { set, bucket, place };
                    }
                    Some(None) => fits &= fits - 1,
                    None => return Found::Unreadable,
                }
            }
            // The last place of a bucket is taken only when the bucket is full.
            if bucket[BUCKET - 2..] == [0, 0] {
                return Found::Nothing;
            }
            number += 1;
        }
        Found::Nothing
    }

    fn bucket(&self, number: usize) -> Option<&[u8; BUCKET]> {
        self.hot.get(number * BUCKET..)?.first_chunk()
    }

    /// The set of the record at this place when its name is `name`, else `Some(None)`; `None` when it cannot be read.
    fn compare(&self, bucket: &[u8; BUCKET], place: usize, name: &[u8]) -> Option<Option<u32>> {
        let start = u64::from(u32::from_le_bytes([bucket[0], bucket[1], bucket[2], bucket[3]]));
        let taken = taken(bucket);
        match self.cold {
            Cold::Memory(cold) => record(cold.get(start as usize..)?, taken, place, name),
            Cold::File { file, start: offset, length, .. } => {
                // Enough for a bucket of usual names; a bucket of long ones takes a second read.
                let mut near = [0; NEAR];
                let here = near.get_mut(..length.checked_sub(start)?.min(NEAR as u64) as usize)?;
                file.read_exact_at(here, offset + start).ok()?;
                match record(here, taken, place, name) {
                    None if here.len() == NEAR => {
                        let mut far = vec![0; length.checked_sub(start)?.min(ROOM as u64 * 260) as usize];
                        file.read_exact_at(&mut far, offset + start).ok()?;
                        record(&far, taken, place, name)
                    }
                    answer => answer,
                }
            }
        }
    }

    /// The name and the set at a place; only for cold paths. `None` when the file cannot be read.
    pub(crate) fn record(&self, number: u32, place: u8) -> Option<(Vec<u8>, u32)> {
        let bucket = self.bucket(number as usize)?;
        let (taken, place) = (taken(bucket), usize::from(place));
        let start = u64::from(u32::from_le_bytes([bucket[0], bucket[1], bucket[2], bucket[3]]));
        let mut space;
        let cold = match self.cold {
            Cold::Memory(cold) => cold.get(start as usize..)?,
            Cold::File { file, start: offset, length, .. } => {
                space = vec![0; length.checked_sub(start)?.min(ROOM as u64 * 260) as usize];
                file.read_exact_at(&mut space, offset + start).ok()?;
                &space[..]
            }
        };
        let (set, name) = read(cold, taken, place)?;
        Some((name.to_vec(), set))
    }
}

/// How many names stand in each bucket.
pub(crate) fn counts(hot: &[u8]) -> impl Iterator<Item = usize> + '_ {
    hot.as_chunks::<BUCKET>().0.iter().map(taken)
}

const LANES: u64 = 0x0001_0001_0001_0001;

/// The highest bit of each group of sixteen that is zero.
fn zeros(word: u64) -> u64 {
    const LOW: u64 = 0x7fff * LANES;
    !(((word & LOW) + LOW) | word | LOW)
}

/// The bucket in words of four groups of sixteen bits; where its records start, which is no fingerprint, is masked out.
fn words(bucket: &[u8; BUCKET]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let words = bucket.as_chunks::<8>().0.iter().enumerate();
    words.map(|(n, word)| (u64::from_le_bytes(*word), if n == 0 { 0xffff_ffff } else { 0 }))
}

/// A bit for each place whose fingerprint is this one. Most buckets have none: four places are compared at a time.
fn fitting(bucket: &[u8; BUCKET], print: u16) -> u32 {
    let wanted = u64::from(print) * LANES;
    if words(bucket).fold(0, |any, (word, mask)| any | zeros((word ^ wanted) | mask)) == 0 {
        return 0;
    }
    let mut fits = 0;
    for (place, here) in bucket[BUCKET - 2 * ROOM..].as_chunks::<2>().0.iter().enumerate() {
        fits |= u32::from(u16::from_le_bytes(*here) == print) << place;
    }
    fits
}

/// How many places are taken.
fn taken(bucket: &[u8; BUCKET]) -> usize {
    let free: u32 = words(bucket).map(|(word, mask)| zeros(word | mask).count_ones()).sum();
    ROOM - free as usize
}

/// Where in the bucket's records the one at this place is, and the length of its name.
fn span(cold: &[u8], taken: usize, place: usize) -> Option<(usize, usize)> {
    let lengths = cold.get(..taken)?;
    let before: usize = lengths.get(..place)?.iter().map(|&length| usize::from(length)).sum();
    Some((taken + SET * place + before, usize::from(*lengths.get(place)?)))
}

/// The set and the name at this place.
fn read(cold: &[u8], taken: usize, place: usize) -> Option<(u32, &[u8])> {
    let (at, length) = span(cold, taken, place)?;
    let (set, name) = cold.get(at..at + SET + length)?.split_at(SET);
    Some((u32::from_le_bytes([set[0], set[1], set[2], 0]), name))
}

fn record(cold: &[u8], taken: usize, place: usize, name: &[u8]) -> Option<Option<u32>> {
    let (set, stored) = read(cold, taken, place)?;
    Some((stored == name).then_some(set))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write};

    use proptest::prelude::*;

    use super::*;

    /// A table of these names; the hash of a name is given, so that tests can make names collide.
    fn table(rows: &[(u64, Vec<u8>, u32)]) -> (u32, Vec<u8>, Vec<u8>) {
        let mut rows: Vec<Row<'_>> =
            rows.iter().map(|(hash, name, set)| Row { hash: *hash, name, set: *set }).collect();
        rows.sort_by_key(|row| row.hash);
        let buckets = buckets(rows.len());
        let (mut hot, mut cold) = (Vec::new(), Vec::new());
        write(buckets, rows, &mut hot, &mut cold).unwrap();
        (buckets, hot, cold)
    }

    #[test]
    fn name_with_the_same_hash_as_a_listed_one_is_not_found() {
        let (buckets, hot, cold) = table(&[(7, b"\x03bad\x07example".to_vec(), 3)]);
        let table = Table { buckets, hot: &hot, cold: Cold::Memory(&cold) };
        assert_eq!(table.find(7, b"\x03bad\x07example"), Found::Set { set: 3, bucket: 0, place: 0 });
        assert_eq!(table.find(7, b"\x03bed\x07example"), Found::Nothing);
        assert_eq!(table.find(7, b"\x02ad\x07example"), Found::Nothing);
    }

    #[test]
    fn bucket_that_runs_over_loses_no_name() {
        let rows: Vec<_> = (0..500).map(|n| (5, format!("\x04n{n:03}").into_bytes(), n)).collect();
        let (buckets, hot, cold) = table(&rows);
        let table = Table { buckets, hot: &hot, cold: Cold::Memory(&cold) };
        for (hash, name, set) in &rows {
            assert!(matches!(table.find(*hash, name), Found::Set { set: found, .. } if found == *set));
        }
        assert_eq!(table.find(5, b"\x04none"), Found::Nothing);
    }

    #[test]
    fn record_that_cannot_be_read_is_said_to_be_unreadable() {
        let (buckets, hot, cold) = table(&[(7, b"\x03bad\x07example".to_vec(), 3)]);
        let cut = Table { buckets, hot: &hot, cold: Cold::Memory(&cold[..4]) };
        assert_eq!(cut.find(7, b"\x03bad\x07example"), Found::Unreadable);
    }

    #[test]
    fn empty_table_holds_nothing() {
        let (buckets, hot, cold) = table(&[]);
        let table = Table { buckets, hot: &hot, cold: Cold::Memory(&cold) };
        assert_eq!(table.find(u64::MAX, b"\x01a"), Found::Nothing);
        assert_eq!(Table { buckets: 0, hot: &[], cold: Cold::Memory(&[]) }.find(1, b"\x01a"), Found::Nothing);
    }

    proptest! {
        #[test]
        fn table_agrees_with_a_map(
            names in proptest::collection::btree_map("[a-d]{1,60}", (0u64..4, any::<u16>(), 0u32..9), 0..300),
            asked in proptest::collection::vec("[a-d]{1,3}", 0..50),
        ) {
            // Few distinct hashes: buckets run over and fingerprints collide all the time.
            let hash = |group: u64, low: u16| group << 62 | u64::from(low % 5);
            let names: BTreeMap<Vec<u8>, (u64, u32)> = names
                .into_iter()
                .map(|(name, (group, low, set))| (name.into_bytes(), (hash(group, low), set)))
                .collect();
            let rows: Vec<_> = names.iter().map(|(name, (hash, set))| (*hash, name.clone(), *set)).collect();
            let (buckets, hot, cold) = table(&rows);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"before").unwrap();
            file.write_all(&cold).unwrap();
            let memo = Memo::new();
            let read = Cold::File { file: &file, start: 6, length: cold.len() as u64, memo: &memo };
            // Twice from the file: the second time from what was kept.
            let ways = [Cold::Memory(&cold), read, read];
            for cold in ways {
                let table = Table { buckets, hot: &hot, cold };
                for (name, (hash, set)) in &names {
                    let Found::Set { set: found, bucket, place } = table.find(*hash, name) else {
                        panic!("{name:?} is lost")
                    };
                    prop_assert_eq!(found, *set);
                    prop_assert_eq!(table.record(bucket, place), Some((name.clone(), *set)));
                }
                for name in &asked {
                    // A name that is not in the table, with the hash of one that is.
                    let Some((hash, _)) = names.values().next().filter(|_| !names.contains_key(name.as_bytes())) else {
                        continue;
                    };
                    prop_assert_eq!(table.find(*hash, name.as_bytes()), Found::Nothing);
                }
            }
        }
    }
}
