//! Questions over HTTP/2 to an upstream (RFC 8484): each is posted, many at once on one connection.

use std::collections::{HashMap, VecDeque};

use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http2::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Duration, Instant, sleep_until, timeout},
};
use tokio_rustls::client::TlsStream;

use super::line::{Ask, Ended, IDLE, UNDER_WAY, next};
use crate::{Error, Upstream, https::MEDIA_TYPE};

/// For one question; a connection on which none is answered in this time is gone.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Where questions are posted.
pub(super) fn url(upstream: &Upstream, name: &str, path: &str) -> Result<Uri, Error> {
    let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let authority = match upstream.address.port() {
        443 => host,
        port => format!("{host}:{port}"),
    };
    let url = Uri::builder().scheme("https").authority(authority).path_and_query(path).build();
    url.map_err(|error| Error::Upstream { upstream: upstream.to_string(), why: error.to_string() })
}

/// Why a question has no reply.
enum Failure {
    /// The upstream answered something else, in words.
    Said(String),
    /// It said nothing.
    Silent,
    /// Its request was broken off, and perhaps the connection with it.
    Broken(String),
}

/// Serves questions over a connection until it ends.
pub(super) async fn serve(
    stream: TlsStream<TcpStream>,
    url: &Uri,
    queue: &mut VecDeque<Ask>,
    asks: &mut mpsc::Receiver<Ask>,
    surer: &impl Fn() -> bool,
) -> Ended {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // Few streams until the upstream has said how many it takes.
    builder.timer(TokioTimer::new()).max_header_list_size(16 * 1024).initial_max_send_streams(8);
    let shaken = timeout(PATIENCE, builder.handshake(TokioIo::new(stream))).await;
    let Ok(Ok((sender, connection))) = shaken else {
        return Ended { left: queue.drain(..).collect(), why: "it does not speak HTTP/2".into() };
    };
    let mut connection = std::pin::pin!(connection);
    let mut under_way = FuturesUnordered::new();
    let mut pending: HashMap<u64, (Ask, Instant)> = HashMap::new();
    let (mut number, mut heard) = (0, Instant::now());
    let why = loop {
        tokio::select! {
            ask = next(queue, asks), if pending.len() < UNDER_WAY => {
                let Some(mut ask) = ask else { break "the resolver ends".to_owned() };
                if surer() {
                    queue.push_front(ask);
                    break "the clock was set".into();
                }
                // Equal questions shall be equal requests (RFC 8484 section 4.1).
                ask.query.iter_mut().take(2).for_each(|id| *id = 0);
                let query = Bytes::copy_from_slice(&ask.query);
                number += 1;
                let (mut sender, url, this) = (sender.clone(), url.clone(), number);
                under_way.push(async move { (this, exchange(&mut sender, url, query).await) });
                pending.insert(number, (ask, Instant::now()));
            }
            Some((number, outcome)) = under_way.next(), if !under_way.is_empty() => {
                let Some((ask, since)) = pending.remove(&number) else { continue };
                match outcome {
                    Ok(reply) => {
                        heard = Instant::now();
                        // Who asked may have left.
                        let _ = ask.reply.send(Ok(reply));
                    }
                    Err(Failure::Said(why)) => {
                        heard = Instant::now();
                        ask.fail(&why);
                    }
                    Err(Failure::Silent) => {
                        ask.fail("no answer in time");
                        // One slow name does not make a dead connection.
                        if heard < since {
                            break "no answer in time".into();
                        }
                    }
                    Err(Failure::Broken(why)) if sender.is_closed() => {
                        pending.insert(number, (ask, since));
                        break why;
                    }
                    // A stream that was refused, for there were too many (RFC 9113 section 8.7).
                    Err(Failure::Broken(why)) => queue.extend(ask.once_more(&why)),
                }
            }
            _ = connection.as_mut() => break "it closed the connection".into(),
            () = sleep_until(heard + IDLE), if pending.is_empty() => break "nobody needed it".into(),
        }
    };
    Ended { left: pending.into_values().map(|(ask, _)| ask).collect(), why }
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, url: Uri, query: Bytes) -> Result<Vec<u8>, Failure> {
    let broken = |error: hyper::Error| Failure::Broken(format!("HTTP: {error}"));
    let mut request = Request::new(Full::new(query));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
    let answered = async {
        sender.ready().await.map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if head.status != StatusCode::OK || !kind.starts_with(MEDIA_TYPE.as_bytes()) {
            return Err(Failure::Said(format!("it answers HTTP with status {}", head.status.as_u16())));
        }
        match Limited::new(body, usize::from(u16::MAX)).collect().await {
            Ok(body) => Ok(body.to_bytes().into()),
            Err(error) => Err(Failure::Said(format!("HTTP: {error}"))),
        }
    };
    timeout(PATIENCE, answered).await.unwrap_or(Err(Failure::Silent))
}
