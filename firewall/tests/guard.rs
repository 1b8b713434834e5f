//! The guard against a real kernel: what it holds, who is admitted, who may speak, and what survives what.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{network, rulesets, square};
use lab::*;
use sheshi_firewall::{
    Error, Guest, Ipv6Mode, Ruleset, contract,
    message::{self, Request, Response},
};

/// The sets and chains of a text, each as a line. The kernel lists chains in the order in which they first came.
fn parts(text: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    let mut part = String::new();
    for line in text.lines().filter(|line| line.starts_with('\t')) {
        part = format!("{part} {}", line.trim());
        if line == "\t}" {
            parts.insert(std::mem::take(&mut part));
        }
    }
    parts
}

#[test]
fn kernel_holds_what_was_rendered() {
    lab("kernel_holds_what_was_rendered", |lab| {
        let guard = lab.guard();
        for (name, ruleset) in rulesets() {
            guard.apply(&ruleset).unwrap();
            for table in contract::tables(&ruleset) {
                let listed = run("nft", &format!("--stateless list table inet {}", table.name));
                // nft of Debian 12 knows no `persist` and lists the flags of an owned table as it can.
                let listed = listed.replace("\tflags owner\n", "").replace("192.0.2.53, ", "192.0.2.53,\n\t");
                assert_eq!(parts(&listed), parts(&table.to_string()), "{name}, table {}", table.name);
            }
            let health = guard.health().unwrap();
            assert!(health.in_force && health.matches, "{name}: {}", health.difference);
            assert_eq!((health.generation, health.closed, health.restored), (ruleset.generation, ruleset.closed, 0));
            assert_eq!(health.forwarding.v4, !ruleset.closed);
            assert_eq!(health.forwarding.v6, !ruleset.closed && ruleset.ipv6 != Ipv6Mode::Off);
        }
    });
}

