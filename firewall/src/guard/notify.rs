//! Tells the service manager how we are (sd_notify(3)): one datagram to the socket that `NOTIFY_SOCKET` names.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

const SOCKET: &str = "NOTIFY_SOCKET";

/// The rules are in force and requests are taken.
pub(crate) fn ready() {
    say("READY=1");
}

/// We are not stuck. Said where the keeper is free, and not by a thread that has nothing else to do.
pub(crate) fn alive() {
    if env::var_os("WATCHDOG_USEC").is_some() {
        say("WATCHDOG=1");
    }
}

fn say(word: &str) {
    if let Some(socket) = env::var_os(SOCKET)
        && let Err(error) = send(&socket, word)
    {
        tracing::warn!(%error, "telling the service manager {word}");
    }
}

fn send(socket: &OsStr, word: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &address).map(drop)
}
