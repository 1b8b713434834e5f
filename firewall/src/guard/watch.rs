//! The two clocks of the guard: the kernel's announcements of changed tables, and the guests whose time is over.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    admission::Post,
    locked,
    netlink::{Socket, messages},
    notify,
};

/// NFNLGRP_NFTABLES, as a bit of the groups a socket hears.
const TABLES: u32 = 1 << (7 - 1);
/// How long without an announcement until the tables are looked at all the same. The kernel says when it had to drop one, so
/// this is for what nobody thought of.
const AT_LEAST: Duration = Duration::from_secs(30);
/// How soon it is tried again when the rules could not be put back.
const AGAIN: Duration = Duration::from_secs(1);
/// Guests' time is over at most this late (plus what deleting takes).
const SWEEP: Duration = Duration::from_millis(250);
/// How often the service manager hears that we are not stuck.
const TELL: Duration = Duration::from_secs(1);

/// Starts both; the second also sees that the holder lives. They run as long as the process.
pub(crate) fn start(post: &Arc<Post>) -> io::Result<()> {
    let socket = Socket::new(TABLES)?;
    let ours = locked(&post.keeper).port()?;
    let watched = Arc::clone(post);
    thread::Builder::new().name("watch".into()).spawn(move || {
        let mut patience = AT_LEAST;
        loop {
            wait_for_change(&socket, ours, patience);
            patience = if locked(&watched.keeper).inspect() { AT_LEAST } else { AGAIN };
        }
    })?;
    let swept = Arc::clone(post);
    thread::Builder::new().name("sweep".into()).spawn(move || {
        let mut told = Instant::now();
        loop {
            thread::sleep(SWEEP);
            swept.sweep();
            drop(locked(&swept.keeper));
            if told.elapsed() >= TELL {
                told = Instant::now();
                swept.weigh();
                notify::alive();
            }
            if let Err(error) = locked(&swept.holder).ensure() {
                tracing::error!(%error, "starting the holder");
            }
        }
    })?;
    Ok(())
}

/// Returns when somebody else changed a table, when announcements were lost, or when it has been quiet for long.
fn wait_for_change(socket: &Socket, ours: u32, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match socket.receive(&mut buffer, deadline) {
            Ok(length) if messages(&buffer[..length]).all(|message| message.port == ours) => {
                if Instant::now() >= deadline {
                    return;
                }
            }
            Ok(_) => return,
            Err(error) => {
                if error.kind() != io::ErrorKind::TimedOut {
                    tracing::debug!(%error, "hearing of changed tables");
                }
                return;
            }
        }
    }
}
