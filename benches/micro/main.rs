//! What each part of answering a query costs by itself: match, verdict, cache hit, packet to packet, compile.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::{
    hint::black_box,
    net::UdpSocket,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sheshi_benches::{LISTED, compiled, edition, listed, policy, query, wire};
use sheshi_policy::{Compiled, GroupId, Moment, compile};
use sheshi_resolver::{
    Clients, Limits, PortalAddresses, Settings,
    inside::{LONGEST, Outcome, Pipeline},
};

/// Names asked for in turn, so that a bench does not measure one cache line.
const TURN: usize = 4096;

/// Asks `decide` for each name in turn.
fn turn(c: &mut Criterion, group: &str, name: &str, compiled: &Compiled, names: &[Vec<u8>]) {
    let view = compiled.view(GroupId(0), Moment::Unknown);
    let mut at = 0;
    c.benchmark_group(group).throughput(Throughput::Elements(1)).bench_function(name, |b| {
        b.iter(|| {
            at = (at + 1) % names.len();
            compiled.decide(black_box(&names[at]), &view)
        });
    });
}

fn matching(c: &mut Criterion) {
    let compiled = compiled(LISTED);
    let each = |name: fn(usize) -> String| -> Vec<Vec<u8>> {
        (0..TURN).map(|number| wire(&name(number * 71 % LISTED))).collect()
    };
    turn(c, "match", "listed", &compiled, &each(listed));
    turn(c, "match", "below listed", &compiled, &each(|number| format!("www.static.{}", listed(number))));
    turn(c, "match", "unlisted", &compiled, &each(|number| format!("www.{}", listed(number + LISTED))));
    turn(c, "match", "unlisted, five labels", &compiled, &each(|number| format!("a.b.c.{}", listed(number + LISTED))));
    turn(c, "match", "pattern", &compiled, &each(|number| format!("banner{}x.ads.example", number % 200)));
    turn(c, "match", "expression", &compiled, &each(|number| format!("track{number}7x.site.example")));
    let allowed = [wire("good.n7.adult.example")];
    turn(c, "verdict", "allowed below a listed name", &compiled, &allowed);
    turn(c, "verdict", "safe search", &compiled, &[wire("www.google.com")]);
    turn(c, "verdict", "signal", &compiled, &[wire("use-application-dns.net")]);
    let view = compiled.view(GroupId(0), Moment::Unknown);
    c.bench_function("verdict/address", |b| {
        b.iter(|| compiled.decide_address(black_box([192, 0, 2, 1].into()), &view));
    });
    c.bench_function("verdict/a view of a moment", |b| b.iter(|| compiled.view(GroupId(0), Moment::Unknown)));
}

/// An upstream's answer to a query of [`query`].
fn answered(query: &[u8]) -> Vec<u8> {
    let mut reply = query[..query.len() - 11].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 192, 0, 2, 7]);
    reply
}

fn pipeline() -> Pipeline {
    let portal = PortalAddresses { v4: Some([198, 51, 100, 1].into()), v6: None };
    Pipeline::new(Arc::new(compiled(LISTED)), portal, 64 << 20)
}

fn packets(c: &mut Criterion) {
    let mut pipeline = pipeline();
    let mut out = vec![0; LONGEST];
    let allowed: Vec<_> = (0..TURN).map(|number| query(&format!("www.{}", listed(number + LISTED)))).collect();
    for query in &allowed {
        assert_eq!(pipeline.answer(query, false, &mut out), Outcome::Ask);
        assert!(pipeline.hear(Some(&answered(query))));
        assert!(matches!(pipeline.again(query, false, &mut out), Outcome::Reply(_)));
    }
    let blocked: Vec<_> = (0..TURN).map(|number| query(&format!("x.{}", listed(number * 71 % LISTED)))).collect();
    let (portal, search) = (vec![query("portal.city.example")], vec![query("use-application-dns.net")]);
    let malformed = vec![vec![1, 2, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0]];
    let mut group = c.benchmark_group("packet to packet");
    group.throughput(Throughput::Elements(1));
    let kinds = [
        ("cached", &allowed),
        ("blocked", &blocked),
        ("portal", &portal),
        ("signal", &search),
        ("malformed", &malformed),
    ];
    for (name, queries) in kinds {
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) % queries.len();
                let outcome = pipeline.answer(black_box(&queries[at]), false, &mut out);
                assert!(matches!(outcome, Outcome::Reply(_)), "{name}: {outcome:?}");
                outcome
            });
        });
    }
    // What an upstream says, read, kept, judged and copied.
    let mut at = 0;
    group.bench_function("miss, without the asking", |b| {
        b.iter_batched(
            || {
                at += 1;
                let query = query(&format!("m{at}.example.org"));
                let answer = answered(&query);
                (query, answer)
            },
            |(query, answer)| {
                assert_eq!(pipeline.answer(&query, false, &mut out), Outcome::Ask);
                assert!(pipeline.hear(Some(&answer)));
                pipeline.again(&query, false, &mut out)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A whole resolver over loopback: one question after the other.
fn sockets(c: &mut Criterion) {
    let settings = Settings {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        upstreams: vec![std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into()],
        limits: Limits::single_client(),
        ..Settings::default()
    };
    let policy = Arc::new(ArcSwap::from_pointee(compiled(LISTED)));
    let other = compiled(LISTED);
    let clients = Clients::Everyone { group: None };
    let handle =
        sheshi_resolver::start(settings, policy.clone(), clients, Arc::new(|| Moment::Unknown)).expect("it starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(handle.addresses()[0]).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    let blocked = query(&listed(7));
    let mut buffer = [0; 1232];
    let mut ask = || {
        socket.send(&blocked).expect("sent");
        socket.recv(&mut buffer).expect("a reply");
    };
    c.bench_function("socket to socket/blocked", |b| b.iter(&mut ask));
    // The same while the policy is swapped before every question: what a new generation costs who asks first.
    let generations = [policy.load_full(), Arc::new(other)];
    let mut at = 0;
    c.bench_function("socket to socket/blocked, first of a generation", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                at += 1;
                policy.store(generations[at % 2].clone());
                let began = Instant::now();
                ask();
                took += began.elapsed();
            }
            took
        });
    });
}

fn compiling(c: &mut Criterion) {
    let policy = policy();
    let mut group = c.benchmark_group("compile");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let count = 100_000;
    let parsed = edition(&policy, count);
    let file = compile(&policy, std::slice::from_ref(&parsed), &mut |_| ()).expect("compiles");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("parse", |b| b.iter(|| edition(&policy, count)));
    group.bench_function("compile", |b| {
        b.iter(|| compile(&policy, std::slice::from_ref(&parsed), &mut |_| ()).expect("compiles"));
    });
    group.bench_function("load", |b| {
        b.iter_batched(|| file.clone(), |file| Compiled::from_bytes(file).expect("loads"), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = matching, packets, sockets, compiling
}
criterion_main!(benches);
