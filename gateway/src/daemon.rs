//! The running gateway: starts the rooms in an order in which nothing is open too early, and keeps firewall, policy and
//! network in step until it is told to stop. Whatever fails here leaves the firewall as the guard holds it.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use sheshi_captive_portal::{Portal, SystemClock};
use sheshi_firewall::{Guard, Ipv6Mode};
use sheshi_lists::{ListState, ListStatus, LookUp};
use sheshi_policy::{Compiled, Directory, Mac, Moment};
use sheshi_protocol::client::ClientError;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use crate::{
    certifier,
    city::{self, City, CityError},
    commands::{Failure, failed, print},
    config::{self, Config},
    confine,
    control::{self, Reply, Request},
    dnsmasq,
    evidence_log::EvidenceLog,
    gate::{self, Doors},
    generations::{BuildError, Generations, Made},
    guests,
    impostors::Impostors,
    metrics,
    network::{Event, Network},
    notify,
    plan::{self, Plan, Seen, Trouble},
    probe::prober::Sight,
    report, resolve,
    status::{GuestLine, ListLine, NetworkStatus, PolicyStatus, Service, Status},
    subnet, subscriptions, watchdog,
};

/// How long the guard may take for one request.
const GUARD_TIME: Duration = Duration::from_secs(5);
/// The category whose addresses no guest reaches on port 443: resolvers and tunnels that lead round the filter.
const BYPASS: &str = "bypass";
/// How often guard and uplink are looked after when nothing happens.
const ROUND: Duration = Duration::from_secs(5);

/// `sheshi gateway`.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    resolve::raise_open_files();
    make_folders(&config)?;
    // Before there are threads: each inherits it.
    confine::enter(&config).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    runtime.block_on(serve(config))
}

fn make_folders(config: &Config) -> Result<(), Failure> {
    for folder in [&config.state, &config.run] {
        std::fs::create_dir_all(folder)
            .map_err(|error| failed(format!("make the folder {}: {error}", folder.display())))?;
    }
    Ok(())
}

/// `sheshi dnsmasq`.
pub fn dnsmasq(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let text = runtime.block_on(async {
        let (network, _events) = Network::start(&config.network.guests).await.map_err(failed)?;
        let seen = see(&config, &network);
        let none = || failed(format!("interface {} has no IPv4 address with room for guests", config.network.guests));
        let guests = seen.guests.as_ref().ok_or_else(none)?;
        let api = crate::advertise::api(&config);
        let dhcp = dnsmasq::Dhcp {
            interface: &config.network.guests,
            v4: subnet::v4(&guests.addresses).next().ok_or_else(none)?,
            v6: subnet::v6(&guests.addresses).next().filter(|_| config.network.ipv6 != config::Ipv6Choice::Off),
            lease: config.network.lease,
            advertise: config.network.advertise,
            api: api.as_deref(),
            lease_file: &config.run.join("leases"),
        };
        dnsmasq::render(&dhcp).ok_or_else(none)
    })?;
    print(&text)
}

fn see(config: &Config, network: &Network) -> Seen {
    Seen {
        guests: network.interface(&config.network.guests),
        uplinks: config.network.uplink.iter().filter_map(|name| network.interface(name)).collect(),
    }
}

/// What the tasks of the gateway share.
struct Gateway {
    config: Config,
    began: Instant,
    generations: Generations,
    /// The city's dashboard, when the configuration names one.
    city: Option<City>,
    network: Network,
    guard: Guard,
    /// The policy in force; one that allows nothing stands in while `in_force` is false.
    policy: Arc<ArcSwap<Compiled>>,
    in_force: Mutex<bool>,
    plan: watch::Sender<Plan>,
    portal: Portal,
    resolver: Arc<sheshi_resolver::Handle>,
    /// Troubles found by looking, by who found them; a finder replaces its own.
    found: Mutex<std::collections::BTreeMap<&'static str, Trouble>>,
    /// Who passes for us on the guest side.
    impostors: Mutex<Impostors>,
    /// How each list stands.
    lists: Arc<Mutex<Vec<ListStatus>>>,
    /// What is recorded of our own measurements, when the configuration asks for it.
    evidence: Option<Arc<EvidenceLog>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    /// Told when a person wants lists to be fetched now.
    fetch: tokio::sync::Notify,
    /// What is measured from the guest's side.
    sight: std::sync::OnceLock<Arc<Sight>>,
    /// One round of measuring at a time.
    measuring: Arc<tokio::sync::Mutex<()>>,
}

