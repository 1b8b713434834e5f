//! Runs each probe at its cadence, repeats critical failures, and keeps the guest admitted meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use sheshi_captive_portal::Portal;
use sheshi_evidence::{
    Digest,
    control::{Catalogue, Control, Kind, Probe, Scope},
    record::{Attempt, Outcome},
};
use sheshi_firewall::Guard;
use sheshi_lists::ListStatus;
use sheshi_policy::Compiled;
use tokio::sync::watch;

use super::{
    Settings, controls,
    judge::Found,
    ledger::{self, Ledger},
    lists,
    round::{Door, Round},
    standing::Standing,
    wire::{Joined, Watch},
};
use crate::{
    config::Config,
    evidence_log::{EvidenceError, EvidenceLog},
    generations::Generations,
    network::Network,
    plan::Plan,
};

/// Between two looks for what is due.
const EVERY: Duration = Duration::from_secs(2);
/// When the second repeat of a critical failure comes (evidence format, section 10): a moment after the five minutes.
const REPEAT_AFTER: Duration = Duration::from_secs(305);

/// A day's seed, its date, and how many records it is over.
type Seed = (Digest, String, u64);

/// What the probes see of the gateway.
pub struct Sight {
    /// Its configuration.
    pub config: Config,
    /// `[evidence]` and `[witness]`.
    pub settings: Settings,
    /// The guard, for its counters.
    pub guard: Guard,
    /// The policy in force.
    pub policy: Arc<ArcSwap<Compiled>>,
    /// What the firewall is to hold.
    pub plan: watch::Receiver<Plan>,
    /// How each list stands.
    pub standing_of_lists: Arc<Mutex<Vec<ListStatus>>>,
    /// Compiled policies on disk.
    pub generations: Generations,
    /// The portal, for who is admitted.
    pub portal: Portal,
    /// Interfaces and addresses.
    pub network: Network,
    lab: bool,
    /// The guest network's id in evidence.
    network_id: String,
    ledger: Mutex<Ledger>,
    watch: Mutex<Option<Watch>>,
    due: Mutex<HashMap<(String, String), Instant>>,
    attempted: Mutex<HashMap<(String, String), Instant>>,
    latest: Mutex<BTreeMap<(String, String), Attempt>>,
    answered: Mutex<(u64, u64)>,
    standing: Mutex<Option<Standing>>,
    seed: Mutex<Option<(String, Seed)>>,
}

