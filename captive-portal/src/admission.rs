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
    keys,
    portal::Inner,
    store::Admission,
    words::Words,
};

/// How long the firewall may take to answer.
const GATE_TIME: Duration = Duration::from_secs(5);
/// A session this young is not renewed: the button was pressed twice.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// How many devices are settled at a time.
const AT_ONCE: usize = 64;

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

    /// Admits a device that has accepted this text of the terms. Kernel, record, directory, in this order. A device that
    /// already has a session keeps it, for as long as a new one would last.
    pub(crate) async fn admit(&self, mac: Mac, peer: IpAddr, words: &'static Words, text: String) -> Result<(), Error> {
        let _held = self.lock(mac).await;
        let (begin, time) = (self.now(), self.settings.session);
        let had = self.book().live(mac, begin).cloned();
        if had.as_ref().is_some_and(|session| session.until + RENEW_AFTER > begin + time) {
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

        let admitted = self.ask("admitting", self.gate.admit(mac, addresses.clone(), time)).await;
        let recorded = match admitted {
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
            book.begin(mac, Session { group, addresses, until: begin + time });
            self.publish(&book);
        }
        self.counts.admitted.fetch_add(1, Relaxed);
        Ok(())
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
        if had {
            self.counts.expelled.fetch_add(1, Relaxed);
        }
        Ok(had)
    }

    /// Admits a guest under one more address, for the time left. Whether it is admitted under it now.
    pub(crate) async fn new_address(&self, mac: Mac, address: IpAddr) -> Result<bool, Error> {
        if !admissible(&address) || self.book().live(mac, self.now()).is_none() {
            return Ok(false);
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
            } else if let Some(group) = recorded.remove(&self.keys.pseudonym(mac)) {
                devices.insert(mac, Session { group: group.into(), addresses: vec![address], until });
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
            self.store.close(pseudonym).await?;
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
                inner.counts.expired.fetch_add(u64::from(over), Relaxed);
            });
        }
        while settling.join_next().await.is_some() {}
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
