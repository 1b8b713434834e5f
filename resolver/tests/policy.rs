//! Policy on its way in and answers on their way out: swaps under load.

mod common;

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::*;

#[test]
fn swapping_policies_under_load_loses_no_query_and_lets_nothing_through() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    // Two policies that differ, and agree on what is blocked.
    let policies =
        [policy(&[("adult", &["blocked.example"])]), policy(&[("gambling", &["blocked.example", "other.example"])])];
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, asked, address) = (stop.clone(), asked.clone(), bench.address());
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(address).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut buffer = [0; 1500];
                while !stop.load(Ordering::Relaxed) {
                    for (text, blocked) in [("x.blocked.example.", true), ("www.free.example.", false)] {
                        socket.send(&query(text, RecordType::A).to_vec().unwrap()).unwrap();
                        let length = socket.recv(&mut buffer).expect("no query is lost");
                        let reply = Message::from_vec(&buffer[..length]).unwrap();
                        assert_eq!(ede(&reply).is_some(), blocked, "{text}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let (start, mut swaps) = (Instant::now(), 0);
    while swaps < 200 || (asked.load(Ordering::Relaxed) < 2000 && start.elapsed() < Duration::from_secs(20)) {
        bench.policy.store(policies[swaps % 2].clone());
        swaps += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) >= 1000, "{asked:?} queries during {swaps} swaps");
    assert_eq!(upstream.count(), 1, "no swap empties the cache");
}
