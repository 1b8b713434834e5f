//! What the search has found so far, and what it began with, in every run of the tests.

use std::path::{Path, PathBuf};

use sheshi_fuzz::TARGETS;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Runs one input, and names it if something does not hold.
fn replay(target: &sheshi_fuzz::Target, input: &[u8], name: &str) {
    let run = std::panic::catch_unwind(|| (target.run)(input));
    assert!(run.is_ok(), "{} breaks on {name}", target.name);
}

#[test]
fn every_input_of_the_corpus_is_read_without_harm() {
    for target in TARGETS {
        let folder = folder(target.name);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            replay(&target, &std::fs::read(&path).unwrap(), &path.display().to_string());
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }
}

#[test]
fn every_seed_is_read_without_harm() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            replay(&target, seed, &format!("seed {number}"));
        }
    }
}

#[test]
fn no_folder_of_the_corpus_is_of_no_target() {
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| name == *target.name), "{name:?} is no target's");
    }
}
