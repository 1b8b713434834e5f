//! One pass over a bundle's records: what step 5 of `docs/evidence-format.md`, section 12, checks and later steps need.

use crate::{
    Digest, Name, Time,
    bundle::{self, Bundle, Proof},
    canon,
    chain::{Chain, ChainError},
    details::{Reader, Terms},
    merkle::{self, Range},
    record::{Attempt, Body, Open, Record, Sample, State},
    refusal::Refusal,
    statement::Manifest,
};

/// A file; step 1 saw that it is there.
pub(crate) fn file<'a>(bundle: &'a Bundle, name: &str) -> &'a [u8] {
    bundle.files.get(name).map_or(&[], Vec::as_slice)
}

/// What one pass over the records gives.
pub(crate) struct Pass<'a> {
    pub(crate) singles: Vec<(Record, Digest)>,
    /// Record 0, if it is in the records read in full.
    pub(crate) open: Option<Open>,
    pub(crate) last: Record,
    pub(crate) proof: Proof,
    /// Root without the last record.
    pub(crate) root_at_end: Digest,
    pub(crate) root: Digest,
    /// Root at the size that was wanted, if that is within the records.
    pub(crate) wanted: Option<Digest>,
    pub(crate) reader: Option<Reader<'a>>,
    pub(crate) days: Days,
    pub(crate) samples: Vec<Drawn>,
    pub(crate) first: u64,
}

/// A sample of the period, with the policy that was in force.
pub(crate) struct Drawn {
    pub(crate) seq: u64,
    pub(crate) time: Time,
    pub(crate) misses: Option<i64>,
    pub(crate) sample: Sample,
    pub(crate) state: Option<State>,
}

/// The first record of each day.
#[derive(Default)]
pub(crate) struct Days {
    /// Date of what came before the records.
    before: String,
    /// Date, number of records before it, root over them.
    begun: Vec<(String, u64, Digest)>,
}

impl Days {
    fn see(&mut self, time: Option<Time>, range: &Range) {
        let Some(date) = time.map(Time::date) else { return };
        if self.begun.last().map_or(&self.before, |(date, ..)| date) < &date {
            self.begun.push((date, range.len(), range.root()));
        }
    }

    /// Records before this date's midnight and the root over them; `None` when that midnight is not in the records.
    pub(crate) fn start(&self, date: &str) -> Option<(u64, Digest)> {
        if date <= self.before.as_str() {
            return None;
        }
        self.begun.iter().find(|(begun, ..)| date <= begun.as_str()).map(|(_, size, root)| (*size, *root))
    }
}

