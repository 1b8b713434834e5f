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

/// Says words such as `READY=1`, or several lines of them; nothing where nobody listens.
pub fn say(words: &str) {
    if let Some(socket) = env::var_os(SOCKET)
        && let Err(error) = send(&socket, words)
    {
        tracing::warn!(%error, "telling the service manager {words}");
    }
}

fn send(socket: &OsStr, words: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_at_a_socket_in_a_folder_and_at_one_without_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let name = format!("sheshi-test-{}", std::process::id());
        let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, at) in [(named, path.into_os_string()), (hidden, format!("@{name}").into())] {
            send(&at, "READY=1\nSTATUS=up").unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=up");
        }
        assert!(send(OsStr::new("/nobody/listens"), "READY=1").is_err());
    }
}
