//! What is done to one device: admit, expel, admit under one more address; and to all after a restart or as time goes on.
//!
//! The order is always one that fails closed. In: kernel, record, directory. Out: directory, kernel, record.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use sheshi_policy::{Mac, Moment};
use tokio::task::JoinSet;

use crate::{
    BoxFuture, Error, GateError,
    book::{Book, Session},
    keys::{self, Hash},
    portal::Inner,
    store::{Accepted, Admission},
    words::Words,
};

/// How long the firewall may take to answer.
const GATE_TIME: Duration = Duration::from_secs(5);
/// A session this young is not renewed: the button was pressed twice.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// How many devices are settled at a time.
const AT_ONCE: usize = 64;

/// A device of the city's own is admitted anew after this.
const STAFF_TIME: Duration = Duration::from_secs(86_400);

/// A text that was accepted, and in which language.
pub(crate) struct Text {
    pub(crate) words: &'static Words,
    pub(crate) text: String,
}

/// What a device gets beyond what everybody gets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grant {
    pub(crate) group: Option<Arc<str>>,
    pub(crate) time: Option<Duration>,
    /// The code that gives it, as its hash.
    pub(crate) code: Option<Hash>,
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

impl Inner {
    pub(crate) fn mac(&self, peer: IpAddr) -> Option<Mac> {
        self.neighbours.mac(peer)
    }

    /// Who has this address, by the neighbour table and nothing else. A guest who shows up under an address that is not
    /// admitted yet gets it admitted: the event of the neighbour table may be late.
    pub(crate) async fn who(&self, peer: IpAddr) -> Who {
        let Some(mac) = self.mac(peer) else { return Who::Unknown };
        let now = self.now();
        let found = {
            let book = self.book();
            book.live(mac, now).map(|session| (session.until - now, book.holds(mac, peer)))
        };
        match found {
            None => Who::Stranger(mac),
            Some((left, true)) => Who::Guest(mac, left),
            Some((left, false)) => match self.new_address(mac, peer).await {
                Ok(true) => Who::Guest(mac, left),
                Ok(false) => Who::Stranger(mac),
                Err(error) => {
                    self.complain(&error);
                    Who::Stranger(mac)
                }
            },
        }
    }

