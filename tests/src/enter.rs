//! Stepping into a place of a running lab with a program.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};

use crate::{
    control,
    error::{Doing, LabError},
    inside::processes::search_path,
};

/// The thread of the lab's first process that lives in this place, as a folder in `/proc`.
pub(crate) fn thread_of(folder: &Path, place: &str) -> Result<PathBuf, LabError> {
    let socket = control::socket_path(folder);
    let stream = UnixStream::connect(&socket).map_err(|_| LabError::NotRunning(folder.into()))?;
    // The kernel says which process listens there, in our numbering.
    let first = getsockopt(&stream, PeerCredentials).doing(|| format!("asking who listens on {}", socket.display()))?;
    let tasks = PathBuf::from(format!("/proc/{}/task", first.pid()));
    let found = fs::read_dir(&tasks).doing(|| format!("reading {}", tasks.display()))?.flatten();
    let mut places = Vec::new();
    for task in found {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim_end().to_owned();
        if name == place {
            return Ok(task.path());
        }
        if name == "internet" || name == "gateway" || name.starts_with("guest") {
            places.push(name);
        }
    }
    places.sort();
    Err(LabError::Refused(format!("there is no place {place:?} in this lab, only {}", places.join(", "))))
}

/// Runs a program in a place and returns its exit code, as a shell would.
pub(crate) fn run(folder: &Path, place: &str, command: &[String]) -> Result<i32, LabError> {
    enter(&thread_of(folder, place)?, place)?;
    let [program, arguments @ ..] = command else {
        return Err(LabError::Refused("there is no program to run after `--`".into()));
    };
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", search_path())
        .env("SHESHI_LAB", folder)
        .env("SHESHI_LAB_PLACE", place)
        .status()
        .doing(|| format!("running {program} in {place}"))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// Enters the namespaces of a place; what this process starts from now on is in there.
fn enter(thread: &Path, place: &str) -> Result<(), LabError> {
    let open = |kind: &str| {
        let path = thread.join("ns").join(kind);
        File::open(&path).doing(|| format!("opening {}", path.display()))
    };
    let same = |kind: &str| {
        let (ours, theirs) =
            (fs::read_link(Path::new("/proc/self/ns").join(kind)), fs::read_link(thread.join("ns").join(kind)));
        ours.is_ok() && ours.ok() == theirs.ok()
    };
    // All doors are opened before the first is gone through: behind it the others may look different.
    let (user, pid, net, mnt) = (open("user")?, open("pid_for_children")?, open("net")?, open("mnt")?);
    let here = std::env::current_dir().ok();
    let step = |file: &File, kind| setns(file, kind).doing(|| format!("stepping into {place}"));
    if !same("user") {
        step(&user, CloneFlags::CLONE_NEWUSER)?;
    }
    step(&pid, CloneFlags::CLONE_NEWPID)?;
    step(&net, CloneFlags::CLONE_NEWNET)?;
    step(&mnt, CloneFlags::CLONE_NEWNS)?;
    // A new root comes with new mounts; go back to the folder we were in where it exists there too.
    if let Some(here) = here {
        let _ = std::env::set_current_dir(here);
    }
    Ok(())
}
