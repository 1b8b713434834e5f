//! The pages as such: languages, empty states, headings and labels, and the listener over real sockets.

use std::time::Duration;

use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::harness::{Browser, House, POLICY, report};
use sheshi_evidence::sign::SecretKey;

use crate::Dashboard;
use sheshi_protocol::client::{Caller, ClientError};

const PAGES: [&str; 9] = [
    "/fleet",
    "/fleet/join",
    "/site/1",
    "/policy",
    "/explain?name=bad.example",
    "/people",
    "/audit",
    "/account",
    "/nowhere",
];

#[tokio::test]
async fn every_page_is_in_the_language_that_was_chosen_and_remembers_it() {
    let house = House::new();
    let mut ana = house.owner().await;
    house.gateway(&mut ana, 1, "Sheshi").await;
    ana.cookies.retain(|(name, _)| name != "language");
    for path in PAGES {
        assert!(ana.get(path).await.text.contains("<html lang=\"sq\">"), "{path}");
    }
    assert!(ana.get("/fleet?lang=en").await.text.contains("<html lang=\"en\">"));
    for path in PAGES {
        let page = ana.get(path).await;
        assert!(page.text.contains("<html lang=\"en\">"), "{path}");
        assert_eq!(page.headers["content-language"], "en");
    }
    assert!(ana.get("/fleet?lang=xx").await.text.contains("<html lang=\"en\">"));
    let page = ana.get("/fleet?sort=site&lang=en").await;
    assert!(page.text.contains("href=\"/fleet?lang=sq&#38;sort=site\""), "the switch forgets the page's query");
}

#[tokio::test]
async fn every_page_has_one_heading_labelled_fields_and_no_place_left_open() {
    let house = House::new();
    let mut ana = house.owner().await;
    house.gateway(&mut ana, 1, "Sheshi").await;
    let stranger = Browser::new(&house);
    for language in ["sq", "en"] {
        for path in PAGES.into_iter().chain(["/sign-in", "/join"]) {
            let mut browser = if ["/sign-in", "/join"].contains(&path) { stranger.clone() } else { ana.clone() };
            let mark = if path.contains('?') { '&' } else { '?' };
            let page = browser.get(&format!("{path}{mark}lang={language}")).await;
            assert_eq!(page.text.matches("<h1").count(), 1, "{path}");
            assert_eq!(page.text.matches("<main").count(), 1, "{path}");
            for field in page.text.split("<input ").skip(1).chain(page.text.split("<select ").skip(1)) {
                let tag = field.split('>').next().unwrap();
                let hidden = tag.contains("type=\"hidden\"");
                let before = &page.text[..page.text.find(field).unwrap()];
                let labelled = before.rfind("<label").is_some_and(|at| !before[at..].contains("</label>"));
                assert!(hidden || labelled || tag.contains("aria-label="), "{path}: {tag}");
            }
            let text = page.text.split("<main").nth(1).unwrap();
            let text = text.split("<textarea").next().unwrap();
            assert!(!text.contains('{') && !text.contains('}'), "{path}: a place was left open");
        }
    }
}

#[tokio::test]
async fn empty_states_say_what_to_do_next() {
    let house = House::new();
    let mut ana = house.owner().await;
    for (path, next) in [
        ("/fleet", "href=\"/fleet/join\""),
        ("/policy", "press Check, and publish"),
        ("/explain", "href=\"/policy\""),
        ("/policy", "Put lists there"),
    ] {
        if path == "/policy" && next.starts_with("Put") {
            std::fs::remove_file(house.lists().join("adult.txt")).unwrap();
        }
        assert!(ana.get(path).await.text.contains(next), "{path}");
    }
}

