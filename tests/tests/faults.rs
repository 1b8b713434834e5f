//! What happens when something dies, changes or breaks: strangers stay out, admitted guests stay in. Each flow has a lab
//! of its own, because it breaks it.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use sheshi_tests::{Guest, Lab, LabError, Options, Signal, plan, policy_path, until};

fn lab() -> Lab {
    Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// An open connection to the internet that answers.
struct Line(TcpStream);

impl Line {
    fn open(guest: &Guest, to: IpAddr) -> Self {
        let mut line = Self(guest.connect((to, 7).into(), Duration::from_secs(5)).unwrap());
        assert!(line.answers(Duration::from_secs(5)), "the line to {to} is dead from the start");
        line
    }

    /// Whether what is sent comes back in this time.
    fn answers(&mut self, within: Duration) -> bool {
        self.0.set_read_timeout(Some(within)).unwrap();
        self.0.write_all(b"x").is_ok() && self.0.read_exact(&mut [0]).is_ok()
    }
}

fn lines(guest: &Guest) -> [Line; 2] {
    [Line::open(guest, plan::ECHO_V4.into()), Line::open(guest, plan::ECHO_V6.into())]
}

fn assert_alive(lines: &mut [Line], when: &str) {
    for line in lines {
        assert!(line.answers(Duration::from_secs(2)), "a connection of an admitted guest broke {when}");
    }
}

/// One packet of a stranger, to a port nobody else uses.
fn knock(stranger: &Guest) {
    for target in [IpAddr::V4(plan::ECHO_V4), IpAddr::V6(plan::ECHO_V6)] {
        if let Ok(socket) = stranger.udp((target, 1194).into()) {
            let _ = socket.send(b"let me out");
        }
    }
}

fn assert_nobody_knocked(lab: &Lab) {
    let arrivals = lab.arrivals().unwrap();
    assert!(!arrivals.iter().any(|arrival| arrival.target_port == 1194), "a stranger got out");
}

fn starts(lab: &Lab, process: &str) -> u32 {
    lab.status().unwrap().processes[process].starts
}

/// Kills a process and knocks as a stranger until it has been started again and serves; returns how long that took.
fn kill_and_knock(lab: &Lab, process: &str, stranger: &Guest, serves: impl Fn() -> bool) -> Duration {
    let before = starts(lab, process);
    let killed = Instant::now();
    lab.kill(process, Signal::SIGKILL).unwrap();
    until(&format!("{process} to serve again"), Duration::from_secs(10), || {
        knock(stranger);
        (starts(lab, process) > before && serves()).then_some(())
    })
    .unwrap();
    killed.elapsed()
}

#[test]
fn expelled_guest_loses_open_connections_within_two_seconds() {
    let lab = lab();
    let (guest, other) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    other.join_and_accept().unwrap();
    let (mut expelled, mut stays) = (lines(&guest), lines(&other));
    lab.sheshi(&["expel", &plan::mac_text(plan::guest_mac(1))]).unwrap();
    let since = Instant::now();
    for line in &mut expelled {
        until(
            "the expelled guest's connection to fall silent",
            Duration::from_secs(2).saturating_sub(since.elapsed()),
            || (!line.answers(Duration::from_millis(200))).then_some(()),
        )
        .unwrap();
    }
    assert_alive(&mut stays, "when another was expelled");
    let page = guest.get("news.example.org", "/").unwrap();
    assert_eq!(page.status, 302, "{page:?}");
}

#[test]
fn killed_gateway_lets_no_stranger_out_and_keeps_the_admitted_in() {
    let lab = lab();
    let (guest, stranger) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    stranger.join().unwrap();
    let mut open = lines(&guest);
    let resolves = || {
        let answer = guest.resolve_within("news.example.org", RecordType::A, Duration::from_millis(100));
        answer.is_ok_and(|answer| answer.addresses() == [plan::WEB_V4])
    };
    for round in 1..=3 {
        let took = kill_and_knock(&lab, "gateway", &stranger, resolves);
        assert!(took < Duration::from_secs(2), "DNS was away for {took:?} in round {round}");
        assert_alive(&mut open, "when the gateway was killed");
        let blocked = guest.resolve("pornhub.com", RecordType::A).unwrap();
        assert!(blocked.is_blocked(), "{:?}", blocked.message);
    }
    assert_nobody_knocked(&lab);
    // The session is the same one: the status page, not the terms.
    lab.wait_for_gateway().unwrap();
    let status = guest.get(plan::PORTAL, "/").unwrap();
    assert!(status.body.contains("/leave"), "the guest was logged out: {status:?}");
    let page = stranger.get("news.example.org", "/").unwrap();
    assert_eq!(page.status, 302, "{page:?}");
}

#[test]
fn killed_guard_lets_no_stranger_out_and_keeps_the_admitted_in() {
    let lab = lab();
    let (guest, stranger) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    stranger.join().unwrap();
    let mut open = lines(&guest);
    for _ in 0..3 {
        kill_and_knock(&lab, "guard", &stranger, || true);
        // Not only at the moment: what the new guard does first must not cut anybody off either.
        let back = Instant::now();
        while back.elapsed() < Duration::from_secs(2) {
            knock(&stranger);
            assert_alive(&mut open, "after the guard was killed");
        }
    }
    guest.wait_for_internet().unwrap();
    assert_nobody_knocked(&lab);
    // The new guard takes orders: the stranger can still become a guest.
    stranger.accept().unwrap();
    stranger.wait_for_internet().unwrap();
}

#[test]
fn hanging_gateway_lets_no_stranger_out_and_keeps_the_admitted_in() {
    let lab = lab();
    let (guest, stranger) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    stranger.join().unwrap();
    let mut open = lines(&guest);
    lab.kill("gateway", Signal::SIGSTOP).unwrap();
    for _ in 0..20 {
        knock(&stranger);
    }
    assert_alive(&mut open, "while the gateway hung");
    assert_nobody_knocked(&lab);
    lab.kill("gateway", Signal::SIGCONT).unwrap();
    guest.wait_for_internet().unwrap();
}

#[test]
fn rules_that_somebody_else_flushed_come_back_and_let_no_stranger_out() {
    let lab = lab();
    let (guest, stranger) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    stranger.join().unwrap();
    let mut open = lines(&guest);
    let working = || lab.place("gateway").exec(&["nft", "list", "table", "inet", "sheshi"]).unwrap().status.success();
    for _ in 0..5 {
        // What another firewall's start script does first.
        lab.place("gateway").output(&["nft", "flush", "ruleset"]).unwrap();
        until("the rules to be back", Duration::from_secs(2), || {
            knock(&stranger);
            working().then_some(())
        })
        .unwrap();
        assert_alive(&mut open, "when the rules were flushed");
    }
    assert_nobody_knocked(&lab);
    guest.wait_for_internet().unwrap();
}

#[test]
fn session_that_ends_by_time_ends_its_connections_too() {
    let options = Options { session: "1m".into(), ..Options::default() };
    let lab = Lab::start(options).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join().unwrap();
    guest.accept().unwrap();
    let accepted = Instant::now();
    guest.wait_for_internet().unwrap();
    for mut line in lines(&guest) {
        until("the session's end", Duration::from_secs(62).saturating_sub(accepted.elapsed()), || {
            (!line.answers(Duration::from_millis(200))).then_some(())
        })
        .unwrap();
        assert!(accepted.elapsed() >= Duration::from_secs(58), "the session ended after {:?}", accepted.elapsed());
    }
    assert_eq!(guest.get("news.example.org", "/").unwrap().status, 302);
}

#[test]
fn with_everything_dead_strangers_stay_out() {
    let lab = lab();
    let (guest, stranger) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    stranger.join().unwrap();
    let mut open = lines(&guest);
    lab.stop("gateway").unwrap();
    lab.stop("guard").unwrap();
    for _ in 0..20 {
        knock(&stranger);
    }
    assert_nobody_knocked(&lab);
    assert_alive(&mut open, "when everything was stopped");
}

#[test]
fn second_address_in_the_guests_network_closes_nothing() {
    let lab = lab();
    let (guest, newcomer) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    let mut open = lines(&guest);
    // What a kernel does by itself that takes its own router advertisement for another's.
    lab.place("gateway").output(&["ip", "addr", "add", "fd5e:5e:1::5eff:fe00:2/64", "dev", "guests"]).unwrap();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        assert_alive(&mut open, "when the gateway got a second address");
    }
    // Nor when everything starts anew and finds both addresses.
    lab.kill("guard", Signal::SIGKILL).unwrap();
    lab.kill("gateway", Signal::SIGKILL).unwrap();
    let started = || starts(&lab, "guard") > 1 && starts(&lab, "gateway") > 1;
    until("guard and gateway to start again", Duration::from_secs(5), || started().then_some(())).unwrap();
    lab.wait_for_gateway().unwrap();
    newcomer.join_and_accept().unwrap();
    guest.wait_for_internet().unwrap();
}

