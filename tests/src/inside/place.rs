//! A place: a network namespace with a `resolv.conf` of its own, kept by a thread that lives in it.
//!
//! Namespaces belong to threads, and what a thread starts inherits them. So each place is a thread that does jobs: it
//! starts the place's processes and opens its sockets. The thread bears the name of the place, which is how
//! `sheshi-lab exec` finds it from outside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::error::{Doing, LabError};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace that one can do jobs in.
pub(crate) struct Place {
    jobs: Sender<Job>,
}

impl Place {
    /// Makes the namespace; `resolv.conf` of the place is `folder/resolv.conf`.
    pub(crate) fn start(name: &str, folder: PathBuf) -> Result<Self, LabError> {
        let (jobs, inbox) = channel::<Job>();
        let (tell, told) = channel();
        let place = name.to_owned();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let made = make(&place, &folder);
                let failed = made.is_err();
                // The other end waits for this word; it cannot be gone before it.
                let _ = tell.send(made);
                if failed {
                    return;
                }
                for job in inbox {
                    job();
                }
            })
            .doing(|| format!("starting the thread of {name}"))?;
        told.recv().map_err(io::Error::other).doing(|| format!("making the namespace of {name}"))??;
        Ok(Self { jobs })
    }

    /// Does a job inside the place and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (tell, told) = channel();
        let job: Job = Box::new(move || {
            let _ = tell.send(job());
        });
        self.jobs.send(job).map_err(|_| io::Error::other("the place is gone"))?;
        told.recv().map_err(io::Error::other)
    }
}

/// Where a network namespace can be found by `ip netns`.
pub(crate) fn netns_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn make(name: &str, folder: &Path) -> Result<(), LabError> {
    unshare(CloneFlags::CLONE_NEWNET).doing(|| format!("making the network of {name}"))?;
    let netns = netns_path(name);
    fs::write(&netns, "").doing(|| format!("writing {}", netns.display()))?;
    bind(Path::new("/proc/thread-self/ns/net"), &netns)?;
    unshare(CloneFlags::CLONE_NEWNS).doing(|| format!("making the mounts of {name}"))?;
    // `/sys/class/net` shows the network of whoever mounted it. Where a container forbids mounting it, programs that look
    // there see the machine's interfaces; those of the lab do not look.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>);
    let resolv = folder.join("resolv.conf");
    fs::create_dir_all(folder).doing(|| format!("making {}", folder.display()))?;
    fs::write(&resolv, "").doing(|| format!("writing {}", resolv.display()))?;
    bind(&resolv, &resolv_conf())
}

/// Where this system's `resolv.conf` really is: often a link into `/run`, which is empty in the lab.
fn resolv_conf() -> PathBuf {
    let name = PathBuf::from("/etc/resolv.conf");
    let Ok(target) = fs::read_link(&name) else { return name };
    let target = Path::new("/etc").join(target);
    if let Some(folder) = target.parent() {
        let _ = fs::create_dir_all(folder);
    }
    if !target.exists() {
        let _ = fs::write(&target, "");
    }
    target
}

/// Makes one file appear in place of another.
pub(crate) fn bind(from: &Path, to: &Path) -> Result<(), LabError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .doing(|| format!("putting {} in place of {}", from.display(), to.display()))
}
