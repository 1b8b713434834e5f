//! A process shuts itself in: what it may write, which programs it may start, which sockets it may open. Under systemd the
//! units do the same and more; this holds in a container, on another init, and when a unit was changed.
//!
//! Landlock guards files. Seccomp guards system calls, by a list of those that none of our processes has a use for: a list of
//! what is allowed would follow every release of the standard library.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::Error;

/// Handled as far as the kernel knows it; all that is asked for below is in the first version (Linux 5.13).
const FILES: ABI = ABI::V5;

/// System calls that are refused: to look into or change other processes, to mount, to change modules, clock or kernel, to
/// leave for another namespace, and kernel interfaces of many faults that we have no use for.
const REFUSED: [libc::c_long; 44] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
];

/// What a process needs. All else of its kind is refused.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Files and folders, with what is in them, that it reads. What is not there yet is passed over.
    pub read: Vec<PathBuf>,
    /// Folders, and files, in which it writes, makes and removes.
    pub write: Vec<PathBuf>,
    /// The programs it starts, with their libraries. Empty: it starts none.
    pub start: Vec<PathBuf>,
    /// Families of sockets (`AF_…`).
    pub sockets: Vec<i32>,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// Files are guarded; not so by kernels before 5.13, or where Landlock is off.
    pub files: bool,
}

/// Shuts the calling thread in, and all threads and processes it starts from now on; there is no way out. To be called before
/// there are other threads.
pub fn enter(needs: &Needs) -> Result<Confined, Error> {
    let files = guard_files(needs).map_err(|error| Error::Unconfined(format!("Landlock: {error}")))?;
    guard_calls(needs).map_err(|error| Error::Unconfined(format!("seccomp: {error}")))?;
    Ok(Confined { files })
}

fn guard_files(needs: &Needs) -> Result<bool, landlock::RulesetError> {
    let looking = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = AccessFs::from_all(FILES) & !AccessFs::Execute & !AccessFs::IoctlDev;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(FILES))?
        .create()?
        .add_rules(path_beneath_rules(there(&needs.read), looking))?
        .add_rules(path_beneath_rules(there(&needs.write), writing))?
        .add_rules(path_beneath_rules(there(&needs.start), looking | AccessFs::Execute))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn there(paths: &[PathBuf]) -> impl Iterator<Item = &Path> {
    paths.iter().map(PathBuf::as_path).filter(|path| path.exists())
}

fn guard_calls(needs: &Needs) -> Result<(), Box<dyn std::error::Error>> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    if needs.start.is_empty() {
        calls.extend([(libc::SYS_execve, Vec::new()), (libc::SYS_execveat, Vec::new())]);
    }
    let another_family = needs
        .sockets
        .iter()
        .map(|family| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *family as u64))
        .collect::<Result<Vec<_>, _>>()?;
    calls.insert(libc::SYS_socket, vec![SeccompRule::new(another_family)?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
