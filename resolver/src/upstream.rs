//! Asking upstreams. Over UDP through hickory: a fresh random port and id for each attempt, the question's letters in random case,
//! and whatever does not match is ignored until the deadline. Over TCP, TLS and HTTP/2 on lines of our own, which are kept open.
//!
//! Upstreams are asked in the order the admin gave, those that lately failed last.

mod exchange;
mod line;
pub(crate) mod spec;
mod trust;

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hickory_net::{
    DnsHandle, NetError,
    runtime::TokioRuntimeProvider,
    tcp::TcpClientStream,
    udp::UdpClientStream,
    xfer::{DnsRequestSender, FirstAnswer},
};
use hickory_proto::{
    op::{DnsRequest, DnsRequestOptions, Query},
    rr::{DNSClass, Name as HickoryName, RecordType},
    serialize::binary::BinDecodable,
};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use self::{line::Line, spec::Upstream, trust::Anchors};
use crate::{
    Clock, Error,
    answer::{Answer, Unusable, reduce},
    forward::write_query,
    padding,
    stats::{Count, Tally},
    time::Time,
    wire::{MAX_UDP, Question},
};

/// How long a client waits for all attempts together.
const DEADLINE: Duration = Duration::from_millis(2600);
/// How long one upstream has over UDP before the next is asked.
const ATTEMPT: Duration = Duration::from_millis(1000);
/// How long an upstream over TCP.
const STREAM: Duration = Duration::from_millis(1500);
/// Datagrams sent in one attempt at most, and how many milliseconds apart: one more, for the one that was lost. Each is a chance for
/// a forger, so there are no more.
const SENDS: u8 = 2;
const AGAIN: u64 = 500;
/// How long an upstream that was silent is asked last, in milliseconds. It is back soon after it answers again.
const SHUNNED: u64 = 2000;

/// Why one upstream gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("{0}")]
    Unusable(#[from] Unusable),
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    Line(String),
}

/// How an upstream is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The upstream, as an admin writes it.
    pub upstream: String,
    /// Why the last attempt to reach it failed, while nothing has been heard from it since.
    pub trouble: Option<String>,
}

struct Server {
    address: SocketAddr,
    /// As an admin writes it.
    told: String,
    /// The way to it, unless it is asked over UDP.
    line: Option<Line>,
    trouble: Mutex<Option<String>>,
    /// Until when it is asked last, in milliseconds of the room's clock.
    shunned: AtomicU64,
    /// When it last said anything, in the same.
    heard: AtomicU64,
}

impl Server {
    /// Notes at `now` that it was silent for a question asked at `since`. One slow name does not make a silent server: only who has
    /// said nothing at all since then is asked last.
    fn silent(&self, since: u64, now: u64, why: &str) {
        if self.heard.load(Relaxed) < since {
            self.shunned.store(now + SHUNNED, Relaxed);
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            if trouble.is_none() {
                warn!(upstream = %self.told, why, "an upstream does not answer");
            }
            *trouble = Some(why.into());
        }
    }

    /// Notes that it said something, even if only that it failed.
    fn speaks(&self, now: u64) {
        self.heard.store(now, Relaxed);
        // Only who was silent has anything to take back: the lock is not for every answer.
        if self.shunned.swap(0, Relaxed) != 0 {
            let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
            if trouble.is_some() {
                info!(upstream = %self.told, "an upstream answers again");
            }
        }
    }
}

/// The upstreams and what is known about their health.
pub(crate) struct Upstreams {
    servers: Vec<Server>,
    provider: TokioRuntimeProvider,
    time: Time,
}

impl Upstreams {
    pub(crate) fn new(upstreams: &[Upstream], time: Time, clock: &Clock) -> Result<Self, Error> {
        let mut anchors = Anchors::default();
        let mut server = |upstream: &Upstream| {
            Ok(Server {
                address: upstream.address,
                told: upstream.to_string(),
                line: Line::new(upstream, &mut anchors, clock)?,
                trouble: Mutex::new(None),
                shunned: AtomicU64::new(0),
                heard: AtomicU64::new(0),
            })
        };
        let servers = upstreams.iter().map(&mut server).collect::<Result<_, Error>>()?;
        Ok(Self { servers, provider: TokioRuntimeProvider::new(), time })
    }

    /// The upstream to ask first, when that is over UDP.
    pub(crate) fn first_over_udp(&self) -> Option<SocketAddr> {
        let now = self.time.millis();
        let well = self.servers.iter().find(|server| server.shunned.load(Relaxed) <= now);
        well.or(self.servers.first()).filter(|server| server.line.is_none()).map(|server| server.address)
    }

    /// How each is doing.
    pub(crate) fn health(&self) -> Vec<Health> {
        let trouble = |server: &Server| server.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.servers.iter().map(|server| Health { upstream: server.told.clone(), trouble: trouble(server) }).collect()
    }

    /// Notes that an upstream was silent for a question asked at `since` (milliseconds).
    pub(crate) fn silent(&self, upstream: SocketAddr, since: u64) {
        for server in self.servers.iter().filter(|server| server.address == upstream) {
            server.silent(since, self.time.millis(), "no answer in time");
        }
    }

