//! A real browser, by the WebDriver protocol: led to the portal, it accepts and reaches the page it wanted, although it
//! holds the portal's address for that name.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::hotspot::{Hotspot, NAME, source};

/// A browser and its driver; both end with this value.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser for which every name has this address.
    pub(crate) async fn start(everything: SocketAddr) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver, of Debian's package chromium-driver");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| line.unwrap().split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok());
        // Its further lines would fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("the driver's port")));
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--lang=en",
            "--window-size=500,844",
            &format!("--user-data-dir={}", profile.path().display()),
            &format!("--host-resolver-rules=MAP * {everything}"),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let session = browser.ask("POST", "/session", wanted).await;
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let path = format!("{}{path}", self.session);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let exchange = exchange(self.address, request);
        let body = tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("the driver's answer").unwrap();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(answer["value"]["error"].is_null(), "{method} {path}: {answer}");
        answer["value"].take()
    }

    pub(crate) async fn go(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url })).await;
    }

    pub(crate) async fn press(&self, selector: &str) {
        let found = self.ask("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.ask("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    async fn title(&self) -> String {
        self.ask("GET", "/title", Value::Null).await.as_str().unwrap().to_owned()
    }

    async fn url(&self) -> String {
        self.ask("GET", "/url", Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Waits for a title that starts so.
    pub(crate) async fn wait(&self, title: &str) {
        let begin = Instant::now();
        while !self.title().await.starts_with(title) {
            let late = begin.elapsed() > Duration::from_secs(20);
            assert!(!late, "waiting for `{title}` at {}: `{}`", self.url().await, self.title().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everything the browser complained of: above all, what the content security policy forbade.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned());
        // The status of our own pages is no complaint.
        lines.filter(|line| !line.contains("Failed to load resource: the server responded with a status of")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when the session is deleted, and not when it is killed itself.
        let (address, session) = (self.address, self.session.clone());
        let delete = move || {
            let mut stream = std::net::TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
            let request = format!("DELETE {session} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
            std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
            std::io::Read::read(&mut stream, &mut [0; 64]).ok()
        };
        if !self.session.is_empty() {
            let _ = std::thread::spawn(delete).join();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// One request and its answer's body; the driver keeps the connection open.
async fn exchange(address: SocketAddr, request: String) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
            if answer.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(answer.split_off(end + 4));
            }
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What a browser's packets meet: the portal for as long as it holds the portal's address, the wanted site after. New
/// connections only, as in a network: what is open stays where it is.
pub(crate) async fn network(hotspot: &Hotspot, n: u16, released: Arc<AtomicBool>) -> SocketAddr {
    let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site_address = site.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = site.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let page = "<title>The wanted page</title>";
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let portal = hotspot.address;
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let to = if released.load(Ordering::SeqCst) { site_address } else { portal };
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(source(n), 0)).unwrap();
            tokio::spawn(async move {
                if let Ok(mut to) = socket.connect(to).await {
                    let _ = copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_is_led_to_the_portal_accepts_and_reaches_the_page_it_wanted() {
    let hotspot = Hotspot::new().await;
    let released = Arc::new(AtomicBool::new(false));
    let browser = Browser::start(network(&hotspot, 2, released.clone()).await).await;

    browser.go("http://news.example/a?b=c").await;
    assert!(browser.title().await.starts_with("Welcome"), "{}", browser.title().await);
    assert!(browser.url().await.starts_with(&format!("http://{NAME}/?to=")));
    assert!(!hotspot.is_guest(2));

    browser.press("button").await;
    // The browser goes on by itself, and still meets the portal under the other name.
    browser.wait("Opening news.example").await;
    assert!(hotspot.is_guest(2));
    assert_eq!(browser.url().await, "http://news.example/a?b=c");

    browser.go("http://www.casino.example/").await;
    browser.wait("This page is blocked here").await;
    browser.go(&format!("http://{NAME}/")).await;
    browser.wait("You are online").await;
    browser.go("http://news.example/a?b=c").await;
    browser.wait("Opening news.example").await;
    assert_eq!(browser.complaints().await, [""; 0]);

    // From here on its packets reach the site: without a reload by hand, so does the browser.
    released.store(true, Ordering::SeqCst);
    browser.wait("The wanted page").await;
    assert_eq!(browser.url().await, "http://news.example/a?b=c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_changes_the_language_and_logs_out() {
    let hotspot = Hotspot::new().await;
    let browser = Browser::start(network(&hotspot, 2, Arc::default()).await).await;
    browser.go(&format!("http://{NAME}/")).await;
    browser.press("nav summary").await;
    browser.press("nav a[lang=sq]").await;
    browser.wait("Mirë se vini").await;
    browser.press("button").await;
    browser.wait("Jeni i lidhur").await;
    browser.press("main p a").await;
    browser.wait("Jeni i lidhur").await;
    assert!(hotspot.is_guest(2));
    browser.press("button").await;
    browser.wait("Mirë se vini").await;
    assert!(!hotspot.is_guest(2));
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// The positive control of the above: what our policy forbids, the browser does complain of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_complains_of_what_the_policy_forbids() {
    let hotspot = Hotspot::new().await;
    let browser = Browser::start(network(&hotspot, 2, Arc::default()).await).await;
    browser.go(&format!("http://{NAME}/")).await;
    let script =
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"/x\" onerror=\"1\"><p style=\"color:red\">')";
    browser.ask("POST", "/execute/sync", json!({ "script": script, "args": [] })).await;
    let complaints = browser.complaints().await;
    assert!(complaints.iter().any(|line| line.contains("Content Security Policy")), "{complaints:?}");
}
