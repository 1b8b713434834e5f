//! What each record owes to the ones before it: number, chain, gateway, time (`docs/evidence-format.md`, section 2).

use std::collections::BTreeSet;

use crate::{
    Digest, Time, Token, merkle,
    record::{Body, Record},
};

/// How far two clocks may disagree before it takes a `clock` record, in milliseconds.
const TOLERANCE: i64 = 2_000;

/// A rule between records that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Another number than the next one.
    #[error("its number is {found}, want {want}")]
    Seq {
        /// Its number.
        found: u64,
        /// The next one.
        want: u64,
    },
    /// From another gateway.
    #[error("it is from gateway `{found}`, this is the log of `{want}`")]
    Gateway {
        /// Its gateway.
        found: String,
        /// The log's.
        want: String,
    },
    /// `prev` is not the hash of the record before.
    #[error("its `prev` is not the hash of the record before")]
    Broken,
    /// A time rule.
    #[error("{0}")]
    Time(&'static str),
}

/// What has to be known of the records so far to check the next one.
#[derive(Debug, Clone)]
pub struct Chain {
    gw: Option<String>,
    next: u64,
    prev: Option<Digest>,
    last: Option<Last>,
    /// Newest known time since the last `clock` record.
    newest: Option<Time>,
    /// Boots that were left.
    left: BTreeSet<Token>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    boot: Token,
    mono: u64,
    time: Option<Time>,
    /// Whether the clock was set in this boot.
    known: bool,
}

impl Chain {
    /// A chain whose next record is number `next`. `prev` is the leaf hash of the one before, where it is known; `gw` the
    /// gateway, where it is known.
    pub fn new(next: u64, prev: Option<Digest>, gw: Option<String>) -> Self {
        let prev = if next == 0 { Some(Digest::default()) } else { prev };
        Self { gw, next, prev, last: None, newest: None, left: BTreeSet::new() }
    }

    /// Number of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Leaf hash of the last record.
    pub fn prev(&self) -> Option<Digest> {
        self.prev
    }

    /// The gateway, once known.
    pub fn gateway(&self) -> Option<&str> {
        self.gw.as_deref()
    }

    /// Checks the next record and takes it; gives its leaf hash. `bytes` are the record's own.
    ///
    /// # Errors
    /// The first rule that does not hold; then nothing was taken.
    pub fn take(&mut self, record: &Record, bytes: &[u8]) -> Result<Digest, ChainError> {
        if record.seq != self.next {
            return Err(ChainError::Seq { found: record.seq, want: self.next });
        }
        if let Some(gw) = self.gw.as_ref().filter(|gw| **gw != record.gw) {
            return Err(ChainError::Gateway { found: record.gw.clone(), want: gw.clone() });
        }
        if self.prev.is_some_and(|prev| prev != record.prev) {
            return Err(ChainError::Broken);
        }
        let known = self.check_time(record)?;
        let is_clock = matches!(record.body, Body::Clock(_));
        if self.last.is_some_and(|last| last.boot != record.boot) {
            self.left.extend(self.last.map(|last| last.boot));
        }
        self.last = Some(Last { boot: record.boot, mono: record.mono, time: record.time, known });
        if is_clock && record.time.is_some() {
            self.newest = record.time;
        } else {
            self.newest = self.newest.max(record.time);
        }
        self.gw.get_or_insert_with(|| record.gw.clone());
        self.next += 1;
        let leaf = merkle::leaf(bytes);
        self.prev = Some(leaf);
        Ok(leaf)
    }

