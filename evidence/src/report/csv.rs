//! One row for each control, probe and network (`docs/evidence-format.md`, section 11).

use crate::{Time, control::Catalogue, statement::Details};

const HEADER: [&str; 19] = [
    "control",
    "probe",
    "network",
    "severity",
    "mandatory",
    "control_state",
    "probe_state",
    "attempts",
    "pass",
    "fail",
    "inconclusive",
    "not_applicable",
    "transient",
    "first_fail",
    "last_fail",
    "last_outcome",
    "last_time",
    "last_seq",
    "why",
];

pub(super) fn table(details: &Details, catalogue: &Catalogue) -> String {
    let mut text = String::new();
    row(&mut text, &HEADER.map(str::to_owned));
    for control in &details.controls {
        let severity = catalogue.control(&control.id).map_or("", |known| known.severity.text());
        for probe in &control.probes {
            let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
            let last = probe.last.as_ref();
            row(
                &mut text,
                &[
                    control.id.clone(),
                    probe.id.clone(),
                    probe.network.clone(),
                    severity.to_owned(),
                    if control.mandatory { "yes" } else { "no" }.to_owned(),
                    control.state.text().to_owned(),
                    probe.state.text().to_owned(),
                    probe.attempts.to_string(),
                    probe.pass.to_string(),
                    probe.fail.to_string(),
                    probe.inconclusive.to_string(),
                    probe.not_applicable.to_string(),
                    probe.transient.to_string(),
                    time(probe.first_fail),
                    time(probe.last_fail),
                    last.map(|last| last.outcome.text().to_owned()).unwrap_or_default(),
                    time(last.and_then(|last| last.time)),
                    last.map(|last| last.seq.to_string()).unwrap_or_default(),
                    probe.why.map(|why| why.text().to_owned()).unwrap_or_default(),
                ],
            );
        }
    }
    text
}

fn row(text: &mut String, fields: &[String; HEADER.len()]) {
    for (i, field) in fields.iter().enumerate() {
        // A spreadsheet would run a field that starts so as a formula.
        let guard = if field.starts_with(|c: char| "=+-@".contains(c) || c.is_control()) { "'" } else { "" };
        let comma = if i > 0 { "," } else { "" };
        text.push_str(&format!("{comma}\"{guard}{}\"", field.replace('"', "\"\"")));
    }
    text.push_str("\r\n");
}
