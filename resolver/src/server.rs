//! Starting and stopping: sockets, threads, the runtime of the slow path.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use sheshi_policy::Compiled;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::error;

use crate::{
    Clients, Error, Settings,
    cache::Cache,
    cookies::Cookies,
    flight::Flights,
    forward::{Forward, Forwarder},
    garden::Plot,
    limits::{Places, Rates},
    local::Locals,
    novelty::Novelty,
    padding,
    pipeline::{Asker, Core, Door, Fetched, Step, Turn},
    secure::Encrypted,
    sockets::{self, Batch},
    stats::{Count, Counts, Stats, Tally},
    targets::{self, Targets},
    tcp::{self, Carrier},
    texts::Texts,
    time::Time,
    udp,
    upstream::{Health, Upstreams},
    views::{Clock, Views},
    wire::{Name, Question, Transport, rtype},
};

/// Rewrites that one message may ask for: its name, and what that was rewritten to.
const ROUNDS: usize = 3;

/// How long stopping waits for tasks of the slow path.
const STOP: Duration = Duration::from_secs(1);

/// What all threads and tasks share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) time: Time,
    pub(crate) stopped: AtomicBool,
    /// Counts of the slow path.
    pub(crate) tally: Arc<Tally>,
    flights: Arc<Flights>,
    contact: Vec<String>,
    organisation: String,
}

impl Shared {
    pub(crate) fn texts(&self) -> Texts {
        Texts::new(&self.contact, &self.organisation)
    }

    /// Questions under way.
    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.flights
    }

    /// The upstreams and their health.
    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.flights.upstreams
    }

    /// Walks the pipeline once. Policy and directory are those of this moment.
    pub(crate) fn step(
        &self,
        asker: &Asker,
        message: &[u8],
        fetched: &[Fetched],
        out: &mut [u8],
        counts: &Counts,
    ) -> Step {
        let now = self.time.millis();
        let snapshot = self.core.views.current((now / 1000) as u32);
        let directory = self.core.directory();
        let mut turn = Turn {
            now,
            snapshot: &snapshot,
            directory: directory.as_deref().map(|directory| &**directory),
            counts,
            texts: &mut self.texts(),
            fetched,
            #[cfg(test)]
            steps: Vec::new(),
        };
        self.core.answer(&mut turn, asker, message, out)
    }

    /// Asks upstream for `question` and walks the pipeline again; gives the reply's length in `out`. `tried` is an upstream that
    /// has been asked in vain.
    pub(crate) async fn ask(
        &self,
        asker: &Asker,
        message: &[u8],
        mut question: Question,
        tried: Option<SocketAddr>,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut fetched = Vec::with_capacity(1);
        self.tally.count(Count::CacheMisses);
        for _ in 0..ROUNDS {
            fetched.push(self.flights.fetch(&self.core, &question, tried).await);
            match self.counted(asker, message, &fetched, out) {
                Step::Reply(length) => return self.open(asker, message, &question, length, out).await,
                Step::Ignore => return None,
                Step::Ask(next, _) => question = *next,
            }
        }
        None
    }

    /// The reply's length; to a stranger once the addresses in it are open, and a failure when they cannot be.
    async fn open(
        &self,
        asker: &Asker,
        message: &[u8],
        question: &Question,
        length: usize,
        out: &mut [u8],
    ) -> Option<usize> {
        let stranger = asker.door == Door::Strangers;
        if !stranger || self.core.open(&out[..length], question, self.time.seconds()).await {
            return Some(length);
        }
        match self.turn_away(asker, message, out) {
            Step::Reply(length) => Some(length),
            Step::Ignore | Step::Ask(..) => None,
        }
    }

    /// The same, counted as the slow path's.
    fn counted(&self, asker: &Asker, message: &[u8], fetched: &[Fetched], out: &mut [u8]) -> Step {
        let counts = Counts::new();
        let step = self.step(asker, message, fetched, out, &counts);
        counts.flush(&self.tally);
        step
    }

    fn turn_away(&self, asker: &Asker, message: &[u8], out: &mut [u8]) -> Step {
        let counts = Counts::new();
        let step = self.core.turn_away(&counts, asker, message, self.time.seconds(), out);
        counts.flush(&self.tally);
        step
    }

    /// Answers one message of the slow path from beginning to end.
    pub(crate) async fn message(self: &Arc<Self>, asker: Asker, message: Vec<u8>) -> Option<Vec<u8>> {
        let mut out = vec![0; usize::from(u16::MAX)];
        let length = match self.counted(&asker, &message, &[], &mut out) {
            Step::Reply(length) => Some(length),
            Step::Ignore => None,
            Step::Ask(question, client) => match self.core.wait(client) {
                Some(_place) => self.ask(&asker, &message, *question, None, &mut out).await,
                None => match self.turn_away(&asker, &message, &mut out) {
                    Step::Reply(length) => Some(length),
                    Step::Ignore | Step::Ask(..) => None,
                },
            },
        };
        out.truncate(length?);
        if asker.transport == Transport::Encrypted && padding::is_wanted(&message) {
            padding::pad(&mut out, padding::REPLY);
        }
        Some(out)
    }
}

