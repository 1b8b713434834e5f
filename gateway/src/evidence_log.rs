//! The gateway's own evidence: the log that this daemon writes, the key that signs it, and the clocks that stamp it.
//!
//! Whoever measures hands in a [`Body`]; here it gets its place in time (boot, monotonic clock, wall clock where it is
//! set), and is on disk when [`EvidenceLog::append`] returns. Reports, badges and what stands are made from the same log.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sheshi_captive_portal::{Clock as _, SystemClock};
use sheshi_evidence::{
    Time, Token,
    bundle::{self, Bundle},
    control::Catalogue,
    details::Terms,
    log::{Log, Stamp},
    profile::Profile,
    record::{Body, Boot, Clock, Network, Open, Record, Site},
    rollup::{Findings, Period},
    sign::{PublicKey, SecretKey},
};
use sheshi_policy::Moment;

use crate::config::Config;

/// A step of the wall clock that is told, besides a thousandth of the time that passed.
const STEP_MS: u64 = 1_000;

/// `[evidence]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The gateway's id in each record.
    pub gateway: String,
    /// The log's name in its checkpoints.
    pub origin: String,
    /// The site's id.
    pub site: String,
    /// The guest network: its id, and the name that phones show.
    pub network: (String, String),
    /// A built-in profile's id, or the file of the city's own.
    pub profile: String,
    /// Public keys of people whose papers count.
    pub people: Vec<PathBuf>,
    /// A test bed, not a hotspot: printed on every report.
    pub lab: bool,
    /// How many days records are kept.
    pub keep_days: u64,
    /// Who stamps checkpoints from outside, if anybody.
    pub time_stamps: Option<String>,
}

/// Evidence could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The log, a key or a report.
    #[error("evidence: {0}")]
    Room(#[from] sheshi_evidence::Error),
    /// The operating system did not say.
    #[error("evidence: read {path}: {source}")]
    System {
        /// What was read.
        path: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file that is at fault.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        what: String,
    },
}

/// A gateway's log, open for writing.
pub struct EvidenceLog {
    log: Mutex<Writer>,
    key: SecretKey,
    settings: Settings,
    people: Vec<PublicKey>,
    folder: PathBuf,
}

struct Writer {
    log: Log,
    boot: Token,
    /// Where the newest record of this boot stands, if there is one.
    last: Option<Stamp>,
    software: &'static str,
}

/// A site's id made of its name, where the configuration gives none.
pub(crate) fn site_id(name: &str) -> String {
    let id: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let id: String = id.trim_matches('-').chars().take(64).collect();
    if id.is_empty() { "site".into() } else { id }
}

/// Where evidence lies below the state folder.
pub fn folder(state: &Path) -> PathBuf {
    state.join("evidence")
}

