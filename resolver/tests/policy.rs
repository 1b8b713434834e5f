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
use sheshi_policy::{Client, Directory, Mac};
use sheshi_resolver::{Clients, Settings};

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

/// A gateway with two groups, for clients at 127.0.0.2 (guest) and 127.0.0.3 (staff); 127.0.0.4 is in a group that the policy lost.
fn two_groups(policy: Arc<sheshi_policy::Compiled>, upstream: &Scripted) -> Bench {
    let client = |last, group: &str| {
        let client = Client { mac: Mac([2, 0, 0, 0, 0, last]), group: group.into() };
        (std::net::IpAddr::from([127, 0, 0, last]), client)
    };
    let directory = Directory::new([client(2, "guest"), client(3, "staff"), client(4, "gone")]);
    let clients = Clients::Directory(Arc::new(arc_swap::ArcSwap::from_pointee(directory)));
    Bench::with(settings(&[upstream.address]), policy, clients)
}

fn ask_as(bench: &Bench, last: u8, text: &str, rtype: RecordType) -> Message {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
    socket.connect(bench.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send(&query(text, rtype).to_vec().unwrap()).unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

const LISTS: &[(&str, &str)] = &[
    ("adult.txt", "blocked.example"),
    ("social.txt", "social.example"),
    ("csam.txt", "floor.example"),
    ("hosts.txt", "203.0.113.0/24"),
];

const POLICY: &str = r#"
version = 1
allow = ["good.blocked.example", "alias.shop.example", "floor.example"]

[organisation]
name = "Tirana"
contact = ["mailto:wifi@tirana.example"]

[list.adult]
file = "adult.txt"
category = "adult"

[list.social]
file = "social.txt"
category = "social"

[list.csam]
file = "csam.txt"
category = "csam"

[list.hosts]
file = "hosts.txt"
category = "malware"
format = "addresses"

[category.social]
answer = "null-address"

[category.malware]
answer = "block-page"

[group.guest]

[group.staff]
categories = ["adult", "csam", "malware"]

[[order]]
names = ["ordered.example"]
number = "12/2026"
body = "AKEP"
date = 2026-01-01
basis = "Law 54/2024"
"#;

#[test]
fn groups_share_the_cache_and_never_each_others_verdicts() {
    let upstream = Scripted::plain();
    let bench = two_groups(policy_of(POLICY, LISTS), &upstream);
    for _ in 0..500 {
        let staff = ask_as(&bench, 3, "www.social.example.", RecordType::A);
        assert_eq!(addresses(&staff), [std::net::IpAddr::from([192, 0, 2, 7])]);
        let guest = ask_as(&bench, 2, "www.social.example.", RecordType::A);
        assert_eq!(addresses(&guest), [std::net::IpAddr::from([0, 0, 0, 0])]);
    }
    assert_eq!(upstream.count(), 1);
    // A client of a group that the policy does not have is held to every category.
    assert!(addresses(&ask_as(&bench, 4, "www.social.example.", RecordType::A))[0].is_unspecified());
    assert_eq!(addresses(&ask_as(&bench, 4, "free.example.", RecordType::A)).len(), 1);
}

#[test]
fn same_alias_is_judged_for_each_group_of_its_own() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        vec![answer(
            query,
            vec![cname(&asked, "edge.social.example."), a(&name("edge.social.example."), [192, 0, 2, 8])],
        )]
    });
    let bench = two_groups(policy_of(POLICY, LISTS), &upstream);
    for _ in 0..3 {
        assert_eq!(ask_as(&bench, 3, "shop.example.", RecordType::A).answers.len(), 2);
        let guest = ask_as(&bench, 2, "shop.example.", RecordType::A);
        assert!(addresses(&guest)[0].is_unspecified() && ede(&guest).is_some());
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn strongest_rule_along_the_chain_decides() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let target = match asked.to_lowercase().to_string().as_str() {
            "alias.shop.example." => "tracker.blocked.example.",
            "floor.shop.example." | "sub.alias.shop.example." => "x.floor.example.",
            "other.shop.example." => "tracker.blocked.example.",
            _ => return vec![answer(query, plain_records(query))],
        };
        vec![answer(query, vec![cname(&asked, target), a(&name(target), [192, 0, 2, 8])])]
    });
    let bench = two_groups(policy_of(POLICY, LISTS), &upstream);
    // Allowed by the admin: what a category says of its alias is weaker.
    assert_eq!(ask_as(&bench, 2, "alias.shop.example.", RecordType::A).answers.len(), 2);
    assert_eq!(addresses(&ask_as(&bench, 2, "good.blocked.example.", RecordType::A)).len(), 1);
    // Not allowed by anybody.
    assert!(ede(&ask_as(&bench, 2, "other.shop.example.", RecordType::A)).is_some());
    // The floor is stronger than any allowing, at the end of an alias too.
    for text in ["floor.shop.example.", "sub.alias.shop.example.", "floor.example."] {
        let reply = ask_as(&bench, 2, text, RecordType::A);
        assert_eq!(ede(&reply).map(|(code, _)| code), Some(16), "{text}");
        assert_eq!(addresses(&reply), [std::net::IpAddr::from(PORTAL4)], "{text}");
    }
}

