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
    for name in ["report.en.html", "report.en.pdf", "report.sq.html", "report.sq.pdf", "results.csv", "oscal-ar.json"] {
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

/// NIST's own schema, and what no schema can say: identifiers are there once, and what is referred to is there.
#[test]
fn oscal_is_valid_against_the_schema_of_nist() {
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
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oscal/oscal-ar_schema-1.1.2.json");
    let schema = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("file:///oscal-ar.json", schema).unwrap();
    let schema = compiler.compile("file:///oscal-ar.json", &mut schemas).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&bundle.files["oscal-ar.json"]).unwrap();
    schemas.validate(&all, schema).unwrap_or_else(|error| panic!("{error:#}"));
    // That the validator has teeth: each of these is what an earlier writer might get wrong.
    for (pointer, bad) in [
        ("/assessment-results/uuid", serde_json::json!("x")),
        ("/assessment-results/results/0/observations", serde_json::json!([])),
        ("/assessment-results/results/0/findings/0/target/status/state", serde_json::json!("inconclusive")),
        ("/assessment-results/results/0/title", serde_json::json!(7)),
    ] {
        let mut wrong = all.clone();
        *wrong.pointer_mut(pointer).unwrap() = bad;
        assert!(schemas.validate(&wrong, schema).is_err(), "{pointer}");
    }

    let mut uuids = std::collections::BTreeSet::new();
    each(&all, &mut |key, value| {
        assert!(key != "uuid" || uuids.insert(value.to_string()), "{value} is there twice");
    });
    each(&all, &mut |key, value| assert!(key != "observation-uuid" || uuids.contains(&value.to_string()), "{value}"));
    assert_eq!(all["assessment-results"]["results"][0]["findings"].as_array().unwrap().len(), 29);
}

#[test]
fn paper_has_the_digest_on_each_page_and_the_limits_on_the_first() {
    let Day { bundle, trust, .. } = &*DAY_LIVED;
    let digest = verify(bundle, trust).unwrap().report.to_string();
    for (name, limits, verdict) in [
        ("report.en.pdf", "What a DNS filter cannot do", "COMPLIANT"),
        ("report.sq.pdf", "Çfarë nuk mund të bëjë një filtër DNS", "NË PËRPUTHJE"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &bundle.files[name]).unwrap();
        let read = |arguments: &[&str], program: &str| {
            let output = std::process::Command::new(program).args(arguments).arg(&path).arg("-").output();
            let output = output.unwrap_or_else(|error| panic!("{program}: {error}: apt-get install poppler-utils"));
            assert!(output.status.success() && output.stderr.is_empty(), "{program} {name}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let text = read(&["-layout"], "pdftotext");
        let pages: Vec<&str> = text.trim_end_matches('\u{c}').split('\u{c}').collect();
        assert!((2..=6).contains(&pages.len()), "{name}: {} pages", pages.len());
        assert!(pages.iter().all(|page| page.contains(&digest)), "{name}: the digest stands on each page");
        assert!(pages[0].contains(limits) && pages[0].contains(verdict), "{name}: {}", pages[0]);
        assert!((1..=29).all(|n| pages[0].contains(&format!("SH-{n:02}"))), "{name}: {}", pages[0]);
        // Signs, not only colours; and what a gateway's own texts could smuggle in stays text.
        assert!(pages[0].contains('✓') && pages[0].contains("Main Square <1>"), "{name}");
        // Tagged: a screen reader finds title, headings and tables.
        let tags = std::process::Command::new("pdfinfo").arg("-struct-text").arg(&path).output().unwrap();
        let tags = String::from_utf8_lossy(&tags.stdout).into_owned();
        for tag in ["H1", "H2", "Table", "TH", "TD"] {
            assert!(tags.contains(tag), "{name}: {tag}: {tags:.600}");
        }
    }
}
