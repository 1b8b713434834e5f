//! What guests read, by language: one file of words a language, all with the same keys.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use serde::Deserialize;

use crate::plural::Plural;

/// The languages, as files. Another language is another file and another line here.
const FILES: [(&str, &str); 12] = [
    ("sq", include_str!("../words/sq.toml")),
    ("en", include_str!("../words/en.toml")),
    ("it", include_str!("../words/it.toml")),
    ("de", include_str!("../words/de.toml")),
    ("fr", include_str!("../words/fr.toml")),
    ("es", include_str!("../words/es.toml")),
    ("pt", include_str!("../words/pt.toml")),
    ("el", include_str!("../words/el.toml")),
    ("mk", include_str!("../words/mk.toml")),
    ("sr", include_str!("../words/sr.toml")),
    ("tr", include_str!("../words/tr.toml")),
    ("ar", include_str!("../words/ar.toml")),
];

static LANGUAGES: LazyLock<Vec<Words>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|(code, file)| toml::from_str(file).unwrap_or_else(|error| panic!("words/{code}.toml: {error}")))
        .collect()
});

/// The words of one language. `{…}` in a text is filled in by the page that shows it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    /// BCP 47 code.
    pub(crate) code: String,
    /// The language's name in itself.
    pub(crate) name: String,
    /// `ltr` or `rtl`.
    pub(crate) direction: String,
    pub(crate) common: Common,
    pub(crate) time: Time,
    pub(crate) terms: Terms,
    pub(crate) welcome: Welcome,
    pub(crate) status: Status,
    pub(crate) opening: Opening,
    pub(crate) blocked: Blocked,
    pub(crate) voucher: Voucher,
    pub(crate) filter: Filter,
    pub(crate) objection: Objection,
    pub(crate) message: Messages,
    /// Titles of well-known categories; the policy's own title is shown for others.
    pub(crate) categories: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Common {
    pub(crate) wifi: String,
    pub(crate) languages: String,
    pub(crate) contact: String,
    pub(crate) no_uplink: String,
    pub(crate) to_portal: String,
    pub(crate) to_status: String,
    pub(crate) help: String,
    pub(crate) footer: String,
    pub(crate) how: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Time {
    pub(crate) hours: Plural,
    pub(crate) minutes: Plural,
    pub(crate) days: Plural,
    pub(crate) less: String,
    pub(crate) join: String,
    /// The days, from Monday, as short as they are written.
    pub(crate) week: [String; 7],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    pub(crate) title: String,
    pub(crate) intro: String,
    pub(crate) before: String,
    pub(crate) filter_title: String,
    pub(crate) filter_text: String,
    pub(crate) filter_none: String,
    pub(crate) kept_title: String,
    pub(crate) kept_session: String,
    pub(crate) kept_consent: String,
    pub(crate) kept_never: String,
    pub(crate) rights_title: String,
    pub(crate) rights_text: String,
    pub(crate) authority: String,
    pub(crate) time_title: String,
    pub(crate) time_text: String,
    pub(crate) full_title: String,
    pub(crate) full_text: String,
    pub(crate) version: String,
    pub(crate) accept: String,
    pub(crate) accept_again: String,
    pub(crate) accept_note: String,
    pub(crate) then: String,
    pub(crate) checked_title: String,
    pub(crate) checked_by: String,
    pub(crate) checked_none: String,
    pub(crate) test_good: String,
    pub(crate) test_bad: String,
    pub(crate) test_none: String,
    pub(crate) roaming: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Welcome {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) go_on: String,
    pub(crate) bookmark: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) title: String,
    pub(crate) left: String,
    pub(crate) text: String,
    pub(crate) longer: String,
    pub(crate) leave: String,
    pub(crate) leave_note: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) again: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blocked {
    pub(crate) title: String,
    pub(crate) policy: String,
    pub(crate) order: String,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) order_name: String,
    pub(crate) reason: String,
    pub(crate) by: String,
    pub(crate) object: String,
    pub(crate) no_record: String,
    pub(crate) abuse_title: String,
    pub(crate) abuse_text: String,
    pub(crate) abuse_help: String,
    pub(crate) abuse_iwf: String,
    pub(crate) abuse_list: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Voucher {
    pub(crate) title: String,
    pub(crate) label: String,
    pub(crate) needed: String,
    pub(crate) keeps: String,
    pub(crate) link: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    pub(crate) title: String,
    pub(crate) intro: String,
    pub(crate) ask: String,
    pub(crate) label: String,
    pub(crate) button: String,
    pub(crate) open: String,
    pub(crate) blocked: String,
    pub(crate) list: String,
    pub(crate) no_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Objection {
    pub(crate) title: String,
    pub(crate) intro: String,
    pub(crate) text: String,
    pub(crate) hint: String,
    pub(crate) button: String,
    pub(crate) sent: String,
    pub(crate) find: String,
    pub(crate) number: String,
    pub(crate) show: String,
    pub(crate) waiting: String,
    pub(crate) granted: String,
    pub(crate) refused: String,
    pub(crate) unknown: String,
}

/// A title and a text each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Messages {
    pub(crate) unknown_device: [String; 2],
    pub(crate) stale: [String; 2],
    pub(crate) failed: [String; 2],
    pub(crate) full: [String; 2],
    pub(crate) left: [String; 2],
    pub(crate) sign_in: [String; 2],
    pub(crate) not_found: [String; 2],
    pub(crate) bad_request: [String; 2],
    pub(crate) closed: [String; 2],
    pub(crate) bad_code: [String; 2],
    pub(crate) slow_down: [String; 2],
}

