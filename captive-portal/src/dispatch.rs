//! Where every request goes first: is it well-formed, whose host does it name, and who asks.
//!
//! Under the portal's own name or address there are routes. Under any other name a stranger is led to the portal, and a
//! guest, whose browser still holds our address for that name, gets the answer to an OS probe, the block page, or a page
//! that opens the wanted one as soon as the browser lets go.

use std::{net::IpAddr, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{HeaderMap, Method, Request, StatusCode, Version, header, header::HeaderValue};
use sheshi_policy::{Category, Reason, Rule};
use tower::ServiceExt;

use crate::{
    admission::Who,
    api,
    host::{Host, Site},
    keys::Purpose,
    pages::{self, BlockedPage, Frame, MessagePage, OpeningPage},
    portal::Inner,
    probes::{self, Answer},
    terms,
    wanted::{Wanted, escape},
    words::{self, Words, fill},
};

/// How often the page that waits for the browser tries again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Who asks, and how: what the routes get to know of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) peer: IpAddr,
    pub(crate) secure: bool,
    pub(crate) who: Who,
    pub(crate) host: Host,
}

/// Answers a request that came from this address.
pub(crate) async fn dispatch(
    inner: &Inner,
    routes: &Router,
    peer: IpAddr,
    secure: bool,
    mut request: Request<Body>,
) -> Response {
    let words = words_for(inner, None, request.headers());
    // No proxy: neither `GET http://…` (RFC 9112 section 3.2.2) nor CONNECT, and nothing that is said to a proxy.
    let to_proxy = request.uri().scheme().is_some() || request.uri().authority().is_some();
    let odd = matches!(*request.method(), Method::CONNECT | Method::TRACE);
    let old = request.version() == Version::HTTP_09;
    if to_proxy || odd || old || !request.uri().path().starts_with('/') {
        let status = if odd { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::BAD_REQUEST };
        return pages::close(message(inner, words, status, &words.message.bad_request));
    }
    let Some(host) = Host::of(request.headers()) else {
        return pages::close(message(inner, words, StatusCode::BAD_REQUEST, &words.message.bad_request));
    };
    let who = inner.who(peer).await;
    if is_own(inner, &host.site) {
        request.extensions_mut().insert(Asker { peer, secure, who, host });
        return match routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    elsewhere(inner, who, &host, &request, words)
}

fn is_own(inner: &Inner, site: &Site) -> bool {
    match site {
        Site::Name(name) => name.as_str().eq_ignore_ascii_case(&inner.settings.name),
        Site::Address(address) => inner.settings.addresses.contains(address),
    }
}

/// The answer under another site's name or address. Nothing a request says here admits anybody.
fn elsewhere(inner: &Inner, who: Who, host: &Host, request: &Request<Body>, words: &'static Words) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let probe = match &host.site {
        Site::Name(name) if reads => probes::find(name.as_str(), request.uri().path()),
        _ => None,
    };
    let Who::Guest(mac, _) = who else {
        if api::is_asked(request.headers()) && reads {
            return api::answer(inner, who, false);
        }
        if !reads {
            // RFC 6585 section 6: not a redirect, which some would follow with what they meant for somebody else.
            let status = StatusCode::NETWORK_AUTHENTICATION_REQUIRED;
            return pages::close(message(inner, words, status, &words.message.sign_in));
        }
        count(if probe.is_some() { &inner.counts.probes } else { &inner.counts.redirects });
        // A probe is no page that somebody wants to go on to.
        let wanted = if probe.is_some() { None } else { Wanted::of(host, request.uri()) };
        return pages::redirect(StatusCode::FOUND, &sign_in_url(inner, who, wanted));
    };

    match probe.map(|probe| (probe, probe.answer)) {
        Some((_, Answer::SignIn)) => return pages::redirect(StatusCode::FOUND, &inner.settings.url("/")),
        // Without an uplink "online" would be a lie, and the portal's page says how things are.
        Some(_) if !inner.uplink_works() => return pages::redirect(StatusCode::FOUND, &inner.settings.url("/")),
        Some((_, Answer::NoContent)) => {
            count(&inner.counts.probes);
            return pages::close(pages::response(StatusCode::NO_CONTENT, "text/plain", Body::empty()));
        }
        Some((probe, Answer::Body)) => {
            count(&inner.counts.probes);
            return pages::close(pages::response(StatusCode::OK, &probe.kind, Body::from(&*probe.body)));
        }
        None => {}
    }

    let compiled = inner.compiled.load();
    let view = inner.view(&compiled, Some(mac));
    let verdict = match &host.site {
        Site::Name(name) => compiled.decide(&name.wire(), &view),
        Site::Address(address) => compiled.decide_address(*address, &view),
    };
    if verdict.is_block() {
        count(&inner.counts.blocked);
        return pages::close(blocked(inner, &compiled, verdict.reason, host, words));
    }
    pages::close(opening(inner, host, request, reads, words))
}

