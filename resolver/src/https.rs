//! DNS over HTTPS (RFC 8484): HTTP/2 and HTTP/1.1 requests become messages of the one pipeline, and replies responses.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use crate::{
    pipeline::Asker,
    server::Shared,
    tcp::{IDLE, PIPELINED},
    wire::{HEADER, rcode, rtype, skip_name},
};

/// Where questions are asked.
pub(crate) const PATH: &str = "/dns-query";
/// What messages are called in HTTP.
pub(crate) const MEDIA_TYPE: &str = "application/dns-message";

/// For the body of a request.
const BODY: Duration = Duration::from_secs(5);
/// For responses under way when a connection ends.
const GRACE: Duration = Duration::from_secs(3);
const HEADERS: usize = 64;
/// Of a request's header: a message of 4 kB in base64 fits, and longer ones can be posted.
const HEADER_BYTES: usize = 8 * 1024;
/// Of responses that wait for one client to read them.
const UNREAD_BYTES: usize = 64 * 1024;
/// Resets that one client may leave us with before its connection ends (CVE-2023-44487).
const RESETS: usize = 32;

/// What goes on on a connection.
#[derive(Default)]
struct Activity {
    under_way: AtomicUsize,
    asked: AtomicBool,
}

impl Activity {
    /// Whether nothing is under way and nothing was asked since the last look.
    fn is_idle(&self) -> bool {
        !self.asked.swap(false, SeqCst) && self.under_way.load(SeqCst) == 0
    }
}

/// Counts a request as under way until it is dropped.
struct Under(Arc<Activity>);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

/// Serves one connection until it ends or idles.
pub(crate) async fn connection(shared: &Arc<Shared>, stream: TlsStream<TcpStream>, asker: Asker) {
    let activity = Arc::new(Activity::default());
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn({
        let (shared, activity) = (shared.clone(), activity.clone());
        move |request| {
            activity.under_way.fetch_add(1, SeqCst);
            activity.asked.store(true, SeqCst);
            let (under, shared) = (Under(activity.clone()), shared.clone());
            async move {
                let response = respond(&shared, asker, request).await;
                drop(under);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let io = TokioIo::new(stream);
    // Both builders have the same methods to wait for and to end a connection, and no trait for it.
    macro_rules! serve {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            loop {
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = sleep(IDLE) => if activity.is_idle() { break },
                }
            }
            connection.as_mut().graceful_shutdown();
            let _ = timeout(GRACE, connection).await;
        }};
    }
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(PIPELINED as u32)
            .max_header_list_size(HEADER_BYTES as u32)
            .max_send_buf_size(UNREAD_BYTES)
            .initial_connection_window_size(128 * 1024)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS);
        serve!(builder.serve_connection(io, service));
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_headers(HEADERS)
            .max_header_size(HEADER_BYTES)
            .max_buf_size(HEADER_BYTES + UNREAD_BYTES);
        serve!(builder.serve_connection(io, service));
    }
}

/// A response without a message: what was wrong with the request, in words for who tries by hand.
fn refusal(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

async fn respond(shared: &Arc<Shared>, asker: Asker, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let message = match message(request).await {
        Ok(message) => message,
        Err(refusal) => return refusal,
    };
    if message.len() < HEADER || message[2] & 0x80 != 0 {
        return refusal(StatusCode::BAD_REQUEST, "not a DNS query\n");
    }
    let Some(reply) = shared.message(asker, message).await else {
        // A query that gets no reply over UDP: the client is over its rate.
        return refusal(StatusCode::TOO_MANY_REQUESTS, "too many queries\n");
    };
    let cache = match freshness(&reply) {
        // Private: what is answered is this client's, by its group and state.
        Some(seconds) => HeaderValue::try_from(format!("private, max-age={seconds}")).ok(),
        None => None,
    };
    let mut response = Response::new(Full::new(Bytes::from(reply)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(CACHE_CONTROL, cache.unwrap_or(HeaderValue::from_static("no-store")));
    response
}

/// The message in a request (RFC 8484 section 4.1).
async fn message(request: Request<Incoming>) -> Result<Vec<u8>, Response<Full<Bytes>>> {
    if request.uri().path() != PATH {
        return Err(refusal(StatusCode::NOT_FOUND, "questions are asked at /dns-query\n"));
    }
    match *request.method() {
        Method::GET => {
            let query = request.uri().query().unwrap_or_default();
            let dns = query.split('&').find_map(|part| part.strip_prefix("dns="));
            let bytes = dns.and_then(|dns| URL_SAFE_NO_PAD.decode(dns).ok());
            bytes.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "want ?dns= and the message in base64url\n"))
        }
        Method::POST => {
            let kind = request.headers().get(CONTENT_TYPE);
            if kind.is_none_or(|kind| !kind.as_bytes().eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())) {
                return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "want application/dns-message\n"));
            }
            let body = Limited::new(request.into_body(), usize::from(u16::MAX));
            match timeout(BODY, body.collect()).await {
                Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the message did not come in time\n")),
                Ok(Err(_)) => Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "no DNS message is that long\n")),
                Ok(Ok(body)) => Ok(body.to_bytes().into()),
            }
        }
        // What answers HEAD has no body.
        Method::HEAD => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "")),
        _ => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "want GET or POST\n")),
    }
}

/// For how many seconds a reply may be kept: the smallest TTL of its answers, or of what proves that there are none (RFC 8484
/// section 5.1). `None` for failures.
fn freshness(reply: &[u8]) -> Option<u32> {
    if !matches!(u16::from(reply.get(3)? & 0x0f), rcode::NOERROR | rcode::NXDOMAIN) || reply[2] & 0x02 != 0 {
        return None;
    }
    let count = |at: usize| Some(u16::from_be_bytes([*reply.get(at)?, *reply.get(at + 1)?]));
    let mut at = HEADER;
    for _ in 0..count(4)? {
        at = skip_name(reply, at)? + 4;
    }
    let answers = count(6)?;
    let records = if answers > 0 { answers } else { count(8)? };
    let mut smallest = None;
    for _ in 0..records {
        at = skip_name(reply, at)?;
        let ttl = u32::from_be_bytes(*reply.get(at + 4..)?.first_chunk()?);
        if count(at)? != rtype::OPT {
            smallest = Some(smallest.map_or(ttl, |smallest: u32| smallest.min(ttl)));
        }
        at += 10 + usize::from(count(at + 8)?);
    }
    smallest
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata},
    };

    use super::*;

    fn reply(edit: impl Fn(&mut Message)) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("www.example.").unwrap(), RecordType::A));
        let mut message = message.into_response();
        edit(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn a_response_is_fresh_for_the_smallest_ttl_and_failures_never() {
        let a = |ttl| {
            let owner = Name::from_ascii("www.example.").unwrap();
            Record::from_rdata(owner, ttl, RData::A(rdata::A([192, 0, 2, 1].into())))
        };
        let answers = reply(|message| {
            message.add_answer(a(300));
            message.add_answer(a(20));
            message.add_authority(a(5));
        });
        assert_eq!(freshness(&answers), Some(20));
        let negative = reply(|message| {
            message.add_authority(a(60));
        });
        assert_eq!(freshness(&negative), Some(60));
        assert_eq!(freshness(&reply(|_| ())), None, "nothing says how long a bare \"no\" holds");
        for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp, ResponseCode::FormErr] {
            let failure = reply(|message| {
                message.metadata.response_code = code;
                message.add_answer(a(300));
            });
            assert_eq!(freshness(&failure), None, "{code:?}");
        }
        for cut in 0..answers.len() {
            freshness(&answers[..cut]);
        }
    }
}