/// What came of one probe, for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// The control.
    pub control: String,
    /// The probe.
    pub probe: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was asked, and what came.
    pub saw: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sight {
    /// Opens the log; nothing is measured yet.
    #[allow(clippy::too_many_arguments, reason = "the one place where the gateway's parts are put together for probes")]
    pub fn new(
        config: Config,
        settings: Settings,
        guard: Guard,
        policy: Arc<ArcSwap<Compiled>>,
        plan: watch::Receiver<Plan>,
        standing_of_lists: Arc<Mutex<Vec<ListStatus>>>,
        generations: Generations,
        portal: Portal,
        network: Network,
        log: Arc<EvidenceLog>,
    ) -> Result<Self, EvidenceError> {
        let (lab, network_id) = (log.settings().lab, log.settings().network.0.clone());
        let ledger = Mutex::new(Ledger::new(log)?);
        Ok(Self {
            config,
            settings,
            guard,
            policy,
            plan,
            standing_of_lists,
            generations,
            portal,
            network,
            lab,
            network_id,
            ledger,
            watch: Mutex::default(),
            due: Mutex::default(),
            attempted: Mutex::default(),
            latest: Mutex::default(),
            answered: Mutex::default(),
            standing: Mutex::default(),
            seed: Mutex::default(),
        })
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(super) fn log(&self) -> Arc<EvidenceLog> {
        Arc::clone(&self.ledger().log)
    }

    pub(super) fn lists(&self) -> Vec<ListStatus> {
        lock(&self.standing_of_lists).clone()
    }

    /// What was seen before the gateway was up.
    pub(super) fn watch(&self) -> Option<Watch> {
        lock(&self.watch).clone()
    }

    /// The seed of today's samples, worked out once a day.
    pub(super) fn seed(&self) -> Option<(Digest, String, u64)> {
        let today = ledger::now()?.date();
        let mut seed = lock(&self.seed);
        if seed.as_ref().is_none_or(|(date, _)| *date != today) {
            *seed = self.ledger().seed().map(|seed| (today, seed));
        }
        seed.as_ref().map(|(_, seed)| seed.clone())
    }

    /// Link-local addresses of our own on the guest side.
    pub(super) fn link_local(&self) -> Vec<IpAddr> {
        let interface = self.network.interface(&self.config.network.guests).unwrap_or_default();
        interface.addresses.into_iter().map(|(address, _)| address).collect()
    }

    /// Probes whose newest attempt is older than twice their cadence.
    pub(super) fn late(&self) -> Vec<String> {
        let attempted = lock(&self.attempted);
        let late = |(control, probe): (&Control, &Probe)| {
            let at = attempted.get(&(control.id.clone(), probe.id.clone()))?;
            (at.elapsed() > Duration::from_secs(2 * probe.cadence_s)).then(|| format!("{} {}", control.id, probe.id))
        };
        measured().filter_map(late).collect()
    }

    /// What it amounts to now; `None` before the first round is over.
    pub fn standing(&self) -> Option<Standing> {
        lock(&self.standing).clone()
    }

    /// Whether this device is the synthetic guest.
    pub fn is_probe(&self, mac: sheshi_policy::Mac) -> bool {
        self.portal.is_synthetic(mac)
    }

    /// Measures for ever.
    pub async fn run(self: Arc<Self>, running: Arc<tokio::sync::Mutex<()>>) {
        loop {
            let due = self.due();
            if !due.is_empty() {
                let _one = running.lock().await;
                self.round(due).await;
                self.ledger().first_round_is_over();
                self.sum_up();
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Measures some controls now, or all; what came of it.
    pub async fn measure_now(&self, wanted: &[String], running: &tokio::sync::Mutex<()>) -> Vec<Line> {
        let _one = running.lock().await;
        let chosen = measured()
            .filter(|(control, probe)| {
                let one = format!("{} {}", control.id, probe.id);
                wanted.is_empty() || wanted.iter().any(|want| *want == control.id || *want == one)
            })
            .collect();
        let lines = self.round(chosen).await;
        self.sum_up();
        lines
    }

    /// Takes what a drill outside the daemon has found.
    pub fn take(&self, attempt: Attempt) -> Result<(), EvidenceError> {
        self.note(attempt)?;
        self.sum_up();
        Ok(())
    }

    fn due(&self) -> Vec<(&'static Control, &'static Probe)> {
        let due = lock(&self.due);
        let now = Instant::now();
        let is_due = |(control, probe): &(&Control, &Probe)| {
            due.get(&(control.id.clone(), probe.id.clone())).is_none_or(|at| *at <= now)
        };
        measured().filter(is_due).collect()
    }

    fn sum_up(&self) {
        let (findings, profile) = {
            let ledger = self.ledger();
            (ledger.findings(), ledger.profile().id.clone())
        };
        let latest = lock(&self.latest).clone();
        let why = |control: &str, probe: &str| {
            latest.get(&(control.to_owned(), probe.to_owned())).map(|attempt| attempt.saw.clone())
        };
        let standing = findings.map(|findings| Standing::new(&findings, &profile, self.lab, ledger::now(), why));
        *lock(&self.standing) = standing;
    }

    async fn round(&self, chosen: Vec<(&'static Control, &'static Probe)>) -> Vec<Line> {
        let joined = match Door(self.config.guest_socket()).join(false).await {
            Ok(joined) => joined,
            Err(why) => Joined { trouble: Some(format!("{why}; start sheshi-guest")), ..Joined::default() },
        };
        if let Some(mac) = joined.mac {
            self.portal.set_synthetic(mac);
        }
        if joined.watch.tried > 0 && lock(&self.watch).is_none() {
            *lock(&self.watch) = Some(joined.watch.clone());
        }
        if let Err(error) = self.note_what_is_in_force().await {
            tracing::error!("evidence is not being written: {error}");
        }
        let run = ledger::run();
        let mut round = Round::new(self, joined);
        let mut lines = Vec::new();
        let (strangers, guests): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|(control, probe)| controls::is_of_strangers(&control.id, &probe.id));
        if !strangers.is_empty() {
            if let Some(mac) = round.joined.mac {
                let _ = self.portal.expel(mac).await;
            }
            for (control, probe) in strangers {
                lines.push(self.one(&round, control, probe, run).await);
            }
        }
        if let Err(why) = self.admit(&mut round).await {
            tracing::warn!("the synthetic guest is not admitted: {why}");
        }
        for (control, probe) in guests {
            lines.push(self.one(&round, control, probe, run).await);
        }
        let mut answered = lock(&self.answered);
        answered.0 += round.asked.load(Relaxed);
        answered.1 += round.answered.load(Relaxed);
        lines
    }

    /// Meets the portal and accepts, as a person does.
    async fn admit(&self, round: &mut Round<'_>) -> Result<(), String> {
        let mac = round.joined.mac.ok_or_else(|| round.joined.trouble.clone().unwrap_or_default())?;
        if !self.portal.sessions().iter().any(|session| session.mac == mac) {
            let to = round.ours.iter().copied().find(IpAddr::is_ipv4).ok_or("the gateway has no address")?;
            let host = &self.config.portal.name;
            let told = |found: Found| found.saw;
            let page = controls::fetch(round, to, &super::http::get(host, "/", "en")).await.map_err(told)?;
            let form = page.form().ok_or("the portal's page has no form to accept with")?;
            let head = super::http::post_head(host, "/accept", "application/x-www-form-urlencoded", form.len());
            let answer = controls::fetch(round, to, &(head + &form)).await.map_err(told)?;
            if answer.status != 303 {
                return Err(format!("the portal answered {}", answer.status));
            }
        }
        if round.ipv6 {
            // Addresses come by and by; the kernel learns each when it is first used.
            for _ in 0..30 {
                round.joined = Door(self.config.guest_socket()).join(false).await?;
                let ready = !round.joined.v6.is_empty();
                if ready && (self.settings.witness.is_none() || round.way_out(true).await.is_ok()) {
                    break;
                }
                round.forget();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        Ok(())
    }

    /// Measures one probe and writes it down; a critical failure is repeated at once.
    async fn one(
        &self,
        round: &Round<'_>,
        control: &'static Control,
        probe: &'static Probe,
        run: sheshi_evidence::Token,
    ) -> Line {
        let mut attempt = self.attempt(round, control, probe, run).await;
        if attempt.outcome == Outcome::Fail && control.is_critical(probe) {
            attempt = self.attempt(round, control, probe, run).await;
        }
        let failed = attempt.outcome == Outcome::Fail;
        let critical = failed && control.is_critical(probe);
        let cadence = Duration::from_secs(probe.cadence_s);
        // What could not be told is tried again sooner: rare probes would leave a site unproven for days.
        let next = match attempt.outcome {
            _ if critical => REPEAT_AFTER.min(cadence),
            Outcome::Inconclusive => cadence.min(Duration::from_secs(900)),
            _ => cadence,
        };
        lock(&self.due).insert((control.id.clone(), probe.id.clone()), Instant::now() + next);
        let saw = format!("{} — {}", attempt.ask, attempt.saw);
        Line { control: control.id.clone(), probe: probe.id.clone(), outcome: attempt.outcome, saw }
    }

    async fn attempt(
        &self,
        round: &Round<'_>,
        control: &'static Control,
        probe: &'static Probe,
        run: sheshi_evidence::Token,
    ) -> Attempt {
        let begin = Instant::now();
        let found = match (control.id.as_str(), probe.id.as_str()) {
            ("SH-23", "p3") => self.covered(),
            ("SH-23", "p4") => self.answered(round).await,
            _ => match &round.joined.trouble {
                Some(trouble) if probe.scope == Scope::Network => Found::unclear(trouble.clone()),
                _ => controls::measure(round, &control.id, &probe.id).await,
            },
        };
        let network = if probe.scope == Scope::Network { self.network_id.as_str() } else { "" };
        let cut = |text: String| text.chars().take(500).collect::<String>();
        let attempt = Attempt {
            ask: cut(found.ask),
            control: control.id.clone(),
            figures: found.figures,
            ms: begin.elapsed().as_millis() as u64,
            msg: found.msg,
            network: network.into(),
            note: found.note,
            outcome: found.outcome.unwrap_or(Outcome::Inconclusive),
            probe: probe.id.clone(),
            run,
            sample: found.sample,
            saw: cut(found.saw),
            want: cut(found.want),
        };
        if attempt.outcome == Outcome::Fail {
            tracing::warn!(control = attempt.control, probe = attempt.probe, "a probe failed: {}", attempt.saw);
        }
        if let Err(error) = self.note(attempt.clone()) {
            tracing::error!("evidence is not being written: {error}");
        }
        attempt
    }

    fn note(&self, attempt: Attempt) -> Result<(), EvidenceError> {
        let key = (attempt.control.clone(), attempt.probe.clone());
        lock(&self.attempted).insert(key.clone(), Instant::now());
        lock(&self.latest).insert(key, attempt.clone());
        self.ledger().note(attempt)
    }

    fn covered(&self) -> Found {
        let coverage = self.ledger().findings().map(|findings| (findings.coverage_ppm, findings.longest_gap_s));
        // Before the first round is over nothing was missed.
        let (ppm, gap) = coverage.unwrap_or((1_000_000, 0));
        let saw = format!("{ppm} parts per million, longest gap {gap} s");
        let found = Found::held(ppm >= 990_000, "share of time that was measured", "at least 99 %", saw);
        found.figure("covered_ppm", ppm as i64).figure("longest_gap_s", gap as i64)
    }

    /// Twenty ordinary questions, and what the controls of this and earlier rounds came to.
    async fn answered(&self, round: &Round<'_>) -> Found {
        let Some(witness) = &self.settings.witness else {
            return Found::unclear("no witness is configured ([witness])");
        };
        let questions = vec![round.question(&witness.name, super::dns::kind::A); 20];
        let answers = round.ask(&questions).await;
        let good =
            answers.iter().filter(|answer| answer.reply.as_ref().is_ok_and(|reply| reply.code == 0)).count() as u64;
        let mut times: Vec<u64> = answers.iter().map(|answer| answer.ms).collect();
        times.sort_unstable();
        let p95 = times[times.len() * 95 / 100];
        let (asked, answered) = {
            let mut sum = lock(&self.answered);
            sum.0 += answers.len() as u64;
            sum.1 += good;
            *sum
        };
        let ppm = answered * 1_000_000 / asked.max(1);
        let saw = format!("{answered} of {asked} answered; 95 of 100 within {p95} ms");
        let found = Found::held(ppm >= 995_000, "control questions", "at least 99.5 % answered", saw);
        found.figure("answered_ppm", ppm as i64).figure("p95_ms", p95 as i64)
    }

    async fn note_what_is_in_force(&self) -> Result<(), EvidenceError> {
        let policy = self.policy.load_full();
        if self.ledger().knows(Digest(policy.digest())) {
            return Ok(());
        }
        let config = self.config.clone();
        let state = tokio::task::spawn_blocking(move || lists::state(&config, &policy)).await;
        match state {
            Ok(state) => self.ledger().note_state(state),
            Err(_) => Ok(()),
        }
    }
}

/// Each probe that is a gateway's to measure; drills that stop the filter are run by `sheshi drill`.
fn measured() -> impl Iterator<Item = (&'static Control, &'static Probe)> {
    let controls = Catalogue::builtin().controls.iter();
    controls.flat_map(|control| control.probes.iter().map(move |probe| (control, probe))).filter(|(control, probe)| {
        let drill = matches!((control.id.as_str(), probe.id.as_str()), ("SH-18", "p1") | ("SH-26", "p1"));
        let later = matches!(control.id.as_str(), "SH-04" | "SH-16" | "SH-17" | "SH-28" | "SH-29");
        probe.kind != Kind::Paper && !drill && !later
    })
}