/// The words of a language.
pub(crate) fn get(code: &str) -> Option<&'static Words> {
    LANGUAGES.iter().find(|words| words.code == code)
}

/// The languages there are.
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(code, _)| *code)
}

/// The language for a guest: what it chose, else the best of `Accept-Language` (RFC 9110 section 12.5.4), else the first
/// offered.
pub(crate) fn choose(offered: &[String], chosen: Option<&str>, accept: Option<&str>) -> &'static Words {
    let offer =
        |code: &str| offered.iter().find(|offered| offered.eq_ignore_ascii_case(code)).and_then(|code| get(code));
    if let Some(words) = chosen.and_then(offer) {
        return words;
    }
    let mut best: Option<(f32, &'static Words)> = None;
    for range in accept.unwrap_or("").split(',').take(32) {
        let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
        let weight = match weight.trim().strip_prefix("q=") {
            Some(weight) => weight.parse().unwrap_or(0.0),
            None => 1.0,
        };
        // `sq-AL` is served by `sq`.
        let tag = tag.trim();
        let words = offer(tag).or_else(|| offer(tag.split('-').next().unwrap_or(tag)));
        if let Some(words) = words
            && weight > best.map_or(0.0, |(weight, _)| weight)
        {
            best = Some((weight, words));
        }
    }
    // The settings were checked: at least one language, and all of them known.
    best.map(|(_, words)| words).or_else(|| offered.first().and_then(|code| get(code))).unwrap_or(&LANGUAGES[0])
}

/// Fills in the `{…}` of a text, each once and nothing in what was filled in.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        rest = match after.split_once('}') {
            Some((key, after)) => match values.iter().find(|(name, _)| *name == key) {
                Some((_, value)) => {
                    filled.push_str(value);
                    after
                }
                None => panic!("the text `{text}` has `{{{key}}}`, which this page does not know"),
            },
            None => panic!("the text `{text}` has a brace that is not closed"),
        };
    }
    filled.push_str(rest);
    filled
}

impl Words {
    /// A span of time in hours and minutes, rounded down.
    pub(crate) fn span(&self, time: Duration) -> String {
        let minutes = time.as_secs() / 60;
        match (minutes / 60, minutes % 60) {
            (0, 0) => self.time.less.clone(),
            (0, minutes) => self.time.minutes.of(&self.code, minutes),
            (hours, 0) => self.time.hours.of(&self.code, hours),
            (hours, minutes) => {
                let (hours, minutes) =
                    (self.time.hours.of(&self.code, hours), self.time.minutes.of(&self.code, minutes));
                fill(&self.time.join, &[("hours", &hours), ("minutes", &minutes)])
            }
        }
    }

    pub(crate) fn days(&self, days: u16) -> String {
        self.time.days.of(&self.code, days.into())
    }

