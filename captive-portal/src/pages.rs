//! The pages: templates filled in, with the headers that keep them to themselves.

use std::{sync::LazyLock, time::Duration};

use askama::Template;
use axum::{body::Body, response::Response};
use base64::Engine;
use hyper::{HeaderMap, StatusCode, header, header::HeaderValue};
use sha2::{Digest, Sha256};

use crate::{
    portal::Inner,
    wanted::Wanted,
    words::{self, Words, fill},
};

/// The style sheet is written into each page: a page on another site's name has no other place to fetch it from.
pub(crate) const STYLE: &str = include_str!("../templates/style.css");

/// Nothing from elsewhere, no script, and no style but ours.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// What every page has.
pub(crate) struct Frame<'a> {
    pub(crate) words: &'static Words,
    pub(crate) style: &'static str,
    pub(crate) organisation: &'a str,
    pub(crate) venue: &'a str,
    pub(crate) footer: String,
    pub(crate) contact: &'a str,
    /// What a tap on the contact opens; empty when it is nothing that a device can open.
    pub(crate) contact_link: String,
    /// The other languages and the links to this page in them; empty on pages under another site's name.
    pub(crate) languages: Vec<(&'static Words, String)>,
    pub(crate) no_uplink: bool,
}

impl<'a> Frame<'a> {
    /// `query` is what the links to the other languages keep besides the language.
    pub(crate) fn new(inner: &'a Inner, words: &'static Words, here: Option<(&str, &str)>) -> Self {
        let settings = &inner.settings;
        let languages = match here {
            Some((path, query)) => settings
                .languages
                .iter()
                .filter_map(|code| words::get(code))
                .map(|other| (other, format!("{path}?lang={}{query}", other.code)))
                .collect(),
            None => Vec::new(),
        };
        Self {
            words,
            style: STYLE,
            organisation: &settings.organisation,
            venue: &settings.venue,
            footer: fill(&words.common.footer, &[("organisation", &settings.organisation)]),
            contact: &settings.contact,
            contact_link: contact_link(&settings.contact),
            languages,
            no_uplink: !inner.uplink_works(),
        }
    }
}

/// A link for an e-mail address, a web address or a telephone number.
fn contact_link(contact: &str) -> String {
    let all = |good: fn(u8) -> bool| contact.bytes().all(good);
    if Wanted::parse(contact).is_some() {
        contact.to_owned()
    } else if contact.contains('@') && all(|byte| byte.is_ascii_alphanumeric() || b"@.-_+".contains(&byte)) {
        format!("mailto:{contact}")
    } else if contact.bytes().any(|byte| byte.is_ascii_digit()) && all(|byte| b"+0123456789 -/()".contains(&byte)) {
        let digits = contact.chars().filter(|character| character.is_ascii_digit() || *character == '+');
        format!("tel:{}", digits.collect::<String>())
    } else {
        String::new()
    }
}

/// The terms, with the button that accepts them.
#[derive(Template)]
#[template(path = "terms.html")]
pub(crate) struct TermsPage<'a> {
    pub(crate) frame: Frame<'a>,
    /// Why the guest sees the page again: a title and a text.
    pub(crate) notice: Option<&'static [String; 2]>,
    /// What the button says.
    pub(crate) accept: &'a str,
    pub(crate) intro: String,
    pub(crate) categories: Vec<String>,
    pub(crate) kept: [String; 3],
    pub(crate) rights: String,
    pub(crate) checked: [String; 2],
    pub(crate) time: String,
    pub(crate) paragraphs: Vec<String>,
    pub(crate) version: String,
    /// What stands in the field for a code, where there is one.
    pub(crate) code: Option<String>,
    /// That a code is needed.
    pub(crate) needed: Option<String>,
    /// The ticket of another hotspot, and what it gives.
    pub(crate) ticket: Option<(String, String)>,
    pub(crate) token: String,
    /// The wanted URL, its signature, and the line that names it.
    pub(crate) wanted: Option<(String, String, String)>,
}

/// After accepting.
#[derive(Template)]
#[template(path = "welcome.html")]
pub(crate) struct WelcomePage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) text: String,
    pub(crate) bookmark: String,
    /// The wanted URL and the words of the link to it.
    pub(crate) go_on: Option<(String, String)>,
}

/// Time left and log-out.
#[derive(Template)]
#[template(path = "status.html")]
pub(crate) struct StatusPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) left: String,
    pub(crate) left_seconds: u64,
    pub(crate) session_seconds: u64,
    pub(crate) categories: Vec<String>,
    pub(crate) rights: String,
    pub(crate) token: String,
    /// Whether a code keeps the time that is left.
    pub(crate) keeps: bool,
    /// The link that takes the access along to another hotspot.
    pub(crate) ticket: Option<String>,
}

/// How this network filters, and why a name is blocked.
#[derive(Template)]
#[template(path = "filter.html")]
pub(crate) struct FilterPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) intro: String,
    pub(crate) categories: Vec<String>,
    pub(crate) kept: [String; 3],
    pub(crate) rights: String,
    pub(crate) checked: [String; 2],
    pub(crate) verdict: Option<Verdict>,
}