/// A running resolver; dropping it stops it.
pub struct Handle {
    shared: Arc<Shared>,
    tallies: Vec<Arc<Tally>>,
    connections: Places<IpAddr>,
    threads: Vec<JoinHandle<()>>,
    runtime: Option<tokio::runtime::Runtime>,
    listen: Vec<SocketAddr>,
    stranger_listen: Vec<SocketAddr>,
    tls_listen: Vec<SocketAddr>,
    https_listen: Vec<SocketAddr>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Handle {
    /// Where admitted clients are served, with the ports that were found when 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Where strangers are served.
    pub fn stranger_addresses(&self) -> &[SocketAddr] {
        &self.stranger_listen
    }

    /// The addresses of a name as upstreams know it: for the gateway's own errands, which no policy for guests concerns.
    /// Empty when there is no such name. To be called within a runtime.
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let name = Name::from_text(name).ok_or_else(|| Error::Name(name.to_owned()))?;
        let mut addresses = Vec::new();
        let mut failed = true;
        for qtype in [rtype::A, rtype::AAAA] {
            let question = Question { name, qtype, dnssec: 0 };
            if let Some(answer) = self.shared.upstreams().ask(&question, None, &self.shared.tally).await {
                addresses.extend(answer.addresses);
                failed = false;
            }
        }
        if failed { Err(Error::Silent) } else { Ok(addresses) }
    }

    /// Where DNS over TLS is served.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_listen
    }

    /// Where DNS over HTTPS is served.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https_listen
    }

    /// How the upstreams are doing.
    pub fn upstreams(&self) -> Vec<Health> {
        self.shared.upstreams().health()
    }

    /// Names of search engines' safe modes that do not exist: these engines are blocked until they do.
    pub fn missing_search_targets(&self) -> Vec<String> {
        self.shared.core.targets.missing()
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::sum(&self.tallies, &self.shared.core.views.names());
        stats.cache_bytes = self.shared.core.cache.bytes() as u64;
        stats.waiting = self.shared.core.waiting.taken() as u64;
        stats.connections = self.connections.taken() as u64;
        stats.search_targets_missing = self.missing_search_targets().len() as u64;
        stats
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        // On a thread of its own, because a runtime must not be dropped inside another one; waited for, so that every port is free
        // when this returns.
        if let Some(runtime) = self.runtime.take() {
            let _ = std::thread::spawn(move || runtime.shutdown_timeout(STOP)).join();
        }
    }
}

/// One address with its sockets.
struct Bound {
    address: SocketAddr,
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
}

