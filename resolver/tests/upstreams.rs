//! What upstreams, and those who pretend to be one, can and cannot do.

mod common;

use std::{
    collections::HashSet,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use common::*;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use sheshi_resolver::Clients;

const GOOD: [u8; 4] = [192, 0, 2, 7];
const FORGED: [u8; 4] = [203, 0, 113, 66];

/// A reply of the forger's, with this id and this question.
fn forged(query: &Message, id: u16, edit: impl Fn(&mut Message)) -> Vec<u8> {
    let mut reply = query.clone().into_response();
    reply.metadata.id = id;
    let owner = reply.queries[0].name().clone();
    reply.add_answer(a(&owner, FORGED));
    edit(&mut reply);
    reply.to_vec().unwrap()
}

#[test]
fn bad_datagrams_before_the_good_one_change_nothing() {
    type Forger = fn(&Message, &[u8]) -> Vec<Vec<u8>>;
    let cases: [(&str, Forger); 10] = [
        ("wrong id", |query, _| vec![forged(query, query.metadata.id ^ 1, |_| ())]),
        ("three wrong ids", |query, _| (1..4).map(|n| forged(query, query.metadata.id ^ n, |_| ())).collect()),
        ("five bytes", |query, _| vec![[&query.metadata.id.to_be_bytes()[..], &[0x81, 0x80, 0]].concat()]),
        ("one byte", |_, _| vec![vec![7]]),
        ("garbage", |query, _| vec![[&(query.metadata.id ^ 9).to_be_bytes()[..], &[0xff; 60]].concat()]),
        ("empty question", |query, _| vec![forged(query, query.metadata.id, |reply| reply.queries.clear())]),
        ("another name", |query, _| {
            vec![forged(query, query.metadata.id, |reply| {
                reply.queries[0].set_name(name("bank.example."));
            })]
        }),
        ("another type", |query, _| {
            vec![forged(query, query.metadata.id, |reply| {
                reply.queries[0].set_query_type(RecordType::AAAA);
            })]
        }),
        ("another case", |query, bytes| {
            let mut reply = forged(query, query.metadata.id, |_| ());
            for (byte, asked) in reply.iter_mut().zip(bytes).skip(12).take_while(|(_, asked)| **asked != 0) {
                *byte = if asked.is_ascii_alphabetic() { asked ^ 0x20 } else { *asked };
            }
            vec![reply]
        }),
        ("a query", |_, bytes| vec![bytes.to_vec()]),
    ];
    for (case, forger) in cases {
        let upstream = Scripted::start(move |query, bytes, stream| {
            let good = answer(query, vec![a(query.queries[0].name(), GOOD)]);
            if stream { vec![good] } else { [forger(query, bytes), vec![good]].concat() }
        });
        let bench = Bench::start(&[upstream.address], policy(&[]));
        let reply = bench.ask("www.example.com.", RecordType::A);
        assert_eq!(addresses(&reply), [std::net::IpAddr::from(GOOD)], "{case}");
        let cached = bench.ask("www.example.com.", RecordType::A);
        assert_eq!(addresses(&cached), [std::net::IpAddr::from(GOOD)], "{case}, cached");
    }
}

#[test]
fn records_nobody_asked_for_are_neither_returned_nor_remembered() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        if asked.to_lowercase().to_string() != "www.shop.example." {
            return vec![answer(query, vec![a(&asked, GOOD)])];
        }
        let mut reply = query.clone().into_response();
        reply.add_answer(a(&asked, GOOD));
        for victim in ["bank.example.", "example.", "com."] {
            reply.add_answer(a(&name(victim), FORGED));
            let ns = RData::NS(rdata::NS(name("ns.evil.example.")));
            reply.add_authority(Record::from_rdata(name(victim), 86_400, ns));
            reply.add_additional(a(&name(victim), FORGED));
        }
        reply.add_additional(a(&name("ns.evil.example."), FORGED));
        vec![reply.to_vec().unwrap()]
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let reply = bench.ask("www.shop.example.", RecordType::A);
    assert_eq!((reply.answers.len(), reply.authorities.len(), reply.additionals.len()), (1, 0, 0));
    for victim in ["bank.example.", "example.", "com.", "ns.evil.example."] {
        assert_eq!(addresses(&bench.ask(victim, RecordType::A)), [std::net::IpAddr::from(GOOD)], "{victim}");
    }
    assert_eq!(upstream.count(), 5);
}