impl EvidenceLog {
    /// Opens the log below the state folder, or begins it with a key made here and now.
    ///
    /// # Errors
    /// When another process has it open, the disk refuses, or what was acknowledged is damaged.
    pub fn open(config: &Config, settings: &Settings) -> Result<Self, EvidenceError> {
        let folder = folder(&config.state);
        let log_folder = folder.join("log");
        std::fs::create_dir_all(&folder)
            .map_err(|error| EvidenceError::File { path: folder.clone(), what: format!("cannot be made: {error}") })?;
        let key = own_key(&config.state)?;
        let people = settings.people.iter().map(|path| PublicKey::load(path)).collect::<Result<_, _>>()?;
        let software = env!("CARGO_PKG_VERSION");
        let (boot, mono, time) = (boot()?, mono()?, wall());
        let now = Stamp { boot, mono, time };
        let (mut log, last) = match Log::open(&log_folder) {
            Ok((log, recovery)) => {
                if recovery.cut_bytes > 0 || recovery.kept_records > 0 {
                    tracing::warn!(?recovery, "the evidence log was mended: an end in the middle of a record");
                }
                let newest = log.records_from(log.len().saturating_sub(1))?.next().transpose()?;
                let last = newest.map(|record| Stamp { boot: record.boot, mono: record.mono, time: record.time });
                (log, last)
            }
            Err(sheshi_evidence::Error::NoLog(_)) => {
                let open = Open {
                    format: 1,
                    key: key.public().fingerprint(),
                    lab: settings.lab,
                    origin: settings.origin.clone(),
                };
                (Log::create(&log_folder, &settings.gateway, open, now)?, Some(now))
            }
            Err(error) => return Err(error.into()),
        };
        let mut writer_last = last.filter(|last| last.boot == boot);
        if writer_last.is_none() {
            // The clock of a new boot is told by its own record, so that its time counts from the first.
            let stamp = Stamp { time: None, ..now };
            log.append(Body::Boot(Boot { reason: "device started".into(), software: software.into() }), stamp)?;
            writer_last = Some(stamp);
        }
        let writer = Writer { log, boot, last: writer_last, software };
        let evidence = Self { log: Mutex::new(writer), key, settings: settings.clone(), people, folder };
        evidence.append(Body::Site(Site {
            name: config.site.clone(),
            networks: vec![Network { id: settings.network.0.clone(), name: settings.network.1.clone() }],
            organisation: config.portal.organisation.clone(),
            site: settings.site.clone(),
        }))?;
        Ok(evidence)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record as of now; when this returns, it is on disk. May take as long as the disk does.
    ///
    /// # Errors
    /// When the record breaks a rule of the format, or the disk refuses: then nothing was recorded.
    pub fn append(&self, body: Body) -> Result<Record, EvidenceError> {
        self.writer().append(body)
    }

    /// The settings it runs under.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Public keys of the people whose papers count.
    pub fn people(&self) -> &[PublicKey] {
        &self.people
    }

    /// The public key that readers must have from elsewhere.
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Where the log and what belongs to it lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a reader over the log, for what this type does not offer (samples, proofs).
    pub fn read<T>(&self, reader: impl FnOnce(&Log) -> T) -> T {
        reader(&self.writer().log)
    }

    /// The profile that decides: a built-in id, or a file of the city's own.
    ///
    /// # Errors
    /// When there is none of that name, or the file is wrong.
    pub fn profile(&self, name: Option<&str>) -> Result<Profile, EvidenceError> {
        profile(name.unwrap_or(&self.settings.profile))
    }

    /// Makes the report of a period, and writes into the log that it was made.
    ///
    /// # Errors
    /// When the period is not over, or the log cannot be read or written.
    pub fn report(&self, period: Period, profile: &Profile) -> Result<Bundle, EvidenceError> {
        let terms = Terms { catalogue: Catalogue::builtin(), profile, people: &self.people, period };
        let mut writer = self.writer();
        let stamp = writer.stamp()?;
        let bundle = Bundle::make(&mut writer.log, &self.key, terms, &[], stamp)?;
        writer.last = Some(stamp);
        Ok(bundle)
    }

    /// How the site stands at the end of a period: failures that a later pass answered are forgiven.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn standing(&self, period: Period, profile: &Profile) -> Result<Findings, EvidenceError> {
        let terms = Terms { catalogue: Catalogue::builtin(), profile, people: &self.people, period };
        Ok(bundle::standing(&self.writer().log, terms)?)
    }

    /// The signed size and root of all records so far.
    pub fn checkpoint(&self) -> String {
        self.writer().log.checkpoint(&self.key)
    }
}

impl Writer {
    fn append(&mut self, body: Body) -> Result<Record, EvidenceError> {
        let stamp = self.stamp()?;
        let record = self.log.append(body, stamp)?;
        self.last = Some(stamp);
        Ok(record)
    }

    /// Now; writes first that the clock was set or stepped, where it was.
    fn stamp(&mut self) -> Result<Stamp, EvidenceError> {
        let mut now = Stamp { boot: self.boot, mono: mono()?, time: wall() };
        let Some(last) = self.last else { return Ok(now) };
        // Another process of this boot may have read the clock a hundredth of a second finer.
        now.mono = now.mono.max(last.mono);
        let told = match (last.time, now.time) {
            (None, Some(_)) => Some(0),
            (Some(before), Some(time)) => {
                let passed = i64::try_from(now.mono - last.mono).unwrap_or(i64::MAX);
                let step = time.millis() - before.millis() - passed;
                (step.unsigned_abs() > STEP_MS + passed.unsigned_abs() / 1_000).then_some(step)
            }
            // Once known it stays known: a clock set back before our time is a step to where it was, not ignorance.
            (Some(before), None) => {
                let passed = i64::try_from(now.mono - last.mono).unwrap_or(i64::MAX);
                now.time = Some(before.plus_millis(passed));
                None
            }
            (None, None) => None,
        };
        if let Some(step_ms) = told {
            let body = Body::Clock(Clock { source: "system clock".into(), step_ms });
            self.log.append(body, now)?;
            self.last = Some(now);
        }
        Ok(now)
    }
}

impl std::fmt::Debug for EvidenceLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EvidenceLog({}, {})", self.folder.display(), self.writer().software)
    }
}

/// A profile by a built-in id, or by the file of the city's own.
///
/// # Errors
/// When there is none of that name, or the file is wrong.
pub fn profile(name: &str) -> Result<Profile, EvidenceError> {
    if let Some(profile) = Profile::builtin(name) {
        return Ok(profile);
    }
    let wrong = |what: String| EvidenceError::File { path: name.into(), what };
    if !name.contains(['/', '.']) {
        let known = Profile::builtin_ids().collect::<Vec<_>>().join(", ");
        return Err(wrong(format!("is no profile: want one of {known}, or the file of your own")));
    }
    let text = std::fs::read_to_string(name).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    Profile::parse(&text, Catalogue::builtin()).map_err(|problems| wrong(problems.to_string()))
}

