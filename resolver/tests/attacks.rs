//! More of what those who pretend to be an upstream, or to be many clients, cannot do.

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::*;

const GOOD: [u8; 4] = [192, 0, 2, 7];
const FORGED: [u8; 4] = [203, 0, 113, 66];

/// Asks `question` from `socket` and waits for its reply.
fn ask_from(socket: &UdpSocket, server: SocketAddr, question: &Message) -> Message {
    socket.send_to(&question.to_vec().unwrap(), server).unwrap();
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer).expect("a reply");
    Message::from_vec(&buffer[..length]).unwrap()
}

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Each question's upstream port by the client that asked: had one to do with the other, as it has where every thread has sockets
/// of its own and the kernel gives a client always to the same thread, a forger who is a guest would learn the port.
#[test]
fn upstream_port_does_not_follow_from_who_asks() {
    const EACH: usize = 250;
    let upstream = Scripted::plain();
    let bench = Bench::with(
        sheshi_resolver::Settings { threads: 2, ..settings(&[upstream.address]) },
        policy(&[]),
        sheshi_resolver::Clients::Everyone { group: None },
    );
    let clients: Vec<_> = (0..4).map(|_| client("127.0.0.1:0")).collect();
    for n in 0..EACH {
        for (number, socket) in clients.iter().enumerate() {
            ask_from(socket, bench.address(), &query(&format!("c{number}.n{n}.example."), RecordType::A));
        }
    }
    let mut by_client: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (name, (_, port)) in upstream.names().into_iter().zip(upstream.asked.lock().unwrap().iter()) {
        by_client.entry(name[..2].to_owned()).or_default().push(*port);
    }
    assert_eq!(by_client.len(), 4);
    for (client, ports) in by_client {
        assert_eq!(ports.len(), EACH, "{client}");
        let different: HashSet<_> = ports.iter().collect();
        assert!(different.len() >= EACH * 97 / 100, "{client}: {} ports", different.len());
        let sixteenths: HashSet<_> = ports.iter().map(|port| port >> 12).collect();
        assert_eq!(sixteenths.len(), 16, "{client} is asked for from all of the range");
        // Evenly drawn, a mean of 250 strays from the middle by 1,178; six times that is once in a thousand million.
        let mean = ports.iter().map(|port| f64::from(*port)).sum::<f64>() / EACH as f64;
        assert!((mean - 33_280.0).abs() < 7_068.0, "{client}: mean {mean}");
        // Nor does a port follow from the one before it.
        let steps: HashSet<_> = ports.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
        assert!(steps.len() >= EACH * 97 / 100, "{client}: {} steps", steps.len());
    }
}

/// The id is drawn apart from the port: who sees one of them has still to guess the other.
#[test]
fn id_does_not_follow_from_the_port() {
    const COUNT: usize = 1000;
    let upstream = Scripted::plain();
    let bench = Bench::start(&[upstream.address], policy(&[]));
    for n in 0..COUNT {
        bench.ask(&format!("n{n}.example."), RecordType::A);
    }
    let asked = upstream.asked.lock().unwrap();
    let pairs: Vec<_> = asked
        .iter()
        .map(|(bytes, port)| (f64::from(u16::from_be_bytes([bytes[0], bytes[1]])), f64::from(*port)))
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / COUNT as f64;
    let (id, port) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let spread =
        |of: fn(&(f64, f64)) -> f64, mean: f64| pairs.iter().map(|pair| (of(pair) - mean).powi(2)).sum::<f64>();
    let together = pairs.iter().map(|pair| (pair.0 - id) * (pair.1 - port)).sum::<f64>();
    let correlation = together / (spread(|pair| pair.0, id) * spread(|pair| pair.1, port)).sqrt();
    // Of a thousand independent pairs it strays from zero by 0.032.
    assert!(correlation.abs() < 0.19, "{correlation}");
}

