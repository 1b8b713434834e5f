//! What guests and strangers get.

mod common;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use common::*;
use sheshi_policy::{Client, Directory, Mac};
use sheshi_resolver::Clients;

#[test]
fn allowed_name_is_resolved_once_and_then_cached_with_its_ttl_counting_down() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let first = bench.ask("www.example.com.", RecordType::A);
    assert_eq!(first.response_code, ResponseCode::NoError);
    assert_eq!(addresses(&first), ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(first.answers[0].ttl, 300);
    std::thread::sleep(Duration::from_millis(1100));
    let second = bench.ask("WWW.Example.com.", RecordType::A);
    assert_eq!(second.queries[0].name().to_string(), "WWW.Example.com.", "the client's own spelling comes back");
    assert!((298..300).contains(&second.answers[0].ttl), "{}", second.answers[0].ttl);
    assert_eq!(upstream.count(), 1);
    let stats = bench.handle.stats();
    assert_eq!((stats.queries, stats.allowed, stats.cache_hits, stats.cache_misses), (2, 2, 1, 1));
}

#[test]
fn blocked_name_is_blocked_for_every_type_spelling_and_transport_and_never_asked_for() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    for text in ["blocked.example.", "BLOCKED.example.", "a.b.blocked.EXAMPLE.", "x\\.y.blocked.example."] {
        for number in [1, 28, 5, 2, 6, 15, 16, 33, 64, 65, 255, 1000, 65_280] {
            let query = query(text, RecordType::from(number));
            for reply in [udp(bench.address(), &query), tcp(bench.address(), &query)] {
                let reply = reply.unwrap_or_else(|| panic!("{text} {number}"));
                assert!(
                    addresses(&reply).iter().all(|address| address.is_unspecified() || *address == PORTAL4),
                    "{text} {number}"
                );
                let (code, text_) = ede(&reply).unwrap_or_else(|| panic!("{text} {number} says why"));
                assert_eq!(code, 15);
                assert!(text_.starts_with('{') && text_.contains("mailto:wifi@city.example"), "{text_}");
            }
        }
    }
    // A label of bytes that no list could spell.
    let mut odd = query("blocked.example.", RecordType::A);
    odd.queries[0].name = Name::from_labels([&b"\0\xff."[..], b"blocked", b"example"]).unwrap();
    assert!(ede(&udp(bench.address(), &odd).unwrap()).is_some());
    assert_eq!(upstream.count(), 0);
    // A neighbour is not blocked.
    assert_eq!(addresses(&bench.ask("notblocked.example.", RecordType::A)).len(), 1);
}

#[test]
fn without_edns_a_block_answer_has_no_opt_and_says_nothing() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    let mut plain = query("blocked.example.", RecordType::A);
    plain.edns = None;
    let reply = udp(bench.address(), &plain).unwrap();
    assert!(reply.edns.is_none() && reply.additionals.is_empty());
}

#[test]
fn alias_chain_of_any_length_that_ends_in_a_blocked_name_is_blocked() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let hops: usize = asked.to_string()[1..2].parse().unwrap();
        let mut records = Vec::new();
        let mut owner = asked;
        for hop in 0..hops {
            let target =
                if hop + 1 == hops { "tracker.blocked.example.".to_owned() } else { format!("hop{hop}.cdn.example.") };
            records.push(cname(&owner, &target));
            owner = name(&target);
        }
        records.push(a(&owner, [192, 0, 2, 9]));
        vec![answer(query, records)]
    });
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    for hops in 1..=8 {
        for round in 0..2 {
            let reply = bench.ask(&format!("n{hops}.shop.example."), RecordType::A);
            assert!(!addresses(&reply).contains(&"192.0.2.9".parse().unwrap()), "{hops} hops, round {round}");
            assert!(ede(&reply).is_some(), "{hops} hops, round {round}");
            assert!(!reply.answers.iter().any(|record| record.record_type() == RecordType::CNAME));
        }
    }
    assert_eq!(bench.handle.stats().redecided_in_answer, 16);
}

