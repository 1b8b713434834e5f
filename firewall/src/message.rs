//! What is said on the guard's socket: a length in four bytes (network order), then JSON. Typed, bounded, with a deadline.
//!
//! One connection carries one request; only long lists of closed addresses take several, as pages before the ruleset.

use std::{
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sheshi_policy::Mac;

use crate::{Error, Limits, Network, Ruleset};

/// Longest message, in bytes, either way.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most elements in one page of a list.
pub const PAGE: usize = 1000;
/// Most addresses admitted at once for one device.
pub const MAX_ADDRESSES: usize = 64;
/// Longest time that an address stays open to strangers without being opened again.
pub const MAX_OPEN: Duration = Duration::from_secs(24 * 3600);
/// Longest admission. A forgotten guest does not stay for ever.
pub const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the gateway asks of the guard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// More closed addresses for the `Apply` that follows on this connection.
    Block {
        /// At most [`PAGE`] of them.
        addresses: Vec<Network>,
    },
    /// More relays of Tor for the `Apply` that follows on this connection.
    Tor {
        /// At most [`PAGE`] of them.
        addresses: Vec<Network>,
    },
    /// Put this ruleset in force, in one transaction, keeping the admitted guests.
    Apply {
        /// The ruleset; the pages sent before are added to its `block`.
        ruleset: Box<Ruleset>,
    },
    /// Admit a device at these addresses.
    Admit {
        /// The device.
        mac: Mac,
        /// Its addresses, 1 to [`MAX_ADDRESSES`].
        addresses: Vec<IpAddr>,
        /// For how long, in milliseconds, at most [`MAX_TIME`].
        milliseconds: u64,
        /// What it may use up, at all its addresses together; replaces what it was given before.
        #[serde(default)]
        limits: Limits,
    },
    /// Expel a device, and cut its connections.
    Expel {
        /// The device.
        mac: Mac,
    },
    /// Open these addresses to strangers, where the ruleset has a garden.
    Open {
        /// Addresses of the internet, 1 to [`MAX_ADDRESSES`].
        addresses: Vec<IpAddr>,
        /// For how long, in milliseconds, at most [`MAX_OPEN`].
        milliseconds: u64,
    },
    /// Who is admitted.
    Guests,
    /// Who has used up its data.
    Spent,
    /// How it stands.
    Health,
}

/// What the guard answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Response {
    /// It is so.
    Done,
    /// The device is out.
    Expelled {
        /// How many of its addresses were admitted.
        count: usize,
    },
    /// A page of the admitted.
    Guests {
        /// At most [`PAGE`] of them.
        guests: Vec<Guest>,
        /// Whether another page follows.
        more: bool,
    },
    /// Devices that have used up their data and are out; expel each to say that its session is ended.
    Spent {
        /// At most [`PAGE`] of them.
        devices: Vec<Mac>,
    },
    /// How it stands.
    Health(Box<Health>),
    /// The ruleset contradicts itself.
    Refused {
        /// Every problem, with its path.
        problems: Vec<String>,
    },
    /// It could not be done, and nothing was opened.
    Failed {
        /// What was asked.
        doing: String,
        /// Why not.
        why: String,
    },
}

/// An admitted pair of device and address, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// The device.
    pub mac: Mac,
    /// Its address.
    pub address: IpAddr,
    /// Until the kernel forgets it.
    pub left: Duration,
}

/// How the firewall stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The working table is in the kernel and hooked in.
    pub in_force: bool,
    /// What the kernel holds is, rule by rule, what was rendered.
    pub matches: bool,
    /// Where the kernel differs first; empty when it matches.
    pub difference: String,
    /// The ruleset is a closed one: nothing is forwarded.
    pub closed: bool,
    /// The generation the kernel carries.
    pub generation: u64,
    /// Whether the kernel forwards at all.
    pub forwarding: Forwarding,
    /// What each promise's rules have met since the ruleset was applied.
    pub counters: Vec<Counter>,
    /// How often a lost or changed table was put back since the guard started.
    pub restored: u64,
    /// Promises this kernel or this account only lets us keep in a weaker form, in words.
    pub weaker_promises: Vec<String>,
}

