//! Signing in and out, the first owner, and setting a password with a one-time code.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Form,
    body::Body,
    extract::{Extension, Query, State},
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, header, header::HeaderValue};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    Error,
    app::App,
    audit::Deed,
    guard::{self, Visitor},
    secret::{self, Hash},
    store::Account,
    view::{self, Answer, Frame},
    words::Words,
};

/// Failed attempts at one name, or with codes, within a quarter of an hour.
const TRIES: u32 = 10;
/// Failed attempts in all within a quarter of an hour.
const TRIES_IN_ALL: u32 = 300;
/// For a turn at hashing a password.
const TURN: Duration = Duration::from_secs(10);

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    wrong: Option<String>,
    name: String,
    to: String,
    /// Whether there is an owner.
    first: bool,
}

#[derive(Template)]
#[template(path = "join.html")]
struct CodePage {
    frame: Frame,
    wrong: Option<String>,
    /// Whether this makes the first owner, who also chooses a name.
    first: bool,
    name: String,
    shortest: usize,
}

#[derive(Deserialize, Default)]
pub(crate) struct To {
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
pub(crate) struct SignIn {
    name: String,
    password: String,
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
pub(crate) struct WithCode {
    code: String,
    #[serde(default)]
    name: String,
    password: String,
    again: String,
}

/// The style sheet.
pub(crate) async fn style() -> Response {
    let mut response = view::whole(StatusCode::OK, "text/css; charset=utf-8", Body::from(view::STYLE));
    // It says nothing about anybody.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// For who watches over the server.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    match app.store.ping().await {
        Ok(()) => view::plain(StatusCode::OK, "ok\n"),
        Err(error) => {
            tracing::error!("{error}");
            view::plain(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

/// A path of our own, where somebody wanted to go before signing in.
fn own_path(to: &str) -> &str {
    let own =
        to.starts_with('/') && !to[1..].starts_with(['/', '\\']) && !to.contains(|c: char| c.is_control() || c == '\\');
    if own && to.len() < 512 { to } else { "/fleet" }
}

pub(crate) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<To>,
) -> Answer {
    if visitor.session.is_some() {
        return Ok(view::see_other(own_path(&query.to)));
    }
    let first = !app.store.has_owner().await?;
    let page = SignInPage { frame: Frame::new(&visitor, ""), wrong: None, name: String::new(), to: query.to, first };
    Ok(view::page(StatusCode::OK, visitor.words, &page))
}

pub(crate) async fn sign_in(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<SignIn>,
) -> Answer {
    let words = visitor.words;
    let subject = secret::hash(format!("name:{}", form.name.trim().to_lowercase()));
    let refuse = |status, wrong: &str| {
        let page = SignInPage {
            frame: Frame::new(&visitor, ""),
            wrong: Some(wrong.to_owned()),
            name: form.name.clone(),
            to: form.to.clone(),
            first: false,
        };
        view::page(status, words, &page)
    };
    // Taking turns before counting: attempts at once are counted as well as one after the other.
    let Ok(Ok(_turn)) = timeout(TURN, app.hashing.acquire()).await else {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    if too_many(&app, subject).await? {
        return Ok(refuse(StatusCode::TOO_MANY_REQUESTS, &words.sign_in.too_many));
    }
    let account = app.store.account_named(form.name.trim()).await?;
    if !matches(account.as_ref(), form.password).await? {
        let failures = app.store.failures(subject, app.now()).await?;
        // Not every attempt: whoever guesses must not be able to flood the log.
        let deed = account.filter(|_| failures.own + 1 == TRIES).map(|account| {
            Deed::new(&account.name, "sign-in-refused", &*account.name).to(format!("{TRIES} failed attempts"))
        });
        app.store.failed(subject, app.now(), deed).await?;
        return Ok(refuse(StatusCode::UNAUTHORIZED, &words.sign_in.wrong));
    }
    let Some(account) = account else { return Ok(refuse(StatusCode::UNAUTHORIZED, &words.sign_in.wrong)) };
    app.store.forgive(subject).await?;
    start(&app, &visitor, account.id, own_path(&form.to)).await
}

/// Whether this is the password of an account that may sign in. Without one it takes as long.
async fn matches(account: Option<&Account>, password: String) -> Result<bool, Error> {
    let hashed = account.filter(|account| account.enabled).and_then(|account| account.password.clone());
    let bounded = password.len() <= secret::LONGEST;
    let work = move || secret::password_matches(hashed.as_deref(), if bounded { &password } else { "" });
    let matches = tokio::task::spawn_blocking(work).await;
    matches.map(|matches| matches && bounded).map_err(|error| Error::Secret(format!("checking a password: {error}")))
}

/// The password of somebody who is signed in, asked for again.
pub(crate) async fn is_password(app: &App, account: i64, password: String) -> Result<bool, Error> {
    let account = app.store.account(account).await?;
    matches(account.as_ref(), password).await
}

pub(crate) async fn too_many(app: &App, subject: Hash) -> Result<bool, Error> {
    let failures = app.store.failures(subject, app.now()).await?;
    Ok(failures.own >= TRIES || failures.all >= TRIES_IN_ALL)
}

/// Hashes a password on a thread that may work for long.
pub(crate) async fn hashed(password: String) -> Result<String, Error> {
    let work = tokio::task::spawn_blocking(move || secret::hash_password(&password)).await;
    work.map_err(|error| Error::Secret(format!("hashing a password: {error}")))?
}

/// Starts a session under a new id.
async fn start(app: &App, visitor: &Visitor, account: i64, to: &str) -> Answer {
    let id = secret::session_id()?;
    app.store.start_session(account, secret::hash(&id), visitor.shown, app.now()).await?;
    let mut response = view::see_other(to);
    if let Ok(cookie) = HeaderValue::from_str(&guard::session_cookie(app, Some(&id))) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

pub(crate) async fn sign_out(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    if let Some(session) = visitor.session {
        app.store.end_session(session, app.now()).await?;
    }
    let mut response = view::see_other("/sign-in");
    if let Ok(cookie) = HeaderValue::from_str(&guard::session_cookie(&app, None)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// What is wrong with a new password, in words.
pub(crate) fn password_problem(words: &'static Words, name: &str, password: &str, again: &str) -> Option<&'static str> {
    let words = &words.join;
    let letters = password.chars().count();
    let first = password.chars().next();
    if letters < secret::SHORTEST {
        Some(&words.too_short)
    } else if password.len() > secret::LONGEST {
        Some(&words.too_long)
    } else if password.chars().all(|letter| Some(letter) == first)
        || (name.chars().count() > 3 && password.to_lowercase().contains(&name.to_lowercase()))
    {
        Some(&words.too_easy)
    } else if password != again {
        Some(&words.not_again)
    } else {
        None
    }
}

/// A name for an account: one line of two to sixty characters.
pub(crate) fn is_name(name: &str) -> bool {
    (2..=60).contains(&name.chars().count()) && sheshi_protocol::message::is_site(name)
}

fn code_page(visitor: &Visitor, first: bool, name: &str, status: StatusCode, wrong: Option<&str>) -> Response {
    let page = CodePage {
        frame: Frame::new(visitor, ""),
        wrong: wrong.map(str::to_owned),
        first,
        name: name.to_owned(),
        shortest: secret::SHORTEST,
    };
    view::page(status, visitor.words, &page)
}

pub(crate) async fn first_page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    if app.store.has_owner().await? {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    Ok(code_page(&visitor, true, "", StatusCode::OK, None))
}

pub(crate) async fn join_page(Extension(visitor): Extension<Visitor>) -> Answer {
    Ok(code_page(&visitor, false, "", StatusCode::OK, None))
}

pub(crate) async fn first(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<WithCode>,
) -> Answer {
    if app.store.has_owner().await? {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    let name = form.name.trim().to_owned();
    if !is_name(&name) {
        let wrong = Some(&*visitor.words.join.no_name);
        return Ok(code_page(&visitor, true, &name, StatusCode::UNPROCESSABLE_ENTITY, wrong));
    }
    with_code(&app, &visitor, form, Some(name)).await
}

pub(crate) async fn join(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<WithCode>,
) -> Answer {
    with_code(&app, &visitor, form, None).await
}

/// Sets a password with a one-time code: the first owner's, under a new name, or that of the account it was made for.
async fn with_code(app: &App, visitor: &Visitor, form: WithCode, first: Option<String>) -> Answer {
    let words = &visitor.words;
    let typed = first.clone().unwrap_or_default();
    let refuse = |status, wrong| Ok(code_page(visitor, first.is_some(), &typed, status, Some(wrong)));
    let subject = secret::hash("code");
    let Ok(Ok(_turn)) = timeout(TURN, app.hashing.acquire()).await else {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    if too_many(app, subject).await? {
        return refuse(StatusCode::TOO_MANY_REQUESTS, &words.sign_in.too_many);
    }
    let code = secret::code_hash(&form.code);
    let known = if first.is_some() { None } else { app.store.code_account(code, app.now()).await? };
    let name = first.clone().or(known.map(|account| account.name)).unwrap_or_default();
    if let Some(wrong) = password_problem(words, &name, &form.password, &form.again) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, wrong);
    }
    let hashed = hashed(form.password).await?;
    let account = match first.clone() {
        Some(name) => app.store.make_owner(code, name, hashed, app.now()).await?,
        None => app.store.set_password(code, hashed, app.now()).await?,
    };
    match account {
        Some(account) => start(app, visitor, account, "/fleet").await,
        None => {
            app.store.failed(subject, app.now(), None).await?;
            refuse(StatusCode::FORBIDDEN, &words.join.bad_code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn after_signing_in_only_our_own_pages_open() {
        for to in ["/policy", "/site/3?lang=en", "/"] {
            assert_eq!(own_path(to), to);
        }
        for to in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/a\nb", "/a\\b"]
        {
            assert_eq!(own_path(to), "/fleet", "{to:?}");
        }
    }
}
