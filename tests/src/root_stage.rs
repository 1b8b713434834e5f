//! What needs real root: processes with accounts of their own. Run by `make test` after everything else, as root or by
//! sudo; without root it fails by name, and nothing of it is skipped.

use std::{
    fs,
    io::Read,
    os::unix::{net::UnixStream, process::CommandExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use nix::unistd::Uid;
use sheshi_tests::{Isolation, Lab, Options, until};

type Check = (&'static str, fn(&Lab));

const CHECKS: [Check; 6] = [
    ("gateway_has_an_account_of_its_own_and_no_power", gateway_has_an_account_of_its_own_and_no_power),
    ("guest_joins_accepts_and_browses", guest_joins_accepts_and_browses),
    ("guard_hangs_up_on_accounts_it_does_not_know", guard_hangs_up_on_accounts_it_does_not_know),
    ("control_socket_is_closed_to_other_accounts", control_socket_is_closed_to_other_accounts),
    ("guard_has_the_socket_buffers_it_wants", guard_has_the_socket_buffers_it_wants),
    ("nobody_but_the_guard_changes_the_guard_table", nobody_but_the_guard_changes_the_guard_table),
];

/// An account that is nobody's.
const STRANGER: u32 = 61_099;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [knock, socket] = arguments.as_slice()
        && knock == "knock"
    {
        return talk(Path::new(socket));
    }
    if !Uid::effective().is_root() {
        for (name, _) in CHECKS {
            println!("test root stage: {name} ... FAILED (needs root)");
        }
        eprintln!("the root stage needs root: run it with sudo; nothing of it is skipped");
        return ExitCode::FAILURE;
    }
    let options = Options { isolation: Isolation::Root, ..Options::default() };
    let lab = match Lab::start(options) {
        Ok(lab) => lab,
        Err(problem) => {
            eprintln!("root stage: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for (name, check) in CHECKS {
        let passed = catch_unwind(AssertUnwindSafe(|| check(&lab))).is_ok();
        println!("test root stage: {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line of `/proc/PID/status` of a process of the lab.
fn of_status(lab: &Lab, process: &str, field: &str) -> String {
    let pid = lab.status().unwrap().processes[process].pid.unwrap();
    let text = lab.place("gateway").output(&["cat", &format!("/proc/{pid}/status")]).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap().to_owned();
    line.trim_start_matches(':').trim().to_owned()
}

fn gateway_has_an_account_of_its_own_and_no_power(lab: &Lab) {
    let uid = of_status(lab, "gateway", "Uid");
    assert!(uid.split_ascii_whitespace().all(|uid| uid != "0"), "{uid}");
    for field in ["CapEff", "CapPrm", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&of_status(lab, "gateway", field), 16).unwrap(), 0, "{field}");
    }
    // The control: the probe sees power where there is some.
    assert_ne!(u64::from_str_radix(&of_status(lab, "guard", "CapEff"), 16).unwrap(), 0);
}

fn guest_joins_accepts_and_browses(lab: &Lab) {
    lab.guest("guest1").join_and_accept().unwrap();
}

/// Connects to a socket as an account and tells whether it was heard.
fn knock(lab: &Lab, account: u32, socket: &Path) -> String {
    let own = std::env::current_exe().unwrap();
    // The program must be readable to the account: a copy in the lab's folder, which is open in this stage.
    let program = lab.folder().join("knock");
    if !program.exists() {
        fs::copy(own, &program).unwrap();
    }
    let output = Command::new(program).arg("knock").arg(socket).uid(account).gid(account).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What the account's process does: asks how the guard is and says whether anything came back.
fn talk(socket: &Path) -> ExitCode {
    let heard = UnixStream::connect(socket).and_then(|mut stream| {
        use std::io::Write;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // The guard's only request without effect (firewall, room `message`): a length, then JSON.
        let request = b"\"health\"";
        stream.write_all(&(request.len() as u32).to_be_bytes())?;
        stream.write_all(request)?;
        let mut answer = [0; 64];
        stream.read(&mut answer)
    });
    match heard {
        Ok(0) => println!("hung up"),
        Ok(_) => println!("heard"),
        Err(problem) => println!("hung up: {problem}"),
    }
    ExitCode::SUCCESS
}

fn guard_hangs_up_on_accounts_it_does_not_know(lab: &Lab) {
    let socket = lab.folder().join("run/guard.sock");
    let answer = knock(lab, STRANGER, &socket);
    assert!(answer.starts_with("hung up"), "{answer}");
    let allowed: u32 = of_status(lab, "gateway", "Uid").split_ascii_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(knock(lab, allowed, &socket), "heard");
    until("the guard to log the stranger", Duration::from_secs(2), || {
        lab.log("guard").contains("not allowed").then_some(())
    })
    .unwrap();
}

fn control_socket_is_closed_to_other_accounts(lab: &Lab) {
    let answer = knock(lab, STRANGER, &sheshi_tests::control_socket(lab.folder()));
    assert!(answer.starts_with("hung up"), "{answer}");
    lab.gateway_status().unwrap();
}

fn guard_has_the_socket_buffers_it_wants(lab: &Lab) {
    let status = lab.gateway_status().unwrap();
    let weaker = status["firewall"].to_string();
    assert!(!weaker.contains("small socket buffers"), "{weaker}");
}

fn nobody_but_the_guard_changes_the_guard_table(lab: &Lab) {
    let gateway = lab.place("gateway");
    gateway.output(&["nft", "list", "table", "inet", "sheshi_guard"]).unwrap();
    let flushed = gateway.exec(&["nft", "delete", "table", "inet", "sheshi_guard"]).unwrap();
    assert!(!flushed.status.success(), "a foreign program took the guard table away");
    gateway.output(&["nft", "list", "table", "inet", "sheshi_guard"]).unwrap();
}
