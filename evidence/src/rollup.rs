//! From attempts to a verdict: probe → control → site (`docs/evidence-format.md`, section 10). Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Digest, Time,
    control::{Catalogue, Control, FailsAs, Figures, Kind, Probe, Scope, Severity},
    profile::Profile,
    record::{Attempt, Body, Note, Outcome, Paper, Record},
    sign::PublicKey,
};

pub use crate::findings::{ControlFinding, Findings, Last, Period, ProbeFinding, Verdict, Why};

const SECOND: i64 = 1_000;
/// A failed critical probe is repeated at once, and again this many milliseconds after it failed.
pub const REPEAT_AFTER: i64 = 300 * SECOND;
/// How far beyond its cadence a probe may be late before it is inconclusive.
const GRACE: i64 = 24 * 3_600 * SECOND;
/// Probes at least this frequent make up the measured time.
const COUNTED_CADENCE_S: u64 = 3_600;
/// Less measured time than this is not enough.
const COVERAGE_PPM: u64 = 990_000;

/// Which failures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Each confirmed failure of the period: what a report says.
    Period,
    /// Only those that no later pass has answered: what stands at the period's end.
    Standing,
}

/// Takes records in order and gives [`Findings`]. Holds 24 bytes an attempt.
pub struct RollUp<'a> {
    catalogue: &'a Catalogue,
    profile: &'a Profile,
    people: &'a [PublicKey],
    period: Period,
    /// By position of control and probe in the catalogue; within, by network.
    series: BTreeMap<(usize, usize), BTreeMap<String, Series>>,
    /// Position of each probe by ids.
    index: BTreeMap<(&'a str, &'a str), (usize, usize)>,
    networks: Vec<String>,
    signers: BTreeSet<Digest>,
}

#[derive(Default)]
struct Series {
    points: Vec<Point>,
    last: Option<Last>,
    figures: Figures,
    note: Option<Note>,
    /// The newest conclusive entry is a paper, which counts while it is valid.
    paper: bool,
}

#[derive(Clone, Copy)]
struct Point {
    time: Option<Time>,
    judged: Outcome,
    /// A single record from before what was read in full.
    single: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    In,
    After,
}

/// What became of a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Confirmed,
    Open,
    Transient,
}

impl<'a> RollUp<'a> {
    /// Nothing read yet. `people` are those whose papers count.
    pub fn new(catalogue: &'a Catalogue, profile: &'a Profile, people: &'a [PublicKey], period: Period) -> Self {
        let mut index = BTreeMap::new();
        for (c, control) in catalogue.controls.iter().enumerate() {
            for (p, probe) in control.probes.iter().enumerate() {
                index.insert((control.id.as_str(), probe.id.as_str()), (c, p));
            }
        }
        let (series, networks, signers) = Default::default();
        Self { catalogue, profile, people, period, series, index, networks, signers }
    }

    /// Takes the next record; `single` when it stands alone, without the records around it.
    pub fn add(&mut self, record: &Record, single: bool) {
        if let Body::Site(site) = &record.body {
            self.networks = site.networks.iter().map(|network| network.id.clone()).collect();
        }
        let Some(weighed) = self.weigh(record) else { return };
        if let (Entry::Paper(paper), true) = (weighed.entry, weighed.judged != Outcome::Inconclusive) {
            self.signers.insert(paper.signer);
        }
        self.put(&weighed, record, single);
    }

    /// Which series a record belongs to, by a key of its own, and how it is judged; `None` when it is no outcome of this
    /// catalogue.
    pub fn judged(&self, record: &Record) -> Option<(String, Outcome)> {
        let weighed = self.weigh(record)?;
        Some((format!("{:?} {}", weighed.at, weighed.network), weighed.judged))
    }

