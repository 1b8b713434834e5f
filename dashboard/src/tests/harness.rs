//! A dashboard in a folder of its own, and a browser that keeps cookies.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use axum::{Router, body::Body, response::Response};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, body::Bytes, header};
use jiff::tz::TimeZone;

use sheshi_evidence::sign::SecretKey;

use crate::{Dashboard, Role, Settings, app::App, guard, routes, view};
use sheshi_protocol::client::Caller;
use sheshi_protocol::message::Report;

pub(super) const PASSWORD: &str = "katër mollë të kuqe";
pub(super) const POLICY: &str = "version = 1\n\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n";
/// 2026-11-23 08:41:00 UTC.
pub(super) const START: i64 = 1_795_423_260;

/// A dashboard and its folder, which goes with it.
pub(super) struct House {
    pub(super) folder: tempfile::TempDir,
    pub(super) dashboard: Dashboard,
    pub(super) routes: Router,
    pub(super) clock: Arc<AtomicI64>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) bytes: Bytes,
}

impl Page {
    pub(super) fn location(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |value| value.to_str().unwrap())
    }

    /// The part between two marks.
    pub(super) fn between(&self, from: &str, to: &str) -> &str {
        let start = self.text.find(from).unwrap_or_else(|| panic!("no {from:?} in {}", self.text)) + from.len();
        &self.text[start..start + self.text[start..].find(to).unwrap()]
    }
}

impl House {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data/lists")).unwrap();
        fs::write(folder.path().join("data/lists/adult.txt"), "bad.example\nworse.example\n").unwrap();
        Self::at(folder, Arc::new(AtomicI64::new(START)), |_| {})
    }

    pub(super) fn at(folder: tempfile::TempDir, clock: Arc<AtomicI64>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            listen: "127.0.0.1:8080".parse().unwrap(),
            data: folder.path().join("data"),
            lists: None,
            public: None,
            plain_http: false,
            zone: TimeZone::get("Europe/Tirane").unwrap(),
        };
        change(&mut settings);
        let time = clock.clone();
        let dashboard = Dashboard::open_at(settings, Arc::new(move || time.load(Relaxed))).unwrap();
        let routes = routes::router(&dashboard.0);
        Self { folder, dashboard, routes, clock }
    }

    /// The same folder, opened anew.
    pub(super) fn restart(self) -> Self {
        let Self { folder, clock, .. } = self;
        Self::at(folder, clock, |_| {})
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.dashboard.0
    }

    pub(super) fn lists(&self) -> PathBuf {
        self.folder.path().join("data/lists")
    }

    pub(super) fn later(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Relaxed);
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Page {
        let response: Response = guard::dispatch(self.app(), &self.routes, request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Page { status: parts.status, headers: parts.headers, text, bytes }
    }

    /// A gateway's request.
    pub(super) async fn signed(&self, request: Request<Full<Bytes>>) -> Page {
        self.send(request.map(Body::new)).await
    }

    /// The first owner, signed in.
    pub(super) async fn owner(&self) -> Browser<'_> {
        let code = self.dashboard.owner_code().await.unwrap().unwrap();
        let mut browser = Browser::new(self);
        let fields = [("code", &*code), ("name", "ana"), ("password", PASSWORD), ("again", PASSWORD)];
        let page = browser.post("/first", &fields).await;
        assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/fleet"), "{}", page.text);
        browser
    }

    /// Somebody with a role, signed in; added by the owner.
    pub(super) async fn person(&self, owner: &mut Browser<'_>, name: &str, role: Role) -> Browser<'_> {
        let page = owner.post("/people", &[("name", name), ("role", role.name())]).await;
        let code = page.between("<p class=\"secret\">", "</p>").to_owned();
        let mut browser = Browser::new(self);
        let fields = [("code", &*code), ("password", PASSWORD), ("again", PASSWORD)];
        let page = browser.post("/join", &fields).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        browser
    }

    /// A gateway with this key that has been let in.
    pub(super) async fn gateway(&self, owner: &mut Browser<'_>, key: u8, site: &str) -> Caller {
        let mut gateway = Caller::new(SecretKey::new([key; 32]), [key; 16], 0, "127.0.0.1:8080");
        let page = self.claim(owner, &mut gateway, site).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let id = self.app().store.gateways().await.unwrap().iter().map(|row| row.id).max().unwrap();
        let fields = [("to", "approve"), ("state", "pending"), ("key", &*gateway.public_key())];
        let page = owner.post(&format!("/site/{id}/decide"), &fields).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        gateway
    }

    /// A claim with a new code.
    pub(super) async fn claim(&self, owner: &mut Browser<'_>, gateway: &mut Caller, site: &str) -> Page {
        let code = owner.post("/fleet/join", &[]).await.between("<p class=\"secret\">", "</p>").to_owned();
        self.claim_with(gateway, site, &code).await
    }

    pub(super) async fn claim_with(&self, gateway: &mut Caller, site: &str, code: &str) -> Page {
        let body = serde_json::json!({ "key": gateway.public_key(), "site": site, "code": code });
        self.signed(gateway.request("POST", "/api/v1/gateways/claim", body.to_string().into_bytes())).await
    }

    pub(super) async fn report(&self, gateway: &mut Caller, report: &Report) -> Page {
        self.signed(gateway.request("POST", "/api/v1/report", serde_json::to_vec(report).unwrap())).await
    }
}

/// A report as a gateway in good health sends it.
pub(super) fn report(site: &str) -> Report {
    serde_json::from_value(serde_json::json!({
        "site": site, "version": "0.1.0", "running": 3600, "service": "open", "troubles": [], "policy": null,
        "counts": { "sessions": 12 },
    }))
    .unwrap()
}

/// A browser: keeps cookies, says where its forms come from.
#[derive(Clone)]
pub(super) struct Browser<'a> {
    house: &'a House,
    pub(super) cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub(super) fn new(house: &'a House) -> Self {
        Self { house, cookies: vec![("language".into(), "en".into())] }
    }

    pub(super) async fn get(&mut self, path: &str) -> Page {
        self.ask(Method::GET, path, "", &[]).await
    }

    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body: Vec<_> =
            fields.iter().map(|(key, value)| format!("{key}={}", view::escape(value).replace('/', "%2F"))).collect();
        let headers = [("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin"), ("content-type", FORM)];
        self.ask(Method::POST, path, &body.join("&"), &headers).await
    }

    pub(super) async fn ask(&mut self, method: Method, path: &str, body: &str, headers: &[(&str, &str)]) -> Page {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, "127.0.0.1:8080");
        }
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request = request.header(header::COOKIE, cookies.join("; "));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let page = self.house.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        for cookie in page.headers.get_all(header::SET_COOKIE) {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        page
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.cookies.iter().find(|(name, _)| name.ends_with("session")).map(|(_, value)| &**value)
    }
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
