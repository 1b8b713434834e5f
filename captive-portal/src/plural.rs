//! A number with its noun, in the forms that a language has for it.

use serde::Deserialize;

use crate::words::fill;

/// The forms, by the plural categories of Unicode CLDR. Which of them a language has is in [`forms`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plural {
    zero: Option<String>,
    one: Option<String>,
    two: Option<String>,
    few: Option<String>,
    many: Option<String>,
    other: String,
}

impl Plural {
    /// The number with its noun in this language.
    pub(crate) fn of(&self, language: &str, n: u64) -> String {
        let form = match form(language, n) {
            "zero" => &self.zero,
            "one" => &self.one,
            "two" => &self.two,
            "few" => &self.few,
            "many" => &self.many,
            _ => &None,
        };
        fill(form.as_ref().unwrap_or(&self.other), &[("n", &n.to_string())])
    }
}

/// The category of a whole number, by the rules of CLDR for the languages we have. The form of the Romance languages for
/// whole millions is left out: nobody is online for so long.
fn form(language: &str, n: u64) -> &'static str {
    match (language, n, n % 10, n % 100) {
        ("ar", 0, ..) => "zero",
        ("ar", 1, ..) => "one",
        ("ar", 2, ..) => "two",
        ("ar", _, _, 3..=10) => "few",
        ("ar", _, _, 11..=99) => "many",
        ("ar", ..) => "other",
        ("fr" | "pt", 0, ..) => "one",
        ("sr" | "mk", _, 1, last) if last != 11 => "one",
        ("sr", _, 2..=4, last) if !(12..=14).contains(&last) => "few",
        ("sr" | "mk", ..) => "other",
        (_, 1, ..) => "one",
        _ => "other",
    }
}

/// The forms that a language has.
#[cfg(test)]
pub(crate) fn forms(language: &str) -> std::collections::BTreeSet<&'static str> {
    (0..=200).map(|n| form(language, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_counts_by_its_own_rules() {
        for (language, numbers) in [
            ("en", [(0, "other"), (1, "one"), (2, "other"), (21, "other"), (101, "other")]),
            ("fr", [(0, "one"), (1, "one"), (2, "other"), (21, "other"), (101, "other")]),
            ("mk", [(0, "other"), (1, "one"), (11, "other"), (21, "one"), (111, "other")]),
            ("sr", [(1, "one"), (3, "few"), (13, "other"), (22, "few"), (25, "other")]),
            ("ar", [(0, "zero"), (2, "two"), (7, "few"), (15, "many"), (100, "other")]),
        ] {
            for (n, name) in numbers {
                assert_eq!(form(language, n), name, "{language} {n}");
            }
        }
    }
}
