//! The audit log's chain: each entry's hash covers what it says and the hash before it, so that an entry that was
//! changed, taken out or put in shows. The head, noted elsewhere, also shows a tail that was cut off.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::secret::Hash;

/// The hash before the first entry.
pub(crate) const START: Hash = [0; 32];

/// What somebody did, before it is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    /// The account's name, or `console`, or a gateway's fingerprint.
    pub(crate) who: String,
    /// A key of the words, such as `policy-published`.
    pub(crate) action: &'static str,
    /// To what.
    pub(crate) subject: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Deed {
    pub(crate) fn new(who: &str, action: &'static str, subject: impl Into<String>) -> Self {
        Self { who: who.to_owned(), action, subject: subject.into(), before: None, after: None }
    }

    pub(crate) fn from(mut self, before: impl Into<String>) -> Self {
        self.before = Some(before.into());
        self
    }

    pub(crate) fn to(mut self, after: impl Into<String>) -> Self {
        self.after = Some(after.into());
        self
    }
}

/// Every action there is; a test holds that all languages have words for each.
#[cfg(test)]
pub(crate) const ACTIONS: [&str; 22] = [
    "owner-made",
    "person-added",
    "role-changed",
    "person-disabled",
    "person-enabled",
    "code-made",
    "password-set",
    "password-changed",
    "signed-in",
    "sign-in-refused",
    "signed-out",
    "draft-saved",
    "draft-discarded",
    "policy-published",
    "claim-code-made",
    "gateway-claimed",
    "code-used-twice",
    "gateway-approved",
    "gateway-refused",
    "gateway-revoked",
    "gateway-quarantined",
    "audit-exported",
];

/// An entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) number: i64,
    /// Unix seconds.
    pub(crate) at: i64,
    pub(crate) who: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    #[serde(serialize_with = "digits")]
    pub(crate) hash: Hash,
}

impl Entry {
    /// The hash this entry must have after one with the hash `before`. Each part goes in with its length, so that no
    /// text can be moved from one part to the next.
    pub(crate) fn hash_after(&self, before: &Hash) -> Hash {
        let mut digest = Sha256::new();
        digest.update(b"sheshi-audit/1");
        digest.update(before);
        digest.update(self.number.to_be_bytes());
        digest.update(self.at.to_be_bytes());
        let texts =
            [Some(&self.who), Some(&self.action), Some(&self.subject), self.before.as_ref(), self.after.as_ref()];
        for text in texts {
            match text {
                None => digest.update([0]),
                Some(text) => {
                    digest.update([1]);
                    digest.update((text.len() as u64).to_be_bytes());
                    digest.update(text);
                }
            }
        }
        digest.finalize().into()
    }
}

fn digits<S: serde::Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(hash))
}

/// Follows a log from its start.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// How many entries were taken.
    pub(crate) count: i64,
    /// The hash of the last one.
    pub(crate) head: Hash,
    /// The first entry that does not fit, counted from 1.
    pub(crate) broken: Option<i64>,
}

impl Chain {
    /// Takes the next entry.
    pub(crate) fn take(&mut self, entry: &Entry) {
        self.count += 1;
        if self.broken.is_none() && (entry.number != self.count || entry.hash != entry.hash_after(&self.head)) {
            self.broken = Some(self.count);
        }
        self.head = entry.hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_broken(entries: impl IntoIterator<Item = Entry>) -> Option<i64> {
        let mut chain = Chain::default();
        entries.into_iter().for_each(|entry| chain.take(&entry));
        chain.broken
    }

    fn log() -> Vec<Entry> {
        let mut before = START;
        (1..=5)
            .map(|number| {
                let mut entry = Entry {
                    number,
                    at: 1_700_000_000 + number,
                    who: "ana".into(),
                    action: "role-changed".into(),
                    subject: format!("person {number}"),
                    before: Some("viewer".into()),
                    after: (number % 2 == 0).then(|| "owner".into()),
                    hash: START,
                };
                entry.hash = entry.hash_after(&before);
                before = entry.hash;
                entry
            })
            .collect()
    }

    #[test]
    fn whole_log_fits() {
        assert_eq!(first_broken(log()), None);
        assert_eq!(first_broken([]), None);
    }

    #[test]
    fn change_of_any_part_of_any_entry_shows() {
        let changes: [fn(&mut Entry); 8] = [
            |entry| entry.number += 1,
            |entry| entry.at -= 1,
            |entry| entry.who.push('x'),
            |entry| entry.action.clear(),
            |entry| entry.subject.push(' '),
            |entry| entry.before = None,
            |entry| entry.after = Some(String::new()),
            |entry| entry.hash[31] ^= 1,
        ];
        for place in 0..5 {
            for change in changes {
                let mut log = log();
                change(&mut log[place]);
                assert_eq!(first_broken(log), Some(place as i64 + 1));
            }
        }
    }

    #[test]
    fn entry_taken_out_put_in_or_moved_shows() {
        for place in 0..4 {
            let mut taken = log();
            taken.remove(place);
            assert_eq!(first_broken(taken), Some(place as i64 + 1));
            let mut moved = log();
            moved.swap(place, place + 1);
            assert_eq!(first_broken(moved), Some(place as i64 + 1));
            let mut added = log();
            added.insert(place, added[place].clone());
            assert_eq!(first_broken(added), Some(place as i64 + 2));
        }
    }

    #[test]
    fn text_moved_between_parts_shows() {
        let mut entry = log().remove(0);
        let hash = entry.hash;
        (entry.who, entry.action) = ("anarole".into(), "-changed".into());
        assert_ne!(entry.hash_after(&START), hash);
    }
}
