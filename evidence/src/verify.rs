//! Whether a bundle is what it claims: the steps of `docs/evidence-format.md`, section 12, in their order. Fails closed.

use std::collections::BTreeMap;

use crate::{
    Digest, Time,
    bundle::{self, Bundle, Proof},
    canon,
    control::Catalogue,
    details::Terms,
    merkle,
    note::{Checkpoint, NoteError},
    pass::{Days, Drawn, Pass, file, read_records},
    profile::Profile,
    record::{Body, Record},
    refusal::Name,
    report,
    sample::{self, Names},
    sign::PublicKey,
    statement::{self, Details, Manifest, Resource, Statement, StatementError, TestResult},
    tsp::Authority,
};

pub use crate::refusal::Refusal;

/// What the reader brings; nothing of it is taken from a bundle.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The gateway's key.
    pub key: PublicKey,
    /// What is asked.
    pub catalogue: Catalogue,
    /// Profiles the bundle may be under.
    pub profiles: Vec<Profile>,
    /// Keys of witnesses, each of whom must have cosigned.
    pub log_keys: Vec<PublicKey>,
    /// Keys of people whose papers count.
    pub people: Vec<PublicKey>,
    /// Who must have time-stamped.
    pub authority: Option<Authority>,
    /// A nonce that must have been asked for.
    pub nonce: Option<String>,
    /// Lists to draw samples from again, by id.
    pub lists: BTreeMap<String, Names>,
}

impl Trust {
    /// Trust in one gateway's key, with the built-in catalogue and profiles, and nothing else.
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            catalogue: Catalogue::builtin().clone(),
            profiles: Profile::builtin_ids().filter_map(Profile::builtin).collect(),
            log_keys: Vec::new(),
            people: Vec::new(),
            authority: None,
            nonce: None,
            lists: BTreeMap::new(),
        }
    }
}

/// What a valid bundle shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// All that follows from the records.
    pub details: Details,
    /// Digest of the report statement's payload, as in the page's footer.
    pub report: Digest,
    /// Size and root of the log.
    pub checkpoint: Checkpoint,
    /// Who cosigned, and when.
    pub witnesses: Vec<(String, Time)>,
    /// When an outside clock saw the checkpoint.
    pub time_stamp: Option<Time>,
    /// How many samples were drawn again from a list the reader brought.
    pub samples_drawn: u64,
}

/// Checks a bundle.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn verify(bundle: &Bundle, trust: &Trust) -> Result<Verified, Refusal> {
    verify_after(bundle, trust, None)
}

/// Checks a bundle, and that its log continues that of an earlier one.
///
/// # Errors
/// The first thing that is not as it must be, in either.
pub fn verify_after(bundle: &Bundle, trust: &Trust, earlier: Option<&Bundle>) -> Result<Verified, Refusal> {
    let mut verified = verify_inside(bundle, trust)?;
    verified.witnesses = cosigned(bundle, &verified.checkpoint, trust)?;
    verified.time_stamp = time_stamp(bundle, trust)?;
    continues(bundle, &verified.checkpoint, trust, earlier)?;
    if let Some(nonce) = &trust.nonce {
        let seen = verified.details.witness.iter().any(|seen| seen.nonce == *nonce && seen.hits > 0);
        if !seen {
            return Err(Refusal::new(17, Name::NonceMissing, nonce, "no record of this period says it was asked for"));
        }
    }
    Ok(verified)
}

