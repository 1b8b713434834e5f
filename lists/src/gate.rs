//! The gate: whether a new edition of a list may go live. A dead or damaged list looks like an update; what it would
//! open stays closed by the last good edition.

use serde::{Deserialize, Serialize};
use sheshi_policy::{Edition, List, NotAList, Refusal};

/// Why an edition does not go live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// The body is no list.
    #[error("{0}")]
    NotAList(String),
    /// It could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// Nothing in it can be enforced.
    #[error("none of its lines can be enforced ({0} refused)")]
    Nothing(u64),
    /// Most lines are refused: it has another format than it seems.
    #[error("{refused} of {lines} lines were refused, more than half; is its format right?")]
    Refused {
        /// Lines refused.
        refused: u64,
        /// Lines in all.
        lines: u64,
    },
    /// It lost more than a quarter of its entries.
    #[error("it shrank from {from} to {to} entries, by more than a quarter; a person must approve that")]
    Shrunk {
        /// Entries of the last good edition.
        from: u64,
        /// Entries of this one.
        to: u64,
    },
    /// A sentinel that it must block.
    #[error("it does not block {0}, which is among must_block")]
    NotBlocked(String),
    /// A sentinel that it must not block.
    #[error("it blocks {0}, which is among must_allow")]
    Blocked(String),
}

impl From<NotAList> for Held {
    fn from(why: NotAList) -> Self {
        Self::NotAList(why.to_string())
    }
}

/// Whether an edition may go live. `before` is how many entries the last good one has; `approved` the digest that a
/// person has approved although it shrank.
pub fn check(list: &List, edition: &Edition, before: Option<u64>, approved: Option<[u8; 32]>) -> Result<(), Held> {
    let entries = edition.entries() as u64;
    // Lines that are sound and that no resolver can enforce say nothing against the list.
    let beside = |why: &Refusal| matches!(why, Refusal::Url | Refusal::Cosmetic);
    let refused: u64 = edition.refused().values().map(|&count| u64::from(count)).sum();
    let odd: u64 = edition.refused().iter().filter(|(why, _)| !beside(why)).map(|(_, &count)| u64::from(count)).sum();
    if entries == 0 {
        return Err(Held::Nothing(refused));
    }
    if odd > entries {
        return Err(Held::Refused { refused: odd, lines: odd + entries });
    }
    for name in &list.must_block {
        if !edition.lists(name) {
            return Err(Held::NotBlocked(name.to_string()));
        }
    }
    for name in &list.must_allow {
        if edition.lists(name) {
            return Err(Held::Blocked(name.to_string()));
        }
    }
    match before {
        // A quarter of few entries is less than one.
        Some(before) if entries * 4 < before * 3 && approved != Some(edition.digest()) => {
            Err(Held::Shrunk { from: before, to: entries })
        }
        _ => Ok(()),
    }
}