#[test]
fn new_policy_is_live_at_once_and_costs_nobody_the_connection() {
    let lab = lab();
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    let mut open = lines(&guest);
    let name = "later.example.org";
    assert_eq!(guest.resolve(name, RecordType::A).unwrap().addresses(), [plan::WEB_V4]);
    change_policy(&lab, |policy| {
        policy.replace("\"denied.example.org\"", "\"denied.example.org\", \"later.example.org\"")
    });
    lab.sheshi(&["reload"]).unwrap();
    until("the new policy", Duration::from_secs(5), || {
        guest.resolve(name, RecordType::A).ok()?.is_blocked().then_some(())
    })
    .unwrap();
    assert_alive(&mut open, "when the policy changed");
    assert!(guest.get(plan::PORTAL, "/").unwrap().body.contains("/leave"));
}

#[test]
fn broken_policy_leaves_the_running_one_in_force() {
    let lab = lab();
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    let digest = || lab.gateway_status().unwrap()["policy"]["digest"].as_str().unwrap().to_owned();
    let before = digest();
    for broken in [
        "",
        "version = 1\ncolour = \"red\"\n",
        "version = 1\n[list.gone]\nfile = \"lists/gone\"\ncategory = \"adult\"\n",
        "\0\0",
    ] {
        change_policy(&lab, |_| broken.into());
        let refused = lab.sheshi(&["reload"]).unwrap_err();
        assert!(matches!(&refused, LabError::Command { output, .. } if output.contains("exit status: 2")), "{refused}");
        assert_eq!(digest(), before);
        assert!(guest.resolve("pornhub.com", RecordType::A).unwrap().is_blocked());
        assert_eq!(guest.resolve("news.example.org", RecordType::A).unwrap().addresses(), [plan::WEB_V4]);
    }
    // Also not over a restart: what is on the disk is broken, what was good last is kept.
    lab.kill("gateway", Signal::SIGKILL).unwrap();
    until("the gateway to serve again", Duration::from_secs(10), || {
        guest.resolve("pornhub.com", RecordType::A).ok()?.is_blocked().then_some(())
    })
    .unwrap();
    assert_eq!(guest.resolve("news.example.org", RecordType::A).unwrap().addresses(), [plan::WEB_V4]);
}

fn change_policy(lab: &Lab, change: impl FnOnce(String) -> String) {
    let path = policy_path(lab.folder());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(text)).unwrap();
}
