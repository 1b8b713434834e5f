//! What can go wrong in the lab, said so that one can act on it.

use std::{io, path::PathBuf};

/// Why the lab could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("{doing}: {source}")]
    System {
        /// What the lab was doing, and to what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel is set up not to give namespaces to people without root.
    #[error("{0}")]
    NamespacesForbidden(String),
    /// A program the lab runs is not installed.
    #[error("{program} is not installed: {hint}")]
    Missing {
        /// The program.
        program: String,
        /// How to get it.
        hint: String,
    },
    /// A program the lab ran said no.
    #[error("{command} failed: {output}")]
    Command {
        /// The command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds} s for {what}{detail}")]
    TooLate {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u64,
        /// What was seen instead; begins with punctuation or is empty.
        detail: String,
    },
    /// There is no lab in this folder.
    #[error("no lab is running in {}: start one with `sheshi-lab up`", .0.display())]
    NotRunning(PathBuf),
    /// There is one already.
    #[error("a lab is running already ({}): step in with `sheshi-lab exec guest1 -- sh`, end it with `sheshi-lab down`", .0.display())]
    Running(PathBuf),
    /// The lab's first process refused a request or could not start.
    #[error("{0}")]
    Refused(String),
}

/// Adds what we were doing to a failed system call.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|source| LabError::System { doing: what(), source: source.into() })
    }
}