    /// Gives whether the clock is known to be set in the record's boot.
    fn check_time(&self, record: &Record) -> Result<bool, ChainError> {
        let is_clock = matches!(record.body, Body::Clock(_));
        let mut known = record.time.is_some();
        match self.last {
            Some(last) if last.boot == record.boot => {
                if record.mono < last.mono {
                    return Err(ChainError::Time("its monotonic time is before that of the record before"));
                }
                if last.known && record.time.is_none() {
                    return Err(ChainError::Time("its time is unknown, though the clock was set in this boot"));
                }
                known |= last.known;
                if let (Some(before), Some(now), false) = (last.time, record.time, is_clock) {
                    let ran = i64::try_from(record.mono - last.mono).unwrap_or(i64::MAX / 2);
                    let apart = (now.millis() - before.millis()).saturating_sub(ran).saturating_abs();
                    if apart > TOLERANCE + ran / 1_000 {
                        return Err(ChainError::Time(
                            "wall time and monotonic time went apart without a `clock` record",
                        ));
                    }
                }
                if matches!(record.body, Body::Boot(_)) {
                    return Err(ChainError::Time("a `boot` record inside a boot"));
                }
            }
            Some(_) if self.left.contains(&record.boot) => {
                return Err(ChainError::Time("its boot was left before"));
            }
            Some(_) if !matches!(record.body, Body::Boot(_)) => {
                return Err(ChainError::Time("a new boot starts without a `boot` record"));
            }
            _ => {}
        }
        if let (Some(newest), Some(now), false) = (self.newest, record.time, is_clock)
            && now.millis() + TOLERANCE < newest.millis()
        {
            return Err(ChainError::Time("its time is before that of earlier records, without a `clock` record"));
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Boot, Clock, Open};

    const A: Token = Token([1; 8]);
    const B: Token = Token([2; 8]);

    fn open() -> Body {
        Body::Open(Open { format: 1, key: Digest::default(), lab: true, origin: "o.example/gw".into() })
    }

    fn boot() -> Body {
        Body::Boot(Boot { reason: "power".into(), software: "1".into() })
    }

    fn clock() -> Body {
        Body::Clock(Clock { source: "ntp".into(), step_ms: 0 })
    }

    fn report() -> Body {
        let time = Time::from_millis;
        let (from, to) = (time(0).unwrap(), time(1).unwrap());
        Body::Report(crate::record::Report { details: Digest::default(), from, report: Digest::default(), to })
    }

    /// Takes records of (kind, boot, mono, time in ms) and gives what the last one got.
    fn run(steps: &[(Body, Token, u64, Option<i64>)]) -> Result<(), ChainError> {
        let mut chain = Chain::new(0, None, None);
        let mut result = Ok(());
        for (body, boot, mono, time) in steps {
            assert_eq!(result, Ok(()), "only the last step may fail");
            let record = Record {
                body: body.clone(),
                boot: *boot,
                gw: "gw".into(),
                mono: *mono,
                prev: chain.prev().unwrap(),
                seq: chain.next(),
                time: time.map(|millis| Time::from_millis(1_000_000_000 + millis).unwrap()),
                v: 1,
            };
            result = chain.take(&record, &record.bytes()).map(drop);
        }
        result
    }

    #[test]
    fn clock_that_was_set_stays_set_until_the_next_boot() {
        let start =
            [(open(), A, 5, None), (report(), A, 9, None), (clock(), A, 10, Some(0)), (report(), A, 20, Some(10))];
        assert_eq!(run(&start), Ok(()));
        assert!(run(&[&start[..], &[(report(), A, 30, None)]].concat()).is_err());
        assert_eq!(run(&[&start[..], &[(boot(), B, 3, None)]].concat()), Ok(()));
    }

    #[test]
    fn monotonic_time_never_falls_and_boots_never_return() {
        assert!(run(&[(open(), A, 5, None), (report(), A, 4, None)]).is_err());
        assert!(run(&[(open(), A, 5, None), (report(), B, 6, None)]).is_err(), "a boot starts with its record");
        assert!(run(&[(open(), A, 5, None), (boot(), A, 6, None)]).is_err());
        assert!(run(&[(open(), A, 5, None), (boot(), B, 0, None), (boot(), A, 9, None)]).is_err());
    }

    #[test]
    fn stepped_clock_needs_its_record() {
        let start = [(open(), A, 0, Some(0))];
        let then = |body: Body, mono, time| run(&[&start[..], &[(body, A, mono, Some(time))]].concat());
        assert_eq!(then(report(), 1_000_000, 1_003_000), Ok(()), "a thousandth and two seconds");
        assert!(then(report(), 1_000_000, 1_003_001).is_err());
        assert!(then(report(), 1_000_000, 996_999).is_err());
        assert_eq!(then(clock(), 1_000_000, 5), Ok(()));
    }

    #[test]
    fn time_never_falls_between_boots_without_a_clock_record() {
        let start = [(open(), A, 0, Some(100_000))];
        assert!(run(&[&start[..], &[(boot(), B, 0, Some(97_999))]].concat()).is_err());
        assert_eq!(run(&[&start[..], &[(boot(), B, 0, Some(98_000))]].concat()), Ok(()));
        let corrected =
            [&start[..], &[(boot(), B, 0, None), (clock(), B, 1, Some(50)), (report(), B, 2, Some(51))]].concat();
        assert_eq!(run(&corrected), Ok(()), "a clock that ran ahead is corrected once and for all");
    }
}
