//! The compiled policy: one file, checked before use, that turns a name into a verdict.

use std::{fmt, fs, io, net::IpAddr, path::Path, path::PathBuf};

use serde::Serialize;

use crate::{
    Action, Category, CategoryInfo, Group, GroupId, ListInfo, Moment, Reason, Rule, Verdict, View, image::Image,
};

/// Why a compiled policy was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("reading compiled policy {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not a compiled policy, is damaged, or is of another version.
    #[error("loading compiled policy: {0}")]
    Damaged(String),
}

/// A compiled policy. Immutable; a new generation is a new value.
pub struct Compiled {
    image: Image,
    digest: [u8; 32],
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Maps a compiled file, checking it before use.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::from_bytes(fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?)
    }

    /// The same from memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, LoadError> {
        use sha2::Digest;
        let image = serde_json::from_slice(&bytes).map_err(|error| LoadError::Damaged(error.to_string()))?;
        Ok(Self { image, digest: sha2::Sha256::digest(&bytes).into() })
    }

    /// The policy's running number.
    pub fn generation(&self) -> u64 {
        self.image.generation
    }

    /// SHA-256 over the content.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The groups; the first one is for guests.
    pub fn groups(&self) -> &[Group] {
        &self.image.groups
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<GroupId> {
        let position = self.groups().iter().position(|group| &*group.name == name)?;
        Some(GroupId(u16::try_from(position).ok()?))
    }

    /// The categories.
    pub fn categories(&self) -> &[CategoryInfo] {
        &self.image.categories
    }

    /// The lists.
    pub fn lists(&self) -> &[ListInfo] {
        &self.image.lists
    }

    /// What a group's policy amounts to at a moment. An unknown group has all categories blocked.
    pub fn view(&self, group: GroupId, _at: Moment) -> View {
        let blocked = match self.groups().get(usize::from(group.0)) {
            Some(group) => group.categories.iter().fold(0, |mask, category| mask | 1 << category.0),
            None => u128::MAX,
        };
        View { group, blocked, exceptions: 0 }
    }

    /// Whether a name may be resolved. `name` is in uncompressed wire form, in any case, ending in the root label;
    /// anything else is blocked.
    pub fn decide(&self, name: &[u8], view: &View) -> Verdict {
        let Some(name) = crate::name::dotted(name) else {
            return Verdict { action: Action::Block(crate::BlockAnswer::Nxdomain), reason: DEFAULT };
        };
        let mut rest = name.as_str();
        loop {
            if let Some(&list) = self.image.names.get(rest)
                && let Some(category) = self.image.lists[usize::from(list)].category
                && view.blocked & 1 << category.0 != 0
            {
                let info = &self.image.categories[usize::from(category.0)];
                let rule = if info.locked { Rule::Locked } else { Rule::Category };
                let reason = Reason { rule, category: Some(category), list: Some(list) };
                return Verdict { action: Action::Block(info.answer), reason };
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return Verdict { action: Action::Allow, reason: DEFAULT },
            }
        }
    }

    /// Whether an address may be given in an answer.
    pub fn decide_address(&self, _address: IpAddr, _view: &View) -> Verdict {
        Verdict { action: Action::Allow, reason: DEFAULT }
    }

    /// The words for people: extra text of the Extended DNS Error and of the block page.
    pub fn block_text(&self, reason: &Reason) -> String {
        let category = reason.category.and_then(|Category(n)| self.categories().get(usize::from(n)));
        match category {
            Some(category) => format!("blocked here: {}", category.title),
            None => "blocked here by policy".to_owned(),
        }
    }

    /// Which list, line and rule decide.
    pub fn explain(&self, name: &[u8], group: GroupId, at: Moment) -> Explanation {
        let verdict = self.decide(name, &self.view(group, at));
        let list = verdict.reason.list.and_then(|list| self.lists().get(usize::from(list)));
        let category = verdict.reason.category.and_then(|Category(n)| self.categories().get(usize::from(n)));
        Explanation {
            name: crate::name::dotted(name).unwrap_or_default(),
            group: self.groups().get(usize::from(group.0)).map_or_else(String::new, |group| group.name.to_string()),
            action: if verdict.is_block() { "block" } else { "allow" },
            rule: verdict.reason.rule,
            category: category.map(|category| category.name.to_string()),
            list: list.map(|list| list.name.to_string()),
            edition: list.map(|list| list.edition.to_string()),
            line: None,
            entry: None,
            text: self.block_text(&verdict.reason),
        }
    }
}

const DEFAULT: Reason = Reason { rule: Rule::Default, category: None, list: None };

/// Which list, line and rule decide about a name. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The name, in dotted lower-case form.
    pub name: String,
    /// For whom.
    pub group: String,
    /// `allow`, `block` or `rewrite`.
    pub action: &'static str,
    /// The kind of rule that decides.
    pub rule: Rule,
    /// The category, where a list decides.
    pub category: Option<String>,
    /// The list, where a list decides.
    pub list: Option<String>,
    /// That list's edition.
    pub edition: Option<String>,
    /// The line of that list, from 1.
    pub line: Option<u32>,
    /// The entry that matched: the name itself, a parent, or a pattern.
    pub entry: Option<String>,
    /// The reason in words.
    pub text: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}: {}, {}", self.name, self.group, self.action, self.text)?;
        if let Some(list) = &self.list {
            write!(f, ", list {list}")?;
            if let Some(edition) = &self.edition {
                write!(f, " edition {edition}")?;
            }
            if let Some(line) = self.line {
                write!(f, " line {line}")?;
            }
        }
        if let Some(entry) = &self.entry {
            write!(f, " ({entry})")?;
        }
        Ok(())
    }
}
