//! How a gateway is, seen from here: what it said last, held against the newest generation and the clock.

use crate::{
    publish::ListFigures,
    store::{GatewayRow, GenerationRow, State},
};
use sheshi_protocol::message::{Report, Service};

/// A gateway reports every minute; after this many seconds without a report it is silent.
pub(crate) const SILENT: i64 = 300;

/// How a gateway is: the worst that is known of it. The order is the order of urgency, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Condition {
    /// Its key is in two places, or somebody replays it.
    Quarantined,
    /// Guests get nothing.
    Closed,
    /// Nothing was heard for too long: nobody knows what guests get.
    Silent,
    /// Waiting for somebody to decide.
    Pending,
    /// Guests are served, and something is wrong.
    Troubled,
    /// Served, but not by the newest generation yet.
    Behind,
    /// As it should be.
    Open,
    /// Not let in, or no longer.
    Out,
}

impl Condition {
    pub(crate) const ALL: [Self; 8] = [
        Self::Quarantined,
        Self::Closed,
        Self::Silent,
        Self::Pending,
        Self::Troubled,
        Self::Behind,
        Self::Open,
        Self::Out,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Pending => "pending",
            Self::Troubled => "troubled",
            Self::Behind => "behind",
            Self::Open => "open",
            Self::Out => "out",
        }
    }

    /// The colour: `good`, `warn`, `stop` or `rest`.
    pub(crate) fn colour(self) -> &'static str {
        match self {
            Self::Quarantined | Self::Closed => "stop",
            Self::Silent | Self::Pending | Self::Troubled => "warn",
            Self::Behind => "soft",
            Self::Open => "good",
            Self::Out => "rest",
        }
    }
}

/// Something that the dashboard itself finds wrong with a gateway. The words of each are in `words/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Why it is in quarantine.
    Quarantined(String),
    /// Something suspicious.
    Alarm(String),
    /// The same request came again, so often.
    Repeats(i64),
    /// It has never reported.
    NeverReported,
    /// It calls itself something else than what it was let in as.
    OtherName(String),
    /// It runs under a number we published, but not what we published under it.
    OtherPolicy(u64),
    /// It runs a generation that we have not published.
    UnknownGeneration(u64),
}

/// A gateway as pages show it.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) condition: Condition,
    pub(crate) report: Option<Report>,
    /// Whether guests get the internet; none where nothing recent and trustworthy says so.
    pub(crate) open: Option<bool>,
    pub(crate) findings: Vec<Finding>,
    /// Seconds since its oldest list was written, where its policy is known here.
    pub(crate) oldest_list: Option<i64>,
}

/// What the dashboard knows of published policies.
#[derive(Debug, Default)]
pub(crate) struct Published {
    newest: Option<u64>,
    /// Number, digest, and when its oldest list was written.
    all: Vec<(u64, String, Option<i64>)>,
}

impl Published {
    pub(crate) fn new(generations: &[GenerationRow]) -> Self {
        let all: Vec<_> = generations
            .iter()
            .map(|row| {
                let lists: Vec<ListFigures> = serde_json::from_str(&row.lists).unwrap_or_default();
                (row.number.unsigned_abs(), row.digest.clone(), lists.iter().filter_map(|list| list.written).min())
            })
            .collect();
        Self { newest: all.iter().map(|(number, ..)| *number).max(), all }
    }
}