/// The answer to who asked about a name.
pub(crate) struct Verdict {
    pub(crate) blocked: bool,
    pub(crate) text: String,
    /// Rows of label and value.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The name, where one may object to its block.
    pub(crate) name: Option<String>,
}

/// The form of an objection, and what became of one.
#[derive(Template)]
#[template(path = "objection.html")]
pub(crate) struct ObjectionPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) intro: String,
    pub(crate) answer: Option<Vec<String>>,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) token: String,
}

/// Under another site's name, while the browser still holds our address for it.
#[derive(Template)]
#[template(path = "opening.html")]
pub(crate) struct OpeningPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) status_url: String,
}

/// A blocked site.
#[derive(Template)]
#[template(path = "blocked.html")]
pub(crate) struct BlockedPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) title: &'a str,
    pub(crate) paragraphs: Vec<String>,
    /// Rows of label and value.
    pub(crate) facts: Vec<(&'a str, String)>,
    /// The page with the form to object, where one may.
    pub(crate) object: Option<String>,
    pub(crate) status_url: String,
}

/// A title, a text, and a way to the portal.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct MessagePage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) message: &'static [String; 2],
    pub(crate) lines: Vec<String>,
    pub(crate) portal_url: String,
}

/// A page as a response.
pub(crate) fn page(status: StatusCode, words: &'static Words, template: &impl Template) -> Response {
    // A template fails only when a value's `Display` does, and ours are strings.
    let html = template.render().unwrap_or_default();
    let mut response = response(status, "text/html; charset=utf-8", Body::from(html));
    if let Ok(language) = HeaderValue::from_str(&words.code) {
        response.headers_mut().insert(header::CONTENT_LANGUAGE, language);
    }
    response
}

/// Any response, with the headers that all have.
pub(crate) fn response(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    guard(response.headers_mut());
    response
}

/// The headers that all responses have.
pub(crate) fn guard(headers: &mut HeaderMap) {
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: with that a browser sends `Origin: null` from our own forms (Fetch standard, section 3.1).
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language"));
}

/// Sends the browser elsewhere and ends the connection: the address it goes to may be ours only until the guest is admitted.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response {
    let mut response = response(status, "text/plain; charset=utf-8", Body::empty());
    match HeaderValue::from_str(location) {
        Ok(location) => response.headers_mut().insert(header::LOCATION, location),
        Err(_) => response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/")),
    };
    close(response)
}

/// Ends the connection after this response.
pub(crate) fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Makes the browser load a URL after some seconds. The URL has passed `Wanted::parse`.
pub(crate) fn refresh(mut response: Response, after: Duration, url: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(&format!("{}; url={url}", after.as_secs())) {
        response.headers_mut().insert(header::REFRESH, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{STYLE, contact_link};

    #[test]
    fn contact_is_a_link_where_a_device_can_open_it() {
        for (contact, link) in [
            ("wifi@tirana.example", "mailto:wifi@tirana.example"),
            ("https://www.tirana.example/wifi", "https://www.tirana.example/wifi"),
            ("+355 (0) 4 123-456", "tel:+35504123456"),
            ("Zyra 4, Sheshi Skënderbej", ""),
            ("javascript:alert(1)", ""),
            ("a@b.example?subject=<x>", ""),
        ] {
            assert_eq!(contact_link(contact), link, "{contact}");
        }
    }

    /// Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let digits = colour.strip_prefix('#').unwrap();
        let wide = digits.len() == 6;
        let channel = |n: usize| {
            let text = if wide { digits[2 * n..2 * n + 2].to_owned() } else { digits[n..=n].repeat(2) };
            let value = f64::from(u8::from_str_radix(&text, 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(1) + 0.0722 * channel(2)
    }

    #[test]
    fn text_is_readable_in_light_and_dark() {
        let schemes = STYLE.lines().filter(|line| line.contains("--ground:#")).map(|line| {
            let variables = line.split_once("--").unwrap().1;
            let pairs = variables.split([';', '}']).filter_map(|pair| pair.trim_start_matches("--").split_once(':'));
            pairs.collect::<HashMap<_, _>>()
        });
        let mut count = 0;
        for colours in schemes {
            count += 1;
            // Text, on what, and the contrast that WCAG 2.2 asks for: 1.4.3 for text, 1.4.11 for what shows a control.
            for (text, ground, least) in [
                ("ink", "ground", 4.5),
                ("ink", "card", 4.5),
                ("ink", "tint", 4.5),
                ("soft", "ground", 4.5),
                ("soft", "card", 4.5),
                ("accent", "ground", 4.5),
                ("accent", "card", 4.5),
                ("accent", "tint", 4.5),
                ("on", "accent", 4.5),
                ("warn", "warnbg", 4.5),
                ("stop", "stopbg", 3.0),
            ] {
                let (a, b) = (luminance(colours[text]), luminance(colours[ground]));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= least, "{text} on {ground}: {contrast:.2}");
            }
        }
        assert_eq!(count, 2);
    }
}
