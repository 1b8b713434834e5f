//! Reads a configuration so that every problem is told at once, with its place: syntax, unknown keys, missing keys, wrong
//! kinds, values out of bounds. A section is asked for the keys it knows; what nobody asked for is unknown.

use std::{
    cell::{Cell, RefCell},
    ops::{Range, RangeInclusive},
    str::FromStr,
};

use sheshi_policy::{Problem, Problems};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Collects what is wrong with one text.
pub struct Reader<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

/// A table of the text: the whole of it, or a `[section]`.
pub struct Section<'r, 't> {
    reader: &'r Reader<'t>,
    path: String,
    span: Range<usize>,
    table: &'r DeTable<'t>,
    known: RefCell<Vec<&'static str>>,
    foreign: Cell<bool>,
}

/// Reads a text: `read` asks the outermost section for what it knows.
pub fn read<'t, T>(text: &'t str, read: impl FnOnce(&Section<'_, 't>) -> T) -> Result<T, Problems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let reader = Reader { text, problems: RefCell::default() };
    for error in errors {
        reader.tell(error.span().unwrap_or(0..0), "", error.message().to_owned(), "want TOML 1.0, see https://toml.io");
    }
    let section = Section {
        reader: &reader,
        path: String::new(),
        span: 0..0,
        table: document.get_ref(),
        known: RefCell::default(),
        foreign: Cell::default(),
    };
    let value = read(&section);
    section.finish();
    let mut problems = reader.problems.into_inner();
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(value) } else { Err(Problems(problems)) }
}

impl Reader<'_> {
    fn tell(&self, span: Range<usize>, path: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let line =
            1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|&&byte| byte == b'\n').count();
        self.problems.borrow_mut().push(Problem { path: path.into(), line, wrong: wrong.into(), right: right.into() });
    }
}

impl<'r, 't> Section<'r, 't> {
    fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn value(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'t>>> {
        self.known.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Tells of a problem with a key's value (`key`, `key.part`, `key[0]`), or with the section when it has no such key.
    pub fn tell(&self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let top = key.split(['.', '[']).next().unwrap_or(key);
        let span = self.table.get(top).map_or(self.span.clone(), Spanned::span);
        self.reader.tell(span, &self.path(key), wrong, right);
    }

    fn wrong_kind(&self, key: &str, value: &DeValue<'_>, want: &str) {
        self.tell(key, format!("is a TOML {}", value.type_str()), format!("want {want}"));
    }

    /// Whether the key is given.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A section below this one; what is missing counts as empty.
    pub fn section<T: Default>(&self, key: &'static str, read: impl FnOnce(&Section<'_, 't>) -> T) -> T {
        let empty = DeTable::new();
        let (table, span) = match self.value(key) {
            None => (&empty, self.span.clone()),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (table, value.span()),
                other => {
                    self.wrong_kind(key, other, &format!("a section, [{}]", self.path(key)));
                    return T::default();
                }
            },
        };
        let section = Section {
            reader: self.reader,
            path: self.path(key),
            span,
            table,
            known: RefCell::default(),
            foreign: Cell::default(),
        };
        let value = read(&section);
        section.finish();
        value
    }

