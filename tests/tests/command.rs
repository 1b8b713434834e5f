//! `sheshi-lab` as a person uses it: up, exec, status, down, and nothing left behind however it ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sheshi_tests::until;

fn lab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheshi-lab"));
    command.env_remove("SHESHI_LAB").arg("--lab").arg(folder).args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    lab(folder, arguments).output().unwrap()
}

/// Starts a lab and waits until it says what to try.
fn up(folder: &Path) -> Child {
    let mut up = lab(folder, &["up", "--naive"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let said: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.contains("Ctrl-C")).collect();
    assert!(said.iter().any(|line| line.contains("exec") && line.contains("guest1")), "{said:?}");
    up
}

/// Processes that have this folder among their arguments.
fn processes_of(folder: &Path) -> Vec<String> {
    let arguments = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).ok();
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(arguments);
    all.filter(|arguments| arguments.contains(folder.to_str().unwrap())).collect()
}

fn assert_nothing_is_left(folder: &Path) {
    until("the lab to be gone", Duration::from_secs(5), || {
        (!folder.exists() && processes_of(folder).is_empty()).then_some(())
    })
    .unwrap_or_else(|problem| panic!("{problem}: {:?}", processes_of(folder)));
}

#[test]
fn person_steps_in_as_a_guest_and_ends_the_lab() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("lab");
    let mut child = up(&folder);
    let second = run(&folder, &["up", "--naive"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("a lab is running already"), "{second:?}");
    let address = run(&folder, &["exec", "guest1", "--", "ip", "-4", "-brief", "addr", "show", "eth0"]);
    assert!(String::from_utf8_lossy(&address.stdout).contains("10.77."), "{address:?}");
    let resolv = run(&folder, &["exec", "guest2", "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(String::from_utf8_lossy(&resolv.stdout), "nameserver 10.77.0.1\n");
    assert_eq!(run(&folder, &["exec", "guest1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let nobody = run(&folder, &["exec", "guest9", "--", "true"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("gateway, guest1, guest2, internet"), "{nobody:?}");
    let status: serde_json::Value = serde_json::from_slice(&run(&folder, &["status", "--json"]).stdout).unwrap();
    assert!(status["processes"]["internet"]["pid"].is_number(), "{status}");
    assert!(run(&folder, &["down"]).status.success());
    assert!(child.wait().unwrap().success(), "`up` noticed that the lab was ended");
    assert_nothing_is_left(&folder);
    let gone = run(&folder, &["exec", "guest1", "--", "true"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("sheshi-lab up"), "{gone:?}");
}

#[test]
fn nothing_is_left_behind_however_the_lab_ends() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("lab");
        let mut child = up(&folder);
        assert!(processes_of(&folder).len() >= 4, "the probe is blind");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        child.wait().unwrap();
        assert_nothing_is_left(&folder);
    }
}

#[test]
fn folder_of_somebody_else_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.txt"), "years of work").unwrap();
    let refused = run(home.path(), &["up", "--naive"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(home.path().join("thesis.txt").exists());
}
