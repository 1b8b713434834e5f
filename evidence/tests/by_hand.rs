//! The script of `docs/verify-by-hand.md`, run as it stands there. Needs sh, openssl, jq and python3, and fails without.

mod made;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use made::*;
use sheshi_evidence::{bundle, bundle::Bundle, sign::SecretKey, tsp::Authority, verify::verify};

fn script(folder: &Path) -> PathBuf {
    let page = include_str!("../../docs/verify-by-hand.md");
    let script =
        page.split("```sh\n").nth(1).and_then(|rest| rest.split("```\n").next()).expect("the page has a script");
    let path = folder.join("verify-by-hand.sh");
    fs::write(&path, script).unwrap();
    path
}

fn openssl(folder: &Path, arguments: &str) {
    let run = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let run = run.expect("openssl must be installed");
    assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

/// A certificate authority, a stamping certificate, and a response over the bundle's checkpoint.
fn stamp(folder: &Path, bundle: &mut Bundle) {
    let config = "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=Stamps\n[stamp]\nextendedKeyUsage=critical,timeStamping\n\
                  [tsa]\ndefault_tsa=one\n[one]\nserial=serial\ndefault_policy=1.2.3.4.1\ndigests=sha256\ness_cert_id_alg=sha256\n";
    fs::write(folder.join("c.cnf"), config).unwrap();
    fs::write(folder.join("serial"), "01\n").unwrap();
    fs::write(folder.join("checkpoint"), &bundle.files[bundle::CHECKPOINT]).unwrap();
    openssl(folder, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out root.key");
    openssl(
        folder,
        "req -new -x509 -key root.key -out tsa-root.pem -days 3650 -subj /CN=Root -config c.cnf -addext basicConstraints=critical,CA:TRUE",
    );
    openssl(folder, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out tsa.key");
    openssl(folder, "req -new -key tsa.key -out tsa.csr -config c.cnf");
    openssl(
        folder,
        "x509 -req -in tsa.csr -CA tsa-root.pem -CAkey root.key -set_serial 7 -out tsa.pem -days 3650 -extfile c.cnf -extensions stamp",
    );
    openssl(folder, "ts -query -data checkpoint -sha256 -cert -out q.tsq");
    openssl(folder, "ts -reply -queryfile q.tsq -signer tsa.pem -inkey tsa.key -config c.cnf -sha256 -out r.tsr");
    bundle.files.insert(bundle::TIME_STAMP.into(), fs::read(folder.join("r.tsr")).unwrap());
}

struct Hand {
    folder: tempfile::TempDir,
    count: usize,
}

impl Hand {
    /// Whether the script accepts a bundle, and what it says.
    fn check(&mut self, bundle: &Bundle, key: &str, tsa: bool) -> (bool, String) {
        self.count += 1;
        let at = self.folder.path();
        let saved = at.join(format!("bundle{}", self.count));
        bundle.save(&saved).unwrap();
        let mut command = Command::new("sh");
        command.arg(script(at)).arg(&saved).arg(at.join(key));
        if tsa {
            command.arg(at.join("tsa-root.pem"));
        }
        let run = command.output().expect("sh must be installed");
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert!(!said.contains("not found"), "sh, openssl, jq and python3 must be installed: {said}");
        assert_eq!(run.status.success(), said.contains("\nVALID. "), "{said}");
        (run.status.success(), said)
    }
}

fn replaced(bundle: &Bundle, name: &str, from: &str, to: &str) -> Bundle {
    let mut changed = bundle.clone();
    let text = String::from_utf8(bundle.files[name].clone()).unwrap();
    assert!(text.contains(from), "{name}: {from}");
    changed.files.insert(name.into(), text.replacen(from, to, 1).into_bytes());
    changed
}

#[test]
fn script_on_the_page_accepts_what_is_good_and_refuses_what_is_not() {
    let mut hand = Hand { folder: tempfile::tempdir().unwrap(), count: 0 };
    let at = hand.folder.path().to_owned();
    let (gateway, mut good) = good_day(&at);
    stamp(&at, &mut good);
    fs::write(at.join("gw.pem"), gateway.key.public().pem()).unwrap();
    fs::write(at.join("other.pem"), SecretKey::new([9; 32]).public().pem()).unwrap();

    let (valid, said) = hand.check(&good, "gw.pem", true);
    assert!(valid && said.contains("15 OK") && said.contains("COMPLIANT (PASSED)"), "{said}");
    assert!(hand.check(&good, "gw.pem", false).0);
    // Both verifiers say the same.
    let mut trust = gateway.trust();
    trust.authority = Some(Authority::load(&at.join("tsa-root.pem")).unwrap());
    assert!(verify(&good, &trust).unwrap().time_stamp.is_some());

    let mut refuse = |bundle: &Bundle, key: &str, why: &str| {
        let (valid, said) = hand.check(bundle, key, true);
        assert!(!valid && said.contains(why), "want `{why}`, got: {said}");
        assert!(verify(bundle, &trust).is_err() || key != "gw.pem");
    };
    refuse(&good, "other.pem", "manifest: not signed by this gateway");
    refuse(
        &replaced(&good, bundle::DETAILS, "\"payload\":\"eyJ", "\"payload\":\"eyK"),
        "gw.pem",
        "details: not signed",
    );
    refuse(&replaced(&good, bundle::RECORDS, "NXDOMAIN", "NODOMAIN"), "gw.pem", "not the one that was signed");
    refuse(&replaced(&good, "results.csv", "pass", "fail"), "gw.pem", "not the one that was signed");
    refuse(&replaced(&good, bundle::CHECKPOINT, "\n\n", "\n\n\n"), "gw.pem", "not the one that was signed");
    let mut more = good.clone();
    more.files.insert("notes.txt".into(), Vec::new());
    refuse(&more, "gw.pem", "does not list exactly");
    let mut less = good.clone();
    less.files.remove(bundle::OLDER);
    refuse(&less, "gw.pem", "not the one that was signed");
    let mut unstamped = good.clone();
    let last = unstamped.files[bundle::TIME_STAMP].len() - 1;
    unstamped.files.get_mut(bundle::TIME_STAMP).unwrap()[last] ^= 1;
    refuse(&unstamped, "gw.pem", "time stamp does not fit");
    unstamped.files.remove(bundle::TIME_STAMP);
    refuse(&unstamped, "gw.pem", "time stamp does not fit");
}

#[test]
fn script_sees_through_a_manifest_that_was_signed_again() {
    let mut hand = Hand { folder: tempfile::tempdir().unwrap(), count: 0 };
    let at = hand.folder.path().to_owned();
    let (gateway, good) = good_day(&at);
    fs::write(at.join("gw.pem"), gateway.key.public().pem()).unwrap();
    let mut refuse = |mut bundle: Bundle, why: &str| {
        reseal(&mut bundle, &gateway.key);
        let (valid, said) = hand.check(&bundle, "gw.pem", false);
        assert!(!valid && said.contains(why), "want `{why}`, got: {said}");
    };
    refuse(replaced(&good, bundle::RECORDS, "NXDOMAIN", "NODOMAIN"), "is not the one that record");
    refuse(replaced(&good, bundle::RECORDS, "\"v\":1}\n", "\"v\": 1}\n"), "is not canonical");
    refuse(replaced(&good, bundle::OLDER, "Main", "Mean"), "record 1 is not in the log");
    let mut shorter = good.clone();
    let records = &good.files[bundle::RECORDS];
    let end = records[..records.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    shorter.files.insert(bundle::RECORDS.into(), records[..end].to_vec());
    refuse(shorter, "do not give the root");
}
