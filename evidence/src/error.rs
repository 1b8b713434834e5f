//! What can go wrong in this room, except a bundle that is refused ([`crate::verify::Refusal`]).

use std::path::PathBuf;

/// What we were doing, to what, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes that are not the one form of their value.
    #[error("not canonical JSON: {0}")]
    NotCanonical(String),
    /// A key file that cannot be used.
    #[error("key file {}: {what}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A record with a value that may not be.
    #[error("record: {0}")]
    BadRecord(String),
    /// A text that holds no usable key.
    #[error("{0}")]
    NotAKey(&'static str),
}
