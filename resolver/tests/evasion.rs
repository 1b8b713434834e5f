//! Ways to have a blocked name all the same: spelling, length, type, transport and aliases, while generations are swapped. None may get
//! through, and no name that only looks alike may be blocked.

mod common;
#[path = "common/secure.rs"]
mod secure;

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use common::*;
use hyper::Method;
use secure::{Keys, ask_framed};
use sheshi_resolver::Clients;

/// Where blocked names would lead.
const EVIL: [u8; 4] = [203, 0, 113, 66];
const BLOCKED: [&str; 2] = ["blocked.example", "xn--bcher-kva.example"];

fn labels(labels: &[&[u8]]) -> Name {
    Name::from_labels(labels.iter().copied()).unwrap()
}

/// Blocked names as somebody might spell them.
fn spellings() -> Vec<Name> {
    let (long, longest) = (vec![b'x'; 63], vec![b'y'; 45]);
    vec![
        name("blocked.example."),
        name("BLOCKED.EXAMPLE."),
        name("bLoCkEd.eXaMpLe."),
        name("www.blocked.example."),
        name("a.b.c.d.e.f.g.h.blocked.example."),
        labels(&[b"a.b", b"blocked", b"example"]),
        labels(&[b"\0", b"blocked", b"example"]),
        labels(&[b"\xff\xfe\\", b"Blocked", b"Example"]),
        labels(&[b" ", b"blocked", b"example"]),
        labels(&[b"*", b"blocked", b"example"]),
        name("xn--bcher-kva.blocked.example."),
        name("xn--bcher-kva.example."),
        name("XN--BCHER-KVA.Example."),
        name("_dns._https.www.xn--bcher-kva.example."),
        labels(&[&long, b"blocked", b"example"]),
        // 255 octets, the longest name there is.
        labels(&[&longest, &long, &long, &long, b"blocked", b"example"]),
    ]
}

/// Names that only look like it.
fn alike() -> Vec<Name> {
    vec![
        name("notblocked.example."),
        name("blocked-example."),
        name("blocked.example.org."),
        name("xblocked.example."),
        name("locked.example."),
        name("example."),
        name("xn--bcher-kvb.example."),
        labels(&[b"blocked.example"]),
        labels(&[b"www", b"blocked.example"]),
        labels(&[b"blocked\0", b"example"]),
        labels(&[b"blocked", b"example\0"]),
    ]
}

fn upstream() -> Scripted {
    Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let text = asked.to_lowercase().to_string();
        let is_blocked = |text: &str| BLOCKED.iter().any(|blocked| text.ends_with(&format!("{blocked}.")));
        let Some(hops) = text.strip_prefix("hops").and_then(|rest| rest[..1].parse::<usize>().ok()) else {
            let address = if is_blocked(&text) && !alike().contains(&asked) { EVIL } else { [192, 0, 2, 7] };
            return vec![answer(query, vec![a(&asked, address)])];
        };
        let (mut records, mut owner) = (Vec::new(), asked);
        for hop in 1..=hops {
            let target =
                if hop == hops { "Tracker.BLOCKED.example.".to_owned() } else { format!("h{hop}.cdn.example.") };
            records.push(cname(&owner, &target));
            owner = name(&target);
        }
        records.push(a(&owner, EVIL));
        vec![answer(query, records)]
    })
}

#[test]
fn no_spelling_type_transport_or_alias_gets_through_while_generations_swap() {
    let (keys, upstream) = (Keys::new(), upstream());
    let generations = [
        policy(&[("adult", &BLOCKED)]),
        policy(&[("gambling", &["bet.example"]), ("adult", &BLOCKED)]),
        policy(&[("malware", &BLOCKED), ("adult", &["other.example"])]),
    ];
    let settings = keys.secure(settings(&[upstream.address]));
    let bench = Bench::with(settings, generations[0].clone(), Clients::Everyone { group: None });
    let (tls, https) = (bench.handle.tls_addresses()[0], bench.handle.https_addresses()[0]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for generation in generations.iter().cycle() {
                bench.policy.store(generation.clone());
                std::thread::sleep(Duration::from_millis(3));
                if done.load(SeqCst) {
                    break;
                }
            }
        });
        // Whatever happens below, the swapping ends.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut dot = keys.dot(tls).unwrap();
            let mut by_all = |name: &Name, rtype: u16, edns: bool| -> Vec<(&str, Message)> {
                let mut asked = query("placeholder.", RecordType::from(rtype));
                asked.queries[0].name = name.clone();
                if !edns {
                    asked.edns = None;
                }
                let bytes = asked.to_vec().unwrap();
                let mut replies = vec![
                    ("UDP", udp_bytes(bench.address(), &bytes, 5000).expect("a reply")),
                    ("TCP", tcp_bytes(bench.address(), &bytes).expect("a reply")),
                    ("TLS", ask_framed(&mut dot, &bytes).expect("a reply")),
                ];
                // A connection for each would take its time; what differs by type has been asked by the others.
                if matches!(rtype, 1 | 65) {
                    replies.push(("HTTPS GET", keys.ask_https(https, Method::GET, true, &bytes)));
                    replies.push(("HTTPS POST", keys.ask_https(https, Method::POST, false, &bytes)));
                }
                replies.into_iter().map(|(how, reply)| (how, Message::from_vec(&reply).unwrap())).collect()
            };
            let types =
                (1..=65).filter(|rtype| *rtype != 41).chain([99, 108, 255, 256, 257, 1000, 32_768, 65_280, 65_535]);
            let types: Vec<u16> = types.collect();
            for name in spellings() {
                for rtype in &types {
                    for (how, reply) in by_all(&name, *rtype, rtype % 2 == 1) {
                        assert!(!addresses(&reply).contains(&IpAddr::from(EVIL)), "{name} {rtype} over {how}");
                        let real =
                            reply.answers.iter().any(|record| !matches!(u16::from(record.record_type()), 1 | 28));
                        assert!(!real, "{name} {rtype} over {how}: {reply:?}");
                    }
                }
            }
            let asked = upstream.names();
            assert!(asked.is_empty(), "asked of an upstream: {asked:?}");
            for hops in 1..=8 {
                for round in 0..3 {
                    for (how, reply) in by_all(&name(&format!("hops{hops}-{round}.shop.example.")), 1, true) {
                        assert!(!addresses(&reply).contains(&IpAddr::from(EVIL)), "{hops} hops over {how}");
                        assert!(ede(&reply).is_some(), "{hops} hops over {how}: {reply:?}");
                    }
                }
            }
            for name in alike() {
                for (how, reply) in by_all(&name, 1, true) {
                    assert_eq!(addresses(&reply), [IpAddr::from([192, 0, 2, 7])], "{name} over {how}");
                }
            }
        }));
        done.store(true, SeqCst);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
