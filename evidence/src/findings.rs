//! What a roll-up gives: verdict, controls and probes as judged. The details statement holds these as they are.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Time,
    control::Figures,
    record::{Note, Outcome},
};

/// What a site's evidence amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// A critical control does not hold.
    #[serde(rename = "NOT COMPLIANT")]
    NotCompliant,
    /// Something that decides was not shown.
    #[serde(rename = "NOT PROVEN")]
    NotProven,
    /// A control that is not critical does not hold.
    #[serde(rename = "COMPLIANT WITH FINDINGS")]
    WithFindings,
    /// All that decides holds.
    #[serde(rename = "COMPLIANT")]
    Compliant,
}

impl Verdict {
    /// As statements write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Compliant => "COMPLIANT",
            Self::WithFindings => "COMPLIANT WITH FINDINGS",
            Self::NotProven => "NOT PROVEN",
            Self::NotCompliant => "NOT COMPLIANT",
        }
    }
}

/// Why a probe is inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// No attempt told anything.
    #[serde(rename = "never measured")]
    NeverMeasured,
    /// For too long no attempt told anything.
    #[serde(rename = "too old")]
    TooOld,
    /// A failure still waits for its repeats.
    #[serde(rename = "not confirmed")]
    NotConfirmed,
    /// The profile does not let this control be not applicable.
    #[serde(rename = "may not be left out")]
    MayNotBeLeftOut,
}

impl Why {
    /// As statements write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::NeverMeasured => "never measured",
            Self::TooOld => "too old",
            Self::NotConfirmed => "not confirmed",
            Self::MayNotBeLeftOut => "may not be left out",
        }
    }
}

/// From (included) and to (not included).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// Beginning.
    pub from: Time,
    /// End.
    pub to: Time,
}

/// A control, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlFinding {
    /// The control.
    pub id: String,
    /// Whether it decides.
    pub mandatory: bool,
    /// How it stands.
    pub state: Outcome,
    /// First confirmed failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_fail: Option<Time>,
    /// Last confirmed failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fail: Option<Time>,
    /// Its probes, on each network.
    pub probes: Vec<ProbeFinding>,
}

/// A probe on one network, judged. Counts are of attempts in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeFinding {
    /// The probe.
    pub id: String,
    /// The network, or empty.
    pub network: String,
    /// How it stands.
    pub state: Outcome,
    /// Why, when it is inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// All attempts.
    pub attempts: u64,
    /// Passes.
    pub pass: u64,
    /// Failures.
    pub fail: u64,
    /// Attempts that told nothing.
    pub inconclusive: u64,
    /// Attempts that did not apply.
    pub not_applicable: u64,
    /// Failures that a repeat did not confirm.
    pub transient: u64,
    /// First confirmed failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_fail: Option<Time>,
    /// Last confirmed failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fail: Option<Time>,
    /// The newest attempt that told something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// Its figures.
    #[serde(default, skip_serializing_if = "Figures::is_empty")]
    pub figures: Figures,
}

/// Where to find an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// How it came out.
    pub outcome: Outcome,
    /// Its record.
    pub seq: u64,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// What the evidence of a period amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The site.
    pub verdict: Verdict,
    /// Each control of the catalogue, in its order.
    pub controls: Vec<ControlFinding>,
    /// Measured time in parts per million.
    pub coverage_ppm: u64,
    /// Longest stretch one probe left unmeasured, in seconds.
    pub longest_gap_s: u64,
    /// Attempts in the period.
    pub probes_run: u64,
    /// What to say beside the verdict, sorted.
    pub notes: BTreeSet<Note>,
    /// Whose papers counted.
    pub people: BTreeSet<Digest>,
}
