//! What holds for the sources and what they are built from.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Rust files of a folder that are built into the product: no tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// The ways to start another program.
const STARTS: [&str; 5] = ["Command::new(", "process::Command", "execve", "posix_spawn", "libc::system"];

#[test]
fn what_answers_guests_and_browsers_starts_no_program() {
    let mut read = 0;
    for room in ["captive-portal", "dashboard", "resolver", "policy", "lists"] {
        for path in sources(&root().join(room).join("src")) {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for start in STARTS {
                assert!(!code.contains(start), "{} has {start}", path.display());
            }
            read += 1;
        }
    }
    assert!(read > 80, "{read} files");
    // The control: the one place in the product that does is found by the same words.
    let guard = std::fs::read_to_string(root().join("firewall/src/guard/hold.rs")).unwrap();
    assert!(STARTS.iter().any(|start| guard.contains(start)));
}

#[test]
fn every_dependency_is_locked_to_one_text_of_the_registry() {
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let (mut ours, mut theirs) = (0, 0);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(|source| source.as_str()) {
            // Without a source it is a room of this workspace, which lies here.
            None => {
                assert!(name.starts_with("sheshi"), "{name} comes from nowhere");
                ours += 1;
            }
            Some(source) => {
                assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
                let checksum = package.get("checksum").and_then(|sum| sum.as_str()).unwrap_or_default();
                assert_eq!(checksum.len(), 64, "{name} has no checksum");
                theirs += 1;
            }
        }
    }
    assert!(ours >= 9 && theirs > 200, "{ours} rooms, {theirs} dependencies");
}