    /// Notes that an upstream said something.
    pub(crate) fn speaks(&self, upstream: SocketAddr) {
        for server in self.servers.iter().filter(|server| server.address == upstream) {
            server.speaks(self.time.millis());
        }
    }

    /// Asks until one gives a usable answer or the deadline has passed. The one that was `tried` already comes after its equals.
    pub(crate) async fn ask(&self, question: &Question, tried: Option<SocketAddr>, tally: &Tally) -> Option<Answer> {
        let deadline = Instant::now() + DEADLINE;
        let now = self.time.millis();
        let mut order: Vec<&Server> = self.servers.iter().collect();
        order.sort_by_key(|server| (server.shunned.load(Relaxed) > now, Some(server.address) == tried));
        // Who was silent is asked once more, for the datagram that was lost at the only upstream; who failed is not.
        for round in 0..2 {
            let mut silent = Vec::new();
            for server in order {
                if Instant::now() >= deadline {
                    return None;
                }
                let since = self.time.millis();
                let failure = match self.attempt(server, question, deadline, tally).await {
                    Ok(answer) => {
                        server.speaks(self.time.millis());
                        return Some(answer);
                    }
                    Err(failure) => failure,
                };
                tally.count(Count::UpstreamFailures);
                debug!(upstream = %server.told, %failure, round, "upstream gave no usable answer");
                if matches!(failure, Failure::Unusable(_)) {
                    server.speaks(self.time.millis());
                } else {
                    server.silent(since, self.time.millis(), &failure.to_string());
                    silent.push(server);
                }
            }
            order = silent;
        }
        None
    }

    /// One upstream: on its line, which is the only way to it; or over UDP, and over TCP when the answer was cut or somebody seems
    /// to be forging.
    async fn attempt(
        &self,
        server: &Server,
        question: &Question,
        deadline: Instant,
        tally: &Tally,
    ) -> Result<Answer, Failure> {
        tally.count(Count::UpstreamQueries);
        let address = server.address;
        if let Some(line) = &server.line {
            let until = deadline.min(Instant::now() + STREAM);
            let bytes =
                timeout_at(until, line.ask(alone(question, line.is_encrypted()))).await.map_err(|_| Failure::Late)?;
            return Ok(reduce(&bytes.map_err(Failure::Line)?, question)?);
        }
        let until = deadline.min(Instant::now() + ATTEMPT);
        let datagram = timeout_at(until, self.datagram(address, question)).await.map_err(|_| Failure::Late)?;
        match datagram.map_err(Failure::Net).and_then(|bytes| Ok(reduce(&bytes, question)?)) {
            Err(
                Failure::Unusable(Unusable::Truncated) | Failure::Net(NetError::QueryCaseMismatch | NetError::Proto(_)),
            ) => {
                tally.count(Count::UpstreamQueries);
                let until = deadline.min(Instant::now() + STREAM);
                let bytes = timeout_at(until, self.stream(address, question)).await.map_err(|_| Failure::Late)??;
                Ok(reduce(&bytes, question)?)
            }
            result => result,
        }
    }

    async fn datagram(&self, address: SocketAddr, question: &Question) -> Result<Vec<u8>, NetError> {
        let mut stream = UdpClientStream::builder(address, self.provider.clone())
            .with_timeout(Some(ATTEMPT))
            .with_max_retries(SENDS)
            .with_retry_interval_floor(AGAIN)
            .with_os_port_selection(false)
            .build();
        let response = stream.send_message(request(question, true)?).first_answer().await?;
        Ok(response.into_buffer())
    }

    async fn stream(&self, address: SocketAddr, question: &Question) -> Result<Vec<u8>, NetError> {
        let exchange = TcpClientStream::exchange(address, None, STREAM, None, self.provider.clone()).await?;
        let response = exchange.send(request(question, false)?).first_answer().await?;
        Ok(response.into_buffer())
    }
}

/// The query for a line: the question and nothing else a client wrote, as long as many others where nobody can read it (RFC 8467).
fn alone(question: &Question, is_encrypted: bool) -> Vec<u8> {
    let mut buffer = [0; 512];
    let (length, _) = write_query(&mut buffer, 0, question, [0; 2]);
    let mut query = buffer[..length].to_vec();
    if is_encrypted {
        padding::pad(&mut query, padding::QUERY);
    }
    query
}

/// The query for an upstream: a new one with a random id, so that nothing a client wrote goes on (client subnet, cookies, case).
fn request(question: &Question, random_case: bool) -> Result<DnsRequest, NetError> {
    let name = HickoryName::from_bytes(question.name.as_bytes())?;
    let mut query = Query::query(name, RecordType::from(question.qtype));
    query.set_query_class(DNSClass::IN);
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.edns_payload_len = MAX_UDP as u16;
    options.edns_set_dnssec_ok = question.dnssec & Question::DO != 0;
    options.recursion_desired = true;
    options.case_randomization = random_case;
    let mut request = DnsRequest::from_query(query, options);
    request.metadata.checking_disabled = question.dnssec & Question::CD != 0;
    Ok(request)
}
