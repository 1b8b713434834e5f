//! The audit log: who did what, and whether the chain holds.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Query, State};
use hyper::StatusCode;
use serde::Deserialize;

use crate::{
    app::App,
    audit::{Deed, Entry},
    guard::Visitor,
    time::When,
    view::{self, Answer, Frame},
    words::{self, fill},
};

/// Entries on one page.
const ENTRIES: u32 = 100;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    entries: Vec<Line>,
    count: i64,
    head: String,
    /// What to say of the first entry that does not fit.
    broken: Option<String>,
    /// The number below which older entries are, when there are any.
    older: Option<i64>,
}

struct Line {
    number: i64,
    when: When,
    who: String,
    deed: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Below {
    below: Option<i64>,
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<Below>,
) -> Answer {
    let words = visitor.words;
    let chain = app.store.audit_check().await?;
    let entries = app.store.audit_page(query.below.unwrap_or(i64::MAX), ENTRIES).await?;
    let older = entries.last().map(|entry| entry.number).filter(|number| *number > 1);
    let line = |entry: Entry| Line {
        number: entry.number,
        when: view::when(&app, words, entry.at),
        who: short(&entry.who),
        deed: words::of(&words.deeds, &entry.action).to_owned(),
        subject: short(&entry.subject),
        before: entry.before.as_deref().map(short),
        after: entry.after.as_deref().map(short),
    };
    let page = AuditPage {
        frame: Frame::new(&visitor, "/audit"),
        entries: entries.into_iter().map(line).collect(),
        count: chain.count,
        head: hex::encode(chain.head),
        broken: chain.broken.map(|number| fill(&words.audit.broken, &[("n", &number.to_string())])),
        older,
    };
    Ok(view::page(StatusCode::OK, words, &page))
}

/// A text with its keys and digests cut to what an eye compares; the export has them whole.
fn short(text: &str) -> String {
    let is_long = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .map(|word| {
            let (bare, end) = match word.char_indices().last() {
                Some((at, letter)) if !letter.is_ascii_alphanumeric() => word.split_at(at),
                _ => (word, ""),
            };
            if is_long(bare) { format!("{}…{end}", &bare[..12]) } else { word.to_owned() }
        })
        .collect()
}

/// The whole log, one entry a line in JSON. A deed itself, which is why it is no link.
pub(crate) async fn export(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    app.store.note(app.now(), Deed::new(&visitor.name(), "audit-exported", "audit log")).await?;
    let mut lines = String::new();
    for entry in app.store.audit_all().await? {
        lines.push_str(&serde_json::to_string(&entry).unwrap_or_default());
        lines.push('\n');
    }
    Ok(view::download("application/jsonl; charset=utf-8", "audit.jsonl", lines))
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn only_keys_and_digests_are_cut() {
        let key = "0f".repeat(32);
        assert_eq!(short(&key), "0f0f0f0f0f0f…");
        assert_eq!(short(&format!("Sheshi Skënderbej, key {key}: ë")), "Sheshi Skënderbej, key 0f0f0f0f0f0f…: ë");
        assert_eq!(short("Bashkia e Tiranës "), "Bashkia e Tiranës ");
    }
}
