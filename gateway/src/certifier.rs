//! What people do for evidence: `sheshi attest`, a statement that a person signs, and `sheshi challenge`, names that only the
//! certifier knows. Signing and challenges run on the certifier's own machine; only `attest enter` touches a gateway.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use sheshi_evidence::{
    Digest, Time, canon, challenge,
    control::{Catalogue, Figures, Kind},
    record::{Body, Outcome, Paper},
    sign::SecretKey,
};

use crate::{
    cli::{AttestAction, AttestSign, ChallengeAction},
    commands::{Failure, failed, print},
    config,
    control::{self, ControlError, Request},
    evidence_log::EvidenceLog,
};

fn refused(text: impl Into<String>) -> Failure {
    Failure::Refused(text.into())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| refused(format!("{}: cannot be read: {error}", path.display())))
}

/// Writes a new file; never over one that is there.
fn save(path: &Path, text: &[u8], mode: u32) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .map_err(|error| refused(format!("{}: cannot be written: {error}", path.display())))
}

/// `sheshi attest`.
pub fn attest(action: &AttestAction) -> Result<(), Failure> {
    match action {
        AttestAction::Sign(sign) => {
            let key = SecretKey::load(&sign.key).map_err(|error| refused(error.to_string()))?;
            let paper = paper(sign)?.sign(&key);
            save(&sign.output, &canon::encode(&paper), 0o644)?;
            print(&format!("{}: signed by {}", sign.output.display(), paper.signer))
        }
        AttestAction::Enter { file, config, control } => {
            let paper: Paper = canon::decode(&fs::read(file).map_err(failed)?)
                .map_err(|error| refused(format!("{}: {error}", file.display())))?;
            let config = config::load(config)?;
            let request = Request::Paper { paper: Box::new(paper.clone()) };
            let seq = match control::ask::<u64>(control.as_ref().unwrap_or(&config.control), &request) {
                Err(ControlError::NotRunning { .. }) => {
                    let none = || refused("the configuration has no section [evidence], so nothing is recorded");
                    enter(&EvidenceLog::open(&config, config.evidence.as_ref().ok_or_else(none)?)?, paper)?
                }
                answer => answer?,
            };
            print(&format!("recorded as record {seq}"))
        }
    }
}

/// Writes a person's statement into the log, when it is by one whose key the configuration names.
pub fn enter(log: &EvidenceLog, paper: Paper) -> Result<u64, Failure> {
    let people = log.people();
    if !paper.is_signed_by(people) {
        let known: Vec<_> = people.iter().map(|key| key.fingerprint().to_string()).collect();
        return Err(refused(format!(
            "it is not signed by a person of this gateway (its signer says {}): want one of [evidence] people: {}",
            paper.signer,
            if known.is_empty() { "none is named".to_owned() } else { known.join(", ") },
        )));
    }
    Ok(log.append(Body::Paper(paper))?.seq)
}

fn paper(sign: &AttestSign) -> Result<Paper, Failure> {
    let catalogue = Catalogue::builtin();
    let control =
        catalogue.control(&sign.control).ok_or_else(|| refused(format!("there is no control {}", sign.control)))?;
    let for_people: Vec<_> = control.probes.iter().filter(|probe| probe.kind != Kind::Measured).collect();
    let probe = for_people.iter().find(|probe| probe.id == sign.probe).ok_or_else(|| {
        let known: Vec<_> = for_people.iter().map(|probe| format!("{} ({})", probe.id, probe.what)).collect();
        refused(format!("{} {} is not for a person to say: want one of {}", sign.control, sign.probe, known.join("; ")))
    })?;
    let mut figures = Figures::new();
    for text in &sign.figure {
        let (name, value) = text.split_once('=').ok_or_else(|| refused("write --figure name=number"))?;
        let value = value.parse().map_err(|_| refused(format!("--figure {text}: {value:?} is no whole number")))?;
        figures.insert(name.to_owned(), value);
    }
    if let Some(missing) =
        probe.limits.iter().find(|limit| sign.outcome == Said::Pass && !figures.contains_key(&limit.figure))
    {
        return Err(refused(format!("this probe is judged by a figure: give --figure {}=NUMBER", missing.figure)));
    }
    let date = |text: &str| Time::midnight(text).map_err(|error| refused(error.to_string()));
    let document = sign.document.as_ref().map(|path| fs::read(path).map(|bytes| Digest::of(&bytes))).transpose();
    let (valid_from, valid_to) = (date(&sign.from)?, date(&sign.to)?);
    if valid_from >= valid_to {
        return Err(refused("--to is not after --from"));
    }
    Ok(Paper {
        by: sign.by.clone(),
        control: sign.control.clone(),
        document: document.map_err(|error| refused(format!("--document: {error}")))?,
        figures,
        outcome: sign.outcome.outcome(),
        probe: sign.probe.clone(),
        sig: String::new(),
        signer: Digest::default(),
        text: sign.text.clone(),
        valid_from,
        valid_to,
    })
}

