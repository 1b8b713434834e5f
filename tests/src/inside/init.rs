//! The lab's process 1: sets everything up, says so, then serves the control socket and reaps.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::exit,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    control::{self, Reply, Request},
    error::{Doing, LabError},
    inside::{FirstWord, forbidden, load_options, place::Place, processes, supervisor::Supervisor, topology},
    wait::until,
};

/// Runs the lab; returns only when it could not be set up.
pub(crate) fn run(folder: &Path) -> i32 {
    // Whoever holds the other end of our standard input owns this lab: when they are gone, however they went, it ends.
    thread::spawn(|| {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        exit(0);
    });
    match set_up(folder) {
        Ok(supervisor) => {
            FirstWord::Ready.say();
            supervisor.reap()
        }
        Err(problem) => {
            FirstWord::Failed(problem.to_string()).say();
            1
        }
    }
}

fn set_up(folder: &Path) -> Result<Arc<Supervisor>, LabError> {
    let options = load_options(folder)?;
    own_mounts()?;
    let mut places = BTreeMap::new();
    for name in options.places() {
        let place = Place::start(&name, folder.join(&name))?;
        places.insert(name, place);
    }
    topology::lay(&places, &options)?;
    let logs = folder.join("log");
    let supervisor = Arc::new(Supervisor::new(places, logs));
    let now = processes::add(&supervisor, &options, folder)?;
    serve(folder, &supervisor)?;
    for name in now {
        supervisor.start(&name)?;
    }
    let ready = folder.join("internet/ready");
    until("the lab's internet", Duration::from_secs(20), || ready.exists().then_some(()))?;
    Ok(supervisor)
}

/// Mounts that only the lab sees: its own processes in `/proc`, an empty `/run`.
fn own_mounts() -> Result<(), LabError> {
    let none = None::<&str>;
    // With AppArmor's restriction on, the user namespace is given but has no rights: the first mount finds out.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES => forbidden(errno),
        other => LabError::System { doing: "cutting the lab's mounts off".into(), source: other.into() },
    })?;
    // Containers may forbid this; then the lab's programs see the machine's processes, and nothing else changes.
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none);
    // Sockets of the machine's services are in /run: a guest must not resolve names through them.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))
        .doing(|| "mounting /run of the lab".into())?;
    // Each place has mounts of its own, but all must see the networks of those made after them.
    fs::create_dir_all("/run/netns").doing(|| "making /run/netns of the lab".into())?;
    mount(Some("tmpfs"), "/run/netns", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, none)
        .and_then(|()| mount(none, "/run/netns", none, MsFlags::MS_SHARED, none))
        .doing(|| "mounting /run/netns of the lab".into())
}

fn serve(folder: &Path, supervisor: &Arc<Supervisor>) -> Result<(), LabError> {
    let path = control::socket_path(folder);
    let listener = UnixListener::bind(&path).doing(|| format!("listening on {}", path.display()))?;
    let supervisor = supervisor.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let supervisor = supervisor.clone();
            thread::spawn(move || answer(&stream, &supervisor));
        }
    });
    Ok(())
}

fn answer(stream: &UnixStream, supervisor: &Arc<Supervisor>) {
    let Ok(request) = control::read_request(stream) else { return };
    let down = matches!(request, Request::Down);
    let (reply, socket) = match carry_out(request, supervisor) {
        Ok((reply, socket)) => (reply, socket),
        Err(problem) => (Reply::Failed(problem.to_string()), None),
    };
    // Whoever asked may have gone away; the lab goes on.
    let _ = control::send_reply(stream, &reply, socket.as_ref());
    if down {
        exit(0);
    }
}

fn carry_out(request: Request, supervisor: &Arc<Supervisor>) -> Result<(Reply, Option<OwnedFd>), LabError> {
    match request {
        Request::Status => return Ok((Reply::Status(supervisor.status()), None)),
        Request::Start { process } => supervisor.start(&process)?,
        Request::Stop { process } => supervisor.stop(&process)?,
        Request::Kill { process, signal } => supervisor.signal(&process, signal)?,
        Request::Socket { place, domain, kind, protocol } => {
            let open = move || {
                let protocol = (protocol != 0).then(|| Protocol::from(protocol));
                Socket::new(Domain::from(domain), Type::from(kind), protocol)
            };
            let socket = supervisor
                .place(&place)?
                .run(open)
                .and_then(|result| result)
                .doing(|| format!("opening a socket in {place}"))?;
            return Ok((Reply::Done, Some(socket.into())));
        }
        Request::Down => {}
    }
    Ok((Reply::Done, None))
}
