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
    /// Whether a code gave it.
    pub(crate) by_code: bool,
}

/// All sessions by device; a device has one at most.
#[derive(Debug, Default)]
pub(crate) struct Book {
    sessions: HashMap<Mac, Session>,
    /// Which device is believed to have an address: the one that was seen with it last. Another one, which was admitted
    /// under it too, keeps it in its session: who shows up under a guest's address does not put that guest out for good.
    holders: HashMap<IpAddr, Mac>,
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
        self.end(mac);
        self.holders.extend(session.addresses.iter().map(|address| (*address, mac)));
        self.owed.retain(|owed| *owed != mac);
        self.sessions.insert(mac, session);
    }

    /// Ends a session; an address it held goes back to another session that has it.
    pub(crate) fn end(&mut self, mac: Mac) -> Option<Session> {
        let session = self.sessions.remove(&mac)?;
        for address in &session.addresses {
            if self.holds(mac, *address) {
                let other = self.iter().find(|(_, other)| other.addresses.contains(address)).map(|(other, _)| other);
                match other {
                    Some(other) => self.holders.insert(*address, other),
                    None => self.holders.remove(address),
                };
            }
        }
        Some(session)
    }

    /// Notes that a device was seen with an address under which it is admitted.
    pub(crate) fn claim(&mut self, mac: Mac, address: IpAddr) {
        if let Some(session) = self.sessions.get_mut(&mac) {
            if !session.addresses.contains(&address) {
                session.addresses.push(address);
            }
            self.holders.insert(address, mac);
        }
    }

    /// Whether a device was the last one seen with an address.
    pub(crate) fn holds(&self, mac: Mac, address: IpAddr) -> bool {
        self.holders.get(&address) == Some(&mac)
    }

    /// Moves a session's end, or the session to another group. Whether there is one.
    pub(crate) fn change(&mut self, mac: Mac, change: impl FnOnce(&mut Session)) -> bool {
        self.sessions.get_mut(&mac).map(change).is_some()
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
        Directory::new(self.holders.iter().filter_map(|(address, mac)| {
            let session = self.sessions.get(mac)?;
            Some((*address, Client { mac: *mac, group: session.group.clone() }))
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
            by_code: false,
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
    fn an_address_is_of_the_device_seen_with_it_last_and_goes_back() {
        let now = Instant::now();
        let mut book = Book::default();
        let shared = "2001:db8::7".parse().unwrap();
        let holder = |book: &Book| book.directory().client(shared).map(|client| client.mac);
        book.begin(ME, session(&["192.0.2.7", "2001:db8::7"], now));
        book.begin(OTHER, session(&["192.0.2.8"], now));
        assert_eq!(holder(&book), Some(ME));
        book.claim(OTHER, shared);
        assert_eq!((holder(&book), book.directory().len()), (Some(OTHER), 3));
        book.claim(ME, shared);
        assert_eq!(holder(&book), Some(ME));
        book.claim(OTHER, shared);
        book.end(OTHER);
        assert_eq!((holder(&book), book.directory().len()), (Some(ME), 2));
        book.end(ME);
        assert!(book.directory().is_empty());
    }

    #[test]
    fn address_of_a_device_without_session_is_a_strangers() {
        let mut book = Book::default();
        book.claim(ME, "192.0.2.7".parse().unwrap());
        assert!(book.directory().is_empty());
    }
}
