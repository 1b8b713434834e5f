//! The routes under the portal's own name: terms, accept, welcome, status, leave, API.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{
    Extension, Form, Router,
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Query, Request, State, rejection::QueryRejection},
    response::Response,
    routing::{get, post},
};
use hyper::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use sheshi_policy::Mac;

use crate::{
    Error,
    admission::{Grant, Text, Who},
    api,
    dispatch::{Asker, message, words_for},
    filter,
    host::Host,
    keys::{self, Purpose},
    pages::{self, Frame, StatusPage, TermsPage, WelcomePage},
    portal::Inner,
    settings::Access,
    terms as texts,
    vouchers::Redeemed,
    wanted::{Wanted, escape},
    words::{Words, fill},
};

/// Longest body of a form, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// The cookie in which a browser keeps the roaming ticket; nothing else is ever in a cookie, and no page needs it.
const COOKIE: &str = "sheshi";
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

pub(crate) type Portal = State<Arc<Inner>>;

/// What a link or a form may carry. Nothing in it says who somebody is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameters {
    pub(crate) lang: Option<String>,
    pub(crate) to: Option<String>,
    sig: Option<String>,
    pub(crate) token: Option<String>,
    left: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) number: Option<String>,
    code: Option<String>,
    ticket: Option<String>,
}

pub(crate) fn routes(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/terms", get(terms))
        .route("/accept", post(accept))
        .route("/welcome", get(welcome))
        .route("/leave", post(leave))
        .route("/filter", get(filter::page).post(filter::ask))
        .route("/objection", get(filter::objection).post(filter::object))
        .route(api::PATH, get(captive_api))
        .route("/favicon.ico", get(favicon))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(inner)
}

/// Terms for a stranger, status for a guest.
async fn home(
    State(inner): Portal,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let mut query = query.map(|Query(query)| query).unwrap_or_default();
    query.ticket = query.ticket.or_else(|| kept_ticket(&headers));
    let words = words_for(&inner, query.lang.as_deref(), &headers);
    if api::is_asked(&headers) {
        return api::answer(&inner, asker.who, asker.secure);
    }
    match asker.who {
        Who::Guest(mac, left) => {
            // In a statement of its own: the book must be let go of before it is asked again.
            let keeps = inner.book().live(mac, inner.now()).is_some_and(|session| session.by_code);
            let page = StatusPage {
                frame: Frame::new(&inner, words, Some(("/", ""))),
                left: words.span(left),
                left_seconds: left.as_secs(),
                session_seconds: inner.settings.session.as_secs(),
                categories: texts::blocked_categories(&inner, &inner.compiled.load(), words),
                rights: texts::notice(&inner, words).rights,
                token: inner.token(Purpose::Leave, mac),
                keeps,
                ticket: own_ticket(&inner, mac).map(|(ticket, _)| inner.settings.url(&format!("/?ticket={ticket}"))),
            };
            pages::page(StatusCode::OK, words, &page)
        }
        Who::Stranger(_) => {
            let notice = query.left.as_ref().map(|_| &words.message.left);
            terms_page(&inner, &asker, words, StatusCode::OK, notice, &query)
        }
        Who::Unknown => message(&inner, words, StatusCode::FORBIDDEN, &words.message.unknown_device),
    }
}

/// The terms, for guests too: to read them again, and to stay longer by accepting again.
async fn terms(
    State(inner): Portal,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let words = words_for(&inner, query.lang.as_deref(), &headers);
    terms_page(&inner, &asker, words, StatusCode::OK, None, &query)
}