/// What a person has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Said {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It does not apply here.
    NotApplicable,
}

impl Said {
    fn outcome(self) -> Outcome {
        match self {
            Self::Pass => Outcome::Pass,
            Self::Fail => Outcome::Fail,
            Self::NotApplicable => Outcome::NotApplicable,
        }
    }
}

/// `sheshi challenge`.
pub fn challenge(action: &ChallengeAction) -> Result<(), Failure> {
    match action {
        ChallengeAction::New { zone, count, output } => {
            let zone = zone.trim_end_matches('.').to_ascii_lowercase();
            sheshi_policy::Name::parse(&zone).map_err(|error| refused(format!("--zone {zone:?}: {error}")))?;
            let mut secret = [0; 32];
            fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut secret)).map_err(failed)?;
            fs::create_dir(output).map_err(|error| refused(format!("{}: {error}", output.display())))?;
            let names = challenge::names(&secret, &zone, u64::from(*count));
            let text: String = names.iter().map(|name| format!("{name}\n")).collect();
            save(&output.join("secret"), hex::encode(secret).as_bytes(), 0o600)?;
            save(&output.join("names.txt"), text.as_bytes(), 0o600)?;
            print(&format!(
                "commitment {}\nkeep {} to yourself until it is over",
                Digest::of(text.as_bytes()),
                output.display()
            ))
        }
        ChallengeAction::Entries { folder, list_key } => {
            let key = read(list_key)?;
            let key = hex::decode(key.trim()).ok().filter(|key| key.len() == 32);
            let key = key.ok_or_else(|| refused(format!("{}: want 64 hexadecimal digits", list_key.display())))?;
            let names = read(&folder.join("names.txt"))?;
            let mut entries: Vec<_> = names.lines().map(|name| challenge::entry(&key, name).to_string()).collect();
            // In the order of the digests nothing is left of the order of the names.
            entries.sort_unstable();
            print(&entries.join("\n"))
        }
        ChallengeAction::Score { folder, blocked } => {
            let (names, blocked) = (read(&folder.join("names.txt"))?, read(blocked)?);
            let all: std::collections::BTreeSet<_> = names.lines().collect();
            let blocked: std::collections::BTreeSet<_> =
                blocked.lines().map(|name| name.trim().trim_end_matches('.')).filter(|name| !name.is_empty()).collect();
            if let Some(strange) = blocked.iter().find(|name| !all.contains(**name)) {
                return Err(refused(format!("{strange:?} is none of the names of {}", folder.display())));
            }
            let (asked, blocked) = (all.len() as u64, blocked.len() as u64);
            let share = challenge::share(blocked, asked).ok_or_else(|| refused("there are no names"))?;
            let percent = |ppm: u64| format!("{}.{}", ppm / 10_000, ppm % 10_000 / 1_000);
            print(&format!(
                "{blocked} of {asked} blocked, {} % (95 % interval {} to {} %)\n--figure asked={asked} --figure blocked_ppm={}",
                percent(share.ppm),
                percent(share.low_ppm),
                percent(share.high_ppm),
                share.ppm
            ))
        }
    }
}