#[test]
fn service_binding_that_leads_to_a_blocked_name_is_blocked() {
    let upstream = Scripted::start(|query, _, _| {
        let mut data = vec![0, query.queries[0].name().to_string().starts_with("svc").into()];
        data.extend_from_slice(b"\x03www\x07blocked\x07example\x00");
        let record = Record::from_rdata(
            query.queries[0].name().clone(),
            60,
            RData::Unknown { code: query.queries[0].query_type(), rdata: rdata::NULL::with(data) },
        );
        vec![answer(query, vec![record])]
    });
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    for (text, rtype) in [
        ("svc.example.", RecordType::HTTPS),
        ("alias.example.", RecordType::HTTPS),
        ("svc2.example.", RecordType::SVCB),
    ] {
        let reply = bench.ask(text, rtype);
        assert!(reply.answers.is_empty(), "{text}");
        assert!(ede(&reply).is_some());
    }
}

#[test]
fn answers_that_point_into_this_network_are_withheld() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let label = asked.to_lowercase().to_string();
        let record = match (query.queries[0].query_type(), &label[..2]) {
            (RecordType::A, "p1") => a(&asked, [10, 0, 0, 1]),
            (RecordType::A, "p2") => a(&asked, [127, 0, 0, 1]),
            (RecordType::A, "p3") => a(&asked, [169, 254, 169, 254]),
            (RecordType::A, "p4") => a(&asked, PORTAL4.octets()),
            (RecordType::AAAA, "p5") => aaaa(&asked, "fe80::1"),
            (RecordType::AAAA, "p6") => aaaa(&asked, "::ffff:192.168.1.1"),
            (RecordType::AAAA, "p7") => aaaa(&asked, "64:ff9b::10.0.0.1"),
            (RecordType::HTTPS, "p8") => Record::from_rdata(
                asked.clone(),
                60,
                RData::Unknown {
                    code: RecordType::HTTPS,
                    rdata: rdata::NULL::with(vec![0, 1, 0, 0, 4, 0, 4, 192, 168, 0, 1]),
                },
            ),
            _ => a(&asked, [192, 168, 7, 7]),
        };
        vec![answer(query, vec![a(&name("other.example."), [1, 1, 1, 1]), record])]
    });
    let mut settings = settings(&[upstream.address]);
    settings.private_names = vec!["intranet.example".into()];
    let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
    for (text, rtype) in [
        ("p1.example.", RecordType::A),
        ("p2.example.", RecordType::A),
        ("p3.example.", RecordType::A),
        ("p4.example.", RecordType::A),
        ("p5.example.", RecordType::AAAA),
        ("p6.example.", RecordType::AAAA),
        ("p7.example.", RecordType::AAAA),
        ("p8.example.", RecordType::HTTPS),
    ] {
        let reply = bench.ask(text, rtype);
        assert_eq!(reply.response_code, ResponseCode::NoError, "{text}");
        assert!(reply.answers.is_empty(), "{text}");
        assert_eq!(ede(&reply).map(|(code, _)| code), Some(15), "{text} {reply}");
    }
    let inside = bench.ask("wiki.intranet.example.", RecordType::A);
    assert_eq!(addresses(&inside), ["192.168.7.7".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn strangers_hear_of_the_portal_and_nothing_goes_upstream() {
    let upstream = Scripted::plain();
    let directory = Directory::default();
    let clients = Clients::Directory(Arc::new(ArcSwap::from_pointee(directory)));
    let bench = Bench::with(settings(&[upstream.address]), policy(&[("adult", &["blocked.example"])]), clients);
    // Both on the strangers' port and, from an address nobody admitted, on the guests'.
    for server in [bench.stranger_address(), bench.address()] {
        for text in
            ["www.example.com.", "blocked.example.", "portal.city.example.", "dGhpcyBpcyBhIHR1bm5lbA.tun.sx-lab.net."]
        {
            for (rtype, want) in [(RecordType::A, std::net::IpAddr::from(PORTAL4)), (RecordType::AAAA, PORTAL6.into())]
            {
                for reply in [udp(server, &query(text, rtype)), tcp(server, &query(text, rtype))] {
                    let reply = reply.unwrap();
                    assert_eq!(addresses(&reply), [want], "{text}");
                    assert!(reply.answers[0].ttl <= 5);
                }
            }
            for rtype in [
                RecordType::HTTPS,
                RecordType::TXT,
                RecordType::NULL,
                RecordType::MX,
                RecordType::CNAME,
                RecordType::ANY,
            ] {
                let reply = udp(server, &query(text, rtype)).unwrap();
                assert_eq!(reply.response_code, ResponseCode::NoError, "{text} {rtype}");
                assert!(reply.answers.is_empty());
                assert!(reply.authorities[0].ttl <= 5);
            }
        }
        let signal = udp(server, &query("use-application-dns.net.", RecordType::A)).unwrap();
        assert_eq!((signal.response_code, signal.answers.len()), (ResponseCode::NoError, 0));
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn admitted_client_is_served_from_the_moment_the_directory_has_it() {
    let upstream = Scripted::plain();
    let directory = Arc::new(ArcSwap::from_pointee(Directory::default()));
    let bench = Bench::with(settings(&[upstream.address]), policy(&[]), Clients::Directory(directory.clone()));
    assert_eq!(addresses(&bench.ask("www.example.com.", RecordType::A)), [std::net::IpAddr::from(PORTAL4)]);
    let client = Client { mac: Mac([2, 0, 0, 0, 0, 1]), group: "guest".into() };
    directory.store(Arc::new(Directory::new([("127.0.0.1".parse().unwrap(), client)])));
    assert_eq!(
        addresses(&bench.ask("www.example.com.", RecordType::A)),
        ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]
    );
    // The strangers' port serves strangers, whoever comes: the kernel sent it there.
    assert_eq!(addresses(&bench.ask_stranger("www.example.com.", RecordType::A)), [std::net::IpAddr::from(PORTAL4)]);
    directory.store(Arc::new(Directory::default()));
    assert_eq!(addresses(&bench.ask("www.example.com.", RecordType::A)), [std::net::IpAddr::from(PORTAL4)]);
}

#[test]
fn signals_and_special_names_are_answered_here() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy_of("version = 1", &[]));
    for text in [
        "use-application-dns.net.",
        "mask.icloud.com.",
        "mask-h2.icloud.com.",
        "x.onion.",
        "printer.local.",
        "foo.invalid.",
        "1.0.0.10.in-addr.arpa.",
        "router.home.arpa.",
    ] {
        let reply = bench.ask(text, RecordType::A);
        assert_eq!(reply.response_code, ResponseCode::NXDomain, "{text}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{text}");
    }
    let designated = bench.ask("_dns.resolver.arpa.", RecordType::SVCB);
    assert_eq!((designated.response_code, designated.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(
        addresses(&bench.ask("a.localhost.", RecordType::A)),
        ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(addresses(&bench.ask("localhost.", RecordType::AAAA)), ["::1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(addresses(&bench.ask("Portal.City.example.", RecordType::A)), [std::net::IpAddr::from(PORTAL4)]);
    assert!(bench.ask("portal.city.example.", RecordType::HTTPS).answers.is_empty());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn new_policy_holds_for_the_next_query_and_for_what_is_cached() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    assert_eq!(addresses(&bench.ask("soon.example.", RecordType::A)).len(), 1);
    for _ in 0..20 {
        bench.policy.store(policy(&[("adult", &["soon.example"])]));
        assert!(ede(&bench.ask("soon.example.", RecordType::A)).is_some());
        bench.policy.store(policy(&[]));
        assert_eq!(
            addresses(&bench.ask("soon.example.", RecordType::A)),
            ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]
        );
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn large_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let upstream = Scripted::start(|query, _, stream| {
        let asked = query.queries[0].name().clone();
        if stream {
            vec![answer(query, (0..200).map(|n| a(&asked, [192, 0, 2, n])).collect())]
        } else {
            let mut cut = query.clone().into_response();
            cut.metadata.truncation = true;
            vec![cut.to_vec().unwrap()]
        }
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let query_ = query("big.example.", RecordType::A);
    let whole = tcp(bench.address(), &query_).unwrap();
    assert_eq!((whole.answers.len(), whole.truncation), (200, false));
    let bytes = udp_bytes(bench.address(), &query_.to_vec().unwrap(), 2000).unwrap();
    let cut = Message::from_vec(&bytes).unwrap();
    assert!(cut.truncation && cut.answers.is_empty() && bytes.len() <= 1232);
    assert_eq!(upstream.count(), 2, "once over UDP, once over TCP, then from the cache");
}

#[test]
fn resolver_stops_when_its_handle_is_dropped() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let address = bench.address();
    assert!(udp(address, &query("a.example.", RecordType::A)).is_some());
    drop(bench);
    assert!(udp_bytes(address, &query("a.example.", RecordType::A).to_vec().unwrap(), 300).is_none());
    assert!(std::net::TcpStream::connect(address).is_err());
}
