//! The fleet: every gateway on one page, and letting another one join.

use std::{fmt::Write, sync::Arc};

use askama::Template;
use axum::extract::{Extension, Query, State};
use hyper::StatusCode;
use serde::Deserialize;

use crate::{
    app::App,
    audit::Deed,
    fleet::{self, Condition, Published},
    guard::Visitor,
    secret,
    store::{CodeUse, GatewayRow},
    time::{self, When},
    view::{self, Answer, Fault, Frame},
    words::Words,
};

/// How often a wall screen loads the page anew, in seconds.
const REFRESH: u32 = 30;

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    frame: Frame,
    lines: Vec<Line>,
    /// Gateways there are, shown or not.
    all: usize,
    /// Conditions: name, word, colour, how many, and whether it is the one shown.
    tiles: Vec<(&'static str, String, &'static str, usize, bool)>,
    search: String,
    show: String,
    sorts: Vec<(&'static str, &'static str, bool)>,
    newest: Option<i64>,
    /// The query without `refresh`, and whether the page loads itself anew.
    query: String,
    may_join: bool,
}

struct Line {
    id: i64,
    site: String,
    condition: Condition,
    word: String,
    open: Option<bool>,
    generation: Option<u64>,
    digest: String,
    lists: Option<String>,
    list_seconds: i64,
    troubles: usize,
    first_trouble: String,
    seen: Option<When>,
    seen_at: i64,
    version: String,
}

#[derive(Deserialize, Default)]
pub(crate) struct Asked {
    #[serde(default)]
    search: String,
    #[serde(default)]
    show: String,
    #[serde(default)]
    sort: String,
    #[serde(default)]
    refresh: String,
}

pub(crate) async fn home() -> Answer {
    Ok(view::see_other("/fleet"))
}

async fn lines(app: &App, words: &Words) -> Result<(Vec<Line>, Option<i64>), Fault> {
    let generations = app.store.generations().await?;
    let published = Published::new(&generations);
    let now = app.now();
    let line = |row: GatewayRow| {
        let sight = fleet::look(&row, &published, now);
        let policy = sight.report.as_ref().and_then(|report| report.policy.as_ref());
        let troubles = sight.report.as_ref().map(|report| &report.troubles[..]).unwrap_or_default();
        Line {
            id: row.id,
            site: row.site,
            condition: sight.condition,
            word: words.state(sight.condition.name()),
            open: sight.open,
            generation: policy.map(|policy| policy.generation),
            digest: policy.map_or_else(String::new, |policy| policy.digest.chars().take(8).collect()),
            lists: sight.oldest_list.map(|seconds| time::span(seconds, words)),
            list_seconds: sight.oldest_list.unwrap_or(-1),
            troubles: troubles.len() + sight.findings.len(),
            first_trouble: troubles.first().map_or_else(String::new, |trouble| trouble.what.clone()),
            seen: row.seen_at.map(|at| When::new(at, now, &app.settings.zone, words)),
            seen_at: row.seen_at.unwrap_or(0),
            version: sight.report.as_ref().map_or_else(String::new, |report| report.version.clone()),
        }
    };
    let lines = app.store.gateways().await?.into_iter().map(line).collect();
    Ok((lines, generations.first().map(|row| row.number)))
}

