//! What the portal takes at most, in time, number and size.

use std::{
    fs,
    future::pending,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::{CertificateDer, ServerName};
use sheshi_captive_portal::Tls;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::hotspot::{Hotspot, NAME};

/// How long until the portal closes a connection, reading what comes.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    let mut bytes = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.expect("a close in time");
    begin.elapsed()
}

#[tokio::test]
async fn slow_and_silent_connections_are_closed() {
    let hotspot = Hotspot::new().await;
    let slow = async |n: u16, bytes: &str| {
        let mut stream = hotspot.connect(n).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        closed_after(&mut stream).await
    };
    let get = format!("GET /favicon.ico HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let post = format!(
        "POST /accept HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 50\r\n\r\ntoken="
    );
    // Nothing at all; half a request line; half a header; a connection that is kept and idle; half a body.
    let (silent, line, header, kept, body) =
        tokio::join!(slow(2, ""), slow(3, "GET / HT"), slow(4, &get[..get.len() - 2]), slow(5, &get), slow(6, &post));
    for (case, time, most) in
        [("silent", silent, 9), ("line", line, 9), ("header", header, 9), ("kept", kept, 9), ("body", body, 16)]
    {
        assert!((Duration::from_secs(4)..Duration::from_secs(most)).contains(&time), "{case}: {time:?}");
    }
}

