//! Working from a place of the lab: sockets that live there, programs that run there.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    enter,
    error::{Doing, LabError},
    inside::processes::own_program,
    lab,
};

/// A place of the lab. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self { folder: folder.into(), name: name.into() }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A socket of any kind that lives in this place, whoever uses it.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket, LabError> {
        let protocol = protocol.map_or(0, i32::from);
        lab::open_socket(&self.folder, &self.name, domain.into(), kind.into(), protocol).map(Socket::from)
    }

    /// Connects over TCP.
    pub fn connect(&self, to: SocketAddr, within: Duration) -> Result<TcpStream, LabError> {
        let doing = || format!("connecting {} to {to}", self.name);
        let socket = self.socket(Domain::for_address(to), Type::STREAM, None)?;
        socket.connect_timeout(&to.into(), within).doing(doing)?;
        socket.set_read_timeout(Some(within)).doing(doing)?;
        socket.set_write_timeout(Some(within)).doing(doing)?;
        Ok(socket.into())
    }

    /// A UDP socket connected to an address, so that refusals come back as errors.
    pub fn udp(&self, to: SocketAddr) -> Result<UdpSocket, LabError> {
        let socket = self.socket(Domain::for_address(to), Type::DGRAM, None)?;
        socket.connect(&to.into()).doing(|| format!("pointing a socket of {} to {to}", self.name))?;
        Ok(socket.into())
    }

    /// Sends one raw IP packet of this protocol with this payload.
    pub fn send_raw(&self, protocol: i32, to: IpAddr, payload: &[u8]) -> Result<(), LabError> {
        let to = SockAddr::from(SocketAddr::new(to, 0));
        let socket = self.socket(Domain::from(i32::from(to.family())), Type::RAW, Some(Protocol::from(protocol)))?;
        socket.send_to(payload, &to).map(drop).doing(|| format!("sending protocol {protocol} from {}", self.name))
    }

    /// Runs a program in this place.
    pub fn exec(&self, command: &[&str]) -> Result<Output, LabError> {
        self.command(command)?.output().doing(|| format!("running {} in {}", command.join(" "), self.name))
    }

    /// Runs a program in this place that must succeed; what it printed.
    pub fn output(&self, command: &[&str]) -> Result<String, LabError> {
        let output = self.exec(command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = format!("{}{}", text(&output.stderr), text(&output.stdout));
        Err(LabError::Command { command: command.join(" "), output: format!("{}: {}", output.status, said.trim()) })
    }

    /// A command that, when started, runs in this place.
    pub fn command(&self, command: &[&str]) -> Result<Command, LabError> {
        let mut run = Command::new(own_program("sheshi-lab")?);
        run.arg("exec").arg("--lab").arg(&self.folder).arg(&self.name).arg("--").args(command);
        Ok(run)
    }

    /// The settled IPv6 addresses of an interface of this place that routers further away can answer to.
    pub fn ipv6_addresses(&self, interface: &str) -> Result<Vec<std::net::Ipv6Addr>, LabError> {
        let path = enter::thread_of(&self.folder, &self.name)?.join("net/if_inet6");
        let text = fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
        Ok(text.lines().filter_map(|line| settled_address(line, interface)).collect())
    }

    pub(crate) fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.folder.join(&self.name).join(file))
    }
}

/// A line of `if_inet6`: address, interface number, prefix length, scope, flags, interface.
fn settled_address(line: &str, interface: &str) -> Option<std::net::Ipv6Addr> {
    const GLOBAL: &str = "00";
    /// `IFA_F_TENTATIVE` and `IFA_F_DADFAILED` (linux/if_addr.h).
    const UNSETTLED: u32 = 0x40 | 0x08;
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [address, _, _, scope, flags, name] = fields.as_slice() else { return None };
    if *name != interface || *scope != GLOBAL || u32::from_str_radix(flags, 16).ok()? & UNSETTLED != 0 {
        return None;
    }
    u128::from_str_radix(address, 16).ok().map(std::net::Ipv6Addr::from)
}
