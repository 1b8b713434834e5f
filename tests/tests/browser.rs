//! A real browser on a guest's device: it is led to the portal, a person clicks, and it reaches the page it wanted,
//! although it still holds the portal's address for that name.

use std::{
    fs,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    process::{Child, Command, Stdio},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use sheshi_tests::{Guest, Lab, Options, Place, REAL_PAGE, until};
use tokio::net::TcpStream;

const DRIVER_PORT: u16 = 9515;
const CHROMIUM: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=420,900",
];

/// Connects to the driver from inside the guest's namespace.
#[derive(Clone)]
struct FromPlace(Place);

impl tower_service::Service<Uri> for FromPlace {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = self.0.clone();
        Box::pin(async move {
            let stream = place.connect(driver(), Duration::from_secs(5)).map_err(io::Error::other)?;
            stream.set_read_timeout(None)?;
            stream.set_write_timeout(None)?;
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream).map(TokioIo::new)
        })
    }
}

fn driver() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, DRIVER_PORT).into()
}

/// A browser on a guest's device. Its processes end with the lab, at the latest.
struct Browser {
    client: Client,
    driver: Child,
}

impl Browser {
    async fn start(guest: &Guest) -> Self {
        let profile = guest.folder().join(guest.name()).join("profile");
        let driver_log = guest.folder().join("log/chromedriver.log");
        let port = format!("--port={DRIVER_PORT}");
        let log = format!("--log-path={}", driver_log.display());
        let mut command: Command = guest.command(&["chromedriver", &port, &log]).unwrap();
        let driver_process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("chromedriver", Duration::from_secs(30), || guest.connect(driver(), Duration::from_secs(1)).ok())
            .unwrap();
        let mut arguments: Vec<String> = CHROMIUM.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let options = serde_json::json!({ "args": arguments });
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(FromPlace((**guest).clone()))
            .capabilities(capabilities)
            .connect(&format!("http://{}", driver()))
            .await
            .expect("Chromium starts");
        Self { client, driver: driver_process }
    }

    /// Waits until the page contains this text.
    async fn wait_for(&self, text: &str, within: Duration) -> Duration {
        let started = Instant::now();
        loop {
            let page = self.client.source().await.unwrap_or_default();
            if page.contains(text) {
                return started.elapsed();
            }
            assert!(started.elapsed() < within, "no {text:?} within {within:?} but {page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Saves what a person would see to `out/screens`.
    async fn screenshot(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../out/screens");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.unwrap()).unwrap();
    }

    async fn end(mut self) {
        let _ = self.client.close().await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn run<F: Future<Output = ()>>(flow: F) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(flow);
}

#[test]
fn browser_is_led_to_the_portal_and_reaches_the_page_it_wanted() {
    let lab = Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join().unwrap();
    run(async {
        let browser = Browser::start(&guest).await;
        browser.client.goto("http://news.example.org/").await.unwrap();
        browser.wait_for("name=\"token\"", Duration::from_secs(10)).await;
        assert!(browser.client.current_url().await.unwrap().host_str() == Some(sheshi_tests::plan::PORTAL));
        browser.screenshot("portal-terms").await;
        let button = browser.client.find(Locator::Css("form.accept button")).await.unwrap();
        let clicked = Instant::now();
        button.click().await.unwrap();
        browser.screenshot("portal-accepted").await;
        browser.wait_for(REAL_PAGE, Duration::from_secs(90)).await;
        println!("the wanted page was there {:?} after the click", clicked.elapsed());
        assert_eq!(browser.client.current_url().await.unwrap().as_str(), "http://news.example.org/");
        browser.screenshot("wanted-page").await;
        browser.end().await;
    });
}

#[test]
fn browser_shows_why_a_page_is_blocked_and_how_to_object() {
    let lab = Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    run(async {
        let browser = Browser::start(&guest).await;
        browser.client.goto("http://casino.example/").await.unwrap();
        browser.wait_for("casino.example", Duration::from_secs(10)).await;
        browser.screenshot("blocked-page").await;
        let page = browser.client.source().await.unwrap();
        assert!(page.contains("wifi@tirana.example"), "nobody to object to: {page}");
        assert!(!page.contains(REAL_PAGE), "{page}");
        // The control: the same browser opens what is not blocked.
        browser.client.goto("http://news.example.org/").await.unwrap();
        browser.wait_for(REAL_PAGE, Duration::from_secs(10)).await;
        browser.client.goto(&format!("http://{}/", sheshi_tests::plan::PORTAL)).await.unwrap();
        browser.wait_for("/leave", Duration::from_secs(10)).await;
        browser.screenshot("portal-status").await;
        browser.end().await;
    });
}
