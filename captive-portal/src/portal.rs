//! The portal's state and what can be done to it: admit, expel, extend to a new address, restore, tick.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use sheshi_policy::{Compiled, Directory, GroupId, Mac, Moment, View};

use crate::{
    Clock, Consent, Error, Gate, Neighbours, SessionInfo, Settings,
    book::{Book, Session},
    keys::{self, Keys, Purpose},
    store::{Admission, Store},
    words::Words,
};

/// How long the firewall may take to answer.
const GATE_TIME: Duration = Duration::from_secs(5);
/// How often old records are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// The captive portal. A handle: clones are the same portal.
#[derive(Clone)]
pub struct Portal(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    gate: Arc<dyn Gate>,
    neighbours: Arc<dyn Neighbours>,
    directory: Arc<ArcSwap<Directory>>,
    pub(crate) compiled: Arc<ArcSwap<Compiled>>,
    clock: Arc<dyn Clock>,
    keys: Keys,
    store: Store,
    book: Mutex<Book>,
    /// One lock a device: what is done to a device is done one after the other, what is done to two at the same time.
    locks: Mutex<HashMap<Mac, Arc<tokio::sync::Mutex<()>>>>,
    uplink: AtomicBool,
    purged: Mutex<Option<Instant>>,
    pub(crate) counts: Counts,
}

/// What happened since the start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) admitted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) undone: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) expelled: AtomicU64,
    pub(crate) probes: AtomicU64,
    pub(crate) redirects: AtomicU64,
    pub(crate) blocked: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
}

/// Numbers for metrics and health. None of them is of a device or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Sessions now.
    pub sessions: u64,
    /// Admitted addresses now.
    pub addresses: u64,
    /// Open connections now.
    pub open_connections: u64,
    /// Admissions since the start.
    pub admitted: u64,
    /// Requests for admission that were not granted, for want of a token, a device or a place.
    pub refused: u64,
    /// Admissions that were undone because the firewall or the database failed.
    pub undone: u64,
    /// Sessions that came to their end.
    pub expired: u64,
    /// Sessions that a guest or an admin ended.
    pub expelled: u64,
    /// OS probes answered.
    pub probes: u64,
    /// Requests led to the portal.
    pub redirects: u64,
    /// Block pages shown.
    pub blocked: u64,
    /// Connections turned away because too many were open.
    pub connections_refused: u64,
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// No neighbour has this address.
    Unknown,
    /// A device without a session.
    Stranger(Mac),
    /// A device with a session that lasts this long.
    Guest(Mac, Duration),
}

impl Who {
    pub(crate) fn mac(self) -> Option<Mac> {
        match self {
            Self::Unknown => None,
            Self::Stranger(mac) | Self::Guest(mac, _) => Some(mac),
        }
    }
}

impl Portal {
    /// Opens the portal: checks the settings, loads the key and opens the database. Nobody is admitted until
    /// [`restore`](Self::restore) has been called.
    pub fn open(
        settings: Settings,
        gate: Arc<dyn Gate>,
        neighbours: Arc<dyn Neighbours>,
        directory: Arc<ArcSwap<Directory>>,
        compiled: Arc<ArcSwap<Compiled>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let problems = settings.check();
        if !problems.is_empty() {
            return Err(Error::Settings(problems));
        }
        let keys = Keys::load(&settings.run, clock.instant())?;
        let store = Store::open(&settings.database)?;
        Ok(Self(Arc::new(Inner {
            settings,
            gate,
            neighbours,
            directory,
            compiled,
            clock,
            keys,
            store,
            book: Mutex::default(),
            locks: Mutex::default(),
            uplink: AtomicBool::new(true),
            purged: Mutex::default(),
            counts: Counts::default(),
        })))
    }

