//! A gateway's life made for tests: keys, a log, a period, a bundle.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::path::Path;

use sheshi_evidence::{
    Digest, Time, Token,
    bundle::{self, Bundle},
    control::Catalogue,
    details::Terms,
    log::{Log, Stamp},
    profile::Profile,
    record::{Attempt, Body, Boot, Clock, List, Network, Open, Outcome, Paper, Sample, Site, State, Witness},
    rollup::Period,
    sample::{self, Names},
    sign::SecretKey,
    statement::{self, Manifest, Resource, Statement},
    verify::Trust,
};

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Three controls in one group: small bundles.
pub const CATALOGUE: &str = r#"
id = "small"
version = "1"
[[group]]
id = "B"
title = { en = "Minors", sq = "Të mitur" }
[[control]]
id = "SH-05"
group = "B"
severity = "critical"
assurance = "M"
title = { en = "Adult", sq = "Për të rritur" }
requirement = "Adult names are blocked."
regimes = {}
[[control.probe]]
id = "p1"
cadence_s = 3600
what = "The canary is blocked."
[[control.probe]]
id = "p3"
scope = "site"
cadence_s = 86400
limits = [{ figure = "misses", at_most = 0 }]
what = "Drawn names are blocked."
[[control]]
id = "SH-18"
group = "B"
severity = "critical"
assurance = "M"
title = { en = "Fails safe", sq = "Mbetet i sigurt" }
requirement = "Nothing unfiltered."
regimes = {}
[[control.probe]]
id = "p1"
scope = "site"
cadence_s = 2678400
what = "Drill."
[[control]]
id = "SH-28"
group = "B"
severity = "high"
assurance = "W"
title = { en = "People check", sq = "Kontrollojnë njerëzit" }
requirement = "A person checked."
regimes = {}
[[control.probe]]
id = "p2"
scope = "site"
kind = "paper"
cadence_s = 31536000
what = "A witness run."
"#;

pub const PROFILE: &str = r#"
id = "small"
version = "1"
title = { en = "Small", sq = "I vogël" }
mandatory = ["SH-05", "SH-18", "SH-28"]
"#;

/// One gateway with its keys, clock and log.
pub struct Gateway {
    pub log: Log,
    pub key: SecretKey,
    pub person: SecretKey,
    pub now: Time,
    pub boot: Token,
    started: Time,
    pub catalogue: Catalogue,
    pub profile: Profile,
    names: Names,
    /// Today, and how many records were there before it.
    day: String,
    midnight: u64,
    clock_set: bool,
}

pub fn start() -> Time {
    "2026-11-16T00:00:00.000Z".parse().unwrap()
}

pub fn names() -> Names {
    Names::new((0..500).map(|i| format!("adult{i}.example")).collect())
}

impl Gateway {
    /// A gateway whose log began ten days before [`start`], with a drill and a paper right then.
    pub fn new(folder: &Path, key: u8) -> Self {
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        let profile = Profile::parse(PROFILE, &catalogue).unwrap();
        Self::with(folder, key, catalogue, profile)
    }

    pub fn with(folder: &Path, key: u8, catalogue: Catalogue, profile: Profile) -> Self {
        let (key, person) = (SecretKey::new([key; 32]), SecretKey::new([99; 32]));
        let now = start().plus_millis(-10 * DAY);
        let boot = Token([1; 8]);
        let open =
            Open { format: 1, key: key.public().fingerprint(), lab: false, origin: "wifi.example/gw-0042".into() };
        let stamp = Stamp { boot, mono: 0, time: Some(now) };
        let log = Log::create(folder, "gw-0042", open, stamp).unwrap();
        let mut gateway = Self {
            log,
            key,
            person,
            now,
            boot,
            started: now,
            catalogue,
            profile,
            names: names(),
            day: now.date(),
            midnight: 0,
            clock_set: true,
        };
        gateway.site(&["vlan20"]);
        gateway.state("2026.1106");
        gateway
    }

    pub fn stamp(&self) -> Stamp {
        let mono = (self.now.millis() - self.started.millis()).unsigned_abs();
        Stamp { boot: self.boot, mono, time: self.clock_set.then_some(self.now) }
    }

    /// Another boot, whose wall clock is not set.
    pub fn restart_without_clock(&mut self) {
        self.boot = Token([2; 8]);
        self.started = self.now;
        self.clock_set = false;
        self.put(Body::Boot(Boot { reason: "power".into(), software: "0.1.0".into() }));
    }

    pub fn set_clock(&mut self) {
        self.clock_set = true;
        self.put(Body::Clock(Clock { source: "ntp".into(), step_ms: 0 }));
    }

