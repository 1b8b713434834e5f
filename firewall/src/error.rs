//! What can go wrong when one wants something of the firewall.

use std::{io, path::PathBuf};

/// Why the firewall did not do what was asked. Whatever the reason, nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the guard's socket.
    #[error("reaching the guard at {path}: {source}. Is sheshi-guard running, and may this account use its socket?")]
    Unreachable {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The conversation with the guard broke off.
    #[error("talking to the guard, while {doing}: {source}")]
    Broken {
        /// What we were doing.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A message is not one of ours, or is longer than allowed.
    #[error("talking to the guard, while {doing}: {what}")]
    Malformed {
        /// What we were doing.
        doing: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The ruleset contradicts itself; every problem at once, each with its path.
    #[error("the ruleset is refused: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// A process could not be confined.
    #[error("confining this process to what it needs: {0}")]
    Unconfined(String),
    /// The guard understood and could not: the kernel said no, or the request breaks a bound.
    #[error("the guard could not {doing}: {why}")]
    Failed {
        /// What was asked.
        doing: String,
        /// Why not, in the guard's words.
        why: String,
    },
}
