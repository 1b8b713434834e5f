//! Fetches, validates and keeps editions of block lists.
//!
//! A list of a policy is read from a file or folder ([`load`]), parsed by the `policy` room, and handed to its compiler.

use std::{fs, io, path::Path, path::PathBuf};

use sheshi_policy::{Edition, NotAList, Policy, Progress, Source};

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
    /// It is no list.
    #[error("reading list {list}: {why}")]
    NotAList {
        /// The list's name in the policy.
        list: String,
        /// What it is.
        why: NotAList,
    },
}

/// Reads all lists of a policy; relative paths start at `folder`, the policy's own.
pub fn load(policy: &Policy, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Edition>, ListError> {
    let mut editions = Vec::with_capacity(policy.lists.len());
    for list in &policy.lists {
        let Source::File(file) = &list.source else { continue };
        let path = folder.join(file);
        let name = || list.name.to_string();
        let text = fs::read(&path).map_err(|source| ListError::Read { list: name(), path, source })?;
        editions.push(Edition::parse(list, &text).map_err(|why| ListError::NotAList { list: name(), why })?);
        progress(Progress { step: "reading lists", done: editions.len() as u64, total: policy.lists.len() as u64 });
    }
    Ok(editions)
}