    /// Admits a device that has accepted this text of the terms, or that needs not. Kernel, record, directory, in this order.
    /// A device that already has a session keeps it, for as long as a new one would last.
    pub(crate) async fn admit(&self, mac: Mac, peer: IpAddr, text: Option<Text>, grant: Grant) -> Result<(), Error> {
        let _held = self.lock(mac).await;
        // Not beyond closing time: the kernel's own timeout closes.
        let Some(open) = self.open() else { return Err(Error::Closed) };
        let (begin, time) = (self.now(), grant.time.unwrap_or(self.settings.session).min(open));
        let had = self.book().live(mac, begin).cloned();
        let group = grant.group.unwrap_or_else(|| self.guest_group(&self.compiled.load()));
        // What a code or an admin has given is not overwritten by pressing the button once more.
        let plain = |session: &Session| grant.code.is_none() && (session.by_code || session.group != group);
        if had.as_ref().is_some_and(|session| {
            plain(session) || (grant.code.is_none() && session.until + RENEW_AFTER > begin + time)
        }) {
            return Ok(());
        }
        if had.is_none() && self.book().len() >= self.settings.limits.sessions {
            return Err(Error::Full(self.settings.limits.sessions));
        }
        let mut addresses = had.as_ref().map_or_else(Vec::new, |session| session.addresses.clone());
        for address in std::iter::once(peer).chain(self.neighbours.addresses(mac)).map(|address| address.to_canonical())
        {
            let place = addresses.len() < self.settings.limits.addresses_per_device;
            if place && admissible(&address) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        let accepted = match text {
            None => None,
            Some(Text { words, text }) => Some(Accepted {
                pseudonym: self.keys.consent_pseudonym(mac, begin)?,
                terms: keys::sha256(&text),
                language: &words.code,
                text,
            }),
        };
        let admission = Admission {
            pseudonym: self.keys.pseudonym(mac),
            group: (*group).into(),
            code: grant.code,
            accepted,
            now: self.unix(),
        };

        let admitted = self.ask("admitting", self.gate.admit(mac, addresses.clone(), time)).await;
        let synthetic = self.is_synthetic(mac);
        let recorded = match admitted {
            // Nobody accepted anything: a record would be of a person who is none.
            Ok(()) if synthetic => Ok(()),
            Ok(()) => self.store.admit(admission).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            // Also after a refusal: who did not answer in time may still have done it.
            self.counts.undone.fetch_add(1, Relaxed);
            self.undo(mac, had).await;
            return Err(error);
        }
        {
            let mut book = self.book();
            // From before the kernel was asked: we never promise more time than it gives.
            let by_code = grant.code.is_some();
            book.begin(mac, Session { group, addresses, until: begin + time, by_code });
            self.publish(&book);
        }
        self.counts.admitted.fetch_add(u64::from(!synthetic), Relaxed);
        Ok(())
    }

    /// Admits a device of the city's own, until the end of its last day and never while nobody knows the date. Whether it is one.
    async fn admit_staff(&self, mac: Mac, address: IpAddr) -> Result<bool, Error> {
        let Some(staff) = self.settings.staff.iter().find(|staff| staff.mac == mac) else { return Ok(false) };
        let Moment::At(now) = self.clock.moment() else { return Ok(false) };
        let zone = jiff::tz::TimeZone::get(self.settings.zone.as_deref().unwrap_or("UTC"));
        let end = zone.and_then(|zone| staff.until.tomorrow()?.to_zoned(zone)).map(|end| end.timestamp());
        let left = end.ok().and_then(|end| Duration::try_from(end.duration_since(now)).ok()).unwrap_or_default();
        if left.is_zero() {
            return Ok(false);
        }
        let grant = Grant { group: Some(staff.group.as_str().into()), time: Some(left.min(STAFF_TIME)), code: None };
        self.admit(mac, address, None, grant).await.map(|()| true)
    }

    /// Lets a session last this long from now. Whether there is one.
    pub(crate) async fn extend(&self, mac: Mac, time: Duration) -> Result<bool, Error> {
        let _held = self.lock(mac).await;
        let now = self.now();
        let Some(session) = self.book().live(mac, now).cloned() else { return Ok(false) };
        self.ask("admitting", self.gate.admit(mac, session.addresses, time)).await?;
        let mut book = self.book();
        let changed = book.change(mac, |session| session.until = now + time);
        self.publish(&book);
        Ok(changed)
    }

    /// Moves a session to another group. Recorded first: after a restart it must not be back in the one it was taken from.
    pub(crate) async fn regroup(&self, mac: Mac, group: &str) -> Result<bool, Error> {
        let _held = self.lock(mac).await;
        if self.book().live(mac, self.now()).is_none() {
            return Ok(false);
        }
        self.store.regroup(self.keys.pseudonym(mac), group).await?;
        let mut book = self.book();
        let changed = book.change(mac, |session| session.group = group.into());
        self.publish(&book);
        Ok(changed)
    }

    /// Takes back an admission: who had a session has what was left of it, who had none is shut out.
    async fn undo(&self, mac: Mac, had: Option<Session>) {
        let Some(session) = had else {
            let _ = self.shut(mac).await;
            return;
        };
        let left = session.until.saturating_duration_since(self.now());
        if self.ask("admitting", self.gate.admit(mac, session.addresses, left)).await.is_err() {
            let _ = self.end(mac).await;
        }
    }

    pub(crate) async fn expel(&self, mac: Mac) -> Result<bool, Error> {
        let _held = self.lock(mac).await;
        let had = self.end(mac).await?;
        if had && !self.is_synthetic(mac) {
            self.counts.expelled.fetch_add(1, Relaxed);
        }
        Ok(had)
    }

    /// Admits a guest under one more address, for the time left. Whether it is admitted under it now.
    pub(crate) async fn new_address(&self, mac: Mac, address: IpAddr) -> Result<bool, Error> {
        if !admissible(&address) {
            return Ok(false);
        }
        if self.book().live(mac, self.now()).is_none() {
            return self.admit_staff(mac, address).await;
        }
        let _held = self.lock(mac).await;
        let now = self.now();
        let (left, known) = match self.book().live(mac, now) {
            None => return Ok(false),
            Some(session) => (session.until - now, session.addresses.clone()),
        };
        if !known.contains(&address) {
            if known.len() >= self.settings.limits.addresses_per_device {
                tracing::debug!(%mac, "a device has too many addresses");
                return Ok(false);
            }
            self.ask("admitting", self.gate.admit(mac, vec![address], left)).await?;
        }
        let mut book = self.book();
        book.claim(mac, address);
        self.publish(&book);
        Ok(true)
    }

    pub(crate) async fn restore(&self, kernel: Vec<(Mac, IpAddr, Duration)>) -> Result<(), Error> {
        let now = self.now();
        let (rows, unread) = match self.store.sessions().await {
            Ok(rows) => (rows, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut recorded: HashMap<_, _> = rows.into_iter().collect();
        let mut devices: HashMap<Mac, Session> = HashMap::new();
        let mut unrecorded = Vec::new();
        for (mac, address, left) in kernel {
            let (address, until) = (address.to_canonical(), now + left);
            if let Some(session) = devices.get_mut(&mac) {
                session.until = session.until.max(until);
                session.addresses.push(address);
            } else if let Some((group, by_code)) = recorded.remove(&self.keys.pseudonym(mac)) {
                devices.insert(mac, Session { group: group.into(), addresses: vec![address], until, by_code });
            } else if !unrecorded.contains(&mac) {
                unrecorded.push(mac);
            }
        }
        tracing::info!(kept = devices.len(), closed = recorded.len(), expelled = unrecorded.len(), "sessions restored");
        {
            let mut book = self.book();
            for (mac, session) in devices {
                book.begin(mac, session);
            }
            self.publish(&book);
        }
        for mac in unrecorded {
            let _held = self.lock(mac).await;
            // A failure is owed, and tried again at each tick.
            let _ = self.shut(mac).await;
        }
        for pseudonym in recorded.into_keys() {
            self.store.close(pseudonym, None, self.unix()).await?;
        }
        unread.map_or(Ok(()), Err)
    }

    /// Ends the sessions that are over and shuts out whom the firewall failed to.
    pub(crate) async fn settle(self: &Arc<Self>) {
        let (over, owed) = {
            let mut book = self.book();
            (book.over(self.now()), book.take_owed())
        };
        let mut settling = JoinSet::new();
        for (mac, over) in over.into_iter().map(|mac| (mac, true)).chain(owed.into_iter().map(|mac| (mac, false))) {
            if settling.len() >= AT_ONCE {
                settling.join_next().await;
            }
            let inner = self.clone();
            settling.spawn(async move {
                let _held = inner.lock(mac).await;
                if inner.book().live(mac, inner.now()).is_some() {
                    return;
                }
                let ended = if over { inner.end(mac).await.map(|_| ()) } else { inner.shut(mac).await };
                if let Err(error) = ended {
                    tracing::warn!("ending a session: {error}");
                }
                inner.counts.expired.fetch_add(u64::from(over && !inner.is_synthetic(mac)), Relaxed);
            });
        }
        while settling.join_next().await.is_some() {}
    }

    /// Ends a session: directory, kernel, record. The caller holds the device's lock.
    async fn end(&self, mac: Mac) -> Result<bool, Error> {
        let had = {
            let mut book = self.book();
            let had = book.end(mac);
            self.publish(&book);
            had
        };
        let left = had.as_ref().map(|session| {
            i64::try_from(session.until.saturating_duration_since(self.now()).as_secs()).unwrap_or(i64::MAX)
        });
        let shut = self.shut(mac).await;
        if had.is_some()
            && let Err(error) = self.store.close(self.keys.pseudonym(mac), left, self.unix()).await
        {
            // The kernel no longer has it, so the next restart closes it.
            tracing::warn!("{error}");
        }
        shut.map(|()| had.is_some())
    }

    /// Shuts a device out in the kernel; a failure is owed.
    async fn shut(&self, mac: Mac) -> Result<(), Error> {
        let shut = self.ask("expelling", self.gate.expel(mac)).await;
        if shut.is_err() {
            self.book().owe(mac);
        }
        shut
    }

    async fn ask(&self, doing: &'static str, answer: BoxFuture<'_, Result<(), GateError>>) -> Result<(), Error> {
        let late = || GateError("no answer within 5 s".into());
        let answer = tokio::time::timeout(GATE_TIME, answer).await.unwrap_or_else(|_| Err(late()));
        answer.map_err(|source| Error::Gate { doing, source })
    }

    /// Publishes the directory. Under the book's lock, so that a later one never gives way to an earlier one.
    fn publish(&self, book: &MutexGuard<'_, Book>) {
        self.directory.store(Arc::new(book.directory()));
    }

    /// Waits until nothing else is being done to a device.
    async fn lock(&self, mac: Mac) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // The map has one of each itself: more means that somebody holds it or waits for it.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(mac).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Whether an address can be a device's own.
fn admissible(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
}
