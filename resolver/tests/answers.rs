//! What goes with an answer: cookies of clients and upstreams, and what a policy takes out of service bindings.

mod common;

use std::{net::UdpSocket, time::Duration};

use common::*;
use hickory_proto::rr::{
    rdata::HTTPS,
    rdata::svcb::{Alpn, EchConfigList, SVCB, SvcParamKey, SvcParamValue},
};
use sheshi_resolver::{Clients, NewNames, Rate};

const OURS: [u8; 8] = *b"a client";

/// A query for A that shows a cookie.
fn showing(text: &str, cookie: &[u8]) -> Vec<u8> {
    let mut bytes = query(text, RecordType::A).to_vec().unwrap();
    let length = bytes.len();
    bytes[length - 1] += 4 + cookie.len() as u8;
    bytes.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
    bytes.extend_from_slice(cookie);
    bytes
}

/// The cookie in a reply's or query's bytes.
fn cookie_in(message: &Message) -> Option<Vec<u8>> {
    let options = message.edns.as_ref()?.options();
    options
        .as_ref()
        .iter()
        .find_map(|(code, option)| (u16::from(*code) == 10).then(|| Vec::<u8>::try_from(option).unwrap()))
}

#[test]
fn every_reply_to_a_cookie_has_one_and_no_other_reply_has() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    for text in ["www.example.", "www.example.", "x.blocked.example.", "x.onion.", "portal.city.example."] {
        for reply in [
            udp_bytes(bench.address(), &showing(text, &OURS), 3000).unwrap(),
            tcp_bytes(bench.address(), &showing(text, &OURS)).unwrap(),
            udp_bytes(bench.stranger_address(), &showing(text, &OURS), 3000).unwrap(),
        ] {
            let cookie = cookie_in(&Message::from_vec(&reply).unwrap()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((cookie.len(), &cookie[..8], cookie[8]), (24, &OURS[..], 1), "{text}");
            // Shown again, it is given back as it is.
            let again = udp_bytes(bench.address(), &showing(text, &cookie), 3000).unwrap();
            assert_eq!(cookie_in(&Message::from_vec(&again).unwrap()), Some(cookie), "{text}");
        }
        assert_eq!(cookie_in(&bench.ask(text, RecordType::A)), None, "{text}");
    }
    // A forged one is answered like none, with a good one.
    let forged = [&OURS[..], &[1; 16]].concat();
    let reply =
        Message::from_vec(&udp_bytes(bench.address(), &showing("www.example.", &forged), 3000).unwrap()).unwrap();
    assert_eq!((reply.response_code, reply.answers.len()), (ResponseCode::NoError, 1));
    assert_ne!(cookie_in(&reply), Some(forged));
    // Lengths that no cookie has.
    for length in [0, 5, 7, 9, 15, 41] {
        let reply = udp_bytes(bench.address(), &showing("www.example.", &vec![1; length]), 3000).unwrap();
        assert_eq!(reply[3] & 0x0f, 1, "{length}");
    }
    assert_eq!(upstream.count(), 1, "cookies ask nothing twice");
}

#[test]
fn who_shows_its_cookie_is_served_while_others_forge_queries_in_its_name() {
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    settings.limits.rate = Some(Rate { per_second: 5, burst: 20 });
    let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(bench.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for _ in 0..200 {
        socket.send(&query("www.example.", RecordType::A).to_vec().unwrap()).unwrap();
    }
    let mut buffer = [0; 1500];
    let answered = std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count();
    assert!((20..=24).contains(&answered), "{answered}");
    // Over the rate: whoever can show a cookie is told to.
    for _ in 0..20 {
        socket.send(&query("www.example.", RecordType::A).to_vec().unwrap()).unwrap();
    }
    socket.send(&showing("www.example.", &OURS)).unwrap();
    let told = std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()));
    let told = told.map(|bytes| Message::from_vec(&bytes).unwrap()).last().unwrap();
    assert_eq!((told.response_code, told.answers.len()), (ResponseCode::BADCOOKIE, 0));
    let cookie = cookie_in(&told).unwrap();
    for _ in 0..10 {
        let reply = udp_bytes(bench.address(), &showing("www.example.", &cookie), 2000).expect("a reply");
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 1);
    }
    // And that has its bound too.
    for _ in 0..200 {
        socket.send(&showing("www.example.", &cookie)).unwrap();
    }
    let answered = std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count();
    assert!(answered < 30, "{answered}");
}

/// A reply with this cookie.
fn with_cookie(mut reply: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    // The reply's OPT, which hickory writes last and without options.
    let length = reply.len();
    reply[length - 1] = 4 + cookie.len() as u8;
    reply.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
    reply.extend_from_slice(cookie);
    reply
}

