//! Where every request goes first: is it well-formed, whose host does it name, who asks, may they, and did our own page
//! send it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, Version, header, header::HeaderValue};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::{
    app::App,
    routes::Access,
    secret::{self, Hash},
    store::Session,
    view,
    words::{self, Words},
};

/// For the body of a request.
const BODY_TIME: Duration = Duration::from_secs(20);
/// For an answer; compiling a large policy takes the longest.
const ANSWER_TIME: Duration = Duration::from_secs(300);
/// The cookie of the chosen language.
const LANGUAGE: &str = "language";

/// Who asks: what pages get to know of a request.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) words: &'static Words,
    pub(crate) session: Option<Session>,
    /// The hash of the session id that the browser showed, in force or not.
    pub(crate) shown: Option<Hash>,
    /// The path, for links to this page in another language.
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Visitor {
    /// The name under which deeds are entered. Routes with roles are reached with a session only.
    pub(crate) fn name(&self) -> String {
        self.session.as_ref().map_or_else(String::new, |session| session.name.clone())
    }
}

/// The name of the session's cookie. With the prefix, a browser takes it over TLS only and from this very host.
pub(crate) fn cookie_name(app: &App) -> &'static str {
    if app.settings.public.is_some() { "__Host-session" } else { "session" }
}

/// Sets or ends the session's cookie.
pub(crate) fn session_cookie(app: &App, id: Option<&str>) -> String {
    let secure = if app.settings.public.is_some() { "; Secure" } else { "" };
    let name = cookie_name(app);
    match id {
        Some(id) => format!("{name}={id}; Path=/; HttpOnly; SameSite=Lax{secure}"),
        None => format!("{name}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{secure}"),
    }
}

/// The value of a cookie that is there exactly once.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let value = values.next();
    value.filter(|_| values.next().is_none())
}

/// Answers a request.
pub(crate) async fn dispatch(app: &Arc<App>, routes: &Router, mut request: Request<Body>) -> Response {
    // No proxy: neither `GET http://…` (RFC 9112 section 3.2.2) nor CONNECT, and nothing that is said to a proxy.
    let to_proxy = request.uri().scheme().is_some() || request.uri().authority().is_some();
    let odd = matches!(*request.method(), Method::CONNECT | Method::TRACE);
    let old = request.version() == Version::HTTP_09;
    if to_proxy || odd || old || !request.uri().path().starts_with('/') {
        let status = if odd { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::BAD_REQUEST };
        return view::close(view::plain(status, "This server is no proxy.\n"));
    }
    let Some(host) = own_host(app, request.headers()) else {
        // RFC 9110 section 7.4: a name that somebody else pointed here gets nothing, whatever cookies come with it.
        return view::close(view::plain(StatusCode::MISDIRECTED_REQUEST, "This server does not go by that name.\n"));
    };
    let api = request.uri().path().starts_with("/api/");
    let (headers, uri) = (request.headers().clone(), request.uri().clone());
    let visitor = match visitor(app, &headers, &uri, api).await {
        Ok(visitor) => visitor,
        Err(error) => {
            tracing::error!("{error}");
            return view::close(view::plain(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer.\n"));
        }
    };
    let chosen = chosen_language(&visitor.query);
    request.extensions_mut().insert(visitor.clone());
    request.extensions_mut().insert(host);
    let answer = timeout(ANSWER_TIME, routes.clone().oneshot(request)).await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    };
    if !api && response.status().as_u16() >= 400 && response.extensions().get::<view::Whole>().is_none() {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = view::message(app, &visitor, response.status());
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    if let Some(language) = chosen {
        let secure = if app.settings.public.is_some() { "; Secure" } else { "" };
        let cookie = format!("{LANGUAGE}={language}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    view::guard(response.headers_mut());
    response
}

/// The Host of a request, if it is one of ours: the public one, an address, or `localhost`. A name of somebody else's
/// that leads here (DNS rebinding) is none.
fn own_host(app: &App, headers: &HeaderMap) -> Option<OwnHost> {
    let mut values = headers.get_all(header::HOST).iter();
    let host = values.next()?.to_str().ok()?.to_ascii_lowercase();
    if values.next().is_some() {
        return None;
    }
    let own = match &app.settings.public {
        Some(public) if public.host == host => true,
        // Beside its public name a server is asked by its own machine: a proxy's health check, an admin at the console.
        _ => {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
                _ => (&*host, "80"),
            };
            let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
            let address: Option<IpAddr> = name.parse().ok();
            port.parse::<u16>().is_ok() && (name == "localhost" || address.is_some())
        }
    };
    own.then_some(OwnHost(host))
}

/// The Host a request named, which is ours.
#[derive(Clone)]
pub(crate) struct OwnHost(String);

fn chosen_language(query: &str) -> Option<&'static str> {
    let code = query.split('&').find_map(|pair| pair.strip_prefix("lang="))?;
    words::get(code).map(|words| &*words.code)
}

async fn visitor(app: &App, headers: &HeaderMap, uri: &Uri, api: bool) -> Result<Visitor, crate::Error> {
    let query = uri.query().unwrap_or_default().to_owned();
    let chosen = chosen_language(&query).or_else(|| cookie(headers, LANGUAGE));
    let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|accept| accept.to_str().ok());
    // The API knows gateways only, and a gateway has no cookie.
    let id = cookie(headers, cookie_name(app)).filter(|id| !api && id.len() == 22);
    let shown = id.map(secret::hash);
    let session = match shown {
        Some(hash) => app.store.session(hash, app.now()).await?,
        None => None,
    };
    let path = uri.path().to_owned();
    Ok(Visitor { words: words::choose(chosen, accept), session, shown, path, query })
}

/// What a route grants, and the most octets that it reads.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) access: Access,
    pub(crate) body: usize,
    pub(crate) app: Arc<App>,
}

