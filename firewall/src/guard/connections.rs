//! The connections the kernel tracks (ctnetlink): found, and cut.

use std::{
    collections::{BTreeMap, HashSet},
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Condvar, Mutex},
};

use nix::errno::Errno;

use crate::{
    kernel::whole,
    locked,
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
/// Both families in one walk.
const EITHER: u8 = 0;
/// Rounds whose failure is remembered until those who waited for them have looked.
const REMEMBERED: usize = 64;

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
    whole(socket, |socket| {
        socket.dump(CT_GET, EITHER, &[], |message| {
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
                doomed.push((message.body[0], body));
            }
        })
    })?;
    for (family, body) in &doomed {
        match socket.request(CT_DELETE, *family, body) {
            // It ended by itself, or was read twice.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            other => other?,
        }
    }
    Ok(doomed.len())
}

/// Cuts for many at once. To find a device's connections the kernel walks its whole table, which takes milliseconds however
/// empty it is: who comes while a walk is under way waits and shares the next one.
pub(crate) struct Cutter {
    socket: Mutex<Socket>,
    queue: Mutex<Queue>,
    walked: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: HashSet<IpAddr>,
    walking: bool,
    begun: u64,
    finished: u64,
    /// Why a round failed.
    failed: BTreeMap<u64, String>,
}

impl Cutter {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { socket: Mutex::new(Socket::new(0)?), queue: Mutex::default(), walked: Condvar::new() })
    }

    /// Cuts the connections of these addresses, and returns when they are cut.
    pub(crate) fn cut(&self, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<()> {
        let mut queue = locked(&self.queue);
        let before = queue.waiting.len();
        queue.waiting.extend(addresses);
        if before == 0 && queue.waiting.is_empty() {
            return Ok(());
        }
        // The round that has not begun is the first that surely sees what was open before.
        let ours = queue.begun + 1;
        while queue.finished < ours {
            if queue.walking {
                queue = self.walked.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
            queue.walking = true;
            queue.begun += 1;
            let round = queue.begun;
            let doomed = mem::take(&mut queue.waiting);
            drop(queue);
            let walked =
                cut(&mut locked(&self.socket), |connection| connection.ends.iter().any(|end| doomed.contains(end)));
            queue = locked(&self.queue);
            queue.walking = false;
            queue.finished = round;
            if let Err(error) = walked {
                queue.failed.insert(round, error.to_string());
                if queue.failed.len() > REMEMBERED {
                    queue.failed.pop_first();
                }
            }
            self.walked.notify_all();
        }
        queue.failed.get(&ours).map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }
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
