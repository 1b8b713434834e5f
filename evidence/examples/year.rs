//! Makes a year of one gateway, reports it and verifies the bundle: `cargo run --release -p sheshi-evidence --example year -- DIR`.
//! Prints the sizes and times. The records have the shape and number that the built-in catalogue asks for.

use std::{collections::BTreeMap, path::Path, time::Instant};

use sheshi_evidence::{
    Digest, Time, Token,
    bundle::Bundle,
    control::{Catalogue, Kind, Scope},
    details::Terms,
    log::{Log, Stamp},
    profile::Profile,
    record::{Attempt, Body, List, Network, Open, Outcome, Paper, Site, State},
    rollup::Period,
    sign::SecretKey,
    verify::{Trust, verify},
};

const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name an empty folder")?;
    let days: i64 = arguments.next().map_or(Ok(365), |days| days.parse())?;
    let folder = Path::new(&folder);
    let (key, person) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
    let start: Time = "2026-01-01T00:00:00.000Z".parse()?;
    let began = start.plus_millis(-2 * DAY);
    let stamp =
        |at: Time| Stamp { boot: Token([1; 8]), mono: (at.millis() - began.millis()).unsigned_abs(), time: Some(at) };
    let open = Open { format: 1, key: key.public().fingerprint(), lab: true, origin: "year.example/gw".into() };
    let clock = Instant::now();
    let mut log = Log::create_unsynced(&folder.join("log"), "gw", open, stamp(began))?;
    log.append(Body::Site(site()), stamp(began))?;
    log.append(Body::State(state()), stamp(began))?;
    let (catalogue, profile) = (Catalogue::builtin(), Profile::builtin("friendly-wifi").ok_or("no such profile")?);
    let mut due = BTreeMap::new();
    let mut now = began;
    let end = start.plus_millis(days * DAY + 60 * MINUTE);
    while now < end {
        for (c, control) in catalogue.controls.iter().enumerate() {
            for (p, probe) in control.probes.iter().enumerate() {
                let due = due.entry((c, p)).or_insert(now);
                if *due > now {
                    continue;
                }
                *due = now.plus_millis(i64::try_from(probe.cadence_s)? * 1_000);
                let figures = profile
                    .limits(&control.id, probe)
                    .iter()
                    .map(|limit| (limit.figure.clone(), limit.at_least.filter(|least| *least > 0).unwrap_or(0)))
                    .collect();
                let body = if probe.kind == Kind::Paper {
                    Body::Paper(
                        Paper {
                            by: "Certifier".into(),
                            control: control.id.clone(),
                            document: None,
                            figures,
                            outcome: Outcome::Pass,
                            probe: probe.id.clone(),
                            sig: String::new(),
                            signer: Digest::default(),
                            text: "Seen.".into(),
                            valid_from: began,
                            valid_to: began.plus_millis(800 * DAY),
                        }
                        .sign(&person),
                    )
                } else {
                    Body::Probe(Attempt {
                        ask: "adult.canary.example A dhcp udp4".into(),
                        control: control.id.clone(),
                        figures,
                        ms: 4,
                        msg: Some(
                            "q83BgwABAAAAAAABBWFkdWx0BmNhbmFyeQdleGFtcGxlAAABAAEAACkE0AAAAAAAKAAPACQAD3siYyI6WyJt"
                                .into(),
                        ),
                        network: if probe.scope == Scope::Site { String::new() } else { "guests".into() },
                        note: None,
                        outcome: Outcome::Pass,
                        probe: probe.id.clone(),
                        run: Token([3; 8]),
                        sample: None,
                        saw: "NXDOMAIN ede 15".into(),
                        want: "BLOCKED:adult".into(),
                    })
                };
                log.append(body, stamp(now))?;
            }
        }
        now = now.plus_millis(15 * MINUTE);
    }
    println!("{} records in {:.1} s", log.len(), clock.elapsed().as_secs_f64());
    let people = [person.public()];
    let period = Period { from: start, to: start.plus_millis(days * DAY) };
    let clock = Instant::now();
    let terms = Terms { catalogue, profile: &profile, people: &people, period };
    let bundle = Bundle::make(&mut log, &key, terms, &[], stamp(now))?;
    let bytes: usize = bundle.files.values().map(Vec::len).sum();
    println!("report of {days} days, {} MB, in {:.1} s", bytes / 1_000_000, clock.elapsed().as_secs_f64());
    let mut trust = Trust::new(key.public());
    trust.people = people.to_vec();
    let clock = Instant::now();
    let verified = verify(&bundle, &trust)?;
    println!("verified in {:.2} s: {}", clock.elapsed().as_secs_f64(), verified.details.verdict.text());
    bundle.save(&folder.join("bundle"))?;
    std::fs::write(folder.join("gateway.pub.pem"), key.public().pem())?;
    std::fs::write(folder.join("person.pub.pem"), person.public().pem())?;
    Ok(())
}

fn site() -> Site {
    Site {
        name: "A year".into(),
        networks: vec![Network { id: "guests".into(), name: "Free".into() }],
        organisation: "City".into(),
        site: "Y".into(),
    }
}

fn state() -> State {
    let list = |id: &str, category: &str| List {
        age_limit_s: 259_200,
        category: category.into(),
        digest: Digest::of(id.as_bytes()),
        edition: "1".into(),
        enforceable: 500,
        entries: 600,
        id: id.into(),
        licence: "CC BY".into(),
    };
    State {
        generation: 1,
        lists: vec![list("adult", "adult"), list("secret", "csam")],
        policy: Digest::of(b"p"),
        software: "1".into(),
    }
}
