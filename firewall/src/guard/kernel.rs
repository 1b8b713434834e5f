//! What the kernel holds: tables, and the admitted.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use nix::errno::Errno;
use sheshi_firewall::{Limits, contract};
use sheshi_policy::Mac;

use crate::{
    allowance::Device,
    netlink::{Message, Socket, number, put, text},
    picture::{self, Picture},
};

const NFPROTO_INET: u8 = 1;
/// Dumps that a change tears are begun anew, this often.
const ATTEMPTS: usize = 8;

/// An admitted pair.
pub(crate) type Pair = (Mac, IpAddr);

/// A table as the kernel has it, with its rules and the elements that have no time.
pub(crate) fn picture(socket: &mut Socket, table: &str) -> io::Result<Picture> {
    whole(socket, |socket| {
        let mut picture = Picture::default();
        let named = question(&[(1, table)]);
        socket.dump(picture::GETTABLE, NFPROTO_INET, &[], |message| picture.add(table, &message))?;
        if !picture.exists {
            return Ok(picture);
        }
        for kind in [picture::GETCHAIN, picture::GETSET] {
            socket.dump(kind, NFPROTO_INET, &named, |message| picture.add(table, &message))?;
        }
        socket.dump(picture::GETRULE, NFPROTO_INET, &named, |message| picture.add(table, &message))?;
        for set in picture.plain_sets() {
            let question = question(&[(1, table), (2, &set)]);
            socket.dump(picture::GETSETELEM, NFPROTO_INET, &question, |message| picture.add(table, &message))?;
        }
        Ok(picture)
    })
}

/// A table's flags, and whether a living process owns it; `None` if there is no such table.
pub(crate) fn flags(socket: &mut Socket, table: &str) -> io::Result<Option<(u32, bool)>> {
    whole(socket, |socket| {
        let mut found = None;
        socket.dump(picture::GETTABLE, NFPROTO_INET, &[], |message: Message<'_>| {
            if message.attribute(1).map(text).as_deref() == Some(table) {
                let flags = message.attribute(2).map_or(0, number) as u32;
                found = Some((flags, message.attribute(7).is_some()));
            }
        })?;
        Ok(found)
    })
}

/// The admitted pairs and the time each has left. Empty without a table.
pub(crate) fn guests(socket: &mut Socket) -> io::Result<HashMap<Pair, Duration>> {
    whole(socket, |socket| {
        let mut guests = HashMap::new();
        for set in [contract::GUEST4, contract::GUEST6] {
            let question = question(&[(1, contract::WORKING), (2, set)]);
            let read = socket.dump(picture::GETSETELEM, NFPROTO_INET, &question, |message| {
                for element in picture::elements(&message) {
                    if let Some(pair) = pair(&element.key) {
                        guests.insert(pair, Duration::from_millis(element.left));
                    }
                }
            });
            match read {
                Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
                other => other?,
            }
        }
        Ok(guests)
    })
}

/// The devices with limits, and every mark that is given, also where its device is not known. Empty without a table.
pub(crate) fn devices(socket: &mut Socket) -> io::Result<(HashMap<Mac, Device>, HashSet<u32>)> {
    whole(socket, |socket| {
        let mut macs: HashMap<u32, Mac> = HashMap::new();
        let mut found: HashMap<u32, Device> = HashMap::new();
        for set in [contract::DEVICE, contract::UP, contract::DOWN, contract::DATA] {
            let question = question(&[(1, contract::WORKING), (2, set)]);
            let read = socket.dump(picture::GETSETELEM, NFPROTO_INET, &question, |message| {
                for element in picture::elements(&message) {
                    let leads = set == contract::DEVICE;
                    let mark = if leads { &element.value } else { &element.key };
                    let Ok(mark) = <[u8; 4]>::try_from(mark.as_slice()).map(u32::from_ne_bytes) else { continue };
                    let fresh = Device { mark, limits: Limits::default(), used: 0 };
                    let device = found.entry(mark).or_insert(fresh);
                    match set {
                        contract::UP => device.limits.up = Some(element.measured.0),
                        contract::DOWN => device.limits.down = Some(element.measured.0),
                        contract::DATA => {
                            device.limits.data = Some(element.measured.0);
                            device.used = element.measured.1;
                        }
                        _ => {
                            if let Ok(mac) = <[u8; 6]>::try_from(element.key.as_slice()) {
                                macs.insert(mark, Mac(mac));
                            }
                        }
                    }
                }
            });
            match read {
                Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
                other => other?,
            }
        }
        let marks = found.keys().copied().collect();
        Ok((found.into_iter().filter_map(|(mark, device)| Some((*macs.get(&mark)?, device))).collect(), marks))
    })
}

fn pair(key: &[u8]) -> Option<Pair> {
    let mac = Mac(key.get(..6)?.try_into().ok()?);
    let address = match key.get(8..)? {
        four if four.len() == 4 => Ipv4Addr::from(<[u8; 4]>::try_from(four).ok()?).into(),
        sixteen => Ipv6Addr::from(<[u8; 16]>::try_from(sixteen).ok()?).into(),
    };
    Some((mac, address))
}

fn question(attributes: &[(u16, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name) in attributes {
        put(&mut bytes, *kind, format!("{name}\0").as_bytes());
    }
    bytes
}

/// Reads again when a change came in between.
pub(crate) fn whole<T>(socket: &mut Socket, mut read: impl FnMut(&mut Socket) -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match read(socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
    read(socket)
}
