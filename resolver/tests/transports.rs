//! The encrypted listeners: what they answer is what every other door answers, to the same clients, within the same limits.

mod common;
#[path = "common/secure.rs"]
mod secure;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use common::*;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, body::Bytes};
use secure::{Keys, OURS, ask_framed, dns_request};
use sheshi_policy::Directory;
use sheshi_resolver::{Clients, Error, Limits, Rate};

/// A resolver with all its doors.
fn bench(keys: &Keys, upstream: &Scripted) -> Bench {
    let settings = keys.secure(settings(&[upstream.address]));
    Bench::with(settings, policy(&[("adult", &["blocked.example"])]), Clients::Everyone { group: None })
}

fn tls(bench: &Bench) -> SocketAddr {
    bench.handle.tls_addresses()[0]
}

fn https(bench: &Bench) -> SocketAddr {
    bench.handle.https_addresses()[0]
}

/// The same bytes but for TTLs, which count down.
fn without_ttls(reply: &[u8]) -> (Vec<u8>, String) {
    let mut message = Message::from_vec(reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?}"));
    let records = message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals);
    records.for_each(|record| record.ttl = 0);
    // The header's bits, and what else the message says.
    (reply[..4].to_vec(), format!("{message:?}"))
}

#[test]
fn every_transport_gives_the_same_answer() {
    let keys = Keys::new();
    let upstream = Scripted::start(|query, _, _| {
        let asked = query.queries[0].name().clone();
        let text = asked.to_lowercase().to_string();
        let rtype = query.queries[0].query_type();
        vec![match text.split('.').next().unwrap() {
            "fails" => {
                let mut reply = query.clone().into_response();
                reply.metadata.response_code = ResponseCode::ServFail;
                reply.to_vec().unwrap()
            }
            "none" => {
                let mut reply = query.clone().into_response();
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(soa("example."));
                reply.to_vec().unwrap()
            }
            "alias" if rtype == RecordType::A => {
                let records = vec![cname(&asked, "target.example."), a(&name("target.example."), [192, 0, 2, 9])];
                answer(query, records)
            }
            "hidden" => {
                answer(query, vec![cname(&asked, "x.blocked.example."), a(&name("x.blocked.example."), [192, 0, 2, 9])])
            }
            "inside" => answer(query, vec![a(&asked, [10, 0, 0, 1])]),
            _ => answer(query, plain_records(query)),
        }]
    });
    let bench = bench(&keys, &upstream);
    let mut table: Vec<(String, Vec<u8>)> = Vec::new();
    for text in [
        "www.example.",
        "WWW.Example.",
        "none.example.",
        "fails.example.",
        "alias.example.",
        "hidden.example.",
        "inside.example.",
        "blocked.example.",
        "A.b.BLOCKED.example.",
        "portal.city.example.",
        "dns.city.example.",
        "localhost.",
        "x.onion.",
        "use-application-dns.net.",
        "_dns.resolver.arpa.",
        "xn--bcher-kva.example.",
        ".",
    ] {
        for rtype in [1, 28, 5, 16, 64, 65, 255, 252, 65_280] {
            table.push((format!("{text} {rtype}"), query(text, RecordType::from(rtype)).to_vec().unwrap()));
        }
    }
    let edited = |what: &str, text: &str, edit: &dyn Fn(&mut Message)| {
        let mut message = query(text, RecordType::A);
        edit(&mut message);
        (what.to_owned(), message.to_vec().unwrap())
    };
    for text in ["www.example.", "blocked.example."] {
        table.push(edited("no EDNS", text, &|message| message.edns = None));
        table.push(edited("DO", text, &|message| {
            message.edns.as_mut().unwrap().set_dnssec_ok(true);
        }));
        table.push(edited("CD", text, &|message| message.metadata.checking_disabled = true));
        table.push(edited("no RD", text, &|message| message.metadata.recursion_desired = false));
        table.push(edited("EDNS version 1", text, &|message| {
            message.edns.as_mut().unwrap().set_version(1);
        }));
        table.push(edited("another opcode", text, &|message| message.metadata.op_code = OpCode::Notify));
        let (_, mut bytes) = edited("", text, &|_| ());
        let class = bytes.len() - 12;
        bytes[class] = 3;
        table.push(("class CHAOS".into(), bytes.clone()));
        bytes.push(0);
        table.push(("bytes left over".into(), bytes.clone()));
        bytes[5] = 2;
        table.push(("two questions".into(), bytes));
    }
    for (what, query) in &table {
        // The first reply over UDP took the slow path where anything had to be asked, the second one did not.
        let slow = udp_bytes(bench.address(), query, 5000).unwrap_or_else(|| panic!("{what}: a reply"));
        let replies = [
            ("UDP again", udp_bytes(bench.address(), query, 5000).unwrap()),
            ("TCP", tcp_bytes(bench.address(), query).unwrap()),
            ("TLS", keys.ask_dot(tls(&bench), query).unwrap()),
            ("HTTP/2 GET", keys.ask_https(https(&bench), Method::GET, true, query)),
            ("HTTP/2 POST", keys.ask_https(https(&bench), Method::POST, true, query)),
            ("HTTP/1.1 GET", keys.ask_https(https(&bench), Method::GET, false, query)),
            ("HTTP/1.1 POST", keys.ask_https(https(&bench), Method::POST, false, query)),
        ];
        for (how, reply) in replies {
            assert_eq!(without_ttls(&reply), without_ttls(&slow), "{what} over {how}");
        }
    }
    assert!(table.len() > 160);
    assert!(!upstream.names().iter().any(|name| name.starts_with("blocked") || name.contains("b.blocked")));
}