#[test]
fn equal_questions_are_asked_once_whatever_their_spelling_and_options() {
    let upstream = Scripted::start(|query, _, _| {
        std::thread::sleep(Duration::from_millis(300));
        vec![answer(query, plain_records(query))]
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let address = bench.address();
    let barrier = Arc::new(Barrier::new(60));
    let clients: Vec<_> = (0..60)
        .map(|n| {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                let text = if n % 2 == 0 { "WWW.example.com." } else { "www.EXAMPLE.com." };
                let mut query = query(text, RecordType::A);
                if n % 3 == 0 {
                    let subnet = ClientSubnet::new(std::net::Ipv4Addr::new(198, 51, n, 0).into(), 24, 0);
                    query.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Subnet(subnet));
                }
                barrier.wait();
                addresses(&udp(address, &query).expect("a reply")).len()
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 1));
    assert_eq!(upstream.count(), 1);
    let asked = upstream.asked.lock().unwrap();
    let options = Message::from_vec(&asked[0].0).unwrap().edns.unwrap();
    let codes: Vec<_> = options.options().as_ref().iter().map(|(code, _)| u16::from(*code)).collect();
    assert_eq!(codes, [10], "a client's subnet goes no further; the cookie is ours");
}

#[test]
fn ports_ids_and_letters_of_upstream_queries_are_random() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    for n in 0..400 {
        bench.ask(&format!("n{n}.entropy.example."), RecordType::A);
    }
    let asked = upstream.asked.lock().unwrap();
    assert_eq!(asked.len(), 400);
    let ports: HashSet<u16> = asked.iter().map(|(_, port)| *port).collect();
    let ids: HashSet<&[u8]> = asked.iter().map(|(bytes, _)| &bytes[..2]).collect();
    let spelt: HashSet<&[u8]> = asked.iter().map(|(bytes, _)| &bytes[12..36]).collect();
    assert!(ports.len() >= 388 && ids.len() >= 388, "{} ports, {} ids", ports.len(), ids.len());
    assert!(spelt.len() >= 300, "{} spellings", spelt.len());
    // Ports from all sixteenths of the range above 1024.
    let sixteenths: HashSet<u16> = ports.iter().map(|port| port >> 12).collect();
    assert_eq!(sixteenths.len(), 16);
}

#[test]
fn silent_upstream_is_left_for_the_next_and_asked_last() {
    let silent = Scripted::start(|_, _, _| vec![]);
    let good = Scripted::plain();
    let bench = Bench::start(&[silent.address, good.address], policy(&[]));
    let start = Instant::now();
    assert_eq!(addresses(&bench.ask("a.example.", RecordType::A)).len(), 1);
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    let (before, start) = (silent.count(), Instant::now());
    assert_eq!(addresses(&bench.ask("b.example.", RecordType::A)).len(), 1);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(silent.count(), before);
}

#[test]
fn failing_upstream_is_left_for_the_next() {
    let failing = Scripted::start(|query, _, _| {
        let mut reply = query.clone().into_response();
        reply.metadata.response_code = ResponseCode::ServFail;
        vec![reply.to_vec().unwrap()]
    });
    let good = Scripted::plain();
    let bench = Bench::start(&[failing.address, good.address], policy(&[]));
    assert_eq!(addresses(&bench.ask("a.example.", RecordType::A)).len(), 1);
    assert!(bench.handle.stats().upstream_failures >= 1);
}

