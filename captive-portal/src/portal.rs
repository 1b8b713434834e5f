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
    book::Book,
    filter,
    hours::Hours,
    keys::{Keys, Purpose},
    objections::{Decision, Objection, Objections},
    roaming::Roaming,
    serve::Holder,
    store::Store,
    tries::Tries,
    vouchers,
};

/// How long a tick waits for what it has begun: a firewall that does not answer must not hold up its caller.
const TICK_TIME: Duration = Duration::from_secs(1);
/// How often old records are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// The captive portal. A handle: clones are the same portal.
#[derive(Clone)]
pub struct Portal(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) neighbours: Arc<dyn Neighbours>,
    pub(crate) directory: Arc<ArcSwap<Directory>>,
    pub(crate) compiled: Arc<ArcSwap<Compiled>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Keys,
    pub(crate) store: Store,
    pub(crate) book: Mutex<Book>,
    /// One lock a device: what is done to a device is done one after the other, what is done to two at the same time.
    pub(crate) locks: Mutex<HashMap<Mac, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while sessions are being settled.
    settling: Arc<tokio::sync::Mutex<()>>,
    /// Open connections by who holds them.
    pub(crate) seats: Mutex<HashMap<Holder, usize>>,
    uplink: AtomicBool,
    self_test: Mutex<Option<SelfTest>>,
    pub(crate) objections: Objections,
    pub(crate) objecting: Tries,
    /// Codes that were none.
    pub(crate) guessing: Tries,
    pub(crate) hours: Option<Hours>,
    pub(crate) roaming: Option<Roaming>,
    /// The gateway's own guest: admitted as any other, and counted nowhere.
    synthetic: ArcSwap<Option<Mac>>,
    complained: Mutex<Option<Instant>>,
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
    /// Admissions since the start, renewals among them.
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

/// How the filter's last test of itself went, as guests read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfTest {
    /// Whether all of it passed.
    pub passed: bool,
    /// When it ended, in seconds of Unix time.
    pub at: i64,
}

