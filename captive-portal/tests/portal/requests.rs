//! Every route, by every method, under every host, from everybody; and what a request can say that changes nothing.

use std::{net::Ipv6Addr, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hotspot::{Answer, Hotspot, NAME, device};

/// What an answer amounts to.
fn kind(answer: &Answer) -> String {
    let what = match answer.header("location") {
        Some(location) if location == format!("http://{NAME}/") => "to the portal",
        Some(location) if location.starts_with(&format!("http://{NAME}/?to=")) => "to the portal with the wanted page",
        Some(location) => location,
        None if answer.is_terms() => "terms",
        None if answer.is_status() => "status",
        None if answer.header("content-type") == Some("application/captive+json") => "state",
        None if answer.title().starts_with("We cannot see your device") => "unknown device",
        None if answer.title().starts_with("You are online") => "welcome",
        None if answer.title().starts_with("Opening") => "opening",
        None if answer.title().starts_with("This page is blocked") => "blocked",
        None if answer.title().starts_with("Access denied") => "blocked as abuse",
        None => "",
    };
    format!("{} {what}", answer.status).trim_end().to_owned()
}

/// Method, host and path; the answer to nobody the neighbour table knows, to a stranger and to a guest.
#[tokio::test]
async fn every_route_answers_by_method_host_and_state() {
    let portal = "200 state";
    #[rustfmt::skip]
    let table: &[(&str, &str, &str, [&str; 3])] = &[
        ("GET", NAME, "/", ["403 unknown device", "200 terms", "200 status"]),
        ("GET", "WIFI.Tirana.Example.", "/", ["403 unknown device", "200 terms", "200 status"]),
        ("GET", "127.0.0.1", "/", ["403 unknown device", "200 terms", "200 status"]),
        ("GET", "[2001:db8::1]:80", "/", ["403 unknown device", "200 terms", "200 status"]),
        ("GET", NAME, "/terms", ["403 unknown device", "200 terms", "200 terms"]),
        ("POST", NAME, "/terms", ["405", "405", "405"]),
        ("GET", NAME, "/welcome", ["303 /?lang=en", "303 /?lang=en", "200 welcome"]),
        ("GET", NAME, "/captive-portal/api", [portal, portal, portal]),
        ("GET", NAME, "/favicon.ico", ["204", "204", "204"]),
        ("GET", NAME, "/accept", ["405", "405", "405"]),
        ("GET", NAME, "/leave", ["405", "405", "405"]),
        ("PUT", NAME, "/accept", ["405", "405", "405"]),
        ("DELETE", NAME, "/", ["405", "405", "405"]),
        ("OPTIONS", NAME, "/accept", ["405", "405", "405"]),
        ("POST", NAME, "/", ["405", "405", "405"]),
        ("POST", NAME, "/accept", ["403 unknown device", "403 terms", "303 /welcome?lang=en"]),
        ("POST", NAME, "/leave", ["303 /?lang=en&left=1", "303 /?lang=en&left=1", "303 /?lang=en"]),
        ("POST", NAME, "/accept/", ["404", "404", "404"]),
        ("POST", NAME, "//accept", ["404", "404", "404"]),
        ("POST", NAME, "/%61ccept", ["404", "404", "404"]),
        ("POST", NAME, "/x/../accept", ["404", "404", "404"]),
        ("GET", NAME, "/../../etc/passwd", ["404", "404", "404"]),
        ("GET", NAME, "/..%2f..%2fetc/passwd", ["404", "404", "404"]),
        ("GET", NAME, "/%252e%252e/etc/passwd", ["404", "404", "404"]),
        ("GET", NAME, "/..;/etc/passwd", ["404", "404", "404"]),
        ("GET", NAME, "/..\\..\\etc\\passwd", ["404", "404", "404"]),
        ("GET", NAME, "/welcome/", ["404", "404", "404"]),
        ("GET", NAME, "/style.css", ["404", "404", "404"]),
        ("GET", "news.example", "/a?b=c", ["302 to the portal", "302 to the portal with the wanted page", "503 opening"]),
        ("HEAD", "news.example", "/", ["302 to the portal", "302 to the portal with the wanted page", "503"]),
        ("GET", "news.example", "/accept", ["302 to the portal", "302 to the portal with the wanted page", "503 opening"]),
        ("POST", "news.example", "/accept", ["511", "511", "503"]),
        ("POST", "update.googleapis.com", "/service/update2/json", ["511", "511", "503"]),
        ("PUT", "news.example", "/", ["511", "511", "503"]),
        ("GET", "192.0.2.80", "/", ["302 to the portal", "302 to the portal with the wanted page", "503 opening"]),
        ("GET", "casino.example", "/", ["302 to the portal", "302 to the portal with the wanted page", "403 blocked"]),
        ("GET", "www.casino.example:80", "/x", ["302 to the portal", "302 to the portal with the wanted page", "403 blocked"]),
        ("POST", "casino.example", "/", ["511", "511", "403 blocked"]),
        ("GET", "www.ordered.example", "/", ["302 to the portal", "302 to the portal with the wanted page", "451 blocked"]),
        ("GET", "adult.example", "/", ["302 to the portal", "302 to the portal with the wanted page", "403 blocked"]),
        ("GET", "abuse.example", "/", ["302 to the portal", "302 to the portal with the wanted page", "403 blocked as abuse"]),
        ("GET", "captive.apple.com", "/hotspot-detect.html", ["302 to the portal", "302 to the portal", "200"]),
        ("GET", "www.msftconnecttest.com", "/redirect", ["302 to the portal", "302 to the portal", "302 to the portal"]),
        ("CONNECT", NAME, "news.example:443", ["405", "405", "405"]),
        ("TRACE", NAME, "/", ["405", "405", "405"]),
        ("GET", NAME, "http://news.example/", ["400", "400", "400"]),
        ("GET", NAME, &format!("http://{NAME}/"), ["400", "400", "400"]),
        ("POST", "news.example", &format!("http://{NAME}/accept"), ["400", "400", "400"]),
        ("OPTIONS", NAME, "*", ["400", "400", "400"]),
        ("GET", "", "/", ["400", "400", "400"]),
        ("GET", "a b", "/", ["400", "400", "400"]),
        ("GET", "news.example@wifi.tirana.example", "/", ["400", "400", "400"]),
        ("GET", "wifi.tirana.example/x", "/", ["400", "400", "400"]),
        ("GET", "wifi.tirana.example.evil.example", "/", ["302 to the portal", "302 to the portal with the wanted page", "503 opening"]),
    ];
    let hotspot = Hotspot::new().await;
    hotspot.accept(3).await;
    let before = hotspot.kernel.asked();
    for (method, host, path, expected) in table {
        for (n, expected) in [250, 2, 3].into_iter().zip(expected) {
            let body = if *method == "POST" { "lang=en" } else { "" };
            let answer = hotspot.request(n, method, host, path, "Accept-Language: en\r\n", body).await;
            assert_eq!(kind(&answer), *expected, "{method} {host} {path} from {n}");
        }
    }
    // Nothing of it admitted or expelled anybody.
    assert_eq!(hotspot.kernel.asked(), before);
    assert!(!hotspot.is_guest(2) && hotspot.is_guest(3));
}

#[tokio::test]
async fn request_without_or_with_two_hosts_is_refused() {
    let hotspot = Hotspot::new().await;
    for request in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nHost: news.example\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"),
    ] {
        assert_eq!(hotspot.raw(2, request.as_bytes()).await.status, 400, "{request}");
    }
}