    /// Takes up the sessions again after a restart. `kernel` is what its sets of admitted guests hold; their timeouts are
    /// the truth of how long. What the kernel no longer has is closed; what it has and was never recorded is expelled.
    pub async fn restore(&self, kernel: Vec<(Mac, IpAddr, Duration)>) -> Result<(), Error> {
        let inner = &self.0;
        let now = inner.now();
        let mut recorded: HashMap<_, _> = inner.store.sessions().await?.into_iter().collect();
        let mut devices: HashMap<Mac, Session> = HashMap::new();
        let mut unrecorded = Vec::new();
        for (mac, address, left) in kernel {
            let until = now + left;
            if let Some(session) = devices.get_mut(&mac) {
                session.until = session.until.max(until);
                session.addresses.push(address.to_canonical());
            } else if let Some(group) = recorded.remove(&inner.keys.pseudonym(mac)) {
                let addresses = vec![address.to_canonical()];
                devices.insert(mac, Session { group: group.into(), addresses, until });
            } else if !unrecorded.contains(&mac) {
                unrecorded.push(mac);
            }
        }
        tracing::info!(
            restored = devices.len(),
            closed = recorded.len(),
            unrecorded = unrecorded.len(),
            "sessions restored"
        );
        {
            let mut book = inner.book();
            for (mac, session) in devices {
                book.begin(mac, session);
            }
            inner.publish(&book);
        }
        for mac in unrecorded {
            let _held = inner.lock(mac).await;
            // A failure is owed, and tried again at each tick.
            let _ = inner.shut(mac).await;
        }
        for pseudonym in recorded.into_keys() {
            inner.store.close(pseudonym).await?;
        }
        Ok(())
    }

    /// A device has been seen under an address. That of an admitted device is admitted too, for the time it has left.
    /// Whether it now is admitted.
    pub async fn new_address(&self, mac: Mac, address: IpAddr) -> Result<bool, Error> {
        self.0.new_address(mac, address.to_canonical()).await
    }

    /// Ends sessions that are over, tries again what the firewall failed to do, deletes old records. To be called about
    /// once a second.
    pub async fn tick(&self) {
        let inner = &self.0;
        let over = inner.book().over(inner.now());
        for mac in over {
            let _held = inner.lock(mac).await;
            if inner.book().live(mac, inner.now()).is_some() {
                continue;
            }
            if let Err(error) = inner.end(mac).await {
                tracing::warn!("ending a session that is over: {error}");
            }
            inner.counts.expired.fetch_add(1, Relaxed);
        }
        let owed = inner.book().take_owed();
        for mac in owed {
            let _held = inner.lock(mac).await;
            if inner.book().live(mac, inner.now()).is_none() {
                let _ = inner.shut(mac).await;
            }
        }
        inner.purge().await;
    }

    /// Ends a device's session at once. Whether it had one. The firewall is asked in any case.
    pub async fn expel(&self, mac: Mac) -> Result<bool, Error> {
        self.0.expel(mac).await
    }

