//! The sessions, as a value: no clock, no socket. The directory of clients is made from it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sheshi_policy::{Client, Directory, Mac};

/// An admitted device.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) group: Arc<str>,
    /// In order of admission.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) until: Instant,
}

/// All sessions by device. A device has one at most, an address belongs to one device at most.
#[derive(Debug, Default)]
pub(crate) struct Book {
    sessions: HashMap<Mac, Session>,
    /// Devices that the firewall still has to shut out: it failed to when it was asked.
    owed: Vec<Mac>,
}

impl Book {
    /// The session of a device, unless it is over.
    pub(crate) fn live(&self, mac: Mac, now: Instant) -> Option<&Session> {
        self.sessions.get(&mac).filter(|session| session.until > now)
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Mac, &Session)> {
        self.sessions.iter().map(|(mac, session)| (*mac, session))
    }

    pub(crate) fn begin(&mut self, mac: Mac, session: Session) {
        for address in &session.addresses {
            self.forget(*address);
        }
        self.owed.retain(|owed| *owed != mac);
        self.sessions.insert(mac, session);
    }

    pub(crate) fn end(&mut self, mac: Mac) -> Option<Session> {
        self.sessions.remove(&mac)
    }

    /// Adds an address to a session, taking it from whoever had it.
    pub(crate) fn add(&mut self, mac: Mac, address: IpAddr) {
        if self.sessions.contains_key(&mac) {
            self.forget(address);
            if let Some(session) = self.sessions.get_mut(&mac) {
                session.addresses.push(address);
            }
        }
    }

    fn forget(&mut self, address: IpAddr) {
        for session in self.sessions.values_mut() {
            session.addresses.retain(|other| *other != address);
        }
    }

    pub(crate) fn over(&self, now: Instant) -> Vec<Mac> {
        self.iter().filter(|(_, session)| session.until <= now).map(|(mac, _)| mac).collect()
    }

    pub(crate) fn owe(&mut self, mac: Mac) {
        if !self.owed.contains(&mac) {
            self.owed.push(mac);
        }
    }

    pub(crate) fn take_owed(&mut self) -> Vec<Mac> {
        std::mem::take(&mut self.owed)
    }

    /// What the resolver reads.
    pub(crate) fn directory(&self) -> Directory {
        Directory::new(self.iter().flat_map(|(mac, session)| {
            session.addresses.iter().map(move |address| (*address, Client { mac, group: session.group.clone() }))
        }))
    }
}

/// A session, as an admin sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SessionInfo {
    /// The device.
    pub mac: Mac,
    /// Its group.
    pub group: Box<str>,
    /// Its admitted addresses.
    pub addresses: Vec<IpAddr>,
    /// How long it still lasts, in whole seconds.
    #[serde(rename = "left_seconds", serialize_with = "seconds")]
    pub left: Duration,
}

fn seconds<S: serde::Serializer>(left: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(left.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn session(addresses: &[&str], until: Instant) -> Session {
        Session {
            group: "guest".into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            until,
        }
    }

    #[test]
    fn a_session_is_over_at_its_end_and_not_after_it() {
        let now = Instant::now();
        let mut book = Book::default();
        book.begin(ME, session(&["192.0.2.7"], now + Duration::from_secs(1)));
        assert!(book.live(ME, now).is_some());
        assert!(book.live(ME, now + Duration::from_secs(1)).is_none());
        assert_eq!(book.over(now), []);
        assert_eq!(book.over(now + Duration::from_secs(1)), [ME]);
    }

    #[test]
    fn an_address_that_moves_to_another_device_is_the_others() {
        let now = Instant::now();
        let mut book = Book::default();
        book.begin(ME, session(&["192.0.2.7", "2001:db8::7"], now));
        book.begin(OTHER, session(&["192.0.2.8"], now));
        book.add(OTHER, "2001:db8::7".parse().unwrap());
        let directory = book.directory();
        assert_eq!(directory.len(), 3);
        assert_eq!(directory.client("2001:db8::7".parse().unwrap()).unwrap().mac, OTHER);
        assert_eq!(directory.client("192.0.2.7".parse().unwrap()).unwrap().mac, ME);
    }

    #[test]
    fn address_of_a_device_without_session_is_a_strangers() {
        let mut book = Book::default();
        book.add(ME, "192.0.2.7".parse().unwrap());
        assert!(book.directory().is_empty());
    }
}
