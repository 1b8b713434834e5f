//! Gateways: joining, reporting, replay and clone, fetching the policy.

use hyper::{StatusCode, header};

use super::harness::{Browser, House, POLICY, Page, report};
use sheshi_evidence::sign::SecretKey;

use crate::{Role, store::State};
use sheshi_protocol::client::Caller;
use sheshi_protocol::message::{PolicyInForce, Trouble};

const HOST: &str = "127.0.0.1:8080";

fn error(page: &Page) -> String {
    serde_json::from_str::<serde_json::Value>(&page.text).unwrap()["error"].as_str().unwrap().to_owned()
}

async fn publish(ana: &mut Browser<'_>) {
    let page = ana.post("/policy/check", &[("text", POLICY)]).await;
    let checked = page.between("name=\"checked\" value=\"", "\"").to_owned();
    let page = ana.post("/policy/publish", &[("text", POLICY), ("checked", &checked)]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
}

#[tokio::test]
async fn gateway_is_let_in_only_when_somebody_approves_its_fingerprint() {
    let house = House::new();
    let mut ana = house.owner().await;
    publish(&mut ana).await;
    let mut gateway = Caller::new(SecretKey::new([1; 32]), [1; 16], 0, HOST);
    let page = house.claim(&mut ana, &mut gateway, "Sheshi Skënderbej").await;
    assert_eq!((page.status, page.text.contains("\"pending\"")), (StatusCode::OK, true), "{}", page.text);

    let refused = house.report(&mut gateway, &report("Sheshi Skënderbej")).await;
    assert_eq!((refused.status, &*error(&refused)), (StatusCode::FORBIDDEN, "pending"));
    let refused = house.signed(gateway.request("GET", "/api/v1/policy", vec![])).await;
    assert_eq!((refused.status, &*error(&refused)), (StatusCode::FORBIDDEN, "pending"));

    let page = ana.get("/site/1").await;
    assert!(page.text.contains(&gateway.fingerprint()), "{}", page.text);
    let key = gateway.public_key();
    let wrong = [("to", "approve"), ("state", "pending"), ("key", &*"00".repeat(32))];
    assert_eq!(ana.post("/site/1/decide", &wrong).await.status, StatusCode::CONFLICT, "approved unseen");
    let right = [("to", "approve"), ("state", "pending"), ("key", &*key)];
    assert_eq!(ana.post("/site/1/decide", &right).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ana.post("/site/1/decide", &right).await.status, StatusCode::CONFLICT, "decided twice");

    assert_eq!(house.report(&mut gateway, &report("Sheshi Skënderbej")).await.status, StatusCode::NO_CONTENT);
    assert!(ana.get("/fleet").await.text.contains("Sheshi Skënderbej"));
}

#[tokio::test]
async fn claim_code_is_good_once_for_one_hour_and_a_second_key_alarms() {
    let house = House::new();
    let mut ana = house.owner().await;
    let code = ana.post("/fleet/join", &[]).await.between("<p class=\"secret\">", "</p>").to_owned();
    let mut first = Caller::new(SecretKey::new([1; 32]), [1; 16], 0, HOST);
    let mut second = Caller::new(SecretKey::new([2; 32]), [2; 16], 0, HOST);
    assert_eq!(house.claim_with(&mut first, "A", "0000-0000-0000-0000").await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.claim_with(&mut first, "A", &code).await.status, StatusCode::OK);
    // The answer was lost: asking again with the same key is no second use.
    assert_eq!(house.claim_with(&mut first, "A", &code).await.status, StatusCode::OK);
    assert!(!ana.get("/site/1").await.text.contains("Suspicious"));
    assert_eq!(house.claim_with(&mut second, "B", &code).await.status, StatusCode::FORBIDDEN);
    let page = ana.get("/site/1").await;
    assert!(page.text.contains("Suspicious") && page.text.contains(&second.public_key()), "{}", page.text);
    assert_eq!(house.app().store.gateways().await.unwrap().len(), 1);

    let late = ana.post("/fleet/join", &[]).await.between("<p class=\"secret\">", "</p>").to_owned();
    house.later(3600);
    assert_eq!(house.claim_with(&mut second, "B", &late).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn claim_must_be_signed_by_the_key_it_claims() {
    let house = House::new();
    let mut ana = house.owner().await;
    let code = ana.post("/fleet/join", &[]).await.between("<p class=\"secret\">", "</p>").to_owned();
    let mut gateway = Caller::new(SecretKey::new([1; 32]), [1; 16], 0, HOST);
    let other = Caller::new(SecretKey::new([2; 32]), [2; 16], 0, HOST).public_key();
    let body = serde_json::json!({ "key": other, "site": "A", "code": code }).to_string();
    let page = house.signed(gateway.request("POST", "/api/v1/gateways/claim", body.into_bytes())).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(house.app().store.gateways().await.unwrap().is_empty());
}

#[tokio::test]
async fn replayed_request_is_refused_and_puts_the_gateway_in_quarantine() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    let body = serde_json::to_vec(&report("Sheshi")).unwrap();
    let first = gateway.request("POST", "/api/v1/report", body.clone());
    let second = gateway.request("POST", "/api/v1/report", body);
    assert_eq!(house.signed(first.clone()).await.status, StatusCode::NO_CONTENT);
    // A proxy that sends twice: refused and shown, but no proof of anything.
    let again = house.signed(first.clone()).await;
    assert_eq!((again.status, &*error(&again)), (StatusCode::CONFLICT, "repeated"));
    assert!(ana.get("/site/1").await.text.contains("The same request came 1 times more"));
    assert_eq!(house.signed(second).await.status, StatusCode::NO_CONTENT);

    let replayed = house.signed(first).await;
    assert_eq!((replayed.status, &*error(&replayed)), (StatusCode::FORBIDDEN, "quarantined"));
    let own = house.report(&mut gateway, &report("Sheshi")).await;
    assert_eq!((own.status, &*error(&own)), (StatusCode::FORBIDDEN, "quarantined"), "what it says is still taken");
    let fetched = house.signed(gateway.request("GET", "/api/v1/policy", vec![])).await;
    assert_eq!(fetched.status, StatusCode::FORBIDDEN);
    let page = ana.get("/site/1").await;
    assert!(page.text.contains("In quarantine") && page.text.contains("a request was replayed"), "{}", page.text);
    assert!(ana.get("/fleet").await.text.contains("chip stop\">quarantine"));
    assert!(house.app().store.audit_all().await.unwrap().iter().any(|entry| entry.action == "gateway-quarantined"));
}

#[tokio::test]
async fn clone_is_found_whichever_of_the_two_speaks_first() {
    let house = House::new();
    let mut ana = house.owner().await;
    // The copy was made at rest: it boots with the sequence that was saved, and falls behind the original.
    let mut original = house.gateway(&mut ana, 1, "A").await;
    let saved = original.sequence();
    for _ in 0..3 {
        assert_eq!(house.report(&mut original, &report("A")).await.status, StatusCode::NO_CONTENT);
    }
    let mut copy = Caller::new(SecretKey::new([1; 32]), [9; 16], saved, HOST);
    assert_eq!(error(&house.report(&mut copy, &report("A")).await), "quarantined");

    // The copy has run ahead of the original, which speaks again in a boot that had ended.
    let mut original = house.gateway(&mut ana, 2, "B").await;
    assert_eq!(house.report(&mut original, &report("B")).await.status, StatusCode::NO_CONTENT);
    let mut copy = Caller::new(SecretKey::new([2; 32]), [9; 16], 1000, HOST);
    assert_eq!(house.report(&mut copy, &report("B")).await.status, StatusCode::NO_CONTENT);
    let mut original = Caller::new(SecretKey::new([2; 32]), [2; 16], 2000, HOST);
    assert_eq!(error(&house.report(&mut original, &report("B")).await), "quarantined");

    // An honest reboot goes on from the sequence that was saved.
    let mut honest = house.gateway(&mut ana, 3, "C").await;
    house.report(&mut honest, &report("C")).await;
    let mut rebooted = Caller::new(SecretKey::new([3; 32]), [8; 16], honest.sequence(), HOST);
    assert_eq!(house.report(&mut rebooted, &report("C")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn quarantined_gateway_can_only_be_revoked_and_joins_anew_with_a_new_key() {
    let house = House::new();
    let mut ana = house.owner().await;
    let gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    let mut copy = Caller::new(SecretKey::new([1; 32]), [9; 16], 0, HOST);
    house.report(&mut copy, &report("Sheshi")).await;
    let key = gateway.public_key();
    let approve = [("to", "approve"), ("state", "quarantined"), ("key", &*key)];
    assert_eq!(ana.post("/site/1/decide", &approve).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let revoke = [("to", "revoke"), ("state", "quarantined"), ("key", &*key)];
    assert_eq!(ana.post("/site/1/decide", &revoke).await.status, StatusCode::SEE_OTHER);
    assert_eq!(error(&house.report(&mut copy, &report("Sheshi")).await), "revoked");
    let mut known = Caller::new(SecretKey::new([1; 32]), [10; 16], 5000, HOST);
    assert_eq!(house.claim(&mut ana, &mut known, "Sheshi").await.status, StatusCode::FORBIDDEN, "the old key joined");
    house.gateway(&mut ana, 4, "Sheshi").await;
}

#[tokio::test]
async fn signature_of_somebody_else_changes_nothing() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    let mut request = gateway.request("POST", "/api/v1/report", serde_json::to_vec(&report("Sheshi")).unwrap());
    let other = Caller::new(SecretKey::new([2; 32]), [2; 16], 0, HOST).request("GET", "/", vec![]);
    for name in ["sheshi-signature", "sheshi-key"] {
        let mut forged = request.clone();
        forged.headers_mut().insert(name, other.headers()[name].clone());
        assert_eq!(error(&house.signed(forged).await), "signature");
    }
    let mut unknown = Caller::new(SecretKey::new([5; 32]), [5; 16], 0, HOST);
    assert_eq!(error(&house.report(&mut unknown, &report("Sheshi")).await), "unknown");
    request.headers_mut().remove("sheshi-boot");
    assert_eq!(error(&house.signed(request).await), "signature");
    assert_eq!(house.app().store.gateway(1).await.unwrap().unwrap().state, State::Approved);
    // A session of the owner's is nothing to the API.
    assert_eq!(ana.get("/api/v1/policy").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn policy_is_fetched_once_and_again_only_when_it_has_changed() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    let fetch = |gateway: &mut Caller, tag: Option<&str>| {
        let mut request = gateway.request("GET", "/api/v1/policy", vec![]);
        if let Some(tag) = tag {
            request.headers_mut().insert(header::IF_NONE_MATCH, tag.parse().unwrap());
        }
        request
    };
    let none = house.signed(fetch(&mut gateway, None)).await;
    assert_eq!((none.status, &*error(&none)), (StatusCode::NOT_FOUND, "none"));
    publish(&mut ana).await;
    let page = house.signed(fetch(&mut gateway, None)).await;
    assert_eq!((page.status, &page.headers["sheshi-generation"]), (StatusCode::OK, &"1".parse().unwrap()));
    let compiled = sheshi_policy::Compiled::from_bytes(page.bytes.to_vec()).unwrap();
    assert_eq!(compiled.generation(), 1);
    let tag = page.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", hex::encode(compiled.digest())));
    let same = house.signed(fetch(&mut gateway, Some(&tag))).await;
    assert_eq!((same.status, same.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
    std::fs::write(house.lists().join("adult.txt"), "bad.example\n").unwrap();
    publish(&mut ana).await;
    let newer = house.signed(fetch(&mut gateway, Some(&tag))).await;
    assert_eq!((newer.status, &newer.headers["sheshi-generation"]), (StatusCode::OK, &"2".parse().unwrap()));
}

#[tokio::test]
async fn damaged_policy_on_disk_is_never_sent() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    publish(&mut ana).await;
    let folder = house.folder.path().join("data/policies");
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let house = house.restart();
    let page = house.signed(gateway.request("GET", "/api/v1/policy", vec![])).await;
    assert_eq!((page.status, &*error(&page)), (StatusCode::SERVICE_UNAVAILABLE, "failed"));
}

#[tokio::test]
async fn nothing_a_gateway_says_reaches_a_page_unescaped() {
    let house = House::new();
    let mut ana = house.owner().await;
    let evil = "<img src=x onerror=alert(1)>\"'&</textarea>";
    let mut gateway = house.gateway(&mut ana, 1, evil).await;
    let mut said = report(evil);
    said.version = evil.into();
    said.troubles = vec![Trouble { what: evil.into(), fix: evil.into() }];
    said.policy = Some(PolicyInForce {
        generation: 1,
        digest: "ab".repeat(32),
        lists: vec![
            serde_json::from_value(serde_json::json!({ "name": evil, "category": evil, "edition": evil })).unwrap(),
        ],
    });
    assert_eq!(house.report(&mut gateway, &said).await.status, StatusCode::NO_CONTENT);
    publish(&mut ana).await;
    for path in ["/fleet", "/site/1", "/audit", "/fleet?search=%3Cimg%20src%3Dx", "/explain?name=%3Cimg%20src%3Dx"] {
        let page = ana.get(path).await;
        assert!(page.text.contains("&#60;img src=x"), "{path}: not there at all");
        assert!(!page.text.contains("<img"), "{path}");
    }
    let csv = ana.get("/fleet.csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
}

#[tokio::test]
async fn report_out_of_bounds_is_refused_with_the_reason() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    let good = serde_json::to_value(report("Sheshi")).unwrap();
    for (pointer, value, reason) in [
        ("site", serde_json::json!("a\nb"), "site"),
        ("site", serde_json::json!("x".repeat(101)), "site"),
        ("site", serde_json::json!("\u{202e}ihsehS"), "site"),
        ("version", serde_json::json!(""), "version"),
        ("service", serde_json::json!("ajar"), "ajar"),
        ("troubles", serde_json::json!(vec![serde_json::json!({ "what": "a", "fix": "b" }); 51]), "troubles"),
        ("counts", serde_json::json!({ "asked.example.org": 1 }), "counts"),
        ("counts", serde_json::json!({ "sessions": -1 }), "-1"),
        ("policy", serde_json::json!({ "generation": 1, "digest": "xyz" }), "digest"),
    ] {
        let mut report = good.clone();
        report[pointer] = value;
        let page = house.signed(gateway.request("POST", "/api/v1/report", report.to_string().into_bytes())).await;
        assert_eq!((page.status, &*error(&page)), (StatusCode::UNPROCESSABLE_ENTITY, "report"), "{pointer}");
        assert!(page.text.contains(reason), "{}", page.text);
    }
    let page = house.signed(gateway.request("POST", "/api/v1/report", vec![b' '; 600 << 10])).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(house.app().store.gateway(1).await.unwrap().unwrap().report.is_none());
    // What is unknown is left out, so that a newer gateway can speak with an older dashboard.
    let mut newer = good;
    newer["new_thing"] = serde_json::json!({ "mac": "02:00:00:00:00:01" });
    let page = house.signed(gateway.request("POST", "/api/v1/report", newer.to_string().into_bytes())).await;
    assert_eq!(page.status, StatusCode::NO_CONTENT);
    assert!(!house.app().store.gateway(1).await.unwrap().unwrap().report.unwrap().contains("02:00"));
}

#[tokio::test]
async fn silent_closed_and_troubled_gateways_are_told_apart() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateways = Vec::new();
    for (n, site) in ["Open", "Closed", "Troubled", "Silent"].into_iter().enumerate() {
        gateways.push(house.gateway(&mut ana, n as u8 + 1, site).await);
    }
    let mut said: Vec<_> = ["Open", "Closed", "Troubled", "Silent"].map(report).into();
    said[1].service = sheshi_protocol::message::Service::Closed;
    said[2].troubles = vec![Trouble { what: "the uplink is down".into(), fix: "look at the cable".into() }];
    house.report(&mut gateways[3], &said[3]).await;
    house.later(301);
    for n in 0..3 {
        house.report(&mut gateways[n], &said[n]).await;
    }
    let mut viewer = house.person(&mut ana, "vera", Role::Viewer).await;
    let csv = viewer.get("/fleet.csv").await.text;
    let rows: Vec<Vec<_>> = csv.lines().skip(1).map(|line| line.split(',').take(3).collect()).collect();
    assert_eq!(
        rows,
        [
            ["\"Closed\"", "closed", "closed"],
            ["\"Silent\"", "silent", ""],
            ["\"Troubled\"", "troubled", "open"],
            ["\"Open\"", "open", "open"]
        ]
    );
    let page = viewer.get("/site/3").await;
    assert!(page.text.contains("the uplink is down") && page.text.contains("look at the cable"));
    let filtered = viewer.get("/fleet?show=closed").await.text;
    assert!(filtered.contains("/site/2\"") && !filtered.contains("/site/1\""));
    let searched = viewer.get("/fleet?search=OPE&sort=site").await.text;
    assert!(searched.contains("/site/1\"") && !searched.contains("/site/2\""));
    assert!(viewer.get("/fleet?search=zzz").await.text.contains("No gateway is like that"));
}

#[tokio::test]
async fn hours_count_reports_and_are_forgotten_after_five_weeks() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    for _ in 0..3 {
        house.report(&mut gateway, &report("Sheshi")).await;
    }
    let mut closed = report("Sheshi");
    closed.service = sheshi_protocol::message::Service::Closed;
    house.report(&mut gateway, &closed).await;
    let hours = house.app().store.hours(1, 0).await.unwrap();
    assert_eq!(hours.iter().map(|hour| (hour.reports, hour.open, hour.troubles)).collect::<Vec<_>>(), [(4, 3, 0)]);
    assert!(ana.get("/site/1").await.text.contains("4 reports, 3 of them open"));
    house.later(36 * 24 * 3600);
    house.report(&mut gateway, &report("Sheshi")).await;
    assert_eq!(house.app().store.hours(1, 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn restart_keeps_people_sessions_policies_gateways_and_sequences() {
    let house = House::new();
    let mut ana = house.owner().await;
    publish(&mut ana).await;
    let mut gateway = house.gateway(&mut ana, 1, "Sheshi").await;
    let sent = gateway.request("POST", "/api/v1/report", serde_json::to_vec(&report("Sheshi")).unwrap());
    assert_eq!(house.signed(sent.clone()).await.status, StatusCode::NO_CONTENT);
    let cookies = ana.cookies.clone();
    let (head, before) = (house.dashboard.check_audit().await.unwrap(), house.app().store.generations().await.unwrap());

    let house = house.restart();
    assert_eq!(house.dashboard.check_audit().await.unwrap(), head);
    let mut ana = Browser::new(&house);
    ana.cookies = cookies;
    assert!(ana.get("/fleet").await.text.contains("Sheshi"));
    assert_eq!(house.app().store.generations().await.unwrap()[0].digest, before[0].digest);
    assert!(ana.get("/explain?name=bad.example").await.text.contains("Blocked"));
    assert_eq!(error(&house.signed(sent).await), "repeated", "the sequence was forgotten");
    assert_eq!(house.report(&mut gateway, &report("Sheshi")).await.status, StatusCode::NO_CONTENT);
}
