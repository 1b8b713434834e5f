//! A line to an upstream over TCP, TLS or HTTP/2: one connection, kept open while it is used, on which many questions are under way
//! at once (RFC 7766 section 6.2.1, RFC 8484 section 5.2). It is opened by the first question that needs it, and opened anew when it
//! has ended.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use sheshi_policy::Moment;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    exchange,
    spec::{How, Identity},
    trust::{self, Anchors},
};
use crate::{Clock, Error, Upstream, wire::HEADER};

/// For connecting and shaking hands; a little less than who asks has patience for, so that the reason is heard.
const CONNECT: Duration = Duration::from_millis(1300);
/// An upstream that says nothing for this long while questions wait for it is gone.
const SILENCE: Duration = Duration::from_millis(1500);
/// A connection nobody needed for this long is closed (RFC 7766 section 6.2.3).
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// After connecting has failed, questions fail at once for this long, instead of each knocking again.
const PAUSE: Duration = Duration::from_millis(250);
/// Questions under way on a connection.
pub(super) const UNDER_WAY: usize = 128;
/// Questions that wait for a connection.
const WAITING: usize = 1024;

/// A question for the line and where its reply goes.
pub(super) struct Ask {
    pub(super) query: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<Vec<u8>, String>>,
    /// Whether a connection ended under it before.
    again: bool,
}

impl Ask {
    /// The question for a second and last time; fails when this was it, and is dropped when who asked has left.
    pub(super) fn once_more(mut self, why: &str) -> Option<Self> {
        if self.reply.is_closed() {
            return None;
        }
        if std::mem::replace(&mut self.again, true) {
            self.fail(why);
            return None;
        }
        Some(self)
    }

    pub(super) fn fail(self, why: &str) {
        // Who asked may have left.
        let _ = self.reply.send(Err(why.into()));
    }
}

/// The way to an upstream.
struct Route {
    address: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// For HTTP: where questions are posted.
    url: Option<hyper::Uri>,
    clock: Clock,
}

/// A line to one upstream.
pub(crate) struct Line {
    route: Arc<Route>,
    asks: Mutex<Option<mpsc::Sender<Ask>>>,
}

/// How a connection ended.
pub(super) struct Ended {
    /// Questions that it left unanswered.
    pub(super) left: Vec<Ask>,
    pub(super) why: String,
}

impl Line {
    /// A line to `upstream`; `None` for one that is asked over UDP.
    pub(crate) fn new(upstream: &Upstream, anchors: &mut Anchors, clock: &Clock) -> Result<Option<Self>, Error> {
        let mut tls = |identity: &Identity, protocols: &[&[u8]]| -> Result<_, Error> {
            let (config, name): (Arc<ClientConfig>, _) =
                trust::config(upstream, identity, protocols, anchors, clock.clone())?;
            Ok(Some((TlsConnector::from(config), name)))
        };
        let (tls, url) = match &upstream.how {
            How::Udp => return Ok(None),
            How::Tcp => (None, None),
            How::Tls(identity) => (tls(identity, &[])?, None),
            How::Https { identity, path } => {
                (tls(identity, &[b"h2"])?, Some(exchange::url(upstream, &identity.name, path)?))
            }
        };
        let route = Arc::new(Route { address: upstream.address, tls, url, clock: clock.clone() });
        Ok(Some(Self { route, asks: Mutex::new(None) }))
    }

    /// Whether nobody on the way can read what is asked.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.route.tls.is_some()
    }

    /// Sends `query` and waits for its reply; must be called within the runtime, and with a deadline of the caller's.
    pub(crate) async fn ask(&self, query: Vec<u8>) -> Result<Vec<u8>, String> {
        let (reply, replied) = oneshot::channel();
        let ask = Ask { query, reply, again: false };
        self.asks().try_send(ask).map_err(|_| "too many questions wait for it".to_owned())?;
        replied.await.unwrap_or_else(|_| Err("the line to it broke".into()))
    }

    /// The way to the task that holds the line, which is started when there is none.
    fn asks(&self) -> mpsc::Sender<Ask> {
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        match &*asks {
            Some(asks) if !asks.is_closed() => asks.clone(),
            _ => {
                let (sender, receiver) = mpsc::channel(WAITING);
                tokio::spawn(hold(self.route.clone(), receiver));
                asks.insert(sender).clone()
            }
        }
    }
}

