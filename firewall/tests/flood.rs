//! One attacker with fifty thousand MACs.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{
    io::Write as _,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use common::square;
use lab::*;
use socket2::{Domain, Protocol, Socket, Type};

const MACS: u32 = 50_000;
const GATEWAY_MAC: [u8; 6] = [2, 0, 0x5e, 0x10, 0, 0xfe];

/// An Ethernet frame with a UDP datagram of the device of this number, as it would send it.
fn frame(number: u32, to: [u8; 4], port: u16) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let mut ip = vec![
        0x45,
        0,
        0,
        33,
        0,
        0,
        0x40,
        0,
        64,
        17,
        0,
        0,
        10,
        80,
        (1 + number / 250 % 14) as u8,
        (number % 250 + 1) as u8,
    ];
    ip.extend(to);
    let sum = ip.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let source = 1024 + (number % 60_000) as u16;
    let udp = [source.to_be_bytes(), port.to_be_bytes(), [0, 13], [0, 0]].concat();
    [&GATEWAY_MAC[..], &[2, 0xf1, 0, a, b, c], &[8, 0], &ip, &udp, b"flood"].concat()
}

#[test]
fn fifty_thousand_macs_of_one_attacker_leave_the_admitted_online() {
    lab("fifty_thousand_macs_of_one_attacker_leave_the_admitted_online", |lab| {
        lab.services();
        let guard = lab.guarding(&square());
        guard.admit_guest();
        let mut open = lab.guest.connect(WEB4, 443);
        assert_eq!(talk(&mut open).unwrap(), "internet");
        lab.tap.take();
        let (sent, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (Arc::clone(&sent), Arc::clone(&over));
        lab.thief.call(move || {
            let everything = Protocol::from(0);
            let mut wire = Socket::new(Domain::PACKET, Type::RAW, Some(everything)).unwrap();
            let mut interfaces = nix::ifaddrs::getifaddrs().unwrap();
            let here = interfaces.find(|found| {
                found.interface_name == "eth0" && found.address.is_some_and(|it| it.as_link_addr().is_some())
            });
            let here = here.unwrap().address.unwrap();
            nix::sys::socket::bind(wire.as_raw_fd(), here.as_link_addr().unwrap()).unwrap();
            thread::spawn(move || {
                for number in 0..MACS {
                    // By turns to the internet, which is refused, and to our DNS, which answers.
                    let (to, port) = if number % 2 == 0 { ([198, 18, 0, 10], 4433) } else { ([10, 80, 0, 1], 53) };
                    if wire.write(&frame(number, to, port)).is_ok() {
                        counted.fetch_add(1, Relaxed);
                    }
                    if number % 50 == 0 {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                ended.store(true, Relaxed);
            });
        });
        // While it lasts, what is open goes on and what is new begins.
        let (begun, mut longest, mut rounds) = (Instant::now(), Duration::ZERO, 0);
        while !over.load(Relaxed) {
            let round = Instant::now();
            // A packet that the full wire loses comes again; what the rules or a full table refuse does not.
            eventually("what is open goes on", || talk(&mut open).ok());
            eventually("a connection begins", || lab.guest.tcp(WEB6, 443).ok());
            eventually("a name is resolved", || lab.guest.udp(RESOLVER4, 53).ok());
            longest = longest.max(round.elapsed());
            rounds += 1;
            // Slowly: a device has a thousand connections, and this one is not the attacker.
            thread::sleep(Duration::from_millis(50));
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not end");
        }
        let sent = sent.load(Relaxed);
        println!("{sent} MACs in {:?}; the longest of {rounds} rounds took {longest:?}", begun.elapsed());
        assert!(sent > MACS * 9 / 10 && rounds >= 5, "{sent} frames, {rounds} rounds");
        // The control: they came to the rules, and nowhere further.
        let health = guard.health().unwrap();
        let met = |promise: &str| health.counters.iter().find(|counter| counter.promise == promise).unwrap().packets;
        assert!(met("C11") + met("C09") > u64::from(sent / 2), "{:?}", health.counters);
        assert!(!lab.tap.take().iter().any(|packet| packet.windows(5).any(|part| part == b"flood")));
        assert!(health.matches && health.in_force);
        assert_eq!(guard.guests().unwrap().len(), 2);
        // Somebody new is admitted as before.
        guard.admit(THIEF, &[THIEF4.parse().unwrap()], Duration::from_secs(60)).unwrap();
        assert_eq!(lab.thief.tcp(WEB4, 443).as_deref(), Ok("internet"));
    });
}