#[tokio::test]
async fn header_that_comes_byte_by_byte_gets_no_more_time() {
    let hotspot = Hotspot::new().await;
    let (mut read, mut write) = hotspot.connect(2).await.into_split();
    let begin = Instant::now();
    let drip = async {
        while write.write_all(b"X").await.is_ok() && begin.elapsed() < Duration::from_secs(15) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let wait = async {
        let mut bytes = Vec::new();
        let _ = read.read_to_end(&mut bytes).await;
        begin.elapsed()
    };
    let time = tokio::select! { () = drip => panic!("the drip went on"), time = wait => time };
    assert!(time < Duration::from_secs(9), "{time:?}");
}

#[tokio::test]
async fn device_gets_so_many_connections_and_leaves_room_for_others() {
    let hotspot = Hotspot::with(|settings| {
        settings.limits.connections = 16;
        settings.limits.connections_per_device = 6;
    })
    .await;
    // Two addresses of one device count together.
    hotspot.table.0.lock().unwrap().insert(crate::hotspot::source(102), crate::hotspot::device(2));
    let mut held = Vec::new();
    for n in [2, 102, 2, 102, 2, 102] {
        held.push(hotspot.connect(n).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for n in [2, 102] {
        assert!(closed_after(&mut hotspot.connect(n).await).await < Duration::from_secs(1));
    }
    assert_eq!(hotspot.get(3, NAME, "/").await.status, 200);
    // The seat is free again when the connection ends.
    held.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hotspot.get(2, NAME, "/").await.status, 200);

    for n in 10..21 {
        held.push(hotspot.connect(n).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(closed_after(&mut hotspot.connect(4).await).await < Duration::from_secs(1), "all seats are taken");
    let stats = hotspot.portal.stats();
    assert!(stats.connections_refused >= 3 && stats.open_connections <= 16, "{stats:?}");
    drop(held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hotspot.portal.stats().open_connections, 0);
}

#[tokio::test]
async fn big_requests_are_refused() {
    let hotspot = Hotspot::new().await;
    let many = "X-A: b\r\n".repeat(101);
    assert_eq!(hotspot.request(2, "GET", NAME, "/", &many, "").await.status, 431);
    let few = "X-A: b\r\n".repeat(90);
    assert_eq!(hotspot.request(2, "GET", NAME, "/", &few, "").await.status, 200);
    let long = format!("X-A: {}\r\n", "b".repeat(17_000));
    assert_eq!(hotspot.request(2, "GET", NAME, "/", &long, "").await.status, 431);

    let token = hotspot.token(2).await;
    let body = format!("token={token}&lang=sq&x={}", "a".repeat(64 * 1024));
    assert_eq!(hotspot.post(2, "/accept", &body).await.status, 413);
    let chunked = format!(
        "POST /accept HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\n\r\n11000\r\n{}\r\n0\r\n\r\n",
        "a".repeat(0x11000)
    );
    assert_eq!(hotspot.raw(2, chunked.as_bytes()).await.status, 413);
    assert!(!hotspot.is_guest(2));
    let body = format!("token={token}&lang=sq&x={}", "a".repeat(60 * 1024));
    assert_eq!(hotspot.post(2, "/accept", &body).await.status, 303, "the positive control");
}

#[tokio::test]
async fn long_wanted_page_is_dropped_and_the_portal_opens_all_the_same() {
    let hotspot = Hotspot::new().await;
    let answer = hotspot.get(2, "news.example", &format!("/{}", "a".repeat(3000))).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some("http://wifi.tirana.example/")));
    // The longest that is carried comes back through the portal, escaped to three times its length.
    let answer = hotspot.get(2, "news.example", &format!("/?{}", "&".repeat(2000))).await;
    let path = answer.header("location").unwrap().strip_prefix("http://wifi.tirana.example").unwrap().to_owned();
    let page = hotspot.get(2, NAME, &path).await;
    assert_eq!(page.field("to").len(), "http://news.example/?".len() + 2000);
}

#[tokio::test]
async fn many_requests_on_one_connection_are_answered() {
    let hotspot = Hotspot::new().await;
    let mut stream = hotspot.connect(2).await;
    let get = format!("GET /favicon.ico HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(get.repeat(50).as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap().matches("HTTP/1.1 204").count(), 50);
}

#[tokio::test]
async fn portal_stops_when_told_and_lets_the_answer_under_way_end() {
    let hotspot = Hotspot::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let portal = hotspot.portal.clone();
    let server = tokio::spawn(async move { portal.serve(listener, async { drop(stopped.await) }).await });
    let mut idle = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    assert!(closed_after(&mut idle).await < Duration::from_secs(1));
    assert!(TcpStream::connect(address).await.is_err());
}

fn certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn over_tls(
    address: std::net::SocketAddr,
    trusted: CertificateDer<'static>,
    asked: &str,
    path: &str,
) -> Result<String, std::io::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    let mut stream = connector.connect(ServerName::try_from(asked).unwrap().to_owned(), stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn api_is_served_over_tls_and_a_renewed_certificate_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let first = certificate(folder.path(), NAME);
    let tls = Tls { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem"), port: 443 };
    let hotspot = Hotspot::with(|settings| settings.tls = Some(tls)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let portal = hotspot.portal.clone();
    let server = tokio::spawn(async move { portal.serve_tls(listener, pending()).await });

    let text = over_tls(address, first.clone(), NAME, "/captive-portal/api").await.unwrap();
    assert!(text.contains("\"user-portal-url\":\"https://wifi.tirana.example/\""), "{text}");
    // A stranger's browser that wants its bank comes here too, led by our DNS: it gets no certificate of ours to wonder at.
    let refused = over_tls(address, first.clone(), "bank.example", "/").await.unwrap_err().to_string();
    assert!(refused.contains("UnrecognisedName") || refused.contains("AccessDenied"), "{refused}");
    // A key without its certificate does not go live, and both together do.
    fs::write(folder.path().join("key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    over_tls(address, first.clone(), NAME, "/").await.unwrap();
    let second = certificate(folder.path(), NAME);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    over_tls(address, second, NAME, "/").await.unwrap();
    over_tls(address, first, NAME, "/").await.unwrap_err();
    server.abort();
}

#[tokio::test]
async fn tls_without_a_usable_certificate_says_which_file() {
    let hotspot = Hotspot::with(|settings| {
        let nowhere = settings.run.join("none.pem");
        settings.tls = Some(Tls { certificate: nowhere.clone(), key: nowhere, port: 443 });
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = hotspot.portal.serve_tls(listener, pending()).await.unwrap_err().to_string();
    assert!(error.contains("none.pem"), "{error}");
}
