//! From records to the details statement: the same code for the gateway that signs and for the reader who checks.

use std::collections::BTreeMap;

use crate::{
    Digest, Time,
    control::Catalogue,
    profile::Profile,
    record::{Body, List, Note, Open, Record, Site, State},
    rollup::{Period, RollUp, View},
    sign::PublicKey,
    statement::{Change, Details, Edition, Extent, Seen},
};

/// Under what a report is made.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What is asked.
    pub catalogue: &'a Catalogue,
    /// What decides.
    pub profile: &'a Profile,
    /// Whose papers count.
    pub people: &'a [PublicKey],
    /// When.
    pub period: Period,
}

/// Takes records in order, single older ones first, and gives the details.
pub struct Reader<'a> {
    terms: Terms<'a>,
    rollup: RollUp<'a>,
    gateway: String,
    open: Option<Open>,
    site: Option<Site>,
    state: Option<State>,
    changes: Vec<Change>,
    witness: Vec<Seen>,
    time_unknown: u64,
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    pub fn new(terms: Terms<'a>) -> Self {
        let rollup = RollUp::new(terms.catalogue, terms.profile, terms.people, terms.period);
        let (gateway, open, site, state, changes, witness, time_unknown) = Default::default();
        Self { terms, rollup, gateway, open, site, state, changes, witness, time_unknown }
    }

    /// The roll-up, to see how a record would be judged.
    pub fn rollup(&self) -> &RollUp<'a> {
        &self.rollup
    }

    /// The policy in force after the records so far.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Takes the next record; `single` when it stands alone, without the records around it.
    pub fn add(&mut self, record: &Record, single: bool) {
        self.rollup.add(record, single);
        if self.gateway.is_empty() {
            self.gateway.clone_from(&record.gw);
        }
        let in_period = !single && record.time.is_none_or(|time| self.contains(time));
        if !single && record.time.is_none() {
            self.time_unknown += 1;
        }
        match &record.body {
            Body::Open(open) => self.open = Some(open.clone()),
            Body::Site(site) => self.site = Some(site.clone()),
            Body::State(state) => {
                if let Some(before) = self.state.take().filter(|_| in_period) {
                    self.changes.extend(changes(&before, state, record));
                }
                self.state = Some(state.clone());
            }
            Body::Clock(clock) if in_period => self.changes.push(Change {
                from: clock.source.clone(),
                seq: record.seq,
                time: record.time,
                to: clock.step_ms.to_string(),
                what: "clock".into(),
            }),
            Body::Witness(witness) if in_period => self.witness.push(Seen {
                hits: witness.hits,
                nonce: witness.nonce.clone(),
                registered: witness.registered,
                seq: record.seq,
                time: record.time,
            }),
            _ => {}
        }
    }

    fn contains(&self, time: Time) -> bool {
        self.terms.period.from <= time && time < self.terms.period.to
    }

    /// The details; `end` records were there, with this root, and those from `first` on were read in full.
    pub fn finish(self, first: u64, end: u64, root: Digest) -> Details {
        let findings = self.rollup.finish(View::Period);
        let (catalogue, profile) = (self.terms.catalogue, self.terms.profile);
        let mut notes = findings.notes;
        if self.open.as_ref().is_some_and(|open| open.lab) {
            notes.insert(Note::Lab);
        }
        if self.time_unknown > 0 {
            notes.insert(Note::TimeUnknown);
        }
        let open = self.open.unwrap_or(Open { format: 1, key: Digest::default(), lab: false, origin: String::new() });
        let (site_name, networks, organisation, site) =
            self.site.map_or_else(Default::default, |site| (site.name, site.networks, site.organisation, site.site));
        let (lists, policy, software) =
            self.state.map_or_else(Default::default, |state| (state.lists, Some(state.policy), state.software));
        Details {
            catalogue: Edition {
                digest: catalogue.digest(),
                id: catalogue.id.clone(),
                version: catalogue.version.clone(),
            },
            changes: self.changes,
            controls: findings.controls,
            coverage_ppm: findings.coverage_ppm,
            format: 1,
            gateway: self.gateway,
            key: open.key,
            lab: open.lab,
            lists,
            longest_gap_s: findings.longest_gap_s,
            networks,
            notes: notes.into_iter().collect(),
            organisation,
            origin: open.origin,
            people: findings.people.into_iter().collect(),
            period: self.terms.period,
            policy,
            probes_run: findings.probes_run,
            profile: Edition { digest: profile.digest(), id: profile.id.clone(), version: profile.version.clone() },
            records: Extent { end, first, root: root.base64() },
            site,
            site_name,
            software,
            time_unknown: self.time_unknown,
            verdict: findings.verdict,
            witness: self.witness,
        }
    }
}

/// What differs between two states, in the order policy, software, lists by id.
fn changes(before: &State, after: &State, record: &Record) -> Vec<Change> {
    let change = |what: String, from: String, to: String| Change { from, seq: record.seq, time: record.time, to, what };
    let mut changes = Vec::new();
    if before.policy != after.policy {
        changes.push(change("policy".into(), before.policy.to_string(), after.policy.to_string()));
    }
    if before.software != after.software {
        changes.push(change("software".into(), before.software.clone(), after.software.clone()));
    }
    let mut lists: BTreeMap<&str, (Option<&List>, Option<&List>)> = BTreeMap::new();
    before.lists.iter().for_each(|list| lists.entry(&list.id).or_default().0 = Some(list));
    after.lists.iter().for_each(|list| lists.entry(&list.id).or_default().1 = Some(list));
    let edition = |list: Option<&List>| list.map(|list| list.edition.clone()).unwrap_or_default();
    let differ = lists.into_iter().filter(|(_, (old, new))| old != new);
    changes.extend(differ.map(|(id, (old, new))| change(format!("list {id}"), edition(old), edition(new))));
    changes
}
