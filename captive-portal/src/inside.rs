//! The parsers of what a guest's request says, without the request: for the fuzz targets.

use axum::extract::Query;
use hyper::{HeaderMap, Uri, header};

use crate::{host::Host, routes::Parameters, wanted::Wanted};

/// The `Host` header of a request, as it is written again; `None` when it is refused.
pub fn host(text: &[u8]) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, header::HeaderValue::from_bytes(text).ok()?);
    Some(Host::of(&headers)?.to_string())
}

/// The page that a guest wanted: its URL as it is opened, and its site as it is shown.
pub fn wanted(text: &str) -> Option<(String, String)> {
    let wanted = Wanted::parse(text)?;
    Some((wanted.url().to_owned(), wanted.site()))
}

/// The page wanted by what stands behind `?` in a request's target.
pub fn wanted_by_query(query: &str) -> Option<(String, String)> {
    let uri = Uri::builder().path_and_query(format!("/terms?{query}")).build().ok()?;
    let Query(parameters) = Query::<Parameters>::try_from_uri(&uri).ok()?;
    wanted(parameters.to.as_deref()?)
}