    fn weigh<'r>(&self, record: &'r Record) -> Option<Weighed<'r>> {
        match &record.body {
            Body::Probe(attempt) => {
                let (at, control, probe) = self.find(&attempt.control, &attempt.probe)?;
                let judged = self.judge(control, probe, attempt.outcome, &attempt.figures, record.time);
                let entry = Entry::Attempt(attempt);
                (probe.kind != Kind::Paper).then_some(Weighed { at, network: &attempt.network, judged, entry })
            }
            Body::Paper(paper) => {
                let (at, control, probe) = self.find(&paper.control, &paper.probe)?;
                let end = self.period.to.plus_millis(-1);
                let counts = (paper.valid_from..paper.valid_to).contains(&end) && paper.is_signed_by(self.people);
                let judged = match counts {
                    true => self.judge(control, probe, paper.outcome, &paper.figures, record.time),
                    false => Outcome::Inconclusive,
                };
                (probe.kind != Kind::Measured).then_some(Weighed {
                    at,
                    network: "",
                    judged,
                    entry: Entry::Paper(paper),
                })
            }
            _ => None,
        }
    }

    fn find(&self, control: &str, probe: &str) -> Option<((usize, usize), &'a Control, &'a Probe)> {
        let at = *self.index.get(&(control, probe))?;
        let control = &self.catalogue.controls[at.0];
        Some((at, control, &control.probes[at.1]))
    }

    fn judge(&self, control: &Control, probe: &Probe, said: Outcome, figures: &Figures, time: Option<Time>) -> Outcome {
        let fails = match probe.fails_as {
            FailsAs::Fail => Outcome::Fail,
            FailsAs::Unproven => Outcome::Inconclusive,
        };
        match said {
            Outcome::Fail => fails,
            // Nothing good is believed of a time that nobody knows.
            _ if time.is_none() => Outcome::Inconclusive,
            Outcome::NotApplicable if !probe.may_not_apply => Outcome::Inconclusive,
            Outcome::Pass => {
                let limits = self.profile.limits(&control.id, probe);
                if limits.iter().any(|limit| !figures.contains_key(&limit.figure)) {
                    Outcome::Inconclusive
                } else if limits.iter().all(|limit| limit.holds(figures[&limit.figure])) {
                    Outcome::Pass
                } else {
                    fails
                }
            }
            other => other,
        }
    }

    fn put(&mut self, weighed: &Weighed<'_>, record: &Record, single: bool) {
        let point = Point { time: record.time, judged: weighed.judged, single };
        let place = self.place(point);
        let networks = self.series.entry(weighed.at).or_default();
        if !networks.contains_key(weighed.network) {
            networks.insert(weighed.network.to_owned(), Series::default());
        }
        let series = networks.get_mut(weighed.network).expect("just inserted");
        series.points.push(point);
        if weighed.judged == Outcome::Inconclusive || place == Place::After {
            return;
        }
        series.last = Some(Last { outcome: weighed.judged, seq: record.seq, time: record.time });
        let (figures, note) = match weighed.entry {
            Entry::Attempt(attempt) => (&attempt.figures, attempt.note),
            Entry::Paper(paper) => (&paper.figures, None),
        };
        series.figures.clone_from(figures);
        series.note = note;
        series.paper = matches!(weighed.entry, Entry::Paper(_));
    }

    fn place(&self, point: Point) -> Place {
        match point.time {
            _ if point.single => Place::Before,
            None => Place::In,
            Some(time) if time < self.period.from => Place::Before,
            Some(time) if time < self.period.to => Place::In,
            Some(_) => Place::After,
        }
    }

    /// What all of it amounts to.
    pub fn finish(&self, view: View) -> Findings {
        let empty = Series::default();
        let mut notes = BTreeSet::new();
        let mut measured = Measured::default();
        let mut probes_run = 0;
        let mut controls = Vec::new();
        for (c, control) in self.catalogue.controls.iter().enumerate() {
            let mandatory = self.profile.mandatory.contains(&control.id);
            let mut probes = Vec::new();
            for (p, probe) in control.probes.iter().enumerate() {
                for network in self.networks_of(probe) {
                    let series = self.series.get(&(c, p)).and_then(|by| by.get(network)).unwrap_or(&empty);
                    let finding = self.judge_series(control, probe, network, series, view);
                    probes_run += finding.attempts;
                    notes.extend(series.note);
                    if finding.transient > 0 {
                        notes.insert(Note::Transient);
                    }
                    if mandatory && probe.required && probe.kind != Kind::Paper && probe.cadence_s <= COUNTED_CADENCE_S
                    {
                        self.measure(probe, series, &mut measured);
                    }
                    probes.push(finding);
                }
            }
            controls.push(self.judge_control(control, mandatory, probes));
        }
        if controls.iter().any(|control| control.id == "SH-01" && control.state != Outcome::Pass) {
            notes.insert(Note::NoCsamList);
        }
        let coverage_ppm = measured.coverage_ppm();
        Findings {
            verdict: self.verdict(&controls, coverage_ppm),
            controls,
            coverage_ppm,
            longest_gap_s: measured.longest_gap.unsigned_abs() / 1_000,
            probes_run,
            notes,
            people: self.signers.clone(),
        }
    }

    fn networks_of(&self, probe: &Probe) -> Vec<&str> {
        // Without a site record nothing is known of networks: one nameless series, which nothing can have measured.
        if probe.scope == Scope::Site || self.networks.is_empty() {
            vec![""]
        } else {
            self.networks.iter().map(String::as_str).collect()
        }
    }

    fn judge_series(
        &self,
        control: &Control,
        probe: &Probe,
        network: &str,
        series: &Series,
        view: View,
    ) -> ProbeFinding {
        let fates = fates(series, control.is_critical(probe));
        let mut finding = ProbeFinding {
            id: probe.id.clone(),
            network: network.to_owned(),
            state: Outcome::Inconclusive,
            why: None,
            attempts: 0,
            pass: 0,
            fail: 0,
            inconclusive: 0,
            not_applicable: 0,
            transient: 0,
            first_fail: None,
            last_fail: None,
            last: series.last.clone(),
            figures: series.figures.clone(),
        };
        // The last entry that answers earlier failures, where only what stands counts.
        let answered = match view {
            View::Period => None,
            View::Standing => series.points.iter().rposition(|point| {
                matches!(point.judged, Outcome::Pass | Outcome::NotApplicable) && self.place(*point) != Place::After
            }),
        };
        let (mut confirmed, mut open, mut newest) = (false, false, None);
        for (i, point) in series.points.iter().enumerate() {
            let place = self.place(*point);
            if place == Place::After {
                continue;
            }
            match (point.judged, fates[i]) {
                (Outcome::Inconclusive, _) | (_, Some(Fate::Transient)) => {}
                (judged, fate) => newest = Some((judged, fate)),
            }
            if place != Place::In {
                continue;
            }
            finding.attempts += 1;
            match point.judged {
                Outcome::Pass => finding.pass += 1,
                Outcome::Fail => finding.fail += 1,
                Outcome::Inconclusive => finding.inconclusive += 1,
                Outcome::NotApplicable => finding.not_applicable += 1,
            }
            match fates[i] {
                Some(Fate::Confirmed) => {
                    finding.first_fail = finding.first_fail.or(point.time);
                    finding.last_fail = point.time.or(finding.last_fail);
                    confirmed |= answered.is_none_or(|answered| answered < i);
                }
                Some(Fate::Open) => open = true,
                Some(Fate::Transient) => finding.transient += 1,
                None => {}
            }
        }
        let inconclusive = |why| (Outcome::Inconclusive, Some(why));
        (finding.state, finding.why) = match newest {
            _ if confirmed => (Outcome::Fail, None),
            _ if open => inconclusive(Why::NotConfirmed),
            None if !probe.required => (Outcome::NotApplicable, None),
            None => inconclusive(Why::NeverMeasured),
            _ if self.is_too_old(probe, series, &fates) => inconclusive(Why::TooOld),
            // Failed before the period, and nothing has answered it since.
            Some((Outcome::Fail, Some(Fate::Open))) => inconclusive(Why::NotConfirmed),
            Some((judged, _)) => (judged, None),
        };
        finding
    }

    fn is_too_old(&self, probe: &Probe, series: &Series, fates: &[Option<Fate>]) -> bool {
        if series.paper {
            return false;
        }
        let allowance = i64::try_from(probe.cadence_s).unwrap_or(i64::MAX / 2_000).saturating_mul(SECOND) + GRACE;
        let mut newest_before = None;
        let mut walk = Vec::new();
        for (point, fate) in series.points.iter().zip(fates) {
            let Some(time) = point.time.filter(|_| point.judged != Outcome::Inconclusive) else { continue };
            if matches!(fate, Some(Fate::Transient | Fate::Open)) {
                continue;
            }
            match self.place(*point) {
                Place::Before => newest_before = newest_before.max(Some(time)),
                Place::In => walk.push(time),
                Place::After => {}
            }
        }
        walk.sort_unstable();
        let mut at = newest_before.unwrap_or(self.period.from);
        for time in walk.into_iter().chain([self.period.to]) {
            if time.millis() - at.millis() > allowance {
                return true;
            }
            at = time;
        }
        false
    }

    fn measure(&self, probe: &Probe, series: &Series, measured: &mut Measured) {
        let reach = i64::try_from(probe.cadence_s).unwrap_or_default() * SECOND * 3 / 2;
        let (from, to) = (self.period.from.millis(), self.period.to.millis());
        let mut times: Vec<i64> = series
            .points
            .iter()
            .filter(|point| point.judged != Outcome::Inconclusive)
            .filter_map(|point| point.time)
            .map(Time::millis)
            .filter(|time| *time < to)
            .collect();
        times.sort_unstable();
        measured.expected += to - from;
        let mut covered_to = from;
        for time in times {
            let (start, end) = (time.max(from), (time + reach).min(to));
            if end <= covered_to {
                continue;
            }
            let gap = (start - covered_to).max(0);
            measured.longest_gap = measured.longest_gap.max(gap);
            measured.covered += end - covered_to - gap;
            covered_to = end;
        }
        measured.longest_gap = measured.longest_gap.max(to - covered_to);
    }

    fn judge_control(&self, control: &Control, mandatory: bool, mut probes: Vec<ProbeFinding>) -> ControlFinding {
        let any = |state| probes.iter().any(|probe| probe.state == state);
        let mut state = if any(Outcome::Fail) {
            Outcome::Fail
        } else if any(Outcome::Inconclusive) {
            Outcome::Inconclusive
        } else if any(Outcome::Pass) {
            Outcome::Pass
        } else {
            Outcome::NotApplicable
        };
        if state == Outcome::NotApplicable && self.profile.never_left_out.contains(&control.id) {
            state = Outcome::Inconclusive;
            for probe in &mut probes {
                probe.state = Outcome::Inconclusive;
                probe.why = Some(Why::MayNotBeLeftOut);
            }
        }
        ControlFinding {
            id: control.id.clone(),
            mandatory,
            state,
            first_fail: probes.iter().filter_map(|probe| probe.first_fail).min(),
            last_fail: probes.iter().filter_map(|probe| probe.last_fail).max(),
            probes,
        }
    }

    fn verdict(&self, controls: &[ControlFinding], coverage_ppm: u64) -> Verdict {
        let deciding = || controls.iter().filter(|control| control.mandatory);
        let critical = |finding: &ControlFinding| {
            self.catalogue.control(&finding.id).is_none_or(|control| control.severity == Severity::Critical)
        };
        // A profile made for another catalogue may ask for what nothing here can show.
        let unknown = self.profile.mandatory.iter().any(|id| self.catalogue.control(id).is_none());
        if deciding().any(|control| control.state == Outcome::Fail && critical(control)) {
            Verdict::NotCompliant
        } else if unknown
            || deciding().next().is_none()
            || coverage_ppm < COVERAGE_PPM
            || deciding().any(|control| control.state == Outcome::Inconclusive)
        {
            Verdict::NotProven
        } else if deciding().any(|control| control.state == Outcome::Fail) {
            Verdict::WithFindings
        } else {
            Verdict::Compliant
        }
    }
}

