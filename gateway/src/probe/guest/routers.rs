//! Who says that it is a router (RFC 4861), and which resolvers it names (RFC 8106, RFC 9463).

use std::{
    ffi::CString,
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::probe::wire::Router;

const SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];
const ADVERTISEMENT: u8 = 134;
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const RESOLVERS: u8 = 25;
const ENCRYPTED_RESOLVERS: u8 = 144;

/// Asks for routers and hears who answers.
pub(super) fn listen(device: &str, within: Duration) -> io::Result<Vec<Router>> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.bind_device(Some(device.as_bytes()))?;
    let name = CString::new(device).map_err(io::Error::other)?;
    let index = nix::net::if_::if_nametoindex(name.as_c_str())?;
    // RFC 4861 section 4.1: what did not come from this link does not count.
    socket.set_multicast_hops_v6(255)?;
    let to = SocketAddrV6::new(ALL_ROUTERS, 0, 0, index).into();
    let _ = socket.send_to(&SOLICITATION, &to);
    let end = Instant::now() + within;
    let mut found: Vec<Router> = Vec::new();
    // The same calls as on a UDP socket; only the type's name is wrong.
    let socket = UdpSocket::from(socket);
    let mut buffer = [0; 1500];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left))?;
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let SocketAddr::V6(from) = from else { continue };
        if let Some(router) = parse(&buffer[..length], *from.ip())
            && !found.contains(&router)
        {
            found.push(router);
        }
    }
    Ok(found)
}

fn parse(message: &[u8], from: Ipv6Addr) -> Option<Router> {
    if *message.first()? != ADVERTISEMENT || message.len() < 16 {
        return None;
    }
    let lifetime = u16::from_be_bytes([message[6], message[7]]);
    let mut router = Router { from: from.into(), resolvers: Vec::new(), names_encrypted_resolver: false, lifetime };
    let mut rest = &message[16..];
    while let [kind, eights, ..] = *rest {
        let option = rest.get(..usize::from(eights) * 8).filter(|option| !option.is_empty())?;
        match kind {
            RESOLVERS => {
                let addresses: &[[u8; 16]] = option.get(8..)?.as_chunks().0;
                router.resolvers.extend(addresses.iter().map(|octets| Ipv6Addr::from(*octets)));
            }
            ENCRYPTED_RESOLVERS => router.names_encrypted_resolver = true,
            _ => {}
        }
        rest = &rest[option.len()..];
    }
    Some(router)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertisement_is_read_with_its_resolvers() {
        let mut message = vec![134, 0, 0, 0, 64, 0, 2, 88, 0, 0, 0, 0, 0, 0, 0, 0, 25, 3, 0, 0, 0, 0, 2, 88];
        message.extend("fd5e::1".parse::<Ipv6Addr>().unwrap().octets());
        let router = parse(&message, "fe80::1".parse().unwrap()).unwrap();
        assert_eq!((router.lifetime, router.resolvers), (600, vec!["fd5e::1".parse().unwrap()]));
        for cut in 0..message.len() {
            let _ = parse(&message[..cut], Ipv6Addr::LOCALHOST);
        }
        message[17] = 0;
        assert_eq!(parse(&message, Ipv6Addr::LOCALHOST), None, "an option without length never ends");
    }
}