    /// All sessions, in the order of devices.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let now = self.0.now();
        let mut sessions: Vec<_> = self
            .0
            .book()
            .iter()
            .filter(|(_, session)| session.until > now)
            .map(|(mac, session)| SessionInfo {
                mac,
                group: (*session.group).into(),
                addresses: session.addresses.clone(),
                left: session.until - now,
            })
            .collect();
        sessions.sort_by_key(|session| session.mac);
        sessions
    }

    /// The records of consent that are kept, oldest first.
    pub async fn consents(&self) -> Result<Vec<Consent>, Error> {
        self.0.store.consents().await
    }

    /// Says whether the uplink works. While it does not, the pages say so.
    pub fn set_uplink(&self, works: bool) {
        self.0.uplink.store(works, Relaxed);
    }

    /// Numbers for metrics and health.
    pub fn stats(&self) -> Stats {
        let counts = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Relaxed);
        let (sessions, addresses) = {
            let book = self.0.book();
            (book.len(), book.iter().map(|(_, session)| session.addresses.len()).sum::<usize>())
        };
        Stats {
            sessions: sessions as u64,
            addresses: addresses as u64,
            open_connections: read(&counts.connections),
            admitted: read(&counts.admitted),
            refused: read(&counts.refused),
            undone: read(&counts.undone),
            expired: read(&counts.expired),
            expelled: read(&counts.expelled),
            probes: read(&counts.probes),
            redirects: read(&counts.redirects),
            blocked: read(&counts.blocked),
            connections_refused: read(&counts.connections_refused),
        }
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Instant {
        self.clock.instant()
    }

    pub(crate) fn uplink_works(&self) -> bool {
        self.uplink.load(Relaxed)
    }

    pub(crate) fn mac(&self, peer: IpAddr) -> Option<Mac> {
        self.neighbours.mac(peer)
    }

    /// Who has this address, by the neighbour table and nothing else. A guest who shows up under an address that is not
    /// admitted yet gets it admitted: the event of the neighbour table may be late.
    pub(crate) async fn who(&self, peer: IpAddr) -> Who {
        let Some(mac) = self.mac(peer) else { return Who::Unknown };
        let now = self.now();
        let found = self.book().live(mac, now).map(|session| (session.until - now, session.addresses.contains(&peer)));
        match found {
            None => Who::Stranger(mac),
            Some((left, true)) => Who::Guest(mac, left),
            Some((left, false)) => match self.new_address(mac, peer).await {
                Ok(true) => Who::Guest(mac, left),
                Ok(false) => Who::Stranger(mac),
                Err(error) => {
                    tracing::warn!("a guest's new address: {error}");
                    Who::Stranger(mac)
                }
            },
        }
    }

    /// The group of guests and its view at this moment.
    pub(crate) fn view(&self, compiled: &Compiled, mac: Option<Mac>) -> View {
        let group = mac.and_then(|mac| self.book().live(mac, self.now()).map(|session| session.group.clone()));
        let group = group.unwrap_or_else(|| self.guest_group(compiled));
        // A group that the policy no longer has sees the view of no group: everything is blocked.
        compiled.view(compiled.group(&group).unwrap_or(GroupId(u16::MAX)), self.clock.moment())
    }

    fn guest_group(&self, compiled: &Compiled) -> Arc<str> {
        match &self.settings.group {
            Some(group) => group.as_str().into(),
            None => compiled.groups().first().map_or("", |group| &*group.name).into(),
        }
    }

    pub(crate) fn token(&self, purpose: Purpose<'_>, mac: Mac) -> String {
        self.keys.token(purpose, mac, self.now())
    }

    pub(crate) fn verify(&self, token: &str, purpose: Purpose<'_>, mac: Mac) -> bool {
        self.keys.verify(token, purpose, mac, self.now())
    }

    /// Admits a device that has accepted this text of the terms. Kernel, record, directory, in this order; a device
    /// that already has a session keeps it.
    pub(crate) async fn admit(&self, mac: Mac, peer: IpAddr, words: &'static Words, text: String) -> Result<(), Error> {
        let _held = self.lock(mac).await;
        let begin = self.now();
        if self.book().live(mac, begin).is_some() {
            return Ok(());
        }
        if self.book().len() >= self.settings.limits.sessions {
            return Err(Error::Full(self.settings.limits.sessions));
        }
        let mut addresses = vec![peer];
        for address in self.neighbours.addresses(mac).into_iter().map(|address| address.to_canonical()) {
            if !addresses.contains(&address) && addresses.len() < self.settings.limits.addresses_per_device {
                addresses.push(address);
            }
        }
        addresses.retain(admissible);
        if addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        let group = self.guest_group(&self.compiled.load());
        let admission = Admission {
            pseudonym: self.keys.pseudonym(mac),
            group: (*group).into(),
            consent: self.keys.consent_pseudonym(mac, begin)?,
            terms: keys::sha256(&text),
            language: &words.code,
            text,
            accepted_at: match self.clock.moment() {
                Moment::At(time) => Some(time.as_second()),
                Moment::Unknown => None,
            },
        };

        let time = self.settings.session;
        let admitted = self.ask("admitting", self.gate.admit(mac, addresses.clone(), time)).await;
        let recorded = match admitted {
            Ok(()) => self.store.admit(admission).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            // Also after a refusal: who did not answer in time may still have done it.
            self.counts.undone.fetch_add(1, Relaxed);
            let _ = self.shut(mac).await;
            return Err(error);
        }
        {
            let mut book = self.book();
            // From before the kernel was asked: we never promise more time than it gives.
            book.begin(mac, Session { group, addresses, until: begin + time });
            self.publish(&book);
        }
        self.counts.admitted.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(crate) async fn expel(&self, mac: Mac) -> Result<bool, Error> {
        let _held = self.lock(mac).await;
        let had = self.end(mac).await?;
        if had {
            self.counts.expelled.fetch_add(1, Relaxed);
        }
        Ok(had)
    }

    async fn new_address(&self, mac: Mac, address: IpAddr) -> Result<bool, Error> {
        if !admissible(&address) || self.book().live(mac, self.now()).is_none() {
            return Ok(false);
        }
        let _held = self.lock(mac).await;
        let now = self.now();
        let left = match self.book().live(mac, now) {
            None => return Ok(false),
            Some(session) if session.addresses.contains(&address) => return Ok(true),
            Some(session) if session.addresses.len() >= self.settings.limits.addresses_per_device => {
                tracing::debug!(%mac, "a device has too many addresses");
                return Ok(false);
            }
            Some(session) => session.until - now,
        };
        self.ask("admitting", self.gate.admit(mac, vec![address], left)).await?;
        let mut book = self.book();
        book.add(mac, address);
        self.publish(&book);
        Ok(true)
    }

    /// Ends a session: directory, kernel, record. The caller holds the device's lock.
    async fn end(&self, mac: Mac) -> Result<bool, Error> {
        let had = {
            let mut book = self.book();
            let had = book.end(mac).is_some();
            self.publish(&book);
            had
        };
        let shut = self.shut(mac).await;
        if had && let Err(error) = self.store.close(self.keys.pseudonym(mac)).await {
            // The kernel no longer has it, so the next restart closes it.
            tracing::warn!("{error}");
        }
        shut.map(|()| had)
    }

    /// Shuts a device out in the kernel; a failure is owed.
    async fn shut(&self, mac: Mac) -> Result<(), Error> {
        let shut = self.ask("expelling", self.gate.expel(mac)).await;
        if shut.is_err() {
            self.book().owe(mac);
        }
        shut
    }

    async fn ask(
        &self,
        doing: &'static str,
        answer: crate::BoxFuture<'_, Result<(), crate::GateError>>,
    ) -> Result<(), Error> {
        let late = || crate::GateError("no answer within 5 s".into());
        let answer = tokio::time::timeout(GATE_TIME, answer).await.unwrap_or_else(|_| Err(late()));
        answer.map_err(|source| Error::Gate { doing, source })
    }

    async fn purge(&self) {
        let now = self.now();
        {
            let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
            if purged.is_some_and(|purged| now.saturating_duration_since(purged) < PURGE_EVERY) {
                return;
            }
            *purged = Some(now);
        }
        if let Moment::At(time) = self.clock.moment()
            && let Err(error) = self.store.purge(time.as_second(), self.settings.keep_consent_days).await
        {
            tracing::warn!("{error}");
        }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the directory. Under the book's lock, so that a later one never gives way to an earlier one.
    fn publish(&self, book: &MutexGuard<'_, Book>) {
        self.directory.store(Arc::new(book.directory()));
    }

    async fn lock(&self, mac: Mac) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for; the map has one of each itself.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(mac).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Whether an address can be a device's own.
fn admissible(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && *address != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}
