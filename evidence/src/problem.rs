//! What is wrong with a file that a person wrote: all of it at once.

use std::fmt;

/// Problems of one file, in the order found; as text, one a line: path, what is wrong, what would be right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

impl Problems {
    pub(crate) fn add(&mut self, path: &str, what: &str, hint: &str) {
        self.0.push(Problem { path: path.into(), what: what.into(), hint: hint.into() });
    }

    /// A file that is not TOML, or has keys nobody knows: the reader stops there, so this is the only problem.
    pub(crate) fn of_toml(error: &toml::de::Error) -> Self {
        let mut problems = Self::default();
        let at = error.span().map_or_else(|| "file".to_owned(), |span| format!("byte {}", span.start));
        problems.add(&at, error.message(), "see the built-in files for the keys there are");
        problems
    }

    pub(crate) fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { path, what, hint }) in self.0.iter().enumerate() {
            let end = if i + 1 < self.0.len() { "\n" } else { "" };
            write!(f, "{path}: {what} ({hint}){end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
