//! What the evidence amounts to now, for `sheshi status`, monitoring and metrics.

use std::fmt;

use serde::{Deserialize, Serialize};
use sheshi_evidence::{
    Time,
    control::{Catalogue, Severity},
    record::Outcome,
    rollup::{Findings, Verdict},
};

/// How the gateway stands by its own measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// A test bed, not a hotspot.
    pub lab: bool,
    /// Which controls decide.
    pub profile: String,
    /// What it amounts to.
    pub verdict: Verdict,
    /// Measured time in parts per million.
    pub coverage_ppm: u64,
    /// How many of the deciding controls hold, and how many there are.
    pub holding: (usize, usize),
    /// What does not hold, or is not shown to.
    pub open: Vec<Open>,
}

/// A control that does not hold, or that is not shown to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The control.
    pub control: String,
    /// What it asks for, in a few words.
    pub title: String,
    /// Whether the site fails with it.
    pub critical: bool,
    /// `fail` or `inconclusive`.
    pub state: Outcome,
    /// Since when it fails, in seconds; nothing where it only was not shown.
    pub seconds: Option<u64>,
    /// Which probes, and why.
    pub probes: Vec<String>,
}

impl Standing {
    /// Of the deciding controls. `why` tells what the newest attempt of a probe saw.
    pub fn new(
        findings: &Findings,
        profile: &str,
        lab: bool,
        now: Option<Time>,
        why: impl Fn(&str, &str) -> Option<String>,
    ) -> Self {
        let catalogue = Catalogue::builtin();
        let deciding: Vec<_> = findings.controls.iter().filter(|control| control.mandatory).collect();
        let good = |outcome: Outcome| matches!(outcome, Outcome::Pass | Outcome::NotApplicable);
        let open = deciding.iter().filter(|control| !good(control.state)).map(|control| {
            let known = catalogue.control(&control.id);
            let probes = control.probes.iter().filter(|probe| !good(probe.state));
            Open {
                control: control.id.clone(),
                title: known.map_or_else(String::new, |known| known.title.en.clone()),
                critical: known.is_none_or(|known| known.severity == Severity::Critical),
                state: control.state,
                seconds: now
                    .zip(control.first_fail)
                    .map(|(now, then)| (now.millis() - then.millis()).max(0) as u64 / 1000),
                probes: probes
                    .map(|probe| {
                        let reason = probe.why.map(|why| format!(" ({})", why.text())).unwrap_or_default();
                        let saw = why(&control.id, &probe.id).map(|saw| format!(": {saw}")).unwrap_or_default();
                        format!("{}{reason}{saw}", probe.id)
                    })
                    .collect(),
            }
        });
        Self {
            lab,
            profile: profile.to_owned(),
            verdict: findings.verdict,
            coverage_ppm: findings.coverage_ppm,
            holding: (deciding.iter().filter(|control| good(control.state)).count(), deciding.len()),
            open: open.collect(),
        }
    }

    /// For monitoring: 0 where nothing is open, 1 for findings, 2 where it is not compliant, 3 where it is not proven.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Compliant => 0,
            Verdict::WithFindings => 1,
            Verdict::NotCompliant => 2,
            Verdict::NotProven => 3,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lab = if self.lab { "LAB " } else { "" };
        let (hold, all) = self.holding;
        write!(f, "{lab}{}, profile {}: {hold} of {all} controls hold", self.verdict.text(), self.profile)?;
        for open in &self.open {
            let since =
                open.seconds.map(|seconds| format!(" for {}", crate::status::span(seconds))).unwrap_or_default();
            let state = if open.state == Outcome::Fail { "FAILS" } else { "not proven" };
            write!(f, "\n          {} {state}{since}: {}", open.control, open.title)?;
            for probe in &open.probes {
                write!(f, "\n            {}", probe.chars().take(180).collect::<String>())?;
            }
        }
        Ok(())
    }
}
