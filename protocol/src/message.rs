//! What gateways send and get: docs/dashboard-protocol.md. Everything a gateway sends is bounded before it is kept.

use serde::{Deserialize, Serialize};

/// A claim: `POST /api/v1/gateways/claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The gateway's Ed25519 public key, 64 hexadecimal digits.
    pub key: String,
    /// What guests and the city call the place.
    pub site: String,
    /// The code that an operator made.
    pub code: String,
}

/// How a claim stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// `pending`, `approved`, `refused`, `quarantined` or `revoked`.
    pub state: String,
    /// SHA-256 of the key as the dashboard's page shows it, to be compared by people.
    pub fingerprint: String,
}

/// A report: `POST /api/v1/report`, once a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What guests call the place.
    pub site: String,
    /// The gateway's version.
    pub version: String,
    /// Seconds since it started.
    #[serde(default)]
    pub running: u64,
    /// What guests get.
    pub service: Service,
    /// What is wrong, and what mends it.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// The policy in force; none when nothing is.
    pub policy: Option<PolicyInForce>,
    /// Figures by name: counts only, nothing that names a device or a domain.
    #[serde(default)]
    pub counts: std::collections::BTreeMap<String, u64>,
}

/// What guests get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Admitted guests reach the internet, filtered.
    Open,
    /// Nothing is forwarded.
    Closed,
}

/// What is wrong, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub fix: String,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInForce {
    /// Its running number.
    pub generation: u64,
    /// Its digest, 64 hexadecimal digits.
    pub digest: String,
    /// Its lists.
    #[serde(default)]
    pub lists: Vec<ListInForce>,
}

/// A list of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInForce {
    /// Its name.
    pub name: String,
    /// Its category; none for allowed names.
    #[serde(default)]
    pub category: Option<String>,
    /// Its edition.
    #[serde(default)]
    pub edition: String,
    /// How many entries are in force.
    #[serde(default)]
    pub entries: u64,
    /// How many lines were not taken.
    #[serde(default)]
    pub refused: u64,
}

/// Why a request was not taken, in words for the gateway's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A word for programs.
    pub error: String,
    /// A sentence for people.
    pub hint: String,
}

const NAME: usize = 100;
const SENTENCE: usize = 500;

/// Marks that turn the direction of writing make a text read as another one.
fn is_readable(letter: char) -> bool {
    let turning = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    !letter.is_control() && !turning
}

/// Whether a text is one line of readable characters, of at most so many.
fn readable(text: &str, most: usize) -> bool {
    text.chars().count() <= most && text.chars().all(is_readable)
}

/// A text as the one line that a trouble may be: what is not readable becomes a space, what is too long is cut.
pub fn line(text: &str) -> String {
    text.chars().map(|letter| if is_readable(letter) { letter } else { ' ' }).take(SENTENCE).collect()
}

/// A site's name: something to read, of at most a hundred characters.
pub fn is_site(site: &str) -> bool {
    !site.trim().is_empty() && readable(site, NAME)
}

impl Report {
    /// What is out of bounds, if something is.
    pub fn out_of_bounds(&self) -> Option<&'static str> {
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let count = |name: &str| {
            (1..=40).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
        };
        if !is_site(&self.site) {
            return Some("site: want 1 to 100 readable characters");
        }
        if self.version.is_empty() || !readable(&self.version, NAME) {
            return Some("version: want 1 to 100 readable characters");
        }
        if self.troubles.len() > 50 {
            return Some("troubles: want at most 50");
        }
        if self.troubles.iter().any(|trouble| !readable(&trouble.what, SENTENCE) || !readable(&trouble.fix, SENTENCE)) {
            return Some("troubles: want one line of at most 500 characters each");
        }
        if self.counts.len() > 64 || !self.counts.keys().all(|name| count(name)) {
            return Some("counts: want at most 64, named with a-z, 0-9 and _");
        }
        let Some(policy) = &self.policy else { return None };
        if !hex(&policy.digest) {
            return Some("policy.digest: want 64 hexadecimal digits");
        }
        let list = |list: &ListInForce| {
            readable(&list.name, NAME)
                && readable(&list.edition, NAME)
                && list.category.as_deref().is_none_or(|category| readable(category, NAME))
        };
        if policy.lists.len() > 1000 || !policy.lists.iter().all(list) {
            return Some("policy.lists: want at most 1000, with texts of at most 100 characters");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_line_that_a_report_may_carry() {
        for text in ["line 1\nline 2", "\u{202e}turned", &"x".repeat(2000), ""] {
            assert!(readable(&line(text), SENTENCE), "{text:.20}");
        }
        assert!(!readable("\u{202e}turned", SENTENCE) && !readable("two\nlines", SENTENCE));
        assert_eq!(line("no route to 192.0.2.1"), "no route to 192.0.2.1");
    }
}
