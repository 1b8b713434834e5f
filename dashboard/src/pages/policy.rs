//! The policy: written as text, checked with all problems at once, kept as a draft, published as a generation.

use std::{sync::Arc, time::UNIX_EPOCH};

use askama::Template;
use axum::{
    Form,
    extract::{Extension, State},
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::Deserialize;

use crate::{
    app::App,
    guard::Visitor,
    inputs::Input,
    publish::{Entry, ListFigures, Unfit, is_held},
    secret,
    store::{Draft, GenerationRow},
    time::{self, When},
    view::{self, Answer, Fault, Frame},
    words::{Words, fill},
};

/// Longest text of a policy, in octets.
const LONGEST: usize = 512 << 10;
/// What the text area shows where there is neither draft nor generation.
const START: &str = include_str!("../../templates/start.toml");

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    frame: Frame,
    text: String,
    /// Hash of the draft that the text was made from; empty for none.
    base: String,
    outcome: Outcome,
    draft: Option<(String, When)>,
    generations: Vec<Line>,
    files: Vec<(String, String, When)>,
    folder: String,
    may_write: bool,
    /// What to say first, with its colour.
    notice: Option<(&'static str, String)>,
}

/// What checking gave.
enum Outcome {
    Nothing,
    Problems(Vec<Shown>),
    /// The lists, or putting it all together.
    Lists(String),
    Fit {
        next: i64,
        checked: String,
        lists: Vec<Change>,
        lines: (usize, usize),
        same: bool,
    },
}

/// A problem with the line it is about.
struct Shown {
    line: usize,
    path: String,
    wrong: String,
    right: String,
    text: String,
}

/// A list against the same list of the newest generation.
pub(super) struct Change {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) edition: String,
    pub(super) entries: String,
    pub(super) refused: String,
    /// How many entries more or fewer, signed; empty for a new list.
    pub(super) change: String,
    /// `same`, `new`, `gone`, `grown`, `shrunk`.
    pub(super) kind: &'static str,
    pub(super) age: String,
}

struct Line {
    number: i64,
    digest: String,
    who: String,
    note: String,
    when: When,
    newest: bool,
    /// Whether one can go back to it.
    back: bool,
}

#[derive(Deserialize)]
pub(crate) struct Text {
    text: String,
    #[serde(default)]
    base: String,
    #[serde(default)]
    checked: String,
    #[serde(default)]
    note: String,
}

fn hash_of(text: &str) -> String {
    hex::encode(secret::hash(text))
}