/// Looks at a gateway.
pub(crate) fn look(row: &GatewayRow, published: &Published, now: i64) -> Sight {
    let report: Option<Report> = row.report.as_deref().and_then(|report| serde_json::from_str(report).ok());
    let mut findings = Vec::new();
    if row.state == State::Quarantined {
        findings.push(Finding::Quarantined(row.why.clone()));
    }
    if !row.alarm.is_empty() {
        findings.push(Finding::Alarm(row.alarm.clone()));
    }
    if row.repeats > 0 {
        findings.push(Finding::Repeats(row.repeats));
    }
    if row.state == State::Approved && report.is_none() {
        findings.push(Finding::NeverReported);
    }
    let mut oldest_list = None;
    let mut behind = false;
    if let Some(report) = &report {
        if report.site != row.site {
            findings.push(Finding::OtherName(report.site.clone()));
        }
        if let Some(policy) = &report.policy
            && let Some(newest) = published.newest
        {
            behind = policy.generation < newest;
            match published.all.iter().find(|(number, ..)| *number == policy.generation) {
                Some((_, digest, oldest)) if digest.eq_ignore_ascii_case(&policy.digest) => {
                    oldest_list = oldest.map(|at| (now - at).max(0));
                }
                Some(_) => findings.push(Finding::OtherPolicy(policy.generation)),
                None => findings.push(Finding::UnknownGeneration(policy.generation)),
            }
        }
    }
    let condition = match (row.state, &report) {
        (State::Quarantined, _) => Condition::Quarantined,
        (State::Pending, _) => Condition::Pending,
        (State::Refused | State::Revoked, _) => Condition::Out,
        (State::Approved, None) => Condition::Silent,
        (State::Approved, Some(_)) if row.seen_at.is_none_or(|at| now - at > SILENT) => Condition::Silent,
        (State::Approved, Some(report)) if report.service == Service::Closed => Condition::Closed,
        (State::Approved, Some(report)) if !report.troubles.is_empty() || !findings.is_empty() => Condition::Troubled,
        (State::Approved, Some(_)) if behind => Condition::Behind,
        (State::Approved, Some(_)) => Condition::Open,
    };
    let known = !matches!(condition, Condition::Quarantined | Condition::Silent | Condition::Pending | Condition::Out);
    let open = report.as_ref().filter(|_| known).map(|report| report.service == Service::Open);
    Sight { condition, report, open, findings, oldest_list }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State, report: Option<&str>) -> GatewayRow {
        GatewayRow {
            id: 1,
            key: [1; 32],
            site: "Sheshi".into(),
            state,
            why: String::new(),
            alarm: String::new(),
            claimed_at: 0,
            repeats: 0,
            seen_at: report.map(|_| 1000),
            report: report.map(str::to_owned),
        }
    }

    fn report(service: &str, generation: u64, digest: char, troubles: &str) -> String {
        let digest = digest.to_string().repeat(64);
        format!(
            r#"{{"site":"Sheshi","version":"0.1.0","service":"{service}","troubles":{troubles},
                "policy":{{"generation":{generation},"digest":"{digest}"}}}}"#
        )
    }

    fn published() -> Published {
        Published { newest: Some(2), all: vec![(2, "b".repeat(64), Some(400)), (1, "a".repeat(64), None)] }
    }

    #[test]
    fn condition_is_the_worst_that_is_known() {
        let trouble = r#"[{"what":"no uplink","fix":"plug it in"}]"#;
        for (state, said, now, condition) in [
            (State::Pending, None, 1000, Condition::Pending),
            (State::Approved, None, 1000, Condition::Silent),
            (State::Approved, Some(report("open", 2, 'b', "[]")), 1000, Condition::Open),
            (State::Approved, Some(report("open", 1, 'a', "[]")), 1000, Condition::Behind),
            (State::Approved, Some(report("open", 2, 'c', "[]")), 1000, Condition::Troubled),
            (State::Approved, Some(report("open", 7, 'b', "[]")), 1000, Condition::Troubled),
            (State::Approved, Some(report("open", 2, 'b', trouble)), 1000, Condition::Troubled),
            (State::Approved, Some(report("closed", 2, 'b', trouble)), 1000, Condition::Closed),
            (State::Approved, Some(report("open", 2, 'b', "[]")), 1301, Condition::Silent),
            (State::Approved, Some("{}".into()), 1000, Condition::Silent),
            (State::Quarantined, Some(report("open", 2, 'b', "[]")), 1000, Condition::Quarantined),
            (State::Revoked, Some(report("open", 2, 'b', "[]")), 1000, Condition::Out),
        ] {
            let sight = look(&row(state, said.as_deref()), &published(), now);
            assert_eq!(sight.condition, condition, "{state:?} {said:?}");
            let known =
                [Condition::Open, Condition::Behind, Condition::Troubled, Condition::Closed].contains(&condition);
            assert_eq!(sight.open, known.then_some(condition != Condition::Closed));
        }
    }

    #[test]
    fn age_of_lists_is_told_only_of_a_policy_we_know() {
        let look = |report: String| look(&row(State::Approved, Some(&report)), &published(), 1000).oldest_list;
        assert_eq!(look(report("open", 2, 'b', "[]")), Some(600));
        assert_eq!(look(report("open", 2, 'c', "[]")), None);
        assert_eq!(look(report("open", 3, 'b', "[]")), None);
    }

    #[test]
    fn other_name_and_used_code_are_troubles() {
        let mut row = row(State::Approved, Some(&report("open", 2, 'b', "[]")));
        (row.site, row.alarm, row.repeats) = ("Biblioteka".into(), "used again".into(), 3);
        let sight = look(&row, &published(), 1000);
        assert_eq!(sight.findings.len(), 3);
        assert_eq!(sight.condition, Condition::Troubled);
    }
}
