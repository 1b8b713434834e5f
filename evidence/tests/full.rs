//! The built-in catalogue, lived through: size of a day, speed of a check, what the page says.

mod made;

use std::sync::LazyLock;

use made::*;
use sheshi_evidence::{
    bundle::{self, Bundle},
    rollup::Verdict,
    verify::{Trust, verify},
};

/// A day under the profile that asks for most.
struct Day {
    bundle: Bundle,
    trust: Trust,
    /// Bytes of its records.
    bytes: usize,
}

/// Lived once for all tests here: five thousand records, each on disk before the next.
static DAY_LIVED: LazyLock<Day> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mut full = Full::new(&folder.path().join("log"), "friendly-wifi");
    full.gateway.pass_time(9 * DAY);
    full.live(start().plus_millis(DAY + HOUR));
    let bundle = full.gateway.report(days(0, 1), &[]);
    let records = full.gateway.log.records_from(0).unwrap().map(Result::unwrap);
    let of_the_day =
        records.filter(|record| record.time.is_some_and(|time| (start()..start().plus_millis(DAY)).contains(&time)));
    let bytes = of_the_day.map(|record| record.bytes().len() + 1).sum();
    Day { bundle, trust: full.gateway.trust(), bytes }
});

/// Compares with a golden file; `SHESHI_BLESS=1` writes it anew.
fn golden(name: &str, text: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("SHESHI_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(want == text, "{} is not what is made now; SHESHI_BLESS=1 writes it anew", path.display());
}

#[test]
fn full_day_complies_and_stays_under_two_megabytes() {
    let Day { bundle, trust, bytes: day } = &*DAY_LIVED;
    let verified = verify(bundle, trust).unwrap_or_else(|refusal| panic!("{refusal}"));
    let open: Vec<_> = verified
        .details
        .controls
        .iter()
        .filter(|control| control.state != sheshi_evidence::record::Outcome::Pass)
        .map(|control| control.id.as_str())
        .collect();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(verified.details.verdict, Verdict::Compliant);
    assert_eq!(verified.details.longest_gap_s, 0);
    assert!(*day < 2_000_000, "{day} bytes a day");
}

#[test]
fn page_says_what_it_said() {
    let Day { bundle, .. } = &*DAY_LIVED;
    for name in ["report.en.html", "report.sq.html", "results.csv", "oscal-ar.json"] {
        golden(&format!("full-day/{name}"), &bundle.files[name]);
    }
}

#[test]
fn page_one_holds_limits_and_what_no_dns_filter_can_enforce() {
    let Day { bundle, .. } = &*DAY_LIVED;
    for (name, cannot, limits) in [
        ("report.en.html", "CANNOT enforce", "What a DNS filter cannot do"),
        ("report.sq.html", "NUK mund", "Çfarë nuk mund të bëjë një filtër DNS"),
    ] {
        let page = String::from_utf8(bundle.files[name].clone()).unwrap();
        let one = page.split("<section class=\"annex\">").next().unwrap();
        assert!(one.contains(cannot) && one.contains(limits), "{name}");
        assert!(one.find(limits) < one.find("SH-01"), "{name}: nothing that can grow stands before the limits");
        assert!((1..=29).all(|n| one.contains(&format!("SH-{n:02}"))), "{name}");
        // What a gateway's own texts could smuggle in.
        assert!(page.contains("Main Square &lt;1&gt;") && !page.contains("Square <1>"), "{name}");
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{name}");
    }
}

#[test]
fn changed_bytes_of_a_large_bundle_are_refused() {
    let Day { bundle, trust, .. } = &*DAY_LIVED;
    let mut at = 12_345_usize;
    for (name, bytes) in &bundle.files {
        for _ in 0..if name == bundle::RECORDS { 60 } else { 20 } {
            // Any spread will do; this one is the same each time.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (at >> 16) % bytes.len();
            let mut changed = bundle.clone();
            changed.files.get_mut(name).unwrap()[place] ^= 1 << (at % 8);
            assert!(verify(&changed, trust).is_err(), "{name} byte {place}");
        }
    }
}

/// What NIST's schema of assessment results asks (OSCAL 1.2.1), as far as our members go.
#[test]
fn oscal_has_the_members_and_shapes_that_its_schema_asks_for() {
    fn each(value: &serde_json::Value, see: &mut impl FnMut(&str, &serde_json::Value)) {
        match value {
            serde_json::Value::Object(members) => members.iter().for_each(|(key, member)| {
                see(key, member);
                each(member, see);
            }),
            serde_json::Value::Array(items) => items.iter().for_each(|item| each(item, see)),
            _ => {}
        }
    }
    let Day { bundle, .. } = &*DAY_LIVED;
    let all: serde_json::Value = serde_json::from_slice(&bundle.files["oscal-ar.json"]).unwrap();
    let root = &all["assessment-results"];
    let result = &root["results"][0];
    for (part, members) in [
        (root, &["uuid", "metadata", "import-ap", "results"][..]),
        (&root["metadata"], &["title", "last-modified", "version", "oscal-version"]),
        (result, &["uuid", "title", "description", "start", "reviewed-controls", "observations", "findings"]),
        (&result["observations"][0], &["uuid", "description", "methods", "collected"]),
        (&result["findings"][0], &["uuid", "title", "description", "target"]),
        (&result["findings"][0]["target"], &["type", "target-id", "status"]),
    ] {
        members.iter().for_each(|member| assert!(!part[member].is_null(), "{member}"));
    }
    let mut uuids = std::collections::BTreeSet::new();
    each(&all, &mut |key, value| {
        let text = value.as_str().unwrap_or("x");
        assert!(!text.is_empty() && text == text.trim(), "{key}: an empty text or one with spaces at its ends");
        assert!(value.as_array().is_none_or(|items| !items.is_empty()), "{key}: an empty array");
        match key {
            "uuid" => {
                let parts: Vec<usize> = text.split('-').map(str::len).collect();
                assert_eq!(parts, [8, 4, 4, 4, 12]);
                assert!(text.as_bytes()[14] == b'5' && b"89ab".contains(&text.as_bytes()[19]), "{text}");
                assert!(uuids.insert(text.to_owned()), "{text} is there twice");
            }
            "state" => assert!(["satisfied", "not-satisfied"].contains(&text)),
            "reason" => assert!(["pass", "fail", "other"].contains(&text)),
            "name" | "control-id" | "target-id" => {
                assert!(text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'), "{text}");
                assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)), "{text}");
            }
            _ => {}
        }
    });
    each(&all, &mut |key, value| {
        if key == "observation-uuid" {
            assert!(uuids.contains(value.as_str().unwrap()));
        }
    });
    assert_eq!(result["findings"].as_array().unwrap().len(), 29);
}
