//! Bundles made, read, tampered with and refused.

mod made;

use std::collections::BTreeSet;

use made::*;
use sheshi_evidence::{
    Digest, Name, Time,
    bundle::{self, Bundle},
    canon,
    details::Terms,
    profile::Profile,
    record::{Body, Outcome, Record, Report, Sample},
    rollup::{Period, Verdict},
    sign::SecretKey,
    statement::{self, Details, Manifest, Statement, TestResult},
    verify::{Refusal, Trust, verify, verify_after},
};

fn refusal(bundle: &Bundle, trust: &Trust) -> Refusal {
    verify(bundle, trust).expect_err("a changed bundle is refused")
}

fn text(bundle: &Bundle, name: &str) -> String {
    String::from_utf8(bundle.files[name].clone()).unwrap()
}

fn put(bundle: &mut Bundle, name: &str, text: &str) {
    bundle.files.insert(name.into(), text.as_bytes().to_vec());
}

fn lines(bundle: &Bundle, name: &str) -> Vec<String> {
    text(bundle, name).lines().map(str::to_owned).collect()
}

fn put_lines(bundle: &mut Bundle, name: &str, lines: &[String]) {
    put(bundle, name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

fn at() -> Time {
    start().plus_millis(2 * DAY)
}

/// A good day with one cosignature.
fn cosigned_day(folder: &std::path::Path) -> (Gateway, Bundle, Trust) {
    let (gateway, mut bundle) = good_day(folder);
    let witness = SecretKey::new([50; 32]);
    let line = bundle.checkpoint(&gateway.key.public()).unwrap().cosign("witness.example/city", &witness, at());
    bundle.add_cosignature(&line);
    let mut trust = gateway.trust();
    trust.log_keys = vec![witness.public()];
    (gateway, bundle, trust)
}

#[test]
fn report_of_a_good_day_is_valid_and_complies() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, bundle, mut trust) = cosigned_day(folder.path());
    trust.nonce = Some("n-1234".into());
    trust.lists.insert("adult".into(), names());
    let verified = verify(&bundle, &trust).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(verified.details.verdict, Verdict::Compliant, "{:#?}", verified.details.controls);
    assert_eq!(verified.details.coverage_ppm, 1_000_000);
    assert_eq!(verified.samples_drawn, 1);
    assert_eq!(verified.witnesses, [("witness.example/city".to_owned(), at())]);
    assert_eq!(verified.checkpoint.size, gateway.log.len());
    bundle.save(&folder.path().join("bundle")).unwrap();
    assert_eq!(Bundle::load(&folder.path().join("bundle")).unwrap(), bundle);
}

#[test]
fn every_changed_byte_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, bundle, trust) = cosigned_day(folder.path());
    verify(&bundle, &trust).unwrap();
    // Both cores: forty thousand checks.
    let tried: usize = std::thread::scope(|scope| {
        let (bundle, trust) = (&bundle, &trust);
        let half = |parity: usize| {
            scope.spawn(move || {
                let mut changed = bundle.clone();
                let mut tried = 0;
                for name in bundle.files.keys() {
                    // Each byte of all files but the two on paper, which are long and fall under one digest: each ninth there.
                    let step = if name.ends_with(".pdf") { 18 } else { 2 };
                    for at in (parity..bundle.files[name].len()).step_by(step) {
                        let byte = bundle.files[name][at];
                        // Another letter, another case, a control character, a byte that is no UTF-8: by turns.
                        changed.files.get_mut(name).unwrap()[at] = byte ^ [0x01, 0x20, 0x40, 0x80][at / 2 % 4];
                        assert!(verify(&changed, trust).is_err(), "{name} byte {at}");
                        changed.files.get_mut(name).unwrap()[at] = byte;
                        tried += 1;
                    }
                }
                tried
            })
        };
        [half(0), half(1)].into_iter().map(|half| half.join().unwrap()).sum()
    });
    assert!(tried > 32_000, "{tried} bytes");
}

