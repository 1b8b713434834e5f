//! Reads sections of a TOML document, noting everything that is wrong instead of stopping at the first: syntax, unknown
//! keys, missing keys, wrong kinds. For policies, and for whatever else an admin writes.

use std::collections::BTreeSet;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::Problem;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<T> {
    /// The value.
    pub value: T,
    /// Its place, such as `list.adult.file`.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
}

impl<T> Field<T> {
    /// A problem with it.
    pub fn problem(&self, wrong: impl Into<String>, right: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line: self.line, wrong: wrong.into(), right: right.into() }
    }

    fn map<U>(self, value: impl FnOnce(T) -> U) -> Field<U> {
        Field { value: value(self.value), path: self.path, line: self.line }
    }
}

/// A document being read.
struct Reader<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// The whole document; syntax errors are noted, and what can be read is read on.
    fn document(&mut self) -> Spanned<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map_or(1, |span| self.line(span.start));
            let wrong = format!("not TOML: {}", error.message().replace('\n', ", "));
            let right = "write `key = value` under a `[section]`, texts in quotes".to_owned();
            self.problems.push(Problem { path: "(syntax)".to_owned(), line, wrong, right });
        }
        table
    }

    /// The line of an octet of the text, from 1.
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&octet| octet == b'\n').count() + 1
    }
}

/// Reads a document: `read` asks the outermost section for what it knows. What could be read, and all that is wrong.
pub fn document<'t, T>(text: &'t str, read: impl FnOnce(&mut Section<'_, 't>) -> T) -> (T, Vec<Problem>) {
    let mut reader = Reader::new(text);
    let document = reader.document();
    let mut top = Section::new(&mut reader, document.get_ref(), "", 1);
    let value = read(&mut top);
    top.finish();
    (value, reader.problems)
}

/// A section being read: every key that is asked for is known, and the others are refused at the end.
pub struct Section<'r, 't> {
    reader: &'r mut Reader<'t>,
    table: &'r DeTable<'t>,
    path: String,
    line: usize,
    known: BTreeSet<&'static str>,
    foreign: bool,
}

type Entry<'r, 't> = (&'r Spanned<DeValue<'t>>, Field<()>);

impl<'r, 't> Section<'r, 't> {
    fn new(reader: &'r mut Reader<'t>, table: &'r DeTable<'t>, path: &str, line: usize) -> Self {
        Self { reader, table, path: path.to_owned(), line, known: BTreeSet::new(), foreign: false }
    }

    /// Where the section stands.
    pub fn here(&self) -> Field<()> {
        Field { value: (), path: self.path.clone(), line: self.line }
    }

    fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get(&mut self, key: &'static str) -> Option<Entry<'r, 't>> {
        self.known.insert(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let field = Field { value: (), path: self.child(key), line: self.reader.line(name.span().start) };
        Some((value, field))
    }

    fn wrong(&mut self, field: &Field<()>, value: &DeValue<'_>, right: &str) {
        self.reader.problems.push(field.problem(format!("is {}", article(value)), right));
    }

    /// Notes that a key is missing.
    pub fn missing(&mut self, key: &str, right: &str) {
        let field = Field { value: (), path: self.child(key), line: self.line };
        self.reader.problems.push(field.problem("is missing", right));
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<Field<String>> {
        let (value, field) = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(field.map(|()| text.to_string())),
            other => {
                self.wrong(&field, other, "write a text in quotes");
                None
            }
        }
    }

    /// A text that may not be missing or empty.
    pub fn required_text(&mut self, key: &'static str, right: &str) -> Option<Field<String>> {
        let absent = !self.table.iter().any(|(name, _)| name.get_ref() == key);
        let text = self.text(key);
        if absent {
            self.missing(key, right);
        }
        let text = text?;
        if text.value.trim().is_empty() {
            self.reader.problems.push(text.problem("is empty", right));
            return None;
        }
        Some(text)
    }

    /// A text read by `parse`, which says what is wrong and what would be right.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Option<Field<T>> {
        let text = self.text(key)?;
        self.parse_field(text, parse)
    }