async fn serve(config: Config) -> Result<(), Failure> {
    // Whoever installs the package is not to wait for a guest side that has no address yet.
    notify::say("READY=1\nSTATUS=starting: nothing is forwarded that the kernel does not hold already");
    let waiting = tokio::spawn(watchdog::wait());
    let generations = Generations::open(&config.state, config.policy_key.clone())?;
    let (network, events) = Network::start(&config.network.guests).await.map_err(failed)?;
    let guard = meet_guard(&config).await;

    // The last good policy first: it is there in milliseconds, whatever has become of the sources.
    let mut start = generations.newest();
    let (mut refused, mut lists) = (None, Vec::new());
    if start.is_none() {
        match compile(&generations, &config).await {
            Ok(made) => (start, lists) = (made.compiled, made.lists),
            Err(error) => {
                tracing::error!("no policy can be put in force, so nothing is forwarded: {error}");
                refused = Some(Trouble::new(error.to_string(), "mend it, then run `sheshi reload`"));
            }
        }
    }
    let in_force = start.is_some();
    let policy = Arc::new(ArcSwap::from_pointee(start.map_or_else(empty_policy, Ok)?));

    let events = Mutex::new(events).into_inner().unwrap_or_else(PoisonError::into_inner);
    let (plan, events) = first_plan(&config, &network, in_force.then(|| policy.load_full()), events).await;
    apply(&guard, &plan).await;

    let directory = Arc::new(ArcSwap::from_pointee(Directory::default()));
    let mut settings = config.portal.clone();
    settings.addresses.clone_from(&plan.addresses);
    let doors = Doors { guard: guard.clone(), limits: config.guests };
    let portal = Portal::open(
        settings,
        Arc::new(doors.clone()),
        Arc::new(network.clone()),
        Arc::clone(&directory),
        Arc::clone(&policy),
        Arc::new(SystemClock),
    )
    .map_err(failed)?;
    restore(&guard, &portal).await;
    let (resolver, unread) =
        resolve::start_for_guests(&config, &plan.addresses, Arc::clone(&policy), directory, Arc::new(doors.clone()))
            .map_err(failed)?;

    let evidence = config.evidence.as_ref().map(|settings| EvidenceLog::open(&config, settings));
    let evidence = evidence.transpose()?.map(Arc::new);
    let resolver = Arc::new(resolver);
    let city = config.city.clone().map(|settings| City::open(&config, settings, look_up(&resolver)));
    let gateway = Arc::new(Gateway {
        evidence,
        began: Instant::now(),
        city: city.transpose().map_err(failed)?,
        generations,
        network,
        guard,
        policy,
        in_force: Mutex::new(in_force),
        plan: watch::Sender::new(plan),
        portal,
        resolver,
        found: Mutex::default(),
        impostors: Mutex::default(),
        lists: Arc::default(),
        reloading: tokio::sync::Mutex::default(),
        fetch: tokio::sync::Notify::new(),
        sight: std::sync::OnceLock::new(),
        measuring: Arc::default(),
        config,
    });
    gateway.note_lists(lists);
    gateway.note_pinned();
    gateway.find("encrypted DNS", unread);
    if let Some(trouble) = refused {
        gateway.find("policy", Some(trouble));
    }
    waiting.abort();
    gateway.run(events, in_force).await
}