impl Portal {
    /// Opens the portal: checks the settings, loads the key and opens the database. [`restore`](Self::restore) comes next,
    /// also where there is nothing to restore.
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
        let objections = Objections::open(&settings.objections)?;
        let zone = settings.zone.as_deref().unwrap_or("UTC");
        // The settings were checked, so this does not fail; if it did, it would be closed for good.
        let hours = (!settings.hours.is_empty()).then(|| Hours::parse(&settings.hours, zone).unwrap_or_default());
        let roaming = match &settings.roaming {
            Some(roaming) => Some(Roaming::load(&roaming.keys, roaming.longest)?),
            None => None,
        };
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
            settling: Arc::default(),
            seats: Mutex::default(),
            uplink: AtomicBool::new(true),
            self_test: Mutex::default(),
            objections,
            objecting: Tries::new(filter::OBJECTIONS.0, filter::OBJECTIONS.1, filter::OBJECTIONS.2),
            guessing: Tries::new(vouchers::GUESSES.0, vouchers::GUESSES.1, vouchers::GUESSES.2),
            hours,
            roaming,
            synthetic: ArcSwap::default(),
            complained: Mutex::default(),
            purged: Mutex::default(),
            counts: Counts::default(),
        })))
    }

    /// Takes up the sessions again after a restart; to be called before serving. `kernel` is what its sets of admitted
    /// guests hold; their timeouts are the truth of how long. What the kernel no longer has is closed; what it has and was
    /// never recorded is expelled. When the records cannot be read, everybody is.
    pub async fn restore(&self, kernel: Vec<(Mac, IpAddr, Duration)>) -> Result<(), Error> {
        self.0.restore(kernel).await
    }

    /// A device has been seen under an address. That of an admitted device is admitted too, for the time it has left.
    /// Whether it now is admitted.
    pub async fn new_address(&self, mac: Mac, address: IpAddr) -> Result<bool, Error> {
        self.0.new_address(mac, address.to_canonical()).await
    }

    /// Ends sessions that are over, tries again what the firewall failed to do, deletes old records. To be called about
    /// once a second; what takes longer goes on by itself, and the next call waits for nothing.
    pub async fn tick(&self) {
        let Ok(turn) = self.0.settling.clone().try_lock_owned() else { return };
        let inner = self.0.clone();
        let work = tokio::spawn(async move {
            inner.settle().await;
            inner.purge().await;
            drop(turn);
        });
        let _ = tokio::time::timeout(TICK_TIME, work).await;
    }

    /// Ends a device's session at once. Whether it had one. The firewall is asked in any case.
    pub async fn expel(&self, mac: Mac) -> Result<bool, Error> {
        self.0.expel(mac).await
    }

    /// Lets a device's session last this long from now. Whether it has one.
    pub async fn extend(&self, mac: Mac, time: Duration) -> Result<bool, Error> {
        self.0.extend(mac, time).await
    }

    /// Moves a device's session to another group of the policy. Whether it has one.
    pub async fn regroup(&self, mac: Mac, group: &str) -> Result<bool, Error> {
        self.0.regroup(mac, group).await
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

    /// Erases the record of consent with this pseudonym (hexadecimal). Whether there was one.
    pub async fn erase_consent(&self, pseudonym: &str) -> Result<bool, Error> {
        let had = self.consents().await?.iter().any(|consent| consent.pseudonym.eq_ignore_ascii_case(pseudonym));
        self.0.store.erase(pseudonym.to_owned()).await?;
        Ok(had)
    }

    /// Says which device is the gateway's own guest. It is admitted as any other, and is in no figure and no record.
    pub fn set_synthetic(&self, mac: Mac) {
        if !self.is_synthetic(mac) {
            self.0.synthetic.store(Arc::new(Some(mac)));
        }
    }

    /// Whether a device is the gateway's own guest.
    pub fn is_synthetic(&self, mac: Mac) -> bool {
        self.0.is_synthetic(mac)
    }

    /// Says whether the uplink works. While it does not, the pages say so.
    pub fn set_uplink(&self, works: bool) {
        self.0.uplink.store(works, Relaxed);
    }

    /// Says how the last test of the filter went; `None` when no result is known, which the pages then say.
    pub fn set_self_test(&self, test: Option<SelfTest>) {
        *self.0.self_test.lock().unwrap_or_else(PoisonError::into_inner) = test;
    }

    /// The objections that are kept, those that wait for a decision first.
    pub fn objections(&self) -> Vec<Objection> {
        self.0.objections.all(self.0.unix())
    }

    /// Notes what was decided about an objection, for who handed it in to read. Whether there is such an objection. It
    /// changes no policy. Waits for the disk.
    pub fn decide(&self, number: &str, granted: bool, answer: &str) -> Result<bool, Error> {
        let decision = Decision { granted, answer: crate::objections::tidy(answer), at: self.0.unix() };
        self.0.objections.decide(&crate::keys::read_code(number), decision)
    }

    /// Numbers for metrics and health.
    pub fn stats(&self) -> Stats {
        let counts = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Relaxed);
        let (sessions, addresses) = {
            let book = self.0.book();
            let guests = || book.iter().filter(|(mac, _)| !self.0.is_synthetic(*mac));
            (guests().count(), guests().map(|(_, session)| session.addresses.len()).sum::<usize>())
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

    /// For how long the hotspot stays open; `None` while it is closed. While nobody knows the date it is closed where it has
    /// hours at all.
    pub(crate) fn open(&self) -> Option<Duration> {
        match (&self.hours, self.clock.moment()) {
            (None, _) => Some(Duration::MAX),
            (Some(hours), Moment::At(now)) => hours.left(now),
            (Some(_), Moment::Unknown) => None,
        }
    }

    pub(crate) fn is_synthetic(&self, mac: Mac) -> bool {
        **self.synthetic.load() == Some(mac)
    }

    pub(crate) fn uplink_works(&self) -> bool {
        self.uplink.load(Relaxed)
    }

    /// The view of a guest's group at this moment; of the group of guests where the device has no session.
    pub(crate) fn view(&self, compiled: &Compiled, mac: Option<Mac>) -> View {
        let group = self.group(compiled, mac);
        // A group that the policy no longer has sees the view of no group: everything is blocked.
        compiled.view(compiled.group(&group).unwrap_or(GroupId(u16::MAX)), self.clock.moment())
    }

    pub(crate) fn self_test(&self) -> Option<SelfTest> {
        *self.self_test.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group of a guest; the one that a stranger would come into.
    pub(crate) fn group(&self, compiled: &Compiled, mac: Option<Mac>) -> Arc<str> {
        let group = mac.and_then(|mac| self.book().live(mac, self.now()).map(|session| session.group.clone()));
        group.unwrap_or_else(|| self.guest_group(compiled))
    }

    pub(crate) fn guest_group(&self, compiled: &Compiled) -> Arc<str> {
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

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what went wrong for a guest. Guests decide how often that is, so it is said at most once a second.
    pub(crate) fn complain(&self, error: &Error) {
        let now = self.now();
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= Duration::from_secs(1)) {
            *last = Some(now);
            tracing::error!("{error}");
        }
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
}