#[test]
fn every_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, bundle, trust) = cosigned_day(folder.path());
    for name in bundle.files.keys() {
        let mut without = bundle.clone();
        without.files.remove(name);
        refusal(&without, &trust);
        let full = &bundle.files[name];
        let step = if name.ends_with(".pdf") { 97 } else { 7 };
        let ends =
            (0..full.len()).filter(|at| at % step == 0 || *at + 1 == full.len() || (step == 7 && full[*at] == b'\n'));
        for end in ends {
            without.files.insert(name.clone(), full[..end].to_vec());
            refusal(&without, &trust);
        }
    }
}

#[test]
fn changed_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, bundle) = good_day(folder.path());
    let first: Record = canon::decode(lines(&bundle, bundle::RECORDS)[0].as_bytes()).unwrap();
    let mut records = lines(&bundle, bundle::RECORDS);
    records[8] = records[8].replace("\"outcome\":\"pass\"", "\"outcome\":\"fail\"");
    let mut changed = bundle.clone();
    put_lines(&mut changed, bundle::RECORDS, &records);
    let refused = refusal(&changed, &gateway.trust());
    assert_eq!((refused.name, refused.place), (Name::BrokenChain, format!("record {}", first.seq + 8)));
    records[8] = records[8].replace("\"outcome\":\"fail\"", "\"outcome\": \"pass\"");
    put_lines(&mut changed, bundle::RECORDS, &records);
    let refused = refusal(&changed, &gateway.trust());
    assert_eq!(refused.name, Name::NotCanonical);
    assert!(refused.place.ends_with(&format!("record {}", first.seq + 8)), "{}", refused.place);
}

#[test]
fn swapped_doubled_and_dropped_records_are_refused_even_under_a_new_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, bundle) = good_day(folder.path());
    let trust = gateway.trust();
    let good = lines(&bundle, bundle::RECORDS);
    let older = lines(&bundle, bundle::OLDER);
    let mut tried = 0;
    let mut refused = |name: &str, lines: &[String]| {
        let mut changed = bundle.clone();
        put_lines(&mut changed, name, lines);
        reseal(&mut changed, &gateway.key);
        assert!(refusal(&changed, &trust).step >= 5, "not for the manifest's sake");
        tried += 1;
    };
    for at in 0..good.len() {
        let mut records = good.clone();
        records.remove(at);
        refused(bundle::RECORDS, &records);
        records = good.clone();
        records.insert(at, good[at].clone());
        refused(bundle::RECORDS, &records);
        if at > 0 {
            records = good.clone();
            records.swap(at, at - 1);
            refused(bundle::RECORDS, &records);
        }
    }
    for at in 0..older.len() {
        let mut records = older.clone();
        records.remove(at);
        refused(bundle::OLDER, &records);
        records = older.clone();
        let mut record: Record = canon::decode(older[at].as_bytes()).unwrap();
        record.mono += 1;
        records[at] = String::from_utf8(record.bytes()).unwrap();
        refused(bundle::OLDER, &records);
    }
    assert!(tried > 70);
}

#[test]
fn file_of_another_gateway_or_another_day_is_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut gateway, bundle) = good_day(here.path());
    let mut other = Gateway::new(&there.path().join("log"), 2);
    other.prepare();
    other.live(1);
    let elsewhere = other.report(days(0, 1), &[5]);
    gateway.live(1);
    let next_day = gateway.report(days(1, 2), &[5]);
    let trust = gateway.trust();
    verify(&next_day, &trust).unwrap();
    assert_eq!(refusal(&elsewhere, &trust).name, Name::WrongKey);
    for foreign in [&elsewhere, &next_day] {
        for (name, bytes) in foreign.files.iter().filter(|(name, bytes)| bundle.files[*name] != **bytes) {
            let mut spliced = bundle.clone();
            spliced.files.insert(name.clone(), bytes.clone());
            refusal(&spliced, &trust);
            if name != bundle::MANIFEST {
                reseal(&mut spliced, &gateway.key);
                assert!(refusal(&spliced, &trust).step > 1, "{name}");
            }
        }
    }
}

