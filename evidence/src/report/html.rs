//! The page a certifier reads: verdict and coverage first, limits always on page one, colours never the only sign.

use std::fmt::Write;

use super::words::{self, Language, Pair};
use crate::{
    Digest, Time,
    control::{Catalogue, Control},
    profile::Profile,
    record::{List, Outcome},
    rollup::{ControlFinding, ProbeFinding},
    statement::Details,
};

const STYLE: &str = "\
:root{color-scheme:light}
body{font:10pt/1.35 system-ui,sans-serif;color:#111;background:#fff;max-width:60rem;margin:1rem auto;padding:0 1rem}
h1{font-size:14pt;margin:0}h2{font-size:10.5pt;margin:.6rem 0 .15rem}
header,.verdict{border:1px solid #111;padding:.4rem .6rem}
.verdict{border-width:2px;margin:.5rem 0;font-size:11pt}.verdict b{font-size:14pt}
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 .8rem;margin:.3rem 0 0}dt{font-weight:600}dd{margin:0}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.05rem .4rem .05rem 0}
.one{table-layout:fixed}.one .id{width:3.8rem;font-weight:600}.one .state{width:9.5rem}.one .role{width:8rem}
.pass{color:#064}.fail{color:#a00;font-weight:700}.inconclusive{color:#850;font-weight:700}.na{color:#555}
.lab{border:2px dashed #a00;padding:.3rem .6rem;font-weight:700}
.warn{font-weight:700}ul{margin:.1rem 0;padding-left:1.1rem}.limits li{display:inline;margin-right:.8rem}.limits li::before{content:'• '}
.annex{break-before:page;font-size:8.5pt}.annex th{border-bottom:1px solid #111}.annex td{border-bottom:1px solid #ddd}
footer{border-top:1px solid #111;margin-top:.6rem;font-size:8pt;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none;padding:0;font-size:8.5pt}@page{size:A4;margin:12mm}tr{break-inside:avoid}thead{display:table-header-group}}
";

/// Text as HTML shows it.
pub(super) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Would turn the rest of the line round.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

struct Page<'a> {
    details: &'a Details,
    catalogue: &'a Catalogue,
    language: Language,
    out: String,
}

pub(super) fn page(
    details: &Details,
    catalogue: &Catalogue,
    profile: &Profile,
    report: Digest,
    language: Language,
) -> String {
    let mut page = Page { details, catalogue, language, out: String::new() };
    let title = language.of(words::TITLE);
    page.put(&format!(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        language.code(),
        esc(&details.site_name),
    ));
    if details.lab {
        page.put(&format!("<p class=\"lab\">{}</p>\n", language.of(words::LAB)));
    }
    page.head(title, profile);
    page.verdict();
    // Before anything that can grow, so that no printer moves it off page one.
    page.limits();
    page.controls();
    page.notes();
    page.changes();
    page.lists();
    page.witness();
    page.foot(report);
    page.annex();
    page.put("</body>\n</html>\n");
    page.out
}

impl Page<'_> {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn of(&self, pair: Pair) -> &'static str {
        self.language.of(pair)
    }

    fn heading(&mut self, pair: Pair) {
        let text = self.of(pair);
        self.put(&format!("<h2>{text}</h2>\n"));
    }

    fn head(&mut self, title: &str, profile: &Profile) {
        let d = self.details;
        let networks: Vec<_> =
            d.networks.iter().map(|network| format!("“{}” ({})", esc(&network.name), esc(&network.id))).collect();
        let mut rows = String::new();
        for (name, value) in [
            (words::SITE, format!("{} ({}) · {}", esc(&d.site_name), esc(&d.site), esc(&d.organisation))),
            (words::GATEWAY, format!("{} · {} {}", esc(&d.gateway), self.of(words::KEY), short(d.key))),
            (words::PERIOD, format!("{} – {} UTC", minute(d.period.from), minute(d.period.to))),
            (
                words::PROFILE,
                format!(
                    "{} · {} {}",
                    esc(self.language.title(&profile.title)),
                    esc(&d.profile.id),
                    esc(&d.profile.version)
                ),
            ),
            (words::NETWORKS, if networks.is_empty() { "–".to_owned() } else { networks.join(", ") }),
        ] {
            let _ = writeln!(rows, "<dt>{}</dt><dd>{value}</dd>", self.of(name));
        }
        self.put(&format!("<header>\n<h1>{title}</h1>\n<dl>\n{rows}</dl>\n</header>\n"));
    }

    fn verdict(&mut self) {
        let d = self.details;
        self.put(&format!(
            "<div class=\"verdict\">{} <b>{}</b> ({})<br>{} {} {} · {} {} · {} {} {}</div>\n",
            self.of(words::VERDICT),
            self.of(words::verdict(d.verdict)),
            self.language.findings(d),
            self.of(words::MEASURED),
            percent(d.coverage_ppm),
            self.of(words::OF_THE_TIME),
            self.of(words::ATTEMPTS),
            d.probes_run,
            self.of(words::GAP),
            d.longest_gap_s.div_ceil(60),
            self.of(words::MINUTES),
        ));
    }

    fn controls(&mut self) {
        let catalogue = self.catalogue;
        for group in &catalogue.groups {
            let inside: Vec<_> = catalogue.controls.iter().filter(|control| control.group == group.id).collect();
            if inside.is_empty() {
                continue;
            }
            let title = esc(self.language.title(&group.title));
            self.put(&format!("<h2>{} {title}</h2>\n<table class=\"one\">\n", esc(&group.id)));
            for control in inside {
                // The statement has every control of the catalogue; a page without one would hide it.
                let finding = self.details.controls.iter().find(|finding| finding.id == control.id);
                let row = finding.map_or_else(String::new, |finding| self.control_row(control, finding));
                self.put(&row);
            }
            self.put("</table>\n");
        }
    }

    fn control_row(&self, control: &Control, finding: &ControlFinding) -> String {
        let decides = if finding.mandatory { words::MANDATORY } else { words::SHOWN_ONLY };
        let mut remark = Vec::new();
        for probe in &finding.probes {
            if let Some(why) = probe.why.filter(|_| finding.state == Outcome::Inconclusive) {
                remark.push(format!("{} {}: {}", esc(&probe.id), self.network(probe), self.of(words::why(why))));
            }
            if probe.state == Outcome::Fail {
                remark.push(format!(
                    "{} {}: {} {}",
                    esc(&probe.id),
                    self.network(probe),
                    self.of(words::FAILED),
                    self.fails(probe)
                ));
            }
        }
        if control.id == "SH-01" {
            remark.extend(self.details.lists.iter().filter_map(|list| self.unenforceable(list)));
        }
        let title = esc(self.language.title(&control.title));
        let mut row = format!(
            "<tr><td class=\"id\">{}</td><td>{title}</td><td class=\"state {}\">{}</td><td class=\"role\">{}</td></tr>\n",
            esc(&control.id),
            class(finding.state),
            self.of(words::outcome(finding.state)),
            self.of(decides),
        );
        if !remark.is_empty() {
            let _ = writeln!(row, "<tr><td class=\"id\"></td><td colspan=\"3\">{}</td></tr>", remark.join("; "));
        }
        row
    }

    /// Printed next to the outcome, because a pass says nothing about these entries.
    fn unenforceable(&self, list: &List) -> Option<String> {
        let pages = list.entries.saturating_sub(list.enforceable);
        (list.category == "csam").then(|| {
            format!(
                "<span class=\"warn\">{} / {} {}; {pages} {}</span>",
                list.enforceable,
                list.entries,
                self.of(words::ENFORCED),
                self.of(words::CANNOT_ENFORCE)
            )
        })
    }

    fn network(&self, probe: &ProbeFinding) -> String {
        if probe.network.is_empty() { self.of(words::WHOLE_SITE).to_owned() } else { esc(&probe.network) }
    }

    fn fails(&self, probe: &ProbeFinding) -> String {
        match (probe.first_fail, probe.last_fail) {
            (Some(first), Some(last)) if first != last => format!("{} – {}", minute(first), minute(last)),
            (Some(only), _) | (None, Some(only)) => minute(only),
            (None, None) => self.of(words::UNKNOWN).to_owned(),
        }
    }

    fn list(&mut self, items: &[String]) {
        self.put("<ul>\n");
        for item in items {
            self.put(&format!("<li>{item}</li>\n"));
        }
        self.put("</ul>\n");
    }

    fn notes(&mut self) {
        let notes: Vec<_> = self.details.notes.iter().map(|note| self.of(words::note(*note)).to_owned()).collect();
        if !notes.is_empty() {
            self.heading(words::NOTES);
            self.list(&notes);
        }
    }

    fn changes(&mut self) {
        self.heading(words::CHANGES);
        let time = |time: Option<Time>| time.map_or_else(|| self.of(words::UNKNOWN).to_owned(), minute);
        let cut = |text: &str| esc(&text.chars().take(24).collect::<String>());
        let changes = self.details.changes.iter();
        let mut items: Vec<_> = changes
            .map(|change| {
                format!("{} {} {} → {}", time(change.time), esc(&change.what), cut(&change.from), cut(&change.to))
            })
            .collect();
        if items.is_empty() {
            items.push(self.of(words::NO_CHANGES).to_owned());
        }
        self.list(&items);
    }

    fn limits(&mut self) {
        self.put("<section class=\"limits\">\n");
        self.heading(words::LIMITS);
        let limits = words::EACH_LIMIT.map(|limit| self.of(limit).to_owned());
        self.list(&limits);
        self.put("</section>\n");
    }

    fn lists(&mut self) {
        self.heading(words::LISTS);
        let mut items: Vec<_> = self
            .details
            .lists
            .iter()
            .map(|list| {
                format!(
                    "{} {} ({}) · {} / {} {} · {}",
                    esc(&list.id),
                    esc(&list.edition),
                    esc(&list.category),
                    list.enforceable,
                    list.entries,
                    self.of(words::ENFORCED),
                    esc(&list.licence)
                )
            })
            .collect();
        if items.is_empty() {
            items.push(self.of(words::NO_LISTS).to_owned());
        }
        self.list(&items);
    }

    fn witness(&mut self) {
        let hits = self.of(words::HITS);
        let unknown = self.of(words::UNKNOWN);
        let seen = self.details.witness.iter().map(|seen| {
            let time = seen.time.map_or_else(|| unknown.to_owned(), minute);
            format!("{time} {} · {} {hits}", esc(&seen.nonce), seen.hits)
        });
        let items: Vec<_> = seen.collect();
        if !items.is_empty() {
            self.heading(words::WITNESS);
            self.list(&items);
        }
    }

    fn foot(&mut self, report: Digest) {
        let d = self.details;
        self.put(&format!(
            "<footer>{} {report} · {} {} · {}<br>{}: <code>sheshi-verify BUNDLE --key {}.pub.pem</code></footer>\n",
            self.of(words::SIGNED),
            self.of(words::ENTRY),
            d.records.end,
            esc(&d.origin),
            self.of(words::CHECK),
            esc(&d.gateway),
        ));
    }

    fn annex(&mut self) {
        self.put("<section class=\"annex\">\n");
        self.heading(words::ANNEX);
        let columns = [
            words::CONTROL,
            words::PROBE,
            words::NETWORK,
            words::STATE,
            words::COUNTS,
            words::FIRST_FAIL,
            words::LAST,
            words::FIGURES,
        ];
        let head: String = columns.map(|column| format!("<th>{}</th>", self.of(column))).concat();
        self.put(&format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"));
        for control in &self.details.controls {
            for probe in &control.probes {
                let row = self.probe_row(control, probe);
                self.put(&row);
            }
        }
        self.put("</tbody>\n</table>\n</section>\n");
    }

    fn probe_row(&self, control: &ControlFinding, probe: &ProbeFinding) -> String {
        let why = probe.why.map(|why| format!(" ({})", self.of(words::why(why)))).unwrap_or_default();
        let fails = if probe.first_fail.or(probe.last_fail).is_some() { self.fails(probe) } else { String::new() };
        let last = probe.last.as_ref().map_or_else(String::new, |last| {
            let time = last.time.map_or_else(|| self.of(words::UNKNOWN).to_owned(), minute);
            format!("{} {time} ({})", self.of(words::outcome(last.outcome)), last.seq)
        });
        let figures: Vec<_> = probe.figures.iter().map(|(name, value)| format!("{} {value}", esc(name))).collect();
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}{why}</td><td>{} / {} / {} / {}</td><td>{fails}</td><td>{last}</td><td>{}</td></tr>\n",
            esc(&control.id),
            esc(&probe.id),
            self.network(probe),
            class(probe.state),
            self.of(words::outcome(probe.state)),
            probe.pass,
            probe.fail,
            probe.inconclusive,
            probe.not_applicable,
            figures.join(", "),
        )
    }
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "inconclusive",
        Outcome::NotApplicable => "na",
    }
}

/// To the minute, as people read it.
pub(super) fn minute(time: Time) -> String {
    time.to_string()[..16].replace('T', " ")
}

/// Rounded down: 98.99 % measured is not 99 %.
pub(super) fn percent(ppm: u64) -> String {
    format!("{}.{} %", ppm / 10_000, ppm % 10_000 / 1_000)
}

/// The fingerprint as it stands on paper.
pub(super) fn short(key: Digest) -> String {
    let text = key.to_string();
    [&text[..4], &text[4..8], &text[8..12], &text[12..16]].join(" ")
}
