//! How this network filters, for everybody to read and to ask; and the form with which a guest objects.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, Request, State, rejection::QueryRejection},
    response::Response,
};
use hyper::{HeaderMap, StatusCode};
use sheshi_policy::{GroupId, Moment, Rule};

use crate::{
    dispatch::{Asker, message, words_for},
    host::Name,
    keys::{self, Purpose},
    objections::{Objection, tidy},
    pages::{self, FilterPage, Frame, ObjectionPage, Verdict},
    portal::Inner,
    routes::{Parameters, Portal, form, is_own_form, unread},
    terms,
    words::{Words, fill},
};

/// Objections within an hour: of one device, and of all.
pub(crate) const OBJECTIONS: (Duration, u32, u32) = (Duration::from_secs(3600), 3, 60);

/// The page, and the answer to `name` where one is asked about. By POST, so that no name stands in an address.
pub(crate) async fn page(
    State(inner): Portal,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let words = words_for(&inner, query.lang.as_deref(), &headers);
    render(&inner, words, None)
}

pub(crate) async fn ask(State(inner): Portal, Extension(asker): Extension<Asker>, request: Request) -> Response {
    let headers = request.headers().clone();
    let form = match form(request).await {
        Ok(form) => form,
        Err(status) => return unread(&inner, status, &headers),
    };
    let words = words_for(&inner, form.lang.as_deref(), &headers);
    let verdict = verdict(&inner, &asker, words, form.name.as_deref().unwrap_or(""));
    render(&inner, words, Some(verdict))
}

fn render(inner: &Inner, words: &'static Words, verdict: Option<Verdict>) -> Response {
    let notice = terms::notice(inner, words);
    let compiled = inner.compiled.load();
    let page = FilterPage {
        frame: Frame::new(inner, words, Some(("/filter", ""))),
        intro: fill(&words.terms.intro, &[("organisation", &inner.settings.organisation)]),
        categories: terms::blocked_categories(inner, &compiled, words),
        kept: notice.kept,
        rights: notice.rights,
        checked: terms::checked(inner, words),
        verdict,
    };
    pages::page(StatusCode::OK, words, &page)
}

/// What a guest reads as a site's name: a name, or an address of the web whose name is meant.
fn read_name(text: &str) -> Option<Name> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#', ':']).next().unwrap_or("");
    let wire = sheshi_policy::Name::parse(text.trim_end_matches('.')).ok()?.wire();
    // Back to text by its A-labels, as the policy reads it.
    let mut name = String::new();
    let mut rest = &wire[..];
    while let Some((length, more)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, more) = more.split_at_checked(usize::from(*length))?;
        name.push_str(std::str::from_utf8(label).ok()?);
        name.push('.');
        rest = more;
    }
    Name::parse(&name).filter(|name| name.as_str().contains('.'))
}

/// The answer for the group of whoever asks, by the policy in force. It is computed and kept nowhere.
fn verdict(inner: &Inner, asker: &Asker, words: &'static Words, text: &str) -> Verdict {
    let none = |text: &str| Verdict { blocked: false, text: text.to_owned(), facts: Vec::new(), name: None };
    let Some(name) = read_name(text) else { return none(&words.filter.no_name) };
    let compiled = inner.compiled.load();
    let group = inner.group(&compiled, asker.who.mac());
    let group = compiled.group(&group).unwrap_or(GroupId(u16::MAX));
    let explanation = compiled.explain(&name.wire(), group, inner.clock.moment());
    if explanation.action != "block" {
        return none(&fill(&words.filter.open, &[("name", name.as_str())]));
    }
    let category = |n: &str| compiled.categories().iter().find(|category| &*category.name == n);
    let category = explanation.category.as_deref().and_then(category);
    let mut facts = Vec::new();
    if let Some(category) = category {
        facts.push((&*words.blocked.category, words.category(&category.name, &category.title).to_owned()));
    }
    let edition = explanation.edition.as_deref().filter(|edition| !edition.is_empty());
    match (&explanation.list, explanation.rule == Rule::Order) {
        // The list of such a category is named by nobody, and neither is what stands in it.
        _ if category.is_some_and(|category| category.secret) => {}
        (Some(list), order) => {
            let label = if order { &words.blocked.order_name } else { &words.filter.list };
            facts.push((&**label, edition.map_or_else(|| list.clone(), |edition| format!("{list} ({edition})"))));
        }
        (None, _) => facts.push((&*words.blocked.reason, explanation.text)),
    }
    facts.push((&*words.blocked.by, inner.settings.organisation.clone()));
    let text = fill(&words.filter.blocked, &[("name", name.as_str())]);
    Verdict { blocked: true, text, facts, name: Some(name.as_str().to_owned()) }
}

/// The form, or the answer to the objection of `number`.
pub(crate) async fn objection(
    State(inner): Portal,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let words = words_for(&inner, query.lang.as_deref(), &headers);
    let answer = query.number.as_deref().map(|number| answer(&inner, words, number));
    let name = query.name.as_deref().and_then(read_name).map_or_else(String::new, |name| name.as_str().to_owned());
    objection_page(&inner, &asker, words, StatusCode::OK, answer, name, String::new())
}