    /// The title of a category.
    pub(crate) fn category<'a>(&'a self, name: &str, title: &'a str) -> &'a str {
        self.categories.get(name).map_or(title, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_whole_and_under_its_code() {
        for (code, _) in FILES {
            let words = get(code).unwrap();
            assert_eq!(words.code, code);
            assert!(matches!(&*words.direction, "ltr" | "rtl"), "{code}");
        }
    }

    #[test]
    fn every_language_names_the_same_categories() {
        let names = |words: &Words| words.categories.keys().cloned().collect::<Vec<_>>();
        for words in LANGUAGES.iter() {
            assert_eq!(names(words), names(&LANGUAGES[0]), "{}", words.code);
        }
    }

    /// The texts of a file by their keys; of a number's forms the one that all languages have.
    fn texts(path: &str, value: &toml::Value, found: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::String(text) => drop(found.insert(path.to_owned(), text.clone())),
            toml::Value::Array(values) => {
                values.iter().enumerate().for_each(|(n, value)| texts(&format!("{path}.{n}"), value, found));
            }
            toml::Value::Table(table) => match table.get("other") {
                Some(other) => texts(path, other, found),
                None => table.iter().for_each(|(key, value)| texts(&format!("{path}.{key}"), value, found)),
            },
            other => panic!("{path}: {other}"),
        }
    }

    fn places(text: &str) -> Vec<&str> {
        let mut places: Vec<_> = text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn every_language_has_every_text_with_the_same_places_to_fill_in() {
        let of = |file: &str| {
            let mut found = BTreeMap::new();
            texts("", &toml::from_str(file).unwrap(), &mut found);
            found
        };
        let english = of(FILES[1].1);
        for (code, file) in FILES {
            let own = of(file);
            assert_eq!(own.keys().collect::<Vec<_>>(), english.keys().collect::<Vec<_>>(), "{code}");
            for (path, text) in &own {
                assert!(!text.trim().is_empty(), "{code}{path} is empty");
                assert_eq!(places(text), places(&english[path]), "{code}{path}");
            }
            // A text that was copied and never translated: beyond these words nothing reads the same in two languages.
            let same = |path: &String| !path.starts_with(".categories") && english[path].len() > 24;
            let copied: Vec<_> = own.iter().filter(|(path, text)| same(path) && english[*path] == **text).collect();
            assert!(code == "en" || copied.iter().all(|(path, _)| *path == ".blocked.abuse_iwf"), "{code}: {copied:?}");
        }
    }

    #[test]
    fn every_language_has_the_forms_that_its_numbers_need() {
        for (code, file) in FILES {
            let file: toml::Value = toml::from_str(file).unwrap();
            for noun in ["hours", "minutes", "days"] {
                let forms = file["time"][noun].as_table().unwrap();
                let forms: std::collections::BTreeSet<_> = forms.keys().map(String::as_str).collect();
                let mut needed = crate::plural::forms(code);
                needed.insert("other");
                assert_eq!(forms, needed, "{code} {noun}");
            }
        }
    }

    #[test]
    fn only_arabic_is_written_from_the_right() {
        for (code, _) in FILES {
            assert_eq!(get(code).unwrap().direction, if code == "ar" { "rtl" } else { "ltr" }, "{code}");
        }
    }

    #[test]
    fn language_follows_the_choice_then_the_browser_then_the_settings() {
        let offered = ["sq".to_owned(), "en".to_owned()];
        for (chosen, accept, code) in [
            (None, None, "sq"),
            (None, Some(""), "sq"),
            (None, Some("en"), "en"),
            (None, Some("en-GB,en;q=0.9"), "en"),
            (None, Some("de, en;q=0.5, sq;q=0.8"), "sq"),
            (None, Some("de,fr;q=0.9"), "sq"),
            (None, Some("en;q=0"), "sq"),
            (None, Some("en;q=x, ,;;"), "sq"),
            (Some("en"), Some("sq"), "en"),
            (Some("tlh"), Some("en"), "en"),
            (Some("../en"), None, "sq"),
        ] {
            assert_eq!(choose(&offered, chosen, accept).code, code, "{chosen:?} {accept:?}");
        }
    }

    #[test]
    fn span_is_in_hours_and_minutes() {
        let span = |seconds| get("en").unwrap().span(Duration::from_secs(seconds));
        assert_eq!(span(59), "less than a minute");
        assert_eq!(span(60), "1 minute");
        assert_eq!(span(3600), "1 hour");
        assert_eq!(span(8 * 3600 - 1), "7 hours and 59 minutes");
    }

    #[test]
    fn what_was_filled_in_is_not_filled_in_again() {
        assert_eq!(fill("{a} and {b}", &[("a", "{b}"), ("b", "2")]), "{b} and 2");
    }
}
