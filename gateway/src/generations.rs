//! Compiled policies on disk, by running number: made as a whole or not at all, the last few kept to fall back on.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sheshi_lists::{Keeper, ListError, ListStatus};
use sheshi_policy::{CompileError, Compiled, LoadError, Policy, Problems, Progress};

use crate::config;

/// How many generations are kept.
const KEPT: usize = 3;
/// Names the generation that a person went back to.
const PINNED: &str = "pinned";
/// Holds the highest number that has been in force.
const FLOOR: &str = "floor";

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
    /// Only signed policies are taken, and this is a text.
    #[error(
        "{0} is a policy's text, and this gateway takes only what policy_key has signed; compile it with `sheshi compile --sign KEY` and name the result as policy"
    )]
    Unsigned(PathBuf),
    /// Older than what has been here.
    #[error(
        "{path} is generation {offered}, and generation {floor} has been in force here; `sheshi rollback` is the way back"
    )]
    Older {
        /// The compiled file.
        path: PathBuf,
        /// Its running number.
        offered: u64,
        /// The highest that was in force.
        floor: u64,
    },
    /// Two policies under one number.
    #[error("{path} is another generation {offered} than the one that is here; a new policy needs a higher number")]
    Twin {
        /// The compiled file.
        path: PathBuf,
        /// Its running number.
        offered: u64,
    },
    /// There is nothing to go back to.
    #[error("no whole generation {0} is kept here; kept are {1:?}")]
    NoSuchGeneration(String, Vec<u64>),
    /// What was compiled does not load: nothing is put in force unless it was read back.
    #[error("read back what was compiled: {0}")]
    Load(#[from] LoadError),
    /// A compiled file that was handed to us is not to be used.
    #[error(transparent)]
    Refused(LoadError),
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

/// Whether a file is a compiled policy, and not a policy's text.
pub fn is_compiled(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(Compiled::MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head == Compiled::MAGIC)
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
    /// Whose signature every compiled policy must bear: an Ed25519 public key in PEM.
    key: Option<String>,
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
    /// The folder below a gateway's state; made when missing. With a key, only what it has signed counts.
    pub fn open(state: &Path, key: Option<String>) -> Result<Self, BuildError> {
        let generations = Self { key, ..Self::at(state) };
        fs::create_dir_all(&generations.folder).map_err(file("make the folder", &generations.folder))?;
        Ok(generations)
    }

    /// The same folder, for reading; it may be missing.
    pub fn at(state: &Path) -> Self {
        Self { folder: state.join("generations"), keeper: Keeper::new(state.join("lists")), key: None }
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

    /// The generation to be in force: the newest that is whole, or the one that a person went back to. One that is damaged, or
    /// not signed as it must be, is told of and passed over.
    pub fn newest(&self) -> Option<Compiled> {
        let pinned = self.pinned();
        pinned.into_iter().chain(self.numbers()).find_map(|number| match self.load(&self.path(number)) {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                tracing::error!(generation = number, %error, "a compiled policy is not to be used; falling back to an older one");
                None
            }
        })
    }

    /// Loads a compiled file and checks whose it is.
    fn load(&self, path: &Path) -> Result<Compiled, LoadError> {
        let compiled = Compiled::load(path)?;
        if let Some(key) = &self.key {
            compiled.check_signature(key)?;
        }
        Ok(compiled)
    }

    /// The generation that a person went back to, until [`Generations::forward`].
    pub fn pinned(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join(PINNED)).ok()?.trim().parse().ok()
    }

    /// A person goes back to an older generation: the one named, or the newest before the one in force.
    pub fn back(&self, in_force: u64, to: Option<u64>) -> Result<Compiled, BuildError> {
        let numbers = self.numbers();
        let wanted = |number: &u64| to.map_or(*number < in_force, |to| *number == to);
        let found = numbers.iter().copied().filter(wanted).find_map(|number| self.load(&self.path(number)).ok());
        let none = || {
            let wanted = to.map_or_else(|| format!("before {in_force}"), |to| to.to_string());
            BuildError::NoSuchGeneration(wanted, numbers.clone())
        };
        let compiled = found.ok_or_else(none)?;
        replace(&self.folder.join(PINNED), compiled.generation().to_string().as_bytes())?;
        Ok(compiled)
    }

    /// A person wants the newest generation again.
    pub fn forward(&self) -> Result<(), BuildError> {
        let path = self.folder.join(PINNED);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Takes over a policy that was compiled elsewhere, unless it is here already: whole, signed as it must be, and newer than all
    /// that have been in force.
    pub fn take(&self, path: &Path) -> Result<Option<Compiled>, BuildError> {
        // A copy of our own: what is checked must be what is used.
        let offered = self.folder.join("offered.new");
        let copy = || {
            fs::copy(path, &offered)?;
            File::open(&offered)?.sync_all()
        };
        copy().map_err(file("copy", path))?;
        let taken = self.judge(path, &offered);
        let _ = fs::remove_file(&offered);
        taken
    }

    fn judge(&self, path: &Path, offered: &Path) -> Result<Option<Compiled>, BuildError> {
        let compiled = self.load(offered).map_err(BuildError::Refused)?;
        let number = compiled.generation();
        if let Some(same) = self.numbers().contains(&number).then(|| self.load(&self.path(number)).ok()).flatten() {
            return match same.digest() == compiled.digest() {
                true => Ok(None),
                false => Err(BuildError::Twin { path: path.into(), offered: number }),
            };
        }
        let floor = self.floor();
        if number < floor {
            return Err(BuildError::Older { path: path.into(), offered: number, floor });
        }
        // Before it can come into force: an older one is not taken even if we die here.
        replace(&self.folder.join(FLOOR), number.to_string().as_bytes())?;
        let own = self.path(number);
        fs::rename(offered, &own).and_then(|()| File::open(&self.folder)?.sync_all()).map_err(file("write", &own))?;
        let compiled = self.load(&own)?;
        self.forget();
        Ok(Some(compiled))
    }

    /// The highest number that has been here, also when its file is gone.
    fn floor(&self) -> u64 {
        let written = fs::read_to_string(self.folder.join(FLOOR)).ok().and_then(|text| text.trim().parse().ok());
        written.max(self.numbers().first().copied()).unwrap_or(0)
    }

    fn forget(&self) {
        let pinned = self.pinned();
        for number in self.numbers().into_iter().skip(KEPT).filter(|number| Some(*number) != pinned) {
            // It costs space only, and is tried again with the next generation.
            let _ = fs::remove_file(self.path(number));
        }
    }

    /// Makes the next generation if the policy file or its lists say something else than the newest one: compiles it, writes
    /// it, reads it back and forgets the oldest. A file that is compiled already is taken over. While a person holds to an older
    /// generation, no other is made.
    pub fn make(&self, path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Made, BuildError> {
        if is_compiled(path).map_err(file("read", path))? {
            let compiled = if self.pinned().is_some() { None } else { self.take(path)? };
            return Ok(Made { compiled, lists: Vec::new() });
        }
        if self.key.is_some() {
            return Err(BuildError::Unsigned(path.into()));
        }
        let mut policy = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let loaded = self.keeper.load(&policy, folder, SystemTime::now(), progress)?;
        if self.pinned().is_some() {
            return Ok(Made { compiled: None, lists: loaded.status });
        }
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
        policy.generation = (self.floor() + 1).max(least);
        let bytes = sheshi_policy::compile(&policy, &loaded.editions, progress)?;
        let path = self.path(policy.generation);
        replace(&path, &bytes)?;
        let compiled = Compiled::load(&path)?;
        self.forget();
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
        let generations = Generations::open(folder.path(), None).unwrap();
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

    /// Fresh keys as the manual tells a city to make them: the private one and the public one, in PEM.
    fn keys() -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let run = |arguments: &[&str]| {
            let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let path = path.to_str().unwrap();
        run(&["genpkey", "-algorithm", "ed25519", "-out", path]);
        (fs::read_to_string(path).unwrap(), run(&["pkey", "-in", path, "-pubout"]))
    }

    /// A compiled policy with this number that blocks this name, signed when there is a key.
    fn compiled(folder: &Path, generation: u64, name: &str, key: Option<&str>) -> PathBuf {
        fs::write(folder.join("one.txt"), name).unwrap();
        let text =
            format!("version = 1\ngeneration = {generation}\n[list.one]\nfile = \"one.txt\"\ncategory = \"adult\"\n");
        let source = folder.join("source.toml");
        fs::write(&source, text).unwrap();
        let mut bytes = build(&source, &mut |_| ()).unwrap();
        if let Some(key) = key {
            bytes = sheshi_policy::sign(bytes, key).unwrap();
        }
        let path = folder.join("city.policy");
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn policy_that_the_city_has_not_signed_is_refused_and_the_running_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let ((private, public), (stranger, _)) = (keys(), keys());
        let generations = Generations::open(here, Some(public)).unwrap();
        let make = |path: &Path| generations.make(path, &mut |_| ());
        let signed = compiled(here, 5, "bad.example", Some(&private));
        assert_eq!(make(&signed).unwrap().compiled.unwrap().generation(), 5);
        for (key, reason) in [(None, "it is not signed"), (Some(&*stranger), "not signed by this key")] {
            let error = make(&compiled(here, 6, "other.example", key)).unwrap_err();
            assert!(error.is_refusal() && error.to_string().contains(reason), "{error}");
            assert_eq!(generations.newest().unwrap().generation(), 5);
        }
        // One octet of the signature, and the signature of another file.
        let whole = fs::read(compiled(here, 6, "other.example", Some(&private))).unwrap();
        let mut bent = whole.clone();
        *bent.last_mut().unwrap() ^= 1;
        let other = fs::read(compiled(here, 7, "third.example", Some(&private))).unwrap();
        let spliced = [&whole[..whole.len() - 64], &other[other.len() - 64..]].concat();
        for bytes in [bent, spliced, whole[..whole.len() - 80].to_vec(), whole[..whole.len() / 2].to_vec()] {
            fs::write(&signed, bytes).unwrap();
            assert!(make(&signed).unwrap_err().is_refusal());
        }
        let text = make(&here.join("source.toml")).unwrap_err();
        assert!(text.to_string().contains("sheshi compile --sign"), "{text}");
        // Nor does one count that somebody has put among ours.
        fs::copy(compiled(here, 9, "other.example", Some(&stranger)), generations.path(9)).unwrap();
        assert_eq!(generations.newest().unwrap().generation(), 5);
    }

    #[test]
    fn older_policy_is_refused_also_when_the_newer_one_is_gone_and_only_a_person_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let generations = Generations::open(here, None).unwrap();
        let make = |generation, name| generations.make(&compiled(here, generation, name, None), &mut |_| ());
        for generation in [5, 7] {
            make(generation, "bad.example").unwrap().compiled.unwrap();
        }
        assert!(make(7, "bad.example").unwrap().compiled.is_none(), "the same again is nothing new");
        let says = |made: Result<Made, BuildError>| made.unwrap_err().to_string();
        assert!(says(make(7, "other.example")).contains("another generation 7"));
        assert!(says(make(6, "bad.example")).contains("generation 6, and generation 7 has been in force here"));
        fs::remove_file(generations.path(7)).unwrap();
        assert!(says(make(6, "bad.example")).contains("generation 7 has been"));
        make(8, "bad.example").unwrap();

        assert_eq!(generations.back(8, None).unwrap().generation(), 5);
        assert_eq!(generations.newest().unwrap().generation(), 5, "also after a restart");
        assert!(make(9, "bad.example").unwrap().compiled.is_none(), "what a person chose stays");
        assert!(generations.back(5, None).unwrap_err().to_string().contains("no whole generation before 5"));
        assert_eq!(generations.back(5, Some(8)).unwrap().generation(), 8);
        generations.forward().unwrap();
        assert_eq!(make(9, "bad.example").unwrap().compiled.unwrap().generation(), 9);
    }

    #[test]
    fn person_goes_back_and_forward_among_policies_made_here() {
        let (folder, policy, generations) = folder();
        for name in ["one.example", "two.example"] {
            write(&folder, name);
            generations.make(&policy, &mut |_| ()).unwrap();
        }
        assert_eq!(generations.back(2, None).unwrap().generation(), 1);
        write(&folder, "three.example");
        assert!(generations.make(&policy, &mut |_| ()).unwrap().compiled.is_none());
        generations.forward().unwrap();
        assert_eq!(generations.make(&policy, &mut |_| ()).unwrap().compiled.unwrap().generation(), 3);
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