    fn parse_field<T>(
        &mut self,
        text: Field<String>,
        parse: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Option<Field<T>> {
        match parse(&text.value) {
            Ok(value) => Some(text.map(|_| value)),
            Err((wrong, right)) => {
                self.reader.problems.push(text.problem(wrong, right));
                None
            }
        }
    }

    /// A list of texts, each read by `parse`; also one text alone.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Option<Vec<Field<T>>> {
        let (value, field) = self.get(key)?;
        let items: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            DeValue::String(_) => vec![value],
            other => {
                self.wrong(&field, other, "write a list of texts: [\"…\", \"…\"]");
                return None;
            }
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let line = self.reader.line(item.span().start);
            let field = Field { value: (), path: field.path.clone(), line };
            match item.get_ref() {
                DeValue::String(text) => list.extend(self.parse_field(field.map(|()| text.to_string()), &parse)),
                other => self.wrong(&field, other, "write a text in quotes"),
            }
        }
        Some(list)
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str) -> Option<Field<bool>> {
        let (value, field) = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(field.map(|()| *flag)),
            other => {
                self.wrong(&field, other, "write true or false");
                None
            }
        }
    }

    /// A whole number from 0.
    pub fn integer(&mut self, key: &'static str) -> Option<Field<u64>> {
        let (value, field) = self.get(key)?;
        self.number(value, field)
    }

    /// A list of whole numbers from 0.
    pub fn integers(&mut self, key: &'static str) -> Vec<Field<u64>> {
        let Some((value, field)) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(&field, value.get_ref(), "write a list of whole numbers: [22, 443]");
            return Vec::new();
        };
        let mut numbers = Vec::with_capacity(items.len());
        for item in items.iter() {
            let line = self.reader.line(item.span().start);
            numbers.extend(self.number(item, Field { value: (), path: field.path.clone(), line }));
        }
        numbers
    }

    fn number(&mut self, value: &Spanned<DeValue<'_>>, field: Field<()>) -> Option<Field<u64>> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                u64::from_str_radix(&digits, number.radix()).ok()
            }
            other => {
                self.wrong(&field, other, "write a whole number without quotes");
                return None;
            }
        };
        if number.is_none() {
            self.reader.problems.push(field.problem("is negative or too large", "write a whole number from 0"));
        }
        number.map(|number| field.map(|()| number))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Field<T>> {
        self.parsed(key, |text| choose(text, words))
    }

    /// A date or time, with or without quotes, as written.
    pub fn time(&mut self, key: &'static str, right: &str) -> Option<Field<String>> {
        let (value, field) = self.get(key)?;
        match value.get_ref() {
            DeValue::Datetime(time) => Some(field.map(|()| time.to_string())),
            DeValue::String(text) => Some(field.map(|()| text.to_string())),
            other => {
                self.wrong(&field, other, right);
                None
            }
        }
    }

    /// Notes a problem.
    pub fn note(&mut self, problem: Problem) {
        self.reader.problems.push(problem);
    }

    /// Whether the key is given.
    pub fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// The sections `[key]`, at most one.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 't>) -> T) -> Option<T> {
        let (value, field) = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let mut section = Section::new(self.reader, table, &field.path, field.line);
                let read = read(&mut section);
                section.finish();
                Some(read)
            }
            other => {
                self.wrong(&field, other, &format!("write a section: [{}]", field.path));
                None
            }
        }
    }

    /// The sections `[key.NAME]`, in the order of the document.
    pub fn named<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Field<String>, &mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let Some((value, field)) = self.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(&field, value.get_ref(), &format!("write sections with a name: [{key}.NAME]"));
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut all = Vec::new();
        for (name, value) in entries {
            let path = format!("{}.{}", field.path, name.get_ref());
            let line = self.reader.line(name.span().start);
            let here = Field { value: name.get_ref().to_string(), path: path.clone(), line };
            let good = !here.value.is_empty()
                && here.value.len() <= 40
                && here
                    .value
                    .bytes()
                    .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-');
            if !good {
                let right = "use small letters, digits and hyphens, at most 40";
                self.reader.problems.push(here.problem("is not a name for a section", right));
            }
            match value.get_ref() {
                DeValue::Table(table) => {
                    let mut section = Section::new(self.reader, table, &path, line);
                    all.push(read(here, &mut section));
                    section.finish();
                }
                other => {
                    let right = format!("write a section with a name: [{key}.NAME]");
                    self.reader.problems.push(here.problem(format!("is {}", article(other)), right));
                }
            }
        }
        all
    }

    /// The sections `[[key]]`.
    pub fn repeated<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_, 't>) -> T) -> Vec<T> {
        let Some((value, field)) = self.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong(&field, value.get_ref(), &format!("write it with two brackets: [[{key}]]"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for (number, item) in array.iter().enumerate() {
            let path = format!("{}[{}]", field.path, number + 1);
            let line = self.reader.line(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => {
                    let mut section = Section::new(self.reader, table, &path, line);
                    all.push(read(&mut section));
                    section.finish();
                }
                other => {
                    let here = Field { value: (), path, line };
                    self.wrong(&here, other, &format!("write it with two brackets: [[{key}]]"));
                }
            }
        }
        all
    }

    /// The whole section as a value, for somebody who knows its keys better; whatever it holds counts as known.
    pub fn rest(&mut self) -> toml::Table {
        self.foreign = true;
        // From the text again, since owned values are wanted. It was read before, so it is there.
        let document: toml::Table = toml::from_str(self.reader.text).unwrap_or_default();
        document.get(&self.path).and_then(toml::Value::as_table).cloned().unwrap_or_default()
    }

    /// Notes a problem with a key of this section (`key`, `key.part`, `key[0]`), at its line when it is given.
    pub fn tell(&mut self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let top = key.split(['.', '[']).next().unwrap_or(key);
        let line = match self.table.iter().find(|(name, _)| name.get_ref() == top) {
            Some((name, _)) => self.reader.line(name.span().start),
            None => self.line,
        };
        self.note(Field { value: (), path: self.child(key), line }.problem(wrong, right));
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        if self.foreign {
            return;
        }
        for (name, _) in self.table {
            let key = name.get_ref();
            if self.known.contains(&**key) {
                continue;
            }
            let field = Field { value: (), path: self.child(key), line: self.reader.line(name.span().start) };
            let known: Vec<&str> = self.known.iter().copied().collect();
            let mut right = match nearest(key, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            if !self.path.is_empty() && ["allow", "deny", "time_zone", "generation", "version"].contains(&&**key) {
                right = format!("`{key}` stands at the top, before the first [section]");
            }
            self.reader.problems.push(field.problem("is not a known key", right));
        }
    }
}

/// One of a few words, or what is wrong.
pub fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, (String, String)> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let right = match nearest(text, &names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("want one of {}", names.join(", ")),
    };
    Err((format!("\"{text}\" is not known"), right))
}

/// The nearest of some words, when one is near.
pub fn nearest<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let near = words.iter().map(|word| (distance(text, word), *word)).min()?;
    (near.0 <= 1 + text.chars().count() / 4).then_some(near.1)
}

/// How many letters must be changed, added, left out or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_is_offered_only_when_it_is_near() {
        let words = ["category", "file", "format", "url"];
        assert_eq!(nearest("catgeory", &words), Some("category"));
        assert_eq!(nearest("fiel", &words), Some("file"));
        assert_eq!(nearest("colour", &words), None);
    }
}
