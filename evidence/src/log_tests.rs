use std::sync::{Arc, Mutex};

use super::*;
use crate::record::Clock;

const BOOT: Token = Token([7; 8]);

fn open() -> Open {
    Open { format: 1, key: Digest::of(b"key"), lab: true, origin: "wifi.example/gw-1".into() }
}

fn stamp(mono: u64) -> Stamp {
    Stamp { boot: BOOT, mono, time: Time::from_millis(1_700_000_000_000 + i64::try_from(mono).unwrap()) }
}

fn body(n: u64) -> Body {
    Body::Clock(Clock { source: format!("step {n}"), step_ms: 0 })
}

fn sources(log: &Log) -> Vec<String> {
    let source = |record: Result<Record, Error>| match record.unwrap().body {
        Body::Clock(clock) => Some(clock.source),
        _ => None,
    };
    log.records_from(0).unwrap().filter_map(source).collect()
}

/// A disk that keeps what is not synced apart, and dies at a given operation, leaving a part of it.
#[derive(Clone)]
struct Dying(Arc<Mutex<Fate>>);

struct Fate {
    /// Operations left to do.
    left: u64,
    /// What the last one does.
    end: End,
    dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The power goes: of what was not synced this share (of 4) stays, and nothing works any more.
    Power(usize),
    /// The process is killed: what was written stays, a part (of 4) of the last write too.
    Kill(usize),
    /// One operation fails, the next ones work: a full disk.
    Once,
    /// One operation and all later ones fail: a broken disk.
    Forever,
}

struct DyingTape {
    fate: Arc<Mutex<Fate>>,
    file: File,
    unsynced: Vec<u8>,
}

enum Step {
    Go,
    Last(End),
    Dead,
}

fn step(fate: &Mutex<Fate>) -> Step {
    let mut fate = fate.lock().unwrap();
    if fate.dead {
        return Step::Dead;
    }
    match fate.left.checked_sub(1) {
        Some(left) => fate.left = left,
        None => {
            fate.dead = fate.end != End::Once;
            fate.left = u64::MAX;
            return Step::Last(fate.end);
        }
    }
    Step::Go
}

fn gone() -> io::Error {
    io::Error::other("the disk is gone")
}

impl Disk for Dying {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Box::new(DyingTape { fate: self.0.clone(), file, unsynced: Vec::new() }))
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DyingTape {
    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.unsynced);
        self.file.write_all(&bytes)
    }
}

impl Tape for DyingTape {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match step(&self.fate) {
            Step::Go => {
                self.unsynced.extend(bytes);
                Ok(())
            }
            Step::Last(End::Power(share)) => {
                self.unsynced.extend(bytes);
                self.unsynced.truncate(self.unsynced.len() * share / 4);
                self.flush()?;
                Err(gone())
            }
            Step::Last(End::Kill(share)) => {
                self.unsynced.extend(&bytes[..bytes.len() * share / 4]);
                self.flush()?;
                Err(gone())
            }
            Step::Last(End::Once | End::Forever) => {
                // A full disk takes a part of the write before it refuses.
                self.unsynced.extend(&bytes[..bytes.len() / 2]);
                self.flush()?;
                Err(io::ErrorKind::StorageFull.into())
            }
            Step::Dead => Err(gone()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match step(&self.fate) {
            Step::Go => self.flush(),
            Step::Last(End::Power(share)) => {
                self.unsynced.truncate(self.unsynced.len() * share / 4);
                self.flush()?;
                Err(gone())
            }
            Step::Last(_) => {
                self.flush()?;
                Err(gone())
            }
            Step::Dead => Err(gone()),
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        match step(&self.fate) {
            Step::Go => {
                self.flush()?;
                self.file.set_len(length)
            }
            Step::Last(_) | Step::Dead => Err(gone()),
        }
    }
}

#[test]
fn what_was_acknowledged_survives_an_end_at_every_operation() {
    let ends = [0, 1, 2, 3, 4].into_iter().flat_map(|share| [End::Power(share), End::Kill(share)]);
    for end in ends.chain([End::Once, End::Forever]) {
        // One cut and four operations a record; six records.
        for left in 0..26 {
            let folder = tempfile::tempdir().unwrap();
            let disk = Dying(Arc::new(Mutex::new(Fate { left, end, dead: false })));
            let mut acknowledged = Vec::new();
            let mut tried = Vec::new();
            let mut created = false;
            if let Ok(mut log) = Log::create_on(Box::new(disk), folder.path(), "gw-1", open(), stamp(0)) {
                created = true;
                for n in 1..6 {
                    tried.push(format!("step {n}"));
                    if log.append(body(n), stamp(n)).is_ok() {
                        acknowledged.push(format!("step {n}"));
                    }
                }
                if end == End::Once {
                    assert!(acknowledged.len() >= 4, "one failure of the disk costs one record: {acknowledged:?}");
                }
            }
            let reopened = Log::open(folder.path());
            if !created {
                // Nothing was promised; a log that cannot be opened can be made again.
                if reopened.is_err() {
                    drop(reopened);
                    Log::create(folder.path(), "gw-1", open(), stamp(0)).unwrap();
                }
                continue;
            }
            let (mut log, _) = reopened.unwrap_or_else(|error| panic!("{end:?} after {left}: {error}"));
            let found = sources(&log);
            let kept: Vec<_> = found.iter().filter(|source| acknowledged.contains(source)).cloned().collect();
            assert_eq!(kept, acknowledged, "{end:?} after {left}");
            assert!(found.iter().all(|source| tried.contains(source)), "{end:?} after {left}");
            assert!(found.len() <= acknowledged.len() + 1, "{end:?} after {left}");
            log.append(body(9), stamp(9)).unwrap();
            let root = log.root();
            assert_eq!(log.tree().unwrap().root(log.len()), root);
            drop(log);
            assert_eq!(Log::open(folder.path()).unwrap().0.root(), root);
        }
    }
}

fn log_of(folder: &Path, records: u64) -> Log {
    let mut log = Log::create(folder, "gw-1", open(), stamp(0)).unwrap();
    (1..records).for_each(|n| drop(log.append(body(n), stamp(n)).unwrap()));
    log
}

#[test]
fn torn_end_is_cut_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    drop(log_of(folder.path(), 4));
    let path = segment_path(folder.path(), 0);
    File::options().append(true).open(&path).unwrap().write_all(b"{\"body\":{\"cl").unwrap();
    let (log, recovery) = Log::open(folder.path()).unwrap();
    assert_eq!(recovery, Recovery { cut_bytes: 12, kept_records: 0 });
    assert_eq!(sources(&log), ["step 1", "step 2", "step 3"]);
}

#[test]
fn damage_to_an_acknowledged_record_is_told_and_not_mended() {
    let folder = tempfile::tempdir().unwrap();
    drop(log_of(folder.path(), 4));
    let path = segment_path(folder.path(), 0);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let error = Log::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "byte {at}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bad, "nothing is changed");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(Log::open(folder.path()).is_err(), "a lost end of what was acknowledged");
}

#[test]
fn leaf_cut_off_in_writing_is_made_again_and_a_damaged_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    drop(log_of(folder.path(), 4));
    let path = folder.path().join(LEAVES);
    let good = fs::read(&path).unwrap();
    for left in good.len() - ENTRY..good.len() {
        fs::write(&path, &good[..left]).unwrap();
        let (_, recovery) = Log::open(folder.path()).unwrap();
        assert_eq!(recovery.kept_records, 1);
        assert_eq!(fs::read(&path).unwrap(), good);
    }
    let mut bad = good.clone();
    bad[ENTRY] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert!(matches!(Log::open(folder.path()), Err(Error::Damaged { seq: 1, .. })));
}