/// The terms and the button. `notice` says why a guest sees them again.
fn terms_page(
    inner: &Inner,
    asker: &Asker,
    words: &'static Words,
    status: StatusCode,
    notice: Option<&'static [String; 2]>,
    query: &Parameters,
) -> Response {
    let Some(mac) = asker.who.mac() else {
        return message(inner, words, StatusCode::FORBIDDEN, &words.message.unknown_device);
    };
    if inner.open().is_none() {
        return closed(inner, words);
    }
    let ticket = match asker.who {
        Who::Stranger(_) => query.ticket.as_deref().and_then(|ticket| Some((ticket, ticket_grant(inner, ticket)?.1))),
        _ => None,
    };
    let compiled = inner.compiled.load();
    let hash = keys::sha256(&texts::text(inner, &compiled, words));
    let wanted = wanted(inner, asker, query);
    let kept =
        wanted.as_ref().map(|(wanted, sig)| format!("&to={}&sig={sig}", escape(wanted.url()))).unwrap_or_default();
    let wanted = wanted
        .map(|(wanted, sig)| (wanted.url().to_owned(), sig, fill(&words.terms.then, &[("site", &wanted.site())])));
    let about = texts::notice(inner, words);
    let (here, accept) = match asker.who {
        Who::Guest(..) => ("/terms", &words.terms.accept_again),
        _ => ("/", &words.terms.accept),
    };
    let page = TermsPage {
        frame: Frame::new(inner, words, Some((here, &kept))),
        accept,
        notice,
        intro: fill(&words.terms.intro, &[("organisation", &inner.settings.organisation)]),
        categories: texts::blocked_categories(inner, &compiled, words),
        kept: about.kept,
        checked: texts::checked(inner, words),
        rights: about.rights,
        time: about.time,
        paragraphs: texts::paragraphs(inner, words),
        version: fill(&words.terms.version, &[("version", &hex::encode(&hash[..4]))]),
        token: inner.token(Purpose::Accept(&hash), mac),
        code: (inner.settings.access != Access::Open).then(|| query.code.clone().unwrap_or_default()),
        needed: (inner.settings.access == Access::Code && ticket.is_none())
            .then(|| fill(&words.voucher.needed, &[("organisation", &inner.settings.organisation)])),
        ticket: ticket
            .map(|(ticket, left)| (ticket.to_owned(), fill(&words.terms.roaming, &[("time", &words.span(left))]))),
        wanted,
    };
    pages::page(status, words, &page)
}

/// What this device wanted, by our own signature, with the signature.
fn wanted(inner: &Inner, asker: &Asker, query: &Parameters) -> Option<(Wanted, String)> {
    let wanted = Wanted::parse(query.to.as_deref()?)?;
    let sig = query.sig.as_deref()?;
    let signed = inner.verify(sig, Purpose::Continue(wanted.url()), asker.who.mac()?);
    signed.then(|| (wanted, sig.to_owned()))
}

/// Admits the device that sent the form, if it is the form of our own page.
async fn accept(State(inner): Portal, Extension(asker): Extension<Asker>, request: Request) -> Response {
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
    let text = texts::text(&inner, &inner.compiled.load(), words);
    let token = form.token.as_deref().unwrap_or("");
    if !ours || !inner.verify(token, Purpose::Accept(&keys::sha256(&text)), mac) {
        if let Who::Guest(..) = asker.who {
            return pages::redirect(StatusCode::SEE_OTHER, &welcome_url(words, &form));
        }
        inner.counts.refused.fetch_add(1, Relaxed);
        return terms_page(&inner, &asker, words, StatusCode::FORBIDDEN, Some(&words.message.stale), &form);
    }
    let code = form.code.as_deref().map(str::trim).filter(|code| !code.is_empty());
    let again = |status, notice| terms_page(&inner, &asker, words, status, Some(notice), &form);
    let grant = match (code, inner.settings.access, asker.who) {
        (Some(code), Access::OpenOrCode | Access::Code, _) => match inner.redeem(mac, code).await {
            Ok(Redeemed::Grant(grant)) => grant,
            Ok(Redeemed::Bad) => return again(StatusCode::FORBIDDEN, &words.message.bad_code),
            Ok(Redeemed::SlowDown) => return again(StatusCode::TOO_MANY_REQUESTS, &words.message.slow_down),
            Err(error) => {
                inner.complain(&error);
                return again(StatusCode::SERVICE_UNAVAILABLE, &words.message.failed);
            }
        },
        (None, Access::Code, Who::Guest(..)) => {
            return pages::redirect(StatusCode::SEE_OTHER, &format!("/?lang={}", words.code));
        }
        (_, access, Who::Stranger(_)) => match form.ticket.as_deref().and_then(|ticket| ticket_grant(&inner, ticket)) {
            Some((grant, _)) => grant,
            None if access == Access::Code => return again(StatusCode::FORBIDDEN, &words.message.bad_code),
            None => Grant::default(),
        },
        _ => Grant::default(),
    };
    // In a task of its own: a browser that hangs up must not leave an admission half done.
    let admission = {
        let (inner, peer) = (inner.clone(), asker.peer);
        tokio::spawn(async move { inner.admit(mac, peer, Some(Text { words, text }), grant).await })
    };
    let (status, notice) = match admission.await {
        Ok(Ok(())) => {
            let response = pages::redirect(StatusCode::SEE_OTHER, &welcome_url(words, &form));
            return with_ticket(&inner, mac, response);
        }
        Ok(Err(Error::Closed)) => return closed(&inner, words),
        Ok(Err(Error::UsedUp)) => (StatusCode::FORBIDDEN, &words.message.bad_code),
        Ok(Err(error @ Error::Full(_))) => {
            inner.complain(&error);
            (StatusCode::SERVICE_UNAVAILABLE, &words.message.full)
        }
        Ok(Err(error)) => {
            inner.complain(&error);
            (StatusCode::SERVICE_UNAVAILABLE, &words.message.failed)
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, &words.message.failed),
    };
    inner.counts.refused.fetch_add(1, Relaxed);
    terms_page(&inner, &asker, words, status, Some(notice), &form)
}