#[test]
fn bundle_signed_again_by_another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, bundle) = good_day(folder.path());
    let thief = SecretKey::new([66; 32]);
    let key = gateway.key.public();
    let mut signed = bundle.clone();
    let details: Statement<Details> =
        Statement::verify(&bundle.files[bundle::DETAILS], statement::DETAILS, &key).unwrap();
    let result: Statement<TestResult> =
        Statement::verify(&bundle.files[bundle::REPORT], statement::TEST_RESULT, &key).unwrap();
    let manifest: Statement<Manifest> =
        Statement::verify(&bundle.files[bundle::MANIFEST], statement::MANIFEST, &key).unwrap();
    signed.files.insert(bundle::DETAILS.into(), details.sign(&thief));
    signed.files.insert(bundle::REPORT.into(), result.sign(&thief));
    put(&mut signed, bundle::CHECKPOINT, &bundle.checkpoint(&key).unwrap().sign(&thief));
    signed.files.insert(bundle::MANIFEST.into(), manifest.sign(&thief));
    reseal(&mut signed, &thief);
    assert_eq!(refusal(&signed, &gateway.trust()).name, Name::WrongKey);
    // Even a reader who was given the thief's key sees that the log began with another one.
    let mut fooled = gateway.trust();
    fooled.key = thief.public();
    let refused = refusal(&signed, &fooled);
    assert_eq!((refused.step, refused.name), (7, Name::WrongKey));
}

/// A gateway that lies: it has the key, and writes into its log whatever statement it likes.
fn lie(folder: &std::path::Path, change: impl FnOnce(&mut Details)) -> (Gateway, Bundle) {
    let (honest, mut bundle) = good_day(&folder.join("honest"));
    let key = honest.key.public();
    let mut details: Statement<Details> =
        Statement::verify(&bundle.files[bundle::DETAILS], statement::DETAILS, &key).unwrap();
    change(&mut details.predicate);
    let result = details.predicate.report(Digest::of(&details.payload()));
    let mut liar = Gateway::new(&folder.join("log"), 1);
    liar.prepare();
    liar.live(1);
    let period = details.predicate.period;
    liar.put(Body::Report(Report {
        details: Digest::of(&details.payload()),
        from: period.from,
        report: Digest::of(&result.payload()),
        to: period.to,
    }));
    let size = liar.log.len();
    let last = liar.log.records_from(size - 1).unwrap().next().unwrap().unwrap();
    let mut records = lines(&bundle, bundle::RECORDS);
    *records.last_mut().unwrap() = String::from_utf8(last.bytes()).unwrap();
    put_lines(&mut bundle, bundle::RECORDS, &records);
    let tree = liar.log.tree().unwrap();
    let mut proof: bundle::Proof = canon::decode(&bundle.files[bundle::PROOF]).unwrap();
    for older in &mut proof.older {
        older.hashes = tree.inclusion(older.seq, size).into_iter().map(bundle::Base64Digest).collect();
    }
    proof.earlier.clear();
    bundle.files.insert(bundle::PROOF.into(), canon::encode(&proof));
    put(&mut bundle, bundle::CHECKPOINT, &liar.log.checkpoint(&liar.key));
    bundle.files.insert(bundle::DETAILS.into(), details.sign(&liar.key));
    bundle.files.insert(bundle::REPORT.into(), result.sign(&liar.key));
    let report = Digest::of(&result.payload());
    bundle.files.extend(sheshi_evidence::report::render(&details.predicate, &liar.catalogue, &liar.profile, report));
    reseal(&mut bundle, &liar.key);
    (liar, bundle)
}