#[tokio::test]
async fn no_header_or_parameter_says_who_somebody_is() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(3).await;
    let (guest, mac) = ("127.0.0.3", "02:00:00:00:00:03");
    for header in [
        format!("X-Forwarded-For: {guest}"),
        format!("X-Real-IP: {guest}"),
        format!("Forwarded: for={guest}"),
        format!("Forwarded: for=\"[::ffff:{guest}]\""),
        format!("True-Client-IP: {guest}"),
        format!("Client-IP: {guest}"),
        format!("X-Client-MAC: {mac}"),
        format!("Cookie: mac={mac}; session=1"),
        format!("Via: 1.1 {guest}"),
    ] {
        let header = format!("{header}\r\n");
        assert!(hotspot.request(2, "GET", NAME, "/", &header, "").await.is_terms(), "{header}");
        let state = hotspot.request(2, "GET", NAME, "/captive-portal/api", &header, "").await;
        assert!(state.body.contains("\"captive\":true"), "{header}");
        assert_eq!(hotspot.request(250, "GET", NAME, "/", &header, "").await.status, 403, "{header}");
    }
    for query in [format!("mac={mac}"), format!("clientip={guest}"), format!("ip={guest}&client_mac={mac}&token=1")] {
        assert!(hotspot.get(2, NAME, &format!("/?{query}")).await.is_terms(), "{query}");
    }
    // Nor does it put anybody else out.
    let token = hotspot.token(3).await;
    hotspot.post(2, "/leave", &format!("token={token}&mac={mac}")).await;
    assert!(hotspot.is_guest(3));
}