/// What a ticket of another hotspot gives here, and for how long: only a group that our policy has.
fn ticket_grant(inner: &Inner, ticket: &str) -> Option<(Grant, Duration)> {
    let (group, left) = inner.roaming.as_ref()?.read(ticket, inner.unix()?)?;
    inner.compiled.load().group(&group)?;
    Some((Grant { group: Some(group.into()), time: Some(left), code: None }, left))
}

/// The ticket of a guest, to show at another hotspot.
fn own_ticket(inner: &Inner, mac: Mac) -> Option<(String, Duration)> {
    let (roaming, now) = (inner.roaming.as_ref()?, inner.unix()?);
    let instant = inner.now();
    let (group, left) =
        inner.book().live(mac, instant).map(|session| (session.group.clone(), session.until - instant))?;
    let until = now.checked_add_unsigned(left.as_secs())?;
    Some((roaming.ticket(&group, until, now)?, left))
}

/// Gives the browser the ticket to keep. A convenience: the status page has it as a link too.
fn with_ticket(inner: &Inner, mac: Mac, mut response: Response) -> Response {
    if let Some((ticket, left)) = own_ticket(inner, mac)
        && let Ok(cookie) = header::HeaderValue::from_str(&format!(
            "{COOKIE}={ticket}; Max-Age={}; Path=/; HttpOnly; SameSite=Lax",
            left.as_secs()
        ))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The ticket that a browser kept.
fn kept_ticket(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, ticket)| ticket.to_owned())
}

/// That it is closed, and when it is open.
fn closed(inner: &Inner, words: &'static Words) -> Response {
    let page = pages::MessagePage {
        frame: Frame::new(inner, words, None),
        message: &words.message.closed,
        lines: inner.hours.as_ref().map_or_else(Vec::new, |hours| hours.lines(words)),
        portal_url: inner.settings.url("/"),
    };
    pages::page(StatusCode::FORBIDDEN, words, &page)
}

fn welcome_url(words: &Words, form: &Parameters) -> String {
    match (&form.to, &form.sig) {
        (Some(to), Some(sig)) => format!("/welcome?lang={}&to={}&sig={}", words.code, escape(to), escape(sig)),
        _ => format!("/welcome?lang={}", words.code),
    }
}

