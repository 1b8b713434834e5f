//! What people read, by language: one file of words a language, all with the same keys.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// The languages, as files; the first one is for browsers that ask for none of them. Another language is another file and
/// another line here.
const FILES: [(&str, &str); 2] = [("sq", include_str!("../words/sq.toml")), ("en", include_str!("../words/en.toml"))];

static LANGUAGES: LazyLock<Vec<Words>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|(code, file)| toml::from_str(file).unwrap_or_else(|error| panic!("words/{code}.toml: {error}")))
        .collect()
});

/// Makes one struct a section, so that a text that is missing in a language, or that no page shows, does not pass.
macro_rules! words {
    ($($section:ident: $kind:ident { $($key:ident)* })*) => {
        /// The words of one language. `{…}` in a text is filled in by the page that shows it.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Words {
            /// BCP 47 code.
            pub(crate) code: String,
            /// The language's name in itself.
            pub(crate) name: String,
            $(pub(crate) $section: $kind,)*
            /// Roles by name: what they are called, and what they may do.
            pub(crate) roles: BTreeMap<String, [String; 2]>,
            /// Deeds of the audit log.
            pub(crate) deeds: BTreeMap<String, String>,
            /// How a gateway stands or is.
            pub(crate) states: BTreeMap<String, String>,
            /// The kinds of rules that decide about a name.
            pub(crate) rules: BTreeMap<String, String>,
            /// Well-known figures of a report.
            pub(crate) counts: BTreeMap<String, String>,
        }
        $(
            #[derive(Debug, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(crate) struct $kind { $(pub(crate) $key: String,)* }
        )*
    };
}

include!("words_keys.rs");

/// A text from a table of words, or the key itself where there is none.
pub(crate) fn of<'a>(table: &'a BTreeMap<String, String>, key: &'a str) -> &'a str {
    table.get(key).map_or(key, |text| text)
}

impl Words {
    pub(crate) fn state(&self, key: &str) -> String {
        of(&self.states, key).to_owned()
    }
}

/// All languages.
pub(crate) fn all() -> &'static [Words] {
    &LANGUAGES
}

/// The words of a language.
pub(crate) fn get(code: &str) -> Option<&'static Words> {
    LANGUAGES.iter().find(|words| words.code == code)
}

/// The language that was chosen, else the one that the browser likes best (RFC 9110 section 12.5.4), else the first one.
pub(crate) fn choose(chosen: Option<&str>, accept: Option<&str>) -> &'static Words {
    let mut wanted: Vec<(u32, &str)> = accept
        .unwrap_or_default()
        .split(',')
        .take(32)
        .filter_map(|part| {
            let (language, weight) = part.split_once(";q=").unwrap_or((part, "1"));
            let weight: f32 = weight.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
            Some(((weight * 1000.0) as u32, language.trim().split('-').next()?))
        })
        .filter(|(weight, _)| *weight > 0)
        .collect();
    wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let liked = || wanted.iter().find_map(|(_, code)| get(&code.to_ascii_lowercase()));
    chosen.and_then(get).or_else(liked).unwrap_or(&LANGUAGES[0])
}

/// Fills in `{key}`. What is filled in is not looked at again.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        let value = rest
            .find('}')
            .and_then(|end| values.iter().find(|(key, _)| *key == &rest[1..end]).map(|(_, value)| (*value, end)));
        match value {
            Some((value, end)) => {
                filled.push_str(value);
                rest = &rest[end + 1..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, audit::ACTIONS, store::State};

    #[test]
    fn every_language_has_words_for_every_deed_role_and_state() {
        for words in all() {
            for action in ACTIONS {
                assert!(words.deeds.contains_key(action), "{} deed {action}", words.code);
            }
            assert_eq!(words.deeds.len(), ACTIONS.len());
            for role in Role::ALL {
                assert!(words.roles.contains_key(role.name()), "{} role {}", words.code, role.name());
            }
            for state in State::ALL {
                assert!(words.states.contains_key(state.name()), "{} state {}", words.code, state.name());
            }
        }
    }

    #[test]
    fn both_languages_fill_in_the_same_places() {
        let places = |file: &str| {
            let table: toml::Table = toml::from_str(file).unwrap();
            let mut found = Vec::new();
            for (section, value) in &table {
                for (key, text) in value.as_table().into_iter().flatten() {
                    let text = text.to_string();
                    let mut keys: Vec<_> = text
                        .split('{')
                        .skip(1)
                        .filter_map(|rest| rest.split_once('}'))
                        .map(|(key, _)| key.to_owned())
                        .collect();
                    keys.sort();
                    found.push((section.clone(), key.clone(), keys));
                }
            }
            found
        };
        assert_eq!(places(FILES[0].1), places(FILES[1].1));
    }

    #[test]
    fn language_is_chosen_then_liked_then_albanian() {
        for (chosen, accept, code) in [
            (None, None, "sq"),
            (None, Some("de"), "sq"),
            (None, Some("de, en-GB;q=0.8, sq;q=0.2"), "en"),
            (Some("sq"), Some("en"), "sq"),
            (Some("xx"), Some("en"), "en"),
            (None, Some("en;q=0, *"), "sq"),
            (None, Some("en;q=NaN"), "sq"),
        ] {
            assert_eq!(choose(chosen, accept).code, code, "{chosen:?} {accept:?}");
        }
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        assert_eq!(fill("{a} and {b} {c} {", &[("a", "{b}"), ("b", "x")]), "{b} and x {c} {");
    }
}