#[test]
fn signed_verdict_that_does_not_follow_from_the_records_is_refused() {
    let refuse = |change: fn(&mut Details)| {
        let folder = tempfile::tempdir().unwrap();
        let (liar, bundle) = lie(folder.path(), change);
        let refused = refusal(&bundle, &liar.trust());
        (refused.step, refused.name, refused.place)
    };
    let folder = tempfile::tempdir().unwrap();
    let (liar, truth) = lie(folder.path(), |_| {});
    verify(&truth, &liar.trust()).unwrap();
    let wrong = |place: &str| (10, Name::WrongDetails, place.to_owned());
    assert_eq!(refuse(|details| details.verdict = Verdict::WithFindings), wrong("`verdict`"));
    assert_eq!(refuse(|details| details.coverage_ppm -= 1), wrong("`coverage_ppm`"));
    assert_eq!(refuse(|details| details.lab = true), wrong("`lab`"));
    assert_eq!(refuse(|details| details.lists[1].enforceable = 600), wrong("`lists`"));
    assert_eq!(refuse(|details| details.notes.push(sheshi_evidence::record::Note::VpnAllowed)), wrong("`notes`"));
    assert_eq!(refuse(|details| details.controls[0].probes[0].pass += 1), wrong("SH-05"));
    assert_eq!(refuse(|details| details.controls[1].state = Outcome::NotApplicable), wrong("SH-18"));
    let missing = (10, Name::ControlMissing, "SH-18".to_owned());
    assert_eq!(refuse(|details| drop(details.controls.remove(1))), missing);
}

#[test]
fn failure_in_the_records_reaches_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::new(&folder.path().join("log"), 1);
    gateway.prepare();
    for wait in [0, 2_000, 5 * MINUTE] {
        gateway.pass_time(wait);
        gateway.probe("SH-05", "p1", "vlan20", Outcome::Fail);
    }
    gateway.live(1);
    let bundle = gateway.report(days(0, 1), &[]);
    let verified = verify(&bundle, &gateway.trust()).unwrap();
    assert_eq!(verified.details.verdict, Verdict::NotCompliant);
    let page = text(&bundle, "report.en.html");
    assert!(page.contains("NOT COMPLIANT") && page.contains("✗ FAIL"));
}

#[test]
fn next_bundle_continues_the_last_and_a_fork_is_seen() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut gateway, monday) = good_day(here.path());
    let trust = gateway.trust();
    gateway.live(1);
    let tuesday = gateway.report(days(1, 2), &[]);
    gateway.live(1);
    let wednesday = gateway.report(days(2, 3), &[]);
    let monday_size = monday.checkpoint(&trust.key).unwrap().size;
    let proved = gateway.report(days(2, 3), &[monday_size]);
    assert!(verify_after(&tuesday, &trust, Some(&monday)).is_ok());
    assert!(verify_after(&wednesday, &trust, Some(&tuesday)).is_ok());
    assert!(verify_after(&proved, &trust, Some(&monday)).is_ok());
    let name = |now, before| verify_after(now, &trust, Some(before)).unwrap_err().name;
    assert_eq!(name(&wednesday, &monday), Name::Gap);
    assert_eq!(name(&monday, &tuesday), Name::Shrunk);

    // The same key, another past: Monday's hourly probes were run again until they passed.
    let mut fork = Gateway::new(&there.path().join("log"), 1);
    fork.prepare();
    fork.put(Body::Clock(sheshi_evidence::record::Clock { source: "ntp".into(), step_ms: 0 }));
    fork.live(2);
    let forked = fork.report(days(1, 2), &[monday_size]);
    verify(&forked, &trust).unwrap();
    assert_eq!(name(&forked, &monday), Name::Fork);
}