    /// A text.
    pub fn text(&self, key: &'static str, want: &str) -> Option<String> {
        let value = self.value(key)?.get_ref();
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            match value {
                DeValue::String(_) => self.tell(key, "is empty", format!("want {want}")),
                other => self.wrong_kind(key, other, want),
            }
        }
        text.map(str::to_owned)
    }

    /// A text that must be there.
    pub fn required_text(&self, key: &'static str, want: &str) -> String {
        if !self.has(key) {
            self.tell(key, "is missing", format!("want {want}"));
        }
        self.text(key, want).unwrap_or_default()
    }

    /// A text that reads as a `T`.
    pub fn parsed<T: FromStr>(&self, key: &'static str, want: &str) -> Option<T> {
        let text = self.text(key, want)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.tell(key, format!("{text:?} is none"), format!("want {want}"));
        }
        value
    }

    /// A list of texts that each read as a `T`, one at least.
    pub fn required_list<T: FromStr>(&self, key: &'static str, want: &str) -> Vec<T> {
        let empty =
            self.value(key).is_none_or(|value| value.get_ref().as_array().is_some_and(|items| items.is_empty()));
        if empty {
            self.tell(key, "names none", format!("want a list of {want}"));
        }
        self.list(key, want)
    }

    /// A list of texts that each read as a `T`.
    pub fn list<T: FromStr>(&self, key: &'static str, want: &str) -> Vec<T> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(key, value.get_ref(), &format!("a list of {want}"));
            return Vec::new();
        };
        let mut values = Vec::new();
        for (n, item) in items.iter().enumerate() {
            match item.get_ref().as_str().map(str::parse) {
                Some(Ok(value)) => values.push(value),
                _ => {
                    let shown = item
                        .get_ref()
                        .as_str()
                        .map_or(item.get_ref().type_str().to_owned(), |text| format!("{text:?}"));
                    self.reader.tell(
                        item.span(),
                        &format!("{}[{n}]", self.path(key)),
                        format!("{shown} is none"),
                        format!("want {want}"),
                    );
                }
            }
        }
        values
    }

    fn in_bounds(&self, value: &Spanned<DeValue<'t>>, path: &str, bounds: &RangeInclusive<u64>) -> Option<u64> {
        let want = format!(
            "want {}",
            if bounds.start() == bounds.end() {
                bounds.start().to_string()
            } else {
                format!("a whole number from {} to {}", bounds.start(), bounds.end())
            }
        );
        let Some(integer) = value.get_ref().as_integer() else {
            self.reader.tell(value.span(), path, format!("is a TOML {}", value.get_ref().type_str()), want);
            return None;
        };
        let number =
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            self.reader.tell(value.span(), path, format!("{integer} is out of bounds"), want);
        }
        number
    }

    /// A whole number within bounds.
    pub fn integer(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        self.in_bounds(self.value(key)?, &self.path(key), &bounds)
    }

    /// A list of whole numbers within bounds.
    pub fn integers(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Vec<u64> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(key, value.get_ref(), "a list of whole numbers");
            return Vec::new();
        };
        let path = |n| format!("{}[{n}]", self.path(key));
        items.iter().enumerate().filter_map(|(n, item)| self.in_bounds(item, &path(n), &bounds)).collect()
    }

    /// The whole section as a value for another room, which knows its keys.
    pub fn foreign(&self) -> toml::Table {
        self.foreign.set(true);
        // Read from the text again: the other room wants owned values. It was read before, so it is a table.
        let text: Option<toml::Table> = toml::from_str(self.reader.text).ok();
        text.and_then(|table| table.get(&self.path)?.as_table().cloned()).unwrap_or_default()
    }

    fn finish(&self) {
        if self.foreign.get() {
            return;
        }
        let known = self.known.borrow();
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let right =
                match known.iter().min_by_key(|other| distance(name, other)).filter(|other| distance(name, other) <= 2)
                {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("want one of: {}", known.join(", ")),
                };
            self.reader.tell(key.span(), &self.path(name), "is not known here", right);
        }
    }
}

/// How many letters must be put in, left out or changed to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_with_its_line() {
        let text =
            "version = \"1\"\nsie = \"x\"\n\n[dns]\nthreads = 0\nupstreams = [\"9.9.9.9:53\", \"nine\", 9]\n[other]\n";
        let Err(problems) = read(text, |root| {
            root.integer("version", 1..=1);
            root.required_text("site", "a name");
            root.section("dns", |dns| {
                dns.integer("threads", 1..=64);
                let upstreams: Vec<std::net::SocketAddr> = dns.list("upstreams", "ADDR:PORT");
                assert_eq!(upstreams.len(), 1);
            });
        }) else {
            panic!("accepted")
        };
        let told: Vec<_> = problems.0.iter().map(|problem| (problem.line, problem.path.as_str())).collect();
        assert_eq!(
            told,
            [
                (1, "version"),
                (1, "site"),
                (2, "sie"),
                (5, "dns.threads"),
                (6, "dns.upstreams[1]"),
                (6, "dns.upstreams[2]"),
                (7, "other")
            ]
        );
        assert!(problems.to_string().contains("did you mean `site`?"), "{problems}");
    }

    #[test]
    fn all_syntax_errors_are_told() {
        let Err(problems) = read("a = \nb = [1\n", |_| ()) else { panic!("accepted") };
        assert!(!problems.0.is_empty());
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!((distance("uplnk", "uplink"), distance("a", "a"), distance("", "abc")), (1, 0, 3));
    }
}
