//! Bundles: a folder with everything for one report (`docs/evidence-format.md`, section 8).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Error, Time,
    details::{Reader, Terms},
    log::{Log, Stamp},
    note::Checkpoint,
    record::{Body, Outcome, Record, Report},
    report,
    rollup::{Findings, View},
    sign::SecretKey,
    statement::{Manifest, Resource, Statement},
};

/// The signed list of all others.
pub const MANIFEST: &str = "manifest.dsse.json";
/// Records in full.
pub const RECORDS: &str = "records.jsonl";
/// Single records from before.
pub const OLDER: &str = "older.jsonl";
/// Merkle proofs.
pub const PROOF: &str = "proof.json";
/// Signed size and root.
pub const CHECKPOINT: &str = "checkpoint";
/// Compliance statement.
pub const DETAILS: &str = "details.dsse.json";
/// Test-result statement.
pub const REPORT: &str = "report.dsse.json";
/// Outside: checkpoint and cosignatures.
pub const COSIGNED: &str = "checkpoint.cosigned";
/// Outside: RFC 3161 response.
pub const TIME_STAMP: &str = "checkpoint.tsr";

/// Files that the manifest lists, besides the renderings.
pub(crate) const SIGNED: [&str; 6] = [CHECKPOINT, DETAILS, OLDER, PROOF, RECORDS, REPORT];
/// Files that others add later.
pub(crate) const OUTSIDE: [&str; 2] = [COSIGNED, TIME_STAMP];
/// Largest file.
pub(crate) const MAX_FILE: u64 = 1 << 30;
/// How far before the period records are read in full: one and a half of the longest counted cadence.
const MARGIN: i64 = 90 * 60 * 1_000;

/// A bundle in memory: contents by file name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// Contents by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Merkle proofs of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// That earlier checkpoints grew into this one.
    pub earlier: Vec<Growth>,
    /// Compact range of the records before the first.
    pub left: Vec<Base64Digest>,
    /// That each older record is in the log.
    pub older: Vec<Inclusion>,
}

/// An RFC 9162 consistency proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// The proof.
    pub hashes: Vec<Base64Digest>,
    /// The earlier root.
    pub root: Base64Digest,
    /// The earlier size.
    pub size: u64,
}

/// An RFC 9162 inclusion proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// The proof.
    pub hashes: Vec<Base64Digest>,
    /// The record.
    pub seq: u64,
}

/// A hash as proofs write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base64Digest(pub Digest);

impl Serialize for Base64Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.base64())
    }
}

impl<'de> Deserialize<'de> for Base64Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Digest::from_base64(&text).map(Self).ok_or_else(|| serde::de::Error::custom("want 32 bytes in base64"))
    }
}

fn hashes(hashes: impl IntoIterator<Item = Digest>) -> Vec<Base64Digest> {
    hashes.into_iter().map(Base64Digest).collect()
}