/// The portal's page, with what was wanted signed: a link made by somebody else carries no guest on to anywhere.
fn sign_in_url(inner: &Inner, who: Who, wanted: Option<Wanted>) -> String {
    match (wanted, who.mac()) {
        (Some(wanted), Some(mac)) => {
            let signature = inner.token(Purpose::Continue(wanted.url()), mac);
            inner.settings.url(&format!("/?to={}&sig={signature}", escape(wanted.url())))
        }
        _ => inner.settings.url("/"),
    }
}

/// 503, because this is not the answer of the site that was asked; the browser tries again by itself.
fn opening(inner: &Inner, host: &Host, request: &Request<Body>, reads: bool, words: &'static Words) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let Some(wanted) = Wanted::of(host, request.uri()).filter(|_| reads) else {
        return message(inner, words, status, &words.message.failed);
    };
    let page = OpeningPage {
        frame: Frame::new(inner, words, None),
        title: fill(&words.opening.title, &[("site", &wanted.site())]),
        url: wanted.url().to_owned(),
        status_url: inner.settings.url("/"),
    };
    let mut response = pages::page(status, words, &page);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(TRY_AGAIN.as_secs()));
    pages::refresh(response, TRY_AGAIN, wanted.url())
}

fn blocked(
    inner: &Inner,
    compiled: &sheshi_policy::Compiled,
    reason: Reason,
    host: &Host,
    words: &'static Words,
) -> Response {
    let texts = &words.blocked;
    let settings = &inner.settings;
    let category = reason.category.and_then(|Category(n)| compiled.categories().get(usize::from(n)));
    let list = reason.list.and_then(|list| compiled.lists().get(usize::from(list)));
    let abuse = category.is_some_and(|category| category.secret || &*category.name == "csam");
    let status =
        if reason.rule == Rule::Order { StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS } else { StatusCode::FORBIDDEN };

    let frame = Frame::new(inner, words, None);
    let status_url = settings.url("/");
    let page = if abuse {
        let iwf = list.is_some_and(|list| list.name.to_ascii_lowercase().contains("iwf"));
        let source = match list {
            Some(list) if !iwf => fill(&texts.abuse_list, &[("list", &list.name)]),
            _ => texts.abuse_iwf.clone(),
        };
        let text = fill(&texts.abuse_text, &[("source", &source), ("contact", &settings.contact)]);
        let mut paragraphs = terms::split(&text);
        if let Some(helpline) = &settings.helpline {
            paragraphs.push(fill(&texts.abuse_help, &[("helpline", helpline)]));
        }
        paragraphs.push(texts.no_record.clone());
        // Neither the name nor the list's line: the page is no catalogue.
        BlockedPage { frame, title: &texts.abuse_title, paragraphs, facts: Vec::new(), object: None, status_url }
    } else {
        let order = reason.rule == Rule::Order;
        let mut facts = vec![(&*texts.name, host.site.to_string())];
        match (order, category, list) {
            // What the law asks to be named (RFC 7725 section 3): by which order.
            (true, _, Some(list)) => facts.push((&texts.order_name, format!("{} ({})", list.name, list.edition))),
            (_, Some(category), _) => {
                facts.push((&texts.category, words.category(&category.name, &category.title).to_owned()));
            }
            _ => facts.push((&texts.reason, compiled.block_text(&reason))),
        }
        facts.push((&texts.by, settings.organisation.clone()));
        BlockedPage {
            frame,
            title: &texts.title,
            paragraphs: vec![if order { texts.order.clone() } else { texts.policy.clone() }, texts.no_record.clone()],
            facts,
            object: Some(settings.url(&format!(
                "/objection?lang={}&name={}",
                words.code,
                escape(&host.site.to_string())
            ))),
            status_url,
        }
    };
    pages::page(status, words, &page)
}

/// A page that says one thing.
pub(crate) fn message(
    inner: &Inner,
    words: &'static Words,
    status: StatusCode,
    message: &'static [String; 2],
) -> Response {
    let (frame, portal_url) = (Frame::new(inner, words, None), inner.settings.url("/"));
    let page = MessagePage { frame, message, lines: Vec::new(), portal_url };
    pages::page(status, words, &page)
}

/// The language: as chosen, else as the browser says.
pub(crate) fn words_for(inner: &Inner, chosen: Option<&str>, headers: &HeaderMap) -> &'static Words {
    let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|accept| accept.to_str().ok());
    words::choose(&inner.settings.languages, chosen, accept)
}

fn count(counter: &std::sync::atomic::AtomicU64) {
    counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}