/// Browsers send line ends as CR LF (HTML standard, "constructing the entry list").
fn unix(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn line(app: &App, words: &Words, row: &GenerationRow, newest: i64) -> Line {
    Line {
        number: row.number,
        digest: row.digest.chars().take(12).collect(),
        who: row.who.clone(),
        note: row.note.clone(),
        when: view::when(app, words, row.at),
        newest: row.number == newest,
        back: row.number != newest && is_held(row.number, newest),
    }
}

async fn show(
    app: &App,
    visitor: &Visitor,
    status: StatusCode,
    text: Option<(String, String)>,
    outcome: Outcome,
    notice: Option<(&'static str, String)>,
) -> Result<Response, Fault> {
    let words = visitor.words;
    let generations = app.store.generations().await?;
    let draft = app.store.draft().await?;
    let newest = generations.first();
    let (text, base) = text.unwrap_or_else(|| match (&draft, newest) {
        (Some(draft), _) => (draft.text.clone(), hash_of(&draft.text)),
        (None, Some(newest)) => (newest.text.clone(), String::new()),
        (None, None) => (START.to_owned(), String::new()),
    });
    let number = newest.map_or(0, |row| row.number);
    let frame = Frame::new(visitor, "/policy");
    let page = PolicyPage {
        may_write: frame.may("/policy/publish"),
        frame,
        text,
        base,
        outcome,
        draft: draft.map(|draft| (draft.who, view::when(app, words, draft.at))),
        generations: generations.iter().map(|row| line(app, words, row, number)).collect(),
        files: files(app, words),
        folder: app.places.lists.display().to_string(),
        notice,
    };
    Ok(view::page(status, words, &page))
}

/// What is in the lists folder: name, size, when it was written.
fn files(app: &App, words: &Words) -> Vec<(String, String, When)> {
    let entries = std::fs::read_dir(&app.places.lists).into_iter().flatten().flatten().take(200);
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            let written = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
            let size = if about.is_dir() {
                words.policy.folder.clone()
            } else {
                format!("{} kB", time::number(about.len().div_ceil(1000), words))
            };
            let when = view::when(app, words, i64::try_from(written).ok()?);
            Some((entry.file_name().to_string_lossy().into_owned(), size, when))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

pub(crate) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    show(&app, &visitor, StatusCode::OK, None, Outcome::Nothing, None).await
}

/// How each list changes from the newest generation to what was compiled.
pub(super) fn changes(app: &App, words: &Words, old: &[ListFigures], new: &[ListFigures]) -> Vec<Change> {
    let now = app.now();
    let change = |list: &ListFigures, kind, change: String| Change {
        name: list.name.clone(),
        category: list.category.clone().unwrap_or_else(|| words.site.allowed.clone()),
        edition: list.edition.clone(),
        entries: time::number(list.entries, words),
        refused: time::number(list.refused, words),
        change,
        kind,
        age: list.written.map_or_else(String::new, |at| time::span((now - at).max(0), words)),
    };
    let mut changes: Vec<Change> = new
        .iter()
        .map(|list| match old.iter().find(|before| before.name == list.name) {
            None => change(list, "new", words.policy.new_list.clone()),
            Some(before) if before.entries < list.entries => {
                change(list, "grown", format!("+{}", time::number(list.entries - before.entries, words)))
            }
            Some(before) if before.entries > list.entries => {
                change(list, "shrunk", format!("−{}", time::number(before.entries - list.entries, words)))
            }
            Some(_) => change(list, "same", words.policy.same_list.clone()),
        })
        .collect();
    for before in old.iter().filter(|before| !new.iter().any(|list| list.name == before.name)) {
        changes.push(change(before, "gone", words.policy.gone_list.clone()));
    }
    changes
}

/// Lines that only the new, and only the old text has.
fn lines_changed(old: &str, new: &str) -> (usize, usize) {
    use std::collections::HashMap;
    let mut counts: HashMap<&str, i64> = HashMap::new();
    new.lines().for_each(|line| *counts.entry(line).or_default() += 1);
    old.lines().for_each(|line| *counts.entry(line).or_default() -= 1);
    let sum = |sign: i64| counts.values().map(|count| usize::try_from(count * sign).unwrap_or(0)).sum();
    (sum(1), sum(-1))
}

fn unfit(text: &str, unfit: Unfit) -> Result<Outcome, Fault> {
    match unfit {
        Unfit::Failed(error) => Err(error.into()),
        Unfit::Lists(why) => Ok(Outcome::Lists(why)),
        Unfit::Problems(problems) => {
            let shown = problems.into_iter().map(|problem| Shown {
                text: text.lines().nth(problem.line.saturating_sub(1)).unwrap_or_default().chars().take(200).collect(),
                line: problem.line,
                path: problem.path,
                wrong: problem.wrong,
                right: problem.right,
            });
            Ok(Outcome::Problems(shown.collect()))
        }
    }
}

/// Compiles on a thread that may work for long.
async fn make(
    app: &Arc<App>,
    text: String,
    number: i64,
    kept: Option<Vec<Input>>,
) -> Result<crate::publish::Made, Unfit> {
    let app = app.clone();
    let work = tokio::task::spawn_blocking(move || app.places.make(&text, number, kept)).await;
    work.map_err(|error| Unfit::Failed(crate::Error::Database { doing: "compiling a policy", why: error.to_string() }))?
}

async fn checked(app: &Arc<App>, visitor: &Visitor, text: &str) -> Result<Outcome, Fault> {
    let _turn = app.compiling.lock().await;
    let newest = app.store.newest_generation().await?;
    let next = newest.as_ref().map_or(0, |row| row.number) + 1;
    let made = make(app, text.to_owned(), next, None).await;
    app.places.sweep(&app.store.generations().await?);
    match made {
        Err(why) => unfit(text, why),
        Ok(made) => {
            let old: Vec<ListFigures> =
                newest.as_ref().and_then(|row| serde_json::from_str(&row.lists).ok()).unwrap_or_default();
            let before = newest.as_ref().map_or("", |row| &*row.text);
            let lists = changes(app, visitor.words, &old, &made.lists);
            let same = newest.is_some() && before == text && old == made.lists;
            Ok(Outcome::Fit { next, checked: hash_of(text), lists, lines: lines_changed(before, text), same })
        }
    }
}

fn too_long(text: &str) -> bool {
    text.len() > LONGEST
}

pub(crate) async fn check(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<Text>,
) -> Answer {
    let text = unix(&form.text);
    if too_long(&text) {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    let outcome = checked(&app, &visitor, &text).await?;
    show(&app, &visitor, StatusCode::OK, Some((text, form.base)), outcome, None).await
}

pub(crate) async fn draft(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<Text>,
) -> Answer {
    let text = unix(&form.text);
    if too_long(&text) {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    let kept = app.store.draft().await?.map(|draft| draft.text);
    let made_from = kept.filter(|kept| hash_of(kept) == form.base);
    let draft = Draft { text: text.clone(), who: visitor.name(), at: app.now() };
    match app.store.save_draft(draft, made_from).await? {
        None => {
            let base = hash_of(&text);
            let notice = Some(("good", visitor.words.policy.draft_saved.clone()));
            show(&app, &visitor, StatusCode::OK, Some((text, base)), Outcome::Nothing, notice).await
        }
        Some(other) => {
            let notice = fill(&visitor.words.policy.draft_conflict, &[("who", &other.who)]);
            // Saving once more means it: the page now shows that there is another.
            let base = hash_of(&other.text);
            let notice = Some(("warn", notice));
            show(&app, &visitor, StatusCode::CONFLICT, Some((text, base)), Outcome::Nothing, notice).await
        }
    }
}

pub(crate) async fn discard(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    app.store.discard_draft(visitor.name(), app.now()).await?;
    Ok(view::see_other("/policy"))
}

/// Publishes the text that was checked. Another text than that is checked first, and shown.
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<Text>,
) -> Answer {
    let text = unix(&form.text);
    if too_long(&text) || form.note.chars().count() > 200 {
        return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    if form.checked != hash_of(&text) {
        let outcome = checked(&app, &visitor, &text).await?;
        let notice = Some(("warn", visitor.words.policy.changed_since.clone()));
        return show(&app, &visitor, StatusCode::CONFLICT, Some((text, form.base)), outcome, notice).await;
    }
    let entry = Entry {
        text: text.clone(),
        note: form.note.trim().to_owned(),
        who: visitor.name(),
        at: app.now(),
        keep_draft: false,
    };
    finish(&app, &visitor, entry, None, form.base).await
}

/// Compiles and publishes. What fails changes nothing.
pub(super) async fn finish(
    app: &Arc<App>,
    visitor: &Visitor,
    entry: Entry,
    kept: Option<Vec<Input>>,
    base: String,
) -> Answer {
    let turn = app.compiling.lock().await;
    let next = app.store.newest_generation().await?.map_or(0, |row| row.number) + 1;
    let text = entry.text.clone();
    match make(app, text.clone(), next, kept).await {
        Err(why) => {
            drop(turn);
            let outcome = unfit(&text, why)?;
            let notice = Some(("stop", visitor.words.policy.not_published.clone()));
            show(app, visitor, StatusCode::UNPROCESSABLE_ENTITY, Some((text, base)), outcome, notice).await
        }
        Ok(made) => {
            if !app.places.publish(&app.store, made, entry, next).await? {
                return Ok(StatusCode::CONFLICT.into_response());
            }
            app.places.sweep(&app.store.generations().await?);
            drop(turn);
            app.shelf.newest(&app.store, &app.places).await?;
            Ok(view::see_other(&format!("/policy/{next}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_counted_both_ways() {
        assert_eq!(lines_changed("a\nb\nc\n", "a\nc\nd\ne\n"), (2, 1));
        assert_eq!(lines_changed("", "a\n"), (1, 0));
        assert_eq!(lines_changed("a\na\n", "a\n"), (0, 1));
    }
}
