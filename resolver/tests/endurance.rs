//! Nothing grows. One test in this file, for it looks at its whole process.

mod common;

use std::{fs, net::TcpStream};

use common::*;

/// Descriptors, threads and resident kilobytes of this process.
fn figures() -> (usize, usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (count("/proc/self/fd"), count("/proc/self/task"), resident)
}

/// Fresh names, blocked ones, cached ones, failures, odd messages, connections that come and go.
fn round(bench: &Bench, round: usize) {
    for n in 0..400 {
        bench.ask(&format!("r{round}n{n}.example."), RecordType::A);
        bench.ask(&format!("r{round}n{n}.blocked.example."), RecordType::AAAA);
        bench.ask("www.example.", RecordType::HTTPS);
        if n % 20 == 0 {
            bench.ask(&format!("r{round}n{n}.fails.example."), RecordType::A);
            bench.ask_stranger(&format!("r{round}n{n}.example."), RecordType::A);
            drop(TcpStream::connect(bench.address()).unwrap());
            tcp(bench.address(), &query(&format!("t{round}n{n}.example."), RecordType::A)).expect("a reply");
            udp_bytes(bench.address(), &[1, 2, 1, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9], 2000).expect("a refusal");
        }
    }
    bench.policy.store(policy(&[("adult", &["blocked.example"])]));
}

#[test]
fn descriptors_threads_and_memory_are_flat_under_churn() {
    let upstream = Scripted::start(|query, _, _| {
        if query.queries[0].name().to_ascii().to_lowercase().ends_with("fails.example.") {
            let mut reply = query.clone().into_response();
            reply.metadata.response_code = ResponseCode::ServFail;
            return vec![reply.to_vec().unwrap()];
        }
        vec![answer(query, plain_records(query))]
    });
    let small = sheshi_resolver::Settings { cache_bytes: 256 << 10, ..settings(&[upstream.address]) };
    let bench = Bench::with(
        small,
        policy(&[("adult", &["blocked.example"])]),
        sheshi_resolver::Clients::Everyone { group: None },
    );
    // The first rounds fill the cache and what the allocator keeps at hand.
    (0..3).for_each(|n| round(&bench, n));
    // What is remembered here for the test itself: each question's bytes.
    let forget = || upstream.asked.lock().unwrap().clear();
    forget();
    let before = settled(&bench);
    (3..9).for_each(|n| {
        round(&bench, n);
        forget();
    });
    let after = settled(&bench);
    assert!(after.0 <= before.0 + 2, "descriptors: {before:?}, then {after:?}");
    assert!(after.1 <= before.1, "threads: {before:?}, then {after:?}");
    assert!(after.2 < before.2 + 4096, "kilobytes: {before:?}, then {after:?}");
    assert!(bench.handle.stats().cache_bytes <= 330 << 10, "{} bytes in the cache", bench.handle.stats().cache_bytes);
}

/// The figures once no connection is open and no question under way.
fn settled(bench: &Bench) -> (usize, usize, usize) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(15);
    loop {
        let (stats, now) = (bench.handle.stats(), figures());
        let quiet = stats.connections == 0 && stats.waiting == 0;
        std::thread::sleep(std::time::Duration::from_millis(300));
        if quiet && figures().0 == now.0 || std::time::Instant::now() > until {
            return figures();
        }
    }
}