/// The one key of this gateway, made on the device, kept below its state; beside it the public half for the certification paper.
pub fn own_key(state: &Path) -> Result<SecretKey, EvidenceError> {
    let folder = folder(state);
    std::fs::create_dir_all(&folder)
        .map_err(|error| EvidenceError::File { path: folder.clone(), what: format!("cannot be made: {error}") })?;
    let path = folder.join("gateway.key");
    if !path.exists() {
        let wrong = |what: String| EvidenceError::File { path: path.clone(), what };
        let mut entropy = [0; 32];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut entropy))
            .map_err(|error| wrong(format!("no randomness for a key: {error}")))?;
        let key = SecretKey::new(entropy);
        // The public half first: a key is never there without it.
        let public = folder.join("gateway.pub.pem");
        std::fs::write(&public, key.public().pem())
            .map_err(|error| EvidenceError::File { path: public, what: format!("cannot be written: {error}") })?;
        key.save(&path)?;
    }
    Ok(SecretKey::load(&path)?)
}

/// Drawn by the kernel at each start of the device; the first half is enough to tell starts apart.
fn boot() -> Result<Token, EvidenceError> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).map_err(|source| EvidenceError::System { path: PATH, source })?;
    Ok(Token(sheshi_evidence::Digest::of(text.trim().as_bytes()).0[..8].try_into().expect("eight bytes")))
}

/// Milliseconds since the device started, from a clock that is never set and goes on in sleep.
fn mono() -> Result<u64, EvidenceError> {
    const PATH: &str = "/proc/uptime";
    let read = std::fs::read_to_string(PATH);
    read.and_then(|text| {
        let seconds = text.split_whitespace().next().and_then(|seconds| seconds.parse::<f64>().ok());
        seconds.map(|seconds| (seconds * 1_000.0) as u64).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    })
    .map_err(|source| EvidenceError::System { path: PATH, source })
}

fn wall() -> Option<Time> {
    match SystemClock.moment() {
        Moment::At(at) => Time::from_millis(at.as_millisecond()),
        Moment::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheshi_evidence::verify::{Trust, verify};

    fn config(state: &Path) -> Config {
        let mut config = Config::example();
        config.state = state.into();
        config
    }

    fn settings() -> Settings {
        Settings {
            gateway: "gw-1".into(),
            origin: "wifi.example/gw-1".into(),
            site: "SQ-1".into(),
            network: ("guests".into(), "Free".into()),
            profile: "baseline".into(),
            people: Vec::new(),
            lab: true,
            keep_days: 400,
            time_stamps: None,
        }
    }

    #[test]
    fn report_of_a_new_log_verifies_under_the_key_beside_it_and_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let evidence = EvidenceLog::open(&config(folder.path()), &settings()).unwrap();
        let to = wall().unwrap();
        let period = Period { from: to.plus_millis(-60_000), to };
        let bundle = evidence.report(period, &evidence.profile(None).unwrap()).unwrap();
        let key = PublicKey::load(&folder.path().join("evidence/gateway.pub.pem")).unwrap();
        let verified = verify(&bundle, &Trust::new(key)).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(verified.details.lab);
        assert_eq!(verified.details.verdict.text(), "NOT PROVEN");
        assert_eq!(verified.details.site_name, "Sheshi Skënderbej");
    }

    #[test]
    fn log_goes_on_after_a_restart_and_only_one_process_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = EvidenceLog::open(&config, &settings()).unwrap();
        let (size, key) = (first.read(Log::len), first.public_key());
        assert!(EvidenceLog::open(&config, &settings()).unwrap_err().to_string().contains("another process"));
        drop(first);
        let second = EvidenceLog::open(&config, &settings()).unwrap();
        assert_eq!(second.public_key(), key);
        // The same boot goes on: one more `site`, no `boot`.
        assert_eq!(second.read(Log::len), size + 1);
    }

    #[test]
    fn clock_that_was_set_or_stepped_is_told_before_the_next_record() {
        let folder = tempfile::tempdir().unwrap();
        let evidence = EvidenceLog::open(&config(folder.path()), &settings()).unwrap();
        let mut writer = evidence.writer();
        let last = writer.last.as_mut().unwrap();
        last.time = last.time.map(|time| time.plus_millis(-3_600_000));
        let before = writer.log.len();
        // The log itself knows better; what it is told must be what it would refuse.
        assert!(writer.stamp().is_ok());
        let told = writer.log.records_from(before).unwrap().next().unwrap().unwrap();
        assert!(matches!(told.body, Body::Clock(Clock { step_ms: 3_599_000..=3_601_000, .. })), "{told:?}");
    }

    #[test]
    fn unknown_profile_is_named_with_those_that_are() {
        let error = profile("libary").unwrap_err().to_string();
        assert!(error.contains("libary") && error.contains("library"), "{error}");
    }
}