/// Steps 1 to 13: all that needs no one but the gateway's key.
fn verify_inside(bundle: &Bundle, trust: &Trust) -> Result<Verified, Refusal> {
    shape(bundle)?;
    let manifest: Statement<Manifest> = envelope(bundle, bundle::MANIFEST, statement::MANIFEST, trust)?;
    if manifest.predicate.format != 1 || manifest.predicate.renderer != report::RENDERER {
        let why = "this verifier knows format 1 and renderer 1";
        return Err(Refusal::new(2, Name::UnknownFormat, bundle::MANIFEST, why));
    }
    files(bundle, &manifest)?;
    let details: Statement<Details> = envelope(bundle, bundle::DETAILS, statement::DETAILS, trust)?;
    let result: Statement<TestResult> = envelope(bundle, bundle::REPORT, statement::TEST_RESULT, trust)?;
    let checkpoint = checkpoint(bundle, &manifest.predicate, trust)?;

    // The profile is looked up before the one pass over the records, and missed after it, in its place.
    let told = &details.predicate;
    let profile = trust.profiles.iter().find(|profile| profile.digest() == told.profile.digest);
    let terms = profile.map(|profile| Terms {
        catalogue: &trust.catalogue,
        profile,
        people: &trust.people,
        period: told.period,
    });
    let pass = read_records(bundle, &manifest.predicate, terms, None)?;
    roots(&checkpoint, &pass)?;
    opened(&pass, &checkpoint, trust)?;
    edges(&pass, &details, &result)?;
    if told.catalogue.digest != trust.catalogue.digest() || manifest.predicate.catalogue != told.catalogue.digest {
        let why = format!("made under edition {} with another digest; bring that one", told.catalogue.version);
        return Err(Refusal::new(9, Name::WrongCatalogue, bundle::DETAILS, why));
    }
    let (Some(profile), Some(reader)) = (profile, pass.reader) else {
        let why = format!("made under profile `{}`, which is none of those you have; bring it", told.profile.id);
        return Err(Refusal::new(9, Name::WrongProfile, bundle::DETAILS, why));
    };
    let end = manifest.predicate.size - 1;
    let follows = reader.finish(manifest.predicate.first, end, pass.root_at_end).statement();
    same_details(&details, &follows, profile, trust)?;
    if result != told.report(Digest::of(&details.payload())) {
        let why = "is not what the details give";
        return Err(Refusal::new(11, Name::WrongReport, bundle::REPORT, why));
    }
    let samples_drawn = samples(&pass.samples, &pass.days, &trust.lists)?;
    let report = Digest::of(&result.payload());
    for (name, bytes) in report::render(told, &trust.catalogue, profile, report) {
        if bundle.files.get(&name) != Some(&bytes) {
            return Err(Refusal::new(13, Name::WrongRendering, name, "is not what the details give"));
        }
    }
    let (witnesses, time_stamp) = Default::default();
    Ok(Verified { details: details.predicate, report, checkpoint, witnesses, time_stamp, samples_drawn })
}

/// Step 1.
fn shape(bundle: &Bundle) -> Result<(), Refusal> {
    let inside = || bundle::SIGNED.into_iter().chain(report::FILES).chain([bundle::MANIFEST]);
    if let Some(name) = inside().find(|name| !bundle.files.contains_key(*name)) {
        return Err(Refusal::new(1, Name::MissingFile, name, "is not there"));
    }
    for (name, bytes) in &bundle.files {
        if !inside().chain(bundle::OUTSIDE).any(|known| known == name) {
            return Err(Refusal::new(1, Name::UnknownFile, name, "does not belong in a bundle"));
        }
        if bytes.len() as u64 > bundle::MAX_FILE {
            return Err(Refusal::new(1, Name::TooLarge, name, "is larger than 1 GiB"));
        }
    }
    Ok(())
}

/// Step 2, for each statement.
fn envelope<P>(bundle: &Bundle, name: &str, kind: &str, trust: &Trust) -> Result<Statement<P>, Refusal>
where
    P: serde::Serialize + serde::de::DeserializeOwned,
{
    Statement::verify(file(bundle, name), kind, &trust.key).map_err(|error| {
        let what = match &error {
            StatementError::NotCanonical(_) => Name::NotCanonical,
            StatementError::WrongType(_) => Name::WrongType,
            StatementError::WrongKey(_) => Name::WrongKey,
            StatementError::BadSignature(_) => Name::BadSignature,
        };
        Refusal::new(2, what, name, error.to_string())
    })
}

