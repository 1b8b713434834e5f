//! What can go wrong.

use std::{io, path::PathBuf};

/// What can go wrong in the dashboard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{doing} {path}: {source}")]
    File {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database.
    #[error("{doing} in the database: {why}")]
    Database {
        /// What was done.
        doing: &'static str,
        /// Why it failed.
        why: String,
    },
    /// A setting.
    #[error("{setting}: {wrong}; {right}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What is wrong with it.
        wrong: String,
        /// What would be right.
        right: String,
    },
    /// The address to listen on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// The operating system gives no random numbers, or hashing a password failed.
    #[error("{0}")]
    Secret(String),
}

impl Error {
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
