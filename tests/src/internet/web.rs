//! The web of the lab's internet: the real page of any host, the answers that systems expect of their probe hosts, and
//! DNS over HTTPS.

use std::{
    convert::Infallible,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HOST},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    error::{Doing, LabError},
    guest::{BYPASS_PAGE, REAL_PAGE},
    internet::names::Resolver,
    plan,
};

/// Host, path, content type and body of what systems fetch to see whether they are online.
const PROBES: [(&str, &str, &str, &str); 10] = [
    ("captive.apple.com", "/hotspot-detect.html", "text/html", APPLE),
    ("captive.apple.com", "/", "text/html", APPLE),
    ("www.apple.com", "/library/test/success.html", "text/html", APPLE),
    ("www.msftconnecttest.com", "/connecttest.txt", "text/plain", "Microsoft Connect Test"),
    ("www.msftncsi.com", "/ncsi.txt", "text/plain", "Microsoft NCSI"),
    ("detectportal.firefox.com", "/success.txt", "text/plain", "success\n"),
    ("detectportal.firefox.com", "/canonical.html", "text/html", FIREFOX),
    ("nmcheck.gnome.org", "/check_network_status.txt", "text/plain", "NetworkManager is online\n"),
    ("network-test.debian.org", "/nm", "text/plain", "NetworkManager is online\n"),
    ("networkcheck.kde.org", "/", "text/plain", "OK\n"),
];
const APPLE: &str = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>\n";
const FIREFOX: &str = "<meta http-equiv=\"refresh\" content=\"0;url=https://support.mozilla.org/kb/captive-portal\"/>";
/// Paths that answer 204, on whatever host.
const NO_CONTENT: [&str; 2] = ["/generate_204", "/gen_204"];

/// What the publisher of lists has at first; tests change it.
const PUBLISHED: &str = "# a list\nlisted.sheshi-lab.example\n";

/// In the folder are `lists/`, whose files are at `/lists/` of every host, and the socket of the dashboard, if there is one.
pub(crate) async fn start(resolver: &Arc<Resolver>, acceptor: &TlsAcceptor, folder: &Path) -> Result<(), LabError> {
    let published = folder.join("lists");
    let list = published.join("adult.txt");
    fs::create_dir_all(&published)
        .and_then(|()| fs::write(&list, PUBLISHED))
        .doing(|| format!("writing {}", list.display()))?;
    for (port, acceptor) in [(80, None), (443, Some(acceptor.clone()))] {
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = TcpListener::bind(at).await.doing(|| format!("listening on {at}/tcp"))?;
        let site = Site { resolver: resolver.clone(), folder: folder.into() };
        tokio::spawn(accept(listener, acceptor, site));
    }
    Ok(())
}

/// What answers.
#[derive(Clone)]
struct Site {
    resolver: Arc<Resolver>,
    /// What it has to show.
    folder: Arc<Path>,
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, site: Site) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let Ok(local) = stream.local_addr() else { continue };
        let (acceptor, site, local) = (acceptor.clone(), site.clone(), local.ip().to_canonical());
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, site, local).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, site, local).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, site: Site, local: IpAddr) {
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(respond(request, &site, local).await) }
    });
    // A client that goes away in the middle is its own affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, site: &Site, local: IpAddr) -> Response<Full<Bytes>> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let host =
        host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host.as_str(), |(host, _)| host);
    let path = request.uri().path().to_owned();
    if host == plan::DASHBOARD {
        return relay(request, &site.folder.join("dashboard.sock"))
            .await
            .unwrap_or_else(|problem| answer(StatusCode::BAD_GATEWAY, "text/plain", format!("{problem}\n")));
    }
    if NO_CONTENT.contains(&path.as_str()) {
        return answer(StatusCode::NO_CONTENT, "text/plain", "");
    }
    if let Some(name) = path.strip_prefix("/lists/").filter(|name| !name.contains("..")) {
        return match fs::read(site.folder.join("lists").join(name)) {
            Ok(list) => answer(StatusCode::OK, "text/plain", list),
            Err(_) => answer(StatusCode::NOT_FOUND, "text/plain", "no such list"),
        };
    }
    if path == "/dns-query" {
        return over_https(request, &site.resolver, local).await;
    }
    if let Some((_, _, kind, body)) = PROBES.iter().find(|(known, at, ..)| *known == host && *at == path) {
        return answer(StatusCode::OK, kind, *body);
    }
    let bypass = local == IpAddr::V4(plan::BYPASS_V4) || local == IpAddr::V6(plan::BYPASS_V6);
    let what = if bypass { BYPASS_PAGE } else { REAL_PAGE };
    let title: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(*c)).collect();
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1 id=\"real\">{what}</h1><p>of {title}, served by {local}</p></body></html>\n"
    );
    answer(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// What a city's proxy with a certificate does: hands the request on over a Unix socket.
async fn relay(
    mut request: Request<Incoming>,
    socket: &Path,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error>> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    request.headers_mut().insert(HOST, "localhost".parse()?);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    driver.abort();
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// RFC 8484, POST only: enough for a positive control.
async fn over_https(request: Request<Incoming>, resolver: &Resolver, local: IpAddr) -> Response<Full<Bytes>> {
    let Ok(question) = request.into_body().collect().await else {
        return answer(StatusCode::BAD_REQUEST, "text/plain", "no question");
    };
    match resolver.answer(&question.to_bytes(), local, "https") {
        Some(reply) => answer(StatusCode::OK, "application/dns-message", reply),
        None => answer(StatusCode::BAD_REQUEST, "text/plain", "no question"),
    }
}

fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}
