//! The lab's control socket: a JSON line asks, a JSON line answers, and a socket of a place may come along with it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, LabError};

/// What can be asked of a running lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// How is it?
    Status,
    /// Start a process that is known but not running.
    Start { process: String },
    /// End a process and do not restart it.
    Stop { process: String },
    /// Send a process a signal; it is restarted if it dies of it.
    Kill { process: String, signal: i32 },
    /// A socket opened in a place.
    Socket { place: String, domain: i32, kind: i32, protocol: i32 },
    /// End the lab.
    Down,
}

/// What a running lab answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// It is done; a socket, where one was asked for, comes with this.
    Done,
    /// The state of the lab.
    Status(Status),
    /// It was not done, and why.
    Failed(String),
}

/// The state of a running lab.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// Processes by name.
    pub processes: BTreeMap<String, ProcessStatus>,
    /// The places one can step into.
    pub places: Vec<String>,
}

/// The state of one process of the lab.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The place it runs in.
    pub place: String,
    /// Its process id as the places see it; `None` when it is not running.
    pub pid: Option<i32>,
    /// How many times it was started.
    pub starts: u32,
    /// How it ended last.
    pub last_end: Option<String>,
}

/// Where the control socket of a lab is.
pub(crate) fn socket_path(folder: &Path) -> PathBuf {
    folder.join("lab.sock")
}

/// Asks the lab in `folder`; the second half of the answer is a socket, where one was asked for.
pub(crate) fn ask(folder: &Path, request: &Request) -> Result<(Reply, Option<OwnedFd>), LabError> {
    let stream = UnixStream::connect(socket_path(folder)).map_err(|_| LabError::NotRunning(folder.into()))?;
    let talking = || format!("talking to the lab in {}", folder.display());
    let mut line = serde_json::to_vec(request).map_err(std::io::Error::other).doing(talking)?;
    line.push(b'\n');
    (&stream).write_all(&line).doing(talking)?;
    let (text, socket) = receive(&stream).doing(talking)?;
    match serde_json::from_slice(&text).map_err(std::io::Error::other).doing(talking)? {
        Reply::Failed(why) => Err(LabError::Refused(why)),
        reply => Ok((reply, socket)),
    }
}

/// Reads one request.
pub(crate) fn read_request(stream: &UnixStream) -> std::io::Result<Request> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Sends one reply, with a socket where there is one, and closes the connection by being the last to use it.
pub(crate) fn send_reply(stream: &UnixStream, reply: &Reply, socket: Option<&OwnedFd>) -> std::io::Result<()> {
    let text = serde_json::to_vec(reply)?;
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let sockets = socket.map(|socket| [socket.as_fd()]);
    if let Some(sockets) = &sockets {
        control.push(SendAncillaryMessage::ScmRights(sockets));
    }
    let sent = sendmsg(stream, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    let mut rest = stream;
    rest.write_all(&text[sent..])
}

fn receive(stream: &UnixStream) -> std::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut text = Vec::new();
    let mut socket = None;
    loop {
        let mut piece = [0; 16 * 1024];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let received = recvmsg(stream, &mut [IoSliceMut::new(&mut piece)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut sockets) = message {
                socket = sockets.next().or(socket);
            }
        }
        if received.bytes == 0 {
            return Ok((text, socket));
        }
        text.extend_from_slice(&piece[..received.bytes]);
    }
}
