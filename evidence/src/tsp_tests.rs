use std::{fs, path::Path, process::Command};

use super::*;

/// Runs openssl in a folder; without openssl the test fails.
fn openssl(folder: &Path, arguments: &str) {
    let run = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let run = run.expect("openssl must be installed");
    assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

const CONFIG: &str = "\
[req]
distinguished_name=dn
prompt=no
[dn]
CN=Test authority
[stamp]
extendedKeyUsage=critical,timeStamping
keyUsage=critical,digitalSignature
[web]
extendedKeyUsage=serverAuth
[tsa]
default_tsa=tsa1
[tsa1]
serial=serial
default_policy=1.2.3.4.1
digests=sha256
accuracy=secs:1
ess_cert_id_alg=sha256
";

struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    /// A root, a stamping certificate it issued with these extensions, and a response over `checkpoint`.
    fn new(key: &str, extensions: &str, signer_digest: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("c.cnf"), CONFIG).unwrap();
        fs::write(at.join("serial"), "01\n").unwrap();
        fs::write(at.join("checkpoint"), "text").unwrap();
        openssl(at, &format!("genpkey {key} -out root.key"));
        openssl(at, "req -new -x509 -key root.key -out root.pem -days 3650 -subj /CN=Root -config c.cnf -sha256");
        openssl(at, &format!("genpkey {key} -out tsa.key"));
        openssl(at, "req -new -key tsa.key -out tsa.csr -config c.cnf");
        openssl(
            at,
            &format!(
                "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -set_serial 7 -out tsa.pem -days 3650 -sha256 -extfile c.cnf -extensions {extensions}"
            ),
        );
        fs::write(at.join("q.tsq"), query(b"text")).unwrap();
        openssl(
            at,
            &format!(
                "ts -reply -queryfile q.tsq -signer tsa.pem -inkey tsa.key -config c.cnf -{signer_digest} {options}-out r.tsr"
            ),
        );
        Self { folder }
    }

    fn authority(&self, name: &str) -> Authority {
        Authority::load(&self.folder.path().join(name)).unwrap()
    }

    fn response(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("r.tsr")).unwrap()
    }
}

const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

#[test]
fn time_stamp_of_the_given_authority_or_one_it_issued_is_accepted() {
    for (key, digest) in [(EC, "sha256"), ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "sha512")] {
        let made = Made::new(key, "stamp", digest, "");
        for authority in ["tsa.pem", "root.pem"] {
            let at = made.authority(authority).verify(&made.response(), b"text").unwrap();
            assert!(at.millis() > 1_700_000_000_000);
            assert_eq!(
                made.authority(authority).verify(&made.response(), b"texT"),
                Err(TspError("stamps another checkpoint"))
            );
        }
        let other = Made::new(key, "stamp", digest, "");
        assert!(other.authority("root.pem").verify(&made.response(), b"text").is_err());
        assert!(other.authority("tsa.pem").verify(&made.response(), b"text").is_err());
    }
}

#[test]
fn every_changed_bit_cut_or_added_byte_is_refused() {
    let made = Made::new(EC, "stamp", "sha256", "-chain root.pem ");
    let response = made.response();
    let authority = made.authority("root.pem");
    authority.verify(&response, b"text").unwrap();
    for at in 0..response.len() {
        for bit in 0..8 {
            let mut changed = response.clone();
            changed[at] ^= 1 << bit;
            assert!(authority.verify(&changed, b"text").is_err(), "bit {bit} of byte {at}");
        }
        assert!(authority.verify(&response[..at], b"text").is_err(), "cut at {at}");
        let mut longer = response.clone();
        longer.insert(at, 0);
        assert!(authority.verify(&longer, b"text").is_err(), "added at {at}");
    }
    assert!(authority.verify(&[&response[..], &[0]].concat(), b"text").is_err());
}

#[test]
fn certificate_that_is_not_for_time_stamps_is_refused() {
    // openssl itself refuses to stamp with it, so the token is made with a fit certificate of the same name and key.
    let made = Made::new(EC, "stamp", "sha256", "");
    let at = made.folder.path();
    openssl(
        at,
        "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -set_serial 7 -out web.pem -days 3650 -sha256 -extfile c.cnf -extensions web",
    );
    let der = |name: &str| {
        openssl(at, &format!("x509 -in {name}.pem -outform DER -out {name}.der"));
        fs::read(at.join(format!("{name}.der"))).unwrap()
    };
    let (mut fit, mut unfit) = (Der(&[]), Der(&[]));
    let (fit_der, unfit_der) = (der("tsa"), der("web"));
    (fit.0, unfit.0) = (&fit_der, &unfit_der);
    let (fit, unfit) = (Certificate::parse(&mut fit).unwrap(), Certificate::parse(&mut unfit).unwrap());
    let root = made.authority("root.pem").der;
    let root = Certificate::parse(&mut Der(&root)).unwrap();
    assert_eq!(fit.name, unfit.name);
    assert!(trusted(&root, &[fit], &unfit.name).is_ok());
    let name = unfit.name.clone();
    assert!(trusted(&root, &[unfit], &name).is_err());
}

#[test]
fn query_is_what_openssl_would_ask_but_for_its_nonce() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("checkpoint"), "text").unwrap();
    openssl(folder.path(), "ts -query -data checkpoint -sha256 -cert -no_nonce -out q.tsq");
    assert_eq!(fs::read(folder.path().join("q.tsq")).unwrap(), query(b"text"));
}
