//! What a stranger tries: the same table runs through a naive gateway, where all of it must arrive, and through sheshi,
//! where nothing may.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    arrivals::Arrival,
    dns::Transport,
    error::{Doing, LabError},
    guest::Guest,
    inside::load_options,
    lab::Lab,
    plan,
};
use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};

/// One way out that is tried.
pub struct Attack {
    /// What is tried, for whoever reads a failure.
    pub name: String,
    target: IpAddr,
    protocol: u8,
    port: u16,
    payload: Vec<u8>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// HTTP, HTTPS, SSH, DNS over TLS, alternative HTTP, mail, remote desktop.
const TCP_PORTS: [u16; 7] = [22, 80, 443, 853, 8080, 25, 3389];
/// Time, QUIC, IKE, DNS over QUIC, OpenVPN, NAT traversal, WireGuard, STUN.
const UDP_PORTS: [u16; 8] = [123, 443, 500, 853, 1194, 4500, 51820, 3478];
/// IP in IP, IPv6 in IP, GRE, ESP, SCTP.
const PROTOCOLS: [u8; 5] = [4, 41, 47, 50, 132];

/// Everything that is tried.
pub fn all() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for target in [IpAddr::V4(plan::ECHO_V4), IpAddr::V6(plan::ECHO_V6)] {
        let mut add = |name: String, protocol, port, payload| {
            attacks.push(Attack { name: format!("{name} to {target}"), target, protocol, port, payload });
        };
        for port in TCP_PORTS {
            add(format!("tcp/{port}"), TCP, port, Vec::new());
        }
        for port in UDP_PORTS {
            add(format!("udp/{port}"), UDP, port, b"let me out".to_vec());
        }
        for protocol in PROTOCOLS {
            add(format!("IP protocol {protocol}"), protocol, 0, vec![0; 24]);
        }
        let (protocol, kind) = if target.is_ipv4() { (1, 8) } else { (58, 128) };
        add("ping".into(), protocol, 0, echo_request(kind));
    }
    for target in [IpAddr::V4(plan::FOREIGN_V4[3]), IpAddr::V6(plan::FOREIGN_V6[2])] {
        for (protocol, name) in [(UDP, "udp"), (TCP, "tcp")] {
            let payload = if protocol == UDP { b"not a DNS question".to_vec() } else { Vec::new() };
            attacks.push(Attack { name: format!("{name}/53 to {target}"), target, protocol, port: 53, payload });
        }
    }
    attacks
}

impl Attack {
    /// Tries it. What is returned must be kept until the arrivals were looked at.
    fn try_from(&self, guest: &Guest) -> Result<Option<Socket>, LabError> {
        let to = SocketAddr::new(self.target, self.port);
        match self.protocol {
            TCP => {
                let socket = guest.socket(Domain::for_address(to), Type::STREAM, None)?;
                socket.set_nonblocking(true).doing(|| "opening a socket".into())?;
                // In progress, or refused at once: both are for the arrivals to tell.
                let _ = socket.connect(&to.into());
                Ok(Some(socket))
            }
            UDP => {
                let socket = guest.udp(to)?;
                let _ = socket.send(&self.payload);
                Ok(None)
            }
            protocol => {
                let _ = guest.send_raw(i32::from(protocol), self.target, &self.payload);
                Ok(None)
            }
        }
    }

    /// Whether this arrival is it.
    fn is(&self, arrival: &Arrival) -> bool {
        (arrival.target, arrival.protocol, arrival.target_port) == (self.target, self.protocol, self.port)
    }
}

/// Tries everything as this guest, and returns the names of what arrived and of what did not.
pub fn try_all(lab: &Lab, guest: &Guest) -> Result<(Vec<String>, Vec<String>), LabError> {
    let before = lab.arrivals()?.len();
    reach_gateway(guest)?;
    let attacks = all();
    let sockets: Vec<_> = attacks.iter().map(|attack| attack.try_from(guest)).collect::<Result<_, _>>()?;
    reach_gateway(guest)?;
    let arrivals = lab.arrivals()?;
    drop(sockets);
    let (arrived, kept): (Vec<&Attack>, Vec<&Attack>) =
        attacks.iter().partition(|attack| arrivals[before..].iter().any(|arrival| attack.is(arrival)));
    let names = |attacks: Vec<&Attack>| attacks.iter().map(|attack| attack.name.clone()).collect();
    Ok((names(arrived), names(kept)))
}

/// A round trip to the gateway in each family: packets sent before it are through the cable when it is over, and none
/// waits for the gateway's link-layer address.
fn reach_gateway(guest: &Guest) -> Result<(), LabError> {
    let v6 = load_options(guest.folder())?.gateway_v6().map(IpAddr::V6);
    for gateway in [IpAddr::V4(plan::GATEWAY_V4)].into_iter().chain(v6) {
        guest.ask((gateway, 53), "example.com", RecordType::A, Transport::Udp)?;
    }
    Ok(())
}

fn echo_request(kind: u8) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend(b"sheshi-lab");
    // The kernel computes ICMPv6 checksums of raw sockets, not those of ICMP (RFC 1071).
    let words = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Whether a datagram of one guest reaches another guest at this address: over the bridge, or `bounced` off the gateway,
/// which is asked to route it back to where it came from.
pub fn reaches_neighbour(
    lab: &Lab,
    from: &Guest,
    to: &Guest,
    address: IpAddr,
    bounced: bool,
) -> Result<bool, LabError> {
    let (gateway, bits) = match lab.options().gateway_v6() {
        Some(gateway) if address.is_ipv6() => (IpAddr::V6(gateway), 128),
        _ => (IpAddr::V4(plan::GATEWAY_V4), 32),
    };
    let route = format!("{address}/{bits}");
    if bounced {
        from.output(&["ip", "route", "replace", &route, "via", &gateway.to_string(), "dev", "eth0"])?;
    }
    let doing = || format!("listening in {} at {address}", to.name());
    let listener = to.socket(Domain::for_address((address, 0).into()), Type::DGRAM, None)?;
    listener.bind(&SocketAddr::new(address, 0).into()).doing(doing)?;
    let port = listener.local_addr().doing(doing)?.as_socket().map_or(0, |bound| bound.port());
    let listener = std::net::UdpSocket::from(listener);
    listener.set_read_timeout(Some(Duration::from_secs(5))).doing(doing)?;
    reach_gateway(from)?;
    let sender = from.udp((address, port).into())?;
    for _ in 0..3 {
        // Refusals show up here; whether anything arrives is for the listener to tell.
        let _ = sender.send(b"neighbour");
    }
    reach_gateway(from)?;
    // The gateway's own datagram is sent last: when it is there, everything else that comes is there.
    let marker = lab.place("gateway").udp((address, port).into())?;
    marker.send(b"gateway").doing(|| format!("sending from the gateway to {address}"))?;
    let mut room = [0; 16];
    let length = listener.recv(&mut room).doing(doing)?;
    if bounced {
        from.output(&["ip", "route", "del", &route])?;
    }
    Ok(&room[..length] == b"neighbour")
}