impl Bundle {
    /// Makes the report of a period: reads the log, signs the statements, writes their digests into the log, and puts
    /// everything together. `earlier` are sizes of checkpoints whose growth into this one is to be proved.
    ///
    /// # Errors
    /// When the log cannot be read or written, or the period is not over at `stamp`.
    pub fn make(
        log: &mut Log,
        key: &SecretKey,
        terms: Terms<'_>,
        earlier: &[u64],
        stamp: Stamp,
    ) -> Result<Self, Error> {
        if stamp.time.is_none_or(|now| now < terms.period.to) || terms.period.from >= terms.period.to {
            return Err(Error::Period("a report needs a period that is over, and a clock that is set"));
        }
        let mut records = Vec::new();
        let (reader, first, singles) = gather(log, terms, |record| {
            records.extend(record.bytes());
            records.push(b'\n');
        })?;
        let details = reader.finish(first, log.len(), log.root()).statement();
        let details_digest = Digest::of(&details.payload());
        let result = details.predicate.report(details_digest);
        let report_digest = Digest::of(&result.payload());
        let (from, to) = (terms.period.from, terms.period.to);
        let report = Report { details: details_digest, from, report: report_digest, to };
        let record = log.append(Body::Report(report), stamp)?;
        records.extend(record.bytes());
        records.push(b'\n');

        let (size, tree) = (log.len(), log.tree()?);
        let growth = |&old: &u64| Growth {
            hashes: hashes(tree.consistency(old, size)),
            root: Base64Digest(tree.root(old)),
            size: old,
        };
        let inclusion =
            |record: &Record| Inclusion { hashes: hashes(tree.inclusion(record.seq, size)), seq: record.seq };
        let proof = Proof {
            earlier: earlier
                .iter()
                .filter(|old| **old <= size)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(growth)
                .collect(),
            left: hashes(tree.range(first).roots().iter().copied()),
            older: singles.iter().map(inclusion).collect(),
        };
        let mut files = report::render(&details.predicate, terms.catalogue, terms.profile, report_digest);
        files.insert(RECORDS.into(), records);
        files.insert(
            OLDER.into(),
            singles.iter().flat_map(|record| [record.bytes(), b"\n".to_vec()].concat()).collect(),
        );
        files.insert(PROOF.into(), crate::canon::encode(&proof));
        files.insert(CHECKPOINT.into(), log.checkpoint(key).into_bytes());
        files.insert(DETAILS.into(), details.sign(key));
        files.insert(REPORT.into(), result.sign(key));
        let manifest = Manifest {
            catalogue: terms.catalogue.digest(),
            first,
            format: 1,
            gateway: details.predicate.gateway.clone(),
            renderer: report::RENDERER,
            size,
        };
        let mut bundle = Self { files };
        bundle.seal(manifest, key);
        Ok(bundle)
    }

    /// Signs a manifest of the files there are.
    pub(crate) fn seal(&mut self, manifest: Manifest, key: &SecretKey) {
        self.files.remove(MANIFEST);
        let listed = self.files.iter().filter(|(name, _)| !OUTSIDE.contains(&name.as_str()));
        let subject = listed.map(|(name, bytes)| Resource::new(name.clone(), Digest::of(bytes))).collect();
        let statement = Statement::new(crate::statement::MANIFEST, subject, manifest);
        self.files.insert(MANIFEST.into(), statement.sign(key));
    }

    /// Reads a folder, whatever is in it: what does not belong there is for verification to refuse.
    ///
    /// # Errors
    /// When it cannot be read, or has something that is no plain file of at most 1 GiB.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        let failed = |path: &Path, error| Error::disk("read the bundle", path, error);
        for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
            let path = entry.map_err(|error| failed(folder, error))?.path();
            let kind = fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|_| kind.is_file() && kind.len() <= MAX_FILE) else {
                let what = "want plain files of at most 1 GiB with names in UTF-8";
                return Err(failed(&path, std::io::Error::other(what)));
            };
            files.insert(name.to_owned(), fs::read(&path).map_err(|error| failed(&path, error))?);
        }
        Ok(Self { files })
    }

    /// Writes a new folder; when this returns, it is on disk.
    ///
    /// # Errors
    /// When the folder is there already or cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let failed = |path: &Path, error| Error::disk("write the bundle", path, error);
        fs::create_dir(folder).map_err(|error| failed(folder, error))?;
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            let mut file = fs::File::create_new(&path).map_err(|error| failed(&path, error))?;
            file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| failed(&path, error))?;
        }
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))
    }

    /// Adds a witness's line (from [`Checkpoint::cosign`]) to the outside file.
    pub fn add_cosignature(&mut self, line: &str) {
        let note = self.files.get(CHECKPOINT).cloned().unwrap_or_default();
        self.files.entry(COSIGNED.into()).or_insert(note).extend(line.bytes());
    }

    /// Verdict, digest of the report and size of the log, as this key signed them.
    ///
    /// # Errors
    /// When one of the statements is not signed by it.
    pub fn summary(&self, key: &crate::sign::PublicKey) -> Result<(crate::rollup::Verdict, Digest, u64), Error> {
        let file = |name: &str| self.files.get(name).map_or(&[][..], Vec::as_slice);
        let wrong = |_| Error::Period("a statement of it is not signed by this gateway");
        let details: Statement<crate::statement::Details> =
            Statement::verify(file(DETAILS), crate::statement::DETAILS, key).map_err(wrong)?;
        let report: Statement<crate::statement::TestResult> =
            Statement::verify(file(REPORT), crate::statement::TEST_RESULT, key).map_err(wrong)?;
        Ok((details.predicate.verdict, Digest::of(&report.payload()), details.predicate.records.end + 1))
    }

    /// The checkpoint, when this key signed it.
    ///
    /// # Errors
    /// As [`Checkpoint::verify`].
    pub fn checkpoint(&self, key: &crate::sign::PublicKey) -> Result<Checkpoint, crate::note::NoteError> {
        Checkpoint::verify(self.files.get(CHECKPOINT).map_or(&[][..], Vec::as_slice), key)
    }
}

