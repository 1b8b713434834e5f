//! The captive portal API (RFC 8908).

use std::time::Duration;

use axum::{body::Body, response::Response};
use hyper::{HeaderMap, StatusCode, header, header::HeaderValue};
use serde::Serialize;

use crate::{admission::Who, pages, portal::Inner, settings::Access};

/// The path under which the API is announced (RFC 8910).
pub(crate) const PATH: &str = "/captive-portal/api";

/// RFC 8908 section 5.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct State {
    captive: bool,
    user_portal_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue_info_url: Option<String>,
    /// Only for who is in: whether the portal's page lets a guest stay longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    can_extend_session: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_remaining: Option<u64>,
}

/// The state of whoever asks, whatever media type it accepts: a system that does not say is better served than refused.
pub(crate) fn answer(inner: &Inner, who: Who, secure: bool) -> Response {
    let left = match who {
        Who::Guest(_, left) => Some(left),
        Who::Stranger(_) | Who::Unknown => None,
    };
    let user_portal_url = match (&inner.settings.tls, secure) {
        (Some(tls), true) if tls.port == 443 => format!("https://{}/", inner.settings.name.to_ascii_lowercase()),
        (Some(tls), true) => format!("https://{}:{}/", inner.settings.name.to_ascii_lowercase(), tls.port),
        _ => inner.settings.url("/"),
    };
    let state = State {
        captive: left.is_none(),
        user_portal_url,
        venue_info_url: inner.settings.website.clone(),
        can_extend_session: left.map(|_| inner.settings.access != Access::Code),
        seconds_remaining: left.as_ref().map(Duration::as_secs),
    };
    let json = serde_json::to_vec(&state).unwrap_or_default();
    let mut response = pages::response(StatusCode::OK, "application/captive+json", Body::from(json));
    // RFC 8908 section 4: the state is of one device only.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

/// Whether a request names the media type of the API: such a one gets the API also where a page lives.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(|accept| {
        accept.split(',').any(|range| range.split(';').next().unwrap_or("").trim() == "application/captive+json")
    })
}
