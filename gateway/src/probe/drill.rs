//! Drills: the filter is stopped and watched from the guest's side; a name that nobody else knows is asked for and looked
//! for in everything that is kept. They run as a command of their own, because the daemon cannot watch itself being stopped.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::Pid,
};
use sheshi_evidence::record::{Attempt, Outcome};

use super::{
    controls,
    dns::{self, Reply, kind},
    judge::{self, Found},
    known, ledger,
    wire::{self, Ask, Deed, Joined, Saw, Told},
};
use crate::{
    cli::{Drill, DrillArgs},
    commands::{Failure, failed, print},
    config::{self, Config},
    control::{self, Request},
    status::Status,
};

/// How long the filter is stopped.
const STOPPED: Duration = Duration::from_secs(10);

/// `sheshi drill`.
pub fn run(args: &DrillArgs) -> Result<(), Failure> {
    let config = config::load(&args.config)?;
    let (Some(_), Some(evidence)) = (&config.probes, &config.evidence) else {
        return Err(Failure::Refused("nothing is measured here: add [probes] to the configuration".into()));
    };
    let mut bad = 0;
    for drill in [Drill::FailSafe, Drill::Marker] {
        if args.name != drill && args.name != Drill::All {
            continue;
        }
        let begin = Instant::now();
        let (control, probe, network, found) = match drill {
            Drill::Marker => ("SH-26", "p1", "", marker(&config, &args.also)),
            _ => ("SH-18", "p1", evidence.network.0.as_str(), fail_safe(&config)),
        };
        let found = found.unwrap_or_else(Found::unclear);
        let outcome = found.outcome.unwrap_or(Outcome::Inconclusive);
        print(&format!("{:<14} {control} {probe}  {} — {}", outcome.text(), found.ask, found.saw))?;
        bad += u32::from(!matches!(outcome, Outcome::Pass));
        let attempt = Attempt {
            ask: found.ask,
            control: control.into(),
            figures: found.figures,
            ms: begin.elapsed().as_millis() as u64,
            msg: None,
            network: network.into(),
            note: None,
            outcome,
            probe: probe.into(),
            run: ledger::run(),
            sample: None,
            saw: found.saw,
            want: found.want,
        };
        control::ask::<()>(&config.control, &Request::Record { attempt: Box::new(attempt) })?;
    }
    if bad == 0 { Ok(()) } else { Err(failed(format!("{bad} drills did not pass"))) }
}

fn joined(config: &Config) -> Result<Joined, String> {
    match wire::ask(&config.guest_socket(), &Ask::Join { afresh: false }) {
        Ok(Told::Joined(joined)) => Ok(joined),
        Ok(_) => Err("the synthetic guest answered something else".into()),
        Err(error) => Err(format!("the synthetic guest: {error}")),
    }
}

fn act(config: &Config, deeds: Vec<Deed>) -> Result<Vec<Saw>, String> {
    match wire::ask(&config.guest_socket(), &Ask::Do(deeds)) {
        Ok(Told::Saw(saw)) => Ok(saw),
        Ok(_) => Err("the synthetic guest answered something else".into()),
        Err(error) => Err(format!("the synthetic guest: {error}")),
    }
}

fn question(to: IpAddr, name: &str) -> Deed {
    let send = BASE64_STANDARD.encode(dns::question(1, name, kind::A).unwrap_or_default());
    Deed::Udp { to: (to, 53).into(), send, within_ms: 1500, times: 1 }
}

fn reply(saw: &Saw) -> Option<Reply> {
    Reply::parse(&BASE64_STANDARD.decode(saw.reply.as_ref()?).ok()?)
}