/// Step 5, and the collecting of all that later steps need. Record `first` − 1 starts the chain.
pub(crate) fn read_records<'a>(
    bundle: &Bundle,
    manifest: &Manifest,
    terms: Option<Terms<'a>>,
    want: Option<u64>,
) -> Result<Pass<'a>, Refusal> {
    let first = manifest.first;
    let gateway = Some(manifest.gateway.clone());
    let mut reader = terms.map(Reader::new);
    let mut singles: Vec<(Record, Digest)> = Vec::new();
    for (line, place) in lines(bundle, bundle::OLDER)? {
        let record = parse(line, &place)?;
        let after = singles.last().is_none_or(|(before, _)| before.seq < record.seq);
        if !after || record.seq >= first {
            return Err(Refusal::new(5, Name::WrongSeq, place, "is not in order, or not older than the others"));
        }
        if record.gw != manifest.gateway {
            return Err(Refusal::new(5, Name::WrongGateway, place, format!("is from gateway `{}`", record.gw)));
        }
        reader.iter_mut().for_each(|reader| reader.add(&record, true));
        singles.push((record, merkle::leaf(line)));
    }
    let mut days = Days::default();
    let mut chain = match singles.last().filter(|_| first > 0) {
        None => Chain::new(first, None, gateway),
        Some((before, _)) => {
            days.before = before.time.map(Time::date).unwrap_or_default();
            let mut chain = Chain::new(before.seq, None, gateway);
            // Whether it is record `first` − 1 is seen at the next one's number.
            chain.take(before, &before.bytes()).map_err(|error| chain_refusal(before.seq, &error))?;
            chain
        }
    };
    let proof: Proof = canon::decode(file(bundle, bundle::PROOF))
        .map_err(|error| Refusal::new(5, Name::NotCanonical, bundle::PROOF, error.to_string()))?;
    let left = proof.left.iter().map(|hash| hash.0).collect();
    let mut range = Range::from_roots(first, left).ok_or_else(|| {
        Refusal::new(6, Name::BadProof, bundle::PROOF, "`left` does not have one hash for each bit of `first`")
    })?;
    let mut samples = Vec::new();
    let mut opened = None;
    let (mut last, mut wanted, mut root_at_end) = (None, None, range.root());
    for (line, place) in lines(bundle, bundle::RECORDS)? {
        if want == Some(range.len()) {
            wanted = Some(range.root());
        }
        if range.len() + 1 == manifest.size {
            root_at_end = range.root();
        }
        let record = parse(line, &format!("{place}, record {}", range.len()))?;
        if let Some(before) = last.replace(record) {
            reader.iter_mut().for_each(|reader| reader.add(&before, false));
        }
        let record = last.as_ref().expect("just put");
        let leaf = chain.take(record, line).map_err(|error| chain_refusal(range.len(), &error))?;
        days.see(record.time, &range);
        if let Body::Open(open) = &record.body {
            opened = Some(open.clone());
        }
        if let (Body::Probe(attempt), Some(reader)) = (&record.body, &reader) {
            samples.extend(drawn(record, attempt, reader, terms));
        }
        range.push(leaf);
    }
    if want == Some(range.len()) {
        wanted = Some(range.root());
    }
    let last = last.ok_or_else(|| Refusal::new(5, Name::BadRecord, bundle::RECORDS, "has no record"))?;
    if range.len() != manifest.size {
        let why = format!("ends at record {}, the manifest says {}", range.len() - 1, manifest.size - 1);
        return Err(Refusal::new(5, Name::WrongSeq, bundle::RECORDS, why));
    }
    let root = range.root();
    Ok(Pass { singles, open: opened, last, proof, root_at_end, root, wanted, reader, days, samples, first })
}

fn drawn(record: &Record, attempt: &Attempt, reader: &Reader<'_>, terms: Option<Terms<'_>>) -> Option<Drawn> {
    let (time, period) = (record.time?, terms?.period);
    let sample = attempt.sample.clone().filter(|_| period.from <= time && time < period.to)?;
    let (seq, misses, state) = (record.seq, attempt.figures.get("misses").copied(), reader.state().cloned());
    Some(Drawn { seq, time, misses, sample, state })
}

/// The lines of a file, each with its place.
fn lines<'b>(bundle: &'b Bundle, name: &'static str) -> Result<impl Iterator<Item = (&'b [u8], String)>, Refusal> {
    let bytes = file(bundle, name);
    if bytes.last().is_some_and(|last| *last != b'\n') {
        return Err(Refusal::new(5, Name::NotCanonical, name, "its last line has no end"));
    }
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    Ok(lines.enumerate().map(move |(i, line)| (&line[..line.len() - 1], format!("{name} line {}", i + 1))))
}

fn parse(line: &[u8], place: &str) -> Result<Record, Refusal> {
    Record::parse(line).map_err(|error| {
        let name = if matches!(error, crate::Error::BadRecord(_)) { Name::BadRecord } else { Name::NotCanonical };
        Refusal::new(5, name, place, error.to_string())
    })
}

fn chain_refusal(at: u64, error: &ChainError) -> Refusal {
    let place = format!("record {at}");
    match error {
        ChainError::Seq { .. } => Refusal::new(5, Name::WrongSeq, place, error.to_string()),
        ChainError::Gateway { .. } => Refusal::new(5, Name::WrongGateway, place, error.to_string()),
        ChainError::Time(_) => Refusal::new(5, Name::TimeRule, place, error.to_string()),
        ChainError::Broken => {
            let before = format!("record {}", at.saturating_sub(1));
            Refusal::new(5, Name::BrokenChain, before, format!("is not the one that record {at} is chained to"))
        }
    }
}
