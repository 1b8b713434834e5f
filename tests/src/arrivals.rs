//! What reached the internet side, as it logged it: packets and questions. The proof of what does not get through.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{error::Doing, error::LabError, place::Place, plan, wait::until};

/// Names under this suffix are the lab's own and not counted.
const MARKER: &str = "marker.sheshi-lab.example";

/// A packet that arrived on the internet side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Who sent it, after translation by the gateway.
    pub source: IpAddr,
    /// Whom it was for.
    pub target: IpAddr,
    /// IP protocol number: 1 ICMP, 6 TCP, 17 UDP, 47 GRE, 58 ICMPv6, 132 SCTP.
    pub protocol: u8,
    /// Port it came from; 0 where the protocol has none.
    pub source_port: u16,
    /// Port it was for; 0 where the protocol has none.
    pub target_port: u16,
}

/// A question that reached a resolver on the internet side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The name, in lower case without the last dot.
    pub name: String,
    /// The type: `A`, `AAAA` …
    pub kind: String,
    /// `udp`, `tcp`, `tls` or `https`.
    pub transport: String,
    /// The address that was asked.
    pub server: IpAddr,
    /// Whether that is a resolver the city did not configure.
    pub foreign: bool,
}

pub(crate) fn packets_path(internet: &Path) -> PathBuf {
    internet.join("packets.jsonl")
}

pub(crate) fn names_path(internet: &Path) -> PathBuf {
    internet.join("names.jsonl")
}

pub(crate) fn asked(folder: &Path) -> Vec<Asked> {
    let all: Vec<Asked> = lines(&names_path(&folder.join("internet")));
    all.into_iter().filter(|asked| asked.name != MARKER).collect()
}

/// Every packet that arrived until now. Known from a marker in each family: what was sent before it went before it.
pub(crate) fn until_now(folder: &Path, gateway: &Place) -> Result<Vec<Arrival>, LabError> {
    let path = packets_path(&folder.join("internet"));
    let already = lines::<Arrival>(&path).len();
    let mut markers = Vec::new();
    for upstream in [IpAddr::V4(plan::UPSTREAM_V4), IpAddr::V6(plan::UPSTREAM_V6)] {
        let socket = gateway.udp((upstream, 53).into())?;
        let port = socket.local_addr().doing(|| "reading the port of the marker".into())?.port();
        markers.push((socket, upstream, port));
    }
    let question = crate::dns::question(MARKER, RecordType::A)?;
    let is = |arrival: &Arrival, target: &IpAddr, port: u16| arrival.target == *target && arrival.source_port == port;
    until("the marker packets on the internet side", Duration::from_secs(10), || {
        let all: Vec<Arrival> = lines(&path);
        let seen = |target: &IpAddr, port| all.iter().skip(already).any(|arrival| is(arrival, target, port));
        let missing: Vec<_> = markers.iter().filter(|(_, target, port)| !seen(target, *port)).collect();
        for (socket, ..) in &missing {
            // Sent again at each look: nothing says that the uplink is up.
            let _ = socket.send(&question);
        }
        missing.is_empty().then_some(())
    })?;
    let all: Vec<Arrival> = lines(&path);
    let is_marker = |arrival: &Arrival| markers.iter().any(|(_, target, port)| is(arrival, target, *port));
    Ok(all.into_iter().filter(|arrival| !is_marker(arrival)).collect())
}

fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written.
    text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
}
