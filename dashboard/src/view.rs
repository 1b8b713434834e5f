//! Pages: what all of them have, and the headers that keep them to themselves.

use askama::Template;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderValue};

use crate::{
    Error, Role,
    app::App,
    guard::Visitor,
    routes,
    time::When,
    words::{self, Words},
};

/// The style sheet.
pub(crate) const STYLE: &str = include_str!("../templates/style.css");

/// Nothing from elsewhere, and no script at all.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'; img-src 'self'";

/// Marks a response that is whole as it is: the guard puts no page of its own in its place.
#[derive(Clone)]
pub(crate) struct Whole;

/// What every page has.
pub(crate) struct Frame {
    pub(crate) words: &'static Words,
    /// The name signed in, and its role.
    pub(crate) who: Option<(String, Role)>,
    /// Which entry of the menu this page belongs to.
    pub(crate) here: &'static str,
    /// Entries of the menu: path and text.
    pub(crate) menu: Vec<(&'static str, &'static str)>,
    /// The other languages and the links to this page in them.
    pub(crate) languages: Vec<(&'static Words, String)>,
    /// Seconds after which the page loads anew; 0 for never.
    pub(crate) refresh: u32,
}

impl Frame {
    pub(crate) fn new(visitor: &Visitor, here: &'static str) -> Self {
        let words = visitor.words;
        let who = visitor.session.as_ref().map(|session| (session.name.clone(), session.role));
        let entries = [
            ("/fleet", &*words.menu.fleet),
            ("/policy", &*words.menu.policy),
            ("/explain", &*words.menu.explain),
            ("/people", &*words.menu.people),
            ("/audit", &*words.menu.audit),
        ];
        let menu = match &who {
            Some((_, role)) => {
                entries.into_iter().filter(|(path, _)| routes::granted(*role, &Method::GET, path)).collect()
            }
            None => Vec::new(),
        };
        let rest: Vec<&str> =
            visitor.query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("lang=")).collect();
        let rest = if rest.is_empty() { String::new() } else { format!("&{}", rest.join("&")) };
        let languages =
            words::all().iter().map(|other| (other, format!("{}?lang={}{rest}", visitor.path, other.code))).collect();
        Self { words, who, here, menu, languages, refresh: 0 }
    }

    /// A text with one place filled in, for templates.
    pub(crate) fn fill(&self, text: impl AsRef<str>, key: &str, value: impl std::fmt::Display) -> String {
        words::fill(text.as_ref(), &[(key, &value.to_string())])
    }

    /// Whether who is signed in may send this form.
    pub(crate) fn may(&self, path: &str) -> bool {
        self.who.as_ref().is_some_and(|(_, role)| routes::granted(*role, &Method::POST, path))
    }
}

/// A time in the visitor's words and the city's zone.
pub(crate) fn when(app: &App, words: &Words, at: i64) -> When {
    When::new(at, app.now(), &app.settings.zone, words)
}

/// A title and a text.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    frame: Frame,
    title: &'a str,
    text: &'a str,
}

/// Something failed that is not the visitor's fault: told in the log, and as a page without details.
pub(crate) struct Fault(Error);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        tracing::error!("{}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// What pages answer.
pub(crate) type Answer = Result<Response, Fault>;

/// A page as a response.
pub(crate) fn page(status: StatusCode, words: &Words, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let mut response = whole(status, "text/html; charset=utf-8", Body::from(html));
            if let Ok(language) = HeaderValue::from_str(&words.code) {
                response.headers_mut().insert(header::CONTENT_LANGUAGE, language);
            }
            response
        }
        Err(error) => {
            tracing::error!("filling in a page: {error}");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be made.\n")
        }
    }
}

/// The page for a refusal that says no more than its status.
pub(crate) fn message(_app: &App, visitor: &Visitor, status: StatusCode) -> Response {
    let words = &visitor.words.message;
    let text = match status {
        StatusCode::UNAUTHORIZED => &words.sign_in,
        StatusCode::FORBIDDEN => &words.not_granted,
        StatusCode::NOT_FOUND => &words.not_found,
        StatusCode::METHOD_NOT_ALLOWED => &words.method,
        StatusCode::PAYLOAD_TOO_LARGE => &words.too_large,
        StatusCode::CONFLICT => &words.conflict,
        StatusCode::TOO_MANY_REQUESTS => &words.too_many,
        status if status.is_server_error() => &words.failed,
        _ => &words.bad,
    };
    message_of(_app, visitor, status, text)
}

/// The page for a refusal in these words: a title, a line break, and a text.
pub(crate) fn message_of(_app: &App, visitor: &Visitor, status: StatusCode, text: &str) -> Response {
    let (title, text) = text.split_once('\n').unwrap_or((text, ""));
    let template = MessagePage { frame: Frame::new(visitor, ""), title, text: text.trim() };
    page(status, visitor.words, &template)
}

/// A text for programs.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response {
    whole(status, "text/plain; charset=utf-8", Body::from(text))
}

/// A response that stays as it is.
pub(crate) fn whole(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.extensions_mut().insert(Whole);
    guard(response.headers_mut());
    response
}

/// A file to keep under a name.
pub(crate) fn download(kind: &'static str, name: &'static str, body: String) -> Response {
    let mut response = whole(StatusCode::OK, kind, Body::from(body));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// The headers that all responses have.
pub(crate) fn guard(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that a browser sends `Origin: null` from our own forms (Fetch standard, section 3.1).
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language, Cookie"));
}

/// Sends the browser to another of our pages, to be fetched with GET.
pub(crate) fn see_other(to: &str) -> Response {
    let mut response = whole(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", Body::empty());
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, to);
    response
}

/// Ends the connection after this response.
pub(crate) fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Percent-encodes a text for a query.
pub(crate) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
