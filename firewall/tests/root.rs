//! What needs the real root: other accounts, forced socket buffers. Each test makes its namespaces itself; without root it
//! fails and says so.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use common::{network, square};
use lab::*;
use sheshi_firewall::{Guard, Ruleset};

const NOBODY: &str = "65534";
const PEER: &str = "SHESHI_FIREWALL_PEER";

/// Whether somebody with the account `nobody` gets an answer from the guard: this binary, run again under it.
fn nobody_is_heard(lab: &Lab) -> bool {
    let output = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "root_stage_peer", "--nocapture"])
        .env(PEER, lab.socket())
        .output()
        .expect("setpriv from util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("heard: "), "{text}");
    text.contains("heard: true")
}

#[test]
fn root_stage_peer() {
    // Alone it has nobody to speak to; `nobody_is_heard` gives it a socket.
    let path = std::env::var_os(PEER).unwrap_or_else(|| "/nonexistent/guard.sock".into());
    println!("heard: {}", Guard::connect(path, Duration::from_secs(5)).is_ok());
}

#[test]
fn root_stage_stranger_account_is_hung_up_on() {
    root_lab("root_stage_stranger_account_is_hung_up_on", |lab| {
        fs::set_permissions(lab.socket().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
        let guard = lab.guarding(&square());
        assert!(!nobody_is_heard(lab));
        guard.kill();
        let guard = lab.guard_with(&["--allow-uid", NOBODY]);
        assert!(nobody_is_heard(lab));
        assert!(guard.health().unwrap().matches);
    });
}

#[test]
fn root_stage_buffers_are_forced_and_no_promise_is_weaker() {
    root_lab("root_stage_buffers_are_forced_and_no_promise_is_weaker", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut ruleset = Ruleset { generation: 8, ..square() };
        ruleset.block =
            (0..=255_u8).flat_map(|a| (0..=99_u8).map(move |b| network(&format!("100.{a}.{b}.1")))).collect();
        ruleset.block.push(network(WEB4));
        guard.apply(&ruleset).unwrap();
        let health = guard.health().unwrap();
        assert!(health.matches && health.generation == 8, "{}", health.difference);
        assert_eq!(lab.guest.tcp(WEB4, 443), Err(Failure::Refused));
        assert_eq!(lab.guest.tcp(WEB4, 4433).as_deref(), Ok("internet"));
        // Where the kernel is too old for a table that outlives its owner, the guard must say so.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let version: Vec<u32> = release.split(['.', '-']).take(2).map(|part| part.parse().unwrap()).collect();
        let expected = usize::from((version[0], version[1]) < (6, 9));
        assert_eq!(health.weaker_promises.len(), expected, "{:?}", health.weaker_promises);
    });
}
