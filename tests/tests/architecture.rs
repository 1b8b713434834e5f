//! ARCHITECTURE.md says which room may know which, and where `unsafe` may stand. This compares it with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The lines of the fenced block with this label.
fn block(label: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once(&format!("```{label}\n")).unwrap_or_else(|| panic!("no block {label}"));
    let (inside, _) = rest.split_once("```").unwrap();
    inside.lines().map(str::to_owned).collect()
}

#[test]
fn rooms_know_only_the_rooms_that_the_architecture_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // A room is named after its folder.
    let folder =
        |path: &str| Path::new(path).strip_prefix(root()).unwrap().iter().next().unwrap().to_str().unwrap().to_owned();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let edges: BTreeSet<_> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|dependency| Some(folder(&format!("{}/x", dependency["path"].as_str()?))))
            .collect();
        found.insert(folder(package["manifest_path"].as_str().unwrap()), edges);
    }
    let allowed: BTreeMap<_, _> = block("edges")
        .iter()
        .map(|line| {
            let (room, edges) = line.split_once("->").unwrap();
            let edges = edges.split(',').map(|edge| edge.trim().to_owned()).filter(|edge| !edge.is_empty());
            (room.trim().to_owned(), edges.collect::<BTreeSet<_>>())
        })
        .collect();
    assert_eq!(found, allowed);
}

#[test]
fn unsafe_stands_only_where_the_architecture_says() {
    let mut found = BTreeSet::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "out"].contains(&name) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                // In two parts, or this file would be found too.
                let allowance = concat!("allow(", "unsafe_code");
                if std::fs::read_to_string(&path).unwrap().contains(allowance) {
                    found.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    // The first word of a line is the file, the rest says why.
    let named: BTreeSet<_> =
        block("unsafe").iter().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(found, named);
}

#[test]
fn only_the_guard_links_the_gpl_library() {
    // Test binaries lie in target/PROFILE/deps, programs one folder up.
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let links = |program: &str| {
        let path = folder.join(program);
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}: cargo build --bins first", path.display()));
        bytes.windows(11).any(|window| window == b"libnftnl.so")
    };
    assert!(links("sheshi-guard"), "the control: what this looks for is there");
    for program in ["sheshi", "sheshi-verify", "sheshi-dashboard"] {
        assert!(!links(program), "{program}");
    }
}
