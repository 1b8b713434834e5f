//! The holder: a second, idle process that keeps the owner's netlink socket open.
//!
//! The kernel takes a table from its owner when the owner's last handle is closed, and from then on anybody with
//! CAP_NET_ADMIN can flush it. With the holder, a guard that is killed leaves the guard table owned: a flush between its
//! death and its restart opens nothing. The next guard sends the holder home and claims the table.

use std::{
    fs,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::SigSet;

/// How long a holder may take to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// The guard's end.
pub(crate) struct Holder {
    path: PathBuf,
    owner: OwnedFd,
    child: Option<Child>,
}

impl Holder {
    /// Starts a holder of this socket. It is reached beside the guard's own socket.
    pub(crate) fn start(guard: &Path, owner: OwnedFd) -> io::Result<Self> {
        let mut holder = Self { path: beside(guard), owner, child: None };
        holder.ensure()?;
        Ok(holder)
    }

    /// Starts it again if it is gone.
    pub(crate) fn ensure(&mut self) -> io::Result<()> {
        if let Some(child) = &mut self.child {
            match child.try_wait()? {
                None => return Ok(()),
                Some(status) => tracing::warn!(%status, "the holder ended; starting another"),
            }
        }
        self.child = None;
        remove(&self.path)?;
        // The listener is ours first: a holder that nobody can send home never exists.
        let listener = UnixListener::bind(&self.path)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o600))?;
        let child = Command::new(std::env::current_exe()?)
            .arg("--hold")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::from(self.owner.try_clone()?))
            .stdout(Stdio::from(OwnedFd::from(listener)))
            // What is typed at the guard's terminal is not for the holder.
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends it, when the guard is asked to end.
    pub(crate) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = remove(&self.path);
    }
}

/// Sends the holder of an earlier guard home, and waits until it is gone and its socket is closed.
pub(crate) fn relieve(guard: &Path) -> io::Result<()> {
    let path = beside(guard);
    let Ok(mut stream) = UnixStream::connect(&path) else { return remove(&path) };
    stream.set_read_timeout(Some(PATIENCE))?;
    // It closes the socket first, and its end of the connection by ending.
    stream.read_to_end(&mut Vec::new())?;
    remove(&path)
}

/// What the holder does: standard input is the socket it holds, standard output is where it hears that it may go.
pub(crate) fn run() -> io::Result<()> {
    // The guard blocks signals to wait for them; we want them to work.
    SigSet::all().thread_unblock()?;
    let listener = UnixListener::from(io::stdout().as_fd().try_clone_to_owned()?);
    let _peer = listener.accept()?;
    // Here and not by ending: a process that ends closes what it has in an order of the kernel's choice, and the next guard
    // claims the table as soon as it hears us go.
    nix::unistd::close(io::stdin().as_raw_fd())?;
    Ok(())
}

fn beside(guard: &Path) -> PathBuf {
    let mut name = guard.as_os_str().to_owned();
    name.push(".hold");
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
