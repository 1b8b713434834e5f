//! A bundle of which one file was changed by whoever has the gateway's key, and signed again: it is refused, unless the change is in
//! what others add later. So are records, checkpoints, proofs and time stamps alone.

use std::{path::Path, sync::LazyLock};

use sheshi_evidence::{
    Digest,
    bundle::{self, Bundle, Proof},
    canon,
    control::Catalogue,
    note::Checkpoint,
    profile::Profile,
    record::Record,
    sample::Names,
    sign::{PublicKey, SecretKey},
    statement::{self, Manifest, Resource, Statement},
    tsp::Authority,
    verify::{Trust, verify},
};

struct Good {
    bundle: Bundle,
    trust: Trust,
    key: SecretKey,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evidence/testdata");
    let read = |name: &str| {
        let path = folder.join("keys").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let public = |name: &str| PublicKey::parse(&read(name)).expect("a key");
    let mut trust = Trust::new(public("gateway.pub.pem"));
    trust.catalogue = Catalogue::parse(&read("catalogue.toml")).expect("a catalogue");
    trust.profiles = vec![Profile::parse(&read("profile.toml"), &trust.catalogue).expect("a profile")];
    trust.people = vec![public("person.pub.pem")];
    trust.log_keys = vec![public("witness.pub.pem")];
    trust.lists.insert("adult".into(), Names::parse(&read("adult.txt")).expect("names"));
    let key = (0..=u8::MAX).map(|n| SecretKey::new([n; 32])).find(|key| key.public() == trust.key);
    let bundle = Bundle::load(&folder.join("good")).expect("the good bundle");
    verify(&bundle, &trust).expect("the good bundle is good");
    Good { bundle, trust, key: key.expect("the key of the test data") }
});

/// Signs a manifest of the files there are.
fn seal(bundle: &mut Bundle, key: &SecretKey) {
    let manifest = &bundle.files[bundle::MANIFEST];
    let mut manifest: Statement<Manifest> =
        Statement::verify(manifest, statement::MANIFEST, &key.public()).expect("the good manifest");
    let outside = [bundle::MANIFEST, bundle::COSIGNED, bundle::TIME_STAMP];
    let inside = bundle.files.iter().filter(|(name, _)| !outside.contains(&name.as_str()));
    manifest.subject = inside.map(|(name, bytes)| Resource::new(name.clone(), Digest::of(bytes))).collect();
    bundle.files.insert(bundle::MANIFEST.into(), manifest.sign(key));
}

/// The first byte: below 64 the number of a file that the rest takes the place of; below 128 the number of a file and then, in four
/// bytes each, changes to it; else what the rest is read as alone.
pub(crate) fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    if *how >= 128 {
        return alone(*how, rest);
    }
    let good = &*GOOD;
    let mut bundle = good.bundle.clone();
    let number = usize::from(how % 64) % bundle.files.len();
    let (name, old) = good.bundle.files.iter().nth(number).expect("a file of this number");
    let mut new = if *how < 64 { rest.to_vec() } else { old.clone() };
    if *how >= 64 && !new.is_empty() {
        for [a, b, c, value] in rest.as_chunks::<4>().0 {
            let at = (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)) % new.len();
            new[at] = *value;
        }
    }
    let same = new == *old;
    bundle.files.insert(name.clone(), new);
    let signed = name != bundle::MANIFEST;
    if signed {
        seal(&mut bundle, &good.key);
    }
    let outside = [bundle::COSIGNED, bundle::TIME_STAMP].contains(&name.as_str());
    let accepted = verify(&bundle, &good.trust).is_ok();
    assert!(!accepted || same || outside, "a changed {name} was accepted");
}

fn alone(how: u8, bytes: &[u8]) {
    match how % 4 {
        0 => {
            if let Ok(record) = Record::parse(bytes) {
                assert_eq!(record.bytes(), bytes, "a record has one spelling");
            }
        }
        1 => assert!(
            Checkpoint::verify(bytes, &GOOD.trust.key).is_err()
                || bytes.starts_with(&GOOD.bundle.files[bundle::CHECKPOINT])
        ),
        2 => {
            if let Ok(proof) = canon::decode::<Proof>(bytes) {
                assert_eq!(canon::encode(&proof), bytes, "a proof has one spelling");
            }
        }
        _ => {
            let pem = include_str!("../testdata/authority.pem");
            let authority = Authority::parse(pem).expect("a certificate");
            assert!(authority.verify(bytes, b"what nobody stamped").is_err());
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let files = &GOOD.bundle.files;
    let mut seeds = Vec::new();
    for (number, bytes) in files.values().enumerate() {
        if bytes.len() < 16_384 {
            seeds.push([&[number as u8], &bytes[..]].concat());
        }
        seeds.push(vec![64 + number as u8, 0, 0, 40, b'x']);
    }
    let lines = files[bundle::RECORDS].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut kinds = std::collections::BTreeMap::new();
    for line in lines {
        kinds.entry(line.len() / 40).or_insert_with(|| [&[128], line].concat());
    }
    seeds.extend(kinds.into_values());
    seeds.push([&[129], &files[bundle::CHECKPOINT][..]].concat());
    seeds.push([&[130], &files[bundle::PROOF][..]].concat());
    seeds.push([&[131], &include_bytes!("../testdata/response.tsr")[..]].concat());
    seeds
}