/// Whatever the format names is provoked at least once, here or in a test above; the list says by what.
#[test]
fn each_error_of_the_format_can_be_provoked() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, good, trust) = cosigned_day(&folder.path().join("a"));
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut provoke = |want: Name, bundle: &Bundle, trust: &Trust| {
        let refused = refusal(bundle, trust);
        assert_eq!(refused.name, want, "{refused}");
        seen.insert(want.text());
    };
    let changed = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle
    };
    let resealed = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = changed(change);
        reseal(&mut bundle, &gateway.key);
        bundle
    };
    let key = gateway.key.public();
    let manifest = |change: &dyn Fn(&mut Statement<Manifest>)| {
        let mut statement = Statement::verify(&good.files[bundle::MANIFEST], statement::MANIFEST, &key).unwrap();
        change(&mut statement);
        changed(&|bundle| drop(bundle.files.insert(bundle::MANIFEST.into(), statement.sign(&gateway.key))))
    };
    let replace = |name: &'static str, from: &'static str, to: &'static str| {
        resealed(&|bundle| {
            let changed = text(bundle, name).replacen(from, to, 1);
            assert_ne!(changed, text(bundle, name));
            put(bundle, name, &changed);
        })
    };
    provoke(Name::MissingFile, &changed(&|b| drop(b.files.remove("results.csv"))), &trust);
    provoke(Name::UnknownFile, &changed(&|b| put(b, "README", "")), &trust);
    provoke(Name::TooLarge, &changed(&|b| drop(b.files.insert("results.csv".into(), vec![0; (1 << 30) + 1]))), &trust);
    provoke(Name::NotCanonical, &changed(&|b| b.files.get_mut(bundle::MANIFEST).unwrap().push(b'\n')), &trust);
    let spoilt = text(&good, bundle::MANIFEST).replacen("\"payload\":\"eyJfd", "\"payload\":\"eyJfe", 1);
    provoke(Name::BadSignature, &changed(&|b| put(b, bundle::MANIFEST, &spoilt)), &trust);
    let other = Trust { key: SecretKey::new([9; 32]).public(), ..trust.clone() };
    provoke(Name::WrongKey, &good, &other);
    let details = good.files[bundle::DETAILS].clone();
    provoke(Name::WrongType, &changed(&|b| drop(b.files.insert(bundle::MANIFEST.into(), details.clone()))), &trust);
    provoke(Name::UnknownFormat, &manifest(&|statement| statement.predicate.renderer = 2), &trust);
    provoke(Name::FileChanged, &changed(&|b| put(b, "results.csv", "x")), &trust);
    provoke(Name::ManifestIncomplete, &manifest(&|statement| drop(statement.subject.pop())), &trust);
    provoke(Name::BadCheckpoint, &replace(bundle::CHECKPOINT, "\n\n", "\nextension\n\n"), &trust);
    provoke(Name::WrongSize, &manifest(&|statement| statement.predicate.size += 1), &trust);
    provoke(Name::BadRecord, &replace(bundle::RECORDS, "\"v\":1", "\"v\":2"), &trust);
    let shorter = |bundle: &mut Bundle| {
        let mut records = lines(bundle, bundle::RECORDS);
        records.remove(3);
        put_lines(bundle, bundle::RECORDS, &records);
    };
    provoke(Name::WrongSeq, &resealed(&shorter), &trust);
    provoke(Name::WrongGateway, &replace(bundle::RECORDS, "\"gw\":\"gw-0042\"", "\"gw\":\"gw-0043\""), &trust);
    provoke(Name::BrokenChain, &replace(bundle::RECORDS, "NXDOMAIN", "NODOMAIN"), &trust);
    let late = |bundle: &mut Bundle| {
        let mut records = lines(bundle, bundle::RECORDS);
        records[0] = records[0].replacen("\"mono\":", "\"mono\":9", 1);
        put_lines(bundle, bundle::RECORDS, &records);
    };
    provoke(Name::TimeRule, &resealed(&late), &trust);
    let last_changed = |bundle: &mut Bundle| {
        let mut records = lines(bundle, bundle::RECORDS);
        let last = records.last_mut().unwrap();
        let mut record: Record = canon::decode(last.as_bytes()).unwrap();
        record.mono += 1;
        *last = String::from_utf8(record.bytes()).unwrap();
        put_lines(bundle, bundle::RECORDS, &records);
    };
    provoke(Name::WrongRoot, &resealed(&last_changed), &trust);
    let no_proof = |bundle: &mut Bundle| {
        let mut proof: bundle::Proof = canon::decode(&bundle.files[bundle::PROOF]).unwrap();
        proof.older[0].hashes.pop();
        bundle.files.insert(bundle::PROOF.into(), canon::encode(&proof));
    };
    provoke(Name::BadProof, &resealed(&no_proof), &trust);
    let renamed = |bundle: &mut Bundle| {
        let mut checkpoint = bundle.checkpoint(&key).unwrap();
        checkpoint.origin = "wifi.example/other".into();
        put(bundle, bundle::CHECKPOINT, &checkpoint.sign(&gateway.key));
    };
    provoke(Name::WrongOrigin, &resealed(&renamed), &trust);
    let other_report = |bundle: &mut Bundle| {
        let mut details: Statement<Details> =
            Statement::verify(&bundle.files[bundle::DETAILS], statement::DETAILS, &key).unwrap();
        details.predicate.probes_run += 1;
        bundle.files.insert(bundle::DETAILS.into(), details.sign(&gateway.key));
    };
    provoke(Name::WrongReport, &resealed(&other_report), &trust);
    provoke(Name::WrongRendering, &replace("report.en.html", "COMPLIANT", "compliant"), &trust);
    provoke(Name::WrongCatalogue, &good, &Trust { catalogue: Trust::new(key.clone()).catalogue, ..trust.clone() });
    provoke(Name::WrongProfile, &good, &Trust { profiles: Vec::new(), ..trust.clone() });
    provoke(Name::NoKeyFor, &good, &Trust { people: Vec::new(), ..trust.clone() });
    provoke(Name::NoKeyFor, &good, &Trust { log_keys: Vec::new(), ..trust.clone() });
    provoke(Name::MissingCosignature, &changed(&|b| drop(b.files.remove(bundle::COSIGNED))), &trust);
    let swapped = Trust { log_keys: vec![SecretKey::new([51; 32]).public()], ..trust.clone() };
    provoke(Name::NoKeyFor, &good, &swapped);
    let cosigned = changed(&|b| b.files.get_mut(bundle::COSIGNED).unwrap().truncate(200));
    provoke(Name::BadCosignature, &cosigned, &trust);
    provoke(Name::NonceMissing, &good, &Trust { nonce: Some("other".into()), ..trust.clone() });
    let lists = |names| [("adult".to_owned(), names)].into();
    let empty = sheshi_evidence::sample::Names::new(Vec::new());
    provoke(Name::WrongList, &good, &Trust { lists: lists(empty), ..trust.clone() });
    let rest = [
        // In tests of their own.
        Name::ControlMissing,
        Name::WrongDetails,
        Name::Fork,
        Name::Shrunk,
        Name::Gap,
        Name::Edge,
        Name::WrongSample,
        Name::MissingTimeStamp,
        Name::BadTimeStamp,
    ];
    seen.extend(rest.map(Name::text));
    let all: BTreeSet<&str> = Name::ALL.iter().map(|name| name.text()).collect();
    assert_eq!(seen, all);
}

