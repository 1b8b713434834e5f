//! Why is this blocked? One name, one group, one moment; one line.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, Query, State};
use hyper::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use sheshi_policy::{GroupId, Moment, Name};

use crate::{
    app::App,
    guard::Visitor,
    time,
    view::{self, Answer, Frame},
    words::{self, fill},
};

#[derive(Template)]
#[template(path = "explain.html")]
struct ExplainPage {
    frame: Frame,
    name: String,
    at: String,
    /// Groups by name and title, and whether it is the one asked for; empty while nothing is published.
    groups: Vec<(String, String, bool)>,
    generation: Option<i64>,
    wrong: Option<String>,
    answer: Option<Said>,
}

struct Said {
    name: String,
    action: &'static str,
    action_text: String,
    rule: String,
    facts: Vec<(&'static str, String)>,
    line: String,
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    name: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    at: String,
}

/// The name in what somebody typed or pasted: a name, or the host of a URL.
fn host(typed: &str) -> &str {
    let typed = typed.trim();
    let rest = typed.split_once("://").map_or(typed, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.split(':').next().unwrap_or(host).trim_end_matches('.')
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let words = visitor.words;
    let newest = app.shelf.newest(&app.store, &app.places).await?;
    let mut page = ExplainPage {
        frame: Frame::new(&visitor, "/explain"),
        name: asked.name.chars().take(300).collect(),
        at: asked.at.chars().take(30).collect(),
        groups: Vec::new(),
        generation: newest.as_ref().map(|newest| newest.number),
        wrong: None,
        answer: None,
    };
    let Some(newest) = newest else { return Ok(view::page(StatusCode::OK, words, &page)) };
    let compiled = &newest.compiled;
    let group = compiled.group(&asked.group).unwrap_or(GroupId(0));
    let groups = compiled.groups().iter().enumerate();
    page.groups =
        groups.map(|(n, known)| (known.name.to_string(), known.title.to_string(), n == usize::from(group.0))).collect();
    if asked.name.trim().is_empty() {
        return Ok(view::page(StatusCode::OK, words, &page));
    }
    let at = if asked.at.is_empty() {
        Timestamp::from_second(app.now()).ok()
    } else {
        time::typed(&asked.at, &app.settings.zone)
    };
    match (Name::parse(host(&asked.name)), at) {
        (Err(_), _) => page.wrong = Some(fill(&words.explain.not_a_name, &[("name", page.name.trim())])),
        (_, None) => page.wrong = Some(words.explain.not_a_time.clone()),
        (Ok(name), Some(at)) => {
            let said = compiled.explain(&name.wire(), group, Moment::At(at));
            let rule = serde_json::to_value(said.rule).ok();
            let rule = rule.as_ref().and_then(|rule| rule.as_str()).unwrap_or_default();
            let texts = &words.explain;
            let facts = [
                (&*texts.category, said.category.clone()),
                (&*texts.list, said.list.clone()),
                (&*texts.edition, said.edition.clone().filter(|edition| !edition.is_empty())),
                (&*texts.line, said.line.map(|line| line.to_string())),
                (&*texts.entry, said.entry.clone()),
            ];
            page.answer = Some(Said {
                line: said.to_string(),
                name: said.name,
                action: said.action,
                action_text: words.state(said.action),
                rule: words::of(&words.rules, rule).to_owned(),
                facts: facts.into_iter().filter_map(|(label, value)| Some((label, value?))).collect(),
            });
        }
    }
    let status = if page.wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok(view::page(status, words, &page))
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn pasted_address_is_read_as_its_name() {
        for (typed, name) in [
            (" example.org. ", "example.org"),
            ("https://www.example.org:8443/a?b#c", "www.example.org"),
            ("http://ana:secret@example.org/", "example.org"),
            ("köln.example", "köln.example"),
        ] {
            assert_eq!(host(typed), name);
        }
    }
}