/// Whether the kernel forwards, by family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarding {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// What the rules of one promise have met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// The promise, such as `C12`.
    pub promise: String,
    /// What is promised, in a few words.
    pub title: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Sends one message. `doing` is for the error's text.
pub fn send(mut stream: &UnixStream, message: &impl Serialize, doing: &'static str) -> Result<(), Error> {
    let json = serde_json::to_vec(message).map_err(|error| Error::Malformed { doing, what: error.to_string() })?;
    if json.len() > MAX_MESSAGE {
        let what = format!("the message has {} bytes, more than the {MAX_MESSAGE} allowed", json.len());
        return Err(Error::Malformed { doing, what });
    }
    let mut frame = Vec::with_capacity(4 + json.len());
    frame.extend_from_slice(&(json.len() as u32).to_be_bytes());
    frame.extend_from_slice(&json);
    stream.write_all(&frame).map_err(|source| Error::Broken { doing, source })
}

/// Receives one message before the deadline. `None`: the other side closed in good order, between messages.
pub fn receive<M: DeserializeOwned>(
    stream: &UnixStream,
    deadline: Instant,
    doing: &'static str,
) -> Result<Option<M>, Error> {
    let mut length = [0; 4];
    if !fill(stream, &mut length, deadline).map_err(|source| Error::Broken { doing, source })? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        let what = format!("a message of {length} bytes is announced, more than the {MAX_MESSAGE} allowed");
        return Err(Error::Malformed { doing, what });
    }
    let mut json = vec![0; length];
    if !fill(stream, &mut json, deadline).map_err(|source| Error::Broken { doing, source })? && length > 0 {
        return Err(Error::Broken { doing, source: io::ErrorKind::UnexpectedEof.into() });
    }
    serde_json::from_slice(&json).map(Some).map_err(|error| Error::Malformed { doing, what: error.to_string() })
}

/// Fills the buffer; `false` if the other side closed before its first byte. The time limit is for the whole of it: a
/// sender of single bytes does not hold us.
fn fill(mut stream: &UnixStream, buffer: &mut [u8], deadline: Instant) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[test]
    fn message_arrives_as_it_was_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        send(&ours, &Request::Expel { mac }, "testing").unwrap();
        let request: Option<Request> = receive(&theirs, soon(), "testing").unwrap();
        assert!(matches!(request, Some(Request::Expel { mac: got }) if got == mac));
    }

    #[test]
    fn announced_giant_is_refused_before_it_is_read() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(matches!(receive::<Request>(&theirs, soon(), "testing"), Err(Error::Malformed { .. })));
    }

    #[test]
    fn unknown_fields_and_messages_are_refused() {
        for json in [
            r#"{"expel":{"mac":"02:00:00:00:00:01","force":true}}"#,
            r#""reboot""#,
            r#"{"apply":{"ruleset":{"generation":1,"closed":true,"open":true}}}"#,
            "",
        ] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(&(json.len() as u32).to_be_bytes()).unwrap();
            ours.write_all(json.as_bytes()).unwrap();
            let got = receive::<Request>(&theirs, soon(), "testing");
            assert!(matches!(got, Err(Error::Malformed { .. })), "{json}: {got:?}");
        }
    }

    #[test]
    fn half_a_message_times_out_and_a_cut_one_is_an_error() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0, 0, 0, 9, b'"']).unwrap();
        assert!(matches!(receive::<Request>(&theirs, soon(), "testing"), Err(Error::Broken { .. })));
        drop(ours);
        assert!(receive::<Request>(&theirs, soon(), "testing").unwrap().is_none());
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0, 0]).unwrap();
        drop(ours);
        assert!(matches!(receive::<Request>(&theirs, soon(), "testing"), Err(Error::Broken { .. })));
    }
}