/// Starts a resolver: sockets first, so that a port that is taken is an error and not a surprise later.
pub fn start(
    settings: Settings,
    policy: Arc<ArcSwap<Compiled>>,
    clients: Clients,
    clock: Clock,
) -> Result<Handle, Error> {
    settings.check()?;
    let threads = settings.threads.max(1);
    let open = |addresses: &[SocketAddr]| -> Result<Vec<_>, Error> {
        addresses.iter().map(|address| bind(*address, threads)).collect()
    };
    let (guests, strangers) = (open(&settings.listen)?, open(&settings.stranger_listen)?);
    let secure = settings.secure.as_ref().map(Encrypted::open).transpose()?;
    let seed = random_seed();
    let limits = settings.limits;
    let name = |text: &String| Name::from_text(text).ok_or_else(|| Error::Name(text.clone()));
    let mut ours = settings.own_addresses.clone();
    ours.extend(settings.listen.iter().chain(&settings.stranger_listen).map(SocketAddr::ip));
    ours.extend(settings.secure.iter().flat_map(|secure| secure.tls.iter().chain(&secure.https)).map(SocketAddr::ip));
    ours.extend(settings.portal.v4.map(IpAddr::V4).into_iter().chain(settings.portal.v6.map(IpAddr::V6)));
    let (time, tally) = (Time::new(), Tally::new());
    let upstreams = Upstreams::new(&settings.upstreams, time, &clock)?;
    let core = Arc::new(Core {
        views: Views::new(policy, clock),
        clients,
        cache: Cache::new(settings.cache_bytes, seed),
        locals: Locals::new(),
        targets: Targets::default(),
        rates: limits.rate.map(|rate| Rates::new(rate, seed)),
        cookies: Cookies::new(),
        novelty: limits.new_names.map(|limit| Novelty::new(limit, seed)),
        waiting: Places::new(limits.waiting, limits.waiting_per_client),
        portal: settings.portal,
        portal_name: settings.portal_name.as_ref().map(name).transpose()?,
        designation: secure.as_ref().and_then(Encrypted::designation),
        ours,
        private_names: settings.private_names.iter().map(name).collect::<Result<_, _>>()?,
        garden: Plot {
            names: settings.garden.names.iter().map(name).collect::<Result<_, _>>()?,
            opener: settings.garden.opener,
        },
        seed,
    });
    let flights = Arc::new(Flights::new(upstreams, tally.clone(), time));
    let shared = Arc::new(Shared {
        core,
        time,
        stopped: AtomicBool::new(false),
        tally: tally.clone(),
        flights,
        contact: settings.contact,
        organisation: settings.organisation,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("sheshi-dns-slow")
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    let connections = Places::new(limits.connections, limits.connections_per_client);
    let mut handle = Handle {
        shared,
        tallies: vec![tally],
        connections,
        threads: Vec::new(),
        listen: guests.iter().map(|bound| bound.address).collect(),
        stranger_listen: strangers.iter().map(|bound| bound.address).collect(),
        tls_listen: secure.as_ref().map(|secure| secure.addresses(&secure.tls)).unwrap_or_default(),
        https_listen: secure.as_ref().map(|secure| secure.addresses(&secure.https)).unwrap_or_default(),
        runtime: None,
    };
    let forward = handle.forward(&runtime)?;
    for (door, bound) in [(Door::Guests, guests), (Door::Strangers, strangers)] {
        for bound in bound {
            handle.serve(door, bound, &runtime, &forward)?;
        }
    }
    if let Some(secure) = secure {
        secure.serve(&handle.shared, &handle.connections, &runtime)?;
    }
    if settings.check_search_targets && !settings.upstreams.is_empty() {
        runtime.spawn(targets::watch(handle.shared.clone()));
    }
    handle.runtime = Some(runtime);
    Ok(handle)
}

impl Handle {
    /// Starts the thread that asks upstreams first.
    fn forward(&mut self, runtime: &tokio::runtime::Runtime) -> Result<Arc<Forward>, Error> {
        let (forward, woken) = Forward::new().map_err(Error::Thread)?;
        let (forward, tally) = (Arc::new(forward), Tally::new());
        self.tallies.push(tally.clone());
        let (shared, handed, slow) = (self.shared.clone(), forward.clone(), runtime.handle().clone());
        let thread = std::thread::Builder::new()
            .name("sheshi-dns-ask".into())
            .spawn(move || {
                // Made in its thread: questions under way are counted without atomics.
                match Forwarder::new(shared.clone(), handed, woken, slow, tally) {
                    Ok(mut forwarder) => udp::keep_serving(&shared.stopped, || forwarder.serve()),
                    Err(error) => error!(%error, "cannot ask upstreams in batches"),
                }
            })
            .map_err(Error::Thread)?;
        self.threads.push(thread);
        Ok(forward)
    }

    fn serve(
        &mut self,
        door: Door,
        bound: Bound,
        runtime: &tokio::runtime::Runtime,
        forward: &Arc<Forward>,
    ) -> Result<(), Error> {
        for socket in bound.udp {
            let (shared, socket, tally) = (self.shared.clone(), Arc::new(socket), Tally::new());
            let forward = forward.clone();
            let mut batch = Batch::new(&socket).map_err(|source| Error::Listen {
                address: bound.address,
                protocol: "UDP",
                source,
            })?;
            self.tallies.push(tally.clone());
            let thread = std::thread::Builder::new()
                .name("sheshi-dns-fast".into())
                .stack_size(512 * 1024)
                .spawn(move || {
                    udp::keep_serving(&shared.stopped, || {
                        udp::serve(&shared, &socket, &mut batch, door, &tally, &forward);
                    });
                })
                .map_err(Error::Thread)?;
            self.threads.push(thread);
        }
        let _inside = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(bound.tcp).map_err(|source| Error::Listen {
            address: bound.address,
            protocol: "TCP",
            source,
        })?;
        runtime.spawn(tcp::serve(self.shared.clone(), listener, door, self.connections.clone(), Carrier::Plain));
        Ok(())
    }
}

/// Opens an address: `threads` UDP sockets that share it, and TCP on the same port.
fn bind(address: SocketAddr, threads: usize) -> Result<Bound, Error> {
    // Port 0 is for tests and trials: UDP finds a port that TCP may not get, so a few are tried.
    let attempts = if address.port() == 0 { 16 } else { 1 };
    let mut failed = None;
    for _ in 0..attempts {
        match bind_once(address, threads) {
            Ok(bound) => return Ok(bound),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or(Error::NoListener))
}

fn bind_once(address: SocketAddr, threads: usize) -> Result<Bound, Error> {
    let udp_error = |source| Error::Listen { address, protocol: "UDP", source };
    let first = sockets::bind(address).map_err(udp_error)?;
    let found = first.local_addr().map_err(udp_error)?;
    let mut udp = vec![first];
    for _ in 1..threads {
        udp.push(sockets::bind(found).map_err(udp_error)?);
    }
    let tcp = listen(found).map_err(|source| Error::Listen { address: found, protocol: "TCP", source })?;
    Ok(Bound { address: found, udp, tcp })
}

pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the run before.
    socket.set_reuse_address(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(256)?;
    Ok(socket.into())
}

/// A number that guests cannot know: the standard library's hash keys are random for each process.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}