/// Goes on when it is dropped, however we end.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The filter is stopped for ten seconds: nothing unfiltered may be answered, by it or by anybody else.
fn fail_safe(config: &Config) -> Result<Found, String> {
    let witness = config.probes.as_ref().and_then(|settings| settings.witness.clone());
    let witness = witness.ok_or("no witness is configured ([witness])")?;
    let joined = joined(config)?;
    let own =
        joined.lease.as_ref().and_then(|lease| lease.resolvers.first().copied()).ok_or("the guest has no lease")?;
    let stream = UnixStream::connect(&config.control).map_err(|error| format!("the gateway: {error}"))?;
    let peer = getsockopt(&stream, PeerCredentials).map_err(|error| error.to_string())?;
    drop(stream);
    let pid = Pid::from_raw(peer.pid());
    kill(pid, Signal::SIGSTOP).map_err(|error| format!("stopping the filter: {error}"))?;
    let stopped = Stopped(pid);
    let begin = Instant::now();
    let (mut tried, mut unfiltered, mut open) = (0_u64, 0_u64, 0_u64);
    let foreign: Vec<IpAddr> = known::foreign(false).chain(known::foreign(true)).collect();
    let mut names = known::ADULT.iter().cycle();
    while begin.elapsed() < STOPPED {
        let name = names.next().copied().unwrap_or_default();
        let mut deeds: Vec<Deed> = [IpAddr::V4(own)].iter().chain(&foreign).map(|to| question(*to, name)).collect();
        let knock = |to: SocketAddr| Deed::Tcp { to, send: String::new(), enough: 0, framed: false, within_ms: 1500 };
        deeds.extend(foreign.iter().map(|to| knock((*to, 853).into())));
        deeds.push(knock((witness.v4, 443).into()));
        let saw = act(config, deeds)?;
        let (control, probes) = saw.split_last().ok_or("the guest did nothing")?;
        tried += probes.len() as u64;
        open += u64::from(control.connected);
        let leaks = |saw: &&Saw| saw.connected || reply(saw).is_some_and(|reply| judge::leads_out(&reply).is_some());
        unfiltered += probes.iter().filter(leaks).count() as u64;
    }
    drop(stopped);
    let end = Instant::now() + Duration::from_secs(30);
    while control::ask::<Status>(&config.control, &Request::Status).is_err() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
    let saw = format!("{tried} tries, {unfiltered} unfiltered; the witness answered {open} times meanwhile");
    let ask = "the filter stopped for ten seconds: its own and foreign resolvers on port 53, port 853";
    let mut found =
        Found::held(unfiltered == 0, ask, "nothing unfiltered", saw).figure("unfiltered", unfiltered as i64);
    if unfiltered == 0 && open == 0 {
        // With the way out closed, silence shows nothing.
        found.outcome = Some(Outcome::Inconclusive);
    }
    Ok(found)
}

/// A name that nobody else knows is asked for; then everything that is kept or exported is searched for it.
fn marker(config: &Config, also: &[PathBuf]) -> Result<Found, String> {
    let witness = config.probes.as_ref().and_then(|settings| settings.witness.clone());
    let witness = witness.ok_or("no witness is configured ([witness])")?;
    let mark = format!("marker-{}{}", ledger::run(), ledger::run());
    let name = format!("{mark}.{}", witness.name);
    let joined = joined(config)?;
    let own =
        joined.lease.as_ref().and_then(|lease| lease.resolvers.first().copied()).ok_or("the guest has no lease")?;
    let saw =
        act(config, vec![question(own.into(), &name), question(own.into(), &format!("{mark}.{}", known::ADULT[0]))])?;
    if saw.iter().any(|saw| reply(saw).is_none()) {
        return Err("the marked names were not answered, so there is nothing to look for".into());
    }
    // What writes late has written by now.
    std::thread::sleep(Duration::from_secs(3));
    let (mut bytes, mut hits) = (0_u64, Vec::new());
    let mut see = |what: &str, text: &[u8]| {
        bytes += text.len() as u64;
        // Also as a resolver stores it, with lengths for dots: the label itself is the same.
        if text.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark.as_bytes())) {
            hits.push(what.to_owned());
        }
    };
    for folder in [&config.state, &config.run].into_iter().chain(also) {
        controls::walk(folder, &mut |path: &Path, text: &[u8]| see(&path.display().to_string(), text));
    }
    for (what, request) in [("status", Request::Status), ("guests", Request::Guests)] {
        let value: serde_json::Value = control::ask(&config.control, &request).map_err(|error| error.to_string())?;
        see(what, value.to_string().as_bytes());
    }
    if let Some(metrics) = config.metrics {
        see("metrics", &metrics_text(metrics).map_err(|error| format!("reading the metrics: {error}"))?);
    }
    if let Ok(journal) =
        std::process::Command::new("journalctl").args(["--unit=sheshi*", "--since=-5min", "--output=cat"]).output()
    {
        see("journal", &journal.stdout);
    }
    let saw = format!("{bytes} bytes searched, {} hits: {}", hits.len(), hits.join(" "));
    let found =
        Found::held(hits.is_empty(), "a random name, then all files, status, metrics and journal", "not found", saw);
    Ok(found.figure("hits", hits.len() as i64).figure("bytes_searched", bytes as i64))
}

fn metrics_text(at: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(super::http::get("localhost", "/metrics", "en").as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(text)
}
