//! What can go wrong in this room, except a bundle that is refused ([`crate::verify::Refusal`]).

use std::path::{Path, PathBuf};

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
    /// The disk refused.
    #[error("could not {doing} {}: {error}", path.display())]
    Disk {
        /// What we were doing.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// A log is never begun twice.
    #[error("{} has a log already; open it instead", .0.display())]
    LogExists(PathBuf),
    /// There is no log.
    #[error("{} has no log; make one first", .0.display())]
    NoLog(PathBuf),
    /// Another process writes it.
    #[error("the log {} is open in another process; stop that one first", .0.display())]
    LogBusy(PathBuf),
    /// The disk failed earlier and could not be brought back.
    #[error("the log {} stopped after an error of the disk; open it again", .0.display())]
    LogBroken(PathBuf),
    /// What was acknowledged is not there any more.
    #[error("log {}: record {seq} is damaged: {what}; keep the folder as it is and tell the certifier", folder.display())]
    Damaged {
        /// The log.
        folder: PathBuf,
        /// The record.
        seq: u64,
        /// What is wrong.
        what: String,
    },
    /// A report cannot be made of this period.
    #[error("could not make the report: {0}")]
    Period(&'static str),
    /// A text that holds no usable key.
    #[error("{0}")]
    NotAKey(&'static str),
}

impl Error {
    pub(crate) fn disk(doing: &'static str, path: &Path, error: std::io::Error) -> Self {
        Self::Disk { doing, path: path.into(), error }
    }

    pub(crate) fn damaged(folder: &Path, seq: u64, what: &str) -> Self {
        Self::Damaged { folder: folder.into(), seq, what: what.into() }
    }
}
