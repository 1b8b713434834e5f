//! The catalogue: what is asked of a hotspot, as data (`controls/*.toml`), and which probes show it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};

use crate::{Digest, canon, problem::Problems};

/// A text in English and Albanian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Title {
    /// English.
    pub en: String,
    /// Albanian.
    pub sq: String,
}

/// All controls, in the order of every report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Its name.
    pub id: String,
    /// Its edition.
    pub version: String,
    /// Chapters, in order.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    /// Controls, in order.
    #[serde(rename = "control", default)]
    pub controls: Vec<Control>,
}

/// A chapter of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// `A` …
    pub id: String,
    /// Its heading.
    pub title: Title,
}

/// How much hangs on a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to have.
    Low,
    /// A finding.
    Medium,
    /// A serious finding.
    High,
    /// A failure makes the site NOT COMPLIANT.
    Critical,
}

impl Severity {
    /// As written in the catalogue.
    pub fn text(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A requirement with its probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// `SH-01` …
    pub id: String,
    /// The chapter.
    pub group: String,
    /// What a failure means for the site.
    pub severity: Severity,
    /// How it is shown: M measured, C state bound by digest, D document, W outside witness.
    pub assurance: String,
    /// In a few words.
    pub title: Title,
    /// What must hold.
    pub requirement: String,
    /// Which regimes ask for it.
    pub regimes: Regimes,
    /// What is tried to see whether it holds.
    #[serde(rename = "probe")]
    pub probes: Vec<Probe>,
}

/// Who asks for a control, by short name of law or scheme.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Regimes {
    /// Asked for, or the effect of it is.
    pub required: Vec<String>,
    /// Helped by it.
    pub supports: Vec<String>,
    /// Said to, not confirmed.
    pub unconfirmed: Vec<String>,
}

/// One thing that is tried, and how its outcomes count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// `p1` … within its control.
    pub id: String,
    /// Once on each guest network, or once for the site.
    #[serde(default)]
    pub scope: Scope,
    /// Measured, or checked by a person.
    #[serde(default)]
    pub kind: Kind,
    /// Seconds between two attempts.
    pub cadence_s: u64,
    /// Whether a failure has to be repeated before it counts; by default when the control is critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// Whether its absence leaves the control unproven.
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether it may be `not applicable`.
    #[serde(default)]
    pub may_not_apply: bool,
    /// What a failure means.
    #[serde(default)]
    pub fails_as: FailsAs,
    /// What its figures must be for a pass.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// What is tried, in words.
    pub what: String,
}

fn yes() -> bool {
    true
}

/// Where a probe runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// From the guest's side of each network.
    #[default]
    Network,
    /// Once for the whole site.
    Site,
}

/// Whose outcomes count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The gateway's.
    #[default]
    Measured,
    /// A person's, signed.
    Paper,
    /// Both.
    Either,
}

/// What a failed attempt means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailsAs {
    /// The control does not hold.
    #[default]
    Fail,
    /// It was not shown to hold: the failure counts as inconclusive.
    Unproven,
}

/// Bounds of one figure of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Name of the figure.
    pub figure: String,
    /// A pass has at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<i64>,
    /// A pass has at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<i64>,
}

impl Limit {
    /// Whether the figure is within the bounds.
    pub fn holds(&self, figure: i64) -> bool {
        self.at_least.is_none_or(|least| figure >= least) && self.at_most.is_none_or(|most| figure <= most)
    }
}

const GROUPS: [&str; 8] = [
    include_str!("../controls/catalogue.toml"),
    include_str!("../controls/a-illegal-content.toml"),
    include_str!("../controls/b-minors.toml"),
    include_str!("../controls/c-no-way-round.toml"),
    include_str!("../controls/d-right-and-fair.toml"),
    include_str!("../controls/e-evidence.toml"),
    include_str!("../controls/f-guests-rights.toml"),
    include_str!("../controls/g-people.toml"),
];

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::parse(&GROUPS.concat()).expect("the built-in catalogue is checked by a test"));

impl Catalogue {
    /// The catalogue of this release.
    pub fn builtin() -> &'static Self {
        &CATALOGUE
    }

    /// Reads and checks a catalogue.
    ///
    /// # Errors
    /// Every problem at once, with its path and a hint.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let catalogue: Self = toml::from_str(text).map_err(|error| Problems::of_toml(&error))?;
        let mut problems = Problems::default();
        let groups: BTreeSet<_> = catalogue.groups.iter().map(|group| group.id.as_str()).collect();
        let mut ids = BTreeSet::new();
        for control in &catalogue.controls {
            control.check(&groups, &mut problems);
            if !ids.insert(&control.id) {
                problems.add(&control.id, "is there twice", "give each control an id of its own");
            }
        }
        if catalogue.controls.is_empty() {
            problems.add("control", "there is none", "add at least one [[control]]");
        }
        problems.none().map(|()| catalogue)
    }

    /// SHA-256 of its canonical JSON, by which statements name it.
    pub fn digest(&self) -> Digest {
        Digest::of(&canon::encode(self))
    }

    /// The control of this id.
    pub fn control(&self, id: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.id == id)
    }
}

