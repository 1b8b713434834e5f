//! Policies from `testdata/policy`: a full one, and one with something wrong in every part.

use super::*;
use crate::{Category, Policy, Source};

const FULL: &str = include_str!("../../testdata/policy/full.toml");
const BROKEN: &str = include_str!("../../testdata/policy/broken.toml");
const BROKEN_PROBLEMS: &str = include_str!("../../testdata/policy/broken.problems");
const FORMAT: &str = include_str!("../../../docs/policy-format.md");

#[test]
fn full_policy_is_read() {
    let policy = Spec::parse(FULL).unwrap().check().unwrap();
    assert_eq!(policy.generation, 12);
    let categories: Vec<_> = policy.categories.iter().map(|info| (&*info.name, info.locked, info.ede)).collect();
    assert_eq!(categories, [("csam", true, 16), ("adult", true, 15), ("games", false, 15)]);
    assert_eq!(policy.scheduled, [None, None, Some(0)]);
    let groups: Vec<_> = policy.groups.iter().map(|group| (&*group.name, &group.categories[..])).collect();
    let all = [Category(0), Category(1), Category(2)];
    // The locked ones are always among them, whether named or not.
    assert_eq!(groups, [("guest", &all[..]), ("staff", &all[..])]);
    assert!(policy.groups[0].safe_search && !policy.groups[1].safe_search);
    assert_eq!(policy.groups[1].youtube, YouTube::Off);
    assert_eq!(policy.lists[1].source, Source::Url("https://lists.example.org/games.txt".to_owned()));
    assert_eq!(policy.lists[3].category, None);
    assert_eq!((policy.lists[0].max_age, policy.lists[1].max_age), (30 * 86_400, 14 * 86_400));
    assert_eq!(policy.engines, ["google", "youtube"]);
    assert_eq!(policy.signals, ["use-application-dns.net"]);
}

#[test]
fn shortest_policy_has_every_default() {
    let policy = Policy::parse("version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n").unwrap();
    assert_eq!((policy.groups.len(), &*policy.groups[0].name, policy.groups[0].safe_search), (1, "guest", true));
    assert_eq!(policy.groups[0].categories, [Category(0)]);
    assert_eq!(policy.signals.len(), 4);
    assert!(policy.engines.contains(&"google") && policy.other_engines);
}

#[test]
fn every_problem_is_told_at_once_with_line_and_hint() {
    let problems = Policy::parse(BROKEN).unwrap_err();
    let text = format!("{problems}\n");
    if std::env::var_os("SHESHI_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/policy/broken.problems"), &text).unwrap();
    }
    assert_eq!(text, BROKEN_PROBLEMS);
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    let lines = |text: &str| -> Vec<usize> {
        let problems = Policy::parse(text).unwrap_err();
        let syntax = problems.0.iter().filter(|problem| problem.path == "(syntax)");
        syntax.map(|problem| problem.line).collect()
    };
    assert_eq!(lines("version = 1\n[list.adult\nfile = \"adult.txt\"\ncategory = \"adult\"\n"), [2]);
    assert_eq!(lines("version = 1\n[list.adult]\nfile = adult.txt\ncategory = bad\n"), [3, 4]);
    assert!(!lines("\0").is_empty());
    let problems = Policy::parse("version = 2\n").unwrap_err();
    assert_eq!(
        problems.to_string(),
        "line 1: version: 2 is a version that this sheshi does not read; write version = 1"
    );
}

#[test]
fn every_key_of_the_format_document_is_read_and_no_other() {
    // Keys of the tables of the document, by section.
    let mut documented: Vec<(String, String)> = Vec::new();
    let mut section = String::new();
    for line in FORMAT.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_matches('`').trim_matches(['[', ']']).replace(".NAME", "");
        } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            documented.push((section.clone(), key.0.to_owned()));
        }
    }
    let sections = [
        "organisation",
        "category",
        "list",
        "group",
        "schedule",
        "exception",
        "order",
        "safe_search",
        "signals",
        "canary",
    ];
    let keys = |section: &str| -> Vec<String> {
        let keys = documented.iter().filter(|(of, _)| of == section);
        let mut keys: Vec<_> = keys.map(|(_, key)| key.clone()).collect();
        keys.sort();
        keys
    };
    for section in sections {
        let header = match section {
            "category" | "list" | "group" | "schedule" => format!("[{section}.x]"),
            "exception" | "order" => format!("[[{section}]]"),
            _ => format!("[{section}]"),
        };
        let problems = Policy::parse(&format!("version = 1\n{header}\nzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1\n")).unwrap_err();
        let known = problems.0.iter().find_map(|problem| problem.right.strip_prefix("known here: ")).unwrap();
        assert_eq!(known.split(", ").collect::<Vec<_>>(), keys(section), "[{section}]");
    }
    let problems = Policy::parse("version = 1\nzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1\n").unwrap_err();
    let known = problems.0.iter().find_map(|problem| problem.right.strip_prefix("known here: ")).unwrap();
    let known: Vec<&str> = known.split(", ").filter(|key| !sections.contains(key)).collect();
    assert_eq!(known, keys("Top level"));
}

#[test]
fn example_of_the_format_document_is_a_policy() {
    let example = FORMAT.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(Policy::parse(example).unwrap().lists.len(), 1);
}
