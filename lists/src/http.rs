//! One GET over HTTPS, within limits: the only file of the room that knows hyper and TLS. Where a connection goes is decided
//! here, for each hop anew: the name is looked up once, what it gives is checked, and that very address is connected to.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{self, HeaderMap, HeaderName},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

use crate::unpack::Unpackable;

/// Looks up the addresses of a server's name.
pub type LookUp = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// A look-up under way; its error is what a person should read.
pub type Looking = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send>>;

/// Bounds of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most octets as they are sent.
    pub sent: u64,
    /// Most octets unpacked.
    pub unpacked: u64,
    /// For a look-up, and for a connection with its TLS handshake.
    pub connect: Duration,
    /// For the answer's beginning, and between any two pieces of it.
    pub silence: Duration,
    /// For everything together.
    pub total: Duration,
    /// Redirects that are followed.
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sent: 64 << 20,
            unpacked: 256 << 20,
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            total: Duration::from_secs(600),
            redirects: 5,
        }
    }
}

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those that the system trusts, read anew for each fetch.
    System,
    /// Those signed by these, in DER.
    These(Vec<Vec<u8>>),
}

/// Why a list could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The URL, or one that it was redirected to.
    #[error("{0} is no URL that is fetched; want https://NAME/… without a password")]
    Url(String),
    /// The name has no address.
    #[error("looking up {name}: {why}")]
    LookUp {
        /// The server's name.
        name: String,
        /// What came of it.
        why: String,
    },
    /// All its addresses are refused.
    #[error(
        "{name} has the address {address}, which is not public; if it is the city's own server, write private_addresses = true"
    )]
    Private {
        /// The server's name.
        name: String,
        /// The first of its addresses.
        address: IpAddr,
    },
    /// No connection.
    #[error("connecting to {name}: {source}")]
    Connect {
        /// The server's name.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
    /// No trust anchors.
    #[error("the system has no certificates of authorities to believe; install ca-certificates")]
    NoTrust,
    /// The server's answer cannot be read.
    #[error("asking {name}: {source}")]
    Http {
        /// The server's name.
        name: String,
        /// What went wrong.
        source: hyper::Error,
    },
    /// Not an answer with a body.
    #[error("the server answered {status}")]
    Status {
        /// Its status.
        status: StatusCode,
        /// When it wants to be asked again.
        again: Option<Duration>,
    },
    /// Sent from one place to the next.
    #[error("it was redirected more than {0} times")]
    Redirects(usize),
    /// Too much.
    #[error("it is larger than {0} MiB, the most that is fetched")]
    TooLarge(u64),
    /// Too slow.
    #[error("the server is too slow: {0}")]
    Slow(&'static str),
    /// It cannot be unpacked.
    #[error("{0}")]
    Unpackable(#[from] Unpackable),
}

/// What tells whether a text has changed, as the server names it (RFC 9110 section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
}

/// What a server said.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing has changed.
    Same,
    /// This.
    Body(Vec<u8>, Validators),
}

/// Fetches over HTTPS.
pub(crate) struct Http {
    pub(crate) trust: Trust,
    pub(crate) look_up: LookUp,
    pub(crate) limits: Limits,
    pub(crate) is_public: fn(IpAddr) -> bool,
}

impl Http {
    /// Asks for `url`, and whether it has changed since `known`. `anywhere` lets it lead to addresses that are not public;
    /// `received` is told how much has come, and of how much.
    pub(crate) async fn get(
        &self,
        url: &str,
        known: Option<&Validators>,
        anywhere: bool,
        received: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Answer, Fault> {
        let work = self.follow(url, known, anywhere, received);
        timeout(self.limits.total, work).await.unwrap_or(Err(Fault::Slow("the whole took too long")))
    }

    async fn follow(
        &self,
        url: &str,
        known: Option<&Validators>,
        anywhere: bool,
        received: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Answer, Fault> {
        let no_url = |text: &str| Fault::Url(text.to_owned());
        let mut url = Url::parse(url).map_err(|_| no_url(url))?;
        let tls = self.tls()?;
        for _ in 0..=self.limits.redirects {
            let plain = url.username().is_empty() && url.password().is_none();
            let host = url.host().map(|host| host.to_owned()).filter(|_| plain && url.scheme() == "https");
            let host = host.ok_or_else(|| no_url(url.as_str()))?;
            let stream = self.connect(&host, url.port().unwrap_or(443), anywhere, &tls).await?;
            let (response, connection) = self.ask(stream, &url, &host, known).await?;
            let _ended = Ended(connection);
            let status = response.status();
            let headers = response.headers();
            match status {
                StatusCode::OK => return self.body(response, &host, received).await,
                StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Answer::Same),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = text(headers, header::LOCATION).ok_or(Fault::Status { status, again: None })?;
                    url = url.join(&location).map_err(|_| no_url(&location))?;
                }
                _ => return Err(Fault::Status { status, again: retry_after(headers, SystemTime::now()) }),
            }
        }
        Err(Fault::Redirects(self.limits.redirects))
    }

