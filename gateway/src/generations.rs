//! Compiled policies on disk, by running number: made as a whole or not at all, the last few kept to fall back on.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use sheshi_lists::ListError;
use sheshi_policy::{CompileError, Compiled, LoadError, Policy, Problems, Progress};

use crate::config;

/// How many generations are kept.
const KEPT: usize = 3;

/// A policy could not be compiled or put in its place. What was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file cannot be read or written.
    #[error("{doing} {path}: {source}")]
    File {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The policy is not right.
    #[error("{}", config::told(.path, .problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        problems: Problems,
    },
    /// A list is not to be had.
    #[error(transparent)]
    List(#[from] ListError),
    /// Policy and lists do not go together.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What was compiled does not load: nothing is put in force unless it was read back.
    #[error("read back what was compiled: {0}")]
    Load(#[from] LoadError),
}

impl BuildError {
    /// Whether the input is at fault, and not the machine.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Load(_))
    }
}

fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BuildError + 'a {
    move |source| BuildError::File { doing, path: path.into(), source }
}

/// Compiles a policy file and its lists under this running number.
pub fn build(path: &Path, generation: u64, progress: &mut dyn FnMut(Progress)) -> Result<Vec<u8>, BuildError> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let wrong = |problems| BuildError::Wrong { path: path.into(), problems };
    let mut policy = Policy::parse(&text).map_err(wrong)?;
    policy.generation = generation;
    let folder = path.parent().unwrap_or(Path::new(""));
    let editions = sheshi_lists::load(&policy, folder, progress)?;
    Ok(sheshi_policy::compile(&policy, &editions, progress)?)
}

/// Writes a file so that its name always stands for the old or the new content, whole, whatever happens meanwhile.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The rename itself lasts only when the folder is on disk.
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&new);
        BuildError::File { doing: "write", path: path.into(), source }
    })
}

/// The folder of a gateway's compiled policies.
#[derive(Debug, Clone)]
pub struct Generations {
    folder: PathBuf,
}

impl Generations {
    /// The folder below a gateway's state; made when missing.
    pub fn open(state: &Path) -> Result<Self, BuildError> {
        let folder = state.join("generations");
        fs::create_dir_all(&folder).map_err(file("make the folder", &folder))?;
        Ok(Self { folder })
    }

    /// The same folder, for reading; it may be missing.
    pub fn at(state: &Path) -> Self {
        Self { folder: state.join("generations") }
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{generation}.policy"))
    }

    /// The running numbers that are there, newest first.
    pub fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".policy")?.parse().ok();
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers
    }

    /// The newest generation that is whole. A damaged one is told of and passed over.
    pub fn newest(&self) -> Option<Compiled> {
        self.numbers().into_iter().find_map(|number| match Compiled::load(&self.path(number)) {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                tracing::error!(generation = number, %error, "a compiled policy is damaged; falling back to an older one");
                None
            }
        })
    }

    /// The next generation if the policy file or its lists say something else than the newest one; `None` if they do not.
    pub fn refresh(&self, policy: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Option<Compiled>, BuildError> {
        if let Some(newest) = self.newest() {
            // The same input under the same number gives the same octets.
            let again = Compiled::from_bytes(build(policy, newest.generation(), progress)?)?;
            if again.digest() == newest.digest() {
                return Ok(None);
            }
        }
        self.make(policy, progress).map(Some)
    }

    /// Compiles the policy file as the next generation, writes it, reads it back and forgets the oldest.
    pub fn make(&self, policy: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Compiled, BuildError> {
        let next = self.numbers().first().map_or(1, |newest| newest + 1);
        let bytes = build(policy, next, progress)?;
        let path = self.path(next);
        replace(&path, &bytes)?;
        let compiled = Compiled::load(&path)?;
        for number in self.numbers().into_iter().skip(KEPT) {
            // It costs space only, and is tried again with the next generation.
            let _ = fs::remove_file(self.path(number));
        }
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf, Generations) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("adult.txt"), "bad.example\n").unwrap();
        let policy = folder.path().join("policy.toml");
        fs::write(&policy, "version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n").unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        (folder, policy, generations)
    }

    #[test]
    fn numbers_rise_and_the_last_three_are_kept() {
        let (_folder, policy, generations) = folder();
        for expected in 1..=5 {
            assert_eq!(generations.make(&policy, &mut |_| ()).unwrap().generation(), expected);
        }
        assert_eq!(generations.numbers(), [5, 4, 3]);
        assert_eq!(generations.newest().unwrap().generation(), 5);
    }

    #[test]
    fn what_has_not_changed_makes_no_generation() {
        let (folder, policy, generations) = folder();
        assert!(generations.refresh(&policy, &mut |_| ()).unwrap().is_some());
        assert!(generations.refresh(&policy, &mut |_| ()).unwrap().is_none());
        fs::write(folder.path().join("adult.txt"), "bad.example\nworse.example\n").unwrap();
        assert_eq!(generations.refresh(&policy, &mut |_| ()).unwrap().unwrap().generation(), 2);
    }

    #[test]
    fn damaged_generation_is_passed_over() {
        let (_folder, policy, generations) = folder();
        generations.make(&policy, &mut |_| ()).unwrap();
        generations.make(&policy, &mut |_| ()).unwrap();
        let path = generations.path(2);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(generations.newest().unwrap().generation(), 1);
    }

    #[test]
    fn broken_policy_makes_no_generation() {
        let (folder, policy, generations) = folder();
        generations.make(&policy, &mut |_| ()).unwrap();
        fs::write(&policy, "version = 1\n[lst.adult]\n").unwrap();
        let error = generations.make(&policy, &mut |_| ()).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("policy.toml: line 2"), "{error}");
        fs::remove_file(folder.path().join("adult.txt")).unwrap();
        fs::write(&policy, "version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n").unwrap();
        assert!(generations.make(&policy, &mut |_| ()).unwrap_err().to_string().contains("adult.txt"));
        assert_eq!(generations.numbers(), [1]);
    }
}
