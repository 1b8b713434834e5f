//! The API for gateways: docs/dashboard-protocol.md.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Extension, State},
    response::Response,
};
use hyper::{HeaderMap, Method, StatusCode, body::Bytes, header, header::HeaderValue};
use serde::Serialize;

use crate::{
    Error,
    app::App,
    guard::Visitor,
    secret,
    store::{self, Presented, State as Stand},
    view,
};
use sheshi_protocol::message::{Claim, Refusal, Report, Service, Standing, is_site};
use sheshi_protocol::signed::{self, Shown};

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    view::whole(status, "application/json", Body::from(body))
}

fn refuse(status: StatusCode, error: &str, hint: &str) -> Response {
    json(status, &Refusal { error: error.to_owned(), hint: hint.to_owned() })
}

fn failed(error: &Error) -> Response {
    tracing::error!("{error}");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "failed", "try again later, with a new sequence")
}

/// What a request shows, once its signature fits.
fn shown(method: &Method, visitor: &Visitor, headers: &HeaderMap, body: &[u8]) -> Result<Shown, Box<Response>> {
    let query = if visitor.query.is_empty() { String::new() } else { format!("?{}", visitor.query) };
    let path = format!("{}{query}", visitor.path);
    signed::check(headers, method.as_str(), &path, body)
        .map_err(|why| Box::new(refuse(StatusCode::UNAUTHORIZED, "signature", why)))
}

/// The refusal for a request that is not fresh or not from a gateway that is let in.
fn not_taken(presented: &Presented) -> Option<Response> {
    let (status, error, hint) = match presented {
        Presented::Fresh(_) => return None,
        Presented::Repeated => (
            StatusCode::CONFLICT,
            "repeated",
            "this very request was taken before; send the next one with a new sequence",
        ),
        Presented::Unknown => (StatusCode::FORBIDDEN, "unknown", "claim this key first: POST /api/v1/gateways/claim"),
        Presented::NotLetIn(Stand::Pending) => {
            (StatusCode::FORBIDDEN, "pending", "an operator has to approve this gateway on its page in the dashboard")
        }
        Presented::NotLetIn(Stand::Quarantined) => (
            StatusCode::FORBIDDEN,
            "quarantined",
            "this key was seen in two places; revoke the gateway in the dashboard, make a new key and claim again",
        ),
        Presented::NotLetIn(_) => {
            (StatusCode::FORBIDDEN, "revoked", "this key is not let in; make a new key and claim again")
        }
    };
    Some(refuse(status, error, hint))
}

pub(crate) async fn claim(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let shown = match shown(&method, &visitor, &headers, &body) {
        Ok(shown) => shown,
        Err(refusal) => return *refusal,
    };
    let claim: Claim = match serde_json::from_slice(&body) {
        Ok(claim) => claim,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, "claim", &error.to_string()),
    };
    if claim.key != hex::encode(shown.key) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "claim", "key: want the key that signs the request");
    }
    if !is_site(&claim.site) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "claim", "site: want 1 to 100 readable characters");
    }
    let fingerprint = signed::fingerprint(&shown.key);
    let code = secret::code_hash(&claim.code);
    match app.store.claim(shown, claim.site, code, app.now()).await {
        Err(error) => failed(&error),
        Ok(store::Claim::Known(state)) => {
            json(StatusCode::OK, &Standing { state: state.name().to_owned(), fingerprint })
        }
        Ok(store::Claim::Refused) => refuse(
            StatusCode::FORBIDDEN,
            "code",
            "the claim code is not good, too old, or used by another gateway; ask an operator for a new one",
        ),
    }
}

pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let shown = match shown(&method, &visitor, &headers, &body) {
        Ok(shown) => shown,
        Err(refusal) => return *refusal,
    };
    let report: Result<Report, _> = serde_json::from_slice(&body);
    let wrong = match &report {
        Ok(report) => report.out_of_bounds().map(str::to_owned),
        Err(error) => Some(error.to_string()),
    };
    let taken = match (report, wrong) {
        (Ok(report), None) => {
            // Kept as we understood it: what we do not know goes no further.
            let text = serde_json::to_string(&report).unwrap_or_default();
            let open = report.service == Service::Open;
            app.store.report(shown, text, open, report.troubles.len(), app.now()).await
        }
        // The sequence is used up all the same.
        (_, wrong) => match app.store.present(shown, app.now()).await {
            Ok(Presented::Fresh(_)) => {
                let hint = wrong.unwrap_or_default();
                return refuse(StatusCode::UNPROCESSABLE_ENTITY, "report", &hint);
            }
            other => other,
        },
    };
    match taken {
        Err(error) => failed(&error),
        Ok(presented) => not_taken(&presented)
            .unwrap_or_else(|| view::whole(StatusCode::NO_CONTENT, "application/json", Body::empty())),
    }
}

/// The newest published policy, compiled; 304 when the gateway has it.
pub(crate) async fn policy(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let shown = match shown(&method, &visitor, &headers, &body) {
        Ok(shown) => shown,
        Err(refusal) => return *refusal,
    };
    match app.store.present(shown, app.now()).await {
        Err(error) => return failed(&error),
        Ok(presented) => {
            if let Some(refusal) = not_taken(&presented) {
                return refusal;
            }
        }
    }
    let newest = match app.shelf.newest(&app.store, &app.places).await {
        Err(error) => return failed(&error),
        Ok(None) => return refuse(StatusCode::NOT_FOUND, "none", "no policy has been published yet"),
        Ok(Some(newest)) => newest,
    };
    let etag = format!("\"{}\"", newest.digest);
    let has = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let has = has.flat_map(|value| value.split(',')).any(|tag| tag.trim() == etag || tag.trim() == format!("W/{etag}"));
    let mut response = if has {
        view::whole(StatusCode::NOT_MODIFIED, "application/octet-stream", Body::empty())
    } else {
        view::whole(StatusCode::OK, "application/octet-stream", Body::from(newest.bytes.clone()))
    };
    for (name, value) in [("etag", etag), ("sheshi-generation", newest.number.to_string())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
