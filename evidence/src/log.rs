//! The log on disk: append-only, acknowledged means on disk, one writer.
//!
//! A folder holds `records-<first number>.jsonl` segments, and `leaves`, the leaf hash of each record and four
//! bytes that show the hash was written whole. A record is written and synced, then its leaf; so what `leaves` counts was
//! acknowledged, and damage there is told, never mended.
//! Segments may be deleted when their time is over, all but the first, which names the log: proofs need only the leaves.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Digest, Error, Time, Token,
    chain::Chain,
    merkle::{Range, Tree},
    note::Checkpoint,
    record::{Body, Open, Record},
    sign::SecretKey,
};

/// A segment is left for a new one beyond this length.
const SEGMENT: u64 = 8 << 20;
const LEAVES: &str = "leaves";
/// A leaf hash and the first bytes of its own hash.
const ENTRY: usize = 36;

/// Where a record stands in time, read by the caller: this room reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Drawn when the device started.
    pub boot: Token,
    /// Milliseconds since then.
    pub mono: u64,
    /// Wall time; `None` until the clock is set.
    pub time: Option<Time>,
}

/// A gateway's log, open for writing.
pub struct Log {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    records: Box<dyn Tape>,
    /// Length of the current segment.
    length: u64,
    leaves: Box<dyn Tape>,
    chain: Chain,
    range: Range,
    origin: String,
    /// Set when the disk refused in a way that leaves its content unknown.
    broken: bool,
    segment: u64,
    _lock: File,
}

/// What opening had to mend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of a record that was never acknowledged, cut off.
    pub cut_bytes: u64,
    /// Whole records that were written but whose acknowledgement was not; kept.
    pub kept_records: u64,
}

/// What the log needs of a disk; tests put one that fails in its place.
pub(crate) trait Disk: Send {
    /// Opens a file for appending, and makes it when it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>>;
    /// Makes new names in a folder last.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// One file that grows.
pub(crate) trait Tape: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

struct RealDisk;

/// Acknowledges before the disk has it: for measuring with years that were never lived, not for gateways.
struct HastyDisk;

struct HastyTape(File);

impl Disk for HastyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        Ok(Box::new(HastyTape(File::options().append(true).create(true).open(path)?)))
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Tape for HastyTape {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        Ok(Box::new(File::options().append(true).create(true).open(path)?))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl Tape for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl Log {
    /// Starts a new log in a folder that has none, with its record 0.
    ///
    /// # Errors
    /// When the folder has a log, or cannot be written.
    pub fn create(folder: &Path, gw: &str, open: Open, stamp: Stamp) -> Result<Self, Error> {
        Self::create_on(Box::new(RealDisk), folder, gw, open, stamp)
    }

    /// As [`Self::create`], but nothing is synced: for measuring with a log of years, which nobody relies on.
    ///
    /// # Errors
    /// As [`Self::create`].
    #[doc(hidden)]
    pub fn create_unsynced(folder: &Path, gw: &str, open: Open, stamp: Stamp) -> Result<Self, Error> {
        Self::create_on(Box::new(HastyDisk), folder, gw, open, stamp)
    }

    fn create_on(disk: Box<dyn Disk>, folder: &Path, gw: &str, open: Open, stamp: Stamp) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|error| Error::disk("make the log's folder", folder, error))?;
        let lock = lock(folder)?;
        // What a start that was cut off left behind holds nothing acknowledged: no leaf was written.
        let begun = fs::metadata(folder.join(LEAVES)).is_ok_and(|leaves| leaves.len() >= ENTRY as u64);
        if begun || segments(folder)?.len() > 1 {
            return Err(Error::LogExists(folder.into()));
        }
        for leftover in segments(folder)? {
            let path = segment_path(folder, leftover);
            fs::remove_file(&path)
                .map_err(|error| Error::disk("remove the rest of a start that was cut off", &path, error))?;
        }
        let mut log = Self::start(disk, folder, lock, Chain::new(0, None, Some(gw.to_owned())), Range::default(), 0)?;
        log.origin.clone_from(&open.origin);
        log.leaves.cut(0).map_err(|error| Error::disk("empty", &folder.join(LEAVES), error))?;
        log.append(Body::Open(open), stamp)?;
        Ok(log)
    }