#[test]
fn sample_that_the_gateway_chose_is_refused() {
    let with = |change: &dyn Fn(&mut Sample)| {
        let folder = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::new(&folder.path().join("log"), 1);
        gateway.prepare();
        gateway.probe("SH-05", "p1", "vlan20", Outcome::Pass);
        gateway.sample(change);
        gateway.pass_time(HOUR);
        gateway.live(1);
        let bundle = gateway.report(days(0, 1), &[]);
        let mut trust = gateway.trust();
        trust.lists.insert("adult".into(), names());
        verify(&bundle, &trust).map_err(|refused| (refused.step, refused.name, refused.why))
    };
    assert_eq!(with(&|_| {}).map(|verified| verified.samples_drawn), Ok(2));
    let refused = |change: &dyn Fn(&mut Sample), why: &str| {
        let (step, name, found) = with(change).unwrap_err();
        assert_eq!((step, name), (12, Name::WrongSample));
        assert!(found.contains(why), "{found}");
    };
    refused(&|sample| sample.size -= 1, "seed is not over the records");
    refused(&|sample| sample.date = "2026-11-14".into(), "neither that of its time");
    refused(&|sample| sample.names = Digest::of(b"x"), "other names were drawn");
    refused(&|sample| sample.count = 19, "other names were drawn");
    refused(&|sample| sample.edition = "2026.1107".into(), "not in force");
    refused(&|sample| sample.list = "secret".into(), "never sampled");
    refused(&|sample| sample.misses = vec!["0".repeat(32)], "a miss is none of the names");
}