    fn tls(&self) -> Result<TlsConnector, Fault> {
        let mut roots = RootCertStore::empty();
        match &self.trust {
            Trust::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Trust::These(certificates) => {
                roots.add_parsable_certificates(certificates.iter().map(|der| der.clone().into()));
            }
        }
        if roots.is_empty() {
            return Err(Fault::NoTrust);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.map_err(|_| Fault::NoTrust)?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn connect(
        &self,
        host: &Host,
        port: u16,
        anywhere: bool,
        tls: &TlsConnector,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let name = host.to_string();
        let late = |_: Elapsed| io::Error::from(io::ErrorKind::TimedOut);
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let found = timeout(self.limits.connect, (self.look_up)(name.clone())).await;
                let found = found.unwrap_or(Err("no answer in time".to_owned()));
                found.map_err(|why| Fault::LookUp { name: name.clone(), why })?
            }
        };
        let Some(&first) = addresses.first() else {
            return Err(Fault::LookUp { name, why: "it has no address".to_owned() });
        };
        let server = match host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| Fault::Url(name.clone()))?,
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        let mut failure = None;
        for address in addresses.into_iter().filter(|address| anywhere || (self.is_public)(*address)) {
            let connected = async {
                let stream = TcpStream::connect(SocketAddr::new(address, port)).await?;
                tls.connect(server.clone(), stream).await
            };
            match timeout(self.limits.connect, connected).await.map_err(late).and_then(|connected| connected) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        Err(match failure {
            Some(source) => Fault::Connect { name, source },
            None => Fault::Private { name, address: first },
        })
    }

    async fn ask(
        &self,
        stream: TlsStream<TcpStream>,
        url: &Url,
        host: &Host,
        known: Option<&Validators>,
    ) -> Result<(Response<Incoming>, tokio::task::JoinHandle<()>), Fault> {
        let failed = |source| Fault::Http { name: host.to_string(), source };
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path = path + "?" + query;
        }
        let authority = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let mut request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("sheshi/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT_ENCODING, "gzip, zstd");
        let known = known.cloned().unwrap_or_default();
        for (name, value) in [(header::IF_NONE_MATCH, known.etag), (header::IF_MODIFIED_SINCE, known.modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| Fault::Url(url.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let response = timeout(self.limits.silence, sender.send_request(request)).await;
        match response {
            Ok(Ok(response)) => Ok((response, connection)),
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => {
                connection.abort();
                Err(Fault::Slow("it does not answer"))
            }
        }
    }

    async fn body(
        &self,
        response: Response<Incoming>,
        host: &Host,
        received: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Answer, Fault> {
        let limit = self.limits.sent;
        let too_large = || Fault::TooLarge(limit >> 20);
        let (parts, mut body) = response.into_parts();
        let length = text(&parts.headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut octets = Vec::new();
        loop {
            let frame =
                timeout(self.limits.silence, body.frame()).await.map_err(|_| Fault::Slow("it stopped sending"))?;
            // An end before the promised length, or of the connection without the end of TLS, is an error here.
            let Some(frame) = frame.transpose().map_err(|source| Fault::Http { name: host.to_string(), source })?
            else {
                break;
            };
            let Ok(data) = frame.into_data() else { continue };
            if (octets.len() + data.len()) as u64 > limit {
                return Err(too_large());
            }
            octets.extend_from_slice(&data);
            received(octets.len() as u64, length);
        }
        let validator = |name| text(&parts.headers, name).filter(|value: &String| value.len() <= 1024);
        let validators = Validators { etag: validator(header::ETAG), modified: validator(header::LAST_MODIFIED) };
        Ok(Answer::Body(octets, validators))
    }
}

/// Ends a connection's task when we are done with it.
struct Ended(tokio::task::JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER)?;
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(&value).ok()?.duration_since(now).ok(),
    }
}
