//! What can go wrong in this room.

use std::path::PathBuf;

use crate::GateError;

/// What we were doing, and what went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings are wrong.
    #[error("checking the portal's settings:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<crate::Problem>),
    /// A file of the portal cannot be read or written.
    #[error("{doing} {path}: {source}")]
    File {
        /// What we were doing.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("{doing} in the portal's database {path}: {why}")]
    Database {
        /// What we were doing.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        why: String,
    },
    /// The firewall did not admit or expel a device.
    #[error("{doing} a device: {source}")]
    Gate {
        /// What we were doing.
        doing: &'static str,
        /// What the firewall said.
        source: GateError,
    },
    /// As many sessions as the settings allow.
    #[error("admitting a device: all {0} sessions of `portal.limits.sessions` are taken")]
    Full(usize),
    /// Codes cannot be made as they were asked for.
    #[error("making codes: {0}")]
    Batch(&'static str),
    /// Another device used a code up first.
    #[error("admitting a device: its code is used up")]
    UsedUp,
    /// The hotspot is closed at this hour.
    #[error("admitting a device: it is outside of `portal.hours`, or the date is not known")]
    Closed,
    /// The device is in the neighbour table under no address that can be admitted.
    #[error("admitting a device: it has no address")]
    NoAddress,
    /// The system gives no random numbers.
    #[error("making a key: {0}")]
    Random(String),
    /// The certificate or its key cannot be used.
    #[error("loading the portal's certificate {path}: {why}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