/// How a site stands at the end of a period: what `sheshi status` and the portal's badge say. Failures that a later pass
/// answered are forgiven. Reads the log through, so ask every few minutes, not every second.
///
/// # Errors
/// When the log cannot be read.
pub fn standing(log: &Log, terms: Terms<'_>) -> Result<Findings, Error> {
    let (reader, ..) = gather(log, terms, |_| {})?;
    Ok(reader.rollup().finish(View::Standing))
}

/// Reads all that a period needs; gives the first record read in full and the single ones before it.
fn gather<'a>(
    log: &Log,
    terms: Terms<'a>,
    mut each: impl FnMut(&Record),
) -> Result<(Reader<'a>, u64, Vec<Record>), Error> {
    let first = first_record(log, terms.period.from)?;
    let singles = singles(log, terms, first)?;
    let mut reader = Reader::new(terms);
    singles.iter().for_each(|record| reader.add(record, true));
    for record in log.records_from(first)? {
        let record = record?;
        reader.add(&record, false);
        each(&record);
    }
    Ok((reader, first, singles))
}

/// The first record to be read in full: after the last known time that is well before the period.
fn first_record(log: &Log, from: Time) -> Result<u64, Error> {
    let midnight = Time::midnight(&from.date()).expect("a date of ours");
    let cut = from.plus_millis(-MARGIN).min(midnight);
    let mut first = 0;
    for record in log.records_from(0)? {
        let record = record?;
        match record.time {
            Some(time) if time >= cut => break,
            Some(_) => first = record.seq + 1,
            None => {}
        }
    }
    Ok(first)
}

/// Records from before that still say something: how the log began, what the first record is chained to, site and policy
/// in force, and of each probe the newest attempt that told something, where nothing later before the period does.
fn singles(log: &Log, terms: Terms<'_>, first: u64) -> Result<Vec<Record>, Error> {
    if first == 0 {
        return Ok(Vec::new());
    }
    let judge = Reader::new(terms);
    let mut newest = BTreeMap::new();
    for record in log.records_from(0)? {
        let record = record?;
        let early = record.seq < first;
        if !early && record.time.is_some_and(|time| time >= terms.period.from) {
            break;
        }
        let told = judge.rollup().judged(&record).filter(|(_, judged)| *judged != Outcome::Inconclusive);
        let kind = match (&record.body, told) {
            (Body::Site(_), _) if early => "site".to_owned(),
            (Body::State(_), _) if early => "state".to_owned(),
            (_, Some((series, _))) => series,
            _ => continue,
        };
        if early {
            newest.insert(kind, record.seq)
        } else {
            newest.remove(&kind)
        };
    }
    let wanted: BTreeSet<u64> = newest.into_values().chain([0, first - 1]).collect();
    wanted
        .into_iter()
        .map(|seq| {
            let found = log.records_from(seq)?.next().filter(|found| found.as_ref().map_or(true, |r| r.seq == seq));
            found.unwrap_or(Err(Error::Period("a record that the report needs was deleted")))
        })
        .collect()
}
