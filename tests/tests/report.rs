//! The certifier's folder, made by the gateway of a living hotspot and checked by the verifier that knows nothing of it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sheshi_tests::{Lab, Options};

/// `sheshi-verify`, built beside this test.
fn verify(bundle: &Path, key: &Path, tsa: &Path) -> Output {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().and_then(Path::parent).unwrap().join("sheshi-verify");
    Command::new(&program)
        .args([bundle.as_os_str(), "--key".as_ref(), key.as_os_str(), "--tsa".as_ref(), tsa.as_os_str()])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}: cargo build --bins first", program.display()))
}

#[test]
fn report_is_made_while_the_gateway_runs_and_from_its_log_when_it_does_not() {
    let lab = Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"));
    let config = lab.folder().join("gateway.toml");
    let key = lab.folder().join("state/evidence/gateway.pub.pem");
    // Known from the lab's folder, as a certifier knows it from the authority, never from the bundle.
    let tsa = lab.folder().join("internet/tsa/root.pem");
    let home = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let folder = home.path().join(name);
        let (config, out) = (config.to_str().unwrap(), folder.to_str().unwrap());
        let said = lab.sheshi(&["report", "--period", "1h", "-o", out, "--config", config]).unwrap();
        assert!(said.contains("NOT PROVEN") && said.contains("sheshi-verify"), "{said}");
        folder
    };
    let running = make("running");
    let checked = verify(&running, &key, &tsa);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    assert!(said.contains("time stamp  20"), "{said}");
    assert!(said.contains("LAB") && said.contains("Verdict in the signed report: NOT PROVEN"), "{said}");

    lab.stop("gateway").unwrap();
    let stopped = make("stopped");
    assert_eq!(verify(&stopped, &key, &tsa).status.code(), Some(0));
    assert_eq!(verify(&stopped, &lab.folder().join("portal.pem"), &tsa).status.code(), Some(2), "no key of a gateway");
}
