//! Hashed lists: lists whose names must not lie readable on a gateway.
//!
//! An entry is the HMAC-SHA-256, under the list's key, of the lower-case dotted name; it stands for the name and all
//! below. A query's name is hashed once for each of its labels but the last, only where such lists exist.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    atom::{Atom, Scope, What},
    meta::Hashed,
    name::Folded,
};

/// Octets of a digest.
pub(crate) const DIGEST: usize = 32;

/// The HMAC that an entry of a hashed list is.
pub(crate) fn digest(key: &[u8; 32], dotted: &[u8]) -> Option<[u8; DIGEST]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(dotted);
    Some(mac.finalize().into_bytes().into())
}

/// The hashed lists of a policy, their keys made ready.
pub(crate) struct Hashes(Vec<(Hmac<Sha256>, Atom, usize, usize)>);

impl Hashes {
    pub(crate) fn new(lists: &[Hashed]) -> Option<Self> {
        let ready = |list: &Hashed| {
            let mac = Hmac::<Sha256>::new_from_slice(&list.key).ok()?;
            let (start, count) = (list.start as usize, list.count as usize);
            Some((
                mac,
                Atom { what: What::Listed(list.list), scope: Scope::Tree },
                start * DIGEST,
                (start + count) * DIGEST,
            ))
        };
        lists.iter().map(ready).collect::<Option<_>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `found` for each list that has the name or one above it.
    pub(crate) fn matches(&self, section: &[u8], name: &Folded, mut found: impl FnMut(Atom)) {
        let mut space = [0; 256];
        let text = name.text(&mut space);
        for (mac, atom, start, end) in &self.0 {
            let Some(digests) = section.get(*start..*end) else {
                // The list exists and cannot be read: it counts as matching.
                found(*atom);
                continue;
            };
            for count in 2..=name.count() {
                let Some(suffix) = text.len().checked_sub(name.suffix(count).len() - 1).and_then(|at| text.get(at..))
                else {
                    continue;
                };
                let mut mac = mac.clone();
                mac.update(suffix);
                if contains(digests, &mac.finalize().into_bytes()) {
                    found(*atom);
                    break;
                }
            }
        }
    }
}

fn contains(sorted: &[u8], digest: &[u8]) -> bool {
    let (mut low, mut high) = (0, sorted.len() / DIGEST);
    while low < high {
        let middle = low + (high - low) / 2;
        let here = &sorted[middle * DIGEST..][..DIGEST];
        match here.cmp(digest) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    false
}
