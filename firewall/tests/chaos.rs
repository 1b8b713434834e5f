//! Mishaps at random while a stranger knocks and a guest's stream runs: nothing leaks, nobody is cut off for long.
//!
//! `SHESHI_CHAOS` says how many (30 unless it says otherwise), `SHESHI_CHAOS_SEED` which, `SHESHI_CHAOS_RECORD` names a
//! file for the result.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{
    net::UdpSocket,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::square;
use lab::*;
use sheshi_firewall::Ruleset;

/// Two hundred knocks a second, by turns in both families.
const KNOCK: Duration = Duration::from_millis(5);
/// How long the admitted stream may stall.
const STALL: Duration = Duration::from_secs(5);

/// What happens, and what it is called on record.
const MISHAPS: [&str; 9] = [
    "flush of all rules",
    "loss of the working table",
    "flush of the working table",
    "foreign rule at the top",
    "killed guard",
    "killed guard and a flush",
    "stopped guard and a flush",
    "guard ended in order",
    "change of rules",
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Numbers that repeat with their seed (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Sends from new sockets until told to stop; counts what the device's own kernel took.
fn knock(device: &Namespace, stop: &Arc<AtomicBool>) -> Arc<AtomicUsize> {
    let knocks = Arc::new(AtomicUsize::new(0));
    let (stop, counted) = (Arc::clone(stop), Arc::clone(&knocks));
    device.call(move || {
        thread::spawn(move || {
            let mut next = Instant::now();
            for (web, any) in [(WEB4, "0.0.0.0:0"), (WEB6, "[::]:0")].into_iter().cycle() {
                if stop.load(Relaxed) {
                    return;
                }
                // A new connection each time: nothing that an earlier moment allowed helps it.
                if UdpSocket::bind(any).and_then(|socket| socket.send_to(b"knock", (web, 4434))).is_ok() {
                    counted.fetch_add(1, Relaxed);
                }
                // By the clock: what a send takes does not make it rarer.
                next += KNOCK;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
    });
    knocks
}

/// Talks over one connection, and over another when that one ends; remembers the longest time without an answer.
fn stream(device: &Namespace, stop: &Arc<AtomicBool>) -> Arc<Mutex<(Duration, usize)>> {
    let longest = Arc::new(Mutex::new((Duration::ZERO, 0)));
    let (stop, kept) = (Arc::clone(stop), Arc::clone(&longest));
    device.call(move || {
        thread::spawn(move || {
            let mut last = Instant::now();
            let to = (WEB4.parse::<std::net::IpAddr>().unwrap(), 443).into();
            while !stop.load(Relaxed) {
                let Ok(mut open) = std::net::TcpStream::connect_timeout(&to, PATIENCE) else { continue };
                while !stop.load(Relaxed) && talk(&mut open).is_ok() {
                    let mut kept = kept.lock().unwrap();
                    *kept = (kept.0.max(last.elapsed()), kept.1 + 1);
                    last = Instant::now();
                    drop(kept);
                    thread::sleep(Duration::from_millis(20));
                }
            }
            let mut kept = kept.lock().unwrap();
            kept.0 = kept.0.max(last.elapsed());
        });
    });
    longest
}

#[test]
fn mishaps_at_random_leak_nothing_and_stall_nobody() {
    lab("mishaps_at_random_leak_nothing_and_stall_nobody", |lab| {
        let rounds = number("SHESHI_CHAOS", 30);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = number("SHESHI_CHAOS_SEED", now) | 1;
        println!("SHESHI_CHAOS_SEED={seed}");
        let mut dice = Dice(seed);
        let mut guard = lab.guarding(&square());
        guard.admit_guest();
        // The control: the same knocks of an admitted device arrive.
        let stop = Arc::new(AtomicBool::new(false));
        let knocks = knock(&lab.guest, &stop);
        eventually("knocks", || (knocks.load(Relaxed) > 20).then_some(()));
        stop.store(true, Relaxed);
        let arrived = || lab.tap.take().iter().filter(|packet| packet.windows(5).any(|part| part == b"knock")).count();
        assert!(arrived() > 10);
        thread::sleep(2 * KNOCK);
        arrived();

        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let (knocks, stream) = (knock(&lab.thief, &stop), stream(&lab.guest, &stop));
        let mut happened = [0; MISHAPS.len()];
        let mut leaked = 0;
        for round in 0..rounds {
            let mishap = dice.below(MISHAPS.len() as u64) as usize;
            happened[mishap] += 1;
            match mishap {
                0 => drop(run("nft", "flush ruleset")),
                1 => drop(run("nft", "delete table inet sheshi")),
                2 => drop(run("nft", "flush table inet sheshi")),
                3 => drop(run("nft", "insert rule inet sheshi forward accept")),
                4 => {
                    guard.kill();
                    thread::sleep(Duration::from_millis(dice.below(200)));
                    guard = lab.guard();
                }
                5 => {
                    guard.kill();
                    run("nft", "flush ruleset");
                    guard = lab.guard();
                    // The flush took the pairs, and the guard that knew them is dead: the gateway admits again.
                    guard.admit_guest();
                }
                6 => {
                    guard.signal("STOP");
                    run("nft", "flush ruleset");
                    thread::sleep(Duration::from_millis(dice.below(200)));
                    guard.signal("CONT");
                }
                7 => {
                    guard.end();
                    thread::sleep(Duration::from_millis(dice.below(200)));
                    guard = lab.guard();
                }
                _ => guard.apply(&Ruleset { generation: 100 + round, ..square() }).unwrap(),
            }
            eventually(MISHAPS[mishap], || guard.health().ok().filter(|health| health.matches && health.in_force));
            leaked += arrived();
            thread::sleep(Duration::from_millis(dice.below(100)));
        }
        let took = begun.elapsed();
        stop.store(true, Relaxed);
        leaked += arrived();
        let (knocks, (stall, answers)) = (knocks.load(Relaxed), *stream.lock().unwrap());
        let names: Vec<_> = MISHAPS.iter().zip(happened).map(|(name, times)| format!("{times} × {name}")).collect();
        let result = format!(
            "{rounds} mishaps in {:.0} s, seed {seed}: {}\n{leaked} of {knocks} knocks of a stranger leaked\n\
             longest stall of the admitted stream: {} ms, of {answers} answers\n",
            took.as_secs_f32(),
            names.join(", "),
            stall.as_millis(),
        );
        println!("{result}");
        if let Some(path) = std::env::var_os("SHESHI_CHAOS_RECORD") {
            std::fs::write(&path, &result).unwrap();
        }
        assert_eq!(leaked, 0, "{result}");
        assert!(stall <= STALL, "{result}");
        assert!(knocks as u64 > rounds * 10 && answers as u64 > rounds, "{result}");
        assert_eq!(guard.guests().unwrap().len(), 2, "{result}");
    });
}
