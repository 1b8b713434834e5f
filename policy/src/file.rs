//! The compiled file: header, sections, digests.
//!
//! A header of 4096 octets names the sections; each starts at a multiple of 4096. After the last one come the SHA-256
//! digests of the body's chunks of 256 KiB and the digest of the header, which holds the digest of those digests: so
//! the header's digest stands for every octet, and chunks can be checked side by side. A signature over it may follow.
//! All numbers are little-endian.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use sha2::{Digest, Sha256};

use crate::{map::Map, memo::Memo};

pub(crate) const MAGIC: &[u8; 16] = b"sheshi policy\r\n\0";
/// Version of this format.
const VERSION: u32 = 1;
const PAGE: usize = 4096;
const CHUNK: usize = 256 * 1024;
/// Records that take more than this are read from the file when needed instead of being mapped: they would become
/// resident page by page.
const MAPPED: u64 = 16 << 20;

/// The sections, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Buckets of the table of names.
    Hot,
    /// Records of the table of names.
    Cold,
    /// Sets of atoms.
    Sets,
    /// Everything small, as JSON.
    Meta,
    /// Sorted digests of hashed lists.
    Hashed,
    /// Ranges of addresses.
    Addresses,
    /// Line numbers, for explanations only.
    Lines,
}

const SECTIONS: usize = 7;

/// What stands before a signature.
pub(crate) const SIGNATURE_MARK: &[u8; 16] = b"sheshi signature";
const SIGNATURE: usize = SIGNATURE_MARK.len() + 64;

/// Why a compiled policy was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("reading compiled policy {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else, or of another version.
    #[error("loading compiled policy: not one that this version reads: {0}; make it again with `sheshi compile`")]
    Format(String),
    /// It is not signed as it should be.
    #[error("checking the signature of a compiled policy: {0}")]
    Signature(&'static str),
    /// Its octets are not those that were written.
    #[error("loading compiled policy: damaged: {0}; copy it again or make it again with `sheshi compile`")]
    Damaged(&'static str),
}

/// Puts sections together.
pub(crate) fn write(generation: u64, sections: [Vec<u8>; SECTIONS]) -> Vec<u8> {
    let total: usize = sections.iter().map(|section| section.len().next_multiple_of(PAGE)).sum();
    let mut file = Vec::with_capacity(PAGE + total + total / CHUNK * 32 + 128);
    file.resize(PAGE, 0);
    for (number, section) in sections.into_iter().enumerate() {
        let at = 96 + 16 * number;
        let (start, length) = (file.len() as u64, section.len() as u64);
        file[at..at + 8].copy_from_slice(&start.to_le_bytes());
        file[at + 8..at + 16].copy_from_slice(&length.to_le_bytes());
        file.extend(section);
        file.resize(file.len().next_multiple_of(PAGE), 0);
    }
    let body = file.len() as u64;
    let digests: Vec<u8> = file[PAGE..].chunks(CHUNK).flat_map(Sha256::digest).collect();
    file[..16].copy_from_slice(MAGIC);
    file[16..20].copy_from_slice(&VERSION.to_le_bytes());
    file[24..32].copy_from_slice(&generation.to_le_bytes());
    file[32..40].copy_from_slice(&body.to_le_bytes());
    file[48..80].copy_from_slice(&Sha256::digest(&digests));
    let header = Sha256::digest(&file[..PAGE]);
    file.extend(digests);
    file.extend(header);
    file
}

/// A compiled file, its octets checked.
pub(crate) struct Checked {
    octets: Octets,
    sections: [Range<usize>; SECTIONS],
    pub(crate) generation: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) signature: Option<[u8; 64]>,
}

enum Octets {
    Memory(Vec<u8>),
    /// `memo` where records are read from the file.
    Mapped {
        map: Map,
        file: File,
        memo: Option<Memo>,
    },
}

impl Checked {
    /// Maps a file and checks it by ordinary reads, so that checking makes no page resident.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let reader = Reader { length, read: &|at, space: &mut [u8]| file.read_exact_at(space, at) };
        let head = reader.check()?;
        let map = Map::new(&file).map_err(read)?;
        let (_, records) = head.sections[Section::Cold as usize];
        let memo = (records > MAPPED).then(Memo::new);
        Self::new(head, Octets::Mapped { map, file, memo })
    }

    /// Checks a file that is in memory.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, LoadError> {
        let copy = |at: u64, space: &mut [u8]| {
            let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..space.len()));
            space.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        let head = Reader { length: bytes.len() as u64, read: &copy }.check()?;
        Self::new(head, Octets::Memory(bytes))
    }

    fn new(head: Head, octets: Octets) -> Result<Self, LoadError> {
        let Head { generation, digest, signature, body, sections } = head;
        let mut ranges = [const { 0..0 }; SECTIONS];
        for (range, (start, length)) in ranges.iter_mut().zip(sections) {
            let end = start.checked_add(length).filter(|&end| start >= PAGE as u64 && end <= body);
            let end = end.ok_or(LoadError::Damaged("a section lies outside the file"))?;
            *range = start as usize..end as usize;
        }
        Ok(Self { octets, sections: ranges, generation, digest, signature })
    }

    /// The octets of a section.
    pub(crate) fn section(&self, section: Section) -> &[u8] {
        let all = match &self.octets {
            Octets::Memory(bytes) => bytes,
            Octets::Mapped { map, .. } => map.octets(),
        };
        all.get(self.sections[section as usize].clone()).unwrap_or_default()
    }

    /// The records of the table of names.
    pub(crate) fn cold(&self) -> crate::table::Cold<'_> {
        let range = &self.sections[Section::Cold as usize];
        let length = range.len() as u64;
        match &self.octets {
            Octets::Mapped { file, memo: Some(memo), .. } => {
                crate::table::Cold::File { file, start: range.start as u64, length, memo }
            }
            _ => crate::table::Cold::Memory(self.section(Section::Cold)),
        }
    }
}