/// Says that it worked, and goes on to what was wanted.
async fn welcome(
    State(inner): Portal,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let words = words_for(&inner, query.lang.as_deref(), &headers);
    let Who::Guest(_, left) = asker.who else {
        return pages::redirect(StatusCode::SEE_OTHER, &format!("/?lang={}", words.code));
    };
    let wanted = wanted(&inner, &asker, &query);
    let kept =
        wanted.as_ref().map(|(wanted, sig)| format!("&to={}&sig={sig}", escape(wanted.url()))).unwrap_or_default();
    let status_url = inner.settings.url("/");
    let page = WelcomePage {
        frame: Frame::new(&inner, words, Some(("/welcome", &kept))),
        text: fill(&words.welcome.text, &[("time", &words.span(left))]),
        bookmark: fill(&words.welcome.bookmark, &[("url", status_url.trim_end_matches('/'))]),
        go_on: wanted
            .as_ref()
            .map(|(wanted, _)| (wanted.url().to_owned(), fill(&words.welcome.go_on, &[("site", &wanted.site())]))),
    };
    let response = pages::close(pages::page(StatusCode::OK, words, &page));
    match wanted {
        // At once: a delay would be a time limit on reading (WCAG 2.2, success criterion 2.2.1, technique H76).
        Some((wanted, _)) if inner.uplink_works() => pages::refresh(response, Duration::ZERO, wanted.url()),
        _ => response,
    }
}

/// Ends the session of the device that sent the form.
async fn leave(State(inner): Portal, Extension(asker): Extension<Asker>, request: Request) -> Response {
    let headers = request.headers().clone();
    let ours = is_own_form(&asker, &headers);
    let form = match form(request).await {
        Ok(form) => form,
        Err(status) => return unread(&inner, status, &headers),
    };
    let words = words_for(&inner, form.lang.as_deref(), &headers);
    let left = pages::redirect(StatusCode::SEE_OTHER, &format!("/?lang={}&left=1", words.code));
    let Who::Guest(mac, _) = asker.who else { return left };
    if !ours || !inner.verify(form.token.as_deref().unwrap_or(""), Purpose::Leave, mac) {
        return pages::redirect(StatusCode::SEE_OTHER, &format!("/?lang={}", words.code));
    }
    let end = {
        let inner = inner.clone();
        tokio::spawn(async move { inner.expel(mac).await })
    };
    match end.await {
        Ok(Ok(_)) => left,
        Ok(Err(error)) => {
            inner.complain(&error);
            message(&inner, words, StatusCode::SERVICE_UNAVAILABLE, &words.message.failed)
        }
        Err(_) => message(&inner, words, StatusCode::INTERNAL_SERVER_ERROR, &words.message.failed),
    }
}

/// Whether the browser, where it tells, tells that the form is one of our own pages.
pub(crate) fn is_own_form(asker: &Asker, headers: &HeaderMap) -> bool {
    let scheme = if asker.secure { "https://" } else { "http://" };
    let same_origin = |origin: &str| {
        origin.strip_prefix(scheme).and_then(Host::parse).is_some_and(|origin| {
            let port = if asker.secure { 443 } else { 80 };
            origin.site == asker.host.site && origin.port.unwrap_or(port) == asker.host.port.unwrap_or(port)
        })
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let mut sites = headers.get_all("sec-fetch-site").iter();
    origins.all(|origin| origin.to_str().is_ok_and(same_origin))
        && sites.all(|site| site == "same-origin" || site == "none")
}

/// The form of a request, in time and within bounds; else the status to answer with.
pub(crate) async fn form(request: Request) -> Result<Parameters, StatusCode> {
    match tokio::time::timeout(BODY_TIME, Form::from_request(request, &())).await {
        Ok(Ok(Form(form))) => Ok(form),
        Ok(Err(rejection)) => Err(rejection.status()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// The answer to a form that could not be read.
pub(crate) fn unread(inner: &Inner, status: StatusCode, headers: &HeaderMap) -> Response {
    let words = words_for(inner, None, headers);
    pages::close(message(inner, words, status, &words.message.bad_request))
}

async fn captive_api(State(inner): Portal, Extension(asker): Extension<Asker>) -> Response {
    api::answer(&inner, asker.who, asker.secure)
}

async fn favicon() -> Response {
    pages::response(StatusCode::NO_CONTENT, "image/x-icon", Body::empty())
}

async fn not_found(State(inner): Portal, headers: HeaderMap) -> Response {
    let words = words_for(&inner, None, &headers);
    message(&inner, words, StatusCode::NOT_FOUND, &words.message.not_found)
}

async fn not_allowed(State(inner): Portal, headers: HeaderMap) -> Response {
    let words = words_for(&inner, None, &headers);
    message(&inner, words, StatusCode::METHOD_NOT_ALLOWED, &words.message.bad_request)
}