#[tokio::test]
async fn only_the_token_of_this_device_and_this_page_admits() {
    let hotspot = Hotspot::new().await;
    let (own, others) = (hotspot.token(2).await, hotspot.token(3).await);
    let english = hotspot.get(2, NAME, "/?lang=en").await.field("token");
    for body in [
        String::new(),
        "lang=sq".into(),
        "token=".into(),
        "token=00000000000000000000000000000000".into(),
        format!("token={others}"),
        format!("token={own}0"),
        format!("token={}", &own[..31]),
        // Somebody who read the English text has not accepted the Albanian one.
        format!("token={english}&lang=sq"),
        format!("token={own}&lang=en"),
    ] {
        let answer = hotspot.post(2, "/accept", &body).await;
        assert!((answer.status == 403 && answer.is_terms()) || answer.status == 415, "{body}: {}", answer.status);
    }
    for body in [format!("token={own}&token={own}"), "%".repeat(3), "token=%ff".into()] {
        let answer = hotspot.post(2, "/accept", &body).await;
        assert!(matches!(answer.status, 400 | 403 | 422), "{body}: {}", answer.status);
    }
    assert!(!hotspot.is_guest(2));
    assert_eq!(hotspot.kernel.asked(), [""; 0]);
    assert_eq!(hotspot.post(2, "/accept", &format!("token={own}&lang=sq")).await.status, 303, "the positive control");
}

#[tokio::test]
async fn token_of_a_page_that_was_open_for_hours_asks_for_one_more_press() {
    let hotspot = Hotspot::new().await;
    let token = hotspot.token(2).await;
    hotspot.clock.forward(Duration::from_secs(3600));
    let answer = hotspot.post(2, "/accept", &format!("token={token}&lang=sq")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("shtypeni edhe një herë"));
    let fresh = format!("token={}&lang=sq", answer.field("token"));
    assert_eq!(hotspot.post(2, "/accept", &fresh).await.status, 303);
}

#[tokio::test]
async fn form_of_another_site_admits_and_expels_nobody() {
    let hotspot = Hotspot::new().await;
    let token = hotspot.token(2).await;
    for headers in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: https://wifi.tirana.example\r\n",
        "Origin: http://wifi.tirana.example:8080\r\n",
        "Origin: http://wifi.tirana.example.evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: http://wifi.tirana.example\r\nOrigin: http://evil.example\r\n",
    ] {
        let body = format!("token={token}&lang=sq");
        assert_eq!(hotspot.request(2, "POST", NAME, "/accept", headers, &body).await.status, 403, "{headers}");
    }
    assert!(!hotspot.is_guest(2));
    let body = format!("token={token}&lang=sq");
    let own = format!("Origin: http://{NAME}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(hotspot.request(2, "POST", NAME, "/accept", &own, &body).await.status, 303);
    let body = format!("token={}", hotspot.token(2).await);
    hotspot.request(2, "POST", NAME, "/leave", "Origin: http://evil.example\r\n", &body).await;
    assert!(hotspot.is_guest(2));
    hotspot.request(2, "POST", NAME, "/leave", &own, &body).await;
    assert!(!hotspot.is_guest(2));
}