/// Waits for the guard: without it there is nothing to serve for, and the kernel holds what it last put in force.
async fn meet_guard(config: &Config) -> Guard {
    let mut told = false;
    loop {
        let path = config.guard.clone();
        let met =
            tokio::task::spawn_blocking(move || Guard::connect(path, GUARD_TIME)).await.expect("it does not panic");
        match met {
            Ok(guard) => return guard,
            Err(error) => {
                if !told {
                    tracing::warn!("waiting for the guard: {error}");
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A policy with no list and no group opens nothing; it only lets resolver and portal stand while guests are strangers.
fn empty_policy() -> Result<Compiled, Failure> {
    let policy = sheshi_policy::Spec::blocking([]).check().map_err(failed)?;
    let bytes = sheshi_policy::compile(&policy, &[], &mut |_| ()).map_err(failed)?;
    Compiled::from_bytes(bytes).map_err(failed)
}

async fn compile(generations: &Generations, config: &Config) -> Result<Made, BuildError> {
    let (generations, policy) = (generations.clone(), config.policy.clone());
    let work = move || generations.make(&policy, &mut crate::commands::progress());
    tokio::task::spawn_blocking(work).await.expect("compiling does not panic")
}

/// Waits until the guest side has an address: the portal needs one to answer at. Until then the guard keeps all closed.
async fn first_plan(
    config: &Config,
    network: &Network,
    policy: Option<Arc<Compiled>>,
    mut events: mpsc::Receiver<Event>,
) -> (Plan, mpsc::Receiver<Event>) {
    let mut told = false;
    loop {
        let plan = plan::plan(config, &see(config, network), policy.as_deref().map(closing));
        if !plan.addresses.is_empty() {
            return (plan, events);
        }
        if !std::mem::replace(&mut told, true) {
            for trouble in &plan.troubles {
                tracing::warn!("waiting for the guest side: {}; fix: {}", trouble.what, trouble.fix);
            }
        }
        let _ = tokio::time::timeout(ROUND, events.recv()).await;
    }
}

/// What the firewall needs of a policy.
fn closing(policy: &Compiled) -> (u64, Vec<sheshi_firewall::Network>) {
    // Whoever the clock or a schedule would let round the filter now is not let: the rules stand for longer than a minute.
    let view = policy.view(sheshi_policy::GroupId(0), Moment::Unknown);
    (policy.generation(), policy.closed_networks(BYPASS, &view))
}

async fn apply(guard: &Guard, plan: &Plan) -> bool {
    let rules = plan.rules.clone();
    match gate::ask(guard, move |guard| guard.apply(&rules)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!("the firewall keeps what it had: {error}");
            false
        }
    }
}

/// The kernel's sets of admitted guests outlive us: they are taken up again, so that a restart logs nobody out.
async fn restore(guard: &Guard, portal: &Portal) {
    let kernel: Vec<(Mac, IpAddr, Duration)> = loop {
        match gate::ask(guard, Guard::guests).await {
            Ok(guests) => break guests.into_iter().map(|guest| (guest.mac, guest.address, guest.left)).collect(),
            Err(error) => {
                tracing::error!("who is admitted cannot be learned from the guard: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    if let Err(error) = portal.restore(kernel).await {
        tracing::error!("sessions could not be taken up again: {error}");
    }
}

impl Gateway {
    async fn run(self: Arc<Self>, mut events: mpsc::Receiver<Event>, refresh: bool) -> Result<(), Failure> {
        let (stop, stopped) = watch::channel(());
        let mut services = tokio::task::JoinSet::new();
        for (port, tls) in [(Some(self.config.portal.port), false), (self.config.portal_tls, true)] {
            let Some(port) = port else { continue };
            for address in self.plan.borrow().addresses.clone() {
                let listener = listen(SocketAddr::new(address, port))?;
                let (portal, mut stopped) = (self.portal.clone(), stopped.clone());
                services.spawn(async move {
                    let stop = async move { drop(stopped.changed().await) };
                    if !tls {
                        portal.serve(listener, stop).await;
                    } else if let Err(error) = portal.serve_tls(listener, stop).await {
                        tracing::error!("the portal's API over TLS is off: {error}");
                    }
                });
            }
        }
        if let Some(listen) = self.config.metrics {
            metrics::start(listen).map_err(failed)?;
        }
        let (gateway, path) = (Arc::clone(&self), self.config.control.clone());
        let control = tokio::spawn(async move {
            let answer = move |request| {
                let gateway = Arc::clone(&gateway);
                async move { gateway.answer(request).await }
            };
            if let Err(error) = control::serve(&path, answer).await {
                tracing::error!("the control socket {} is off: {error}", path.display());
            }
        });
        let gateway = Arc::clone(&self);
        let city = tokio::spawn(async move {
            if let Some(city) = &gateway.city {
                gateway.call(city).await;
            }
        });
        if refresh {
            // What was in force is; whether the sources say something newer is looked at now.
            let gateway = Arc::clone(&self);
            tokio::spawn(async move { drop(gateway.reload().await) });
        }
        let gateway = Arc::clone(&self);
        let fetching = tokio::spawn(async move { gateway.subscribe().await });
        self.measure();
        let threads = self.config.dns.threads;
        let addresses = self.plan.borrow().addresses.clone();
        tokio::spawn(watchdog::run(addresses, self.config.portal.name.clone(), threads));
        notify::say("STATUS=guests are served");
        tracing::info!(site = self.config.site, generation = self.policy.load().generation(), "the gateway is up");

        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut round = tokio::time::interval(ROUND);
        let end = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Neighbour(mac, address)) => self.neighbour(mac, address).await,
                    Some(Event::Addresses) => {
                        // Interfaces change in bursts; the last word counts.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        if let Err(moved) = self.replan().await {
                            break Err(moved);
                        }
                    }
                    None => break Err(failed("the kernel's network events have ended")),
                },
                _ = second.tick() => {
                    self.portal.tick().await;
                    self.end_spent().await;
                }
                _ = round.tick() => self.look_round().await,
                _ = hangup.recv() => {
                    let gateway = Arc::clone(&self);
                    tokio::spawn(async move { drop(gateway.renew().await) });
                }
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
            }
        };
        control.abort();
        fetching.abort();
        city.abort();
        let _ = std::fs::remove_file(&self.config.control);
        drop(stop);
        drop(stopped);
        while services.join_next().await.is_some() {}
        tracing::info!("the gateway ends; the firewall stays in force and admitted guests stay admitted");
        end
    }

    /// Starts measuring from the guest's side, where the configuration says so.
    fn measure(&self) {
        let (Some(settings), Some(log)) = (&self.config.probes, &self.evidence) else { return };
        let sight = Sight::new(
            self.config.clone(),
            settings.clone(),
            self.guard.clone(),
            Arc::clone(&self.policy),
            self.plan.subscribe(),
            Arc::clone(&self.lists),
            self.generations.clone(),
            self.portal.clone(),
            self.network.clone(),
            Arc::clone(log),
        );
        match sight {
            Ok(sight) => {
                let sight = self.sight.get_or_init(|| Arc::new(sight));
                tokio::spawn(Arc::clone(sight).run(Arc::clone(&self.measuring)));
            }
            Err(error) => self.find(
                "evidence",
                Some(Trouble::new(
                    format!("nothing is measured: {error}"),
                    "mend the log, then restart sheshi-gateway",
                )),
            ),
        }
    }

    fn find(&self, finder: &'static str, trouble: Option<Trouble>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            None => drop(found.remove(finder)),
            Some(trouble) => {
                if found.get(finder) != Some(&trouble) {
                    tracing::warn!("{}; fix: {}", trouble.what, trouble.fix);
                }
                found.insert(finder, trouble);
            }
        }
    }

    /// Whether the guard took the rules; when it did not, somebody is told.
    async fn put_in_force(&self, plan: &Plan) -> bool {
        let applied = apply(&self.guard, plan).await;
        let trouble =
            || Trouble::new("the guard refused the rules, and keeps what it had", "see the log of sheshi-guard");
        self.find("rules", (!applied).then(trouble));
        applied
    }

    /// An admitted device under a new address is admitted there too: IPv6 devices change theirs by the hour.
    async fn neighbour(&self, mac: Mac, address: IpAddr) {
        if let Err(error) = self.portal.new_address(mac, address).await {
            tracing::warn!("a guest's new address was not admitted: {error}");
        }
    }

    /// Fits the firewall to what the interfaces have become.
    async fn replan(&self) -> Result<(), Failure> {
        let policy = self.in_force.lock().unwrap_or_else(PoisonError::into_inner).then(|| closing(&self.policy.load()));
        let plan = plan::plan(&self.config, &see(&self.config, &self.network), policy);
        let old = self.plan.borrow().clone();
        if plan == old {
            return Ok(());
        }
        for trouble in plan.troubles.iter().filter(|trouble| !old.troubles.contains(trouble)) {
            tracing::warn!("{}; fix: {}", trouble.what, trouble.fix);
        }
        self.put_in_force(&plan).await;
        let moved = !plan.addresses.is_empty() && plan.addresses != old.addresses;
        self.plan.send_replace(plan);
        // Listeners, portal and resolver are bound to the old addresses: a fresh start is the one way that leaves nothing behind.
        if moved { Err(failed("the guest side has other addresses now: starting anew")) } else { Ok(()) }
    }

    /// Puts the newest policy in force: firewall first, in one transaction, then the resolver, which cannot fail.
    async fn reload(&self) -> Result<u64, BuildError> {
        let _one = self.reloading.lock().await;
        match compile(&self.generations, &self.config).await {
            Ok(Made { compiled, lists }) => {
                self.note_lists(lists);
                // What the guard refused the last time, or a person went back from, may be waiting.
                if let Some(compiled) = compiled.or_else(|| self.generations.newest()) {
                    self.take_over(compiled).await;
                }
            }
            Err(error) => {
                let trouble = Trouble::new(
                    format!("the policy was refused, the last good one holds: {error}"),
                    "mend it, then run `sheshi reload`",
                );
                self.find("policy", Some(trouble));
                return Err(error);
            }
        }
        self.find("policy", None);
        self.note_pinned();
        Ok(self.policy.load().generation())
    }

    /// Puts a policy in force unless it is: firewall first, in one transaction, then the resolver, which cannot fail.
    async fn take_over(&self, compiled: Compiled) {
        let in_force = *self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if in_force && compiled.digest() == self.policy.load().digest() {
            return;
        }
        let compiled = Arc::new(compiled);
        let plan = plan::plan(&self.config, &see(&self.config, &self.network), Some(closing(&compiled)));
        if self.put_in_force(&plan).await {
            self.plan.send_replace(plan);
            self.policy.store(Arc::clone(&compiled));
            *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = true;
            tracing::info!(generation = compiled.generation(), "another policy is in force");
        }
    }

    /// A person wants what the sources say now, whatever was decided before.
    async fn renew(&self) -> Result<u64, BuildError> {
        self.generations.forward()?;
        let renewed = self.reload().await;
        self.fetch.notify_one();
        renewed
    }

    /// A person goes back to an older generation.
    async fn roll_back(&self, to: Option<u64>) -> Result<u64, BuildError> {
        let _one = self.reloading.lock().await;
        let compiled = self.generations.back(self.policy.load().generation(), to)?;
        self.take_over(compiled).await;
        self.note_pinned();
        Ok(self.policy.load().generation())
    }

    fn note_pinned(&self) {
        let pinned = self.generations.pinned().map(|generation| {
            Trouble::new(
                format!("a person went back to generation {generation}: newer ones wait"),
                "when the newest may come into force again, `sheshi reload`",
            )
        });
        self.find("rollback", pinned);
    }

    fn note_lists(&self, lists: Vec<ListStatus>) {
        let held = lists.iter().find_map(|list| match &list.state {
            ListState::Held { reason, .. } => Some(Trouble::new(
                format!("a new edition of list {} is held, the last good one is in force: {reason}", list.name),
                format!("look at the list; if it is right, `sheshi approve {}`", list.name),
            )),
            ListState::Current => None,
        });
        self.find("lists", held);
        *self.lists.lock().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    /// Keeps lists by URL up to date for as long as it is polled.
    async fn subscribe(self: Arc<Self>) {
        let keeper = self.generations.keeper();
        let fetcher = subscriptions::fetcher(keeper.clone(), look_up(&self.resolver));
        let told = subscriptions::teller();
        let mut at_once = false;
        loop {
            let mut next = subscriptions::LATER;
            if let Some((policy, round)) = subscriptions::round(&fetcher, &self.config.policy, at_once, &told).await {
                next = round.next;
                if !round.arrived.is_empty() {
                    // What was refused has been told.
                    let _ = self.reload().await;
                }
                for list in self.lists.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                    let of = policy.lists.iter().find(|of| *of.name == *list.name);
                    list.subscription = of.and_then(|of| keeper.subscription(of));
                }
                self.find("fetch", subscriptions::trouble(&policy, &keeper));
            }
            at_once = tokio::time::timeout(next, self.fetch.notified()).await.is_ok();
        }
    }

    /// A person lets the held edition of a list go live.
    async fn approve(&self, list: &str) -> Result<u64, BuildError> {
        let held =
            self.lists.lock().unwrap_or_else(PoisonError::into_inner).iter().find_map(|other| match &other.state {
                ListState::Held { digest, .. } if other.name == list && !digest.is_empty() => Some(digest.clone()),
                _ => None,
            });
        let digest = held.ok_or_else(|| BuildError::NothingHeld(list.into()))?;
        self.generations.approve(&self.config.policy, list, &digest)?;
        self.reload().await
    }

    /// What no event tells: whether the guard lives and holds what we want, whether there is a way out, how full the pool is.
    async fn look_round(&self) {
        let guard = match gate::ask(&self.guard, Guard::health).await {
            Err(error) => {
                Some(Trouble::new(format!("the guard does not answer: {error}"), "systemctl restart sheshi-guard"))
            }
            Ok(health) => {
                let plan = self.plan.borrow().clone();
                if health.generation != plan.rules.generation || health.closed != plan.rules.closed || !health.in_force
                {
                    self.put_in_force(&plan).await;
                }
                let mut impostors = self.impostors.lock().unwrap_or_else(PoisonError::into_inner);
                let seen = impostors.note(&health, Instant::now());
                drop(impostors);
                self.find("impostors", seen);
                None
            }
        };
        if guard.is_none() {
            self.readmit().await;
        }
        self.find("guard", guard);
        let routes = self.network.default_routes().await.unwrap_or((false, false));
        let uplink = routes.0 || routes.1;
        let closed = self.plan.borrow().rules.closed;
        self.portal.set_uplink(uplink && !closed);
        self.find(
            "uplink",
            (!uplink).then(|| {
                Trouble::new("there is no default route", "connect the uplink, and see that it gets an address")
            }),
        );
        self.find("upstreams", resolve::upstream_trouble(&self.resolver));
        let (used, size) = self.leases();
        self.find("leases", plan::pool_trouble(used, size));
        self.find("objections", self.overdue_objections());
        if self.config.metrics.is_some() {
            metrics::note(&self.status().await);
        }
    }

    /// Rules that somebody flushed while the guard was away took the admitted with them; their sessions are here.
    async fn readmit(&self) {
        let Ok(kernel) = gate::ask(&self.guard, Guard::guests).await else { return };
        let kernel: HashSet<(Mac, IpAddr)> = kernel.into_iter().map(|guest| (guest.mac, guest.address)).collect();
        // Asked after the guests: whoever is gone from them because its data is used up is named by this.
        let Ok(spent) = gate::ask(&self.guard, Guard::spent).await else { return };
        for session in self.portal.sessions().into_iter().filter(|session| !spent.contains(&session.mac)) {
            let (mac, left) = (session.mac, session.left);
            let lost: Vec<_> =
                session.addresses.into_iter().filter(|address| !kernel.contains(&(mac, *address))).collect();
            // What is about to expire may be gone from the kernel a moment earlier.
            if lost.is_empty() || left < ROUND {
                continue;
            }
            let limits = self.config.guests;
            let admitted = gate::ask(&self.guard, move |guard| guard.admit_within(mac, &lost, left, limits)).await;
            if let Err(error) = admitted {
                tracing::warn!("a guest whom the kernel has lost was not admitted again: {error}");
            }
            // Whoever was expelled meanwhile must not be back in by this.
            if !self.portal.sessions().iter().any(|session| session.mac == mac) {
                let _ = gate::ask(&self.guard, move |guard| guard.expel(mac)).await;
            }
        }
    }

    /// Ends the sessions of devices whose data is used up; the guard has shut them out already.
    async fn end_spent(&self) {
        if self.config.guests.data.is_none() {
            return;
        }
        for mac in gate::ask(&self.guard, Guard::spent).await.unwrap_or_default() {
            match self.portal.expel(mac).await {
                Ok(true) => {}
                // Without a session nobody else tells the guard that it is over.
                Ok(false) => drop(gate::ask(&self.guard, move |guard| guard.expel(mac)).await),
                Err(error) => tracing::warn!("a session whose data is used up was not ended: {error}"),
            }
        }
    }

    fn overdue_objections(&self) -> Option<Trouble> {
        let now = jiff::Timestamp::now().as_second();
        let waits = |objection: &sheshi_captive_portal::Objection| objection.decision.is_none();
        let objections = self.portal.objections();
        let overdue = objections.iter().filter(|other| waits(other) && other.decide_by.is_some_and(|by| by < now));
        let count = overdue.count();
        (count > 0).then(|| {
            Trouble::new(
                format!("{count} objections were to be decided by now"),
                "look at `sheshi objections`, and answer them",
            )
        })
    }

    /// Calls the city once a minute, for as long as we run.
    async fn call(&self, city: &City) {
        let mut minute = tokio::time::interval(city::EVERY);
        minute.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            minute.tick().await;
            let report = city::report(&self.status().await);
            let outcome = city.round(&report).await;
            self.find("city", city.trouble(outcome.as_ref().err()));
        }
    }

    fn leases(&self) -> (u32, u32) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let text = std::fs::read_to_string(self.config.run.join("leases")).unwrap_or_default();
        let seen = see(&self.config, &self.network);
        let range = seen.guests.as_ref().and_then(|guests| subnet::v4(&guests.addresses).next());
        // The gateway's own guest takes an address from nobody.
        let ours = |line: &&str| {
            let mac = line.split_ascii_whitespace().nth(1).and_then(|mac| mac.parse().ok());
            !mac.is_some_and(|mac| self.portal.is_synthetic(mac))
        };
        let text: String = text.lines().filter(ours).map(|line| format!("{line}\n")).collect();
        (dnsmasq::leases(&text, now), range.map_or(0, |range| range.pool_size()))
    }

    async fn answer(&self, request: Request) -> Reply {
        fn done(value: impl serde::Serialize) -> Reply {
            serde_json::to_value(value).map_or_else(|error| Reply::Failed(error.to_string()), Reply::Done)
        }
        match request {
            Request::Status => done(self.status().await),
            Request::Guests => done(
                self.portal
                    .sessions()
                    .into_iter()
                    .filter(|session| !self.portal.is_synthetic(session.mac))
                    .map(|session| GuestLine {
                        mac: session.mac,
                        group: session.group.to_string(),
                        addresses: session.addresses,
                        left: session.left.as_secs(),
                    })
                    .collect::<Vec<_>>(),
            ),
            Request::Expel { mac } => match self.portal.expel(mac).await {
                Ok(true) => done(()),
                Ok(false) => Reply::Refused(format!("{mac} has no session: `sheshi guests` lists those who have")),
                Err(error) => Reply::Failed(error.to_string()),
            },
            Request::About(ask) => {
                guests::answer(&self.portal, &self.config.portal, &self.policy.load_full(), ask).await
            }
            Request::Objections => done(self.portal.objections()),
            Request::Decide { number, granted, answer } => {
                let portal = self.portal.clone();
                let decide = move || portal.decide(&number, granted, &answer).map(|known| (known, number));
                match tokio::task::spawn_blocking(decide).await {
                    Ok(Ok((true, _))) => done(()),
                    Ok(Ok((false, number))) => {
                        Reply::Refused(format!("there is no objection {number}: `sheshi objections` lists them"))
                    }
                    Ok(Err(error)) => Reply::Failed(error.to_string()),
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Request::Join { code } => match &self.city {
                None => Reply::Refused(CityError::NoCity.to_string()),
                Some(city) => match city.claim(&code).await {
                    Ok(status) => {
                        self.find("city", city.trouble(None));
                        done(status)
                    }
                    Err(error @ CityError::Asked(ClientError::Refused { .. })) => Reply::Refused(error.to_string()),
                    Err(error) => Reply::Failed(error.to_string()),
                },
            },
            Request::Probe { controls } => match self.sight.get() {
                Some(sight) => done(sight.measure_now(&controls, &self.measuring).await),
                None => Reply::Refused("nothing is measured here: add [probes] to the configuration".into()),
            },
            Request::Record { attempt } => match self.sight.get() {
                Some(sight) => match sight.take(*attempt) {
                    Ok(()) => done(()),
                    Err(error) => Reply::Failed(error.to_string()),
                },
                None => Reply::Refused("nothing is measured here: add [probes] to the configuration".into()),
            },
            Request::Reload | Request::Approve { .. } | Request::Rollback { .. } => match match &request {
                Request::Approve { list } => self.approve(list).await,
                Request::Rollback { generation } => self.roll_back(*generation).await,
                _ => self.renew().await,
            } {
                Ok(generation) => done(generation),
                Err(error) if error.is_refusal() => Reply::Refused(error.to_string()),
                Err(error) => Reply::Failed(error.to_string()),
            },
            Request::Paper { paper } => {
                let Some(log) = self.evidence.clone() else {
                    return Reply::Refused(
                        "this gateway records no evidence: its configuration has no [evidence]".into(),
                    );
                };
                match tokio::task::spawn_blocking(move || certifier::enter(&log, *paper)).await {
                    Ok(Ok(seq)) => done(seq),
                    Ok(Err(Failure::Refused(text))) => Reply::Refused(text),
                    Ok(Err(Failure::Failed(text))) => Reply::Failed(text),
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
            Request::Report { from, to, profile } => {
                let Some(log) = self.evidence.clone() else {
                    return Reply::Refused(
                        "this gateway records no evidence: its configuration has no [evidence]".into(),
                    );
                };
                // Reads the log and waits for the disk.
                let make = move || report::answer(&log, &from, &to, profile.as_deref());
                match tokio::task::spawn_blocking(make).await {
                    Ok(Ok(made)) => done(made),
                    Ok(Err(Failure::Refused(text))) => Reply::Refused(text),
                    Ok(Err(Failure::Failed(text))) => Reply::Failed(text),
                    Err(error) => Reply::Failed(error.to_string()),
                }
            }
        }
    }

    async fn status(&self) -> Status {
        let plan = self.plan.borrow().clone();
        let policy = self.policy.load_full();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect::<Vec<_>>();
        let in_force = *self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = self.lists.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let subscription = |standing: Option<&ListStatus>| standing.and_then(|standing| standing.subscription.clone());
        let list = |list: &sheshi_policy::ListInfo| {
            let standing = standing.iter().find(|standing| standing.name == *list.name);
            ListLine {
                name: list.name.to_string(),
                category: list.category.map(|category| policy.categories()[usize::from(category.0)].name.to_string()),
                edition: list.edition.to_string(),
                entries: list.entries,
                refused: list.refused.iter().map(|(_, count)| count).sum(),
                refused_by: list.refused.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
                held: standing.and_then(|standing| match &standing.state {
                    ListState::Held { reason, .. } => Some(reason.clone()),
                    ListState::Current => None,
                }),
                unreachable: subscription(standing).and_then(|known| known.error.clone()),
                failures: subscription(standing).map_or(0, |known| known.failures),
                stale: standing.is_some_and(|standing| standing.is_stale(SystemTime::now())),
            }
        };
        let firewall = gate::ask(&self.guard, Guard::health).await.ok();
        // What the kernel holds counts, not what we wanted it to hold.
        let closed = plan.rules.closed || firewall.as_ref().is_some_and(|health| health.closed);
        let gone = self.resolver.missing_search_targets().into_iter();
        let unsafe_engines = gone.map(|target| {
            let what = format!(
                "{target}, the safe mode of a search engine, does not exist: the engine is blocked until it does"
            );
            Trouble::new(
                what,
                "ask the upstreams for it; leave the engine out of [safe_search] if its safe mode is gone for good",
            )
        });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            site: self.config.site.clone(),
            running: self.began.elapsed().as_secs(),
            service: if closed { Service::Closed } else { Service::Open },
            troubles: plan.troubles.iter().cloned().chain(found).chain(unsafe_engines).collect(),
            policy: in_force.then(|| PolicyStatus {
                generation: policy.generation(),
                digest: crate::commands::hex(&policy.digest()),
                lists: policy.lists().iter().map(list).collect(),
            }),
            city: self.city.as_ref().map(City::status),
            network: NetworkStatus {
                addresses: plan.addresses,
                ipv6: match plan.rules.ipv6 {
                    Ipv6Mode::Routed => "routed",
                    Ipv6Mode::Nat66 => "nat66",
                    Ipv6Mode::Off => "off",
                }
                .into(),
                leases: self.leases(),
            },
            firewall,
            evidence: self.sight.get().and_then(|sight| sight.standing()),
            portal: serde_json::to_value(self.portal.stats()).unwrap_or_default(),
            dns: serde_json::to_value(self.resolver.stats()).unwrap_or_default(),
        }
    }
}

/// Looks names up for the gateway itself: at its upstreams, and not through the guests' filter.
fn look_up(resolver: &Arc<sheshi_resolver::Handle>) -> LookUp {
    let resolver = Arc::clone(resolver);
    Arc::new(move |name: String| {
        let resolver = Arc::clone(&resolver);
        Box::pin(async move { resolver.look_up(&name).await.map_err(|error| error.to_string()) })
    })
}

/// A listener on one of our addresses on the guest side.
fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bind = || {
        let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
        // A predecessor that was killed leaves connections in TIME_WAIT, which must not be in our way.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    bind().map_err(|error| failed(format!("listen on {address}: {error}")))
}