fn answer(inner: &Inner, words: &'static Words, number: &str) -> Vec<String> {
    let texts = &words.objection;
    let now = inner.unix();
    let Some(objection) = inner.objections.get(&keys::read_code(number), now) else {
        return vec![texts.unknown.clone()];
    };
    match objection.decision {
        None => vec![fill(&texts.waiting, &[("date", &by(inner, words, objection.decide_by))])],
        Some(decision) => {
            let told = if decision.granted { &texts.granted } else { &texts.refused };
            [told.clone(), decision.answer].into_iter().filter(|line| !line.is_empty()).collect()
        }
    }
}

/// A day; where the clock was not set, how many days it takes.
fn by(inner: &Inner, words: &Words, at: Option<i64>) -> String {
    match at.and_then(|at| jiff::Timestamp::from_second(at).ok()) {
        Some(at) => at.strftime("%Y-%m-%d").to_string(),
        None => words.days(inner.settings.objection_days),
    }
}

fn objection_page(
    inner: &Inner,
    asker: &Asker,
    words: &'static Words,
    status: StatusCode,
    answer: Option<Vec<String>>,
    name: String,
    text: String,
) -> Response {
    let Some(mac) = asker.who.mac() else {
        return message(inner, words, StatusCode::FORBIDDEN, &words.message.unknown_device);
    };
    let page = ObjectionPage {
        frame: Frame::new(inner, words, Some(("/objection", ""))),
        intro: fill(&words.objection.intro, &[("days", &words.days(inner.settings.objection_days))]),
        answer,
        name,
        text,
        token: inner.token(Purpose::Object, mac),
    };
    pages::page(status, words, &page)
}

/// Takes an objection. It opens nothing: a person reads it.
pub(crate) async fn object(State(inner): Portal, Extension(asker): Extension<Asker>, request: Request) -> Response {
    let headers = request.headers().clone();
    let ours = is_own_form(&asker, &headers);
    let form = match form(request).await {
        Ok(form) => form,
        Err(status) => return unread(&inner, status, &headers),
    };
    let words = words_for(&inner, form.lang.as_deref(), &headers);
    let Some(mac) = asker.who.mac() else {
        return message(&inner, words, StatusCode::FORBIDDEN, &words.message.unknown_device);
    };
    let (name, text) = (form.name.as_deref().unwrap_or(""), tidy(form.text.as_deref().unwrap_or("")));
    if !ours || !inner.verify(form.token.as_deref().unwrap_or(""), Purpose::Object, mac) {
        let told = Some(vec![words.message.stale[0].clone()]);
        return objection_page(&inner, &asker, words, StatusCode::FORBIDDEN, told, name.into(), text);
    }
    let Some(name) = read_name(name) else {
        let told = Some(vec![words.filter.no_name.clone()]);
        return objection_page(&inner, &asker, words, StatusCode::BAD_REQUEST, told, name.into(), text);
    };
    let slow_down = || message(&inner, words, StatusCode::TOO_MANY_REQUESTS, &words.message.slow_down);
    if !inner.objecting.allow(mac, inner.now()) {
        return slow_down();
    }
    inner.objecting.count(mac, inner.now());
    let now = inner.unix();
    let Ok(number) = keys::code(8) else {
        return message(&inner, words, StatusCode::SERVICE_UNAVAILABLE, &words.message.failed);
    };
    let decide_by = now.map(|now| now + i64::from(inner.settings.objection_days) * 86_400);
    let objection = Objection {
        number: number.clone(),
        name: name.as_str().to_owned(),
        text,
        language: words.code.clone(),
        handed_in: now,
        decide_by,
        decision: None,
    };
    let added = {
        let inner = Arc::clone(&inner);
        tokio::task::spawn_blocking(move || inner.objections.add(objection, now)).await
    };
    match added {
        Ok(Ok(true)) => {
            let date = by(&inner, words, decide_by);
            let sent = fill(&words.objection.sent, &[("number", &number), ("date", &date)]);
            objection_page(&inner, &asker, words, StatusCode::OK, Some(vec![sent]), String::new(), String::new())
        }
        Ok(Ok(false)) => slow_down(),
        Ok(Err(error)) => {
            inner.complain(&error);
            message(&inner, words, StatusCode::SERVICE_UNAVAILABLE, &words.message.failed)
        }
        Err(_) => message(&inner, words, StatusCode::INTERNAL_SERVER_ERROR, &words.message.failed),
    }
}

impl Inner {
    /// The date in seconds of Unix time, where it is known.
    pub(crate) fn unix(&self) -> Option<i64> {
        match self.clock.moment() {
            Moment::At(time) => Some(time.as_second()),
            Moment::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read_name;

    #[test]
    fn name_is_read_as_people_write_it() {
        for (text, name) in [
            ("example.org", Some("example.org")),
            (" HTTPS://Example.org:443/a?b ", Some("example.org")),
            ("www.example.org.", Some("www.example.org")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("localhost", None),
            ("", None),
            ("a b.example", None),
            ("<b>.example", None),
        ] {
            assert_eq!(read_name(text).as_ref().map(|name| name.as_str()), name, "{text}");
        }
    }
}
