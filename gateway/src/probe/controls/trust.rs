//! Evidence can be trusted: the approved policy, the enrolled key, an unbroken log, a right clock.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sheshi_evidence::{Digest, log::Log, merkle, note, record::Outcome, sign::PublicKey};

use super::Result;
use crate::probe::{judge::Found, ledger, round::Round};

pub(super) fn approved(round: &Round<'_>, probe: &str) -> Result {
    match probe {
        "p1" => key(round),
        "p2" => policy(round),
        "p3" => release(),
        _ => Ok(Found::not_applicable("the key is kept in a file that only the gateway may read")),
    }
}

/// A statement signed now is right under the key that the city enrolled.
fn key(round: &Round<'_>) -> Result {
    let path = round.settings().enrolled.as_ref();
    let path =
        path.ok_or_else(|| Found::unclear("no enrolled key is configured: give the city's copy as probes.enrolled"))?;
    let enrolled = PublicKey::load(path).map_err(|error| Found::unclear(error.to_string()))?;
    let log = round.sight.log();
    let (statement, ours) = (log.checkpoint(), log.public_key().fingerprint());
    let holds = note::Checkpoint::verify(statement.as_bytes(), &enrolled).is_ok();
    let saw = format!("ours is {ours}, enrolled is {}", enrolled.fingerprint());
    Ok(Found::held(holds, "a checkpoint signed now", "it is right under the enrolled key", saw))
}

fn policy(round: &Round<'_>) -> Result {
    let path = round.settings().approved.as_ref();
    let path = path.ok_or_else(|| {
        Found::unclear("no approval is configured: give the output of `sha256sum policy.toml` as probes.approved")
    })?;
    let text = fs::read_to_string(path).map_err(|error| Found::unclear(format!("{}: {error}", path.display())))?;
    let approved = text.split_ascii_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let bytes = fs::read(&round.sight.config.policy).map_err(|error| Found::unclear(error.to_string()))?;
    let active = Digest::of(&bytes).to_string();
    let saw = format!("active {}, approved {}", &active[..16], approved.get(..16).unwrap_or(&approved));
    Ok(Found::held(active == approved, "SHA-256 of the policy file", "that of the approval", saw))
}

fn release() -> Result {
    let program = Path::new("/proc/self/exe");
    let built =
        fs::metadata(program).and_then(|file| file.modified()).map_err(|error| Found::unclear(error.to_string()))?;
    let age = SystemTime::now().duration_since(built).unwrap_or_default().as_secs();
    let bytes = fs::read(program).map_err(|error| Found::unclear(error.to_string()))?;
    let saw = format!("{}, SHA-256 {}", ledger::software(), Digest::of(&bytes));
    let found = Found::held(true, "the program that runs", "a release of at most 90 days", saw);
    Ok(found.figure("age_s", age as i64))
}

/// The log itself: what was signed before is what is there now, and nothing is missing.
pub(super) fn log(round: &Round<'_>, probe: &str) -> Result {
    match probe {
        "p1" | "p2" => consistent(round, probe),
        "p3" => Ok(Found::not_applicable("no time-stamping server is configured")),
        _ => late(round),
    }
}

fn consistent(round: &Round<'_>, probe: &str) -> Result {
    let log = round.sight.log();
    let path = log.folder().join("last-checkpoint");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let looked = log.read(|log| if probe == "p1" { included(log) } else { grown(log, &kept) });
    let (found, text) = looked.map_err(|error| Found::unclear(error.to_string()))?;
    if let (Some(text), Some(Outcome::Pass)) = (text, found.outcome) {
        fs::write(&path, text).map_err(|error| Found::unclear(format!("{}: {error}", path.display())))?;
    }
    Ok(found)
}

/// The newest record is in the tree whose root is signed now.
fn included(log: &Log) -> std::result::Result<(Found, Option<String>), sheshi_evidence::Error> {
    let (tree, size) = (log.tree()?, log.len());
    let last = size.saturating_sub(1);
    let record = log.records_from(last)?.last().transpose()?;
    let holds = record.is_some_and(|record| {
        merkle::verifies_inclusion(record.leaf(), last, size, &tree.inclusion(last, size), log.root())
    });
    Ok((Found::held(holds, format!("record {last} of {size}"), "it is in the log", format!("{holds}")), None))
}

/// What was kept of an earlier look grows into what is there now; what is to be kept of this one.
fn grown(log: &Log, kept: &str) -> std::result::Result<(Found, Option<String>), sheshi_evidence::Error> {
    let (tree, size) = (log.tree()?, log.len());
    let mut fields = kept.split_ascii_whitespace();
    let old = fields.next().and_then(|size| size.parse::<u64>().ok());
    let old = old.zip(fields.next().and_then(|root| root.parse::<Digest>().ok()));
    let (old, root) = old.unwrap_or((1, tree.root(1)));
    let holds = old <= size && merkle::verifies_consistency(old, root, size, log.root(), &tree.consistency(old, size));
    let saw = format!("from {old} to {size} records: {holds}");
    let found = Found::held(holds, "the tree of the log", "what was signed before has grown into it", saw);
    Ok((found, Some(format!("{size} {}\n", log.root()))))
}

/// Probes that were silent for longer than twice their cadence.
fn late(round: &Round<'_>) -> Result {
    let late = round.sight.late();
    let saw = format!("{} late: {}", late.len(), late.iter().take(5).cloned().collect::<Vec<_>>().join(" "));
    let found =
        Found::held(late.is_empty(), "the newest attempt of each probe", "none older than twice its cadence", saw);
    Ok(found.figure("late", late.len() as i64))
}

/// Two outside clocks (SNTP, RFC 4330) and ours.
pub(super) async fn clocks(round: &Round<'_>) -> Result {
    let servers = round.settings().clocks.clone();
    if servers.len() < 2 {
        return Err(Found::unclear("fewer than two clocks are configured: give two servers of time as probes.clocks"));
    }
    let asked = tokio::task::spawn_blocking(move || {
        servers.iter().map(|server| (*server, offset(*server))).collect::<Vec<_>>()
    });
    let asked = asked.await.map_err(|error| Found::unclear(error.to_string()))?;
    let mut worst = 0_i64;
    for (server, offset) in asked {
        match offset {
            Ok(offset) if offset.abs() >= worst.abs() => worst = offset,
            Ok(_) => {}
            Err(error) => return Err(Found::unclear(format!("{server}: {error}"))),
        }
    }
    let saw = format!("ours differs by {worst} ms at most");
    let found = Found::held(worst.abs() < 1000, "two outside clocks", "less than a second apart from ours", saw);
    Ok(found.figure("offset_ms", worst))
}

/// By how many milliseconds a server's clock is ahead of ours.
fn offset(server: SocketAddr) -> std::io::Result<i64> {
    /// From 1900, where that protocol begins, to 1970.
    const ERA: i64 = 2_208_988_800;
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let mut packet = [0; 48];
    packet[0] = 0x23;
    // Told back as "originate": an answer to somebody else is none to us.
    getrandom::fill(&mut packet[40..48]).map_err(std::io::Error::other)?;
    let sent = now();
    socket.send(&packet)?;
    let mut reply = [0; 68];
    let length = socket.recv(&mut reply)?;
    let back = now();
    if length < 48 || reply[24..32] != packet[40..48] || reply[0] & 7 != 4 || reply[1] == 0 {
        return Err(std::io::Error::other("it is no clock that is set"));
    }
    let word = |at: usize| i64::from(u32::from_be_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]]));
    let theirs = (word(40) - ERA) * 1000 + ((word(44) * 1000) >> 32);
    Ok(theirs - (sent + back) / 2)
}