#[tokio::test]
async fn names_of_people_are_escaped_in_pages() {
    let house = House::new();
    let mut ana = house.owner().await;
    let page = ana.post("/people", &[("name", "<b>eve</b>"), ("role", "viewer")]).await;
    assert!(page.text.contains("&#60;b&#62;eve") && !page.text.contains("<b>eve"));
    let text = format!("{POLICY}# </textarea><script>alert(1)</script>\n");
    let page = ana.post("/policy/check", &[("text", &text)]).await;
    assert_eq!(page.text.matches("</textarea>").count(), 1);
    assert!(!page.text.contains("<script"));
    for name in ["x", "", " ", "a\nb", "\u{202e}ana"] {
        let page = ana.post("/people", &[("name", name), ("role", "viewer")]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}");
    }
    assert_eq!(ana.post("/people", &[("name", "ANA"), ("role", "viewer")]).await.status, StatusCode::CONFLICT);
    assert!(ana.post("/people", &[("name", "eni"), ("role", "king")]).await.status.is_client_error());
}

/// The dashboard on a socket of its own; ends when the sender goes.
async fn listening(dashboard: Dashboard) -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        dashboard
            .serve(listener, None, async {
                let _ = stopped.await;
            })
            .await;
    });
    (address, stop, serving)
}

#[tokio::test]
async fn gateway_claims_reports_and_fetches_over_real_sockets() {
    let house = House::new();
    let mut ana = house.owner().await;
    let (address, stop, serving) = listening(house.dashboard.clone()).await;
    let code = ana.post("/fleet/join", &[]).await.between("<p class=\"secret\">", "</p>").to_owned();
    let mut gateway = Caller::new(SecretKey::new([1; 32]), [1; 16], 0, &address.to_string());
    let connect = async || TcpStream::connect(address).await.unwrap();
    let standing = gateway.claim(connect().await, "Sheshi", &code).await.unwrap();
    assert_eq!((&*standing.state, standing.fingerprint), ("pending", gateway.fingerprint()));
    let refused = gateway.report(connect().await, &report("Sheshi")).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { status: 403, refusal } if refusal.error == "pending"),
        "{refused}"
    );
    let fields = [("to", "approve"), ("state", "pending"), ("key", &*gateway.public_key())];
    ana.post("/site/1/decide", &fields).await;
    assert_eq!(gateway.claim(connect().await, "Sheshi", &code).await.unwrap().state, "approved");
    gateway.report(connect().await, &report("Sheshi")).await.unwrap();
    let page = ana.post("/policy/check", &[("text", POLICY)]).await;
    let checked = page.between("name=\"checked\" value=\"", "\"").to_owned();
    ana.post("/policy/publish", &[("text", POLICY), ("checked", &checked)]).await;
    let sent = gateway.policy(connect().await, None).await.unwrap().unwrap();
    assert_eq!(hex::encode(sheshi_policy::Compiled::from_bytes(sent.bytes).unwrap().digest()), sent.digest);
    assert_eq!(gateway.policy(connect().await, Some(&sent.digest)).await.unwrap(), None);
    drop(stop);
    serving.await.unwrap();
}

#[tokio::test]
async fn odd_requests_get_an_error_and_the_listener_lives_on() {
    let house = House::new();
    let (address, stop, serving) = listening(house.dashboard.clone()).await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "a".repeat(20_000);
    for request in [
        "GET /sign-in HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /sign-in HTTP/1.1\r\nhost: {address}\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: {address}\r\n\r\n"),
        format!("GET /sign-in HTTP/1.1\r\nhost: {address}\r\nhost: evil.example\r\n\r\n"),
        format!(
            "POST /sign-in HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\ncontent-length: 99999\r\n\r\n{long}"
        ),
        "\x16\x03\x01\x00\x01\x00\r\n\r\n".to_owned(),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(matches!(read, Ok(Ok(_))) && answer.starts_with("HTTP/1.1 4"), "{answer:?} to {request:.60}");
    }
    // HTTP/2 is not spoken: the connection ends.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() && answer.is_empty(), "{answer:?}");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    drop(stop);
    serving.await.unwrap();
}
