//! The dig matrix of RFC 8906 as a table, and what is never answered at all.

mod common;

use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use common::*;
use proptest::prelude::*;
use sheshi_resolver::{Clients, Rate};

/// One probe: what is changed in an ordinary query, and what must hold for the reply.
struct Probe {
    name: &'static str,
    edit: fn(&mut Vec<u8>),
    /// The full response code, upper bits from OPT.
    rcode: u16,
    opt: bool,
}

/// `www.example.com. IN A` with RD, without EDNS.
fn plain() -> Vec<u8> {
    let mut message = vec![0x5e, 0x51, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(b"\x03www\x07example\x03com\x00\x00\x01\x00\x01");
    message
}

fn qtype(message: &mut [u8], qtype: u16, class: u16) {
    let end = 12 + 17;
    message[end..end + 2].copy_from_slice(&qtype.to_be_bytes());
    message[end + 2..end + 4].copy_from_slice(&class.to_be_bytes());
}

/// Appends an OPT record: payload size, version, flags and options.
fn opt(message: &mut Vec<u8>, size: u16, version: u8, flags: u16, options: &[u8]) {
    message[11] += 1;
    message.extend_from_slice(&[0, 0, 41]);
    message.extend_from_slice(&size.to_be_bytes());
    message.extend_from_slice(&[0, version]);
    message.extend_from_slice(&flags.to_be_bytes());
    message.extend_from_slice(&(options.len() as u16).to_be_bytes());
    message.extend_from_slice(options);
}

const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

const MATRIX: &[Probe] = &[
    Probe { name: "+noedns", edit: |_| (), rcode: NOERROR, opt: false },
    Probe { name: "+edns=0", edit: |m| opt(m, 1232, 0, 0, &[]), rcode: NOERROR, opt: true },
    Probe { name: "+edns=1 +noednsneg", edit: |m| opt(m, 1232, 1, 0, &[]), rcode: BADVERS, opt: true },
    Probe { name: "+ednsopt=100", edit: |m| opt(m, 1232, 0, 0, &[0, 100, 0, 0]), rcode: NOERROR, opt: true },
    Probe { name: "+ednsflags=0x80", edit: |m| opt(m, 1232, 0, 0x80, &[]), rcode: NOERROR, opt: true },
    Probe { name: "+edns=1 +ednsopt=100", edit: |m| opt(m, 1232, 1, 0, &[0, 100, 0, 0]), rcode: BADVERS, opt: true },
    Probe { name: "+edns=1 +ednsflags=0x80", edit: |m| opt(m, 1232, 1, 0x80, &[]), rcode: BADVERS, opt: true },
    Probe { name: "+dnssec +bufsize=512", edit: |m| opt(m, 512, 0, 0x8000, &[]), rcode: NOERROR, opt: true },
    Probe { name: "+bufsize=0", edit: |m| opt(m, 0, 0, 0, &[]), rcode: NOERROR, opt: true },
    Probe {
        name: "+cookie",
        edit: |m| opt(m, 1232, 0, 0, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        rcode: NOERROR,
        opt: true,
    },
    Probe {
        // Of no length that a cookie has (RFC 7873 section 5.2.2).
        name: "+cookie=0011223344",
        edit: |m| opt(m, 1232, 0, 0, &[0, 10, 0, 5, 0, 0x11, 0x22, 0x33, 0x44]),
        rcode: FORMERR,
        opt: false,
    },
    Probe {
        name: "+subnet",
        edit: |m| opt(m, 1232, 0, 0, &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]),
        rcode: NOERROR,
        opt: true,
    },
    Probe {
        name: "option past its record",
        edit: |m| opt(m, 1232, 0, 0, &[0, 100, 0, 9, 1]),
        rcode: FORMERR,
        opt: false,
    },
    Probe {
        name: "two OPT",
        edit: |m| {
            opt(m, 1232, 0, 0, &[]);
            opt(m, 1232, 0, 0, &[]);
        },
        rcode: FORMERR,
        opt: false,
    },
    Probe {
        name: "+header-only",
        edit: |m| {
            m.truncate(12);
            m[5] = 0;
        },
        rcode: FORMERR,
        opt: false,
    },
    Probe { name: "+opcode=15", edit: |m| m[2] |= 0x78, rcode: NOTIMP, opt: false },
    Probe {
        name: "+opcode=15 +header-only",
        edit: |m| {
            m.truncate(12);
            m[5] = 0;
            m[2] |= 0x78;
        },
        rcode: NOTIMP,
        opt: false,
    },
    Probe { name: "+opcode=update", edit: |m| m[2] |= 0x28, rcode: NOTIMP, opt: false },
    Probe { name: "+opcode=notify", edit: |m| m[2] |= 0x20, rcode: NOTIMP, opt: false },
    Probe { name: "TYPE1000", edit: |m| qtype(m, 1000, 1), rcode: NOERROR, opt: false },
    Probe { name: "TYPE0", edit: |m| qtype(m, 0, 1), rcode: FORMERR, opt: false },
    Probe { name: "TYPE41", edit: |m| qtype(m, 41, 1), rcode: FORMERR, opt: false },
    Probe { name: "+zflag", edit: |m| m[3] |= 0x40, rcode: NOERROR, opt: false },
    Probe { name: "+adflag", edit: |m| m[3] |= 0x20, rcode: NOERROR, opt: false },
    Probe { name: "+aaflag", edit: |m| m[2] |= 0x04, rcode: NOERROR, opt: false },
    Probe { name: "+norec", edit: |m| m[2] &= !1, rcode: REFUSED, opt: false },
    Probe { name: "CH TXT", edit: |m| qtype(m, 16, 3), rcode: REFUSED, opt: false },
    Probe { name: "class ANY", edit: |m| qtype(m, 1, 255), rcode: REFUSED, opt: false },
    Probe { name: "ANY", edit: |m| qtype(m, 255, 1), rcode: NOERROR, opt: false },
    Probe { name: "AXFR", edit: |m| qtype(m, 252, 1), rcode: REFUSED, opt: false },
    Probe { name: "IXFR", edit: |m| qtype(m, 251, 1), rcode: REFUSED, opt: false },
    Probe { name: "TKEY", edit: |m| qtype(m, 249, 1), rcode: REFUSED, opt: false },
    Probe {
        name: "two questions",
        edit: |m| {
            m[5] = 2;
            let q = m[12..].to_vec();
            m.extend(q);
        },
        rcode: FORMERR,
        opt: false,
    },
    Probe { name: "trailing bytes", edit: |m| m.push(0), rcode: FORMERR, opt: false },
];

#[test]
fn every_probe_of_the_matrix_is_answered_as_rfc_8906_says() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    for probe in MATRIX {
        let mut message = plain();
        (probe.edit)(&mut message);
        for (transport, bytes) in
            [("udp", udp_bytes(bench.address(), &message, 3000)), ("tcp", tcp_bytes(bench.address(), &message))]
        {
            let name = format!("{} over {transport}", probe.name);
            let bytes = bytes.unwrap_or_else(|| panic!("{name}: a reply"));
            let reply = Message::from_vec(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(u16::from(reply.response_code), probe.rcode, "{name}");
            assert_eq!(reply.edns.is_some(), probe.opt, "{name}: OPT in the reply");
            assert_eq!(bytes[2] & 0x78, message[2] & 0x78, "{name}: opcode comes back");
            assert_eq!(bytes[2] & 0x01, message[2] & 0x01, "{name}: RD comes back");
            assert_eq!(bytes[2] & 0x84, 0x80, "{name}: QR set, AA clear");
            assert_eq!(bytes[3] & 0x60, 0, "{name}: Z and AD clear");
            if let Some(edns) = reply.edns {
                assert_eq!(edns.version(), 0, "{name}: version 0");
                let codes: Vec<_> = edns.options().as_ref().iter().map(|(code, _)| u16::from(*code)).collect();
                let known: &[u16] = if probe.name == "+cookie" { &[10] } else { &[] };
                assert_eq!(codes, known, "{name}: unknown options are not echoed");
                assert_eq!(edns.flags().z, 0, "{name}: EDNS flags clear");
                assert_eq!(edns.max_payload(), 1232);
            }
        }
    }
}

#[test]
fn any_is_answered_with_one_small_record_and_asked_of_nobody() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let reply = bench.ask("www.example.com.", RecordType::ANY);
    assert_eq!(reply.answers.len(), 1);
    assert_eq!(reply.answers[0].record_type(), RecordType::HINFO);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn what_would_start_a_loop_is_not_answered() {
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let mut reply = plain();
    reply[2] |= 0x80;
    assert!(udp_bytes(bench.address(), &reply, 300).is_none(), "a reply");
    assert!(udp_bytes(bench.address(), &[], 300).is_none(), "nothing");
    assert!(udp_bytes(bench.address(), &plain()[..11], 300).is_none(), "half a header");
    assert!(udp_bytes(bench.address(), &plain(), 2000).is_some(), "and the next query is answered");
}

#[test]
fn replies_over_udp_fit_what_the_client_takes() {
    let upstream = Scripted::start(|query, _, stream| {
        let asked = query.queries[0].name().clone();
        let records = (0..40).map(|n| a(&asked, [192, 0, 2, n])).collect();
        let _ = stream;
        vec![answer(query, records)]
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    // 40 addresses take 640 bytes: too many without EDNS, enough room with it.
    for (size, whole) in [(None, false), (Some(0), false), (Some(512), false), (Some(700), true), (Some(65_535), true)]
    {
        let mut message = plain();
        if let Some(size) = size {
            opt(&mut message, size, 0, 0, &[]);
        }
        let bytes = udp_bytes(bench.address(), &message, 3000).unwrap();
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= usize::from(size.unwrap_or(512).clamp(512, 1232)), "{size:?}: {} bytes", bytes.len());
        assert_eq!((reply.truncation, reply.answers.len()), if whole { (false, 40) } else { (true, 0) }, "{size:?}");
    }
    assert_eq!(Message::from_vec(&tcp_bytes(bench.address(), &plain()).unwrap()).unwrap().answers.len(), 40);
}

#[test]
fn rate_is_limited_by_address_and_others_go_on() {
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    settings.limits.rate = Some(Rate { per_second: 5, burst: 10 });
    let bench = Bench::with(settings, policy(&[("adult", &["blocked.example"])]), Clients::Everyone { group: None });
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    flood.connect(bench.address()).unwrap();
    flood.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for _ in 0..200 {
        flood.send(&query("blocked.example.", RecordType::A).to_vec().unwrap()).unwrap();
    }
    let mut buffer = [0; 1500];
    let answered = std::iter::from_fn(|| flood.recv(&mut buffer).ok()).count();
    assert!((10..=13).contains(&answered), "{answered}");
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.connect(bench.address()).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    other.send(&query("www.example.", RecordType::A).to_vec().unwrap()).unwrap();
    assert!(other.recv(&mut buffer).is_ok(), "another client is served");
    assert!(bench.handle.stats().dropped >= 187);
}

#[test]
fn tcp_connections_are_bounded_pipelined_and_closed_when_idle() {
    use std::io::{Read, Write};
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    settings.limits.connections_per_client = 3;
    let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
    let open = || {
        let stream = TcpStream::connect(bench.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream
    };
    let mut kept: Vec<_> = (0..3).map(|_| open()).collect();
    let start = Instant::now();
    while bench.handle.stats().connections < 3 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut refused = open();
    let mut byte = [0];
    assert!(matches!(refused.read(&mut byte), Ok(0) | Err(_)), "the fourth is closed at once");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(bench.handle.stats().connections_refused, 1);

    // A hundred queries in one write come back as a hundred replies, in any order.
    let mut pipelined = Vec::new();
    for n in 0..100 {
        let bytes = query(&format!("p{n}.example."), RecordType::A).to_vec().unwrap();
        pipelined.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        pipelined.extend_from_slice(&bytes);
    }
    kept[0].write_all(&pipelined).unwrap();
    let mut names: Vec<String> = (0..100)
        .map(|_| {
            let mut length = [0; 2];
            kept[0].read_exact(&mut length).unwrap();
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            kept[0].read_exact(&mut bytes).unwrap();
            Message::from_vec(&bytes).unwrap().queries[0].name().to_string()
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100);

    // A connection that sends one byte and waits is closed after ten seconds.
    kept[1].write_all(&[0]).unwrap();
    let start = Instant::now();
    assert!(matches!(kept[1].read(&mut byte), Ok(0) | Err(_)));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(13), "{took:?}");
}

#[test]
fn reply_leaves_from_the_address_that_was_asked() {
    let upstream = Scripted::plain();
    let mut settings = settings(&[upstream.address]);
    settings.listen = vec!["0.0.0.0:0".parse().unwrap(), "[::]:0".parse().unwrap()];
    let bench = Bench::with(settings, policy(&[("adult", &["blocked.example"])]), Clients::Everyone { group: None });
    let [v4, v6] = [bench.handle.addresses()[0].port(), bench.handle.addresses()[1].port()];
    for asked in [
        SocketAddr::from(([127, 0, 0, 5], v4)),
        SocketAddr::from(([127, 0, 0, 1], v4)),
        SocketAddr::new("::1".parse().unwrap(), v6),
    ] {
        // From the fast path, and from the slow one, which answers later.
        for text in ["blocked.example.", "www.example.com."] {
            // A connected socket takes datagrams from the address it is connected to and no other.
            assert!(udp(asked, &query(text, RecordType::A)).is_some(), "{asked} {text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]
    /// The fast path (UDP) and the slow path (TCP) give the same bytes for the same query.
    #[test]
    fn both_paths_give_the_same_bytes(
        labels in proptest::collection::vec("[a-zA-Z0-9-]{1,20}", 1..4),
        zone in proptest::sample::select(vec!["blocked.example", "shop.example", "onion", "Localhost", "use-application-dns.net", "portal.city.example"]),
        qtype_ in proptest::sample::select(vec![1u16, 28, 65, 16, 255, 252, 1000]),
        flags in proptest::sample::select(vec![0u8, 0x10, 0x20, 0x40]),
        edns in proptest::option::of((0u16..4096, 0u16..2)),
    ) {
        let (_upstream, bench) = shared();
        let mut message = vec![9, 9, 1, flags, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels.iter().map(String::as_str).chain(zone.split('.')) {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&qtype_.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        if let Some((size, dnssec)) = edns {
            opt(&mut message, size, 0, dnssec << 15, &[]);
        }
        // Asked once before, so that both paths find it cached; TTLs may tick between the two, so three tries.
        let same = (0..3).any(|_| {
            let fast = udp_bytes(bench.address(), &message, 3000);
            let slow = tcp_bytes(bench.address(), &message);
            fast == slow && fast.is_some()
        });
        prop_assert!(same);
        let reply = Message::from_vec(&udp_bytes(bench.address(), &message, 3000).unwrap()).unwrap();
        if zone == "blocked.example" {
            prop_assert!(addresses(&reply).iter().all(|address| address.is_unspecified() || *address == PORTAL4));
        }
    }
}

/// One resolver for all cases of the property.
fn shared() -> &'static (Scripted, Bench) {
    static SHARED: std::sync::OnceLock<(Scripted, Bench)> = std::sync::OnceLock::new();
    SHARED.get_or_init(|| {
        let upstream = Scripted::plain();
        let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
        (upstream, bench)
    })
}
