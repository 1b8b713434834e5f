//! Starts the lab's processes, restarts those that die (as systemd does on a real gateway) and reaps everybody's orphans.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

use crate::{
    control::{ProcessStatus, Status},
    error::{Doing, LabError},
    inside::place::Place,
};

/// How long a dead process stays dead. systemd is told the same (`RestartSec=200ms`).
const RESTART_AFTER: Duration = Duration::from_millis(200);
/// How long a process has to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A process the lab knows how to start.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) place: String,
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// The account it runs under; only with real root.
    pub(crate) owner: Option<u32>,
}

struct Entry {
    process: Process,
    wanted: bool,
    status: ProcessStatus,
}

/// The lab's processes by name.
pub(crate) struct Supervisor {
    places: BTreeMap<String, Place>,
    entries: Mutex<BTreeMap<String, Entry>>,
    logs: PathBuf,
}

impl Supervisor {
    pub(crate) fn new(places: BTreeMap<String, Place>, logs: PathBuf) -> Self {
        Self { places, entries: Mutex::default(), logs }
    }

    pub(crate) fn place(&self, name: &str) -> Result<&Place, LabError> {
        self.places.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.places.keys().map(String::as_str).collect();
            LabError::Refused(format!("there is no place {name:?} in this lab, only {}", known.join(", ")))
        })
    }

    /// Makes a process known under a name of its own.
    pub(crate) fn add(&self, name: &str, process: Process) {
        let status = ProcessStatus { place: process.place.clone(), ..ProcessStatus::default() };
        self.entries().insert(name.to_owned(), Entry { process, wanted: false, status });
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            processes: self.entries().iter().map(|(name, entry)| (name.clone(), entry.status.clone())).collect(),
            places: self.places.keys().cloned().collect(),
        }
    }

    /// Starts a process, and from then on keeps it alive.
    pub(crate) fn start(&self, name: &str) -> Result<(), LabError> {
        let mut entries = self.entries();
        let entry = known(&mut entries, name)?;
        entry.wanted = true;
        if entry.status.pid.is_some() {
            return Ok(());
        }
        let process = entry.process.clone();
        let log = self.logs.join(format!("{name}.log"));
        let log =
            File::options().create(true).append(true).open(&log).doing(|| format!("opening {}", log.display()))?;
        let command = process.command.join(" ");
        // The lock is held until the child is on record, so that `reap` cannot see it die before we know it.
        let child = self
            .place(&process.place)?
            .run(move || spawn(&process, &log))
            .and_then(|result| result)
            .doing(|| format!("starting {command}"))?;
        entry.status.pid = Some(child);
        entry.status.starts += 1;
        Ok(())
    }

    /// Ends a process for good.
    pub(crate) fn stop(self: &Arc<Self>, name: &str) -> Result<(), LabError> {
        let mut entries = self.entries();
        let entry = known(&mut entries, name)?;
        entry.wanted = false;
        let Some(pid) = entry.status.pid else { return Ok(()) };
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let (supervisor, name) = (self.clone(), name.to_owned());
        thread::spawn(move || {
            thread::sleep(END_WITHIN);
            if supervisor.entries().get(&name).is_some_and(|entry| entry.status.pid == Some(pid) && !entry.wanted) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        });
        Ok(())
    }

    /// Sends a running process a signal.
    pub(crate) fn signal(&self, name: &str, signal: i32) -> Result<(), LabError> {
        let mut entries = self.entries();
        let entry = known(&mut entries, name)?;
        let pid = entry.status.pid.ok_or_else(|| LabError::Refused(format!("{name} is not running")))?;
        let signal = Signal::try_from(signal).doing(|| format!("reading signal number {signal}"))?;
        kill(Pid::from_raw(pid), signal).doing(|| format!("sending {signal} to {name}"))
    }

    /// Waits for children for ever.
    pub(crate) fn reap(self: &Arc<Self>) -> ! {
        loop {
            // Look first and take later, under the lock: a child that is being started is reaped by nobody else.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => self.take(pid),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => thread::sleep(RESTART_AFTER),
            }
        }
    }

    fn take(self: &Arc<Self>, pid: Pid) {
        let mut entries = self.entries();
        let Ok(end) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) else { return };
        let Some((name, entry)) = entries.iter_mut().find(|(_, entry)| entry.status.pid == Some(pid.as_raw())) else {
            return;
        };
        entry.status.pid = None;
        entry.status.last_end = Some(match end {
            WaitStatus::Exited(_, code) => ExitStatus::from_raw(code << 8).to_string(),
            WaitStatus::Signaled(_, signal, _) => signal.to_string(),
            other => format!("{other:?}"),
        });
        if entry.wanted {
            let (supervisor, name) = (self.clone(), name.clone());
            thread::spawn(move || {
                thread::sleep(RESTART_AFTER);
                let wanted = supervisor.entries().get(&name).is_some_and(|entry| entry.wanted);
                if wanted && let Err(problem) = supervisor.start(&name) {
                    eprintln!("restarting {name}: {problem}");
                }
            });
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known<'a>(entries: &'a mut BTreeMap<String, Entry>, name: &str) -> Result<&'a mut Entry, LabError> {
    let names: Vec<String> = entries.keys().cloned().collect();
    entries.get_mut(name).ok_or_else(|| {
        LabError::Refused(format!("there is no process {name:?} in this lab, only {}", names.join(", ")))
    })
}

fn spawn(process: &Process, log: &File) -> std::io::Result<i32> {
    let mut command = Command::new(&process.command[0]);
    command
        .args(&process.command[1..])
        .envs(process.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    if let Some(owner) = process.owner {
        command.uid(owner).gid(owner);
    }
    // `Child` is dropped: whoever dies is reaped in `reap`, ours and orphans alike.
    let child = command.spawn()?;
    i32::try_from(child.id()).map_err(std::io::Error::other)
}

/// Runs a program in a place to its end.
pub(crate) fn run_in(place: &Place, program: &str, arguments: &[&str], input: &str) -> Result<String, LabError> {
    let command = format!("{program} {}", arguments.join(" "));
    let (program, input) = (program.to_owned(), input.to_owned());
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let output = place
        .run(move || {
            // A file, not a pipe: nobody has to write while the other reads.
            let given = tempfile::NamedTempFile::new()?;
            fs::write(given.path(), input)?;
            Command::new(program).args(arguments).stdin(File::open(given.path())?).output()
        })
        .and_then(|result| result)
        .doing(|| format!("running {command}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.is_empty() {
        said = output.status.to_string();
    }
    Err(LabError::Command { command, output: said })
}