/// Step 3.
fn files(bundle: &Bundle, manifest: &Statement<Manifest>) -> Result<(), Refusal> {
    let inside = bundle
        .files
        .iter()
        .filter(|(name, _)| name.as_str() != bundle::MANIFEST && !bundle::OUTSIDE.contains(&name.as_str()));
    let found: Vec<_> = inside.map(|(name, bytes)| Resource::new(name.clone(), Digest::of(bytes))).collect();
    if !found.iter().map(|file| &file.name).eq(manifest.subject.iter().map(|file| &file.name)) {
        let why = "does not list exactly the files there are, sorted";
        return Err(Refusal::new(3, Name::ManifestIncomplete, bundle::MANIFEST, why));
    }
    for (found, listed) in found.iter().zip(&manifest.subject) {
        if found != listed {
            if found.name == bundle::RECORDS {
                // Names the record, where one can be named.
                read_records(bundle, &manifest.predicate, None, None)?;
            }
            let why = format!("is not the file that was signed: sha256 {}", found.digest.sha256);
            return Err(Refusal::new(3, Name::FileChanged, &found.name, why));
        }
    }
    Ok(())
}

/// Step 4.
fn checkpoint(bundle: &Bundle, manifest: &Manifest, trust: &Trust) -> Result<Checkpoint, Refusal> {
    let checkpoint = bundle.checkpoint(&trust.key).map_err(|error| {
        let name = if matches!(error, NoteError::Signature(_)) { Name::BadSignature } else { Name::BadCheckpoint };
        Refusal::new(4, name, bundle::CHECKPOINT, error.to_string())
    })?;
    if checkpoint.size != manifest.size || manifest.first >= manifest.size {
        let why = format!("has {} records, the manifest {} from {}", checkpoint.size, manifest.size, manifest.first);
        return Err(Refusal::new(4, Name::WrongSize, bundle::CHECKPOINT, why));
    }
    Ok(checkpoint)
}

/// Step 6.
fn roots(checkpoint: &Checkpoint, pass: &Pass<'_>) -> Result<(), Refusal> {
    if pass.root != checkpoint.root {
        let why = format!("records up to {} do not give the root of the checkpoint", checkpoint.size - 1);
        return Err(Refusal::new(6, Name::WrongRoot, bundle::RECORDS, why));
    }
    let (size, root) = (checkpoint.size, checkpoint.root);
    if pass.singles.len() != pass.proof.older.len() {
        return Err(Refusal::new(6, Name::BadProof, bundle::PROOF, "has not one proof for each older record"));
    }
    for ((record, leaf), proof) in pass.singles.iter().zip(&pass.proof.older) {
        let hashes: Vec<_> = proof.hashes.iter().map(|hash| hash.0).collect();
        if proof.seq != record.seq || !merkle::verifies_inclusion(*leaf, record.seq, size, &hashes, root) {
            return Err(Refusal::new(
                6,
                Name::BadProof,
                format!("record {}", record.seq),
                "is not proved to be in the log",
            ));
        }
    }
    let mut before = None;
    for growth in &pass.proof.earlier {
        let hashes: Vec<_> = growth.hashes.iter().map(|hash| hash.0).collect();
        let grew = merkle::verifies_consistency(growth.size, growth.root.0, size, root, &hashes);
        if !grew || before >= Some(growth.size) {
            let place = format!("{}, checkpoint of {} records", bundle::PROOF, growth.size);
            return Err(Refusal::new(6, Name::BadProof, place, "is not proved to have grown into this one"));
        }
        before = Some(growth.size);
    }
    Ok(())
}

/// Step 7.
fn opened(pass: &Pass<'_>, checkpoint: &Checkpoint, trust: &Trust) -> Result<(), Refusal> {
    let place = "record 0";
    let open = match (pass.first, pass.singles.first()) {
        (0, _) => pass.open.as_ref(),
        (_, Some((Record { body: Body::Open(open), .. }, _))) => Some(open),
        _ => None,
    };
    let open = open.ok_or_else(|| Refusal::new(7, Name::BadRecord, place, "is not there"))?;
    if open.key != trust.key.fingerprint() {
        return Err(Refusal::new(7, Name::WrongKey, place, format!("says the key is {}", open.key)));
    }
    if open.origin != checkpoint.origin {
        return Err(Refusal::new(7, Name::WrongOrigin, place, format!("says the log is `{}`", open.origin)));
    }
    Ok(())
}

