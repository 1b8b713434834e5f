//! What came of each probe, in the gateway's log, and what it amounts to now.

use std::sync::Arc;

use sheshi_captive_portal::{Clock as _, SystemClock};
use sheshi_evidence::{
    Digest, Time, Token,
    profile::Profile,
    record::{self, Attempt, Body},
    rollup::{Findings, Period},
    sample,
};
use sheshi_policy::Moment;

use crate::evidence_log::{EvidenceError, EvidenceLog};

/// The status speaks of this long, at most.
const LOOKS_BACK_MS: i64 = 24 * 3_600_000;
/// How many records are looked through for midnight: more than a day of them.
const A_DAY: u64 = 20_000;

/// The log, and since when it holds an attempt of each probe.
pub struct Ledger {
    /// The log itself.
    pub log: Arc<EvidenceLog>,
    profile: Profile,
    /// Digest of the policy that the newest state names.
    policy: Option<Digest>,
    since: Option<Time>,
}

impl Ledger {
    /// A ledger over the gateway's log.
    pub fn new(log: Arc<EvidenceLog>) -> Result<Self, EvidenceError> {
        let profile = log.profile(None)?;
        Ok(Self { log, profile, policy: None, since: None })
    }

    /// Says which policy is in force.
    pub fn note_state(&mut self, state: record::State) -> Result<(), EvidenceError> {
        let policy = state.policy;
        self.log.append(Body::State(state))?;
        self.policy = Some(policy);
        Ok(())
    }

    /// Whether the newest state is that of this compiled policy.
    pub fn knows(&self, policy: Digest) -> bool {
        self.policy == Some(policy)
    }

    /// Writes an attempt.
    pub fn note(&self, attempt: Attempt) -> Result<(), EvidenceError> {
        self.log.append(Body::Probe(attempt)).map(drop)
    }

    /// From now on the time counts as measured: each probe was attempted.
    pub fn first_round_is_over(&mut self) {
        if self.since.is_none() {
            self.since = now();
        }
    }

    /// What all of it amounts to at this moment; `None` while the time is not known or no round is over.
    pub fn findings(&self) -> Option<Findings> {
        let now = now()?;
        let from = self.since?.max(now.plus_millis(-LOOKS_BACK_MS)).min(now.plus_millis(-1));
        let found = self.log.standing(Period { from, to: now.plus_millis(1) }, &self.profile);
        found.inspect_err(|error| tracing::error!("the evidence cannot be summed up: {error}")).ok()
    }

    /// The profile that decides.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The seed of today's samples, its date, and how many records it is over (format, section 9).
    pub fn seed(&self) -> Option<(Digest, String, u64)> {
        let date = now()?.date();
        let midnight = Time::midnight(&date).ok()?;
        self.log.read(|log| {
            let mut size = log.len();
            for record in log.records_from(log.len().saturating_sub(A_DAY)).ok()? {
                let record = record.ok()?;
                if record.time.is_some_and(|time| time >= midnight) {
                    size = record.seq;
                    break;
                }
            }
            Some((sample::seed(log.tree().ok()?.root(size), &date), date, size))
        })
    }
}

/// The wall time, once it is known.
pub fn now() -> Option<Time> {
    match SystemClock.moment() {
        Moment::At(now) => Time::from_millis(now.as_millisecond()),
        Moment::Unknown => None,
    }
}

/// This release.
pub fn software() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// Eight random bytes that say which attempts were made together.
pub fn run() -> Token {
    let mut bytes = [0; 8];
    // Without randomness two runs would share a name, and nothing else would be wrong.
    let _ = getrandom::fill(&mut bytes);
    Token(bytes)
}