/// Under the portal's address the form works as well, for devices that do not resolve its name.
#[tokio::test]
async fn form_under_the_portals_address_admits() {
    let hotspot = Hotspot::new().await;
    let token = hotspot.get(2, "127.0.0.1", "/").await.field("token");
    let body = format!("token={token}&lang=sq");
    let answer = hotspot.request(2, "POST", "127.0.0.1", "/accept", "Origin: http://127.0.0.1\r\n", &body).await;
    assert_eq!(answer.status, 303);
    assert!(hotspot.is_guest(2));
}

#[tokio::test]
async fn background_post_of_a_browser_admits_nobody() {
    let hotspot = Hotspot::new().await;
    let token = hotspot.token(2).await;
    let body = format!("token={token}&lang=sq");
    for (host, path) in [
        ("update.googleapis.com", "/service/update2/json"),
        ("update.googleapis.com", "/accept"),
        ("news.example", "/accept"),
        ("192.0.2.80", "/accept"),
        (NAME, "/service/update2/json"),
        (NAME, "/"),
        (NAME, "/welcome"),
        (NAME, "/captive-portal/api"),
    ] {
        hotspot.request(2, "POST", host, path, "", &body).await;
        assert!(!hotspot.is_guest(2), "{host}{path}");
    }
    // Nor does a GET.
    hotspot.get(2, NAME, &format!("/accept?{body}")).await;
    hotspot.get(2, NAME, &format!("/?{body}")).await;
    assert_eq!(hotspot.kernel.asked(), [""; 0]);
}

#[tokio::test]
async fn wanted_page_is_carried_to_the_end_and_only_for_who_wanted_it() {
    let hotspot = Hotspot::new().await;
    let answer = hotspot.get_in(2, "en", "news.example", "/a?b=c&d=%20e").await;
    let path = answer.header("location").unwrap().strip_prefix(&format!("http://{NAME}")).unwrap().to_owned();
    let page = hotspot.get_in(2, "en", NAME, &path).await;
    assert_eq!(page.field("to"), "http://news.example/a?b=c&d=%20e");
    assert!(page.body.contains("Then you continue to news.example."));
    // Another device gets the terms and nothing of the wanted page.
    assert!(!hotspot.get_in(4, "en", NAME, &path).await.body.contains("news.example"));

    let escaped = page.field("to").replace('%', "%25").replace('&', "%26").replace('=', "%3D");
    let body = format!("token={}&lang=en&to={escaped}&sig={}", page.field("token"), page.field("sig"));
    let answer = hotspot.post(2, "/accept", &body).await;
    assert_eq!(answer.status, 303);
    let welcome = hotspot.get(2, NAME, answer.header("location").unwrap()).await;
    assert_eq!(welcome.header("refresh"), Some("0; url=http://news.example/a?b=c&d=%20e"));
    assert!(welcome.body.contains("href=\"http://news.example/a?b=c&#38;d=%20e\""));
    assert_eq!(welcome.header("connection"), Some("close"));

    // The page itself, from the browser's point of view: still the portal.
    let opening = hotspot.get(2, "news.example", "/a?b=c&d=%20e").await;
    assert_eq!(opening.status, 503);
    assert_eq!(opening.header("refresh"), Some("5; url=http://news.example/a?b=c&d=%20e"));
    assert_eq!(opening.header("retry-after"), Some("5"));
    assert_eq!(opening.header("connection"), Some("close"));
}

