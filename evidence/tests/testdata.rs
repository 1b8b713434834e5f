//! Bundles for other verifiers: a good one and what changes make it bad, with the name of the error. All keys and times
//! are fixed, so the files are always the same; `SHESHI_BLESS=1` writes them anew.

mod made;

use std::{collections::BTreeMap, fs, path::PathBuf};

use made::*;
use sheshi_evidence::{
    bundle::{self, Bundle},
    canon,
    sign::{PublicKey, SecretKey},
    verify::{Trust, verify},
};

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// What the reader brings, by file name.
fn keys(gateway: &Gateway) -> BTreeMap<String, Vec<u8>> {
    [
        ("gateway.pub.pem", gateway.key.public().pem()),
        ("person.pub.pem", gateway.person.public().pem()),
        ("witness.pub.pem", SecretKey::new([50; 32]).public().pem()),
        ("catalogue.toml", CATALOGUE.to_owned()),
        ("catalogue.json", String::from_utf8(canon::encode(&gateway.catalogue)).unwrap()),
        ("profile.toml", PROFILE.to_owned()),
        ("profile.json", String::from_utf8(canon::encode(&gateway.profile)).unwrap()),
        ("adult.txt", {
            let mut names: Vec<String> = (0..500).map(|i| format!("adult{i}.example\n")).collect();
            names.sort();
            names.concat()
        }),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into()
}

fn good(folder: &std::path::Path) -> (Gateway, Bundle) {
    let (gateway, mut bundle) = good_day(folder);
    let checkpoint = bundle.checkpoint(&gateway.key.public()).unwrap();
    let at = start().plus_millis(2 * DAY);
    bundle.add_cosignature(&checkpoint.cosign("witness.example/city", &SecretKey::new([50; 32]), at));
    (gateway, bundle)
}

/// Name, changed bundle, and the error's name and place.
fn bad(gateway: &Gateway, good: &Bundle) -> Vec<(&'static str, Bundle)> {
    let replaced = |name: &str, from: &str, to: &str| {
        let mut changed = good.clone();
        let text = String::from_utf8(good.files[name].clone()).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        changed.files.insert(name.into(), text.replacen(from, to, 1).into_bytes());
        changed
    };
    let resealed = |mut bundle: Bundle| {
        reseal(&mut bundle, &gateway.key);
        bundle
    };
    let without = |name: &str| {
        let mut changed = good.clone();
        changed.files.remove(name);
        changed
    };
    vec![
        ("record-changed", replaced(bundle::RECORDS, "NXDOMAIN", "NODOMAIN")),
        ("record-changed-resealed", resealed(replaced(bundle::RECORDS, "NXDOMAIN", "NODOMAIN"))),
        ("record-with-a-space", resealed(replaced(bundle::RECORDS, "\"v\":1}", "\"v\": 1}"))),
        ("older-record-changed", resealed(replaced(bundle::OLDER, "Main", "Mean"))),
        ("older-records-missing", without(bundle::OLDER)),
        ("page-changed", replaced("report.en.html", "<b>COMPLIANT", "<b>NOT COMPLIANT")),
        ("page-changed-resealed", resealed(replaced("report.en.html", "<b>COMPLIANT", "<b>NOT COMPLIANT"))),
        ("details-of-a-forger", replaced(bundle::DETAILS, "\"payload\":\"eyJf", "\"payload\":\"eyJg")),
        ("cosignature-missing", without(bundle::COSIGNED)),
        ("cosignature-changed", replaced(bundle::COSIGNED, "witness.example/city", "witness.example/cite")),
    ]
}

fn trust(folder: &std::path::Path) -> Trust {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let key = |name: &str| PublicKey::parse(&read(name)).unwrap();
    let mut trust = Trust::new(key("gateway.pub.pem"));
    trust.catalogue = sheshi_evidence::control::Catalogue::parse(&read("catalogue.toml")).unwrap();
    trust.profiles = vec![sheshi_evidence::profile::Profile::parse(&read("profile.toml"), &trust.catalogue).unwrap()];
    trust.people = vec![key("person.pub.pem")];
    trust.log_keys = vec![key("witness.pub.pem")];
    trust.lists.insert("adult".into(), sheshi_evidence::sample::Names::parse(&read("adult.txt")).unwrap());
    trust
}

/// A bad bundle is kept as what differs from the good one: changed files, and names of those taken away.
fn differences(good: &Bundle, bad: &Bundle) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<_, _> = bad
        .files
        .iter()
        .filter(|(name, bytes)| good.files.get(*name) != Some(bytes))
        .map(|(n, b)| (n.clone(), b.clone()))
        .collect();
    let gone: String =
        good.files.keys().filter(|name| !bad.files.contains_key(*name)).map(|name| format!("{name}\n")).collect();
    if !gone.is_empty() {
        files.insert("REMOVED".into(), gone.into_bytes());
    }
    files
}

#[test]
fn testdata_is_what_this_room_makes_and_each_bundle_gets_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, good) = good(folder.path());
    let mut tree: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    tree.extend(keys(&gateway).into_iter().map(|(name, bytes)| (format!("keys/{name}"), bytes)));
    tree.extend(good.files.iter().map(|(name, bytes)| (format!("good/{name}"), bytes.clone())));
    // The reader's side as another verifier would have it: from files.
    let brought = folder.path().join("keys");
    fs::create_dir(&brought).unwrap();
    keys(&gateway).iter().for_each(|(name, bytes)| fs::write(brought.join(name), bytes).unwrap());
    let trust = trust(&brought);
    assert_eq!(verify(&good, &trust).unwrap().samples_drawn, 1);
    for (name, bad) in bad(&gateway, &good) {
        let refused = verify(&bad, &trust).expect_err(name);
        let expect = format!("step {}\nerror {}\nplace {}\n", refused.step, refused.name, refused.place);
        tree.insert(format!("bad/{name}/EXPECT"), expect.into_bytes());
        tree.extend(differences(&good, &bad).into_iter().map(|(file, bytes)| (format!("bad/{name}/{file}"), bytes)));
    }
    if std::env::var_os("SHESHI_BLESS").is_some() {
        for part in ["keys", "good", "bad"] {
            let _ = fs::remove_dir_all(testdata().join(part));
        }
        for (name, bytes) in &tree {
            let path = testdata().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    for (name, bytes) in &tree {
        let path = testdata().join(name);
        let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == *bytes, "{} is not what is made now; SHESHI_BLESS=1 writes it anew", path.display());
    }
}
