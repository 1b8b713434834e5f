//! Seeded samples of a list: drawn so that the gateway cannot choose and anyone can draw again (format, section 9).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Digest;

/// HMAC-SHA-256 (RFC 2104).
pub(crate) fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The names of a list's edition in the order of the draw: sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

/// A text that is no such list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct NotAList {
    line: usize,
    what: &'static str,
}

impl Names {
    /// Reads a list text: one name a line, lower case, no trailing dot, sorted by bytes, each once, a newline after each.
    ///
    /// # Errors
    /// The first line that is not so.
    pub fn parse(text: &str) -> Result<Self, NotAList> {
        let mut names: Vec<String> = Vec::new();
        for (i, line) in text.split_inclusive('\n').enumerate() {
            let bad = |what| NotAList { line: i + 1, what };
            let name = line.strip_suffix('\n').ok_or_else(|| bad("has no newline"))?;
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            if name.is_empty() || name.len() > 253 || name.ends_with('.') || !name.bytes().all(plain) {
                return Err(bad("is not a name in lower case, in A-labels, without a trailing dot"));
            }
            if names.last().is_some_and(|last| last.as_str() >= name) {
                return Err(bad("is not after the line before: sort by bytes, each name once"));
            }
            names.push(name.to_owned());
        }
        Ok(Self(names))
    }

    /// The list text of some names, in any order and however often.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// By which `state` records name the list.
    pub fn digest(&self) -> Digest {
        commitment(self.0.iter().map(String::as_str))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Draws `count` names by seed; one may be drawn twice. Of an empty list nothing is drawn.
    pub fn draw<'a>(&'a self, seed: &'a Digest, count: u64) -> impl Iterator<Item = &'a str> {
        positions(seed, self.0.len() as u64, count).map(|position| self.0[position as usize].as_str())
    }
}

/// The lines, from 0, that are drawn from a list text of so many: for lists too large to hold in memory.
pub fn positions(seed: &Digest, lines: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..if lines == 0 { 0 } else { count }).map(move |item| {
        let hash = keyed(&seed.0, &[&item.to_be_bytes()]);
        u64::from_be_bytes(hash[..8].try_into().expect("eight bytes")) % lines
    })
}

/// The seed of a day: `root` is that of all records before its midnight, `date` as in `2026-11-23`.
pub fn seed(root: Digest, date: &str) -> Digest {
    Digest::of_parts(&[&root.0, date.as_bytes()])
}

/// How a record names a drawn name that was not blocked, without telling it.
pub fn miss(seed: &Digest, name: &str) -> String {
    hex::encode(&keyed(&seed.0, &[name.as_bytes()])[..16])
}

/// The digest of names in order, each with a newline.
pub fn commitment<'a>(names: impl Iterator<Item = &'a str>) -> Digest {
    Digest::of(names.fold(String::new(), |text, name| text + name + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draw_is_the_same_for_everyone_and_another_day_draws_others() {
        let names = Names::new((0..1000).map(|i| format!("n{i}.example")).collect());
        let root = Digest::of(b"root");
        let draw = |date| names.draw(&seed(root, date), 5).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(draw("2026-11-23"), draw("2026-11-23"));
        assert_ne!(draw("2026-11-23"), draw("2026-11-24"));
        // Computed once with Python's hashlib and hmac.
        assert_eq!(
            draw("2026-11-23"),
            ["n275.example", "n951.example", "n822.example", "n324.example", "n393.example"]
        );
    }

    #[test]
    fn list_text_has_one_spelling() {
        assert_eq!(
            Names::parse("a.example\nb.example\n").unwrap(),
            Names::new(vec!["b.example".into(), "a.example".into()])
        );
        for text in [
            "b.example\na.example\n",
            "a.example\na.example\n",
            "A.example\n",
            "a.example.\n",
            "a.example",
            "\n",
            "a b\n",
        ] {
            assert!(Names::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Names::parse("").unwrap().draw(&Digest::default(), 5).count(), 0);
    }
}