#[test]
fn with_all_upstreams_silent_the_failure_is_told_once_and_remembered() {
    let silent = Scripted::start(|_, _, _| vec![]);
    let bench = Bench::start(&[silent.address], policy(&[("adult", &["blocked.example"])]));
    let start = Instant::now();
    let reply = bench.ask("a.example.", RecordType::A);
    assert_eq!(reply.response_code, ResponseCode::ServFail);
    assert_eq!(ede(&reply).map(|(code, _)| code), Some(22));
    assert!(start.elapsed() < Duration::from_millis(3800), "{:?}", start.elapsed());
    let (asked, start) = (silent.count(), Instant::now());
    assert_eq!(bench.ask("a.example.", RecordType::A).response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(silent.count(), asked, "RFC 9520: a failure is not asked for again at once");
    // What is blocked is blocked without any upstream.
    assert!(ede(&bench.ask("blocked.example.", RecordType::A)).is_some_and(|(code, _)| code == 15));
}

#[test]
fn expired_answer_is_served_when_no_upstream_answers_but_never_when_it_is_blocked_by_now() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dead = Arc::new(AtomicBool::new(false));
    let upstream = Scripted::start({
        let dead = dead.clone();
        move |query, _, _| {
            if dead.load(Ordering::Relaxed) {
                return vec![];
            }
            let mut record = a(query.queries[0].name(), GOOD);
            record.ttl = 1;
            vec![answer(query, vec![record])]
        }
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    assert_eq!(addresses(&bench.ask("a.example.", RecordType::A)).len(), 1);
    assert_eq!(addresses(&bench.ask("b.example.", RecordType::A)).len(), 1);
    dead.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(1200));
    let start = Instant::now();
    let stale = bench.ask("a.example.", RecordType::A);
    assert_eq!((addresses(&stale).len(), stale.answers[0].ttl), (1, 30));
    assert_eq!(ede(&stale).map(|(code, _)| code), Some(3));
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_millis(2500), "{took:?}");
    // The next one does not wait again.
    let start = Instant::now();
    assert_eq!(addresses(&bench.ask("a.example.", RecordType::A)).len(), 1);
    assert!(start.elapsed() < Duration::from_millis(300));
    bench.policy.store(policy(&[("adult", &["a.example"])]));
    assert!(ede(&bench.ask("a.example.", RecordType::A)).is_some_and(|(code, _)| code == 15));
    // And when the upstream is back, so are fresh answers.
    bench.policy.store(policy(&[]));
    dead.store(false, Ordering::Relaxed);
    let back = Instant::now();
    while bench.ask("b.example.", RecordType::A).answers[0].ttl != 1 {
        assert!(back.elapsed() < Duration::from_secs(6), "back within five seconds");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn answer_of_64_kib_does_not_slow_others_down() {
    let upstream = Scripted::start(|query, bytes, stream| {
        let asked = query.queries[0].name().clone();
        if !asked.to_lowercase().to_string().starts_with("big") {
            return vec![answer(query, plain_records(query))];
        }
        if !stream {
            let mut cut = query.clone().into_response();
            cut.metadata.truncation = true;
            return vec![cut.to_vec().unwrap()];
        }
        let end = 12 + bytes[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let mut reply = bytes[..end].to_vec();
        reply[2] |= 0x80;
        reply[6..12].copy_from_slice(&[0x0f, 0, 0, 0, 0, 0]);
        for n in 0..0x0f00u16 {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, (n >> 8) as u8, n as u8]);
        }
        vec![reply]
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let address = bench.address();
    assert_eq!(addresses(&bench.ask("warm.example.", RecordType::A)).len(), 1);
    let big: Vec<_> = (0..3)
        .map(|n| {
            std::thread::spawn(move || {
                tcp(address, &query(&format!("big{n}.{}example.", "a.".repeat(10)), RecordType::A))
            })
        })
        .collect();
    for _ in 0..50 {
        let start = Instant::now();
        assert_eq!(addresses(&bench.ask("warm.example.", RecordType::A)).len(), 1);
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    }
    for big in big {
        assert_eq!(big.join().unwrap().map(|reply| reply.answers.len()), Some(0x0f00));
    }
}

#[test]
fn name_with_an_alias_loop_fails() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        vec![answer(query, vec![cname(&asked, "b.example."), cname(&name("b.example."), &asked.to_string())])]
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    assert_eq!(bench.ask("a.example.", RecordType::A).response_code, ResponseCode::ServFail);
}

#[test]
fn dnssec_records_reach_who_asks_for_them_and_ad_is_never_claimed() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let mut reply = query.clone().into_response();
        reply.metadata.authentic_data = true;
        reply.add_answer(a(&asked, GOOD));
        // RRSIG over A by example., in wire form.
        let mut data = vec![0, 1, 8, 2, 0, 0, 1, 44, 0x7f, 0, 0, 0, 0x60, 0, 0, 0, 0, 42];
        data.extend_from_slice(b"\x07example\x00signature");
        let rrsig = RData::Unknown { code: RecordType::RRSIG, rdata: rdata::NULL::with(data) };
        reply.add_answer(Record::from_rdata(asked, 300, rrsig));
        vec![reply.to_vec().unwrap()]
    });
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    let plain = bench.ask("www.example.", RecordType::A);
    assert_eq!((plain.answers.len(), plain.authentic_data), (1, false));
    let mut wants = query("www.example.", RecordType::A);
    wants.edns.as_mut().unwrap().set_dnssec_ok(true);
    wants.metadata.checking_disabled = true;
    wants.metadata.authentic_data = true;
    let signed = udp(bench.address(), &wants).unwrap();
    assert_eq!((signed.answers.len(), signed.authentic_data, signed.checking_disabled), (2, false, true));
    // Checking disabled is not filtering disabled.
    wants.queries[0].set_name(name("blocked.example."));
    let blocked = udp(bench.address(), &wants).unwrap();
    assert!(ede(&blocked).is_some() && !blocked.authentic_data);
}