    pub fn pass_time(&mut self, millis: i64) {
        self.now = self.now.plus_millis(millis);
    }

    /// Before each record: whether it is the first of its day.
    fn see_day(&mut self) {
        if self.clock_set && self.now.date() != self.day {
            self.day = self.now.date();
            self.midnight = self.log.len();
        }
    }

    pub fn put(&mut self, body: Body) {
        self.see_day();
        self.log.append(body, self.stamp()).unwrap();
    }

    pub fn site(&mut self, networks: &[&str]) {
        let networks = networks.iter().map(|id| Network { id: (*id).into(), name: format!("City {id}") }).collect();
        self.put(Body::Site(Site {
            name: "Main Square <1>".into(),
            networks,
            organisation: "City & Sons".into(),
            site: "SQ-1".into(),
        }));
    }

    pub fn state(&mut self, edition: &str) {
        let list = |id: &str, category: &str, digest| List {
            age_limit_s: 259_200,
            category: category.into(),
            digest,
            edition: edition.into(),
            enforceable: 500,
            entries: 600,
            id: id.into(),
            licence: "CC BY".into(),
        };
        self.put(Body::State(State {
            generation: 7,
            lists: vec![list("adult", "adult", self.names.digest()), list("secret", "csam", Digest::of(b"secret"))],
            policy: Digest::of(edition.as_bytes()),
            software: "0.1.0".into(),
        }));
    }

    pub fn attempt(&self, control: &str, probe: &str, network: &str, outcome: Outcome) -> Attempt {
        Attempt {
            ask: "adult.canary.example A dhcp udp4".into(),
            control: control.into(),
            figures: Default::default(),
            ms: 4,
            msg: None,
            network: network.into(),
            note: None,
            outcome,
            probe: probe.into(),
            run: Token([3; 8]),
            sample: None,
            saw: "NXDOMAIN ede 15".into(),
            want: "BLOCKED:adult".into(),
        }
    }

    pub fn probe(&mut self, control: &str, probe: &str, network: &str, outcome: Outcome) {
        let attempt = self.attempt(control, probe, network, outcome);
        self.put(Body::Probe(attempt));
    }

    pub fn paper(&mut self, outcome: Outcome) {
        let paper = Paper {
            by: "Certifier".into(),
            control: "SH-28".into(),
            document: Some(Digest::of(b"protocol")),
            figures: Default::default(),
            outcome,
            probe: "p2".into(),
            sig: String::new(),
            signer: Digest::default(),
            text: "Walked the square with a phone.".into(),
            valid_from: start().plus_millis(-20 * DAY),
            valid_to: start().plus_millis(300 * DAY),
        };
        let paper = paper.sign(&self.person);
        self.put(Body::Paper(paper));
    }

    /// A sample of the list `adult`, drawn as it must be. Not the day's first record.
    pub fn sample(&mut self, change: impl FnOnce(&mut Sample)) {
        let size = self.midnight;
        let root = self.log.tree().unwrap().root(size);
        let date = self.now.date();
        let seed = sample::seed(root, &date);
        let drawn: Vec<&str> = self.names.draw(&seed, 20).collect();
        let mut attempt = self.attempt("SH-05", "p3", "", Outcome::Pass);
        let mut sample = Sample {
            count: 20,
            date,
            edition: "2026.1106".into(),
            list: "adult".into(),
            misses: Vec::new(),
            names: sample::commitment(drawn.iter().copied()),
            size,
        };
        change(&mut sample);
        attempt.figures.insert("misses".into(), sample.misses.len().try_into().unwrap());
        attempt.sample = Some(sample);
        self.put(Body::Probe(attempt));
    }

    /// From ten days before [`start`] to it: a drill and a paper, then hourly probes for the last day.
    pub fn prepare(&mut self) {
        self.pass_time(HOUR);
        self.probe("SH-18", "p1", "", Outcome::Pass);
        self.paper(Outcome::Pass);
        self.pass_time(9 * DAY - HOUR + 30 * MINUTE);
        while self.now < start() {
            self.probe("SH-05", "p1", "vlan20", Outcome::Pass);
            self.pass_time(HOUR);
        }
    }

    /// Hourly probes for some days from now on, a sample a day, a witness's nonce.
    pub fn live(&mut self, days: i64) {
        let until = self.now.plus_millis(days * DAY);
        while self.now < until {
            self.probe("SH-05", "p1", "vlan20", Outcome::Pass);
            if self.now.to_string()[11..13] == *"03" {
                self.sample(|_| {});
            }
            if self.now.to_string()[11..13] == *"05" {
                let registered = self.now.plus_millis(-HOUR);
                self.put(Body::Witness(Witness { hits: 2, nonce: "n-1234".into(), registered }));
            }
            self.pass_time(HOUR);
        }
    }

