//! A DHCP client (RFC 2131): discover, offer, request, acknowledge. Renewing is asking again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use sheshi_policy::Mac;
use socket2::{Domain, Socket, Type};

use crate::probe::wire::Lease;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
/// Mask, router, resolvers, lease time, captive portal (RFC 8910), encrypted resolvers (RFC 9463).
const WANTED: [u8; 6] = [1, 3, 6, 51, 114, 162];

/// A lease, and since when we have it.
pub(super) struct Held {
    pub(super) lease: Lease,
    since: Instant,
}

impl Held {
    /// Time to ask again (RFC 2131 section 4.4.5: T1).
    pub(super) fn is_half_over(&self) -> bool {
        self.since.elapsed() > Duration::from_secs(u64::from(self.lease.seconds) / 2)
    }

    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() > Duration::from_secs(u64::from(self.lease.seconds))
    }
}

/// Asks for an address until there is one or the time is over.
pub(super) fn obtain(device: &str, mac: Mac, within: Duration) -> io::Result<Held> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.bind(&SocketAddr::from(([0; 4], 68)).into())?;
    let socket = std::net::UdpSocket::from(socket);
    let mut id = [0; 4];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let end = Instant::now() + within;
    let offer = exchange(&socket, &message(DISCOVER, id, mac, &[]), id, mac, OFFER, end)?;
    let [a, b, c, d] = offer.lease.address.octets();
    let [e, f, g, h] = offer.lease.server.octets();
    let options = [50, 4, a, b, c, d, 54, 4, e, f, g, h];
    let since = Instant::now();
    let lease = exchange(&socket, &message(REQUEST, id, mac, &options), id, mac, ACK, end)?.lease;
    Ok(Held { lease, since })
}

fn exchange(
    socket: &std::net::UdpSocket,
    message: &[u8],
    id: [u8; 4],
    mac: Mac,
    want: u8,
    end: Instant,
) -> io::Result<Answer> {
    let mut buffer = [0; 1500];
    while Instant::now() < end {
        match socket.send_to(message, (Ipv4Addr::BROADCAST, 67)) {
            Ok(_) => {}
            // The cable is not up yet.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        let again = Instant::now() + Duration::from_secs(1);
        while let Some(left) = again.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
            match Answer::parse(&buffer[..length], id, mac) {
                Some(answer) if answer.kind == want => return Ok(answer),
                Some(answer) if answer.kind == NAK => return Err(io::Error::other("the server said no")),
                _ => {}
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no server answered"))
}

/// A message to the server, to be answered by broadcast: we have no address yet.
fn message(kind: u8, id: [u8; 4], mac: Mac, options: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 236];
    (out[0], out[1], out[2]) = (1, 1, 6);
    out[4..8].copy_from_slice(&id);
    out[10] = 0x80;
    out[28..34].copy_from_slice(&mac.0);
    out.extend(COOKIE);
    out.extend([53, 1, kind, 55, WANTED.len() as u8]);
    out.extend(WANTED);
    out.extend(options);
    out.push(255);
    // Some servers drop what is shorter than BOOTP allowed (RFC 1542 section 2.1).
    out.resize(out.len().max(300), 0);
    out
}

struct Answer {
    kind: u8,
    lease: Lease,
}

impl Answer {
    fn parse(message: &[u8], id: [u8; 4], mac: Mac) -> Option<Self> {
        let ours = message.get(..2)? == [2, 1] && message.get(4..8)? == id && message.get(28..34)? == mac.0;
        if !ours || message.get(236..240)? != COOKIE {
            return None;
        }
        let address = |octets: &[u8]| <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from);
        let mut lease = Lease {
            address: address(message.get(16..20)?)?,
            bits: 32,
            router: None,
            resolvers: Vec::new(),
            seconds: 600,
            server: Ipv4Addr::UNSPECIFIED,
            captive_portal: None,
            names_encrypted_resolver: false,
        };
        let (mut kind, mut rest) = (0, &message[240..]);
        while let Some((&code, after)) = rest.split_first() {
            match code {
                255 => break,
                0 => rest = after,
                _ => {
                    let (&length, after) = after.split_first()?;
                    let value = after.get(..usize::from(length))?;
                    rest = &after[usize::from(length)..];
                    match code {
                        1 => lease.bits = u32::from(address(value)?).count_ones() as u8,
                        3 => lease.router = value.get(..4).and_then(address),
                        6 => lease.resolvers = value.chunks_exact(4).filter_map(address).collect(),
                        51 => lease.seconds = u32::from_be_bytes(value.try_into().ok()?),
                        53 => kind = *value.first()?,
                        54 => lease.server = address(value)?,
                        114 => lease.captive_portal = Some(String::from_utf8_lossy(value).into_owned()),
                        162 => lease.names_encrypted_resolver = true,
                        _ => {}
                    }
                }
            }
        }
        Some(Self { kind, lease })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn offer(options: &[u8]) -> Vec<u8> {
        let mut message = message(DISCOVER, [1, 2, 3, 4], MAC, &[]);
        message[0] = 2;
        message[16..20].copy_from_slice(&[10, 77, 0, 9]);
        message.truncate(240);
        message.extend(options);
        message
    }

    #[test]
    fn offer_is_read_with_its_options() {
        let options = [
            53, 1, 2, 1, 4, 255, 255, 252, 0, 3, 4, 10, 77, 0, 1, 6, 4, 10, 77, 0, 1, 51, 4, 0, 0, 14, 16, 54, 4, 10,
            77, 0, 1, 114, 2, b'h', b'i', 255,
        ];
        let answer = Answer::parse(&offer(&options), [1, 2, 3, 4], MAC).unwrap();
        assert_eq!((answer.kind, answer.lease.bits, answer.lease.seconds), (OFFER, 22, 3600));
        assert_eq!(answer.lease.resolvers, ["10.77.0.1".parse::<Ipv4Addr>().unwrap()]);
        assert_eq!(answer.lease.captive_portal.as_deref(), Some("hi"));
    }

    #[test]
    fn answers_to_others_and_broken_ones_are_no_answers() {
        let good = offer(&[53, 1, 2, 54, 4, 10, 77, 0, 1, 255]);
        assert!(Answer::parse(&good, [1, 2, 3, 5], MAC).is_none());
        assert!(Answer::parse(&good, [1, 2, 3, 4], Mac([2, 0, 0, 0, 0, 2])).is_none());
        for cut in 0..good.len() {
            let _ = Answer::parse(&good[..cut], [1, 2, 3, 4], MAC);
        }
    }
}