#[test]
fn who_is_no_client_is_a_stranger_behind_every_door() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let directory = Clients::Directory(Arc::new(ArcSwap::from_pointee(Directory::default())));
    let bench = Bench::with(keys.secure(settings(&[upstream.address])), policy(&[]), directory);
    let query = query("www.example.", RecordType::A).to_vec().unwrap();
    for reply in [
        keys.ask_dot(tls(&bench), &query).unwrap(),
        keys.ask_https(https(&bench), Method::GET, true, &query),
        keys.ask_https(https(&bench), Method::POST, false, &query),
    ] {
        assert_eq!(addresses(&Message::from_vec(&reply).unwrap()), [std::net::IpAddr::from(PORTAL4)]);
    }
    assert_eq!((upstream.count(), bench.handle.stats().stranger), (0, 3));
}

#[test]
fn request_over_https_is_held_to_rfc_8484() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let bench = bench(&keys, &upstream);
    let server = https(&bench);
    let query = query("www.example.", RecordType::A).to_vec().unwrap();
    let reply = keys.request(server, true, dns_request(server, Method::GET, &query));
    assert_eq!(reply.headers()["cache-control"], "private, max-age=300");
    let blocked = common::query("blocked.example.", RecordType::A).to_vec().unwrap();
    let reply = keys.request(server, true, dns_request(server, Method::POST, &blocked));
    assert_eq!(reply.headers()["cache-control"], "private, max-age=30");
    let refused = common::query("www.example.", RecordType::AXFR).to_vec().unwrap();
    let reply = keys.request(server, true, dns_request(server, Method::POST, &refused));
    assert_eq!((reply.status(), &reply.headers()["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let at = |method: &str, path: &str, kind: &str, body: &[u8]| {
        Request::builder()
            .method(method)
            .uri(format!("https://{OURS}:{}{path}", server.port()))
            .header("host", OURS)
            .header("content-type", kind)
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap()
    };
    let dns = "application/dns-message";
    let mut response = query.clone();
    response[2] |= 0x80;
    let long = vec![0; 70_000];
    for http2 in [true, false] {
        for (method, path, kind, body, status) in [
            ("POST", "/", dns, &query[..], 404),
            ("GET", "/dns-query/", dns, &[][..], 404),
            ("PUT", "/dns-query", dns, &query, 405),
            ("HEAD", "/dns-query", dns, &[], 405),
            ("POST", "/dns-query", "application/json", &query, 415),
            ("POST", "/dns-query", dns, &long, 413),
            ("POST", "/dns-query", dns, &[], 400),
            ("POST", "/dns-query", dns, &query[..11], 400),
            ("POST", "/dns-query", dns, &response, 400),
            ("GET", "/dns-query", dns, &[], 400),
            ("GET", "/dns-query?dns=", dns, &[], 400),
            ("GET", "/dns-query?dns=AAAB+A", dns, &[], 400),
            ("GET", "/dns-query?name=www.example", dns, &[], 400),
        ] {
            let reply = keys.request(server, http2, at(method, path, kind, body));
            assert_eq!(reply.status(), status, "{method} {path} {kind}, HTTP/2: {http2}");
            assert_eq!(reply.headers()["cache-control"], "no-store");
        }
    }
}

#[test]
fn rate_and_connections_are_limited_over_all_transports_together() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let mut settings = keys.secure(settings(&[upstream.address]));
    settings.limits =
        Limits { rate: Some(Rate { per_second: 1, burst: 6 }), connections_per_client: 3, ..Limits::single_client() };
    let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
    let query = query("www.example.", RecordType::A).to_vec().unwrap();
    // Six in all, by whichever door.
    let mut first = keys.dot(tls(&bench)).unwrap();
    for _ in 0..2 {
        ask_framed(&mut first, &query).unwrap();
        udp_bytes(bench.address(), &query, 2000).unwrap();
        keys.ask_https(https(&bench), Method::POST, true, &query);
    }
    let refused = keys.request(https(&bench), true, dns_request(https(&bench), Method::GET, &query));
    assert_eq!(refused.status(), 429);
    // Three connections at a time, of which one is still held.
    let _second = TcpStream::connect(https(&bench)).unwrap();
    let _third = TcpStream::connect(bench.address()).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while bench.handle.stats().connections < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(keys.dot(tls(&bench)).is_err());
    assert_eq!(bench.handle.stats().connections_refused, 1);
}