/// Step 8.
fn edges(pass: &Pass<'_>, details: &Statement<Details>, result: &Statement<TestResult>) -> Result<(), Refusal> {
    let period = details.predicate.period;
    if let Some(before) = pass.first.checked_sub(1) {
        let known = pass.singles.last().filter(|(record, _)| record.seq == before).and_then(|(record, _)| record.time);
        if known.is_none_or(|time| time >= period.from) {
            let why = "is not shown to be from before the period";
            return Err(Refusal::new(8, Name::Edge, format!("record {before}"), why));
        }
    }
    let place = format!("record {}", pass.last.seq);
    let Body::Report(report) = &pass.last.body else {
        return Err(Refusal::new(8, Name::WrongReport, place, "is not the record of this report"));
    };
    let named = (report.details, report.report, report.from, report.to);
    if named != (Digest::of(&details.payload()), Digest::of(&result.payload()), period.from, period.to) {
        return Err(Refusal::new(8, Name::WrongReport, place, "is the record of another report"));
    }
    if pass.last.time.is_none_or(|time| time < period.to) {
        return Err(Refusal::new(8, Name::Edge, place, "was written before the period was over"));
    }
    Ok(())
}

/// Step 10.
fn same_details(
    told: &Statement<Details>,
    follows: &Statement<Details>,
    profile: &Profile,
    trust: &Trust,
) -> Result<(), Refusal> {
    let refuse = |name, place: String, why: &str| Err(Refusal::new(10, name, place, why));
    let listed = |id: &String| told.predicate.controls.iter().any(|control| control.id == *id);
    if let Some(id) = profile.mandatory.iter().find(|id| !listed(id)) {
        return refuse(Name::ControlMissing, id.clone(), "decides and is not in the details");
    }
    let known = |signer: &&Digest| !trust.people.iter().any(|key| key.fingerprint() == **signer);
    if let Some(signer) = told.predicate.people.iter().find(known) {
        return refuse(Name::NoKeyFor, format!("person {signer}"), "their papers counted; bring their key");
    }
    if told == follows {
        return Ok(());
    }
    for (told, follows) in told.predicate.controls.iter().zip(&follows.predicate.controls) {
        if told != follows {
            let why = format!("the records give `{}`, the details say `{}`", follows.state.text(), told.state.text());
            return refuse(Name::WrongDetails, told.id.clone(), &why);
        }
    }
    let value =
        |statement: &Statement<Details>| serde_json::to_value(&statement.predicate).expect("details have a JSON form");
    let (told, follows) = (value(told), value(follows));
    let members = follows.as_object().into_iter().flatten();
    let differ = members.into_iter().find(|(key, member)| told.get(key) != Some(member));
    let place = differ.map_or("subject", |(key, _)| key.as_str());
    refuse(Name::WrongDetails, format!("`{place}`"), "is not what the records give")
}

/// Step 12; gives how many samples were drawn again.
fn samples(samples: &[Drawn], days: &Days, lists: &BTreeMap<String, Names>) -> Result<u64, Refusal> {
    let mut drawn_again: BTreeMap<&str, u64> = lists.keys().map(|id| (id.as_str(), 0)).collect();
    for Drawn { seq, time, misses, sample, state } in samples {
        let refuse = |why: &str| Err(Refusal::new(12, Name::WrongSample, format!("record {seq}"), why));
        let yesterday = time.plus_millis(-86_400_000).date();
        if sample.date != time.date() && sample.date != yesterday {
            return refuse("its date is neither that of its time nor the day before");
        }
        let Some((size, root)) = days.start(&sample.date) else {
            return refuse("its date begins before the records");
        };
        if size != sample.size {
            return refuse("its seed is not over the records before that date");
        }
        let list = state.as_ref().and_then(|state| state.lists.iter().find(|list| list.id == sample.list));
        let Some(list) = list.filter(|list| list.edition == sample.edition) else {
            return refuse("its list, in that edition, was not in force");
        };
        if list.category == "csam" {
            return refuse("names of this category are never sampled");
        }
        if *misses != i64::try_from(sample.misses.len()).ok() {
            return refuse("its figure `misses` is not the number of its misses");
        }
        let Some(names) = lists.get(&sample.list).filter(|names| names.digest() == list.digest) else { continue };
        let seed = sample::seed(root, &sample.date);
        let draw: Vec<&str> = names.draw(&seed, sample.count).collect();
        if sample::commitment(draw.iter().copied()) != sample.names {
            return refuse("other names were drawn than the seed gives");
        }
        let hashes: Vec<String> = draw.iter().map(|name| sample::miss(&seed, name)).collect();
        if !sample.misses.iter().all(|miss| hashes.contains(miss)) {
            return refuse("a miss is none of the names that the seed gives");
        }
        *drawn_again.entry(&sample.list).or_default() += 1;
    }
    if let Some((id, _)) = drawn_again.iter().find(|(_, count)| **count == 0) {
        let why = "no sample of this period was drawn from a list with this digest";
        return Err(Refusal::new(12, Name::WrongList, *id, why));
    }
    Ok(drawn_again.values().sum())
}

