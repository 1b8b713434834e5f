//! The files that a generation's lists were read from. Each is kept once, under its digest, so that an earlier generation
//! can be compiled again exactly as it was; and only files of the lists folder are ever read.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};
use sheshi_policy::{Policy, Problem, Source};

use crate::{Error, secret};

/// A file that a list was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// The list's name in the policy.
    pub(crate) list: String,
    /// As the policy names it, with the file's name below where it names a folder.
    pub(crate) path: PathBuf,
    /// SHA-256, hexadecimal: its name among the kept files.
    pub(crate) digest: String,
    /// When it was written last, in Unix seconds.
    pub(crate) written: i64,
}

/// Largest file of a list: bounds what one publish can read.
const LARGEST: u64 = 512 << 20;
/// Most files of a list that is a folder.
const FILES: usize = 64;

/// The paths that a policy names, each with the list it is for.
fn named(policy: &Policy) -> impl Iterator<Item = (&str, &'static str, &Path)> {
    policy.lists.iter().flat_map(|list| {
        let file = match &list.source {
            Source::File(file) => Some((&*list.name, "file", &**file)),
            Source::Url(_) => None,
        };
        file.into_iter().chain(list.key_file.as_deref().map(|file| (&*list.name, "key_file", file)))
    })
}

/// What is wrong with where the lists of a policy come from, as far as this server is concerned. `line` tells on which
/// line of the policy a list stands.
pub(crate) fn problems(policy: &Policy, folder: &Path, line: impl Fn(&str) -> usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tell = |list: &str, key: &str, wrong: String, right: String| {
        problems.push(Problem { path: format!("list.{list}.{key}"), line: line(list), wrong, right });
    };
    for list in &policy.lists {
        if let Source::Url(_) = list.source {
            let right = format!("put the list into {} and name it with file = \"…\"", folder.display());
            tell(&list.name, "url", "this server does not fetch lists".into(), right);
        }
    }
    for (list, key, path) in named(policy) {
        if let Err((wrong, right)) = place(folder, path) {
            tell(list, key, wrong, right);
        }
    }
    problems
}

/// Where a named path is, if that is inside the lists folder.
fn place(folder: &Path, path: &Path) -> Result<PathBuf, (String, String)> {
    let inside = || format!("name a file below {}, such as \"adult.txt\"", folder.display());
    if !path.components().all(|part| matches!(part, Component::Normal(_))) || path.as_os_str().is_empty() {
        return Err((format!("{path:?} leads out of the lists folder"), inside()));
    }
    let missing =
        |error: io::Error| (format!("{path:?} cannot be read: {error}"), format!("put it into {}", folder.display()));
    let root = folder.canonicalize().map_err(missing)?;
    let found = root.join(path).canonicalize().map_err(missing)?;
    if !found.starts_with(&root) || found == root {
        return Err((format!("{path:?} leads out of the lists folder"), inside()));
    }
    Ok(found)
}

/// Keeps a copy of every file that the policy's lists are read from. Paths have passed [`problems`]; one that no longer
/// does is refused.
pub(crate) fn keep(policy: &Policy, folder: &Path, kept: &Path) -> Result<Vec<Input>, Error> {
    let mut inputs = Vec::new();
    for (list, _, path) in named(policy) {
        let found = place(folder, path)
            .map_err(|(wrong, _)| Error::file("reading a list from", path)(io::Error::other(wrong)))?;
        if found.is_dir() {
            let mut names = Vec::new();
            for entry in fs::read_dir(&found).map_err(Error::file("reading the folder", &found))? {
                let entry = entry.map_err(Error::file("reading the folder", &found))?;
                if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    names.push(entry.file_name());
                }
            }
            names.sort();
            if names.len() > FILES {
                let why = io::Error::other(format!("it has {} files, more than {FILES}", names.len()));
                return Err(Error::file("reading the folder", found)(why));
            }
            for name in names {
                inputs.push(keep_one(list, &found.join(&name), &path.join(&name), kept)?);
            }
        } else {
            inputs.push(keep_one(list, &found, path, kept)?);
        }
    }
    Ok(inputs)
}

