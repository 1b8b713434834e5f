//! The page on paper: what the HTML page says, in its order, with the digest at the foot of each page.

use pdf_writer::types::StructRole;

use super::{
    html::{minute, percent, short},
    paper::{FULL, Paper, Run, Style},
    words::{self, Language, Pair},
};
use crate::{
    Digest, Time,
    control::{Catalogue, Control},
    profile::Profile,
    record::Outcome,
    rollup::{ControlFinding, ProbeFinding},
    statement::Details,
};

const BLACK: [f32; 3] = [0.0, 0.0, 0.0];
const TEXT: Style = Style { bold: false, size: 7_500, colour: BLACK };
const BOLD: Style = Style { bold: true, ..TEXT };
const SMALL: Style = Style { size: 6_200, ..TEXT };
const SMALL_BOLD: Style = Style { bold: true, ..SMALL };
const HEADING: Style = Style { bold: true, size: 8_500, colour: BLACK };
const TITLE: Style = Style { bold: true, size: 13_000, colour: BLACK };
const RED: [f32; 3] = [0.6, 0.0, 0.0];

struct Page<'a> {
    details: &'a Details,
    catalogue: &'a Catalogue,
    language: Language,
    paper: Paper,
}

pub(super) fn page(
    details: &Details,
    catalogue: &Catalogue,
    profile: &Profile,
    report: Digest,
    language: Language,
) -> Vec<u8> {
    let mut page = Page { details, catalogue, language, paper: Paper::new() };
    if details.lab {
        page.lab();
    }
    page.head(profile);
    page.verdict();
    page.limits();
    page.controls();
    page.rest();
    page.annex();
    let title = format!("{}: {}", language.of(words::TITLE), clean(&details.site_name));
    let foot = format!(
        "{} {report} · {} {} · {} · {}: sheshi-verify BUNDLE --key {}.pub.pem",
        language.of(words::SIGNED),
        language.of(words::ENTRY),
        details.records.end,
        clean(&details.origin),
        language.of(words::CHECK),
        clean(&details.gateway),
    );
    page.paper.finish(&title, language.code(), &[(SMALL, foot)], language.of(words::PAGE))
}

/// Text as paper shows it: nothing that turns a line round or hides.
fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

fn plain(text: impl Into<String>) -> Vec<Run> {
    vec![(TEXT, text.into())]
}

/// With its sign and its word; the colour only repeats them.
fn style(outcome: Outcome, size: i64) -> Style {
    let (bold, colour) = match outcome {
        Outcome::Pass => (false, [0.0, 0.35, 0.2]),
        Outcome::Fail => (true, RED),
        Outcome::Inconclusive => (true, [0.5, 0.3, 0.0]),
        Outcome::NotApplicable => (false, [0.33, 0.33, 0.33]),
    };
    Style { bold, size, colour }
}

