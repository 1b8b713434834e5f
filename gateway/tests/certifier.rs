//! `docs/certifier.md`, run as it stands there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn steps() -> Vec<String> {
    let page = include_str!("../../docs/certifier.md");
    page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A gateway that has a hashed list and no guests, and a folder that a certifier works in.
fn place(folder: &Path) {
    let sheshi = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    sheshi("adult.key", &"5a".repeat(32));
    sheshi("adult.hashes", &format!("{}\n", "00".repeat(32)));
    sheshi(
        "policy.toml",
        "version = 1\ngeneration = 1\n[list.adult]\nfile = \"adult.hashes\"\nformat = \"hashed\"\nkey_file = \"adult.key\"\ncategory = \"adult\"\n",
    );
    let state = folder.join("state");
    sheshi(
        "gateway.toml",
        &format!(
            "version = 1\nsite = \"Square\"\nstate = {state:?}\nrun = {:?}\npolicy = \"policy.toml\"\n\
             [network]\nguests = \"br-guests\"\nuplink = [\"eth0\"]\n[dns]\nupstreams = [\"192.0.2.1:53\"]\n\
             [portal]\nname = \"wifi.example.org\"\norganisation = \"City\"\ncontact = \"wifi@example.org\"\n\
             [control]\nsocket = {:?}\n[evidence]\ngateway = \"gw-1\"\nlab = true\npeople = [PEOPLE]\n",
            folder.join("run"),
            folder.join("control.sock"),
        ),
    );
}

/// The city names the certifier's key once it has it.
fn people(folder: &Path, people: &str) {
    let path = folder.join("gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("people = ").unwrap();
    fs::write(&path, format!("{head}people = [{people}]\n")).unwrap();
}

/// Runs one block, with our programs first on the path.
fn run(folder: &Path, step: &str) -> Output {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_sheshi")).parent().unwrap().to_owned();
    assert!(beside.join("sheshi-verify").exists(), "{}: cargo build --bins first", beside.display());
    let path = format!("{}:{}", beside.display(), std::env::var("PATH").unwrap());
    Command::new("sh").args(["-euc", step]).current_dir(folder).env("PATH", path).output().unwrap()
}

#[test]
fn page_for_the_certifier_works_as_it_stands() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    place(folder);
    people(folder, "");
    let mut said = Vec::new();
    for step in steps() {
        let output = run(folder, &step);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{step}\n{text}");
        said.push(text);
        if step.contains("genpkey") {
            // Before the city names the key, the statement is refused.
            let early = run(folder, "sheshi attest enter paper.json --config gateway.toml");
            assert_eq!(early.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&early.stderr).contains("not signed by a person of this gateway"));
            people(folder, "\"person.pub.pem\"");
        }
    }
    let all = said.concat();
    assert!(all.contains("100 of 100 blocked, 100.0 %"), "{all}");
    assert!(all.ends_with("Verdict in the signed report: NOT PROVEN\n"), "{all}");
    // The gateway holds hashes, and of the names nothing.
    let names = fs::read_to_string(folder.join("challenge/names.txt")).unwrap();
    let (held, log) = (fs::read_to_string(folder.join("adult.hashes")).unwrap(), folder.join("state/evidence/log"));
    let written: String = fs::read_dir(log)
        .unwrap()
        .map(|entry| String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap()).into_owned())
        .collect();
    assert!(names.lines().all(|name| !held.contains(name) && !written.contains(name.split('.').next().unwrap())));
    assert_eq!(held.lines().count(), 101);
    let report = fs::read_to_string(folder.join("report/results.csv")).unwrap();
    let row = report.lines().find(|line| line.starts_with("\"SH-05\",\"p4\"")).unwrap();
    assert!(row.contains("\"pass\""), "the statement counts: {row}");
}

#[test]
fn statement_about_what_no_person_can_say_is_refused_with_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    let sign = "umask 077; openssl genpkey -algorithm ed25519 -out k 2>/dev/null; sheshi attest sign SH-05";
    for (rest, want) in [
        ("p1 --key k --by A --text B --from 2026-01-01 --to 2027-01-01 -o p", "not for a person"),
        ("p4 --key k --by A --text B --from 2026-01-01 --to 2027-01-01 -o p", "--figure"),
        (
            "p4 --key k --by A --text B --figure asked=1 --figure blocked_ppm=1 --from 2027-01-01 --to 2026-01-01 -o p",
            "--to",
        ),
    ] {
        let output = run(home.path(), &format!("{sign} {rest}"));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(want), "{output:?}");
    }
}
