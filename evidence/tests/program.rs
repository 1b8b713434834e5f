//! `sheshi-verify` as a certifier runs it: arguments, words and exit codes.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn run(bundle: &Path, more: &[&str]) -> Output {
    let option = |name: &str, file: &str| [name.to_owned(), testdata(&format!("keys/{file}")).display().to_string()];
    Command::new(env!("CARGO_BIN_EXE_sheshi-verify"))
        .arg(bundle)
        .args(option("--key", "gateway.pub.pem"))
        .args(option("--catalogue", "catalogue.toml"))
        .args(option("--profile", "profile.toml"))
        .args(option("--person-key", "person.pub.pem"))
        .args(option("--log-key", "witness.pub.pem"))
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn good_bundle_is_valid_and_exits_with_0() {
    let list = format!("adult={}", testdata("keys/adult.txt").display());
    let output = run(&testdata("good"), &["--nonce", "n-1234", "--list", &list]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("VALID\nVerdict in the signed report: COMPLIANT\n"), "{said}");
    assert!(said.contains("witness.example/city") && said.contains("1 drawn again"), "{said}");
    let json = run(&testdata("good"), &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json["valid"].as_bool(), json["verdict"].as_str()), (Some(true), Some("COMPLIANT")));
}

#[test]
fn each_bad_bundle_is_refused_by_name_and_exits_with_1() {
    let mut count = 0;
    for entry in std::fs::read_dir(testdata("bad")).unwrap() {
        let bad = entry.unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        let copy = |from: &Path| {
            for entry in std::fs::read_dir(from).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
            }
        };
        copy(&testdata("good"));
        copy(&bad);
        let expect = std::fs::read_to_string(bad.join("EXPECT")).unwrap();
        std::fs::remove_file(folder.path().join("EXPECT")).unwrap();
        if let Ok(gone) = std::fs::read_to_string(bad.join("REMOVED")) {
            std::fs::remove_file(folder.path().join("REMOVED")).unwrap();
            gone.lines().for_each(|name| std::fs::remove_file(folder.path().join(name)).unwrap());
        }
        let output = run(folder.path(), &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{}: {}", bad.display(), said(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let told = format!(
            "step {}\nerror {}\nplace {}\n",
            json["step"],
            json["error"].as_str().unwrap(),
            json["place"].as_str().unwrap()
        );
        assert_eq!(told, expect, "{}", bad.display());
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn what_cannot_be_checked_exits_with_2() {
    for (bundle, more, why) in [
        ("nowhere", &[][..], "could not read the bundle"),
        ("good", &["--tsa", "/nowhere.pem"], "/nowhere.pem"),
        ("good", &["--kez", "x"], "there is no option --kez"),
        ("good", &["--nonce"], "wants a value"),
        ("good", &["--key", "x"], "only once"),
        ("good", &["second"], "give one BUNDLE"),
        ("good", &["--list", "adult"], "--list ID=FILE"),
    ] {
        let output = run(&testdata(bundle), more);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{more:?}: {}", said(&output));
        assert!(!said(&output).contains("\nVALID"));
    }
}

#[test]
fn bundle_is_never_valid_without_a_key() {
    let output = Command::new(env!("CARGO_BIN_EXE_sheshi-verify")).arg(testdata("good")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("never taken from the bundle"));
}
