//! One gateway: what it said last, what is wrong and what mends it, its last two days; and deciding about it.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{Extension, Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::Deserialize;

use crate::{
    app::App,
    fleet::{self, Condition, Finding, Published},
    guard::Visitor,
    store::{self, HourRow},
    time::{self, When},
    view::{self, Answer, Frame},
    words::{Words, fill},
};
use sheshi_protocol::message::{Report, Trouble};
use sheshi_protocol::signed;

/// Hours shown.
const HOURS: i64 = 48;

#[derive(Template)]
#[template(path = "site.html")]
struct SitePage {
    frame: Frame,
    id: i64,
    site: String,
    condition: Condition,
    word: String,
    state: &'static str,
    fingerprint: String,
    key: String,
    claimed: When,
    seen: Option<When>,
    report: Option<Report>,
    open: Option<bool>,
    running: String,
    newest: Option<i64>,
    oldest_list: Option<String>,
    troubles: Vec<Trouble>,
    lists: Vec<[String; 5]>,
    counts: Vec<(String, String)>,
    hours: Vec<Hour>,
    told: i64,
    may_decide: bool,
}

/// An hour of the strip: its colour and what it says.
struct Hour {
    class: &'static str,
    text: String,
    /// Height in percent: the share of the minutes that were reported.
    share: i64,
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    /// `approve`, `refuse` or `revoke`.
    to: String,
    /// The state that the page showed.
    state: String,
    /// The key that the page showed.
    key: String,
}

/// A finding of ours, in words.
fn trouble(finding: &Finding, words: &Words) -> Trouble {
    let texts = &words.finding;
    let (what, fix) = match finding {
        Finding::Quarantined(why) => (fill(&texts.quarantined, &[("why", why)]), &texts.quarantined_fix),
        Finding::Alarm(alarm) => (fill(&texts.alarm, &[("alarm", alarm)]), &texts.alarm_fix),
        Finding::Repeats(n) => (fill(&texts.repeats, &[("n", &n.to_string())]), &texts.repeats_fix),
        Finding::NeverReported => (texts.never.clone(), &texts.never_fix),
        Finding::OtherName(name) => (fill(&texts.other_name, &[("name", name)]), &texts.other_name_fix),
        Finding::OtherPolicy(n) => (fill(&texts.other_policy, &[("n", &n.to_string())]), &texts.other_policy_fix),
        Finding::UnknownGeneration(n) => {
            (fill(&texts.unknown_generation, &[("n", &n.to_string())]), &texts.unknown_generation_fix)
        }
    };
    Trouble { what, fix: fix.clone() }
}

/// The hours up to now, those without a report too.
fn strip(hours: &[HourRow], now: i64, app: &App, words: &Words) -> Vec<Hour> {
    let this = now / 3600;
    (this - HOURS + 1..=this)
        .map(|hour| {
            let row = hours.iter().find(|row| row.hour == hour);
            let minutes = if hour == this { now % 3600 / 60 + 1 } else { 60 };
            let start = When::new(hour * 3600, now, &app.settings.zone, words).full;
            let (class, text, share) = match row {
                None => ("none", words.site.hour_none.clone(), 0),
                Some(row) => {
                    let class = if row.open == 0 {
                        "stop"
                    } else if row.open < row.reports || row.troubles > 0 || row.reports < minutes * 9 / 10 {
                        "warn"
                    } else {
                        "good"
                    };
                    let values = [
                        ("reports", &*row.reports.to_string()),
                        ("open", &*row.open.to_string()),
                        ("troubles", &*row.troubles.to_string()),
                    ];
                    (class, fill(&words.site.hour, &values), (row.reports * 100 / minutes).clamp(8, 100))
                }
            };
            Hour { class, text: format!("{start}: {text}"), share }
        })
        .collect()
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
) -> Answer {
    let words = visitor.words;
    let Some(row) = app.store.gateway(id).await? else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let generations = app.store.generations().await?;
    let now = app.now();
    let sight = fleet::look(&row, &Published::new(&generations), now);
    let hours = app.store.hours(id, now / 3600 - HOURS + 1).await?;
    let mut troubles: Vec<Trouble> = sight.findings.iter().map(|finding| trouble(finding, words)).collect();
    let report = sight.report;
    troubles.extend(report.iter().flat_map(|report| report.troubles.clone()));
    let lists = report.iter().filter_map(|report| report.policy.as_ref()).flat_map(|policy| &policy.lists);
    let frame = Frame::new(&visitor, "/fleet");
    let page = SitePage {
        may_decide: frame.may("/site/{id}/decide"),
        frame,
        id,
        site: row.site,
        condition: sight.condition,
        word: words.state(sight.condition.name()),
        state: row.state.name(),
        fingerprint: signed::fingerprint(&row.key),
        key: hex::encode(row.key),
        claimed: view::when(&app, words, row.claimed_at),
        seen: row.seen_at.map(|at| view::when(&app, words, at)),
        open: sight.open,
        running: report
            .as_ref()
            .map_or_else(String::new, |report| time::span(i64::try_from(report.running).unwrap_or(i64::MAX), words)),
        newest: generations.first().map(|row| row.number),
        oldest_list: sight.oldest_list.map(|seconds| time::span(seconds, words)),
        troubles,
        lists: lists
            .map(|list| {
                [
                    list.name.clone(),
                    list.category.clone().unwrap_or_else(|| words.site.allowed.clone()),
                    list.edition.clone(),
                    time::number(list.entries, words),
                    time::number(list.refused, words),
                ]
            })
            .collect(),
        counts: report
            .iter()
            .flat_map(|report| &report.counts)
            .map(|(name, count)| {
                let known = words.counts.get(name).cloned();
                (known.unwrap_or_else(|| name.replace('_', " ")), time::number(*count, words))
            })
            .collect(),
        told: hours.iter().map(|hour| hour.reports).sum(),
        hours: strip(&hours, now, &app, words),
        report,
    };
    Ok(view::page(StatusCode::OK, words, &page))
}

/// Decides about a gateway, as the page showed it: a key or a state that has changed since is not decided about.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
    Form(form): Form<Decision>,
) -> Answer {
    use store::State::{Approved, Pending, Quarantined, Refused, Revoked};
    let from = store::State::ALL.into_iter().find(|state| state.name() == form.state);
    let key: Option<[u8; 32]> = hex::decode(&form.key).ok().and_then(|key| key.try_into().ok());
    let (Some(from), Some(key)) = (from, key) else { return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response()) };
    let to = match (&*form.to, from) {
        ("approve", Pending) => Approved,
        ("refuse", Pending) => Refused,
        ("revoke", Approved | Quarantined) => Revoked,
        _ => return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response()),
    };
    if app.store.gateway(id).await?.is_none() {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    if app.store.decide(id, (from, key), to, visitor.name(), app.now()).await? {
        Ok(view::see_other(&format!("/site/{id}")))
    } else {
        Ok(StatusCode::CONFLICT.into_response())
    }
}

impl SitePage {
    fn standing(&self) -> String {
        self.frame.words.state(self.state)
    }
}