/// Step 14.
fn cosigned(bundle: &Bundle, checkpoint: &Checkpoint, trust: &Trust) -> Result<Vec<(String, Time)>, Refusal> {
    let refuse = |name, why: String| Err(Refusal::new(14, name, bundle::COSIGNED, why));
    let Some(cosigned) = bundle.files.get(bundle::COSIGNED) else {
        if trust.log_keys.is_empty() {
            return Ok(Vec::new());
        }
        return refuse(Name::MissingCosignature, "is not there, and you asked for cosignatures".into());
    };
    if trust.log_keys.is_empty() {
        return refuse(Name::NoKeyFor, "bring the witnesses' keys, or take the file away".into());
    }
    match checkpoint.verify_cosigned(cosigned, file(bundle, bundle::CHECKPOINT), &trust.log_keys) {
        Ok(witnesses) => Ok(witnesses),
        Err(error @ NoteError::Missing(_)) => refuse(Name::MissingCosignature, error.to_string()),
        Err(error @ NoteError::Unknown { .. }) => refuse(Name::NoKeyFor, error.to_string()),
        Err(error) => refuse(Name::BadCosignature, error.to_string()),
    }
}

/// Step 15.
fn time_stamp(bundle: &Bundle, trust: &Trust) -> Result<Option<Time>, Refusal> {
    let refuse = |name, why: &str| Err(Refusal::new(15, name, bundle::TIME_STAMP, why));
    match (bundle.files.get(bundle::TIME_STAMP), &trust.authority) {
        (None, None) => Ok(None),
        (None, Some(_)) => refuse(Name::MissingTimeStamp, "is not there, and you asked for a time stamp"),
        (Some(_), None) => refuse(Name::NoKeyFor, "bring the authority's certificate, or take the file away"),
        (Some(response), Some(authority)) => match authority.verify(response, file(bundle, bundle::CHECKPOINT)) {
            Ok(time) => Ok(Some(time)),
            Err(error) => refuse(Name::BadTimeStamp, &error.to_string()),
        },
    }
}

/// Step 16.
fn continues(bundle: &Bundle, now: &Checkpoint, trust: &Trust, earlier: Option<&Bundle>) -> Result<(), Refusal> {
    let Some(earlier) = earlier else { return Ok(()) };
    let before = verify_inside(earlier, trust)
        .map_err(|error| Refusal { place: format!("earlier bundle: {}", error.place), ..error })?
        .checkpoint;
    let refuse = |name, why: &str| Err(Refusal::new(16, name, format!("checkpoint of {} records", before.size), why));
    if before.origin != now.origin {
        return refuse(Name::Fork, "is of another log");
    }
    if before.size > now.size {
        return refuse(Name::Shrunk, "was longer than this one");
    }
    let manifest: Statement<Manifest> = envelope(bundle, bundle::MANIFEST, statement::MANIFEST, trust)?;
    let root = if before.size >= manifest.predicate.first {
        read_records(bundle, &manifest.predicate, None, Some(before.size))?.wanted
    } else {
        let proof: Option<Proof> = canon::decode(file(bundle, bundle::PROOF)).ok();
        let growths = proof.into_iter().flat_map(|proof| proof.earlier);
        growths.into_iter().find(|growth| growth.size == before.size).map(|growth| growth.root.0)
    };
    match root {
        Some(root) if root == before.root => Ok(()),
        Some(_) => refuse(Name::Fork, "has another root than this log had at that size"),
        None => refuse(Name::Gap, "is before these records, and its growth is not proved; bring the bundle in between"),
    }
}