#[test]
fn report_with_a_false_edge_is_refused() {
    // The gateway leaves out the first hours of the day by starting its records later.
    let folder = tempfile::tempdir().unwrap();
    let (liar, bundle) = lie(folder.path(), |details| {
        details.period.from = details.period.from.plus_millis(-3 * HOUR);
    });
    let refused = refusal(&bundle, &liar.trust());
    assert_eq!((refused.step, refused.name), (8, Name::Edge), "{refused}");
}

#[test]
fn profile_of_the_city_decides() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::new(&folder.path().join("log"), 1);
    // No paper: SH-28 is not shown.
    gateway.pass_time(9 * DAY + 30 * MINUTE);
    gateway.probe("SH-18", "p1", "", Outcome::Pass);
    while gateway.now < start() {
        gateway.probe("SH-05", "p1", "vlan20", Outcome::Pass);
        gateway.pass_time(HOUR);
    }
    gateway.live(1);
    let strict = gateway.report(days(0, 1), &[]);
    assert_eq!(verify(&strict, &gateway.trust()).unwrap().details.verdict, Verdict::NotProven);
    let lax = PROFILE.replace(", \"SH-28\"", "");
    gateway.profile = Profile::parse(&lax, &gateway.catalogue).unwrap();
    let report = gateway.report(days(0, 1), &[]);
    assert_eq!(verify(&report, &gateway.trust()).unwrap().details.verdict, Verdict::Compliant);
}

#[test]
fn report_is_not_made_before_its_period_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, _) = good_day(folder.path());
    let (catalogue, profile) = (gateway.catalogue.clone(), gateway.profile.clone());
    let terms = Terms { catalogue: &catalogue, profile: &profile, people: &[], period: days(0, 2) };
    let stamp = gateway.stamp();
    let made = Bundle::make(&mut gateway.log, &gateway.key, terms, &[], stamp);
    assert!(made.unwrap_err().to_string().contains("period that is over"));
}

#[test]
fn records_before_the_clock_was_set_are_told_and_prove_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::new(&folder.path().join("log"), 1);
    gateway.prepare();
    gateway.live(1);
    // A new boot whose clock is not set yet: its passes prove nothing, and the report says so.
    gateway.restart_without_clock();
    gateway.probe("SH-05", "p1", "vlan20", Outcome::Pass);
    gateway.set_clock();
    gateway.live(1);
    let bundle = gateway.report(days(0, 2), &[]);
    let verified = verify(&bundle, &gateway.trust()).unwrap_or_else(|refused| panic!("{refused}"));
    // The boot record and the probe.
    assert_eq!(verified.details.time_unknown, 2);
    assert_eq!(verified.details.controls[0].probes[0].inconclusive, 1);
    assert_eq!(verified.details.verdict, Verdict::Compliant);
    assert!(text(&bundle, "report.en.html").contains("before the clock was set"));
    assert!(verified.details.changes.iter().any(|change| change.what == "clock"));
}

#[test]
fn what_stands_turns_red_with_a_failure_and_green_once_a_pass_was_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::new(&folder.path().join("log"), 1);
    gateway.prepare();
    gateway.live(1);
    let people = [gateway.person.public()];
    let stands = |gateway: &Gateway| {
        let period = Period { from: gateway.now.plus_millis(-DAY), to: gateway.now };
        let terms = Terms { catalogue: &gateway.catalogue, profile: &gateway.profile, people: &people, period };
        bundle::standing(&gateway.log, terms).unwrap().verdict
    };
    assert_eq!(stands(&gateway), Verdict::Compliant);
    for wait in [0, 2_000, 5 * MINUTE] {
        gateway.pass_time(wait);
        gateway.probe("SH-05", "p1", "vlan20", Outcome::Fail);
    }
    gateway.pass_time(1);
    assert_eq!(stands(&gateway), Verdict::NotCompliant);
    for verdict in [Verdict::NotProven, Verdict::Compliant] {
        gateway.probe("SH-05", "p1", "vlan20", Outcome::Pass);
        gateway.pass_time(5 * MINUTE);
        assert_eq!(stands(&gateway), verdict);
    }
}