    fn start(
        disk: Box<dyn Disk>,
        folder: &Path,
        lock: File,
        chain: Chain,
        range: Range,
        segment: u64,
    ) -> Result<Self, Error> {
        let path = segment_path(folder, segment);
        let records = disk.open(&path).map_err(|error| Error::disk("open the segment", &path, error))?;
        let leaves_path = folder.join(LEAVES);
        let leaves = disk.open(&leaves_path).map_err(|error| Error::disk("open the leaves", &leaves_path, error))?;
        disk.sync_folder(folder).map_err(|error| Error::disk("sync the log's folder", folder, error))?;
        let length = fs::metadata(&path).map_or(0, |file| file.len());
        Ok(Self {
            folder: folder.into(),
            disk,
            records,
            length,
            leaves,
            chain,
            range,
            origin: String::new(),
            broken: false,
            segment,
            _lock: lock,
        })
    }

    /// Opens a log, checks its last segment and mends what was never acknowledged.
    ///
    /// # Errors
    /// When there is none, another writer has it, or what was acknowledged is damaged.
    pub fn open(folder: &Path) -> Result<(Self, Recovery), Error> {
        Self::open_on(Box::new(RealDisk), folder)
    }

    fn open_on(disk: Box<dyn Disk>, folder: &Path) -> Result<(Self, Recovery), Error> {
        if !folder.is_dir() {
            return Err(Error::NoLog(folder.into()));
        }
        let lock = lock(folder)?;
        let mut leaves = read_leaves(folder)?;
        let all = segments(folder)?;
        let mut recovery = Recovery::default();
        let Some((&segment, earlier)) = all.split_last() else { return Err(Error::NoLog(folder.into())) };
        // A segment that was begun and got no record tells nothing; the rules of time need the one before.
        let empty = fs::metadata(segment_path(folder, segment)).is_ok_and(|file| file.len() == 0);
        let first = if empty { earlier.last().copied().unwrap_or(segment) } else { segment };
        let prev = first.checked_sub(1).and_then(|before| leaves.get(before as usize).copied());
        if first > 0 && prev.is_none() {
            return Err(Error::damaged(folder, first, "its leaf hash is lost"));
        }
        let mut chain = Chain::new(first, prev, None);
        let scanned: &[u64] = if first == segment { &[segment] } else { &[first, segment] };
        for &number in scanned {
            recovery.cut_bytes += scan(folder, number, &mut chain, &mut leaves, &mut recovery.kept_records)?;
        }
        if chain.next() < leaves.len() as u64 {
            return Err(Error::damaged(folder, chain.next(), "it was acknowledged and is not there"));
        }
        if leaves.is_empty() {
            return Err(Error::NoLog(folder.into()));
        }
        let mut range = Range::default();
        leaves.iter().for_each(|leaf| range.push(*leaf));
        let mut log = Self::start(disk, folder, lock, chain, range, segment)?;
        log.write_leaves(&leaves)?;
        log.origin = log.read_origin()?;
        Ok((log, recovery))
    }

    /// Brings `leaves` up to what the records say.
    fn write_leaves(&mut self, leaves: &[Digest]) -> Result<(), Error> {
        let path = self.folder.join(LEAVES);
        let on_disk = fs::read(&path).map_err(|error| Error::disk("read the leaves", &path, error))?;
        let want: Vec<u8> = leaves.iter().flat_map(|leaf| entry(*leaf)).collect();
        if on_disk == want {
            return Ok(());
        }
        // Only the last one can differ: `read_leaves` and `scan` refused anything else.
        let keep = (want.len().min(on_disk.len()) / ENTRY).saturating_sub(1) * ENTRY;
        let mend = self.leaves.cut(keep as u64).and_then(|()| self.leaves.append(&want[keep..]));
        mend.and_then(|()| self.leaves.sync()).map_err(|error| Error::disk("complete the leaves", &path, error))
    }