#[test]
fn connection_without_handshake_or_question_is_closed() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let bench = bench(&keys, &upstream);
    let silent = |address| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
        stream
    };
    let began = Instant::now();
    let mut raw = [silent(tls(&bench)), silent(https(&bench))];
    // Shaken hands and nothing more; HTTP/2 with a preface and settings and nothing more.
    let mut dot = keys.dot(tls(&bench)).unwrap();
    let mut h2 = {
        let connection = rustls::ClientConnection::new(keys.client(&[b"h2"]), OURS.try_into().unwrap()).unwrap();
        rustls::StreamOwned::new(connection, silent(https(&bench)))
    };
    h2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    for stream in &mut raw {
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert!(began.elapsed() < Duration::from_secs(9), "no handshake: {:?}", began.elapsed());
    let mut all = Vec::new();
    let _ = dot.read_to_end(&mut all);
    let _ = h2.read_to_end(&mut all);
    assert!(began.elapsed() < Duration::from_secs(24), "no question: {:?}", began.elapsed());
    let until = Instant::now() + Duration::from_secs(10);
    while bench.handle.stats().connections != 0 {
        assert!(Instant::now() < until, "their places are free again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn reply_is_padded_for_who_pads_and_for_nobody_else() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let bench = bench(&keys, &upstream);
    let plain = query("www.example.", RecordType::A).to_vec().unwrap();
    let mut padded = plain.clone();
    let at = padded.len() - 1;
    padded[at] = 8;
    padded.extend_from_slice(&[0, 12, 0, 4, 0, 0, 0, 0]);
    for (query, is_padded) in [(&plain, false), (&padded, true)] {
        for reply in
            [keys.ask_dot(tls(&bench), query).unwrap(), keys.ask_https(https(&bench), Method::POST, true, query)]
        {
            assert_eq!(reply.len() == 468, is_padded);
            assert_eq!(addresses(&Message::from_vec(&reply).unwrap()).len(), 1);
        }
        // Over plain transports padding would only cost.
        assert!(udp_bytes(bench.address(), query, 2000).unwrap().len() < 100);
    }
}

/// The services in an answer: priority, target, and parameters as text.
fn services(bench: &Bench) -> Vec<String> {
    let reply = bench.ask("_dns.resolver.arpa.", RecordType::SVCB);
    assert_eq!(reply.response_code, ResponseCode::NoError);
    reply.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn designated_are_only_ourselves_and_only_while_the_certificate_is_there() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let bench = bench(&keys, &upstream);
    let (dot, doh) = (tls(&bench).port(), https(&bench).port());
    let told = services(&bench);
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, words) in told.iter().zip([
        [format!("1 {OURS}."), "alpn=\"dot\"".into(), format!("port={dot}"), "ipv4hint=127.0.0.1".into()],
        [format!("2 {OURS}."), "alpn=\"h2\"".into(), format!("port={doh}"), "/dns-query{?dns}".into()],
    ]) {
        for word in words {
            assert!(told.replace(['"', ','], "").contains(&word.replace(['"', ','], "")), "{told} has {word}");
        }
    }
    for rtype in [RecordType::A, RecordType::HTTPS, RecordType::TXT] {
        assert!(bench.ask("_dns.resolver.arpa.", rtype).answers.is_empty());
    }
    // Our name leads to ourselves, and strangers are told nothing.
    assert_eq!(addresses(&bench.ask(&format!("{OURS}."), RecordType::A)), [std::net::IpAddr::from(PORTAL4)]);
    assert!(bench.ask_stranger("_dns.resolver.arpa.", RecordType::SVCB).answers.is_empty());
    let query = query("www.example.", RecordType::A).to_vec().unwrap();
    keys.ask_dot(tls(&bench), &query).unwrap();

    let wait_for = |count: usize| {
        let until = Instant::now() + Duration::from_secs(10);
        while services(&bench).len() != count {
            assert!(Instant::now() < until, "{count} services");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::fs::remove_file(keys.certificate()).unwrap();
    wait_for(0);
    assert!(keys.ask_dot(tls(&bench), &query).is_err());
    // Back with another one, which is the one that is shown from now on.
    std::thread::sleep(Duration::from_millis(20));
    keys.renew((2020, 2098));
    wait_for(2);
    let shown = |keys: &Keys| keys.dot(tls(&bench)).ok()?.conn.peer_certificates().map(|chain| chain[0].to_vec());
    let renewed = rustls::pki_types::pem::PemObject::from_pem_file(keys.certificate());
    let renewed: rustls::pki_types::CertificateDer<'_> = renewed.unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while shown(&keys).as_deref() != Some(&*renewed) {
        assert!(Instant::now() < until, "the renewed certificate is shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn without_encrypted_listeners_nobody_is_designated() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    assert!(services(&bench).is_empty());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn unreadable_certificate_is_refused_at_start_with_its_path() {
    let keys = Keys::new();
    let started = |settings| {
        let policy = Arc::new(ArcSwap::new(policy(&[])));
        let clock = Arc::new(|| sheshi_policy::Moment::Unknown);
        sheshi_resolver::start(settings, policy, Clients::Everyone { group: None }, clock)
    };
    let upstream = "127.0.0.1:9".parse().unwrap();
    for (what, edit) in [
        (
            "certificate.pem",
            &(|keys: &Keys| std::fs::write(keys.certificate(), "no certificate").unwrap()) as &dyn Fn(&Keys),
        ),
        ("key.pem", &|keys| std::fs::write(keys.key(), "no key").unwrap()),
        ("certificate.pem", &|keys| {
            std::fs::copy(Keys::new().certificate(), keys.certificate()).unwrap();
        }),
        ("certificate.pem", &|keys| std::fs::remove_file(keys.certificate()).unwrap()),
        ("key.pem", &|keys| std::fs::remove_file(keys.key()).unwrap()),
    ] {
        keys.renew((2020, 2099));
        edit(&keys);
        let error = started(keys.secure(settings(&[upstream]))).expect_err(what);
        assert!(matches!(error, Error::Certificate { .. }) && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn kdig_is_served_over_tls_and_https() {
    let (keys, upstream) = (Keys::new(), Scripted::plain());
    let bench = bench(&keys, &upstream);
    let ca = format!("+tls-ca={}", keys.ca().display());
    let name = format!("+tls-hostname={OURS}");
    let ask = |port: u16, how: &[&str], asked: &str| {
        let port = port.to_string();
        let output = Command::new("kdig")
            .args(["@127.0.0.1", "-p", &port, &ca, &name, "+padding", "+timeout=5", "+retry=0"])
            .args(how)
            .args([asked, "A"])
            .output()
            .expect("kdig is installed (package knot-dnsutils)");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let https_get = &*format!("+https={OURS}/dns-query");
    for (port, how) in [
        (tls(&bench).port(), &["+tls"][..]),
        (https(&bench).port(), &[https_get][..]),
        (https(&bench).port(), &[https_get, "+https-get"][..]),
    ] {
        let told = ask(port, how, "www.example");
        assert!(told.contains("status: NOERROR") && told.contains("192.0.2.7"), "{how:?}: {told}");
        let told = ask(port, how, "blocked.example");
        assert!(told.contains("EDE") && !told.contains("192.0.2.7"), "{how:?}: {told}");
    }
    // Under another name there is no session, so the above were checked.
    let stranger = Command::new("kdig")
        .args(["@127.0.0.1", "-p", &tls(&bench).port().to_string(), &ca, "+tls-hostname=other.example", "+tls"])
        .args(["+timeout=5", "+retry=0", "www.example", "A"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&stranger.stdout).contains("192.0.2.7"));
}
