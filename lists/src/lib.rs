//! Fetches, validates and keeps editions of block lists.
//!
//! [`read`] takes a list's text from a file or folder, within limits, and the `policy` room parses it; the [`gate`]
//! lets an edition go live or holds it back, with the reason; the [`Keeper`] keeps the last good edition of each list
//! on disk and hands it out when a new one is held. The [`Fetcher`] asks for lists by URL (`http`, `unpack`, `address`) and
//! puts what comes before the keeper. [`load`] does the reading and the gate alone, for commands that keep nothing.

use std::{io, path::Path, path::PathBuf};

use sheshi_policy::{Edition, NotAList, Policy, Progress};

mod address;
mod fetch;
pub mod gate;
mod http;
mod keeper;
pub mod read;
mod save;
mod unpack;

pub use address::is_public;
pub use fetch::{Fetcher, Round, Step, Subscription};
pub use gate::Held;
pub use http::{Fault, Limits, LookUp, Looking, Trust, Validators};
pub use keeper::{Keeper, ListState, ListStatus, Loaded};
pub use unpack::Unpackable;

/// What went wrong with a list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file of a list could not be read.
    #[error("reading list {list} from {path}: {source}")]
    Read {
        /// The list's name in the policy.
        list: String,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than a list may be.
    #[error("reading list {list} from {path}: larger than {limit} MiB, the most a list may have")]
    TooLarge {
        /// The list's name in the policy.
        list: String,
        /// The file or folder.
        path: PathBuf,
        /// The limit, in MiB.
        limit: u64,
    },
    /// A folder that is not laid out as UT1 lays out its lists.
    #[error("reading list {list} from {path}: {wrong}; {right}")]
    Folder {
        /// The list's name in the policy.
        list: String,
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        wrong: &'static str,
        /// What would be right.
        right: &'static str,
    },
    /// The key of a hashed list is not one.
    #[error("reading the key of list {list} from {path}: not 64 hexadecimal digits")]
    Key {
        /// The list's name in the policy.
        list: String,
        /// The file.
        path: PathBuf,
    },
    /// It is no list.
    #[error("reading list {list}: {why}")]
    NotAList {
        /// The list's name in the policy.
        list: String,
        /// What it is.
        why: NotAList,
    },
    /// The edition may not go live, and there is no earlier one.
    #[error("list {list} has no good edition: {why}")]
    Held {
        /// The list's name in the policy.
        list: String,
        /// Why it is held.
        why: Held,
    },
    /// A list by URL has never been fetched.
    #[error("list {list} has not been fetched from {url} yet; nothing can be compiled without it")]
    NotFetched {
        /// The list's name in the policy.
        list: String,
        /// Its URL.
        url: String,
    },
    /// An edition could not be kept.
    #[error("keeping list {list} in {path}: {source}")]
    Keep {
        /// The list's name in the policy.
        list: String,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads all lists of a policy that are files; relative paths start at `folder`, the policy's own. Keeps nothing: a
/// list that may not go live is an error.
pub fn load(policy: &Policy, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Edition>, ListError> {
    let total = policy.lists.len() as u64;
    let mut editions = Vec::with_capacity(policy.lists.len());
    for (number, list) in policy.lists.iter().enumerate() {
        progress(Progress { step: "reading lists", done: number as u64, total });
        let edition = read::Text::read(list, folder)?.parse(list, folder)?;
        gate::check(list, &edition, None, None).map_err(|why| ListError::Held { list: list.name.to_string(), why })?;
        editions.push(edition);
    }
    progress(Progress { step: "reading lists", done: total, total });
    Ok(editions)
}
