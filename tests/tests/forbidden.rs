//! A machine that gives no namespaces is told from one that does, and the lab says what to switch on.

use std::process::Command;

#[test]
fn lab_names_the_switch_that_forbids_it() {
    // In a user namespace of its own this process may forbid further ones without touching the machine.
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces && exec {} --lab {} up --naive",
        env!("CARGO_BIN_EXE_sheshi-lab"),
        tempfile::tempdir().unwrap().path().display(),
    );
    let output = Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("sudo sysctl -w user.max_user_namespaces="), "{said}");
}
