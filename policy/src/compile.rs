//! From checked policy and lists to one compiled file.

use crate::{BlockAnswer, Category, CategoryInfo, Group, ListInfo, Policy, YouTube, image::Image, spec::List};

/// Why a policy could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A list of the policy was not given: nothing may become allowed because a list is missing.
    #[error("compiling the policy: list {0} is missing")]
    Missing(String),
}

/// How far a long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, such as `sorting names`.
    pub step: &'static str,
    /// Items done.
    pub done: u64,
    /// Items in all.
    pub total: u64,
}

/// One edition of a list, parsed.
#[derive(Debug, Clone)]
pub struct Edition {
    list: Box<str>,
    names: Vec<String>,
}

impl Edition {
    /// Parses a list's text. Never fails: what cannot be used is counted by reason.
    pub fn parse(list: &List, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let names = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_whitespace().last())
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            .collect();
        Self { list: list.name.clone(), names }
    }
}

/// Compiles a policy with its lists.
pub fn compile(
    policy: &Policy,
    editions: &[Edition],
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<u8>, CompileError> {
    let mut image = Image {
        generation: policy.generation,
        groups: Vec::new(),
        categories: Vec::new(),
        lists: Vec::new(),
        names: std::collections::HashMap::new(),
    };
    for list in &policy.lists {
        let edition = editions
            .iter()
            .find(|edition| edition.list == list.name)
            .ok_or_else(|| CompileError::Missing(list.name.to_string()))?;
        let category = image.categories.iter().position(|category| category.name == list.category);
        let category = category.unwrap_or_else(|| {
            image.categories.push(CategoryInfo {
                name: list.category.clone(),
                title: list.category.clone(),
                locked: &*list.category == "csam",
                secret: &*list.category == "csam",
                answer: BlockAnswer::Nxdomain,
                ede: if &*list.category == "csam" { 16 } else { 15 },
            });
            image.categories.len() - 1
        });
        let number = image.lists.len() as u16;
        image.lists.push(ListInfo {
            name: list.name.clone(),
            category: Some(Category(category as u8)),
            edition: "1".into(),
            digest: "".into(),
            entries: edition.names.len() as u32,
            refused: Vec::new(),
        });
        image.names.extend(edition.names.iter().map(|name| (name.clone(), number)));
        progress(Progress { step: "compiling", done: u64::from(number) + 1, total: policy.lists.len() as u64 });
    }
    image.groups.push(Group {
        name: "guest".into(),
        title: "Guests".into(),
        networks: Vec::new(),
        interfaces: Vec::new(),
        role: None,
        categories: (0..image.categories.len()).map(|n| Category(n as u8)).collect(),
        safe_search: false,
        youtube: YouTube::Off,
    });
    Ok(serde_json::to_vec(&image).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::{Compiled, Edition, GroupId, Moment, Rule, Spec, compile};

    #[test]
    fn listed_name_and_what_is_below_it_is_blocked() {
        let policy =
            Spec::parse("version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n").unwrap().check();
        let policy = policy.unwrap();
        let edition = Edition::parse(&policy.lists[0], b"bad.example\n");
        let compiled = Compiled::from_bytes(compile(&policy, &[edition], &mut |_| ()).unwrap()).unwrap();
        let view = compiled.view(GroupId(0), Moment::Unknown);
        assert!(compiled.decide(b"\x03bad\x07example\0", &view).is_block());
        assert!(compiled.decide(b"\x03WWW\x03Bad\x07example\0", &view).is_block());
        let verdict = compiled.decide(b"\x06notbad\x07example\0", &view);
        assert!(!verdict.is_block());
        assert_eq!(verdict.reason.rule, Rule::Default);
    }
}