#[test]
fn block_says_by_whom_why_and_where_to_object() {
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    (settings.contact, settings.organisation) = (Vec::new(), String::new());
    let bench = Bench::with(settings, policy_of(POLICY, LISTS), Clients::Everyone { group: None });
    let (code, text) = ede(&bench.ask("www.blocked.example.", RecordType::A)).unwrap();
    assert_eq!(code, 15);
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text["c"], serde_json::json!(["mailto:wifi@tirana.example"]));
    assert_eq!(text["o"], "Tirana");
    assert!(text["j"].as_str().unwrap().starts_with("Blocked"));
    // A legal order has a code of its own.
    assert_eq!(ede(&bench.ask("ordered.example.", RecordType::A)).map(|(code, _)| code), Some(16));
    let stats = bench.handle.stats();
    let by_category: Vec<_> = stats.blocked_by_category.iter().map(|(name, count)| (&**name, *count)).collect();
    assert_eq!((stats.blocked, by_category), (2, vec![("adult", 1), ("orders", 1)]));
    // A policy with other categories in other places takes nothing away and mixes nothing up.
    bench.policy.store(policy(&[("gambling", &["bet.example"])]));
    bench.ask("bet.example.", RecordType::A);
    let counts = bench.handle.stats().blocked_by_category;
    assert_eq!(
        counts.into_iter().map(|(name, count)| (name.into_string(), count)).collect::<Vec<_>>(),
        [("adult".to_owned(), 1), ("gambling".to_owned(), 1), ("orders".to_owned(), 1)]
    );
}

#[test]
fn block_answer_is_the_categorys_for_every_type() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy_of(POLICY, LISTS));
    for (text, v4, v6) in
        [("social.example.", [0, 0, 0, 0], "::"), ("floor.example.", PORTAL4.octets(), "2001:db8:5e::1")]
    {
        assert_eq!(addresses(&bench.ask(text, RecordType::A)), [std::net::IpAddr::from(v4)], "{text}");
        assert_eq!(addresses(&bench.ask(text, RecordType::AAAA)), [v6.parse::<std::net::IpAddr>().unwrap()], "{text}");
        for rtype in [RecordType::HTTPS, RecordType::TXT, RecordType::CNAME] {
            let other = bench.ask(text, rtype);
            assert_eq!((other.response_code, other.answers.len()), (ResponseCode::NoError, 0), "{text} {rtype}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn answer_with_a_listed_address_is_blocked() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        vec![answer(query, vec![a(&asked, [192, 0, 2, 1]), a(&asked, [203, 0, 113, 9])])]
    });
    let bench = Bench::start(&[upstream.address], policy_of(POLICY, LISTS));
    let reply = bench.ask("cheap.example.", RecordType::A);
    assert_eq!(addresses(&reply), [std::net::IpAddr::from(PORTAL4)]);
    assert_eq!(ede(&reply).map(|(code, _)| code), Some(15));
}

