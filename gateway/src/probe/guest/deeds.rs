//! Sending, connecting, and telling exactly what came of it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::probe::wire::{Deed, Saw};

/// How many are under way at the same time.
const AT_ONCE: usize = 32;
/// No deed may take longer than this, whatever is asked.
const LONGEST: Duration = Duration::from_secs(20);

/// Does all of them; what each saw, in order.
pub(super) fn all(deeds: &[Deed]) -> Vec<Saw> {
    let mut seen = Vec::with_capacity(deeds.len());
    for some in deeds.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let under_way: Vec<_> = some.iter().map(|deed| scope.spawn(move || one(deed))).collect();
            let failed = || Saw { end: "the deed broke off".into(), ..Saw::default() };
            seen.extend(under_way.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())));
        });
    }
    seen
}

fn one(deed: &Deed) -> Saw {
    let begin = Instant::now();
    let mut saw = Saw::default();
    let end = match deed {
        Deed::Udp { to, send, within_ms, times } => udp(*to, send, time(*within_ms), *times, &mut saw),
        Deed::Tcp { to, send, enough, framed, within_ms } => {
            tcp(*to, send, (*enough, *framed), begin + time(*within_ms), &mut saw)
        }
    };
    saw.end = match end {
        Ok(()) => "done".into(),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => "refused".into(),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => "silent".into(),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => {
                "unreachable".into()
            }
            _ => error.to_string(),
        },
    };
    saw.ms = begin.elapsed().as_millis() as u64;
    saw
}

fn time(ms: u64) -> Duration {
    Duration::from_millis(ms).min(LONGEST)
}

fn bytes(text: &str) -> io::Result<Vec<u8>> {
    BASE64_STANDARD.decode(text).map_err(io::Error::other)
}

fn udp(to: SocketAddr, send: &str, within: Duration, times: u32, saw: &mut Saw) -> io::Result<()> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let (send, times) = (bytes(send)?, times.clamp(1, 64));
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let mut buffer = [0; 4096];
    let mut last = io::Error::from(ErrorKind::TimedOut);
    for _ in 0..times {
        // An error that an earlier datagram brought comes out here, and then nothing was sent.
        if let Err(error) = socket.send(&send).or_else(|_| socket.send(&send)) {
            last = error;
            continue;
        }
        let part = within / times;
        if part.is_zero() {
            continue;
        }
        socket.set_read_timeout(Some(part))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                saw.reply = Some(BASE64_STANDARD.encode(&buffer[..length]));
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    if within.is_zero() { Ok(()) } else { Err(last) }
}

fn tcp(to: SocketAddr, send: &str, (enough, framed): (usize, bool), end: Instant, saw: &mut Saw) -> io::Result<()> {
    let left = || {
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        left.ok_or_else(|| io::Error::from(ErrorKind::TimedOut))
    };
    let send = bytes(send)?;
    let mut stream = TcpStream::connect_timeout(&to, left()?)?;
    saw.connected = true;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(&send)?;
    let (mut heard, mut buffer) = (Vec::new(), [0; 16_384]);
    let ended = loop {
        let whole =
            framed && heard.len() >= 2 && heard.len() >= 2 + usize::from(u16::from_be_bytes([heard[0], heard[1]]));
        if whole || heard.len() >= enough {
            break Ok(());
        }
        let read = left().and_then(|left| stream.set_read_timeout(Some(left))).and_then(|()| stream.read(&mut buffer));
        match read {
            Ok(0) => break Ok(()),
            Ok(length) => heard.extend(&buffer[..length]),
            Err(error) => break Err(error),
        }
    };
    if !heard.is_empty() {
        heard.truncate(enough);
        saw.reply = Some(BASE64_STANDARD.encode(&heard));
        return Ok(());
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_refuses_or_is_silent_is_told_apart() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (to, silent) = (server.local_addr().unwrap(), mute.local_addr().unwrap());
        let echo = thread::spawn(move || {
            let mut buffer = [0; 64];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
        });
        let deed = |to| Deed::Udp { to, send: BASE64_STANDARD.encode("hi"), within_ms: 300, times: 1 };
        let saw = all(&[deed(to), deed(silent), deed(closed)]);
        echo.join().unwrap();
        assert_eq!(saw[0].reply.as_deref(), Some("aGk="));
        assert_eq!((saw[1].end.as_str(), saw[2].end.as_str()), ("silent", "refused"));
    }

    #[test]
    fn refused_connection_is_no_connection() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let saw = one(&Deed::Tcp { to: closed, send: String::new(), enough: 1, framed: false, within_ms: 300 });
        assert_eq!((saw.connected, saw.end.as_str()), (false, "refused"));
    }
}