    fn read_origin(&self) -> Result<String, Error> {
        match self.records_from(0)?.next() {
            Some(Ok(Record { body: Body::Open(open), .. })) => Ok(open.origin),
            _ => Err(Error::damaged(&self.folder, 0, "the first segment must stay, it names the log")),
        }
    }

    /// Writes a record; when this returns, it is on disk.
    ///
    /// # Errors
    /// When the record breaks a rule of the format (nothing is written), or the disk refuses: then the record is taken
    /// back, or, where that fails too, the log refuses to go on until it is opened again.
    pub fn append(&mut self, body: Body, stamp: Stamp) -> Result<Record, Error> {
        if self.broken {
            return Err(Error::LogBroken(self.folder.clone()));
        }
        let record = Record {
            body,
            boot: stamp.boot,
            gw: self.chain.gateway().unwrap_or_default().to_owned(),
            mono: stamp.mono,
            prev: self.chain.prev().unwrap_or_default(),
            seq: self.chain.next(),
            time: stamp.time,
            v: 1,
        };
        record.check()?;
        let mut line = record.bytes();
        if line.len() > crate::record::MAX_RECORD {
            return Err(Error::BadRecord("longer than 65 536 bytes".into()));
        }
        let mut chain = self.chain.clone();
        let leaf = chain.take(&record, &line).map_err(|error| Error::BadRecord(error.to_string()))?;
        if self.length >= SEGMENT {
            self.next_segment(record.seq)?;
        }
        line.push(b'\n');
        let written = self
            .records
            .append(&line)
            .and_then(|()| self.records.sync())
            .and_then(|()| self.leaves.append(&entry(leaf)))
            .and_then(|()| self.leaves.sync());
        if let Err(error) = written {
            // A failed sync leaves in doubt only what was just written: that is cut off, and the cut synced, or we stop.
            let (length, leaves) = (self.length, self.range.len() * ENTRY as u64);
            let taken_back = self.leaves.cut(leaves).and_then(|()| self.leaves.sync()).and_then(|()| {
                self.records.cut(length)?;
                self.records.sync()
            });
            self.broken = taken_back.is_err();
            return Err(Error::disk("write a record", &segment_path(&self.folder, self.segment), error));
        }
        self.length += line.len() as u64;
        self.range.push(leaf);
        self.chain = chain;
        Ok(record)
    }

    fn next_segment(&mut self, first: u64) -> Result<(), Error> {
        let path = segment_path(&self.folder, first);
        let begun = self.disk.open(&path).and_then(|tape| self.disk.sync_folder(&self.folder).map(|()| tape));
        self.records = begun.map_err(|error| Error::disk("begin a segment", &path, error))?;
        self.segment = first;
        self.length = 0;
        Ok(())
    }

    /// How many records there are.
    pub fn len(&self) -> u64 {
        self.range.len()
    }

    /// Whether there are none; never, once made.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The log's name in its checkpoints.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The signed size and root of all records.
    pub fn checkpoint(&self, key: &SecretKey) -> String {
        Checkpoint { origin: self.origin.clone(), size: self.len(), root: self.range.root() }.sign(key)
    }

    /// Root of all records.
    pub fn root(&self) -> Digest {
        self.range.root()
    }