fn bare(query: &Message, records: Vec<Record>) -> Vec<u8> {
    let mut query = query.clone();
    query.edns = Some(Edns::new());
    answer(&query, records)
}

#[test]
fn upstream_must_repeat_our_cookie_and_gets_its_own_back() {
    let upstream = Scripted::start(|query, _, tcp| {
        let asked = query.queries[0].name().clone();
        let shown = cookie_in(query);
        // Over a stream nobody forges, and the second attempt shows none.
        let Some(shown) = shown.filter(|_| !tcp) else { return vec![bare(query, vec![a(&asked, [192, 0, 2, 99])])] };
        let good = with_cookie(bare(query, vec![a(&asked, [192, 0, 2, 7])]), &[&shown[..8], b"of thems"].concat());
        let evil = bare(query, vec![a(&asked, [203, 0, 113, 66])]);
        let wrong = with_cookie(evil.clone(), b"another!of thems");
        // Before it has told us that it knows cookies, a reply without one is as good as any.
        if shown.len() == 8 { vec![wrong, good] } else { vec![evil, wrong, good] }
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    for text in ["one.example.", "two.example.", "three.example."] {
        assert_eq!(addresses(&bench.ask(text, RecordType::A)), [std::net::IpAddr::from([192, 0, 2, 7])], "{text}");
    }
    let asked = upstream.asked.lock().unwrap();
    let shown: Vec<_> = asked.iter().map(|(bytes, _)| cookie_in(&Message::from_vec(bytes).unwrap()).unwrap()).collect();
    assert_eq!(shown[0].len(), 8);
    assert!(shown[1..].iter().all(|cookie| cookie[..8] == shown[0][..] && cookie[8..] == *b"of thems"), "{shown:?}");
}

fn binding(owner: &Name, parameters: Vec<(SvcParamKey, SvcParamValue)>) -> Record {
    Record::from_rdata(owner.clone(), 300, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters))))
}

fn alpn() -> (SvcParamKey, SvcParamValue) {
    (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into()])))
}

#[test]
fn ech_is_kept_or_taken_out_as_the_policy_says() {
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let keys =
            (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(b"keys of the server".to_vec())));
        vec![answer(query, vec![binding(&asked, vec![alpn(), keys])])]
    });
    for (text, stripped) in [("version = 1", false), ("version = 1\n[signals]\nech = \"strip\"\n", true)] {
        let bench = Bench::start(&[upstream.address], policy_of(text, &[]));
        // From the upstream, and from the cache.
        for _ in 0..2 {
            let reply = bench.ask("www.shop.example.", RecordType::HTTPS);
            let RData::HTTPS(HTTPS(found)) = &reply.answers[0].data else { panic!("{reply}") };
            let keys: Vec<_> = found.svc_params.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys.contains(&SvcParamKey::EchConfigList), !stripped);
            assert!(keys.contains(&SvcParamKey::Alpn));
            assert_eq!(ede(&reply).map(|(code, _)| code), stripped.then_some(4), "never silently");
            assert!(!reply.authentic_data);
        }
    }
}

#[test]
fn new_names_below_one_domain_are_bounded_for_each_client_and_known_ones_are_not() {
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    settings.limits.new_names = Some(NewNames { per_minute: 10 });
    let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
    let asked = (0..60).map(|n| bench.ask(&format!("n{n}.t.tunnel.example."), RecordType::TXT));
    let slowed = asked.filter(|reply| reply.response_code == ResponseCode::ServFail).count();
    assert!((35..=40).contains(&slowed), "{slowed}");
    assert_eq!(bench.handle.stats().new_names_slowed, slowed as u64);
    assert!(upstream.count() <= 25, "what is turned away goes nowhere");
    // What was let through is known now, in every type; other domains and other clients are as free as ever.
    for kind in [RecordType::TXT, RecordType::A, RecordType::AAAA] {
        assert_eq!(bench.ask("n0.t.tunnel.example.", kind).response_code, ResponseCode::NoError);
    }
    assert_eq!(bench.ask("www.news.example.org.", RecordType::A).response_code, ResponseCode::NoError);
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.connect(bench.address()).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    other.send(&query("n99.t.tunnel.example.", RecordType::A).to_vec().unwrap()).unwrap();
    let mut buffer = [0; 1500];
    let length = other.recv(&mut buffer).unwrap();
    assert_eq!(addresses(&Message::from_vec(&buffer[..length]).unwrap()).len(), 1);
}