struct Head {
    generation: u64,
    digest: [u8; 32],
    signature: Option<[u8; 64]>,
    body: u64,
    sections: [(u64, u64); SECTIONS],
}

struct Reader<'a> {
    length: u64,
    read: &'a (dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync),
}

impl Reader<'_> {
    fn check(&self) -> Result<Head, LoadError> {
        let mut header = [0; PAGE];
        self.fill(0, &mut header).map_err(|_| LoadError::Format("too short".to_owned()))?;
        if header[..16] != *MAGIC {
            return Err(LoadError::Format("not a compiled policy".to_owned()));
        }
        let version = word(&header, 16) as u32;
        if version != VERSION {
            return Err(LoadError::Format(format!("format version {version}, want {VERSION}")));
        }
        let body = word(&header, 32);
        let chunks = body.saturating_sub(PAGE as u64).div_ceil(CHUNK as u64);
        let end = 32 * chunks + 32;
        let after = self.length.checked_sub(body).and_then(|rest| rest.checked_sub(end));
        let signed = match after {
            Some(0) if body >= PAGE as u64 => false,
            Some(after) if body >= PAGE as u64 && after == SIGNATURE as u64 => true,
            _ => return Err(LoadError::Damaged("cut short or too long")),
        };
        let mut digests = vec![0; end as usize];
        self.fill(body, &mut digests)?;
        let signature = if signed { Some(self.signature(body + end)?) } else { None };
        let digest: [u8; 32] = Sha256::digest(header).into();
        let (digests, stored) = digests.split_at(32 * chunks as usize);
        if stored != digest || Sha256::digest(digests)[..] != header[48..80] {
            return Err(LoadError::Damaged("the header's digest is wrong"));
        }
        self.check_body(body, digests)?;
        let section = |number| (word(&header, 96 + 16 * number), word(&header, 104 + 16 * number));
        Ok(Head { generation: word(&header, 24), digest, signature, body, sections: std::array::from_fn(section) })
    }

    fn signature(&self, at: u64) -> Result<[u8; 64], LoadError> {
        let mut block = [0; SIGNATURE];
        self.fill(at, &mut block)?;
        let value = block.strip_prefix(SIGNATURE_MARK).and_then(|value| value.first_chunk());
        value.copied().ok_or(LoadError::Damaged("what follows the digests is no signature"))
    }

    /// Checks all chunks, on as many threads as there are processors: half the time to be ready on two.
    fn check_body(&self, body: u64, digests: &[u8]) -> Result<(), LoadError> {
        let next = AtomicU64::new(0);
        let sound = AtomicBool::new(true);
        let work = || {
            let mut space = vec![0; CHUNK];
            while sound.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(expected) = digests.get(32 * number as usize..).and_then(|rest| rest.get(..32)) else {
                    return;
                };
                let start = PAGE as u64 + number * CHUNK as u64;
                let space = &mut space[..(body - start).min(CHUNK as u64) as usize];
                if self.fill(start, space).is_err() || Sha256::digest(&space)[..] != *expected {
                    sound.store(false, Ordering::Relaxed);
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(digests.len() / 32 / 16).clamp(1, 4);
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        if sound.into_inner() { Ok(()) } else { Err(LoadError::Damaged("a chunk's digest is wrong")) }
    }

    fn fill(&self, at: u64, space: &mut [u8]) -> Result<(), LoadError> {
        (self.read)(at, space).map_err(|_| LoadError::Damaged("it cannot be read to its end"))
    }
}

fn word(header: &[u8; PAGE], at: usize) -> u64 {
    header.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut number = 0;
        let sections = std::array::from_fn(|_| {
            number += 1;
            vec![number as u8; number * 1000]
        });
        write(42, sections)
    }

    #[test]
    fn sections_are_read_back_from_memory_and_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy");
        std::fs::write(&path, file()).unwrap();
        for checked in [Checked::from_bytes(file()).unwrap(), Checked::open(&path).unwrap()] {
            assert_eq!(checked.generation, 42);
            assert_eq!(checked.section(Section::Hot), [1; 1000]);
            assert_eq!(checked.section(Section::Lines), [7; 7000]);
        }
    }

    #[test]
    fn file_with_one_changed_octet_is_refused() {
        let good = file();
        for at in (0..good.len()).step_by(97).chain(0..128).chain(good.len() - 64..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Checked::from_bytes(bad).is_err(), "octet {at}");
        }
    }

    #[test]
    fn file_that_is_cut_or_longer_is_refused() {
        let good = file();
        for length in (0..good.len()).step_by(61) {
            assert!(Checked::from_bytes(good[..length].to_vec()).is_err(), "length {length}");
        }
        assert!(Checked::from_bytes([&good[..], &[0]].concat()).is_err());
        assert!(Checked::from_bytes(Vec::new()).is_err());
    }

    #[test]
    fn missing_file_is_named() {
        let error = Checked::open(Path::new("/nonexistent/policy")).err().unwrap();
        assert!(error.to_string().starts_with("reading compiled policy /nonexistent/policy: "), "{error}");
    }
}