#[test]
fn second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path(), 2);
    assert!(matches!(Log::open(folder.path()), Err(Error::LogBusy(_))));
    drop(log);
    assert!(Log::open(folder.path()).is_ok());
}

#[test]
fn log_is_never_begun_twice() {
    let folder = tempfile::tempdir().unwrap();
    drop(log_of(folder.path(), 2));
    assert!(matches!(Log::create(folder.path(), "gw-1", open(), stamp(0)), Err(Error::LogExists(_))));
}

#[test]
fn record_that_breaks_a_rule_is_refused_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log_of(folder.path(), 3);
    assert!(matches!(log.append(body(9), stamp(1)), Err(Error::BadRecord(_))), "monotonic time falls");
    let long = Body::Clock(Clock { source: "x".repeat(3_000), step_ms: 0 });
    assert!(matches!(log.append(long, stamp(5)), Err(Error::BadRecord(_))));
    assert!(log.append(body(3), stamp(3)).is_ok());
}

#[test]
fn segments_follow_each_other_and_old_ones_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log_of(folder.path(), 3);
    log.length = SEGMENT;
    log.append(body(3), stamp(3)).unwrap();
    log.length = SEGMENT;
    log.append(body(4), stamp(4)).unwrap();
    let root = log.root();
    drop(log);
    let (log, _) = Log::open(folder.path()).unwrap();
    assert_eq!(log.root(), root);
    assert_eq!(sources(&log), ["step 1", "step 2", "step 3", "step 4"]);
    assert_eq!(log.records_from(3).unwrap().map(|record| record.unwrap().seq).collect::<Vec<_>>(), [3, 4]);
    fs::remove_file(segment_path(folder.path(), 3)).unwrap();
    drop(log);
    let (log, _) = Log::open(folder.path()).unwrap();
    assert_eq!(log.root(), root);
    assert_eq!(log.records_from(1).unwrap().map(|record| record.unwrap().seq).collect::<Vec<_>>(), [1, 2, 4]);
}

#[test]
fn segment_begun_without_a_record_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    drop(log_of(folder.path(), 3));
    File::create(segment_path(folder.path(), 3)).unwrap();
    let (mut log, recovery) = Log::open(folder.path()).unwrap();
    assert_eq!(recovery, Recovery::default());
    log.append(body(3), stamp(3)).unwrap();
    drop(log);
    assert_eq!(sources(&Log::open(folder.path()).unwrap().0), ["step 1", "step 2", "step 3"]);
}
