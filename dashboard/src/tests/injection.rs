//! What looks like SQL, a command or a template is text, in every field of every form.

use hyper::{Method, StatusCode};

use super::harness::{Browser, House, PASSWORD};
use crate::{
    Role,
    routes::{Access, table},
};

/// Every name that a field has anywhere, and some that none has.
const FIELDS: [&str; 25] = [
    "name",
    "password",
    "again",
    "old",
    "code",
    "role",
    "site",
    "to",
    "state",
    "key",
    "text",
    "note",
    "reason",
    "group",
    "at",
    "language",
    "name' OR 1=1 --",
    "id",
    "base",
    "enabled",
    "secret",
    "search",
    "app",
    "view",
    "group",
];

const TEXTS: [&str; 6] = [
    "x'); DROP TABLE account; --",
    "' OR '1'='1",
    "$(touch /tmp/sheshi-was-here)`touch /tmp/sheshi-was-here`",
    "{{7*7}}{% raw %}",
    "%00%0a../../etc/passwd",
    "1; ATTACH DATABASE '/tmp/sheshi-was-here' AS x",
];

#[tokio::test]
async fn what_looks_like_sql_or_a_command_is_only_text() {
    let house = House::new();
    let mut owner = house.owner().await;
    house.gateway(&mut owner, 7, "Sheshi").await;
    let mut tried = 0;
    for text in TEXTS {
        for route in table() {
            let granted = matches!(route.access, Access::Roles(roles) if roles.contains(&Role::Owner));
            if route.method != Method::POST || !granted || route.path == "/sign-out" {
                continue;
            }
            let path = route.path.replace("{id}", "1").replace("{number}", "1");
            let page = owner.post(&path, &FIELDS.map(|field| (field, text))).await;
            assert!(page.status != StatusCode::INTERNAL_SERVER_ERROR, "{path} with {text:?}: {}", page.text);
            tried += 1;
        }
        // Behind `?` and in the path, where only the router and the page itself look.
        for path in ["/explain?name=", "/people?", "/fleet?site=", "/audit?before=", "/site/", "/policy/"] {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let page = owner.get(&format!("{path}{escaped}")).await;
            assert!(page.status != StatusCode::INTERNAL_SERVER_ERROR, "{path} with {text:?}");
            assert!(!page.text.contains("49{%"), "a template was filled in");
        }
        // Everything is where it was: the owner, signed in; the gateway; the log.
        for path in ["/people", "/fleet", "/audit", "/policy"] {
            let page = owner.get(path).await;
            assert_eq!(page.status, StatusCode::OK, "{path} after {text:?}");
        }
        assert!(owner.get("/people").await.text.contains("ana"), "after {text:?}");
        assert!(owner.get("/fleet").await.text.contains("Sheshi"), "after {text:?}");
        // And nobody gets in by it.
        let mut stranger = Browser::new(&house);
        for (name, password) in [(text, PASSWORD), ("ana", text), (text, text)] {
            let page = stranger.post("/sign-in", &[("name", name), ("password", password)]).await;
            assert!(stranger.session().is_none() && page.status != StatusCode::INTERNAL_SERVER_ERROR, "{text:?}");
        }
    }
    assert!(tried >= 60, "{tried}");
    assert!(!std::path::Path::new("/tmp/sheshi-was-here").exists(), "a command was run");
}
