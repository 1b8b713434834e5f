//! The one table of routes: what there is, and to whom it is granted. What does not stand here does not exist.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{MethodRouter, get, post},
};
use hyper::{Method, StatusCode};

use crate::{
    api,
    app::App,
    guard::{self, Grant},
    pages::{account, audit, explain, fleet, generation, people, policy, sign_in, site},
    role::Role::{self, Certifier, Operator, Owner, Policy, Viewer},
};

/// To whom a route is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To all, signed in or not.
    Anyone,
    /// To who signs the request with a gateway's key; the route itself checks.
    Gateway,
    /// To people with one of these roles.
    Roles(&'static [Role]),
}

/// A route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// Most octets of a request's body.
    body: usize,
    handler: MethodRouter<Arc<App>>,
}

const ALL: Access = Access::Roles(&Role::ALL);
const WRITES: Access = Access::Roles(&[Owner, Policy]);
const ADMITS: Access = Access::Roles(&[Owner, Operator]);
const OWNS: Access = Access::Roles(&[Owner]);
const AUDITS: Access = Access::Roles(&[Owner, Certifier]);
const READS: Access = Access::Roles(&[Owner, Policy, Operator, Viewer, Certifier]);

/// A form's fields.
const FORM: usize = 16 << 10;
/// A policy's text, which a form's encoding may make three times as long.
const TEXT: usize = 2 << 20;

/// The table.
pub(crate) fn table() -> Vec<Route> {
    let read = |path, access, handler| Route { method: Method::GET, path, access, body: 0, handler };
    let write = |path, access, body, handler| Route { method: Method::POST, path, access, body, handler };
    vec![
        read("/style.css", Access::Anyone, get(sign_in::style)),
        read("/health", Access::Anyone, get(sign_in::health)),
        read("/sign-in", Access::Anyone, get(sign_in::page)),
        write("/sign-in", Access::Anyone, FORM, post(sign_in::sign_in)),
        read("/first", Access::Anyone, get(sign_in::first_page)),
        write("/first", Access::Anyone, FORM, post(sign_in::first)),
        read("/join", Access::Anyone, get(sign_in::join_page)),
        write("/join", Access::Anyone, FORM, post(sign_in::join)),
        write("/sign-out", ALL, FORM, post(sign_in::sign_out)),
        read("/account", ALL, get(account::page)),
        write("/account/password", ALL, FORM, post(account::password)),
        read("/", READS, get(fleet::home)),
        read("/fleet", READS, get(fleet::page)),
        read("/fleet.csv", READS, get(fleet::csv)),
        read("/fleet/join", ADMITS, get(fleet::join_page)),
        write("/fleet/join", ADMITS, FORM, post(fleet::join)),
        read("/site/{id}", READS, get(site::page)),
        write("/site/{id}/decide", ADMITS, FORM, post(site::decide)),
        read("/policy", READS, get(policy::page)),
        write("/policy/check", WRITES, TEXT, post(policy::check)),
        write("/policy/draft", WRITES, TEXT, post(policy::draft)),
        write("/policy/discard", WRITES, TEXT, post(policy::discard)),
        write("/policy/publish", WRITES, TEXT, post(policy::publish)),
        read("/policy/{number}", READS, get(generation::page)),
        write("/policy/{number}/again", WRITES, FORM, post(generation::again)),
        read("/explain", READS, get(explain::page)),
        read("/people", OWNS, get(people::page)),
        write("/people", OWNS, FORM, post(people::add)),
        write("/people/{id}/change", OWNS, FORM, post(people::change)),
        write("/people/{id}/code", OWNS, FORM, post(people::code)),
        read("/audit", AUDITS, get(audit::page)),
        write("/audit/export", AUDITS, FORM, post(audit::export)),
        write("/api/v1/gateways/claim", Access::Gateway, FORM, post(api::claim)),
        write("/api/v1/report", Access::Gateway, 512 << 10, post(api::report)),
        read("/api/v1/policy", Access::Gateway, get(api::policy)),
    ]
}

/// Whether a role may do this.
pub(crate) fn granted(role: Role, method: &Method, path: &str) -> bool {
    table().iter().any(|route| {
        route.path == path
            && route.method == method
            && matches!(route.access, Access::Roles(roles) if roles.contains(&role))
    })
}

/// The router over the table.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in table() {
        let grant = Grant { access: route.access, body: route.body, app: app.clone() };
        router = router.route(route.path, route.handler.layer(from_fn_with_state(grant, guard::guard)));
    }
    router
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(DefaultBodyLimit::disable()) // the guard has read the body, within the route's own limit
        .with_state(app.clone())
}
