//! The policy as the admin writes it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use crate::{Problem, Problems};

/// A policy as written: well-formed, not yet checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    #[allow(dead_code)]
    version: u32,
    list: BTreeMap<String, SpecList>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecList {
    file: PathBuf,
    category: String,
}

impl Spec {
    /// Reads a policy; every problem at once.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            Problems(vec![Problem {
                path: String::new(),
                line,
                wrong: error.message().to_owned(),
                right: "see docs/policy-format.md".to_owned(),
            }])
        })
    }

    /// Checks a policy as a whole; every problem at once.
    pub fn check(&self) -> Result<Policy, Problems> {
        let lists = self.list.iter();
        Ok(Policy {
            generation: 0,
            lists: lists
                .map(|(name, list)| List {
                    name: name.as_str().into(),
                    category: list.category.as_str().into(),
                    source: Source::File(list.file.clone()),
                })
                .collect(),
        })
    }

    /// A policy that blocks these categories by these files: for trying out.
    pub fn blocking<'a>(blocks: impl IntoIterator<Item = (&'a str, &'a std::path::Path)>) -> Result<Self, Problems> {
        let list = blocks.into_iter().enumerate().map(|(n, (category, file))| {
            (format!("{category}-{}", n + 1), SpecList { file: file.to_owned(), category: category.to_owned() })
        });
        Ok(Self { version: 1, list: list.collect() })
    }
}

/// A checked policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its running number.
    pub generation: u64,
    /// Its lists, by name.
    pub lists: Vec<List>,
}

/// A list of a checked policy.
#[derive(Debug, Clone)]
pub struct List {
    /// Its name.
    pub name: Box<str>,
    /// The category its names belong to.
    pub category: Box<str>,
    /// Where it comes from.
    pub source: Source,
}

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or folder; relative to the policy's folder.
    File(PathBuf),
    /// Fetched from here.
    Url(String),
}