#[test]
fn guests_and_their_time_survive_a_change_of_rules() {
    lab("guests_and_their_time_survive_a_change_of_rules", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        thread::sleep(Duration::from_millis(300));
        for ruleset in [common::library(), Ruleset { closed: true, ..square() }, Ruleset::closed(), square()] {
            guard.apply(&ruleset).unwrap();
            let guests = guard.guests().unwrap();
            assert_eq!(guests.iter().map(|guest| guest.mac).collect::<Vec<_>>(), [GUEST, GUEST]);
            let left =
                |guest: &Guest| guest.left < Duration::from_millis(59_750) && guest.left > Duration::from_secs(50);
            assert!(guests.iter().all(left), "{guests:?}");
        }
        assert_eq!(lab.guest.tcp(WEB6, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn killed_guard_leaves_the_rules_and_logs_nobody_out() {
    lab("killed_guard_leaves_the_rules_and_logs_nobody_out", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut open = lab.guest.connect(WEB4, 443);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        guard.kill();
        lab.tap.take();
        assert!(lab.thief.tcp(WEB4, 443).is_err() && lab.thief.udp(WEB6, 4433).is_err() && !lab.thief.ping(WEB4));
        assert_eq!(lab.tap.take(), NOTHING);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        assert_eq!(lab.guest.tcp(WEB6, 443).as_deref(), Ok("internet"));
        let guard = lab.guard();
        let health = guard.health().unwrap();
        assert!(health.in_force && health.matches && health.generation == 7, "{health:?}");
        assert_eq!(guard.guests().unwrap().len(), 2);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        assert!(lab.thief.tcp(WEB4, 443).is_err());
    });
}

#[test]
fn flush_while_the_guard_is_dead_opens_nothing() {
    lab("flush_while_the_guard_is_dead_opens_nothing", |lab| {
        for round in 0..3 {
            let guard = lab.guarding(&square());
            guard.admit_guest();
            let mut open = lab.guest.connect(WEB4, 443);
            assert_eq!(talk(&mut open).unwrap(), "internet");
            guard.kill();
            run("nft", "flush ruleset");
            let tables = run("nft", "list tables");
            assert_eq!(tables.trim(), "table inet sheshi_guard", "round {round}");
            lab.tap.take();
            for device in [&lab.guest, &lab.thief] {
                assert!(device.tcp(WEB4, 443).is_err() && device.udp(WEB6, 4433).is_err() && !device.ping(WEB4));
            }
            assert_eq!(lab.tap.take(), NOTHING);
            assert_eq!(talk(&mut open).unwrap(), "internet");
            hang_up(open);
        }
    });
}

#[test]
fn killed_holder_is_replaced_and_an_ended_guard_takes_it_along() {
    lab("killed_holder_is_replaced_and_an_ended_guard_takes_it_along", |lab| {
        let guard = lab.guarding(&square());
        let holder = || {
            let processes =
                std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
            let mut numbers = processes.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            numbers.find(|pid| {
                std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0--hold\0"))
            })
        };
        let first = eventually("a holder", holder);
        run("kill", &format!("-KILL {first}"));
        eventually("another holder", || holder().filter(|pid| *pid != first));
        guard.signal("TERM");
        eventually("nobody is left", || holder().is_none().then_some(()));
        assert!(run("nft", "list tables").contains("inet sheshi\n"));
        let guard = lab.guard();
        assert!(guard.health().unwrap().matches);
    });
}

#[test]
fn guard_without_state_keeps_rules_that_have_guests_in_them() {
    lab("guard_without_state_keeps_rules_that_have_guests_in_them", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        guard.kill();
        std::fs::remove_file(lab.socket().with_extension("state")).unwrap();
        let guard = lab.guard();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
        let health = guard.health().unwrap();
        assert!(health.in_force && !health.matches && health.difference.contains("not known"), "{health:?}");
        guard.apply(&square()).unwrap();
        assert!(guard.health().unwrap().matches);
        assert_eq!(guard.guests().unwrap().len(), 2);
    });
}

#[test]
fn fresh_guard_closes_an_open_machine() {
    lab("fresh_guard_closes_an_open_machine", |lab| {
        sysctl("ipv4/ip_forward", "1");
        sysctl("ipv6/conf/all/forwarding", "1");
        eventually("the machine is open", || lab.guest.tcp(WEB4, 443).ok());
        let guard = lab.guard();
        let health = guard.health().unwrap();
        assert!(health.closed && health.in_force && health.matches, "{health:?}");
        assert!(!health.forwarding.v4 && !health.forwarding.v6);
        for _ in 0..2 {
            assert!(lab.guest.tcp(WEB4, 443).is_err() && lab.guest.udp(WEB6, 443).is_err());
            // Nor with the switches on: the rules close by themselves.
            sysctl("ipv4/ip_forward", "1");
            sysctl("ipv6/conf/all/forwarding", "1");
        }
    });
}

#[test]
fn bridge_hands_its_packets_to_no_firewall_a_second_time() {
    lab("bridge_hands_its_packets_to_no_firewall_a_second_time", |lab| {
        let switches = ["iptables", "ip6tables"].map(|family| format!("/proc/sys/net/bridge/bridge-nf-call-{family}"));
        // A machine without br_netfilter has nothing to switch off.
        let there: Vec<_> = switches.iter().filter(|switch| std::path::Path::new(switch).exists()).collect();
        for switch in &there {
            std::fs::write(switch, "1").unwrap();
        }
        let _guard = lab.guarding(&square());
        for switch in there {
            assert_eq!(std::fs::read_to_string(switch).unwrap().trim(), "0", "{switch}");
        }
    });
}

#[test]
fn closed_ruleset_leads_everybody_to_the_portal_and_forgets_nobody() {
    lab("closed_ruleset_leads_everybody_to_the_portal_and_forgets_nobody", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        guard.apply(&Ruleset { closed: true, ..square() }).unwrap();
        lab.tap.take();
        for device in [&lab.guest, &lab.thief] {
            assert!(device.tcp(WEB4, 443).is_err() && device.udp(WEB6, 4433).is_err() && !device.ping(WEB4));
            assert_eq!(device.tcp(WEB4, 80).as_deref(), Ok("portal"));
            assert_eq!(device.udp(RESOLVER6, 53).as_deref(), Ok("strangers"));
        }
        assert_eq!(lab.tap.take(), NOTHING);
        guard.apply(&square()).unwrap();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

/// A stream of datagrams from the internet to a guest that asked for it once, counted at the guest.
fn downpour(lab: &Lab, web: &'static str) -> Arc<AtomicUsize> {
    lab.internet.call(move || {
        let socket = UdpSocket::bind((web, 7000)).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            let (_, peer) = socket.recv_from(&mut buffer).unwrap();
            loop {
                // Errors that come back are the point of some tests.
                let _ = socket.send_to(b"drop", peer);
                thread::sleep(Duration::from_millis(5));
            }
        });
    });
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    lab.guest.call(move || {
        let socket = UdpSocket::bind(if web.contains(':') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
        socket.send_to(b"rain", (web, 7000)).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while socket.recv(&mut buffer).is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    eventually("the stream arrives", || (received.load(Ordering::Relaxed) > 10).then_some(()));
    received
}

/// Waits until nothing arrives any more; fails when something still does two seconds after `begun`.
fn dries_up(received: &AtomicUsize, begun: Instant) {
    loop {
        let before = received.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(100));
        if received.load(Ordering::Relaxed) == before {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "the stream goes on");
    }
}

#[test]
fn expelled_guest_loses_open_connections_within_two_seconds() {
    lab("expelled_guest_loses_open_connections_within_two_seconds", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut open: Vec<TcpStream> = [WEB4, WEB6].map(|web| lab.guest.connect(web, 443)).into();
        for stream in &mut open {
            assert_eq!(talk(stream).unwrap(), "internet");
        }
        let streams = [WEB4, WEB6].map(|web| downpour(lab, web));
        let begun = Instant::now();
        assert_eq!(guard.expel(GUEST).unwrap(), 2);
        for stream in &mut open {
            assert!(talk(stream).is_err());
        }
        streams.iter().for_each(|received| dries_up(received, begun));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(guard.guests().unwrap(), []);
        assert_eq!(guard.expel(GUEST).unwrap(), 0);
        assert!(lab.guest.tcp(WEB4, 443).is_err());
    });
}

#[test]
fn guest_whose_time_is_over_loses_open_connections_within_two_seconds() {
    lab("guest_whose_time_is_over_loses_open_connections_within_two_seconds", |lab| {
        let guard = lab.guarding(&square());
        guard.admit(GUEST, &[GUEST4.parse().unwrap(), GUEST6.parse().unwrap()], Duration::from_secs(2)).unwrap();
        let over = Instant::now() + Duration::from_secs(2);
        let streams = [WEB4, WEB6].map(|web| downpour(lab, web));
        let mut open = lab.guest.connect(WEB4, 443);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        thread::sleep(over.saturating_duration_since(Instant::now()));
        streams.iter().for_each(|received| dries_up(received, over));
        assert!(talk(&mut open).is_err());
        assert_eq!(guard.guests().unwrap(), []);
    });
}

#[test]
fn admission_cuts_what_was_open_and_renewal_does_not() {
    lab("admission_cuts_what_was_open_and_renewal_does_not", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        let mut with_portal = lab.guest.connect(WEB4, 80);
        assert_eq!(talk(&mut with_portal).unwrap(), "portal");
        let mut on_the_portals_page = lab.guest.connect(GATEWAY4, 80);
        assert_eq!(talk(&mut on_the_portals_page).unwrap(), "portal");
        guard.admit_guest();
        // The page that says "you are in" still arrives; the redirected connection is gone.
        assert_eq!(talk(&mut on_the_portals_page).unwrap(), "portal");
        assert!(talk(&mut with_portal).is_err());
        assert_eq!(lab.guest.tcp(WEB4, 80).as_deref(), Ok("internet"));
        let mut open = lab.guest.connect(WEB6, 443);
        let stream = downpour(lab, WEB4);
        guard.admit(GUEST, &[GUEST4.parse().unwrap(), GUEST6.parse().unwrap()], Duration::from_secs(500)).unwrap();
        let before = stream.load(Ordering::Relaxed);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        eventually("the stream goes on", || (stream.load(Ordering::Relaxed) > before + 20).then_some(()));
        assert!(guard.guests().unwrap().iter().all(|guest| guest.left > Duration::from_secs(400)));
    });
}

#[test]
fn replacement_under_traffic_leaks_nothing_and_loses_nobody() {
    lab("replacement_under_traffic_leaks_nothing_and_loses_nobody", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let stop = Arc::new(AtomicBool::new(false));
        let sent = [(&lab.guest, b"guest"), (&lab.thief, b"thief")].map(|(device, word)| {
            let (stop, sent) = (Arc::clone(&stop), Arc::new(AtomicUsize::new(0)));
            let count = Arc::clone(&sent);
            device.call(move || {
                thread::spawn(move || {
                    let sockets =
                        [(WEB4, "0.0.0.0:0"), (WEB6, "[::]:0")].map(|(web, any)| (UdpSocket::bind(any).unwrap(), web));
                    while !stop.load(Ordering::Relaxed) {
                        for (socket, web) in &sockets {
                            // A new connection each time would do, too; refusals come back as errors and do not matter.
                            // Counted before it is sent: a thread that is held up in between must not count what
                            // arrived before the counting began.
                            count.fetch_add(1, Ordering::Relaxed);
                            if socket.send_to(word, (*web, 4434)).is_err() {
                                count.fetch_sub(1, Ordering::Relaxed);
                            }
                        }
                        thread::sleep(Duration::from_micros(500));
                    }
                });
            });
            sent
        });
        lab.tap.take();
        let before = sent[0].load(Ordering::Relaxed);
        let mut replaced = 0;
        while replaced < 40 {
            replaced += 1;
            guard.apply(&Ruleset { generation: 100 + replaced, ..square() }).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
        let packets = lab.tap.take();
        let seen = |word: &[u8]| packets.iter().filter(|packet| packet.windows(5).any(|part| part == word)).count();
        let (of_guest, attempts) = (sent[0].load(Ordering::Relaxed) - before, sent[1].load(Ordering::Relaxed));
        println!(
            "{replaced} replacements; guest {} of {of_guest} arrived; thief {} of {attempts}",
            seen(b"guest"),
            seen(b"thief")
        );
        assert!(of_guest > 1000 && attempts > 1000);
        assert_eq!(seen(b"thief"), 0);
        assert!(seen(b"guest") >= of_guest, "{} of {of_guest}", seen(b"guest"));
    });
}

#[test]
fn foreign_flush_is_repaired_within_a_second_and_logs_nobody_out() {
    lab("foreign_flush_is_repaired_within_a_second_and_logs_nobody_out", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        for n in 1..=5 {
            lab.tap.take();
            run("nft", "flush ruleset");
            let begun = Instant::now();
            eventually("the table is back", || {
                guard.health().ok().filter(|health| health.matches && health.restored == n)
            });
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            assert!(lab.thief.tcp(WEB4, 443).is_err() && lab.thief.udp(WEB6, 4433).is_err());
            assert_eq!(lab.tap.take(), NOTHING);
            assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
            let left: Vec<_> = guard.guests().unwrap().into_iter().map(|guest| guest.left).collect();
            assert!(left.len() == 2 && left.iter().all(|left| (30..60).contains(&left.as_secs())), "{left:?}");
        }
    });
}

#[test]
fn foreign_rules_in_our_table_are_seen_and_taken_out() {
    lab("foreign_rules_in_our_table_are_seen_and_taken_out", |lab| {
        let guard = lab.guarding(&square());
        for (n, change) in [
            "insert rule inet sheshi forward accept",
            "add rule inet sheshi from_guests accept",
            "flush chain inet sheshi from_guests",
            "add element inet sheshi block4 { 198.18.0.0/16 }",
            "flush set inet sheshi block4",
            "chain inet sheshi forward { policy accept ; }",
            "add chain inet sheshi more { type filter hook forward priority -5 ; }",
            "add set inet sheshi more { type ipv4_addr ; }",
            "replace rule inet sheshi forward handle HANDLE counter comment \"C01 generation 8\"",
        ]
        .into_iter()
        .enumerate()
        {
            let listing = run("nft", "--handle list chain inet sheshi forward");
            let handle = listing
                .lines()
                .find(|line| line.contains("generation"))
                .and_then(|line| line.rsplit(' ').next())
                .unwrap();
            run("nft", &change.replace("HANDLE", handle));
            let health = eventually(change, || guard.health().ok().filter(|health| health.restored == n as u64 + 1));
            assert!(health.matches, "{change}: {}", health.difference);
            assert!(lab.thief.tcp(WEB4, 443).is_err());
        }
    });
}

#[test]
fn guard_table_holds_the_door_when_the_working_table_is_gone() {
    lab("guard_table_holds_the_door_when_the_working_table_is_gone", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut open: Vec<TcpStream> = [WEB4, WEB6].map(|web| lab.guest.connect(web, 443)).into();
        for stream in &mut open {
            assert_eq!(talk(stream).unwrap(), "internet");
        }
        // A guard that hangs puts nothing back.
        guard.signal("STOP");
        run("nft", "flush ruleset");
        assert!(
            run("nft", "list tables").contains("sheshi_guard") && !run("nft", "list tables").contains("inet sheshi\n")
        );
        lab.tap.take();
        for device in [&lab.guest, &lab.thief] {
            assert!(device.tcp(WEB4, 443).is_err() && device.udp(WEB6, 4433).is_err() && !device.ping(WEB4));
        }
        assert_eq!(lab.tap.take(), NOTHING);
        // IPv4 too: the guard table keeps the kernel translating what it tracks.
        for stream in &mut open {
            assert_eq!(talk(stream).unwrap(), "internet");
        }
        guard.signal("CONT");
        eventually("the table is back", || guard.health().ok().filter(|health| health.matches && health.restored == 1));
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn forwarding_goes_off_when_the_rules_cannot_be_put_back() {
    lab("forwarding_goes_off_when_the_rules_cannot_be_put_back", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        assert!(guard.health().unwrap().forwarding.v4);
        // Somebody else takes the table's name and owns it: the kernel lets nobody but them change it.
        let mut other = Command::new("nft").arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut to_nft = other.stdin.take().unwrap();
        to_nft.write_all(b"delete table inet sheshi; add table inet sheshi { flags owner; }\n").unwrap();
        eventually("forwarding is off", || {
            let forwarding = guard.health().ok()?.forwarding;
            (!forwarding.v4 && !forwarding.v6).then_some(())
        });
        let health = guard.health().unwrap();
        assert!(!health.in_force && !health.matches, "{health:?}");
        assert!(lab.guest.tcp(WEB4, 443).is_err() && lab.thief.tcp(WEB4, 443).is_err());
        // When they let go of it, everything comes back.
        drop(to_nft);
        other.wait().unwrap();
        eventually("the rules are back", || {
            guard.health().ok().filter(|health| health.matches && health.forwarding.v4)
        });
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn refused_ruleset_leaves_the_running_one_in_force() {
    lab("refused_ruleset_leaves_the_running_one_in_force", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut broken = square();
        broken.uplinks = vec!["wan0; accept".into()];
        assert!(matches!(guard.apply(&broken), Err(Error::Refused(_))));
        // Somebody who speaks the protocol without our client is checked all the same.
        let stream = UnixStream::connect(lab.socket()).unwrap();
        message::send(&stream, &Request::Apply { ruleset: Box::new(broken) }, "testing").unwrap();
        let answer = message::receive(&stream, Instant::now() + Duration::from_secs(2), "testing").unwrap();
        assert!(matches!(answer, Some(Response::Refused { problems }) if problems[0].contains("uplinks[0]")));
        let health = guard.health().unwrap();
        assert!(health.matches && health.generation == 7);
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn admission_of_anything_but_a_guest_is_refused() {
    lab("admission_of_anything_but_a_guest_is_refused", |lab| {
        let guard = lab.guarding(&square());
        let minute = Duration::from_secs(60);
        for address in
            [GATEWAY4, GATEWAY6, WEB4, WEB6, "0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "10.80.16.1"]
        {
            let admitted = guard.admit(GUEST, &[address.parse().unwrap()], minute);
            assert!(matches!(admitted, Err(Error::Failed { .. })), "{address}: {admitted:?}");
        }
        let many: Vec<_> = (1..=65_u8).map(|n| std::net::Ipv4Addr::new(10, 80, 1, n).into()).collect();
        assert!(guard.admit(GUEST, &many, minute).is_err());
        assert!(guard.admit(GUEST, &[], minute).is_err());
        for mac in [[0; 6], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
            assert!(guard.admit(sheshi_policy::Mac(mac), &many[..1], minute).is_err());
        }
        assert!(guard.admit(GUEST, &many[..1], Duration::ZERO).is_err());
        assert!(guard.admit(GUEST, &many[..1], Duration::from_secs(1 << 40)).is_err());
        assert_eq!(guard.guests().unwrap(), []);
        guard.admit(GUEST, &many[..64], minute).unwrap();
        assert_eq!(guard.guests().unwrap().len(), 64);
        // The IPv4 address in IPv6 clothing is the IPv4 address.
        guard.admit(THIEF, &["::ffff:10.80.0.12".parse().unwrap()], minute).unwrap();
        assert!(guard.guests().unwrap().iter().any(|guest| guest.address.to_string() == THIEF4));
    });
}

#[test]
fn thousands_of_guests_are_listed_in_pages() {
    lab("thousands_of_guests_are_listed_in_pages", |lab| {
        let guard = lab.guarding(&square());
        for device in 0..32_u8 {
            let mac = sheshi_policy::Mac([2, 0, 0, 0, 1, device]);
            let addresses: Vec<_> =
                (0..64_u8).map(|n| format!("2001:db8:80::a:{device:x}:{n:x}").parse().unwrap()).collect();
            guard.admit(mac, &addresses, Duration::from_secs(600)).unwrap();
        }
        assert_eq!(guard.guests().unwrap().len(), 2048);
        assert_eq!(guard.expel(sheshi_policy::Mac([2, 0, 0, 0, 1, 7])).unwrap(), 64);
        assert_eq!(guard.guests().unwrap().len(), 1984);
        run("nft", "flush ruleset");
        eventually("the table is back", || guard.health().ok().filter(|health| health.restored == 1));
        assert_eq!(guard.guests().unwrap().len(), 1984);
    });
}

#[test]
fn long_list_of_closed_addresses_comes_in_pages() {
    lab("long_list_of_closed_addresses_comes_in_pages", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut ruleset = square();
        ruleset.block.extend((0..=255_u8).flat_map(|a| (0..10_u8).map(move |b| network(&format!("100.{a}.{b}.1")))));
        ruleset.block.push(network(WEB4));
        guard.apply(&ruleset).unwrap();
        assert!(guard.health().unwrap().matches);
        assert_eq!(lab.guest.tcp(WEB4, 443), Err(Failure::Refused));
        assert_eq!(lab.guest.tcp(WEB4, 4433).as_deref(), Ok("internet"));
        guard.apply(&square()).unwrap();
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn full_set_refuses_the_next_and_keeps_the_rest() {
    lab("full_set_refuses_the_next_and_keeps_the_rest", |lab| {
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let minutes = Duration::from_secs(600);
        let addresses =
            |n: u16| (0..64_u16).map(move |host| std::net::Ipv4Addr::new(10, 80, 1 + (n % 4) as u8, host as u8).into());
        let admit = |n: u16| {
            let [high, low] = n.to_be_bytes();
            guard.admit(sheshi_policy::Mac([2, 0, 0, 1, high, low]), &addresses(n).collect::<Vec<_>>(), minutes)
        };
        // 16,384 IPv4 pairs, one of which is the guest's.
        (0..255).for_each(|n| admit(n).unwrap());
        assert!(matches!(admit(255), Err(Error::Failed { .. })));
        let guests = guard.guests().unwrap();
        assert_eq!(guests.len(), 255 * 64 + 2);
        assert!(!guests.iter().any(|guest| guest.mac.0[4..] == [0, 255]));
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
        assert_eq!(guard.expel(sheshi_policy::Mac([2, 0, 0, 1, 0, 7])).unwrap(), 64);
        admit(255).unwrap();
    });
}

#[test]
fn rude_peers_do_not_stop_the_guard() {
    lab("rude_peers_do_not_stop_the_guard", |lab| {
        let guard = lab.guarding(&square());
        for words in [
            &[0xff_u8; 64][..],
            b"\0\0\0\x02{}",
            b"\0\0\0\x04null",
            b"\0\0\0\x08\"reboot\"",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0\0\0\0",
            &[0, 0, 0, 200, b'['],
        ] {
            let mut stream = UnixStream::connect(lab.socket()).unwrap();
            let _ = stream.write_all(words);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty(), "{words:?}: {answer:?}");
        }
        let deep = "[".repeat(60_000);
        let mut stream = UnixStream::connect(lab.socket()).unwrap();
        let _ = stream.write_all(&[&(deep.len() as u32).to_be_bytes(), deep.as_bytes()].concat());
        // More silent peers than it serves at once: those it has leave room when they go.
        let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(lab.socket()).unwrap()).collect();
        thread::sleep(Duration::from_millis(100));
        drop(silent);
        let health = eventually("the guard answers", || guard.health().ok());
        assert!(health.matches);
    });
}

#[test]
fn service_manager_hears_when_the_rules_are_in_force_and_that_the_guard_is_not_stuck() {
    lab("service_manager_hears_when_the_rules_are_in_force_and_that_the_guard_is_not_stuck", |lab| {
        let path = lab.socket().with_extension("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let hear = || {
            let mut buffer = [0; 32];
            manager.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let mut guard = Command::new(env!("CARGO_BIN_EXE_sheshi-guard"))
            .args(["--log", "warn", "--socket"])
            .arg(lab.socket())
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "3000000")
            .spawn()
            .unwrap();
        assert_eq!(hear().unwrap(), "READY=1");
        assert!(run("nft", "list tables").contains("inet sheshi\n"));
        assert_eq!((hear().unwrap(), hear().unwrap()), ("WATCHDOG=1".into(), "WATCHDOG=1".into()));
        run("kill", &format!("-STOP {}", guard.id()));
        while hear().is_ok() {}
        guard.kill().unwrap();
        guard.wait().unwrap();
    });
}

#[test]
fn second_guard_does_not_take_the_socket_of_a_living_one() {
    lab("second_guard_does_not_take_the_socket_of_a_living_one", |lab| {
        let guard = lab.guarding(&square());
        let second =
            Command::new(env!("CARGO_BIN_EXE_sheshi-guard")).arg("--socket").arg(lab.socket()).output().unwrap();
        assert!(!second.status.success());
        assert!(String::from_utf8_lossy(&second.stderr).contains("another guard answers"), "{second:?}");
        assert!(guard.health().unwrap().matches);
    });
}

#[test]
fn crowd_is_admitted_at_once() {
    lab("crowd_is_admitted_at_once", |lab| {
        let guard = lab.guarding(&square());
        let begun = Instant::now();
        let client: &sheshi_firewall::Guard = &guard;
        thread::scope(|scope| {
            for n in 0..50_u8 {
                scope.spawn(move || {
                    for m in 0..10_u8 {
                        let address = std::net::Ipv4Addr::new(10, 80, 1 + m, n).into();
                        client
                            .admit(sheshi_policy::Mac([2, 0, 0, 2, n, m]), &[address], Duration::from_secs(60))
                            .unwrap();
                    }
                });
            }
        });
        println!("500 admissions in {:?}", begun.elapsed());
        // Each alone would wait for a walk through the connections of its own.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(guard.guests().unwrap().len(), 500);
    });
}