/// Holds the line for as long as somebody may ask.
async fn hold(route: Arc<Route>, mut asks: mpsc::Receiver<Ask>) {
    let mut queue: VecDeque<Ask> = VecDeque::new();
    let mut failed: Option<(Instant, String)> = None;
    loop {
        if queue.is_empty() {
            let Some(ask) = asks.recv().await else { return };
            queue.push_back(ask);
        }
        if let Some((_, why)) = failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
            queue.drain(..).for_each(|ask| ask.fail(why));
            continue;
        }
        // While the clock is unknown, who the upstream is is known less surely: once it is set, the line is opened anew.
        let provisional = route.tls.is_some() && (route.clock)() == Moment::Unknown;
        let surer = || provisional && (route.clock)() != Moment::Unknown;
        let opened = timeout(CONNECT, route.open()).await.unwrap_or_else(|_| Err("no connection in time".into()));
        match opened {
            Err(why) => {
                while let Ok(ask) = asks.try_recv() {
                    queue.push_back(ask);
                }
                queue.drain(..).for_each(|ask| ask.fail(&why));
                failed = Some((Instant::now(), why));
            }
            Ok(opened) => {
                failed = None;
                let ended = match (opened, &route.url) {
                    (Opened::Tls(stream), Some(url)) => {
                        exchange::serve(*stream, url, &mut queue, &mut asks, &surer).await
                    }
                    (Opened::Tls(stream), None) => serve(*stream, &mut queue, &mut asks, &surer).await,
                    (Opened::Tcp(stream), _) => serve(stream, &mut queue, &mut asks, &surer).await,
                };
                // A connection that the upstream closed just as we asked is nobody's fault: asked once more.
                queue.extend(ended.left.into_iter().filter_map(|ask| ask.once_more(&ended.why)));
            }
        }
    }
}

enum Opened {
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Route {
    async fn open(&self) -> Result<Opened, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| format!("connecting: {error}"))?;
        let _ = stream.set_nodelay(true);
        let Some((connector, name)) = &self.tls else { return Ok(Opened::Tcp(stream)) };
        let stream = connector.connect(name.clone(), stream).await.map_err(|error| format!("TLS: {error}"))?;
        if self.url.is_some() && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("it does not speak HTTP/2".into());
        }
        Ok(Opened::Tls(Box::new(stream)))
    }
}

/// Questions under way on a stream, by id.
struct Pending {
    asks: HashMap<u16, (Ask, Instant)>,
    next: u16,
}

impl Pending {
    /// Takes a question in and writes it with its length before it (RFC 1035 section 4.2.2).
    fn take(&mut self, mut ask: Ask) -> Option<Vec<u8>> {
        while self.asks.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let length = u16::try_from(ask.query.len()).ok()?;
        ask.query.get_mut(..2)?.copy_from_slice(&self.next.to_be_bytes());
        let framed = [&length.to_be_bytes()[..], &ask.query].concat();
        self.asks.insert(self.next, (ask, Instant::now()));
        // Ids of a connection need not be secret, only different; neighbours in a row would count what we ask.
        self.next = self.next.wrapping_mul(0x6255).wrapping_add(0x3619);
        Some(framed)
    }

    /// Gives whole replies in `buffer` to who asked, and keeps what is not whole.
    fn deliver(&mut self, buffer: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(length) = buffer[at..].first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(reply) = buffer.get(at + 2..at + 2 + length) else { break };
            at += 2 + length;
            if reply.len() < HEADER {
                continue;
            }
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            if let Some((ask, _)) = self.asks.remove(&id) {
                let _ = ask.reply.send(Ok(reply.to_vec()));
            }
        }
        buffer.drain(..at);
    }

    fn left(self) -> Vec<Ask> {
        self.asks.into_values().map(|(ask, _)| ask).collect()
    }
}

/// Serves questions over a stream until it ends.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    queue: &mut VecDeque<Ask>,
    asks: &mut mpsc::Receiver<Ask>,
    surer: &impl Fn() -> bool,
) -> Ended {
    let mut pending = Pending { asks: HashMap::new(), next: RandomState::new().hash_one(0u8) as u16 };
    let mut buffer = Vec::with_capacity(4096);
    let mut heard = Instant::now();
    let why = loop {
        let oldest = pending.asks.values().map(|(_, since)| *since).min();
        // From when on silence means that it is gone: from the oldest question, or from what was heard since.
        let deadline = oldest.map_or(heard + IDLE, |oldest| oldest.max(heard) + SILENCE);
        tokio::select! {
            ask = next(queue, asks), if pending.asks.len() < UNDER_WAY => {
                let Some(ask) = ask else { break "the resolver ends".to_owned() };
                if surer() {
                    queue.push_front(ask);
                    break "the clock was set".into();
                }
                let Some(framed) = pending.take(ask) else { continue };
                let write = async {
                    stream.write_all(&framed).await?;
                    stream.flush().await
                };
                match timeout(SILENCE, write).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break format!("asking: {error}"),
                    Err(_) => break "it does not read".into(),
                }
            }
            read = stream.read_buf(&mut buffer) => match read {
                Ok(0) => break "it closed the connection".into(),
                Ok(_) => {
                    heard = Instant::now();
                    pending.deliver(&mut buffer);
                    // Whose question was too slow has left.
                    pending.asks.retain(|_, (ask, _)| !ask.reply.is_closed());
                }
                Err(error) => break format!("reading: {error}"),
            },
            () = sleep_until(deadline) => break "no answer in time".into(),
        }
    };
    Ended { left: pending.left(), why }
}

/// The next question: those that waited for the connection come first.
pub(super) async fn next(queue: &mut VecDeque<Ask>, asks: &mut mpsc::Receiver<Ask>) -> Option<Ask> {
    match queue.pop_front() {
        Some(ask) => Some(ask),
        None => asks.recv().await,
    }
}