/// Stands before every route: refuses whom it does not grant, and what our own pages did not send; reads the body.
pub(crate) async fn guard(State(grant): State<Grant>, request: Request<Body>, next: Next) -> Response {
    let Some(visitor) = request.extensions().get::<Visitor>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match (&grant.access, &visitor.session) {
        (Access::Anyone | Access::Gateway, _) => {}
        (Access::Roles(roles), Some(session)) if roles.contains(&session.role) => {}
        (Access::Roles(_), Some(_)) => return StatusCode::FORBIDDEN.into_response(),
        (Access::Roles(_), None) if reads => {
            let query = if visitor.query.is_empty() { String::new() } else { format!("?{}", visitor.query) };
            let to = view::escape(&format!("{}{query}", visitor.path));
            return view::see_other(&format!("/sign-in?to={to}"));
        }
        (Access::Roles(_), None) => return StatusCode::UNAUTHORIZED.into_response(),
    }
    // A gateway's request is signed; a browser's must come from a page of ours.
    if !reads && !matches!(grant.access, Access::Gateway) && !from_our_page(&grant.app, &request) {
        return view::message_of(&grant.app, &visitor, StatusCode::FORBIDDEN, &visitor.words.message.other_site);
    }
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_TIME, Limited::new(body, grant.body).collect()).await {
        Err(_) => return view::close(StatusCode::REQUEST_TIMEOUT.into_response()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return view::close(StatusCode::PAYLOAD_TOO_LARGE.into_response());
        }
        Ok(Err(_)) => return view::close(StatusCode::BAD_REQUEST.into_response()),
        Ok(Ok(body)) => body.to_bytes(),
    };
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Whether a request comes from a page of this very origin: by `Sec-Fetch-Site`, which no page can set, and by `Origin`,
/// where a browser sends them. All that know neither are refused.
fn from_our_page(app: &App, request: &Request<Body>) -> bool {
    let headers = request.headers();
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
            _ => Err(()),
        }
    };
    let (Ok(site), Ok(origin)) = (one("sec-fetch-site"), one("origin")) else { return false };
    let Some(OwnHost(host)) = request.extensions().get::<OwnHost>() else { return false };
    let own = |origin: &str| {
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        let secure = app.settings.public.as_ref().is_some_and(|public| public.host == *host);
        rest.eq_ignore_ascii_case(host) && scheme == if secure { "https" } else { "http" }
    };
    match (site, origin) {
        (Some(site), Some(origin)) => site == "same-origin" && own(origin),
        (Some(site), None) => site == "same-origin",
        (None, Some(origin)) => own(origin),
        (None, None) => false,
    }
}