/// An upstream whose replies are raced by another socket of the same machine, from another port and from another address, each with
/// the right id, question and letters.
#[test]
fn right_reply_from_a_wrong_port_or_address_is_ignored() {
    let honest = client("127.0.0.1:0");
    let address = honest.local_addr().unwrap();
    let forgers = [client("127.0.0.1:0"), client(&format!("127.0.0.2:{}", address.port()))];
    let stop = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let stop = stop.clone();
        honest.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        move || {
            let mut buffer = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = honest.recv_from(&mut buffer) else { continue };
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let owner = query.queries[0].name().clone();
                for forger in &forgers {
                    // The kernel itself may refuse it, for nobody listens to this peer.
                    let _ = forger.send_to(&answer(&query, vec![a(&owner, FORGED)]), peer);
                }
                honest.send_to(&answer(&query, vec![a(&owner, GOOD)]), peer).unwrap();
            }
        }
    });
    let bench = Bench::start(&[address], policy(&[]));
    for n in 0..50 {
        let reply = bench.ask(&format!("n{n}.example."), RecordType::A);
        assert_eq!(addresses(&reply), [Ipv4Addr::from(GOOD)]);
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

/// Writes a message by hand: `records` is what follows the question.
fn message(query: &Message, bytes: &[u8], answers: u16, records: &[u8]) -> Vec<u8> {
    let question = query.queries[0].name().to_ascii().len() + 1 + 4;
    let mut reply = bytes[..12 + question].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..8].copy_from_slice(&answers.to_be_bytes());
    reply[8..12].fill(0);
    reply.extend_from_slice(records);
    reply
}

/// A record about the question's name.
fn record(rtype: u16, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend_from_slice(&[rtype.to_be_bytes(), [0, 1]].concat());
    record.extend_from_slice(&[0, 0, 1, 44]);
    record.extend_from_slice(&(data.len() as u16).to_be_bytes());
    record.extend_from_slice(data);
    record
}

/// 64 KiB of records whose names are two bytes each on the wire and 250 written out, as they have to be in a type whose names may
/// not be shortened: nearly ten times as much.
#[test]
fn reply_that_swells_when_its_names_are_written_out_is_refused_and_slows_nobody() {
    let upstream = Scripted::start(|query, bytes, stream| {
        let owner = query.queries[0].name();
        if !owner.to_ascii().to_lowercase().starts_with("bomb") {
            return vec![answer(query, plain_records(query))];
        }
        if !stream {
            let mut cut = message(query, bytes, 0, &[]);
            cut[2] |= 2;
            return vec![cut];
        }
        let long = [&[&[60u8][..], &[b'x'; 60]].concat().repeat(4)[..], &[0]].concat();
        let mut records = record(33, &[&[0; 6][..], &long].concat());
        let question = owner.to_ascii().len() + 1 + 4;
        // Behind the first record's owner, fixed fields and six octets of its own.
        let place = (12 + question + 12 + 6) as u16 | 0xc000;
        let mut count = 1;
        while records.len() < 64_000 {
            records.extend(record(33, &[&[0, 0, 0, 0, 0, 80][..], &place.to_be_bytes()].concat()));
            count += 1;
        }
        vec![message(query, bytes, count, &records)]
    });
    let bench = Bench::start(&[upstream.address], policy(&[]));
    let began = Instant::now();
    let reply = tcp(bench.address(), &query("bomb.example.", RecordType::SRV)).expect("a reply");
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(addresses(&bench.ask("www.example.", RecordType::A)), [Ipv4Addr::from(GOOD)]);
    assert!(bench.handle.stats().cache_bytes < 4 << 20);
}

#[test]
fn dname_that_leads_to_a_blocked_name_is_blocked() {
    let upstream = Scripted::start(|query, bytes, _| {
        let owner = query.queries[0].name().to_ascii().to_lowercase();
        let to = b"\x07tracker\x07blocked\x07example\x00";
        // shop.example. DNAME tracker.blocked.example., and the CNAME that follows from it.
        let below = owner.strip_suffix("shop.example.").unwrap().len();
        let mut dname = record(39, to);
        dname[..2].copy_from_slice(&(0xc000 | (12 + below as u16)).to_be_bytes());
        let label = &bytes[12..12 + below];
        let cname = record(5, &[label, &to[..]].concat());
        let mut end = [label, &to[..]].concat();
        end.extend_from_slice(&record(1, &[192, 0, 2, 9])[2..]);
        vec![message(query, bytes, 3, &[dname, cname, end].concat())]
    });
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    for _ in 0..2 {
        let reply = bench.ask("www.shop.example.", RecordType::A);
        assert!(
            reply.answers.iter().all(|record| addresses(&reply).is_empty() && record.record_type() == RecordType::SOA)
        );
        assert_eq!(ede(&reply).expect("a reason").0, 15);
    }
    // The control: the same alias under a policy that has nothing against it.
    let bench = Bench::start(&[upstream.address], policy(&[]));
    assert_eq!(addresses(&bench.ask("www.shop.example.", RecordType::A)), [Ipv4Addr::new(192, 0, 2, 9)]);
}