    /// All leaf hashes, for proofs; 64 bytes of memory a record.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tree(&self) -> Result<Tree, Error> {
        let mut tree = Tree::default();
        read_leaves(&self.folder)?.into_iter().take(self.len() as usize).for_each(|leaf| tree.push(leaf));
        Ok(tree)
    }

    /// Reads records, in order, from a number on; skips to what is still there when old segments were deleted.
    ///
    /// # Errors
    /// When the folder cannot be read; each record may fail by itself.
    pub fn records_from(&self, first: u64) -> Result<impl Iterator<Item = Result<Record, Error>> + use<>, Error> {
        let segments = segments(&self.folder)?;
        let begin = segments.partition_point(|segment| *segment <= first).saturating_sub(1);
        let folder = self.folder.clone();
        let end = self.len();
        let lines = segments.into_iter().skip(begin).flat_map(move |segment| {
            let path = segment_path(&folder, segment);
            let (lines, failed) = match File::open(&path) {
                Ok(file) => (Some(BufReader::new(file).split(b'\n')), None),
                Err(error) => (None, Some(Err(error))),
            };
            let path = path.clone();
            failed.into_iter().chain(lines.into_iter().flatten()).map(move |line| {
                let line = line.map_err(|error| Error::disk("read", &path, error))?;
                Record::parse(&line)
            })
        });
        Ok(lines.filter(move |record| !record.as_ref().is_ok_and(|record| record.seq < first || record.seq >= end)))
    }
}

fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("records-{first:016}.jsonl"))
}

fn segments(folder: &Path) -> Result<Vec<u64>, Error> {
    let failed = |error| Error::disk("list the log's folder", folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("records-")?.strip_suffix(".jsonl")?.parse::<u64>().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| Error::disk("open", &path, error))?;
    // A child that another thread has forked and that has not called exec yet holds a copy of a lock just given back.
    for wait in (0..10).map(|_| Duration::from_millis(20)) {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(wait),
            Err(fs::TryLockError::Error(error)) => return Err(Error::disk("lock", &path, error)),
        }
    }
    Err(Error::LogBusy(folder.into()))
}

fn entry(leaf: Digest) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..32].copy_from_slice(&leaf.0);
    entry[32..].copy_from_slice(&Digest::of(&leaf.0).0[..ENTRY - 32]);
    entry
}

fn read_leaves(folder: &Path) -> Result<Vec<Digest>, Error> {
    let path = folder.join(LEAVES);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::disk("read the leaves", &path, error)),
    };
    let mut leaves = Vec::with_capacity(bytes.len() / ENTRY);
    for (at, chunk) in bytes.chunks(ENTRY).enumerate() {
        let leaf = chunk.first_chunk().map(|leaf| Digest(*leaf));
        match leaf.filter(|leaf| entry(*leaf) == chunk) {
            Some(leaf) => leaves.push(leaf),
            // The last one was cut off in writing: its record was not acknowledged.
            None if (at + 1) * ENTRY >= bytes.len() => {}
            None => return Err(Error::damaged(folder, at as u64, "its leaf hash is damaged")),
        }
    }
    Ok(leaves)
}

/// Reads a segment, compares it with the leaves, adds leaves that are missing, cuts a torn end; gives the bytes cut.
fn scan(folder: &Path, number: u64, chain: &mut Chain, leaves: &mut Vec<Digest>, kept: &mut u64) -> Result<u64, Error> {
    let path = segment_path(folder, number);
    let bytes = fs::read(&path).map_err(|error| Error::disk("read the segment", &path, error))?;
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let seq = chain.next();
        let taken = line.strip_suffix(b"\n").ok_or_else(|| "its line has no end".to_owned()).and_then(|line| {
            let record = Record::parse(line).map_err(|error| error.to_string())?;
            chain.take(&record, line).map_err(|error| error.to_string())
        });
        match (taken, leaves.get(seq as usize)) {
            (Ok(leaf), Some(known)) if leaf == *known => {}
            (Ok(_), Some(_)) => return Err(Error::damaged(folder, seq, "it is not the record that was acknowledged")),
            (Ok(leaf), None) => {
                leaves.push(leaf);
                *kept += 1;
            }
            (Err(what), Some(_)) => return Err(Error::damaged(folder, seq, &what)),
            (Err(_), None) => break,
        }
        good += line.len();
    }
    let cut = bytes.len() - good;
    if cut > 0 {
        let file = File::options().write(true).open(&path).map_err(|error| Error::disk("open", &path, error))?;
        file.set_len(good as u64)
            .and_then(|()| file.sync_all())
            .map_err(|error| Error::disk("cut the torn end of", &path, error))?;
    }
    Ok(cut as u64)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
