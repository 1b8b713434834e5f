//! Writes down every packet that comes in over the uplink, whatever it is and whomever it is for.

use std::{
    fs::File,
    io::{Read, Write},
    net::IpAddr,
    path::Path,
    thread,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    arrivals::Arrival,
    error::{Doing, LabError},
    plan,
};

/// All Ethernet protocols (linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Starts the thread that writes packets to `log`, a JSON line each.
pub(crate) fn start(log: &Path) -> Result<(), LabError> {
    let mut log = File::create(log).doing(|| format!("writing {}", log.display()))?;
    // packet(7): the protocol of such a socket is in network byte order.
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let mut socket =
        Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).doing(|| "opening a packet socket".into())?;
    socket.set_recv_buffer_size(4 << 20).doing(|| "widening the packet socket".into())?;
    thread::spawn(move || {
        let mut room = [0; 2048];
        while let Ok(length) = socket.read(&mut room) {
            if let Some(arrival) = parse(&room[..length])
                && let Ok(mut line) = serde_json::to_vec(&arrival)
            {
                line.push(b'\n');
                let _ = log.write_all(&line);
            }
        }
    });
    Ok(())
}

/// Reads an IP packet that came in over the uplink; anything else is not an arrival.
fn parse(frame: &[u8]) -> Option<Arrival> {
    let (_, rest) = frame.split_at_checked(6)?;
    let (source_mac, rest) = rest.split_at_checked(6)?;
    if source_mac != plan::UPLINK_MAC {
        return None;
    }
    let (kind, packet) = rest.split_at_checked(2)?;
    let (source, target, protocol, payload): (IpAddr, IpAddr, u8, &[u8]) = if kind == IPV4 {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let address = |at: usize| packet.get(at..at + 4).and_then(|a| <[u8; 4]>::try_from(a).ok()).map(IpAddr::from);
        (address(12)?, address(16)?, *packet.get(9)?, packet.get(header..)?)
    } else if kind == IPV6 {
        let address = |at: usize| packet.get(at..at + 16).and_then(|a| <[u8; 16]>::try_from(a).ok()).map(IpAddr::from);
        (address(8)?, address(24)?, *packet.get(6)?, packet.get(40..)?)
    } else {
        return None;
    };
    let has_ports = matches!(protocol, 6 | 17 | 132);
    let port =
        |at: usize| payload.get(at..at + 2).filter(|_| has_ports).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
    Some(Arrival { source, target, protocol, source_port: port(0), target_port: port(2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[0xff; 6], &plan::UPLINK_MAC[..], &kind, packet].concat()
    }

    #[test]
    fn udp_over_ipv4_with_options_is_read() {
        let mut packet = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 8, 8, 8, 8, 1, 1, 1, 0];
        packet.extend([0x30, 0x39, 0x00, 0x35, 0, 8, 0, 0]);
        let arrival = parse(&frame(IPV4, &packet)).unwrap();
        assert_eq!((arrival.source_port, arrival.target_port, arrival.protocol), (12345, 53, 17));
        assert_eq!(arrival.target, IpAddr::from([8, 8, 8, 8]));
    }

    #[test]
    fn what_the_internet_itself_sent_is_no_arrival() {
        let mut sent = frame(IPV4, &[0x45; 40]);
        sent[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        assert_eq!(parse(&sent), None);
    }

    #[test]
    fn cut_off_packets_are_no_arrivals() {
        let whole = frame(IPV6, &[0x60; 40]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert!(parse(&whole).is_some());
    }
}