#[tokio::test]
async fn link_made_by_somebody_else_leads_nowhere() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(3).await;
    let sig = "0".repeat(32);
    for to in ["http://evil.example/", "//evil.example/", "javascript:alert(1)", "https://evil.example/"] {
        let to = to.replace(':', "%3A").replace('/', "%2F");
        for path in [format!("/?to={to}"), format!("/?to={to}&sig={sig}"), format!("/welcome?to={to}&sig={sig}")] {
            for n in [2, 3] {
                let answer = hotspot.get(n, NAME, &path).await;
                assert!(!answer.body.contains("evil.example"), "{path}");
                assert_eq!(answer.header("refresh"), None, "{path}");
                assert!(answer.header("location").is_none_or(|location| location.starts_with("/?lang=")), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn probes_are_captive_before_and_exact_after() {
    #[derive(serde::Deserialize)]
    struct File {
        probe: Vec<Probe>,
    }
    #[derive(serde::Deserialize)]
    struct Probe {
        host: String,
        path: String,
        answer: String,
        #[serde(default)]
        body: String,
        #[serde(default, rename = "type")]
        kind: String,
    }
    let file: File = toml::from_str(include_str!("../../probes.toml")).unwrap();
    let hotspot = Hotspot::new().await;
    hotspot.accept(3).await;
    hotspot.accept(4).await;
    hotspot.clock.forward(Duration::from_secs(4 * 3600));
    for Probe { host, path, answer: wanted, body, kind } in &file.probe {
        let case = format!("{host}{path}");
        let before = hotspot.get(2, host, path).await;
        assert_eq!((before.status, before.header("location")), (302, Some(&*format!("http://{NAME}/"))), "{case}");
        assert_eq!(before.header("connection"), Some("close"), "{case}");
        let after = hotspot.get(3, host, &format!("{path}?now=1")).await;
        match wanted.as_str() {
            "no-content" => assert_eq!((after.status, &*after.body), (204, ""), "{case}"),
            "body" => {
                assert_eq!((after.status, &after.body), (200, body), "{case}");
                assert_eq!(after.header("content-type"), Some(&**kind), "{case}");
            }
            _ => assert_eq!(after.status, 302, "{case}"),
        }
        assert_eq!(after.header("connection"), Some("close"), "{case}");
        assert_eq!(after.header("cache-control"), Some("no-store"), "{case}");
    }
    // Without an uplink nobody is told to be online.
    hotspot.portal.set_uplink(false);
    for Probe { host, path, .. } in &file.probe {
        assert_eq!(hotspot.get(3, host, path).await.status, 302, "{host}{path}");
    }
    hotspot.portal.set_uplink(true);
    // And after the end of the session, as before it.
    hotspot.clock.forward(Duration::from_secs(4 * 3600));
    for Probe { host, path, .. } in &file.probe {
        assert_eq!(hotspot.get(3, host, path).await.status, 302, "{host}{path}");
    }
}

#[tokio::test]
async fn captive_api_is_right_before_after_and_at_the_end() {
    let hotspot = Hotspot::new().await;
    let state = async |n| {
        let answer =
            hotspot.request(n, "GET", NAME, "/captive-portal/api", "Accept: application/captive+json\r\n", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/captive+json"));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()
    };
    let before = serde_json::json!({
        "captive": true,
        "user-portal-url": "http://wifi.tirana.example/",
        "venue-info-url": "https://www.tirana.example/",
    });
    assert_eq!(state(2).await, before);
    assert_eq!(state(250).await, before);
    hotspot.accept(2).await;
    hotspot.clock.forward(Duration::from_secs(100));
    let after = serde_json::json!({
        "captive": false,
        "user-portal-url": "http://wifi.tirana.example/",
        "venue-info-url": "https://www.tirana.example/",
        "can-extend-session": true,
        "seconds-remaining": 28_700,
    });
    assert_eq!(state(2).await, after);
    hotspot.clock.forward(Duration::from_secs(28_700));
    assert_eq!(state(2).await, before);
    // Whoever asks for the media type gets it, wherever: a system may follow a redirect with it.
    for (host, path) in [(NAME, "/"), ("news.example", "/"), ("captive.apple.com", "/hotspot-detect.html")] {
        let answer = hotspot.request(2, "GET", host, path, "Accept: text/html, application/captive+json\r\n", "").await;
        assert_eq!(answer.header("content-type"), Some("application/captive+json"), "{host}{path}");
    }
}

#[tokio::test]
async fn guest_of_a_group_that_the_policy_does_not_have_gets_the_strictest_view() {
    for (group, answer) in [(None, "503 opening"), (Some("guest"), "503 opening"), (Some("nobody"), "403 blocked")] {
        let hotspot = Hotspot::with(|settings| settings.group = group.map(str::to_owned)).await;
        hotspot.accept(2).await;
        assert_eq!(kind(&hotspot.get_in(2, "en", "dating.example", "/").await), answer, "{group:?}");
        let terms = hotspot.get_in(3, "en", NAME, "/").await;
        assert_eq!(terms.body.contains("<li>Dating</li>"), answer == "403 blocked", "{group:?}");
    }
}

#[tokio::test]
async fn device_that_moves_to_another_address_stays_itself() {
    let hotspot = Hotspot::new().await;
    hotspot.accept(2).await;
    // Device 2 leaves its address and device 5 gets it.
    hotspot.table.0.lock().unwrap().insert(crate::hotspot::source(2), device(5));
    assert!(hotspot.get(2, NAME, "/").await.is_terms());
    hotspot.accept(2).await;
    assert_eq!(hotspot.directory.load().client(crate::hotspot::source(2)).unwrap().mac, device(5));
    let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into();
    assert!(hotspot.portal.new_address(device(2), other).await.unwrap());
}

/// Requests made of pieces that break parsers. Each gets an answer with a status, or the connection ends; nobody is admitted
/// or expelled; and the portal answers as before.
#[tokio::test]
async fn nonsense_changes_nothing() {
    let pieces: [&[u8]; 24] = [
        b"GET ",
        b"POST ",
        b"/accept",
        b"/",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: wifi.tirana.example\r\n",
        b"Host: ",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"\n",
        b"\0",
        b"\xff\xfe",
        b"5\r\ntoken\r\n0\r\n\r\n",
        b"token=1&lang=sq",
        b"?to=http://evil.example/&sig=",
        b"%00%0d%0a",
        b": ",
        b"http://x/",
        b"Content-Type: application/x-www-form-urlencoded\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"Expect: 100-continue\r\n",
    ];
    let hotspot = Hotspot::new().await;
    hotspot.accept(3).await;
    let before = hotspot.kernel.asked();
    // A generator of our own, so that a failure can be repeated.
    let mut state: u64 = 0x5eed;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..400 {
        let n = if round % 2 == 0 { 2 } else { 3 };
        let mut request = if round % 3 == 0 {
            b"POST /accept HTTP/1.1\r\nHost: wifi.tirana.example\r\n".to_vec()
        } else {
            Vec::new()
        };
        for _ in 0..1 + next(12) {
            request.extend_from_slice(pieces[next(pieces.len())]);
        }
        let mut stream = hotspot.connect(n).await;
        let _ = stream.write_all(&request).await;
        // No more is coming: a portal that would wait for it need not.
        let _ = stream.shutdown().await;
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "no end: {}", String::from_utf8_lossy(&request));
        let known = bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 ") || bytes.starts_with(b"HTTP/1.0 ");
        assert!(known, "{}", String::from_utf8_lossy(&bytes));
        assert!(!bytes.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&request));
    }
    assert_eq!(hotspot.kernel.asked(), before);
    assert!(hotspot.get(2, NAME, "/").await.is_terms() && hotspot.get(3, NAME, "/").await.is_status());
}
