//! Every route, by role and by method.

use hyper::{Method, StatusCode};

use super::harness::{Browser, House};
use crate::{
    Role,
    routes::{Access, table},
};

/// The path with something in its places.
fn filled(path: &str) -> String {
    path.replace("{id}", "1").replace("{number}", "1")
}

const OUR_PAGE: [(&str, &str); 3] =
    [("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin"), ("content-type", super::harness::FORM)];

/// Statuses with which a request was turned away before it did anything.
fn turned_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED)
}

#[tokio::test]
async fn every_route_is_refused_to_every_role_it_is_not_granted() {
    let house = House::new();
    let mut owner = house.owner().await;
    house.gateway(&mut owner, 7, "Sheshi").await;
    let mut tried = 0;
    for role in Role::ALL {
        let mut browser = house.person(&mut owner, &format!("nje {}", role.name()), role).await;
        for route in table() {
            let Access::Roles(roles) = route.access else { continue };
            // Signing out would end the session that the rest needs.
            if route.path == "/sign-out" {
                continue;
            }
            let page = browser.ask(route.method.clone(), &filled(route.path), "", &OUR_PAGE).await;
            let what = format!("{role:?} {} {}: {}", route.method, route.path, page.status);
            if roles.contains(&role) {
                assert!(!turned_away(page.status) && !page.location().starts_with("/sign-in"), "{what}");
            } else {
                assert_eq!(page.status, StatusCode::FORBIDDEN, "{what}");
                assert!(page.text.contains("Your role does not include this"), "{what}");
            }
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[tokio::test]
async fn stranger_is_led_to_sign_in_and_can_change_nothing() {
    let house = House::new();
    drop(house.owner().await);
    for route in table() {
        let page = Browser::new(&house).ask(route.method.clone(), &filled(route.path), "", &OUR_PAGE).await;
        let what = format!("{} {}: {}", route.method, route.path, page.status);
        match (route.access, &route.method) {
            (Access::Roles(_), &Method::GET) => {
                assert_eq!(page.status, StatusCode::SEE_OTHER, "{what}");
                assert!(page.location().starts_with("/sign-in?to=/"), "{what}");
            }
            (Access::Roles(_) | Access::Gateway, _) => assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{what}"),
            (Access::Anyone, &Method::GET) => assert!(!turned_away(page.status), "{what}"),
            // With nothing in them these forms do nothing.
            (Access::Anyone, _) => assert!(page.status.is_client_error(), "{what}"),
        }
    }
}

#[tokio::test]
async fn every_route_that_changes_something_refuses_what_another_site_sends() {
    let house = House::new();
    let mut owner = house.owner().await;
    let foreign: [&[(&str, &str)]; 8] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:8081")],
        &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
    ];
    for route in table().iter().filter(|route| route.method != Method::GET && route.access != Access::Gateway) {
        for headers in foreign {
            let mut headers = headers.to_vec();
            headers.push(("content-type", super::harness::FORM));
            let page = owner.ask(route.method.clone(), &filled(route.path), "name=x&role=owner", &headers).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{} {headers:?}", route.path);
        }
    }
    assert!(owner.session().is_some(), "a foreign page signed the owner out");
    assert_eq!(house.app().store.accounts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn methods_and_paths_that_are_not_in_the_table_do_not_exist() {
    let house = House::new();
    let mut owner = house.owner().await;
    let table = table();
    for path in table.iter().map(|route| route.path) {
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
            let page = owner.ask(method.parse().unwrap(), &filled(path), "", &OUR_PAGE).await;
            assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
        if !table.iter().any(|route| route.path == path && route.method == Method::POST) {
            assert_eq!(owner.post(&filled(path), &[]).await.status, StatusCode::METHOD_NOT_ALLOWED, "POST {path}");
        }
        if !table.iter().any(|route| route.path == path && route.method == Method::GET) {
            assert_eq!(owner.get(&filled(path)).await.status, StatusCode::METHOD_NOT_ALLOWED, "GET {path}");
        }
    }
    for path in [
        "/people/",
        "//people",
        "/people/..",
        "/people%2f",
        "/%70eople",
        "/people;x",
        "/PEOPLE",
        "/style.css/../people",
        "/site/0x1",
        "/site/-1",
        "/site/99999999999999999999",
        "/policy/1.toml",
        "/api/v1",
        "/.env",
        "/site/1%00",
    ] {
        let status = owner.get(path).await.status;
        assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST), "{path}: {status}");
    }
}

#[tokio::test]
async fn other_names_for_this_server_get_nothing() {
    let house = House::new();
    let mut owner = house.owner().await;
    for (host, status) in [
        ("127.0.0.1:8080", StatusCode::OK),
        ("localhost:8080", StatusCode::OK),
        ("[::1]:8080", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1.evil.example:8080", StatusCode::MISDIRECTED_REQUEST),
        ("localhost:8080@evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1:99999", StatusCode::MISDIRECTED_REQUEST),
        ("", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let page = owner.ask(Method::GET, "/fleet", "", &[("host", host)]).await;
        assert_eq!(page.status, status, "{host}");
    }
    for (method, target) in [(Method::CONNECT, "/"), (Method::GET, "http://127.0.0.1:8080/fleet"), (Method::TRACE, "/")]
    {
        let page = owner.ask(method.clone(), target, "", &[]).await;
        assert!(page.status.is_client_error() && page.text.contains("no proxy"), "{method} {target}");
    }
}

#[tokio::test]
async fn every_answer_keeps_to_itself() {
    let house = House::new();
    let mut owner = house.owner().await;
    for path in ["/fleet", "/sign-in", "/nowhere", "/fleet.csv", "/style.css", "/api/v1/policy", "/health"] {
        let page = owner.get(path).await;
        let header = |name: &str| page.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'self';"), "{path}");
        assert!(!header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        let cache = if path == "/style.css" { "public, max-age=300" } else { "no-store" };
        assert_eq!(header("cache-control"), cache, "{path}");
        assert!(
            !page.text.contains("<script") && !page.text.contains(" style=") && !page.text.contains("//cdn"),
            "{path}"
        );
    }
}
