//! Why a bundle was refused: the names of `docs/evidence-format.md`, section 12.

use std::fmt;

/// The first thing in a bundle that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {name}: {place}: {why}")]
pub struct Refusal {
    /// Step of section 12.
    pub step: u8,
    /// The error's name.
    pub name: Name,
    /// File, record or member.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// Names of errors; the format's table says what each means.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the table in section 12 says what each means")]
        pub enum Name { $($variant,)* }

        impl Name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As the format writes it.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

names! {
    MissingFile = "missing-file",
    UnknownFile = "unknown-file",
    TooLarge = "too-large",
    NotCanonical = "not-canonical",
    BadSignature = "bad-signature",
    WrongKey = "wrong-key",
    WrongType = "wrong-type",
    UnknownFormat = "unknown-format",
    FileChanged = "file-changed",
    ManifestIncomplete = "manifest-incomplete",
    BadCheckpoint = "bad-checkpoint",
    WrongSize = "wrong-size",
    BadRecord = "bad-record",
    WrongSeq = "wrong-seq",
    WrongGateway = "wrong-gateway",
    BrokenChain = "broken-chain",
    TimeRule = "time-rule",
    WrongRoot = "wrong-root",
    BadProof = "bad-proof",
    WrongOrigin = "wrong-origin",
    Edge = "edge",
    WrongReport = "wrong-report",
    WrongCatalogue = "wrong-catalogue",
    WrongProfile = "wrong-profile",
    WrongDetails = "wrong-details",
    ControlMissing = "control-missing",
    WrongSample = "wrong-sample",
    WrongList = "wrong-list",
    WrongRendering = "wrong-rendering",
    MissingCosignature = "missing-cosignature",
    BadCosignature = "bad-cosignature",
    MissingTimeStamp = "missing-time-stamp",
    BadTimeStamp = "bad-time-stamp",
    NoKeyFor = "no-key-for",
    Fork = "fork",
    Shrunk = "shrunk",
    Gap = "gap",
    NonceMissing = "nonce-missing",
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Refusal {
    pub(crate) fn new(step: u8, name: Name, place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { step, name, place: place.into(), why: why.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_document_names_each_error_and_no_other() {
        let document = include_str!("../../docs/evidence-format.md");
        let table = document.split("## 12.").nth(1).unwrap().split("### ").next().unwrap();
        let mut told: Vec<&str> = table
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
            .flat_map(|line| line.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2))
            .collect();
        told.sort_unstable();
        told.dedup();
        let mut names: Vec<&str> = Name::ALL.iter().map(|name| name.text()).collect();
        names.sort_unstable();
        assert_eq!(told, names);
    }
}