/// Leaves what was asked for, in the order asked for.
fn choose(mut lines: Vec<Line>, asked: &Asked) -> Vec<Line> {
    let search = asked.search.trim().to_lowercase();
    lines.retain(|line| {
        line.site.to_lowercase().contains(&search)
            && match &*asked.show {
                "" => line.condition != Condition::Out,
                "all" => true,
                name => line.condition.name() == name,
            }
    });
    match &*asked.sort {
        "site" => {}
        "seen" => lines.sort_by_key(|line| line.seen_at),
        "generation" => lines.sort_by_key(|line| line.generation),
        "lists" => lines.sort_by_key(|line| std::cmp::Reverse(line.list_seconds)),
        _ => lines.sort_by_key(|line| line.condition),
    }
    lines
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let words = visitor.words;
    let (lines, newest) = lines(&app, words).await?;
    let count = |condition| lines.iter().filter(|line| line.condition == condition).count();
    let tiles = Condition::ALL
        .into_iter()
        .map(|condition| {
            let name = condition.name();
            (name, words.state(name), condition.colour(), count(condition), asked.show == name)
        })
        .filter(|(.., count, shown)| *count > 0 || *shown)
        .collect();
    let sorts = [
        ("urgency", &*words.fleet.by_urgency),
        ("site", &*words.fleet.by_site),
        ("seen", &*words.fleet.by_seen),
        ("generation", &*words.fleet.by_generation),
        ("lists", &*words.fleet.by_lists),
    ];
    let mut frame = Frame::new(&visitor, "/fleet");
    frame.refresh = if asked.refresh.is_empty() { 0 } else { REFRESH };
    let page = FleetPage {
        may_join: frame.may("/fleet/join"),
        frame,
        all: lines.len(),
        tiles,
        sorts: sorts.map(|(name, text)| (name, text, name == asked.sort)).into(),
        newest,
        query: format!(
            "search={}&show={}&sort={}",
            view::escape(&asked.search),
            view::escape(&asked.show),
            view::escape(&asked.sort)
        ),
        lines: choose(lines, &asked),
        search: asked.search,
        show: asked.show,
    };
    Ok(view::page(StatusCode::OK, words, &page))
}

pub(crate) async fn csv(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let (lines, _) = lines(&app, visitor.words).await?;
    let mut csv =
        "site,condition,service,generation,policy,oldest_list_seconds,troubles,last_seen,version\r\n".to_owned();
    for line in choose(lines, &asked) {
        let service = line.open.map_or("", |open| if open { "open" } else { "closed" });
        let generation = line.generation.map(|number| number.to_string()).unwrap_or_default();
        let lists = if line.list_seconds < 0 { String::new() } else { line.list_seconds.to_string() };
        let seen = line.seen.map(|seen| seen.machine).unwrap_or_default();
        let _ = write!(
            csv,
            "{},{},{service},{generation},{},{lists},{},{seen},{}\r\n",
            cell(&line.site),
            line.condition.name(),
            line.digest,
            line.troubles,
            cell(&line.version)
        );
    }
    Ok(view::download("text/csv; charset=utf-8", "fleet.csv", csv))
}

/// A text as a cell (RFC 4180) that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let formula = text.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[derive(Template)]
#[template(path = "fleet_join.html")]
struct JoinPage {
    frame: Frame,
    code: Option<String>,
    address: String,
}

fn join_answer(app: &App, visitor: &Visitor, code: Option<String>) -> Answer {
    let address = match &app.settings.public {
        Some(public) => format!("https://{}", public.host),
        None => format!("http://{}", app.settings.listen),
    };
    let page = JoinPage { frame: Frame::new(visitor, "/fleet"), code, address };
    Ok(view::page(StatusCode::OK, visitor.words, &page))
}

pub(crate) async fn join_page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    join_answer(&app, &visitor, None)
}

/// Makes a claim code and shows it, this once.
pub(crate) async fn join(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    let code = secret::code()?;
    let deed = Deed::new(&visitor.name(), "claim-code-made", "fleet");
    app.store.add_code(secret::code_hash(&code), CodeUse::Claim, app.now(), Some(deed)).await?;
    join_answer(&app, &visitor, Some(code))
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cell_is_never_a_formula_and_never_ends_early() {
        for (text, quoted) in [
            ("Sheshi", "\"Sheshi\""),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("=HYPERLINK(1)", "\"'=HYPERLINK(1)\""),
            (" +1", "\"' +1\""),
            ("@x", "\"'@x\""),
        ] {
            assert_eq!(cell(text), quoted);
        }
    }
}
