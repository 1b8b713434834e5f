//! OSCAL assessment results (NIST, JSON, 1.1.2): the same findings for auditors' tools.

use serde_json::{Value, json};

use crate::{
    Digest, canon,
    control::Catalogue,
    record::Outcome,
    rollup::{ControlFinding, ProbeFinding},
    statement::Details,
};

const NS: &str = "https://sheshi.example/ns/oscal";

/// An identifier that follows from what it names, in the shape of a version 5 UUID (RFC 9562 section 5.5).
fn uuid(details: &Details, what: &str) -> String {
    let name = format!("{} {} {} {what}", details.key, details.period.from, details.period.to);
    let mut bytes = Digest::of(name.as_bytes()).0;
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(&bytes[..16]);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn prop(name: &str, value: impl ToString) -> Value {
    json!({"name": name, "ns": NS, "value": value.to_string()})
}

/// OSCAL refuses empty strings and strings with spaces at the ends in some members.
fn or_dash(text: &str) -> &str {
    let text = text.trim();
    if text.is_empty() { "-" } else { text }
}

pub(super) fn results(details: &Details, catalogue: &Catalogue) -> Vec<u8> {
    let mut observations = Vec::new();
    let mut findings = Vec::new();
    for control in &details.controls {
        let seen: Vec<Value> =
            control.probes.iter().map(|probe| observation(details, catalogue, control, probe)).collect();
        findings.extend(finding(details, catalogue, control, &seen));
        observations.extend(seen);
    }
    let (from, to) = (details.period.from.to_string(), details.period.to.to_string());
    let mut props = vec![
        prop("verdict", details.verdict.text()),
        prop("coverage-ppm", details.coverage_ppm),
        prop("longest-gap-s", details.longest_gap_s),
        prop("profile", format!("{} {}", details.profile.id, details.profile.version)),
        prop("gateway", &details.gateway),
        prop("key", details.key),
    ];
    props.extend(details.notes.iter().map(|note| {
        let note = serde_json::to_value(note).expect("a token");
        prop("note", note.as_str().unwrap_or_default())
    }));
    let controls: Vec<Value> =
        details.controls.iter().map(|control| json!({"control-id": control.id.to_lowercase()})).collect();
    let title = format!("Content filter of {}", or_dash(&details.site_name));
    let result = json!({
        "uuid": uuid(details, "result"),
        "title": title,
        "description": "Measured from the guest's side and judged from the signed records of the gateway.",
        "start": from,
        "end": to,
        "props": props,
        "reviewed-controls": {"control-selections": [{"include-controls": controls}]},
        "observations": observations,
        "findings": findings,
    });
    canon::encode(&json!({"assessment-results": {
        "uuid": uuid(details, "assessment-results"),
        "metadata": {
            "title": title,
            "last-modified": to,
            "version": format!("{}", details.records.end),
            "oscal-version": "1.1.2",
        },
        "import-ap": {"href": format!("urn:sha256:{}", details.catalogue.digest)},
        "results": [without_empty(result)],
    }}))
}

/// OSCAL's arrays have at least one item: an empty one is left out.
fn without_empty(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| member.as_array().is_none_or(|items| !items.is_empty()));
    }
    value
}

fn observation(details: &Details, catalogue: &Catalogue, control: &ControlFinding, probe: &ProbeFinding) -> Value {
    let known = catalogue.control(&control.id).and_then(|known| known.probes.iter().find(|p| p.id == probe.id));
    let mut props = vec![
        prop("outcome", probe.state.text()),
        prop("attempts", probe.attempts),
        prop("pass", probe.pass),
        prop("fail", probe.fail),
        prop("inconclusive", probe.inconclusive),
        prop("not-applicable", probe.not_applicable),
        prop("transient", probe.transient),
    ];
    props.extend(probe.why.map(|why| prop("why", why.text())));
    props.extend((!probe.network.is_empty()).then(|| prop("network", &probe.network)));
    props.extend(probe.last.as_ref().map(|last| prop("record", last.seq)));
    let collected = probe.last.as_ref().and_then(|last| last.time).unwrap_or(details.period.to);
    json!({
        "uuid": uuid(details, &format!("observation {} {} {}", control.id, probe.id, probe.network)),
        "title": format!("{} {}", control.id, probe.id),
        "description": or_dash(known.map_or("", |probe| probe.what.as_str())),
        "methods": ["TEST"],
        "collected": collected.to_string(),
        "props": props,
    })
}

/// Pass and fail have a state in OSCAL. Inconclusive is `not-satisfied` for `other` reasons; not applicable has no
/// finding at all.
fn finding(details: &Details, catalogue: &Catalogue, control: &ControlFinding, seen: &[Value]) -> Option<Value> {
    let (state, reason) = match control.state {
        Outcome::Pass => ("satisfied", "pass"),
        Outcome::Fail => ("not-satisfied", "fail"),
        Outcome::Inconclusive => ("not-satisfied", "other"),
        Outcome::NotApplicable => return None,
    };
    let known = catalogue.control(&control.id);
    let related: Vec<Value> = seen.iter().map(|seen| json!({"observation-uuid": seen["uuid"]})).collect();
    Some(json!({
        "uuid": uuid(details, &format!("finding {}", control.id)),
        "title": format!("{} {}", control.id, known.map_or("", |known| known.title.en.as_str())),
        "description": or_dash(known.map_or("", |known| known.requirement.as_str())),
        "target": {
            "type": "objective-id",
            "target-id": format!("{}_obj", control.id.to_lowercase()),
            "status": {"state": state, "reason": reason},
        },
        "props": [prop("outcome", control.state.text()), prop("mandatory", control.mandatory)],
        "related-observations": related,
    }))
}
