//! The guard's socket: who may speak, how many at once, and what each request does.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sheshi_firewall::{
    Error, MAX_CLOSED_ADDRESSES, Network,
    message::{self, PAGE, Request, Response},
};

use crate::{admission::Post, locked};

/// Longest a connection lives: it carries one request.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 32;

/// Binds the socket. A file left by a guard that is gone is replaced; a living guard's is not.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another guard answers there")),
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused && fs::metadata(path)?.file_type().is_socket() =>
        {
            fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Who may speak is decided by the peer's account, not by who can open the file.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Serves for ever.
pub(crate) fn serve(listener: &UnixListener, post: &Arc<Post>, allowed: &Arc<BTreeSet<u32>>) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // Out of descriptors, or the peer was gone before we came: neither is a reason to end.
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        match getsockopt(&stream, PeerCredentials) {
            Ok(peer) if allowed.contains(&peer.uid()) => {}
            Ok(peer) => {
                tracing::warn!(
                    uid = peer.uid(),
                    pid = peer.pid(),
                    "an account that is not allowed (--allow-uid) spoke to the guard; hung up"
                );
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "asking who the peer is; hung up");
                continue;
            }
        }
        // The others wait in the socket's queue: who holds a place has ten seconds at most.
        while open.load(Ordering::Acquire) >= MAX_CONNECTIONS {
            thread::sleep(Duration::from_millis(2));
        }
        open.fetch_add(1, Ordering::AcqRel);
        let (post, open) = (Arc::clone(post), Arc::clone(&open));
        thread::Builder::new().name("peer".into()).spawn(move || {
            if let Err(error) = converse(&stream, &post) {
                tracing::warn!(%error, "a conversation ended");
            }
            open.fetch_sub(1, Ordering::AcqRel);
        })?;
    }
}

/// One connection: pages of closed addresses if any, then a request.
fn converse(stream: &UnixStream, post: &Post) -> Result<(), Error> {
    let doing = "serving a request";
    let deadline = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE)).map_err(|source| Error::Broken { doing, source })?;
    let (mut pages, mut relays): (Vec<Network>, Vec<Network>) = Default::default();
    while let Some(request) = message::receive(stream, deadline, doing)? {
        let answer = match request {
            Request::Block { addresses } => more(&mut pages, addresses, "block"),
            Request::Tor { addresses } => more(&mut relays, addresses, "ways.tor"),
            Request::Open { addresses, milliseconds } => {
                locked(&post.keeper).open(&addresses, Duration::from_millis(milliseconds)).map(|()| Response::Done)
            }
            Request::Apply { mut ruleset } => {
                ruleset.block.append(&mut pages);
                ruleset.ways.tor.append(&mut relays);
                locked(&post.keeper).apply(&ruleset).map(|()| Response::Done)
            }
            Request::Admit { mac, addresses, milliseconds, limits } => {
                post.admit(mac, &addresses, Duration::from_millis(milliseconds), limits).map(|()| Response::Done)
            }
            Request::Expel { mac } => post.expel(mac).map(|count| Response::Expelled { count }),
            Request::Spent => {
                let devices = locked(&post.keeper).devices.spent.iter().take(PAGE).copied().collect();
                Ok(Response::Spent { devices })
            }
            Request::Guests => match locked(&post.keeper).guests() {
                Ok(guests) => {
                    send_guests(stream, guests)?;
                    continue;
                }
                Err(error) => Err(error),
            },
            Request::Health => locked(&post.keeper).health().map(|health| Response::Health(Box::new(health))),
        };
        let refused = answer.is_err();
        message::send(stream, &answer.unwrap_or_else(failure), doing)?;
        if refused {
            return Ok(());
        }
    }
    Ok(())
}

/// Adds a page to those that came before it.
fn more(pages: &mut Vec<Network>, page: Vec<Network>, list: &str) -> Result<Response, Error> {
    pages.extend(page);
    if pages.len() <= MAX_CLOSED_ADDRESSES {
        return Ok(Response::Done);
    }
    Err(Error::Refused(vec![format!("{list}: more than {MAX_CLOSED_ADDRESSES} entries")]))
}

fn send_guests(stream: &UnixStream, guests: Vec<sheshi_firewall::Guest>) -> Result<(), Error> {
    let mut pages: Vec<Vec<_>> = guests.chunks(PAGE / 2).map(<[_]>::to_vec).collect();
    if pages.is_empty() {
        pages.push(Vec::new());
    }
    let last = pages.len() - 1;
    for (index, guests) in pages.into_iter().enumerate() {
        message::send(stream, &Response::Guests { guests, more: index < last }, "listing the guests")?;
    }
    Ok(())
}

fn failure(error: Error) -> Response {
    tracing::warn!(%error, "a request was refused");
    match error {
        Error::Refused(problems) => Response::Refused { problems: problems.into_iter().take(100).collect() },
        Error::Failed { doing, why } => Response::Failed { doing, why },
        other => Response::Failed { doing: "serve the request".into(), why: other.to_string() },
    }
}
