//! What runs inside the lab: its first process, which lays the cables, watches the others and serves the control socket.
//!
//! Two stages, because a process enters a new process-id namespace only with its children. The first leaves the machine's
//! namespaces and waits; the second is process 1 of the lab. When the second ends, for whatever reason, the kernel ends
//! everything else in the lab and takes the namespaces away: nothing can be left behind.

pub(crate) mod init;
pub(crate) mod naive;
pub(crate) mod place;
pub(crate) mod processes;
pub(crate) mod supervisor;
pub(crate) mod topology;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Doing, LabError},
    options::{Isolation, Options},
};

/// The one line that the lab's first process writes to its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FirstWord {
    /// Everything stands.
    Ready,
    /// It could not be set up, and why.
    Failed(String),
}

impl FirstWord {
    pub(crate) fn say(&self) {
        // Whoever started us may be gone; then the closed standard input ends the lab.
        let mut out = io::stdout().lock();
        let _ = serde_json::to_writer(&mut out, self).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"));
        let _ = out.flush();
    }
}

/// The options of the lab in this folder.
pub(crate) fn load_options(folder: &Path) -> Result<Options, LabError> {
    let path = folder.join("lab.json");
    let text = fs::read(&path).doing(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).map_err(io::Error::from).doing(|| format!("reading {}", path.display()))
}

/// The first stage: leaves the machine's namespaces, starts the second and tidies up after it. Returns its exit code.
pub(crate) fn leave(folder: &Path) -> i32 {
    let code = leave_and_wait(folder).unwrap_or_else(|problem| {
        FirstWord::Failed(problem.to_string()).say();
        1
    });
    if !load_options(folder).is_ok_and(|options| options.keep) {
        let _ = fs::remove_dir_all(folder);
    }
    code
}

fn leave_and_wait(folder: &Path) -> Result<i32, LabError> {
    let options = load_options(folder)?;
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    match options.isolation {
        Isolation::Rootless => flags |= CloneFlags::CLONE_NEWUSER,
        Isolation::Root if !uid.is_root() => {
            return Err(LabError::NamespacesForbidden("this lab needs root: run it with sudo".into()));
        }
        Isolation::Root => {}
    }
    unshare(flags).map_err(forbidden)?;
    if options.isolation == Isolation::Rootless {
        // One identity is all that an ordinary account may map (user_namespaces(7)); setgroups must be given up first.
        let maps =
            [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))];
        for (file, text) in maps {
            // AppArmor's restriction lets us have the namespace, but no rights in it: that shows here at the latest.
            fs::write(format!("/proc/self/{file}"), text).map_err(|problem| match problem.kind() {
                io::ErrorKind::PermissionDenied => forbidden(Errno::EPERM),
                _ => LabError::System { doing: format!("writing /proc/self/{file}"), source: problem },
            })?;
        }
    }
    let program = std::env::current_exe().doing(|| "finding the lab's own program".into())?;
    let mut child = Command::new(&program)
        .arg("init")
        .arg(folder)
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(|problem| Errno::from_raw(problem.raw_os_error().unwrap_or(0)))
        .map_err(forbidden)?;
    let ended = child.wait().doing(|| "waiting for the lab's first process".into())?;
    Ok(ended.code().unwrap_or(1))
}

/// Says which switch of this machine forbids what the lab needs.
pub(crate) fn forbidden(errno: Errno) -> LabError {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned();
    let switches = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
        ("user/max_net_namespaces", "0", "10000"),
    ];
    let hints: Vec<String> = switches
        .iter()
        .filter(|(name, forbidding, _)| setting(name) == *forbidding)
        .map(|(name, _, allowing)| format!("sudo sysctl -w {}={allowing}", name.replace('/', ".")))
        .collect();
    let way_out = if hints.is_empty() {
        "in a container, allow user namespaces (a seccomp or AppArmor profile may forbid them)".to_owned()
    } else {
        format!("switch them on with `{}`", hints.join(" && "))
    };
    LabError::NamespacesForbidden(format!(
        "this machine gives no namespaces to this account ({}): {way_out}, or do without: `sudo sheshi-lab up --root`",
        errno.desc()
    ))
}
