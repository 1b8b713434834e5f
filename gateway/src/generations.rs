//! Compiled policies on disk, by running number: made as a whole or not at all, the last few kept to fall back on.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sheshi_lists::{Keeper, ListError, ListStatus};
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
    /// The policy has no such list.
    #[error("the policy has no list {0:?}")]
    NoSuchList(String),
    /// Nothing waits for approval.
    #[error("no edition of list {0:?} waits for approval: `sheshi status` shows those that do")]
    NothingHeld(String),
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

/// Reads and checks a policy file.
pub fn read(path: &Path) -> Result<Policy, BuildError> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    Policy::parse(&text).map_err(|problems| BuildError::Wrong { path: path.into(), problems })
}

/// Compiles a policy file and its lists, for commands that keep nothing: a list that may not go live is an error.
pub fn build(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Vec<u8>, BuildError> {
    let policy = read(path)?;
    let editions = sheshi_lists::load(&policy, path.parent().unwrap_or(Path::new("")), progress)?;
    Ok(sheshi_policy::compile(&policy, &editions, progress)?)
}

/// The same with a folder where editions are kept, so that lists by URL can be had: gives also how each list stands.
pub fn build_kept(
    path: &Path,
    keeper: &Keeper,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Vec<u8>, Vec<ListStatus>), BuildError> {
    let policy = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let loaded = keeper.load(&policy, folder, SystemTime::now(), progress)?;
    Ok((sheshi_policy::compile(&policy, &loaded.editions, progress)?, loaded.status))
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

/// The folders of a gateway's compiled policies, and of the last good editions of its lists.
#[derive(Debug, Clone)]
pub struct Generations {
    folder: PathBuf,
    keeper: Keeper,
}

/// What became of making a generation.
#[derive(Debug)]
pub struct Made {
    /// The new generation; `None` when policy and lists say what the newest one says.
    pub compiled: Option<Compiled>,
    /// How each list stands.
    pub lists: Vec<ListStatus>,
}

impl Generations {
    /// The folder below a gateway's state; made when missing.
    pub fn open(state: &Path) -> Result<Self, BuildError> {
        let generations = Self::at(state);
        fs::create_dir_all(&generations.folder).map_err(file("make the folder", &generations.folder))?;
        Ok(generations)
    }

    /// The same folder, for reading; it may be missing.
    pub fn at(state: &Path) -> Self {
        Self { folder: state.join("generations"), keeper: Keeper::new(state.join("lists")) }
    }

    /// Who keeps the lists' editions.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
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

    /// Makes the next generation if the policy file or its lists say something else than the newest one: compiles it, writes
    /// it, reads it back and forgets the oldest.
    pub fn make(&self, path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Made, BuildError> {
        let mut policy = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let loaded = self.keeper.load(&policy, folder, SystemTime::now(), progress)?;
        if let Some(newest) = self.newest() {
            // The same input under the same number gives the same octets.
            policy.generation = newest.generation();
            let again = Compiled::from_bytes(sheshi_policy::compile(&policy, &loaded.editions, progress)?)?;
            if again.digest() == newest.digest() {
                return Ok(Made { compiled: None, lists: loaded.status });
            }
        }
        // Never a number that was there before, also when the newest was damaged.
        let least = policy.generation.max(1);
        policy.generation = self.numbers().first().map_or(least, |newest| (newest + 1).max(least));
        let bytes = sheshi_policy::compile(&policy, &loaded.editions, progress)?;
        let path = self.path(policy.generation);
        replace(&path, &bytes)?;
        let compiled = Compiled::load(&path)?;
        for number in self.numbers().into_iter().skip(KEPT) {
            // It costs space only, and is tried again with the next generation.
            let _ = fs::remove_file(self.path(number));
        }
        Ok(Made { compiled: Some(compiled), lists: loaded.status })
    }

    /// A person lets an edition go live that was held because it shrank. `digest` is what the status shows.
    pub fn approve(&self, path: &Path, list: &str, digest: &str) -> Result<(), BuildError> {
        let policy = read(path)?;
        let found = policy.lists.iter().find(|other| &*other.name == list);
        let list = found.ok_or_else(|| BuildError::NoSuchList(list.into()))?;
        Ok(self.keeper.approve(list, digest)?)
    }
}

#[cfg(test)]
mod tests {
    use sheshi_lists::ListState;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf, Generations) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("adult.txt"), "bad.example\n").unwrap();
        let policy = folder.path().join("policy.toml");
        fs::write(&policy, "version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n").unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        (folder, policy, generations)
    }

    fn write(folder: &tempfile::TempDir, names: &str) {
        fs::write(folder.path().join("adult.txt"), names).unwrap();
    }

    #[test]
    fn numbers_rise_and_the_last_three_are_kept() {
        let (folder, policy, generations) = folder();
        for expected in 1..=5 {
            write(&folder, &format!("bad{expected}.example\n"));
            assert_eq!(generations.make(&policy, &mut |_| ()).unwrap().compiled.unwrap().generation(), expected);
        }
        assert_eq!(generations.numbers(), [5, 4, 3]);
        assert_eq!(generations.newest().unwrap().generation(), 5);
    }

    #[test]
    fn what_has_not_changed_makes_no_generation() {
        let (folder, policy, generations) = folder();
        assert!(generations.make(&policy, &mut |_| ()).unwrap().compiled.is_some());
        assert!(generations.make(&policy, &mut |_| ()).unwrap().compiled.is_none());
        write(&folder, "bad.example\nworse.example\n");
        assert_eq!(generations.make(&policy, &mut |_| ()).unwrap().compiled.unwrap().generation(), 2);
    }

    #[test]
    fn damaged_generation_is_passed_over_and_its_number_never_used_again() {
        let (folder, policy, generations) = folder();
        generations.make(&policy, &mut |_| ()).unwrap();
        write(&folder, "worse.example\n");
        generations.make(&policy, &mut |_| ()).unwrap();
        let path = generations.path(2);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(generations.newest().unwrap().generation(), 1);
        assert_eq!(generations.make(&policy, &mut |_| ()).unwrap().compiled.unwrap().generation(), 3);
    }

    #[test]
    fn broken_policy_makes_no_generation() {
        let (_folder, policy, generations) = folder();
        generations.make(&policy, &mut |_| ()).unwrap();
        fs::write(&policy, "version = 1\n[lst.adult]\n").unwrap();
        let error = generations.make(&policy, &mut |_| ()).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("policy.toml: line 2"), "{error}");
        assert_eq!(generations.numbers(), [1]);
    }

    #[test]
    fn list_that_shrank_is_held_until_a_person_approves_it() {
        let (folder, policy, generations) = folder();
        write(&folder, &(0..100).map(|n| format!("bad{n}.example\n")).collect::<String>());
        generations.make(&policy, &mut |_| ()).unwrap();
        write(&folder, "bad1.example\n");
        let made = generations.make(&policy, &mut |_| ()).unwrap();
        assert!(made.compiled.is_none(), "the last good edition stays in force");
        let ListState::Held { digest, .. } = &made.lists[0].state else { panic!("{:?}", made.lists) };
        generations.approve(&policy, "adult", digest).unwrap();
        assert_eq!(generations.make(&policy, &mut |_| ()).unwrap().compiled.unwrap().lists()[0].entries, 1);
        assert!(generations.approve(&policy, "adlt", digest).unwrap_err().to_string().contains("adlt"));
    }

    #[test]
    fn list_that_is_gone_stays_in_its_last_good_edition() {
        let (folder, policy, generations) = folder();
        generations.make(&policy, &mut |_| ()).unwrap();
        fs::remove_file(folder.path().join("adult.txt")).unwrap();
        let made = generations.make(&policy, &mut |_| ()).unwrap();
        assert!(made.compiled.is_none() && matches!(made.lists[0].state, ListState::Held { .. }), "{made:?}");
    }
}