    pub fn report(&mut self, period: Period, earlier: &[u64]) -> Bundle {
        self.see_day();
        let people = [self.person.public()];
        let terms = Terms { catalogue: &self.catalogue, profile: &self.profile, people: &people, period };
        let stamp = self.stamp();
        Bundle::make(&mut self.log, &self.key, terms, earlier, stamp).unwrap()
    }

    pub fn trust(&self) -> Trust {
        let mut trust = Trust::new(self.key.public());
        trust.catalogue = self.catalogue.clone();
        trust.profiles = vec![self.profile.clone()];
        trust.people = vec![self.person.public()];
        trust
    }
}

pub fn days(from: i64, to: i64) -> Period {
    Period { from: start().plus_millis(from * DAY), to: start().plus_millis(to * DAY) }
}

/// A gateway that has lived one good day, and the report of it.
pub fn good_day(folder: &Path) -> (Gateway, Bundle) {
    let mut gateway = Gateway::new(&folder.join("log"), 1);
    gateway.prepare();
    gateway.live(1);
    let bundle = gateway.report(days(0, 1), &[5]);
    (gateway, bundle)
}

/// Signs the manifest again, over the files as they are now.
pub fn reseal(bundle: &mut Bundle, key: &SecretKey) {
    let manifest = &bundle.files[bundle::MANIFEST];
    let mut manifest: Statement<Manifest> = Statement::verify(manifest, statement::MANIFEST, &key.public()).unwrap();
    let outside = [bundle::MANIFEST, bundle::COSIGNED, bundle::TIME_STAMP];
    let inside = bundle.files.iter().filter(|(name, _)| !outside.contains(&name.as_str()));
    manifest.subject = inside.map(|(name, bytes)| Resource::new(name.clone(), Digest::of(bytes))).collect();
    bundle.files.insert(bundle::MANIFEST.into(), manifest.sign(key));
}

/// Lives under the built-in catalogue: each probe on its cadence, all of them pass, papers where papers are wanted.
pub struct Full {
    pub gateway: Gateway,
    due: std::collections::BTreeMap<(usize, usize), i64>,
}

impl Full {
    pub fn new(folder: &Path, profile: &str) -> Self {
        let profile = Profile::builtin(profile).unwrap();
        let gateway = Gateway::with(folder, 1, Catalogue::builtin().clone(), profile);
        Self { gateway, due: Default::default() }
    }

    /// Runs what is due, every quarter of an hour, until some time.
    pub fn live(&mut self, until: Time) {
        while self.gateway.now < until {
            let now = self.gateway.now.millis();
            let catalogue = self.gateway.catalogue.clone();
            for (c, control) in catalogue.controls.iter().enumerate() {
                for (p, probe) in control.probes.iter().enumerate() {
                    let due = self.due.entry((c, p)).or_insert(now);
                    if *due > now {
                        continue;
                    }
                    *due = now + i64::try_from(probe.cadence_s).unwrap() * 1000;
                    self.pass(&control.id, probe);
                }
            }
            self.gateway.pass_time(15 * MINUTE);
        }
    }

    fn pass(&mut self, control: &str, probe: &sheshi_evidence::control::Probe) {
        let limits = self.gateway.profile.limits(control, probe);
        let figures: std::collections::BTreeMap<_, _> = limits
            .iter()
            .map(|limit| (limit.figure.clone(), limit.at_least.filter(|least| *least > 0).unwrap_or(0)))
            .collect();
        if probe.kind == sheshi_evidence::control::Kind::Paper {
            let paper = Paper {
                by: "Certifier".into(),
                control: control.into(),
                document: None,
                figures,
                outcome: Outcome::Pass,
                probe: probe.id.clone(),
                sig: String::new(),
                signer: Digest::default(),
                text: "Seen.".into(),
                valid_from: start().plus_millis(-20 * DAY),
                valid_to: start().plus_millis(340 * DAY),
            };
            let paper = paper.sign(&self.gateway.person);
            return self.gateway.put(Body::Paper(paper));
        }
        let network = if probe.scope == sheshi_evidence::control::Scope::Site { "" } else { "vlan20" };
        let mut attempt = self.gateway.attempt(control, &probe.id, network, Outcome::Pass);
        attempt.figures = figures;
        // A usual blocked reply, as the resolver sends it.
        attempt.msg =
            Some("q83BgwABAAAAAAABBWFkdWx0BmNhbmFyeQdleGFtcGxlAAABAAEAACkE0AAAAAAAKAAPACQAD3siYyI6WyJt".into());
        self.gateway.put(Body::Probe(attempt));
    }
}