#[test]
fn upstream_that_is_the_resolver_itself_is_refused_at_start() {
    let mut settings = settings(&["127.0.0.1:5399".parse().unwrap()]);
    settings.listen = vec!["127.0.0.1:5399".parse().unwrap()];
    let policy = Arc::new(arc_swap::ArcSwap::new(policy(&[])));
    let clock = Arc::new(|| sheshi_policy::Moment::Unknown);
    let error = sheshi_resolver::start(settings, policy, Clients::Everyone { group: None }, clock).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:5399 is this resolver itself"), "{error}");
}

#[test]
fn questions_under_way_are_bounded_for_each_client_and_blocks_go_on() {
    let silent = Scripted::start(|_, _, _| vec![]);
    let mut settings = settings(&[silent.address]);
    settings.limits.waiting_per_client = 8;
    let bench = Bench::with(settings, policy(&[("adult", &["blocked.example"])]), Clients::Everyone { group: None });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(bench.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    for n in 0..40 {
        socket.send(&query(&format!("r{n}.tunnel.example."), RecordType::A).to_vec().unwrap()).unwrap();
    }
    let mut buffer = [0; 1500];
    let turned_away = std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count();
    assert_eq!(turned_away, 32);
    assert_eq!(bench.handle.stats().over_limit, 32);
    assert_eq!(bench.handle.stats().waiting, 8);
    assert!(ede(&bench.ask("blocked.example.", RecordType::A)).is_some_and(|(code, _)| code == 15));
}

#[test]
fn address_that_does_not_exist_yet_can_be_listened_on() {
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    settings.listen = vec![SocketAddr::from(([192, 0, 2, 77], 0)), "[2001:db8:77::1]:0".parse().unwrap()];
    let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
    assert_eq!(bench.handle.addresses().len(), 2);
}

#[test]
fn one_slow_name_does_not_make_an_upstream_silent() {
    let first = Scripted::start(|query, _, _| {
        let slow = query.queries[0].name().to_lowercase().to_string().starts_with("slow");
        if slow { vec![] } else { vec![answer(query, plain_records(query))] }
    });
    let second = Scripted::plain();
    let bench = Bench::start(&[first.address, second.address], policy(&[]));
    let address = bench.address();
    let slow = std::thread::spawn(move || udp(address, &query("slow.example.", RecordType::A)));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(addresses(&bench.ask("fast.example.", RecordType::A)).len(), 1);
    let reply = slow.join().unwrap().expect("the second upstream knows it");
    assert_eq!(addresses(&reply).len(), 1);
    assert_eq!(second.names().iter().collect::<HashSet<_>>().len(), 1);
    assert_eq!(addresses(&bench.ask("other.example.", RecordType::A)).len(), 1);
    assert!(first.names().contains(&"other.example.".to_owned()), "the first upstream is still asked first");
}
