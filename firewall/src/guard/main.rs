//! `sheshi-guard`: the one process that may change the firewall, and the only one that links libnftnl.
//!
//! The [`keeper`] holds what is in force, and by [`admission`] who is admitted; [`server`] takes requests; [`watch`] sees
//! what others do to the tables. To the kernel, [`encode`] and [`express`] turn the IR into messages (with [`sys`] for what nftnl cannot
//! say); back from it, [`kernel`] and [`connections`] read, and [`picture`] compares. Nothing here parses a byte that a guest sent.

mod admission;
mod allowance;
mod connections;
mod encode;
mod express;
mod forwarding;
mod garden;
mod hold;
mod keeper;
mod kernel;
mod netlink;
mod notify;
mod picture;
mod server;
mod sys;
mod watch;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use clap::Parser;
use nftnl::nftnl_sys::libc;
use nix::sys::signal::{SigSet, Signal};
use sheshi_firewall::sandbox::{self, Needs};

use crate::{admission::Post, connections::Cutter, hold::Holder, keeper::Keeper};

/// Holds sheshi's firewall in the kernel.
///
/// Owns the nftables tables `sheshi` and `sheshi_guard`, the connections of guests, and the switches that let the kernel
/// forward. Takes requests on a Unix socket, from the accounts named, and reads nothing else. Until somebody sends a
/// ruleset nothing is forwarded. When it ends, however it ends, the rules stay in force.
#[derive(Debug, Parser)]
#[command(name = "sheshi-guard", version)]
struct Options {
    /// The Unix socket to listen on.
    #[arg(long, value_name = "PATH", default_value = "/run/sheshi/guard.sock")]
    socket: PathBuf,
    /// An account that may send requests, by number; may be given several times. The guard's own account always may.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Where the last ruleset is kept, to be put in force again after a restart. It names no guest. Best in a folder that
    /// a reboot empties, such as /run: then every boot begins closed.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Be the holder of a running guard's table, and nothing else.
    #[arg(long, hide = true)]
    hold: bool,
    /// How much to log: error, warn, info or debug. Devices and addresses appear at debug only.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::level_filters::LevelFilter,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_max_level(options.log).with_writer(std::io::stderr).with_ansi(colours);
    log.without_time().with_target(false).init();
    // A guard whose parts disagree must not go on: whoever watches over it starts it anew, and the rules stay meanwhile.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    let ended = if options.hold { hold::run().map_err(|error| format!("holding: {error}")) } else { run(options) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), String> {
    confine(&options).map_err(|error| error.to_string())?;
    let path = options.socket;
    let listener = server::bind(&path).map_err(|error| format!("listening on {}: {error}", path.display()))?;
    // Before there are other threads: they inherit what is blocked, and one of them waits for it.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(|error| format!("blocking signals: {error}"))?;
    Keeper::brace().map_err(|error| error.to_string())?;
    hold::relieve(&path).map_err(|error| format!("relieving the last guard's holder: {error}"))?;
    let keeper = Keeper::start(options.state).map_err(|error| error.to_string())?;
    let cutter = Cutter::new().map_err(|error| format!("opening a netlink socket to connection tracking: {error}"))?;
    let owner = keeper.owner().map_err(|error| format!("sharing the netlink socket: {error}"))?;
    let holder = Holder::start(&path, owner).map_err(|error| format!("starting the holder: {error}"))?;
    let post = Arc::new(Post { keeper: Mutex::new(keeper), cutter, holder: Mutex::new(holder) });
    watch::start(&post).map_err(|error| format!("watching the tables: {error}"))?;
    end_on_signal(signals, Arc::clone(&post)).map_err(|error| format!("waiting for signals: {error}"))?;
    let mut allowed: std::collections::BTreeSet<u32> = options.allow_uid.into_iter().collect();
    allowed.insert(nix::unistd::geteuid().as_raw());
    tracing::info!(socket = %path.display(), "listening");
    notify::ready();
    server::serve(&listener, &post, &Arc::new(allowed)).map_err(|error| format!("serving {}: {error}", path.display()))
}

/// Shuts the guard in, and with it every thread and the holder.
fn confine(options: &Options) -> Result<(), sheshi_firewall::Error> {
    let folder = |path: &std::path::Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or_else(|| PathBuf::from("."), PathBuf::from)
    };
    let mut write = vec![folder(&options.socket), PathBuf::from("/proc/sys/net")];
    write.extend(options.state.as_deref().map(folder));
    // The holder is this program once more, with what its loader reads.
    let mut start: Vec<PathBuf> = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].map(PathBuf::from).into();
    start.extend(std::env::current_exe());
    let read = ["/proc", "/etc/ld.so.cache", "/dev/null"].map(PathBuf::from).into();
    let needs = Needs { read, write, start, sockets: vec![libc::AF_UNIX, libc::AF_NETLINK] };
    if !sandbox::enter(&needs)?.files {
        tracing::warn!(
            "this kernel has no Landlock (it is older than 5.13, or it is switched off): files are guarded by the unit only"
        );
    }
    Ok(())
}

/// An orderly end takes the holder along: whoever asks for it may take the tables down.
fn end_on_signal(signals: SigSet, post: Arc<Post>) -> std::io::Result<()> {
    let wait = move || {
        while signals.wait().is_err() {}
        tracing::info!("ending; the rules stay in force");
        locked(&post.holder).end();
        std::process::exit(0);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// A panic ends the process, so a lock is never poisoned.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