/// A client that asks and asks over one connection and reads nothing: it loses the connection, and meanwhile the others are served.
#[test]
fn client_that_never_reads_its_replies_loses_the_connection() {
    use std::io::Write;
    let upstream = Scripted::start(|query, bytes, stream| {
        if !stream {
            let mut cut = message(query, bytes, 0, &[]);
            cut[2] |= 2;
            return vec![cut];
        }
        let texts: Vec<u8> = (0..120u8).flat_map(|n| record(16, &[&[200][..], &[n; 200]].concat())).collect();
        vec![message(query, bytes, 120, &texts)]
    });
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    let question = query("texts.example.", RecordType::TXT);
    assert_eq!(tcp(bench.address(), &question).expect("a reply").answers.len(), 120);
    let mut stream = std::net::TcpStream::connect(bench.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let bytes = question.to_vec().unwrap();
    let frame = [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
    let began = Instant::now();
    let lost = loop {
        if let Err(error) = stream.write_all(&frame)
            && error.kind() != std::io::ErrorKind::WouldBlock
        {
            break true;
        }
        if began.elapsed() > Duration::from_secs(25) {
            break false;
        }
        let reply = bench.ask("www.blocked.example.", RecordType::A);
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "others are served");
    };
    assert!(lost, "the connection is still there");
    let until = Instant::now() + Duration::from_secs(5);
    while bench.handle.stats().connections > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.handle.stats().connections, 0, "and its place is free");
}

/// A storm of names under one dead domain from one client leaves another client's questions as quick as they were.
#[test]
fn flood_against_a_dead_upstream_leaves_others_served() {
    // Silent for everything below dead.example.
    let upstream = Scripted::start(|query, _, _| {
        let dead = query.queries[0].name().to_ascii().to_lowercase().ends_with("dead.example.");
        if dead { Vec::new() } else { vec![answer(query, plain_records(query))] }
    });
    let limits = sheshi_resolver::Limits::default();
    let bench = Bench::with(
        sheshi_resolver::Settings { limits, ..settings(&[upstream.address]) },
        policy(&[]),
        sheshi_resolver::Clients::Everyone { group: None },
    );
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (stop, server) = (stop.clone(), bench.address());
        move || {
            let socket = client("127.0.0.9:0");
            let mut sent = 0u32;
            while !stop.load(Ordering::Relaxed) && sent < 20_000 {
                let bytes = query(&format!("r{sent}.dead.example."), RecordType::A).to_vec().unwrap();
                let _ = socket.send_to(&bytes, server);
                sent += 1;
                if sent.is_multiple_of(20) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            sent
        }
    });
    let times: Mutex<Vec<Duration>> = Mutex::default();
    let socket = client("127.0.0.1:0");
    for n in 0..100 {
        let began = Instant::now();
        let reply = ask_from(&socket, bench.address(), &query(&format!("n{n}.example."), RecordType::A));
        assert_eq!(addresses(&reply), [Ipv4Addr::from(GOOD)], "question {n}");
        times.lock().unwrap().push(began.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(flood.join().unwrap() > 1000, "the flood was one");
    let mut times = times.into_inner().unwrap();
    times.sort();
    assert!(times[50] < Duration::from_millis(500), "half of them took at least {:?}", times[50]);
    let stats = bench.handle.stats();
    assert!(stats.over_limit + stats.dropped > 500, "the flood was bounded: {stats:?}");
}
