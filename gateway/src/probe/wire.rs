//! What gateway and synthetic guest say to each other: one line of JSON each way over a Unix socket.
//!
//! The guest does what it is told and says what it saw; it knows nothing of controls, and judges nothing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sheshi_policy::Mac;

/// Longest line, either way.
const LONGEST: u64 = 4 << 20;
/// How long the guest may take for one batch.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What the gateway asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Join the network if that has not been done, or do it afresh, and say what came of it.
    Join {
        /// Forget the lease and ask for a new one.
        afresh: bool,
    },
    /// Listen for router advertisements, after asking for them.
    Routers {
        /// For how long.
        within_ms: u64,
    },
    /// Do all of this, at the same time.
    Do(Vec<Deed>),
}

/// One thing to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deed {
    /// Send a datagram and wait for an answer to it.
    Udp {
        /// To whom.
        to: SocketAddr,
        /// What, in base64.
        send: String,
        /// Until when to wait. Zero: not at all.
        within_ms: u64,
        /// How often it is sent in all, for want of an answer or to be counted.
        times: u32,
    },
    /// Connect, send, and read until there is enough or the other side ends.
    Tcp {
        /// To whom.
        to: SocketAddr,
        /// What, in base64.
        send: String,
        /// How many bytes are enough.
        enough: usize,
        /// The first two bytes say how many more there are, as in DNS.
        framed: bool,
        /// For how long, in all.
        within_ms: u64,
    },
}

/// What came of a deed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saw {
    /// A connection came about; always false for datagrams.
    pub connected: bool,
    /// What came back, in base64.
    pub reply: Option<String>,
    /// Why there is nothing, or why it ended: `refused`, `silent`, `unreachable`, or the system's words.
    pub end: String,
    /// How long it took.
    pub ms: u64,
}

/// What the guest is on its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// Its device.
    pub mac: Option<Mac>,
    /// The lease.
    pub lease: Option<Lease>,
    /// Its IPv6 addresses, link-local ones left out.
    pub v6: Vec<Ipv6Addr>,
    /// What it tried before anybody asked: from its first moment until the gateway's first word.
    pub watch: Watch,
    /// What was wrong, when something was.
    pub trouble: Option<String>,
}

/// A lease of DHCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Our address.
    pub address: Ipv4Addr,
    /// Bits of the network.
    pub bits: u8,
    /// The router.
    pub router: Option<Ipv4Addr>,
    /// The resolvers.
    pub resolvers: Vec<Ipv4Addr>,
    /// For how long.
    pub seconds: u32,
    /// Who lent it.
    pub server: Ipv4Addr,
    /// Option 114 (RFC 8910).
    pub captive_portal: Option<String>,
    /// Option 162 (RFC 9463) was there: a resolver over TLS or HTTPS is named.
    pub names_encrypted_resolver: bool,
}

/// What the guest tried on its own while nobody asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Questions and connections tried.
    pub tried: u64,
    /// Of them answered by something that was not the gateway.
    pub unfiltered: u64,
    /// For how long, in milliseconds.
    pub ms: u64,
}

/// A router advertisement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Who sent it.
    pub from: IpAddr,
    /// Resolvers that it names (RFC 8106).
    pub resolvers: Vec<Ipv6Addr>,
    /// Whether it names an encrypted one (RFC 9463).
    pub names_encrypted_resolver: bool,
    /// For how long it is a router, in seconds; 0 is none.
    pub lifetime: u16,
}

/// The guest's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// To [`Ask::Join`].
    Joined(Joined),
    /// To [`Ask::Routers`].
    Routers(Vec<Router>),
    /// To [`Ask::Do`], in the same order.
    Saw(Vec<Saw>),
    /// It could not be done.
    Failed(String),
}

/// Asks the synthetic guest whose socket this is; waits.
pub fn ask(path: &Path, ask: &Ask) -> io::Result<Told> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    say(&stream, ask)?;
    match hear(&stream)? {
        Some(Told::Failed(why)) => Err(io::Error::other(why)),
        Some(told) => Ok(told),
        None => Err(io::Error::other("the synthetic guest said nothing")),
    }
}

/// Writes one line.
pub fn say(mut stream: &UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line; `None` at the end of the conversation.
pub fn hear<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let read = BufReader::new(stream).take(LONGEST).read_until(b'\n', &mut line)?;
    if read == 0 { Ok(None) } else { Ok(Some(serde_json::from_slice(&line)?)) }
}