fn keep_one(list: &str, found: &Path, path: &Path, kept: &Path) -> Result<Input, Error> {
    let about = fs::metadata(found).map_err(Error::file("reading", found))?;
    if !about.is_file() || about.len() > LARGEST {
        let why = io::Error::other(format!("want a file of at most {} MiB", LARGEST >> 20));
        return Err(Error::file("reading a list from", found)(why));
    }
    let bytes = fs::read(found).map_err(Error::file("reading", found))?;
    let digest = hex::encode(secret::hash(&bytes));
    write_once(&kept.join(&digest), &bytes)?;
    let written = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let written = written.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0);
    Ok(Input { list: list.to_owned(), path: path.to_owned(), digest, written })
}

/// Lays kept files out in an empty folder as the policy names them.
pub(crate) fn lay_out(inputs: &[Input], kept: &Path, folder: &Path) -> Result<(), Error> {
    for input in inputs {
        let to = folder.join(&input.path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(Error::file("making the folder", parent))?;
        }
        let from = kept.join(&input.digest);
        let bytes = fs::read(&from).map_err(Error::file("reading the kept list", &from))?;
        if hex::encode(secret::hash(&bytes)) != input.digest {
            let why = io::Error::other("it is damaged: it is not what was kept under this digest");
            return Err(Error::file("reading the kept list", from)(why));
        }
        match fs::hard_link(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::file("laying out the kept list", from)(error));
            }
            // Two lists may read the same file.
            _ => {}
        }
    }
    Ok(())
}

/// Writes a file whose name stands for its content, whole or not at all; one that is there already stays.
pub(crate) fn write_once(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The rename itself lasts only when the folder is on disk.
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&new);
        Error::file("writing", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheshi_policy::Spec;

    fn policy(file: &str) -> Policy {
        let text = format!("version = 1\n[list.adult]\nfile = {file:?}\ncategory = \"adult\"\n");
        Spec::parse(&text).unwrap().check().unwrap()
    }

    #[test]
    fn only_files_of_the_lists_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (lists, kept) = (folder.path().join("lists"), folder.path().join("kept"));
        fs::create_dir_all(lists.join("ut1")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(folder.path().join("secret"), "x").unwrap();
        fs::write(lists.join("adult.txt"), "bad.example\n").unwrap();
        std::os::unix::fs::symlink("../secret", lists.join("link")).unwrap();
        std::os::unix::fs::symlink("adult.txt", lists.join("inside")).unwrap();
        for file in ["/etc/passwd", "../secret", "ut1/../../secret", "link", "missing", "."] {
            let problems = problems(&policy(file), &lists, |_| 2);
            assert_eq!(problems.len(), 1, "{file}");
            assert!(keep(&policy(file), &lists, &kept).is_err(), "{file}");
        }
        for file in ["adult.txt", "inside", "ut1"] {
            assert_eq!(problems(&policy(file), &lists, |_| 2), [], "{file}");
        }
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    }

    #[test]
    fn kept_files_are_laid_out_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["lists/ut1", "kept", "out"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path("lists/ut1/domains"), "bad.example\n").unwrap();
        fs::write(path("lists/ut1/usage"), "black\n").unwrap();
        let inputs = keep(&policy("ut1"), &path("lists"), &path("kept")).unwrap();
        assert_eq!(inputs.len(), 2);
        fs::write(path("lists/ut1/domains"), "worse.example\n").unwrap();
        lay_out(&inputs, &path("kept"), &path("out")).unwrap();
        assert_eq!(fs::read_to_string(path("out/ut1/domains")).unwrap(), "bad.example\n");
        assert_eq!(keep(&policy("ut1"), &path("lists"), &path("kept")).unwrap()[1], inputs[1]);
    }
}