#[test]
fn search_engine_is_answered_as_its_safe_mode_for_every_type() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let safe = asked.to_lowercase().to_string() == "forcesafesearch.google.com.";
        let record = match query.queries[0].query_type() {
            RecordType::A => vec![a(&asked, if safe { [216, 239, 38, 120] } else { [192, 0, 2, 1] })],
            RecordType::AAAA => vec![aaaa(&asked, if safe { "2001:4860:4802:32::78" } else { "2001:db8::1" })],
            _ => vec![],
        };
        vec![answer(query, record)]
    });
    let bench = Bench::start(&[upstream.address], policy_of("version = 1", &[]));
    for asked in ["www.google.com.", "WWW.Google.AL."] {
        for _ in 0..2 {
            let reply = bench.ask(asked, RecordType::A);
            assert_eq!(addresses(&reply), [std::net::IpAddr::from([216, 239, 38, 120])], "{asked}");
            assert_eq!(reply.answers[0].to_string(), format!("{asked} 30 IN CNAME forcesafesearch.google.com."));
            let v6 = bench.ask(asked, RecordType::AAAA);
            assert_eq!(addresses(&v6), ["2001:4860:4802:32::78".parse::<std::net::IpAddr>().unwrap()]);
            assert!(addresses(&bench.ask(asked, RecordType::HTTPS)).is_empty());
        }
    }
    let names: std::collections::BTreeSet<_> = upstream.names().into_iter().collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["forcesafesearch.google.com."], "nothing else was asked for");
    assert_eq!(upstream.count(), 3);
}

#[test]
fn name_that_is_an_alias_of_a_search_engine_leads_to_its_safe_mode() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        if asked.to_lowercase().to_string() == "search.shop.example." {
            return vec![answer(
                query,
                vec![cname(&asked, "www.google.com."), a(&name("www.google.com."), [192, 0, 2, 1])],
            )];
        }
        vec![answer(query, vec![a(&asked, [216, 239, 38, 120])])]
    });
    let bench = Bench::start(&[upstream.address], policy_of("version = 1", &[]));
    for _ in 0..2 {
        let reply = bench.ask("search.shop.example.", RecordType::A);
        assert_eq!(addresses(&reply), [std::net::IpAddr::from([216, 239, 38, 120])]);
    }
}

#[test]
fn engine_whose_safe_mode_does_not_exist_is_blocked_until_it_does() {
    let back = Arc::new(AtomicBool::new(false));
    let upstream = Scripted::start({
        let back = back.clone();
        move |query, _, _| {
            let asked = query.queries[0].name().to_lowercase().to_string();
            if asked == "forcesafesearch.google.com." && !back.load(Ordering::Relaxed) {
                let mut reply = query.clone().into_response();
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(Record::from_rdata(name("google.com."), 0, soa("google.com.").data));
                return vec![reply.to_vec().unwrap()];
            }
            vec![answer(query, plain_records(query))]
        }
    });
    let settings = Settings { check_search_targets: true, ..settings(&[upstream.address]) };
    let bench = Bench::with(settings, policy_of("version = 1", &[]), Clients::Everyone { group: None });
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("told", &|| bench.handle.missing_search_targets() == ["forcesafesearch.google.com"]);
    assert_eq!(bench.handle.stats().search_targets_missing, 1);
    for kind in [RecordType::A, RecordType::AAAA, RecordType::HTTPS] {
        let reply = bench.ask("www.google.com.", kind);
        assert_eq!((reply.response_code, ede(&reply).map(|(code, _)| code)), (ResponseCode::NXDomain, Some(15)));
    }
    // Other engines are answered as ever.
    assert_eq!(addresses(&bench.ask("duckduckgo.com.", RecordType::A)).len(), 1);
    back.store(true, Ordering::Relaxed);
    // Another policy is looked at soon.
    bench.policy.store(policy_of("version = 1\ngeneration = 2", &[]));
    until("back", &|| bench.handle.missing_search_targets().is_empty());
    assert_eq!(addresses(&bench.ask("www.google.com.", RecordType::A)).len(), 1);
}