/// An outcome, its place in the catalogue, and what it is worth.
struct Weighed<'r> {
    at: (usize, usize),
    network: &'r str,
    judged: Outcome,
    entry: Entry<'r>,
}

#[derive(Clone, Copy)]
enum Entry<'r> {
    Attempt(&'r Attempt),
    Paper(&'r Paper),
}

#[derive(Default)]
struct Measured {
    covered: i64,
    expected: i64,
    longest_gap: i64,
}

impl Measured {
    fn coverage_ppm(&self) -> u64 {
        if self.expected == 0 {
            return 1_000_000;
        }
        // In 128 bits: a year of many probes in milliseconds, times a million, is more than 64 hold.
        u64::try_from(i128::from(self.covered) * 1_000_000 / i128::from(self.expected)).unwrap_or_default()
    }
}

/// What became of each failure, by position; `None` for what is not one.
fn fates(series: &Series, critical: bool) -> Vec<Option<Fate>> {
    let points = &series.points;
    let told: Vec<usize> = (0..points.len()).filter(|i| points[*i].judged != Outcome::Inconclusive).collect();
    let mut fates = vec![None; points.len()];
    for (k, &i) in told.iter().enumerate().filter(|(_, i)| points[**i].judged == Outcome::Fail) {
        // Of a single record the repeats were not read, and nothing newer answered it.
        if !critical || points[i].single {
            fates[i] = Some(Fate::Confirmed);
            continue;
        }
        let first = told.get(k + 1).copied();
        let second = told.iter().skip(k + 2).copied().find(|later| match (points[i].time, points[*later].time) {
            (Some(failed), Some(repeated)) => repeated.millis() - failed.millis() >= REPEAT_AFTER,
            _ => true,
        });
        let failed = |at: usize| points[at].judged == Outcome::Fail;
        fates[i] = Some(match (first, second) {
            (Some(first), Some(second)) if failed(first) && failed(second) => Fate::Confirmed,
            (Some(_), Some(_)) => Fate::Transient,
            _ => Fate::Open,
        });
    }
    fates
}

#[cfg(test)]
#[path = "rollup_tests.rs"]
mod tests;
