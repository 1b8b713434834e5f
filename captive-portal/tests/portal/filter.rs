//! What a guest asks and objects to.

use std::time::Duration;

use sheshi_captive_portal::SelfTest;

use crate::hotspot::{Answer, Hotspot, NAME};

async fn asked(hotspot: &Hotspot, n: u16, name: &str) -> String {
    hotspot.post(n, "/filter", &format!("lang=en&name={name}")).await.body
}

#[tokio::test]
async fn transparency_page_says_what_is_blocked_here_and_why_and_keeps_nothing() {
    let hotspot = Hotspot::new().await;
    for n in [2, 3] {
        let page = asked(&hotspot, n, "https%3A%2F%2Fwww.casino.example%2Fgame").await;
        for text in ["www.casino.example is blocked for you.", "Gambling", "gambling", "Bashkia Tiranë"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(asked(&hotspot, n, "example.org").await.contains("example.org is not blocked for you."));
        assert!(asked(&hotspot, n, "ordered.example").await.contains("No. 42"));
        for nonsense in ["", "localhost", "a%20b.example", "%3Cimg%3E", ".."] {
            assert!(asked(&hotspot, n, nonsense).await.contains("That is not the name of a site."), "{nonsense}");
        }
        hotspot.accept(2).await;
    }
    // Neither the list nor its line of what nobody may collect.
    let secret = asked(&hotspot, 2, "abuse.example").await;
    assert!(secret.contains("is blocked for you") && !secret.contains("iwf"), "{secret}");
    // Asked by POST, so that no name stands in an address; a name in the address is not answered.
    assert!(!hotspot.get(2, NAME, "/filter?name=www.casino.example").await.body.contains("casino"));
    let mut folders = vec![hotspot.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            for name in ["casino.example", "abuse.example"] {
                let found = bytes.windows(name.len()).any(|window| window == name.as_bytes());
                assert!(!found, "{name} in {}", entry.path().display());
            }
        }
    }
}

#[tokio::test]
async fn guest_reads_who_certified_and_how_the_last_self_test_went() {
    let hotspot = Hotspot::with(|settings| settings.certifier = Some("AKCESK".into())).await;
    for path in ["/", "/filter"] {
        let page = hotspot.get_in(2, "en", NAME, path).await.body;
        assert!(page.contains("Certified by AKCESK. No result of a self-test is known."), "{path}");
    }
    for (passed, text) in
        [(true, "passed (2026-11-23 08:00 UTC)"), (false, "not everything passed (2026-11-23 08:00 UTC)")]
    {
        hotspot.portal.set_self_test(Some(SelfTest { passed, at: 1_795_420_800 }));
        for path in ["/", "/filter"] {
            assert!(hotspot.get_in(2, "en", NAME, path).await.body.contains(text), "{path}");
        }
    }
    // A test that ends while somebody reads makes nobody accept twice.
    let token = hotspot.token(2).await;
    hotspot.portal.set_self_test(None);
    assert_eq!(hotspot.post(2, "/accept", &format!("token={token}&lang=sq")).await.status, 303);
    let alone = Hotspot::new().await;
    let page = alone.get_in(2, "en", NAME, "/").await.body;
    assert!(page.contains("Nobody from outside has certified this network. No result of a self-test is known."));
}

async fn object(hotspot: &Hotspot, n: u16, name: &str) -> Answer {
    let token = hotspot.get(n, NAME, "/objection").await.field("token");
    let body = format!("token={token}&lang=en&name={name}&text=It+is+a+chess+club%0A%1b[31m");
    hotspot.post(n, "/objection", &body).await
}

#[tokio::test]
async fn objection_needs_no_identity_grants_nothing_and_its_answer_is_found_by_number() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    let blocked = hotspot.get_in(2, "en", "www.casino.example", "/").await.body;
    assert!(blocked.contains("/objection?lang=en&#38;name=www.casino.example"), "{blocked}");
    let sent = object(&hotspot, 2, "www.casino.example").await;
    let number = sent.body.split("Its number is ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    assert!(sent.body.contains("by 2026-12-07 at the latest"), "{}", sent.body);
    assert_eq!(hotspot.get(2, "www.casino.example", "/").await.status, 403);

    let kept = hotspot.portal.objections();
    assert_eq!((&*kept[0].name, &*kept[0].text), ("www.casino.example", "It is a chess club\n[31m"));
    let file = std::fs::read_to_string(hotspot.folder.path().join("lib/objections.jsonl")).unwrap();
    assert!(!file.contains("127.0.0") && !file.contains("02:00:00") && !file.contains("group"), "{file}");

    let find = async |n, number: &str| hotspot.get_in(n, "en", NAME, &format!("/objection?number={number}")).await.body;
    assert!(find(3, &number.to_uppercase()).await.contains("Not decided yet; it will be by 2026-12-07."));
    assert!(find(3, "zzzzzzzz").await.contains("There is no objection with this number"));
    assert!(hotspot.portal.decide(&number, true, "You are right: <b>chess</b>.").unwrap());
    let answer = find(3, &number).await;
    assert!(answer.contains("Decided: the block is lifted.") && answer.contains("&#60;b&#62;chess"), "{answer}");
    // Saying so lifts nothing: the policy does.
    assert_eq!(hotspot.get(2, "www.casino.example", "/").await.status, 403);
    assert!(!hotspot.portal.decide("nothing", true, "").unwrap());
}

#[tokio::test]
async fn objections_are_few_and_from_our_own_page() {
    let hotspot = Hotspot::new().await;
    for name in ["", "localhost", "%3Cimg%3E"] {
        assert_eq!(object(&hotspot, 2, name).await.status, 400, "{name}");
    }
    let token = hotspot.get(3, NAME, "/objection").await.field("token");
    for body in [format!("token={token}&name=a.example&text=x"), "name=a.example&text=x".to_owned()] {
        assert_eq!(hotspot.post(2, "/objection", &body).await.status, 403);
    }
    let own = hotspot.get(2, NAME, "/objection").await.field("token");
    let foreign = format!("token={own}&name=a.example&text=x");
    let elsewhere = hotspot.request(2, "POST", NAME, "/objection", "Origin: http://evil.example\r\n", &foreign).await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(hotspot.portal.objections(), []);

    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(object(&hotspot, 2, "a.example").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(object(&hotspot, 3, "a.example").await.status, 200);
    hotspot.clock.forward(Duration::from_secs(3600));
    assert_eq!(object(&hotspot, 2, "a.example").await.status, 200);
    assert_eq!(hotspot.portal.objections().len(), 5);
    // Who is not on this network has nobody to object to.
    assert_eq!(hotspot.get(250, NAME, "/objection").await.status, 403);
    assert_eq!(hotspot.post(250, "/objection", &foreign).await.status, 403);
}
