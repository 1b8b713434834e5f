//! Getting in: the first owner, passwords, sessions, limits.

use hyper::{Method, StatusCode, header};

use super::harness::{Browser, FORM, House, PASSWORD, START};
use crate::{Public, Role};

#[tokio::test]
async fn only_the_code_from_the_console_makes_the_first_owner_and_only_once() {
    let house = House::new();
    let mut thief = Browser::new(&house);
    assert!(thief.get("/sign-in").await.text.contains("Nobody owns this server yet"));
    let fields = [("code", "0000-0000-0000-0000"), ("name", "eve"), ("password", PASSWORD), ("again", PASSWORD)];
    assert_eq!(thief.post("/first", &fields).await.status, StatusCode::FORBIDDEN);

    let old = house.dashboard.owner_code().await.unwrap().unwrap();
    let code = house.dashboard.owner_code().await.unwrap().unwrap();
    let with = |code| [("code", code), ("name", "ana"), ("password", PASSWORD), ("again", PASSWORD)];
    assert_eq!(thief.post("/first", &with(&*old)).await.status, StatusCode::FORBIDDEN, "an older code is still good");
    let mut ana = Browser::new(&house);
    assert_eq!(ana.post("/first", &with(&*code)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ana.get("/people").await.status, StatusCode::OK);

    assert_eq!(thief.post("/first", &with(&*code)).await.status, StatusCode::NOT_FOUND, "a second owner was made");
    assert_eq!(thief.get("/first").await.status, StatusCode::NOT_FOUND);
    assert!(house.dashboard.owner_code().await.unwrap().is_none());
}

#[tokio::test]
async fn owner_code_ends_after_a_day() {
    let house = House::new();
    let code = house.dashboard.owner_code().await.unwrap().unwrap();
    house.later(24 * 3600);
    let fields = [("code", &*code), ("name", "ana"), ("password", PASSWORD), ("again", PASSWORD)];
    assert_eq!(Browser::new(&house).post("/first", &fields).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn weak_passwords_are_refused_with_the_reason_and_the_code_stays_good() {
    let house = House::new();
    let code = house.dashboard.owner_code().await.unwrap().unwrap();
    let mut browser = Browser::new(&house);
    for (password, again, why) in [
        ("tre mollë", "tre mollë", "too short"),
        ("aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "too easy"),
        ("Arbenit 2026 mire", "Arbenit 2026 mire", "too easy"),
        (PASSWORD, "another password", "not the same"),
        (&"x1".repeat(200), &"x1".repeat(200), "too long"),
    ] {
        let fields = [("code", &*code), ("name", "arben"), ("password", password), ("again", again)];
        let page = browser.post("/first", &fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text.contains(why), "{password}: {}", page.text);
        assert!(!page.text.contains(password), "the password is in the page");
    }
    let fields = [("code", &*code), ("name", "arben"), ("password", PASSWORD), ("again", PASSWORD)];
    assert_eq!(browser.post("/first", &fields).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn session_gets_a_new_id_at_sign_in_and_the_old_one_ends() {
    let house = House::new();
    let mut ana = house.owner().await;
    let first = ana.session().unwrap().to_owned();
    let mut fixed = ana.clone();
    let page = ana.post("/sign-in", &[("name", "ANA"), ("password", PASSWORD)]).await;
    assert_eq!(page.location(), "/fleet");
    let cookie = page.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"), "{cookie}");
    assert_ne!(ana.session().unwrap(), first);
    assert_eq!(fixed.get("/fleet").await.status, StatusCode::SEE_OTHER, "the session from before still opens the door");
    assert_eq!(ana.get("/fleet").await.status, StatusCode::OK);

    let mut planted = Browser::new(&house);
    planted.cookies.push(("session".into(), "AAAAAAAAAAAAAAAAAAAAAA".into()));
    planted.post("/sign-in", &[("name", "ana"), ("password", PASSWORD)]).await;
    assert_ne!(planted.session().unwrap(), "AAAAAAAAAAAAAAAAAAAAAA");
}

#[tokio::test]
async fn database_does_not_hold_what_opens_a_session() {
    let house = House::new();
    let ana = house.owner().await;
    let session = ana.session().unwrap().to_owned();
    assert_eq!(session.len(), 22);
    for name in ["dashboard.sqlite", "dashboard.sqlite-wal"] {
        let bytes = std::fs::read(house.folder.path().join("data").join(name)).unwrap();
        for secret in [session.as_bytes(), PASSWORD.as_bytes()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{name}");
        }
    }
}

#[tokio::test]
async fn session_ends_when_idle_when_old_and_when_signed_out() {
    let house = House::new();
    let mut ana = house.owner().await;
    house.later(2 * 3600);
    assert_eq!(ana.get("/fleet").await.status, StatusCode::SEE_OTHER, "idle for two hours");

    ana.post("/sign-in", &[("name", "ana"), ("password", PASSWORD)]).await;
    for _ in 0..11 {
        house.later(3600);
        assert_eq!(ana.get("/fleet").await.status, StatusCode::OK);
    }
    house.later(3600);
    assert_eq!(ana.get("/fleet").await.status, StatusCode::SEE_OTHER, "twelve hours old");

    ana.post("/sign-in", &[("name", "ana"), ("password", PASSWORD)]).await;
    let mut copy = ana.clone();
    assert_eq!(ana.post("/sign-out", &[]).await.location(), "/sign-in");
    assert_eq!(copy.get("/fleet").await.status, StatusCode::SEE_OTHER, "signed out");
}

#[tokio::test]
async fn ten_wrong_passwords_close_one_name_and_no_other_for_a_quarter_of_an_hour() {
    let house = House::new();
    let mut ana = house.owner().await;
    drop(house.person(&mut ana, "ben", Role::Viewer).await);
    let mut guesser = Browser::new(&house);
    for _ in 0..10 {
        let page = guesser.post("/sign-in", &[("name", "Ben"), ("password", "wrong password")]).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }
    let right = guesser.post("/sign-in", &[("name", "ben"), ("password", PASSWORD)]).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "the right password after ten wrong ones");
    let other = Browser::new(&house).post("/sign-in", &[("name", "ana"), ("password", PASSWORD)]).await;
    assert_eq!(other.status, StatusCode::SEE_OTHER, "another name is closed too");
    assert_eq!(ana.get("/fleet").await.status, StatusCode::OK, "a session in force ended");
    house.later(15 * 60);
    let later = guesser.post("/sign-in", &[("name", "ben"), ("password", PASSWORD)]).await;
    assert_eq!(later.status, StatusCode::SEE_OTHER);
    let deeds: Vec<_> = house.app().store.audit_all().await.unwrap();
    assert_eq!(deeds.iter().filter(|entry| entry.action == "sign-in-refused").count(), 1);
}

#[tokio::test]
async fn many_names_together_are_limited_too() {
    let house = House::new();
    drop(house.owner().await);
    house.app().store.execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 299) \
         INSERT INTO failure SELECT zeroblob(32), {START} FROM n"
    ));
    let mut guesser = Browser::new(&house);
    let page = guesser.post("/sign-in", &[("name", "nobody"), ("password", "wrong password")]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "the three hundredth");
    let page = guesser.post("/sign-in", &[("name", "somebody"), ("password", "wrong password")]).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS, "the one after");
}

#[tokio::test]
async fn unknown_name_reads_like_a_wrong_password() {
    let house = House::new();
    drop(house.owner().await);
    let mut browser = Browser::new(&house);
    let known = browser.post("/sign-in", &[("name", "ana"), ("password", "wrong password")]).await;
    let unknown = browser.post("/sign-in", &[("name", "eva"), ("password", "wrong password")]).await;
    assert_eq!(known.status, unknown.status);
    assert_eq!(known.text.replace("ana", "eva"), unknown.text);
}

#[tokio::test]
async fn closed_account_and_changed_role_count_at_once() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut ben = house.person(&mut ana, "ben", Role::Policy).await;
    let id = house.app().store.account_named("ben").await.unwrap().unwrap().id;
    let change = format!("/people/{id}/change");
    ana.post(&change, &[("role", "viewer"), ("enabled", "true")]).await;
    assert_eq!(ben.post("/policy/check", &[("text", "version = 1")]).await.status, StatusCode::FORBIDDEN);
    ana.post(&change, &[("role", "viewer"), ("enabled", "false")]).await;
    assert_eq!(ben.get("/fleet").await.status, StatusCode::SEE_OTHER);
    let page = ben.post("/sign-in", &[("name", "ben"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn somebody_always_stays_owner() {
    let house = House::new();
    let mut ana = house.owner().await;
    for fields in [[("role", "viewer"), ("enabled", "true")], [("role", "owner"), ("enabled", "false")]] {
        let page = ana.post("/people/1/change", &fields).await;
        assert_eq!(page.status, StatusCode::CONFLICT);
    }
    // An invited owner who has not chosen a password yet could not sign in.
    ana.post("/people", &[("name", "eni"), ("role", "owner")]).await;
    let page = ana.post("/people/1/change", &[("role", "viewer"), ("enabled", "true")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert_eq!(ana.get("/people").await.status, StatusCode::OK);
}

#[tokio::test]
async fn new_password_ends_all_other_sessions() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut other = Browser::new(&house);
    other.post("/sign-in", &[("name", "ana"), ("password", PASSWORD)]).await;
    let new = "pesë dardha të verdha";
    let wrong = [("old", "not the old one"), ("password", new), ("again", new)];
    assert_eq!(ana.post("/account/password", &wrong).await.status, StatusCode::FORBIDDEN);
    assert_eq!(other.get("/fleet").await.status, StatusCode::OK);
    let right = [("old", PASSWORD), ("password", new), ("again", new)];
    assert_eq!(ana.post("/account/password", &right).await.status, StatusCode::OK);
    assert_eq!(ana.get("/fleet").await.status, StatusCode::OK);
    assert_eq!(other.get("/fleet").await.status, StatusCode::SEE_OTHER);
    let page = other.post("/sign-in", &[("name", "ana"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "the old password still opens the door");
}

#[tokio::test]
async fn code_from_the_console_lets_a_lost_owner_back_in() {
    let house = House::new();
    let mut ana = house.owner().await;
    let code = house.dashboard.password_code("Ana").await.unwrap().unwrap();
    assert!(house.dashboard.password_code("nobody").await.unwrap().is_none());
    let new = "pesë dardha të verdha";
    let mut browser = Browser::new(&house);
    let fields = [("code", &*code), ("password", new), ("again", new)];
    assert_eq!(browser.post("/join", &fields).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ana.get("/fleet").await.status, StatusCode::SEE_OTHER, "the sessions from before still hold");
    assert_eq!(browser.post("/join", &fields).await.status, StatusCode::FORBIDDEN, "a code was good twice");
}

#[tokio::test]
async fn behind_a_proxy_with_a_certificate_the_cookie_is_for_tls_and_this_host_only() {
    let house = House::new();
    let House { folder, clock, .. } = house;
    let house = House::at(folder, clock, |settings| {
        settings.public = Some("https://wifi.tirana.example".parse::<Public>().unwrap());
    });
    let code = house.dashboard.owner_code().await.unwrap().unwrap();
    let password = crate::view::escape(PASSWORD);
    let body = format!("code={code}&name=ana&password={password}&again={password}");
    let mut browser = Browser::new(&house);
    let headers = |origin| [("host", "wifi.tirana.example"), ("origin", origin), ("content-type", FORM)];
    let page = browser.ask(Method::POST, "/first", &body, &headers("http://wifi.tirana.example")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "a page without TLS counts as our own");
    let page = browser.ask(Method::POST, "/first", &body, &headers("https://wifi.tirana.example")).await;
    let cookie = page.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-session=") && cookie.contains("; Secure"), "{cookie}");
}

#[test]
fn data_folder_is_for_its_owner_only_and_one_that_was_there_keeps_its_mode() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let settings = |data: std::path::PathBuf| crate::Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        data,
        lists: None,
        public: None,
        plain_http: false,
        zone: jiff::tz::TimeZone::UTC,
    };
    let (new, old) = (folder.path().join("new"), folder.path().join("old"));
    fs::create_dir(&old).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    for data in [&new, &old] {
        crate::Dashboard::open(settings(data.clone())).unwrap();
        assert_eq!(mode(&data.join("dashboard.sqlite")), 0o600);
    }
    assert_eq!((mode(&new), mode(&old)), (0o700, 0o755));
}

#[test]
fn passwords_do_not_cross_a_network_unencrypted_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |listen: &str, public: Option<&str>, plain_http| crate::Settings {
        listen: listen.parse().unwrap(),
        data: folder.path().into(),
        lists: None,
        public: public.map(|public| public.parse().unwrap()),
        plain_http,
        zone: jiff::tz::TimeZone::UTC,
    };
    let error = crate::Dashboard::open(settings("0.0.0.0:80", None, false)).unwrap_err().to_string();
    assert!(error.contains("unencrypted") && error.contains("--public"), "{error}");
    for (listen, public, plain) in [
        ("127.0.0.1:0", None, false),
        ("[::1]:0", None, false),
        ("0.0.0.0:80", Some("https://a.example"), false),
        ("0.0.0.0:80", None, true),
    ] {
        crate::Dashboard::open(settings(listen, public, plain)).unwrap();
    }
    for wrong in ["http://a.example", "https://a.example/x", "https://", "a.example", "https://a b"] {
        assert!(wrong.parse::<Public>().is_err(), "{wrong}");
    }
}