impl Page<'_> {
    fn of(&self, pair: Pair) -> &'static str {
        self.language.of(pair)
    }

    fn heading(&mut self, text: String) {
        self.paper.gap(3_000);
        self.paper.text(StructRole::H2, &[(HEADING, text)], 0);
    }

    fn lab(&mut self) {
        let top = self.paper.height();
        self.paper.gap(2_000);
        let style = Style { colour: RED, ..BOLD };
        self.paper.text(StructRole::P, &[(style, self.of(words::LAB).to_owned())], 6_000);
        self.paper.gap(3_000);
        self.paper.frame(top, 1_000);
        self.paper.gap(4_000);
    }

    fn head(&mut self, profile: &Profile) {
        let d = self.details;
        let top = self.paper.height();
        self.paper.gap(3_000);
        self.paper.text(StructRole::H1, &[(TITLE, self.of(words::TITLE).to_owned())], 6_000);
        let networks: Vec<_> =
            d.networks.iter().map(|network| format!("“{}” ({})", clean(&network.name), clean(&network.id))).collect();
        let title = clean(self.language.title(&profile.title));
        for (name, value) in [
            (words::SITE, format!("{} ({}) · {}", clean(&d.site_name), clean(&d.site), clean(&d.organisation))),
            (words::GATEWAY, format!("{} · {} {}", clean(&d.gateway), self.of(words::KEY), short(d.key))),
            (words::PERIOD, format!("{} – {} UTC", minute(d.period.from), minute(d.period.to))),
            (words::PROFILE, format!("{title} · {} {}", clean(&d.profile.id), clean(&d.profile.version))),
            (words::NETWORKS, if networks.is_empty() { "–".to_owned() } else { networks.join(", ") }),
        ] {
            let name = (BOLD, format!("{}:", self.of(name)));
            self.paper.text(StructRole::P, &[name, (TEXT, format!(" {value}"))], 6_000);
        }
        self.paper.gap(4_000);
        self.paper.frame(top, 600);
        self.paper.gap(5_000);
    }

    fn verdict(&mut self) {
        let d = self.details;
        let top = self.paper.height();
        self.paper.gap(3_000);
        let line = [
            (HEADING, format!("{}: ", self.of(words::VERDICT))),
            (TITLE, self.of(words::verdict(d.verdict)).to_owned()),
            (TEXT, format!(" ({})", self.language.findings(d))),
        ];
        self.paper.text(StructRole::P, &line, 6_000);
        let measured = format!(
            "{} {} {} · {} {} · {} {} {}",
            self.of(words::MEASURED),
            percent(d.coverage_ppm),
            self.of(words::OF_THE_TIME),
            self.of(words::ATTEMPTS),
            d.probes_run,
            self.of(words::GAP),
            d.longest_gap_s.div_ceil(60),
            self.of(words::MINUTES),
        );
        self.paper.text(StructRole::P, &plain(measured), 6_000);
        self.paper.gap(4_000);
        self.paper.frame(top, 1_500);
        self.paper.gap(3_000);
    }

    /// Before anything that can grow, so that nothing moves it off page one.
    fn limits(&mut self) {
        self.heading(self.of(words::LIMITS).to_owned());
        let limits = words::EACH_LIMIT.map(|limit| format!("• {}", self.of(limit)));
        self.paper.text(StructRole::P, &plain(limits.join("  ")), 0);
    }

    fn controls(&mut self) {
        const COLUMNS: [i64; 4] = [40_000, FULL - 215_000, 95_000, 80_000];
        let catalogue = self.catalogue;
        for group in &catalogue.groups {
            let inside: Vec<_> = catalogue.controls.iter().filter(|control| control.group == group.id).collect();
            if inside.is_empty() {
                continue;
            }
            self.heading(format!("{} {}", clean(&group.id), clean(self.language.title(&group.title))));
            let mut rows = Vec::new();
            for control in inside {
                if let Some(finding) = self.details.controls.iter().find(|finding| finding.id == control.id) {
                    rows.push(self.control(control, finding));
                }
            }
            self.paper.table(&COLUMNS, None, &rows, false);
        }
    }

    fn control(&self, control: &Control, finding: &ControlFinding) -> Vec<Vec<Run>> {
        let mut title = plain(clean(self.language.title(&control.title)));
        let remarks = self.remarks(control, finding);
        if !remarks.is_empty() {
            title.push((Style { bold: finding.state == Outcome::Fail, ..SMALL }, format!(" – {}", remarks.join("; "))));
        }
        let decides = if finding.mandatory { words::MANDATORY } else { words::SHOWN_ONLY };
        vec![
            vec![(BOLD, clean(&control.id))],
            title,
            vec![(style(finding.state, TEXT.size), self.of(words::outcome(finding.state)).to_owned())],
            plain(self.of(decides)),
        ]
    }

    fn remarks(&self, control: &Control, finding: &ControlFinding) -> Vec<String> {
        let mut remarks = Vec::new();
        for probe in &finding.probes {
            let place = format!("{} {}", clean(&probe.id), self.network(probe));
            if let Some(why) = probe.why.filter(|_| finding.state == Outcome::Inconclusive) {
                remarks.push(format!("{place}: {}", self.of(words::why(why))));
            }
            if probe.state == Outcome::Fail {
                remarks.push(format!("{place}: {} {}", self.of(words::FAILED), self.fails(probe)));
            }
        }
        // Next to the outcome, because a pass says nothing about these entries.
        let lists = self.details.lists.iter().filter(|list| control.id == "SH-01" && list.category == "csam");
        remarks.extend(lists.map(|list| {
            let pages = list.entries.saturating_sub(list.enforceable);
            let (done, not) = (self.of(words::ENFORCED), self.of(words::CANNOT_ENFORCE));
            format!("{} / {} {done}; {pages} {not}", list.enforceable, list.entries)
        }));
        remarks
    }

    fn network(&self, probe: &ProbeFinding) -> String {
        if probe.network.is_empty() { self.of(words::WHOLE_SITE).to_owned() } else { clean(&probe.network) }
    }

    fn fails(&self, probe: &ProbeFinding) -> String {
        match (probe.first_fail, probe.last_fail) {
            (Some(first), Some(last)) if first != last => format!("{} – {}", minute(first), minute(last)),
            (Some(only), _) | (None, Some(only)) => minute(only),
            (None, None) => self.of(words::UNKNOWN).to_owned(),
        }
    }

    fn time(&self, time: Option<Time>) -> String {
        time.map_or_else(|| self.of(words::UNKNOWN).to_owned(), minute)
    }

    /// Notes, changes, lists and witnesses.
    fn rest(&mut self) {
        let d = self.details;
        let notes = d.notes.iter().map(|note| self.of(words::note(*note)).to_owned()).collect();
        self.list(words::NOTES, notes, None);
        let cut = |text: &str| clean(&text.chars().take(24).collect::<String>());
        let changes = d.changes.iter().map(|change| {
            let (from, to) = (cut(&change.from), cut(&change.to));
            format!("{} {} {from} → {to}", self.time(change.time), clean(&change.what))
        });
        self.list(words::CHANGES, changes.collect(), Some(words::NO_CHANGES));
        let lists = d.lists.iter().map(|list| {
            let (id, edition, category) = (clean(&list.id), clean(&list.edition), clean(&list.category));
            let done = format!("{} / {} {}", list.enforceable, list.entries, self.of(words::ENFORCED));
            format!("{id} {edition} ({category}) · {done} · {}", clean(&list.licence))
        });
        self.list(words::LISTS, lists.collect(), Some(words::NO_LISTS));
        let witness = d.witness.iter().map(|seen| {
            format!("{} {} · {} {}", self.time(seen.time), clean(&seen.nonce), seen.hits, self.of(words::HITS))
        });
        self.list(words::WITNESS, witness.collect(), None);
    }

    fn list(&mut self, heading: Pair, mut items: Vec<String>, none: Option<Pair>) {
        if items.is_empty() {
            let Some(none) = none else { return };
            items.push(self.of(none).to_owned());
        }
        self.heading(self.of(heading).to_owned());
        for item in items {
            self.paper.text(StructRole::P, &plain(format!("• {item}")), 0);
        }
    }

    fn annex(&mut self) {
        const COLUMNS: [i64; 8] = [33_000, 27_000, 52_000, 84_000, 70_000, 76_000, 108_000, FULL - 450_000];
        self.paper.turn();
        self.heading(self.of(words::ANNEX).to_owned());
        let head = [
            words::CONTROL,
            words::PROBE,
            words::NETWORK,
            words::STATE,
            words::COUNTS,
            words::FIRST_FAIL,
            words::LAST,
            words::FIGURES,
        ];
        let head = head.map(|column| (SMALL_BOLD, self.of(column).to_owned()));
        let controls = &self.details.controls;
        let rows: Vec<_> =
            controls.iter().flat_map(|control| control.probes.iter().map(|probe| self.probe(control, probe))).collect();
        self.paper.table(&COLUMNS, Some(&head), &rows, true);
    }

    fn probe(&self, control: &ControlFinding, probe: &ProbeFinding) -> Vec<Vec<Run>> {
        let why = probe.why.map(|why| format!(" ({})", self.of(words::why(why)))).unwrap_or_default();
        let fails = if probe.first_fail.or(probe.last_fail).is_some() { self.fails(probe) } else { String::new() };
        let last = probe.last.as_ref().map_or_else(String::new, |last| {
            format!("{} {} ({})", self.of(words::outcome(last.outcome)), self.time(last.time), last.seq)
        });
        let counts = [probe.pass, probe.fail, probe.inconclusive, probe.not_applicable].map(|n| n.to_string());
        let figures: Vec<_> = probe.figures.iter().map(|(name, value)| format!("{} {value}", clean(name))).collect();
        let small = |text: String| vec![(SMALL, text)];
        vec![
            small(clean(&control.id)),
            small(clean(&probe.id)),
            small(self.network(probe)),
            vec![(style(probe.state, SMALL.size), format!("{}{why}", self.of(words::outcome(probe.state))))],
            small(counts.join(" / ")),
            small(fails),
            small(last),
            small(figures.join(", ")),
        ]
    }
}
