//! The command line as a stranger meets it: what it prints, and with which code it ends.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn sheshi(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sheshi")).args(args).current_dir(folder).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a policy that blocks two categories.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("adult.txt", "# names\nbad.example\nworse.example\n");
    write("bets.hosts", "0.0.0.0 bet.example\n");
    write(
        "policy.toml",
        "version = 1\nallow = [\"good.bet.example\"]\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n\
         [list.bets]\nfile = \"bets.hosts\"\ncategory = \"gambling\"\n",
    );
    folder
}

#[test]
fn right_policy_is_said_to_be_right() {
    let folder = folder();
    let output = sheshi(folder.path(), &["check", "policy.toml"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "policy.toml: the policy, with its lists, is right\n"));
}

#[test]
fn every_problem_of_every_file_is_told_and_the_code_is_2() {
    let folder = folder();
    fs::write(folder.path().join("broken.toml"), "version = 1\nalow = []\n[list.adult]\nfile = 3\n").unwrap();
    let output = sheshi(folder.path(), &["check", "policy.toml", "broken.toml", "missing.toml"]);
    assert_eq!(code(&output), 2);
    let told = err(&output);
    for words in [
        "policy.toml: the policy",
        "broken.toml: line 2: alow",
        "`allow`",
        "broken.toml: line 4",
        "missing.toml: cannot be read",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn configuration_is_checked_with_its_policy() {
    let folder = folder();
    fs::write(folder.path().join("gateway.toml"), include_str!("../../examples/gateway.toml")).unwrap();
    assert_eq!(code(&sheshi(folder.path(), &["check", "gateway.toml"])), 0);
    fs::write(folder.path().join("policy.toml"), "version = 7\n").unwrap();
    let output = sheshi(folder.path(), &["check", "gateway.toml"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("policy.toml: line 1: version"), "{}", err(&output));
}

#[test]
fn explanation_names_list_line_and_rule() {
    let folder = folder();
    let explain = |args: &[&str]| {
        let output = sheshi(folder.path(), &[&["explain", "--policy", "policy.toml"], args].concat());
        assert_eq!(code(&output), 0, "{}", err(&output));
        out(&output)
    };
    let told = explain(&["www.bad.example"]);
    assert!(told.contains("block") && told.contains("list adult") && told.contains("line 2"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(explain(&["good.bet.example"]).contains("allow"));
    assert!(explain(&["news.example"]).contains("allow"));
    let json: serde_json::Value = serde_json::from_str(&explain(&["bet.example", "--json"])).unwrap();
    assert!(json.to_string().contains("bets"), "{json}");
}

#[test]
fn what_cannot_be_explained_is_refused_with_the_reason() {
    let folder = folder();
    for (args, words) in [
        (vec!["a..b"], "a..b"),
        (vec!["bad.example", "--group", "staff"], "want one of guest"),
        (vec!["bad.example", "--at", "noon"], "2026-12-24T22:30:00+01:00"),
    ] {
        let output = sheshi(folder.path(), &[vec!["explain", "--policy", "policy.toml"], args].concat());
        assert_eq!(code(&output), 2);
        assert!(err(&output).contains(words), "{}", err(&output));
    }
}

#[test]
fn compiled_policy_explains_like_its_source_and_a_damaged_one_is_refused() {
    let folder = folder();
    let output = sheshi(folder.path(), &["compile", "--policy", "policy.toml", "--output", "out.policy"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("3 entries of 2 lists"), "{}", out(&output));
    let explain = |source: &str, file: &str| out(&sheshi(folder.path(), &["explain", "bad.example", source, file]));
    assert_eq!(explain("--compiled", "out.policy"), explain("--policy", "policy.toml"));
    let path = folder.path().join("out.policy");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    assert_eq!(code(&sheshi(folder.path(), &["explain", "bad.example", "--compiled", "out.policy"])), 2);
}

#[test]
fn lines_not_taken_are_counted_by_reason() {
    let folder = folder();
    fs::write(folder.path().join("adult.txt"), "bad.example\nworse.example\nthird.example\ncom\n192.0.2.1\n").unwrap();
    let output = sheshi(folder.path(), &["compile", "--policy", "policy.toml", "--output", "out.policy"]);
    let told = out(&output);
    for words in
        ["list adult: 1 lines not taken: a public suffix", "list adult: 1 lines not taken: an address, not a name"]
    {
        assert!(told.contains(words), "{told}{}", err(&output));
    }
}

#[test]
fn policy_signed_on_the_command_line_bears_that_keys_signature() {
    let folder = folder();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "city.key"]);
    openssl(&["pkey", "-in", "city.key", "-pubout", "-out", "city.pub"]);
    let compile = |key: &str| {
        sheshi(folder.path(), &["compile", "--policy", "policy.toml", "--sign", key, "--output", "out.policy"])
    };
    assert_eq!(code(&compile("city.key")), 0);
    let public = fs::read_to_string(folder.path().join("city.pub")).unwrap();
    let compiled = sheshi_policy::Compiled::load(&folder.path().join("out.policy")).unwrap();
    compiled.check_signature(&public).unwrap();
    let refused = compile("city.pub");
    assert_eq!((code(&refused), err(&refused).contains("city.pub")), (2, true), "{}", err(&refused));
}

#[test]
fn failed_compile_leaves_the_old_file() {
    let folder = folder();
    let compile = || sheshi(folder.path(), &["compile", "--policy", "policy.toml", "--output", "out.policy"]);
    assert_eq!(code(&compile()), 0);
    let before = fs::read(folder.path().join("out.policy")).unwrap();
    fs::write(folder.path().join("adult.txt"), "<!doctype html><html><body>404</body></html>\n").unwrap();
    let output = compile();
    assert_eq!(code(&output), 2, "{}", err(&output));
    assert_eq!(fs::read(folder.path().join("out.policy")).unwrap(), before);
}

#[test]
fn absent_gateway_fails_with_code_1_and_the_fix() {
    let folder = folder();
    for command in ["status", "guests", "reload"] {
        let output = sheshi(folder.path(), &[command, "--control", "nobody.sock"]);
        assert_eq!(code(&output), 1);
        assert!(err(&output).contains("fix:"), "{}", err(&output));
    }
}

#[test]
fn completions_and_man_pages_come_from_the_same_definitions() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let output = sheshi(folder.path(), &["completions", shell]);
        assert!(code(&output) == 0 && out(&output).contains("explain"), "{shell}");
    }
    assert_eq!(code(&sheshi(folder.path(), &["man", "man"])), 0);
    for page in ["sheshi.1", "sheshi-gateway.1", "sheshi-explain.1"] {
        assert!(fs::read_to_string(folder.path().join("man").join(page)).unwrap().contains(".TH"), "{page}");
    }
}

/// A running `sheshi resolve`, ended when dropped.
struct Resolver(Child);

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn resolver_alone_blocks_with_a_reason() {
    let folder = folder();
    // Nobody listens upstream: a blocked name needs nobody.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let command = ["resolve", "--listen", &listen, "--upstream", "127.0.0.1:9", "--block", "adult=adult.txt"];
    let mut resolver = Command::new(env!("CARGO_BIN_EXE_sheshi"));
    let _resolver = Resolver(resolver.args(command).current_dir(folder.path()).stderr(Stdio::null()).spawn().unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // WwW.BAD.example, type A, with an OPT record.
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03WwW\x03BAD\x07example\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut reply = [0; 1500];
    let length = loop {
        assert!(Instant::now() < deadline, "no answer");
        let _ = client.send_to(query, &listen);
        if let Ok((length, _)) = client.recv_from(&mut reply) {
            break length;
        }
    };
    assert_eq!(&reply[..2], b"\x12\x34");
    assert_eq!(reply[3] & 0x0f, 3, "NXDOMAIN");
    let text = String::from_utf8_lossy(&reply[..length]);
    assert!(text.contains("Adult"), "{text}");
}
