//! The connections the kernel tracks (ctnetlink): found, and cut.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::errno::Errno;

use crate::{
    kernel::whole,
    netlink::{Socket, attributes, number, put},
};

// linux/netfilter/nfnetlink_conntrack.h
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const NLA_F_NESTED: u16 = 0x8000;
const FAMILIES: [u8; 2] = [2, 10];

/// A tracked connection, as far as it matters here.
pub(crate) struct Connection {
    /// Who began it.
    pub(crate) source: Option<IpAddr>,
    /// Both ends, as each side sees them.
    pub(crate) ends: Vec<IpAddr>,
    /// The connection's mark.
    pub(crate) mark: u32,
}

/// Makes the kernel forget the connections that `which` picks. What is open then is judged anew, packet by packet.
pub(crate) fn cut(socket: &mut Socket, which: impl Fn(&Connection) -> bool) -> io::Result<usize> {
    let mut doomed = Vec::new();
    for family in FAMILIES {
        whole(socket, |socket| {
            socket.dump(CT_GET, family, &[], |message| {
                let original = message.attribute(CTA_TUPLE_ORIG).unwrap_or_default();
                let mut ends = addresses(original);
                let source = ends.first().copied();
                ends.extend(addresses(message.attribute(CTA_TUPLE_REPLY).unwrap_or_default()));
                let mark = message.attribute(CTA_MARK).map_or(0, number) as u32;
                if which(&Connection { source, ends, mark }) {
                    let mut body = Vec::new();
                    put(&mut body, CTA_TUPLE_ORIG | NLA_F_NESTED, original);
                    for kind in [CTA_ID, CTA_ZONE] {
                        if let Some(value) = message.attribute(kind) {
                            put(&mut body, kind, value);
                        }
                    }
                    doomed.push((family, body));
                }
            })
        })?;
    }
    for (family, body) in &doomed {
        match socket.request(CT_DELETE, *family, body) {
            // It ended by itself, or was read twice.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            other => other?,
        }
    }
    Ok(doomed.len())
}

/// Source and destination of a tuple, in this order.
fn addresses(tuple: &[u8]) -> Vec<IpAddr> {
    let nested = attributes(tuple).find(|(kind, _)| *kind == 1).map_or(&[] as &[u8], |(_, value)| value);
    let mut found: Vec<_> = attributes(nested).collect();
    found.sort_by_key(|(kind, _)| *kind);
    let address = |value: &[u8]| match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
    };
    found.into_iter().filter_map(|(_, value)| address(value)).collect()
}
