//! The gateway's end.

use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use sheshi_evidence::sign::SecretKey;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    message::{Claim, Refusal, Report, Standing},
    signed,
};

/// For one request, answer included.
const TIME: Duration = Duration::from_secs(120);
/// Largest compiled policy that is taken.
const LARGEST: usize = 1 << 30;

/// Why the dashboard did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection.
    #[error("asking the dashboard: {0}")]
    Connection(String),
    /// It answered, and refused.
    #[error("the dashboard refused ({status}, {}): {}", refusal.error, refusal.hint)]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        refusal: Refusal,
    },
}

/// A published policy as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its digest, which the next request names to be told when there is a newer one.
    pub digest: String,
    /// The compiled file.
    pub bytes: Vec<u8>,
}

/// The calling end of one gateway. Requests go one after the other: each has the next sequence.
pub struct Caller {
    key: SecretKey,
    boot: String,
    sequence: u64,
    host: String,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("key", &self.public_key()).finish_non_exhaustive()
    }
}

impl Caller {
    /// The calling end with its key. `sequence` is the last one it used, which it must remember over
    /// a reboot; `boot` is drawn anew at each boot; `host` is the dashboard's name and port.
    pub fn new(key: SecretKey, boot: [u8; 16], sequence: u64, host: &str) -> Self {
        Self { key, boot: hex::encode(boot), sequence, host: host.to_owned() }
    }

    /// The public key, hexadecimal.
    pub fn public_key(&self) -> String {
        hex::encode(self.key.public().bytes())
    }

    /// The fingerprint that the dashboard shows.
    pub fn fingerprint(&self) -> String {
        signed::fingerprint(&self.key.public().bytes())
    }

    /// The last sequence used.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next request, signed.
    pub fn request(&mut self, method: &str, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        self.sequence += 1;
        let headers = signed::sign(&self.key, method, path, &body, &self.boot, self.sequence);
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method.parse().unwrap_or_default();
        *request.uri_mut() = path.parse().unwrap_or_default();
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                request.headers_mut().insert(name, value);
            }
        }
        if let Ok(host) = self.host.parse() {
            request.headers_mut().insert(header::HOST, host);
        }
        request
    }

    /// Claims a place with a code; asked again, tells how it stands.
    ///
    /// # Errors
    /// When the connection fails or the dashboard refuses.
    pub async fn claim<S>(&mut self, stream: S, site: &str, code: &str) -> Result<Standing, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let claim = Claim { key: self.public_key(), site: site.to_owned(), code: code.to_owned() };
        let request = self.request("POST", "/api/v1/gateways/claim", encode(&claim)?);
        let (_, _, body) = send(stream, request).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Connection(error.to_string()))
    }

    /// Sends a report.
    ///
    /// # Errors
    /// When the connection fails or the dashboard refuses.
    pub async fn report<S>(&mut self, stream: S, report: &Report) -> Result<(), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = self.request("POST", "/api/v1/report", encode(report)?);
        send(stream, request).await.map(|_| ())
    }

    /// Fetches the newest policy, unless it is the one with this digest. The file must be checked before use.
    ///
    /// # Errors
    /// When the connection fails or the dashboard refuses.
    pub async fn policy<S>(&mut self, stream: S, has: Option<&str>) -> Result<Option<Sent>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut request = self.request("GET", "/api/v1/policy", Vec::new());
        if let Some(value) = has.and_then(|digest| format!("\"{digest}\"").parse().ok()) {
            request.headers_mut().insert(header::IF_NONE_MATCH, value);
        }
        let (status, headers, body) = send(stream, request).await?;
        if status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let digest = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        Ok(Some(Sent { digest: digest.trim_matches('"').to_owned(), bytes: body.to_vec() }))
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(value).map_err(|error| ClientError::Connection(error.to_string()))
}

/// Sends a request over a connection made for it: plain in tests, over TLS everywhere else.
pub async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Bytes), ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: &dyn std::fmt::Display| ClientError::Connection(error.to_string());
    let work = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let (parts, body): (_, Incoming) = response.into_parts();
        let body =
            Limited::new(body, LARGEST).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                true => failed(&"the answer is too large"),
                false => failed(&error),
            })?;
        driver.abort();
        Ok((parts.status, parts.headers, body.to_bytes()))
    };
    let (status, headers, body) =
        tokio::time::timeout(TIME, work).await.map_err(|_| failed(&"it takes too long"))??;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok((status, headers, body));
    }
    let refusal = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Refusal { error: "unknown".into(), hint: "it gave no reason".into() });
    Err(ClientError::Refused { status: status.as_u16(), refusal })
}
