//! The dig matrix of RFC 8906, as data: `testdata/rfc8906.tsv`, sent by dig to sheshi and, as a control, to unbound.

mod common;

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::*;

/// Runs a program and gives what it printed; one that is not there fails the test.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `. tools/setup test` installs it"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// unbound, forwarding to the same upstream.
struct Unbound {
    address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Unbound {
    fn start(upstream: SocketAddr) -> Self {
        // A port that is free for both transports now; nobody else is told of it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unbound.conf");
        let text = format!(
            "server:\n interface: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: \"{}\"\n\
             use-syslog: no\n do-not-query-localhost: no\n module-config: \"iterator\"\n hide-version: yes\n\
             hide-identity: yes\n do-daemonize: no\n num-threads: 1\n\
             remote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{}\n",
            folder.path().display(),
            upstream.port(),
        );
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new("unbound");
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let command = command.arg("-d").arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().unwrap_or_else(|error| panic!("unbound: {error}; `. tools/setup test` installs it"));
        let unbound = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child, _folder: folder };
        let until = Instant::now() + Duration::from_secs(20);
        while udp_bytes(unbound.address, &query("ready.example.com.", RecordType::A).to_vec().unwrap(), 200).is_none() {
            assert!(Instant::now() < until, "unbound answers");
        }
        unbound
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server says to a probe, in the words of the table; and what must hold for every reply is checked.
fn said(server: SocketAddr, arguments: &str) -> String {
    let port = server.port().to_string();
    let name = if arguments.starts_with("version.bind") { "" } else { "www.example.com." };
    let all = ["-p", &port, "@127.0.0.1", "+tries=1", "+time=5", "+nobadcookie", name]
        .into_iter()
        .chain(arguments.split(' '));
    let text = output("dig", &all.filter(|word| !word.is_empty()).collect::<Vec<_>>());
    let part = |from: &str, to: &str| Some(text.split_once(from)?.1.split_once(to)?.0.trim().to_owned());
    let Some(status) = part("status: ", ",") else { return "closed".to_owned() };
    let flags = part("flags:", ";").unwrap_or_default();
    assert!(flags.starts_with("qr") && !flags.contains("aa"), "{arguments}: flags {flags}\n{text}");
    assert!(!text.contains("MBZ"), "{arguments}: a reserved flag is set\n{text}");
    assert!(!text.contains("OPT=100"), "{arguments}: an unknown option is echoed\n{text}");
    assert!(!text.contains("CLIENT-SUBNET"), "{arguments}: a client's subnet is echoed\n{text}");
    let opt = match part("; EDNS: version: ", ",") {
        Some(version) => {
            assert_eq!(version, "0", "{arguments}\n{text}");
            "opt"
        }
        None => "none",
    };
    let answer = if part("ANSWER: ", ",").is_some_and(|count| count != "0") { " answer" } else { "" };
    format!("{status} {opt}{answer}")
}

#[test]
fn dig_matrix_of_rfc_8906_is_answered_as_unbound_answers_it() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let unbound = Unbound::start(upstream.address);
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("../testdata/rfc8906.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [arguments, ours, theirs] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not three columns: {line}")
        };
        let theirs = if theirs == "=" { ours } else { theirs };
        for (who, server, want) in [("sheshi", bench.address(), ours), ("unbound", unbound.address, theirs)] {
            let found = said(server, arguments);
            if found != want {
                wrong.push(format!("{who}: {arguments}: {found}, want {want}"));
            }
        }
        count += 1;
    }
    assert!(count >= 30, "{count} probes");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
