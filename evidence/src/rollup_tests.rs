use proptest::prelude::*;

use super::*;
use crate::{
    Token,
    record::{Network, Site},
};

const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;

fn start() -> Time {
    "2026-11-16T00:00:00.000Z".parse().unwrap()
}

/// Two controls that decide (critical and medium, a fast probe each), one slow drill, one paper.
fn catalogue() -> Catalogue {
    let text = r#"
        id = "small"
        version = "1"
        [[group]]
        id = "A"
        title = { en = "A", sq = "A" }
        [[control]]
        id = "SH-05"
        group = "A"
        severity = "critical"
        assurance = "M"
        title = { en = "a", sq = "a" }
        requirement = "r"
        regimes = {}
        [[control.probe]]
        id = "p1"
        cadence_s = 3600
        what = "w"
        [[control]]
        id = "SH-06"
        group = "A"
        severity = "medium"
        assurance = "M"
        title = { en = "a", sq = "a" }
        requirement = "r"
        regimes = {}
        [[control.probe]]
        id = "p1"
        cadence_s = 3600
        may_not_apply = true
        limits = [{ figure = "misses", at_most = 0 }]
        what = "w"
        [[control]]
        id = "SH-17"
        group = "A"
        severity = "low"
        assurance = "M"
        title = { en = "a", sq = "a" }
        requirement = "r"
        regimes = {}
        [[control.probe]]
        id = "p1"
        scope = "site"
        cadence_s = 2678400
        what = "w"
        [[control.probe]]
        id = "p2"
        scope = "site"
        kind = "paper"
        cadence_s = 31536000
        required = false
        may_not_apply = true
        what = "w"
    "#;
    Catalogue::parse(text).unwrap()
}

fn profile(mandatory: &str) -> Profile {
    let text = format!("id = \"p\"\nversion = \"1\"\ntitle = {{ en = \"p\", sq = \"p\" }}\nmandatory = [{mandatory}]");
    Profile::parse(&text, &catalogue()).unwrap()
}

#[derive(Debug, Clone)]
struct Try {
    at: Option<i64>,
    probe: (&'static str, &'static str),
    network: &'static str,
    outcome: Outcome,
    misses: Option<i64>,
}

fn record(seq: u64, time: Option<Time>, body: Body) -> Record {
    Record { body, boot: Token([0; 8]), gw: "gw".into(), mono: 0, prev: Digest::default(), seq, time, v: 1 }
}

fn attempt(seq: u64, tried: &Try) -> Record {
    let attempt = Attempt {
        ask: String::new(),
        control: tried.probe.0.into(),
        figures: tried.misses.iter().map(|misses| ("misses".to_owned(), *misses)).collect(),
        ms: 1,
        msg: None,
        network: tried.network.into(),
        note: None,
        outcome: tried.outcome,
        probe: tried.probe.1.into(),
        run: Token([0; 8]),
        sample: None,
        saw: String::new(),
        want: String::new(),
    };
    record(seq, tried.at.map(|at| start().plus_millis(at)), Body::Probe(attempt))
}

/// One week, two networks, each fast probe passes every hour.
fn good_week() -> Vec<Try> {
    let mut week =
        vec![Try { at: Some(-5 * DAY), probe: ("SH-17", "p1"), network: "", outcome: Outcome::Pass, misses: None }];
    for hour in 0..7 * 24 {
        for probe in [("SH-05", "p1"), ("SH-06", "p1")] {
            for network in ["vlan20", "vlan21"] {
                let at = Some(hour * 60 * MINUTE);
                week.push(Try { at, probe, network, outcome: Outcome::Pass, misses: Some(0) });
            }
        }
    }
    week
}

