//! What one device may use up, with real packets; the thief, who has no limits, is the control in each test.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use common::square;
use lab::*;
use sheshi_firewall::{Guard, Limits};

/// A web server's port that sends, and one that takes.
const SOURCE: u16 = 7001;
const SINK: u16 = 7002;
const MINUTE: Duration = Duration::from_secs(60);

/// Servers that send or take as fast as they can.
fn streams(lab: &Lab) {
    lab.internet.call(|| {
        for address in [WEB4, WEB6] {
            let listen = |port| TcpListener::bind((address, port)).unwrap();
            let (source, sink) = (listen(SOURCE), listen(SINK));
            thread::spawn(move || {
                for mut stream in source.incoming().map_while(Result::ok) {
                    thread::spawn(move || while stream.write_all(&[b'!'; 16 * 1024]).is_ok() {});
                }
            });
            thread::spawn(move || {
                for mut stream in sink.incoming().map_while(Result::ok) {
                    thread::spawn(move || {
                        let mut buffer = [0; 64 * 1024];
                        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
                    });
                }
            });
        }
    });
}

/// Bytes that come to the device from these addresses together within this time.
fn received(device: &Namespace, from: &[&'static str], time: Duration) -> u64 {
    let from = from.to_vec();
    device.call(move || {
        let deadline = Instant::now() + time;
        let readers: Vec<_> = from
            .into_iter()
            .map(|address| {
                thread::spawn(move || {
                    let Ok(mut stream) = TcpStream::connect((address, SOURCE)) else { return 0 };
                    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    let (mut total, mut buffer) = (0, vec![0; 64 * 1024]);
                    while Instant::now() < deadline {
                        match stream.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(length) => total += length as u64,
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(_) => break,
                        }
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                    total
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    })
}

/// Bytes that the kernel takes from the device for these addresses together within this time.
fn sent(device: &Namespace, to: &[&'static str], time: Duration) -> u64 {
    let to = to.to_vec();
    device.call(move || {
        let deadline = Instant::now() + time;
        let writers: Vec<_> = to
            .into_iter()
            .map(|address| {
                thread::spawn(move || {
                    let mut stream = TcpStream::connect((address, SINK)).unwrap();
                    // What waits in our own buffer was not sent.
                    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::SndBuf, &(64 * 1024)).unwrap();
                    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
                    let mut total = 0;
                    while Instant::now() < deadline {
                        match stream.write(&[b'!'; 16 * 1024]) {
                            Ok(length) => total += length as u64,
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(_) => break,
                        }
                    }
                    total
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    })
}

fn admit_guest(guard: &Guard, limits: Limits) {
    guard.admit_within(GUEST, &[GUEST4.parse().unwrap(), GUEST6.parse().unwrap()], MINUTE, limits).unwrap();
}

fn admit_thief(guard: &Guard) {
    guard.admit(THIEF, &[THIEF4.parse().unwrap(), THIEF6.parse().unwrap()], MINUTE).unwrap();
}

#[test]
fn device_gets_its_rate_and_no_more_at_all_its_addresses_together() {
    lab("device_gets_its_rate_and_no_more_at_all_its_addresses_together", |lab| {
        const RATE: u64 = 200_000;
        const TIME: Duration = Duration::from_secs(4);
        // One second's worth at once, the kernel's largest packet, and what waits in the sender's own buffers.
        let most = RATE * (TIME.as_secs() + 1) + 3 * 64 * 1024;
        streams(lab);
        let guard = lab.guarding(&square());
        admit_guest(&guard, Limits { down: Some(RATE), up: Some(RATE), data: None });
        admit_thief(&guard);
        for both in [[WEB4, WEB6].as_slice(), &[WEB4], &[WEB6]] {
            let limited = received(&lab.guest, both, TIME);
            assert!(limited <= most, "{both:?}: {limited} bytes down, at most {most}");
            assert!(limited >= RATE * TIME.as_secs() / 3, "{both:?}: only {limited} bytes down");
        }
        let limited = sent(&lab.guest, &[WEB4, WEB6], TIME);
        assert!(limited <= most + 2 * 128 * 1024, "{limited} bytes up, at most {most}");
        assert!(limited >= RATE * TIME.as_secs() / 3, "only {limited} bytes up");
        let free = received(&lab.thief, &[WEB4, WEB6], TIME);
        assert!(free > 4 * most, "the device without limits got {free} bytes");
        // Another rate holds from now on, for what is open as for what comes.
        admit_guest(&guard, Limits::default());
        let freed = received(&lab.guest, &[WEB4, WEB6], TIME);
        assert!(freed > 4 * most, "without its limits it got {freed} bytes");
    });
}

#[test]
fn device_that_has_used_up_its_data_is_out_in_both_families() {
    lab("device_that_has_used_up_its_data_is_out_in_both_families", |lab| {
        const DATA: u64 = 300_000;
        streams(lab);
        lab.services();
        let guard = lab.guarding(&square());
        admit_guest(&guard, Limits { data: Some(DATA), ..Limits::default() });
        admit_thief(&guard);
        let mut idle = lab.guest.connect(WEB6, 443);
        assert_eq!(talk(&mut idle).unwrap(), "internet");
        // A renewal gives nothing anew.
        assert!(received(&lab.guest, &[WEB4], Duration::from_millis(300)) <= DATA);
        admit_guest(&guard, Limits { data: Some(DATA), ..Limits::default() });
        let begun = Instant::now();
        assert!(received(&lab.guest, &[WEB4], Duration::from_secs(1)) <= DATA);
        assert_eq!(lab.guest.udp(WEB6, 443), Err(Failure::Refused), "IPv6 counts with IPv4");
        eventually("its pairs are gone", || {
            guard.guests().unwrap().iter().all(|guest| guest.mac != GUEST).then_some(())
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert!(talk(&mut idle).is_err(), "what was open goes on");
        assert_eq!(lab.guest.tcp(WEB4, 80).as_deref(), Ok("portal"));
        assert_eq!(guard.spent().unwrap(), [GUEST]);
        let again = guard.admit(GUEST, &[GUEST4.parse().unwrap()], MINUTE);
        assert!(again.unwrap_err().to_string().contains("used up"));
        // The device without limits has had more, and goes on.
        assert!(received(&lab.thief, &[WEB4, WEB6], Duration::from_secs(1)) > 4 * DATA);
        assert_eq!(lab.thief.tcp(WEB4, 443).as_deref(), Ok("internet"));
        // Its session is ended, and another begins from nothing.
        guard.expel(GUEST).unwrap();
        assert!(guard.spent().unwrap().is_empty());
        admit_guest(&guard, Limits { data: Some(DATA), ..Limits::default() });
        assert_eq!(lab.guest.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}

#[test]
fn limits_survive_a_killed_guard_and_a_flush() {
    lab("limits_survive_a_killed_guard_and_a_flush", |lab| {
        const DATA: u64 = 1_000_000;
        streams(lab);
        lab.services();
        let guard = lab.guarding(&square());
        let limits = Limits { down: Some(100_000), up: Some(100_000), data: Some(DATA) };
        admit_guest(&guard, limits);
        assert!(received(&lab.guest, &[WEB4], Duration::from_secs(2)) > 100_000);
        guard.kill();
        let guard = lab.guard();
        assert!(guard.health().unwrap().matches, "{}", guard.health().unwrap().difference);
        let slow = received(&lab.guest, &[WEB6], Duration::from_secs(2));
        assert!(slow < 500_000, "{slow} bytes in two seconds after the guard came back");
        // What was used is looked at every second; then the tables are put back with it.
        thread::sleep(Duration::from_millis(2500));
        run("nft", "delete table inet sheshi");
        eventually("the rules are back", || (guard.health().unwrap().restored > 0).then_some(()));
        let slow = received(&lab.guest, &[WEB6], Duration::from_secs(2));
        assert!(slow < 500_000, "{slow} bytes in two seconds after a flush");
        let used = run("nft", "list table inet sheshi");
        let quota = used.lines().find(|line| line.contains("quota over") && line.contains("used")).unwrap_or(&used);
        assert!(quota.contains("used"), "{quota}");
        // Expelled and admitted anew, it has what it had at the beginning.
        guard.expel(GUEST).unwrap();
        admit_guest(&guard, Limits::default());
        assert!(received(&lab.guest, &[WEB4, WEB6], Duration::from_secs(2)) > 4 * DATA);
    });
}
