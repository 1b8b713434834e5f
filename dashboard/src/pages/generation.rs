//! One generation: what was published, by whom, where it is in force; and going back to it.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Extension, Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;

use super::policy::{Change, changes, finish};
use crate::{
    Error,
    app::App,
    guard::Visitor,
    inputs::Input,
    publish::{Entry, ListFigures, is_held},
    store::{self, GenerationRow},
    time::When,
    view::{self, Answer, Frame},
    words::fill,
};
use sheshi_protocol::message::Report;

#[derive(Template)]
#[template(path = "generation.html")]
struct GenerationPage {
    frame: Frame,
    number: i64,
    newest: i64,
    digest: String,
    who: String,
    note: String,
    when: When,
    text: String,
    lists: Vec<Change>,
    /// Gateways that said last that they run it, and gateways let in.
    running: (usize, usize),
    may_write: bool,
    /// Whether one can go back to it.
    back: bool,
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(number): Path<i64>,
) -> Answer {
    let words = visitor.words;
    let generations = app.store.generations().await?;
    let Some(row) = generations.iter().find(|row| row.number == number) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let newest = generations.first().map_or(0, |row| row.number);
    let figures = |row: &GenerationRow| -> Vec<ListFigures> { serde_json::from_str(&row.lists).unwrap_or_default() };
    let before = generations.iter().find(|other| other.number == number - 1).map(figures).unwrap_or_default();
    let gateways = app.store.gateways().await?;
    let admitted = gateways.iter().filter(|gateway| gateway.state == store::State::Approved);
    let runs = admitted.clone().filter(|gateway| {
        let report = gateway.report.as_deref().and_then(|report| serde_json::from_str(report).ok());
        report.and_then(|report: Report| report.policy).is_some_and(|policy| policy.digest == row.digest)
    });
    let frame = Frame::new(&visitor, "/policy");
    let page = GenerationPage {
        may_write: frame.may("/policy/{number}/again"),
        frame,
        number,
        newest,
        back: number != newest && is_held(number, newest),
        digest: row.digest.clone(),
        who: row.who.clone(),
        note: row.note.clone(),
        when: view::when(&app, words, row.at),
        text: row.text.clone(),
        lists: changes(&app, words, &before, &figures(row)),
        running: (runs.count(), admitted.count()),
    };
    Ok(view::page(StatusCode::OK, words, &page))
}

/// Publishes an earlier generation as a newer one: its text, with the lists as they were then.
pub(crate) async fn again(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(number): Path<i64>,
) -> Answer {
    let newest = app.store.newest_generation().await?.map_or(0, |row| row.number);
    let Some(row) = app.store.generation(number).await?.filter(|_| is_held(number, newest)) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let inputs: Vec<Input> = match serde_json::from_str(&row.inputs) {
        Ok(inputs) => inputs,
        Err(error) => {
            let why = format!("generation {number}: {error}");
            return Err(Error::Database { doing: "reading the inputs of a generation", why }.into());
        }
    };
    let entry = Entry {
        text: row.text,
        note: fill(&visitor.words.policy.again_note, &[("n", &number.to_string())]),
        who: visitor.name(),
        at: app.now(),
        keep_draft: true,
    };
    finish(&app, &visitor, entry, Some(inputs), String::new()).await
}