fn judge_with(profile: &Profile, tries: &[Try], view: View) -> Findings {
    let catalogue = catalogue();
    let period = Period { from: start(), to: start().plus_millis(7 * DAY) };
    let mut rollup = RollUp::new(&catalogue, profile, &[], period);
    let network = |id: &str| Network { id: id.into(), name: id.into() };
    let site = Site {
        name: "s".into(),
        networks: vec![network("vlan20"), network("vlan21")],
        organisation: "o".into(),
        site: "s".into(),
    };
    rollup.add(&record(1, Some(start()), Body::Site(site)), true);
    for (i, tried) in tries.iter().enumerate() {
        rollup.add(&attempt(i as u64 + 2, tried), tried.at.is_some_and(|at| at < 0));
    }
    rollup.finish(view)
}

fn all() -> Profile {
    profile(r#""SH-05", "SH-06", "SH-17""#)
}

fn judge(tries: &[Try]) -> Findings {
    judge_with(&all(), tries, View::Period)
}

fn state(findings: &Findings, control: &str) -> Outcome {
    findings.controls.iter().find(|finding| finding.id == control).unwrap().state
}

/// Puts attempts of one probe on one network among the week's, in order of time.
fn with(extra: &[(i64, &'static str, Outcome)]) -> Vec<Try> {
    let mut week = good_week();
    week.extend(extra.iter().map(|(at, control, outcome)| Try {
        at: Some(*at),
        probe: (control, "p1"),
        network: "vlan20",
        outcome: *outcome,
        misses: Some(0),
    }));
    week.sort_by_key(|tried| tried.at);
    week
}

const NOON: i64 = 12 * 60 * MINUTE + 7 * MINUTE;

#[test]
fn failed_critical_probe_whose_repeats_fail_makes_the_site_not_compliant() {
    let fail = Outcome::Fail;
    let week = with(&[(NOON, "SH-05", fail), (NOON + 2_000, "SH-05", fail), (NOON + 5 * MINUTE, "SH-05", fail)]);
    let findings = judge(&week);
    assert_eq!(state(&findings, "SH-05"), Outcome::Fail);
    assert_eq!(findings.verdict, Verdict::NotCompliant);
    let control = &findings.controls[0];
    assert_eq!(control.first_fail, Some(start().plus_millis(NOON)));
}

#[test]
fn good_week_complies() {
    let findings = judge(&good_week());
    assert_eq!(findings.verdict, Verdict::Compliant);
    assert_eq!(findings.coverage_ppm, 1_000_000);
    assert_eq!(findings.probes_run, 7 * 24 * 4);
    assert!(findings.notes.is_empty());
}

#[test]
fn repeat_before_five_minutes_is_not_the_later_one() {
    let fail = Outcome::Fail;
    let late = 5 * MINUTE - 1;
    // The third failure comes too early, the next hourly attempt passes: not confirmed.
    let week = with(&[(NOON, "SH-05", fail), (NOON + 2_000, "SH-05", fail), (NOON + late, "SH-05", fail)]);
    let findings = judge(&week);
    assert_eq!(findings.verdict, Verdict::Compliant);
    assert_eq!(findings.controls[0].probes[0].transient, 3);
    assert!(findings.notes.contains(&Note::Transient));
}

#[test]
fn failure_without_repeats_is_open_and_nothing_is_proven() {
    let findings = judge(&with(&[(7 * DAY - 2 * MINUTE, "SH-05", Outcome::Fail)]));
    let probe = &findings.controls[0].probes[0];
    assert_eq!((probe.state, probe.why), (Outcome::Inconclusive, Some(Why::NotConfirmed)));
    assert_eq!(findings.verdict, Verdict::NotProven);
}

#[test]
fn repeats_after_the_period_confirm_a_failure_in_it() {
    let at = 7 * DAY - 2 * MINUTE;
    let repeats =
        [(at, "SH-05", Outcome::Fail), (at + 2_000, "SH-05", Outcome::Fail), (at + 5 * MINUTE, "SH-05", Outcome::Fail)];
    assert_eq!(judge(&with(&repeats)).verdict, Verdict::NotCompliant);
}

#[test]
fn inconclusive_repeats_clear_nothing() {
    let at = 7 * DAY - 30 * MINUTE;
    let mut extra = vec![(at, "SH-05", Outcome::Fail)];
    extra.extend((1..20).map(|minute| (at + minute * MINUTE, "SH-05", Outcome::Inconclusive)));
    assert_eq!(judge(&with(&extra)).verdict, Verdict::NotProven);
}

#[test]
fn failure_of_a_control_that_is_not_critical_is_a_finding_at_once() {
    let findings = judge(&with(&[(NOON, "SH-06", Outcome::Fail)]));
    assert_eq!(state(&findings, "SH-06"), Outcome::Fail);
    assert_eq!(findings.verdict, Verdict::WithFindings);
}

#[test]
fn figure_outside_its_limit_is_a_failure_and_a_missing_one_proves_nothing() {
    let mut week = good_week();
    week[100].misses = Some(1);
    assert_eq!(week[100].probe.0, "SH-06");
    assert_eq!(state(&judge(&week), "SH-06"), Outcome::Fail);
    for tried in &mut week {
        tried.misses = None;
    }
    assert_eq!(state(&judge(&week), "SH-06"), Outcome::Inconclusive);
}

#[test]
fn not_applicable_counts_only_where_the_catalogue_allows_it() {
    let mut week = good_week();
    week.iter_mut().for_each(|tried| tried.outcome = Outcome::NotApplicable);
    let findings = judge(&week);
    assert_eq!(state(&findings, "SH-05"), Outcome::Inconclusive);
    assert_eq!(state(&findings, "SH-06"), Outcome::NotApplicable);
    let mut strict = all();
    strict.never_left_out.insert("SH-06".into());
    let findings = judge_with(&strict, &week, View::Period);
    assert_eq!(findings.controls[1].probes[0].why, Some(Why::MayNotBeLeftOut));
}

#[test]
fn network_without_a_probe_is_not_proven() {
    let week: Vec<_> = good_week().into_iter().filter(|tried| tried.network != "vlan21").collect();
    let findings = judge(&week);
    assert_eq!(findings.verdict, Verdict::NotProven);
    assert_eq!(findings.coverage_ppm, 500_000);
    assert_eq!(findings.controls[0].probes[1].why, Some(Why::NeverMeasured));
}

#[test]
fn drill_too_long_ago_is_not_proven() {
    let mut week = good_week();
    week[0].at = Some(-24 * DAY);
    assert_eq!(judge(&week).verdict, Verdict::Compliant);
    // 31 days and the grace of one, seen from the end of the week.
    week[0].at = Some(-25 * DAY - 1);
    let findings = judge(&week);
    assert_eq!(findings.controls[2].probes[0].why, Some(Why::TooOld));
    assert_eq!(findings.verdict, Verdict::NotProven);
}

#[test]
fn drill_that_failed_before_the_period_still_fails() {
    let mut week = good_week();
    week[0].outcome = Outcome::Fail;
    assert_eq!(judge(&week).verdict, Verdict::WithFindings);
}

#[test]
fn control_that_is_not_mandatory_changes_nothing() {
    let fail = Outcome::Fail;
    let week = with(&[(NOON, "SH-05", fail), (NOON + 2_000, "SH-05", fail), (NOON + 5 * MINUTE, "SH-05", fail)]);
    let findings = judge_with(&profile(r#""SH-06""#), &week, View::Period);
    assert_eq!(state(&findings, "SH-05"), Outcome::Fail);
    assert_eq!(findings.verdict, Verdict::Compliant);
}

#[test]
fn profile_that_asks_for_nothing_or_for_what_the_catalogue_lacks_proves_nothing() {
    let mut other = all();
    other.mandatory.insert("SH-99".into());
    assert_eq!(judge_with(&other, &good_week(), View::Period).verdict, Verdict::NotProven);
    other.mandatory.clear();
    assert_eq!(judge_with(&other, &good_week(), View::Period).verdict, Verdict::NotProven);
}

#[test]
fn two_hours_without_measurement_in_a_week_are_too_many() {
    let hole = |hours: i64| {
        let gap = 60 * MINUTE * 24..60 * MINUTE * (24 + hours);
        let week: Vec<_> =
            good_week().into_iter().filter(|tried| !tried.at.is_some_and(|at| gap.contains(&at))).collect();
        judge(&week)
    };
    // An attempt reaches one and a half hours: two missing leave one and a half hours of 168 uncovered.
    let findings = hole(2);
    assert_eq!(findings.longest_gap_s, 5_400);
    assert_eq!(findings.coverage_ppm, 991_071);
    assert_eq!(findings.verdict, Verdict::Compliant);
    assert_eq!(hole(3).verdict, Verdict::NotProven);
}

#[test]
fn pass_of_unknown_time_proves_nothing_and_a_failure_counts() {
    let mut week = good_week();
    week.iter_mut().for_each(|tried| tried.at = None);
    assert_eq!(state(&judge(&week), "SH-06"), Outcome::Inconclusive);
    let mut week = good_week();
    week[101] = Try { at: None, outcome: Outcome::Fail, ..week[100].clone() };
    assert_eq!(state(&judge(&week), "SH-06"), Outcome::Fail);
}

#[test]
fn what_stands_forgives_a_failure_that_a_later_pass_answered() {
    let week = with(&[(NOON, "SH-06", Outcome::Fail)]);
    assert_eq!(judge_with(&all(), &week, View::Standing).verdict, Verdict::Compliant);
    let week = with(&[(7 * DAY - MINUTE, "SH-06", Outcome::Fail)]);
    assert_eq!(judge_with(&all(), &week, View::Standing).verdict, Verdict::WithFindings);
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Pass),
        1 => Just(Outcome::Fail),
        1 => Just(Outcome::Inconclusive),
        1 => Just(Outcome::NotApplicable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The whole of the rule: taking knowledge away never makes a verdict better.
    #[test]
    fn pass_turned_inconclusive_or_dropped_never_betters_the_verdict(
        outcomes in prop::collection::vec(outcome(), 673),
        turned in prop::collection::vec(any::<prop::sample::Index>(), 1..200),
        drop in any::<bool>(),
    ) {
        let mut week = good_week();
        for (tried, outcome) in week.iter_mut().zip(outcomes) {
            tried.outcome = outcome;
        }
        for view in [View::Period, View::Standing] {
            let before = judge_with(&all(), &week, view).verdict;
            let mut less = week.clone();
            let mut gone = BTreeSet::new();
            for at in &turned {
                let at = at.index(less.len());
                if less[at].outcome == Outcome::Pass {
                    less[at].outcome = Outcome::Inconclusive;
                    gone.insert(at);
                }
            }
            if drop {
                less = less.into_iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, tried)| tried).collect();
            }
            let after = judge_with(&all(), &less, view).verdict;
            prop_assert!(after <= before, "{before:?} became {after:?}");
        }
    }

    /// A mandatory probe that is silent on one network is never COMPLIANT.
    #[test]
    fn silent_probe_is_never_compliant(probe in 0..3_usize, network in 0..2_usize) {
        let silent = [("SH-05", "p1"), ("SH-06", "p1"), ("SH-17", "p1")][probe];
        let network = if probe == 2 { "" } else { ["vlan20", "vlan21"][network] };
        let week: Vec<_> =
            good_week().into_iter().filter(|tried| (tried.probe, tried.network) != (silent, network)).collect();
        prop_assert_eq!(judge(&week).verdict, Verdict::NotProven);
    }

    /// Without a pass there is no passing control, whatever else was tried.
    #[test]
    fn nothing_but_inconclusive_never_passes(kept in prop::collection::vec(any::<bool>(), 673)) {
        let week: Vec<_> = good_week()
            .into_iter()
            .zip(kept)
            .filter(|(_, keep)| *keep)
            .map(|(tried, _)| Try { outcome: Outcome::Inconclusive, ..tried })
            .collect();
        let findings = judge(&week);
        prop_assert!(findings.controls.iter().all(|control| control.state == Outcome::Inconclusive));
        prop_assert_eq!(findings.verdict, Verdict::NotProven);
    }
}