impl Control {
    fn check(&self, groups: &BTreeSet<&str>, problems: &mut Problems) {
        let id = &self.id;
        let number = id.strip_prefix("SH-").unwrap_or_default();
        if number.len() != 2 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            problems.add(id, "is not a control's id", "write SH- and two digits, such as SH-30");
        }
        if !groups.contains(self.group.as_str()) {
            problems.add(&format!("{id}.group"), &format!("there is no group `{}`", self.group), "name a [[group]]");
        }
        if self.title.en.is_empty() || self.title.sq.is_empty() {
            problems.add(&format!("{id}.title"), "a language is missing", "give it in `en` and `sq`");
        }
        if self.probes.is_empty() {
            problems.add(id, "has no probe, so it could never be shown", "add at least one [[control.probe]]");
        }
        let mut seen = BTreeSet::new();
        for probe in &self.probes {
            let path = format!("{id}.{}", probe.id);
            let number = probe.id.strip_prefix('p').unwrap_or_default();
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                problems.add(&path, "is not a probe's id", "write p and a number, such as p1");
            }
            if !seen.insert(&probe.id) {
                problems.add(&path, "is there twice", "give each probe of a control an id of its own");
            }
            if !(1..=100_000_000).contains(&probe.cadence_s) {
                problems.add(&path, "cadence_s is out of range", "give seconds, from 1 to 100000000");
            }
            check_limits(&path, &probe.limits, problems);
        }
        if self.probes.iter().all(|probe| !probe.required) {
            problems.add(id, "no probe is required, so nothing would have to be shown", "leave out `required = false`");
        }
    }

    /// Whether a failure of this probe is repeated before it counts.
    pub fn is_critical(&self, probe: &Probe) -> bool {
        probe.critical.unwrap_or(self.severity == Severity::Critical)
    }
}

pub(crate) fn check_limits(path: &str, limits: &[Limit], problems: &mut Problems) {
    for limit in limits {
        let path = format!("{path}.limits.{}", limit.figure);
        if !is_figure(&limit.figure) {
            problems.add(&path, "is not a figure's name", "use a–z, 0–9 and _, at most 32 characters");
        }
        if limit.at_least.is_none() && limit.at_most.is_none() {
            problems.add(&path, "has no bound", "give `at_least`, `at_most` or both");
        }
        if limit.at_least.zip(limit.at_most).is_some_and(|(least, most)| least > most) {
            problems.add(&path, "can never hold", "let `at_least` be no more than `at_most`");
        }
        if [limit.at_least, limit.at_most].into_iter().flatten().any(|bound| bound.unsigned_abs() > canon::MAX_INTEGER)
        {
            problems.add(&path, "is too large", "stay below 2^53");
        }
    }
}

/// Whether a text may name a figure.
pub(crate) fn is_figure(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Figures of an attempt: counts and measures by name.
pub type Figures = BTreeMap<String, i64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_catalogue_has_29_controls_in_order_and_in_two_languages() {
        let catalogue = Catalogue::builtin();
        let ids: Vec<_> = catalogue.controls.iter().map(|control| control.id.clone()).collect();
        assert_eq!(ids, (1..=29).map(|n| format!("SH-{n:02}")).collect::<Vec<_>>());
        let groups: Vec<_> = catalogue.controls.iter().map(|control| control.group.as_str()).collect();
        assert!(groups.is_sorted(), "a group's controls stand together");
    }

    #[test]
    fn catalogue_survives_its_canonical_form() {
        let bytes = canon::encode(Catalogue::builtin());
        assert_eq!(&canon::decode::<Catalogue>(&bytes).unwrap(), Catalogue::builtin());
    }

    #[test]
    fn all_problems_of_a_catalogue_come_at_once() {
        let text = r#"
            id = "x"
            version = "1"
            [[group]]
            id = "A"
            title = { en = "A", sq = "A" }
            [[control]]
            id = "SH-1"
            group = "B"
            severity = "low"
            assurance = "M"
            title = { en = "A", sq = "" }
            requirement = "r"
            regimes = {}
            [[control.probe]]
            id = "q"
            cadence_s = 0
            required = false
            limits = [{ figure = "Misses" }, { figure = "a", at_least = 2, at_most = 1 }]
            what = "w"
        "#;
        let text = Catalogue::parse(text).unwrap_err().to_string();
        for part in [
            "SH-1: is not a control's id",
            "no group `B`",
            "a language is missing",
            "not a probe's id",
            "cadence_s is out of range",
            "SH-1.q.limits.Misses: is not a figure's name",
            "has no bound",
            "can never hold",
            "no probe is required",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
    }
}
