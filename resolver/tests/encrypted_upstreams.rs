//! Upstreams over TCP, TLS and HTTPS: known by name or key, never asked in the clear, on connections that are kept. The upstream is a
//! second resolver of ours, a real unbound, or one that is up to something.

mod common;
#[path = "common/secure.rs"]
mod secure;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use common::*;
use secure::{Keys, OURS};
use sheshi_policy::Moment;
use sheshi_resolver::{Clients, Error, Handle, How, Settings, Upstream};

/// A resolver in front of `upstreams`, which believes in this time.
fn front_at(upstreams: &[String], clock: impl Fn() -> Moment + Send + Sync + 'static) -> Result<Handle, Error> {
    let upstreams = upstreams.iter().map(|text| text.parse::<Upstream>().unwrap()).collect();
    let settings = Settings { upstreams, ..settings(&[]) };
    let policy = Arc::new(ArcSwap::new(policy(&[])));
    sheshi_resolver::start(settings, policy, Clients::Everyone { group: None }, Arc::new(clock))
}

fn front(upstreams: &[String]) -> Handle {
    front_at(upstreams, || Moment::At(jiff::Timestamp::now())).unwrap()
}

fn ask(front: &Handle, text: &str) -> Message {
    udp(front.addresses()[0], &query(text, RecordType::A)).expect("a reply")
}

fn answers(front: &Handle, text: &str) -> bool {
    ask(front, text).response_code == ResponseCode::NoError
}

/// An encrypted resolver to forward to, and what it forwards to itself.
struct Behind {
    keys: Keys,
    bench: Bench,
    last: Scripted,
}

impl Behind {
    fn new() -> Self {
        let (keys, last) = (Keys::new(), Scripted::plain());
        let settings = keys.secure(settings(&[last.address]));
        let bench = Bench::with(settings, policy(&[]), Clients::Everyone { group: None });
        Self { keys, bench, last }
    }

    fn tls(&self) -> SocketAddr {
        self.bench.handle.tls_addresses()[0]
    }

    fn https(&self) -> SocketAddr {
        self.bench.handle.https_addresses()[0]
    }

    fn known(&self, name: &str) -> String {
        format!("?name={name}&ca={}", self.keys.ca().display())
    }
}

#[test]
fn questions_go_over_tcp_tls_and_https_on_one_connection_each() {
    let behind = Behind::new();
    let known = behind.known(OURS);
    for upstream in [
        format!("tcp://{}", behind.bench.address()),
        format!("tls://{}{known}", behind.tls()),
        format!("https://{}{known}", behind.https()),
        // An address in the certificate is as good as a name.
        format!("tls://{}{}", behind.tls(), behind.known("127.0.0.1")),
    ] {
        let front = front(std::slice::from_ref(&upstream));
        let before = behind.bench.handle.stats();
        std::thread::scope(|scope| {
            for n in 0..40 {
                let front = &front;
                scope.spawn(move || {
                    let reply = ask(front, &format!("n{n}.example."));
                    assert_eq!(addresses(&reply), [std::net::IpAddr::from([192, 0, 2, 7])], "{n}");
                });
            }
        });
        let after = behind.bench.handle.stats();
        assert_eq!((after.queries - before.queries, after.connections), (40, 1), "{upstream}");
        assert!(front.upstreams()[0].trouble.is_none());
        // Cached, nobody is asked again.
        assert!(answers(&front, "n1.example."));
        assert_eq!(behind.bench.handle.stats().queries, after.queries);
        drop(front);
        wait(|| behind.bench.handle.stats().connections == 0);
    }
}

#[test]
fn equal_questions_are_asked_once_over_tls_too() {
    let behind = Behind::new();
    let front = front(&[format!("tls://{}{}", behind.tls(), behind.known(OURS))]);
    std::thread::scope(|scope| {
        for n in 0..30 {
            let front = &front;
            scope.spawn(move || assert!(answers(front, if n % 2 == 0 { "WWW.example." } else { "www.EXAMPLE." })));
        }
    });
    assert_eq!((behind.bench.handle.stats().queries, behind.last.count()), (1, 1));
}

fn wait(done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < until, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn upstream_that_is_not_who_it_should_be_is_told_nothing() {
    let behind = Behind::new();
    let other = Keys::new();
    let wrong_key = STANDARD.encode([7; 32]);
    for (what, options) in [
        ("another name", behind.known("dns.quad9.net")),
        ("another authority", format!("?name={OURS}&ca={}", other.ca().display())),
        ("another key", format!("?pin={wrong_key}")),
    ] {
        for upstream in [format!("tls://{}{options}", behind.tls()), format!("https://{}{options}", behind.https())] {
            let front = front(std::slice::from_ref(&upstream));
            assert_eq!(ask(&front, "secret.example.").response_code, ResponseCode::ServFail, "{what}");
            let trouble = front.upstreams().remove(0).trouble.expect(what);
            assert!(trouble.contains("TLS"), "{what}: {trouble}");
        }
    }
    assert_eq!((behind.bench.handle.stats().queries, behind.last.count()), (0, 0));
    // The right key does, whatever the name.
    let pin = STANDARD.encode(behind.keys.renew((2020, 2098)));
    wait(|| {
        let front = front(&[format!("tls://{}?pin={pin}", behind.tls())]);
        answers(&front, "www.example.")
    });
}

#[test]
fn certificate_out_of_date_is_refused_and_with_an_unset_clock_only_what_cannot_be_good() {
    let now = || Moment::At(jiff::Timestamp::now());
    let unset = || Moment::Unknown;
    for (what, years, known, unknown) in [
        ("good now", (2020, 2099), true, true),
        ("ended before this was written", (2002, 2020), false, false),
        ("not yet good, so that only who knows the time can tell", (2098, 2099), false, true),
    ] {
        let (keys, last) = (Keys::valid(years), Scripted::plain());
        let behind =
            Bench::with(keys.secure(settings(&[last.address])), policy(&[]), Clients::Everyone { group: None });
        let upstream = format!("tls://{}?name={OURS}&ca={}", behind.handle.tls_addresses()[0], keys.ca().display());
        let front = front_at(std::slice::from_ref(&upstream), now).unwrap();
        assert_eq!(answers(&front, "www.example."), known, "{what}");
        let front = front_at(std::slice::from_ref(&upstream), unset).unwrap();
        assert_eq!(answers(&front, "www.example."), unknown, "{what}, clock unset");
        // Name and authority count whatever the clock.
        let front = front_at(&[upstream.replace(OURS, "other.example")], unset).unwrap();
        assert!(!answers(&front, "www.example."), "{what}, another name");
    }
}

#[test]
fn setting_the_clock_ends_what_was_taken_on_trust() {
    let (keys, last) = (Keys::valid((2098, 2099)), Scripted::plain());
    let behind = Bench::with(keys.secure(settings(&[last.address])), policy(&[]), Clients::Everyone { group: None });
    let is_set = Arc::new(AtomicBool::new(false));
    let upstream = format!("tls://{}?name={OURS}&ca={}", behind.handle.tls_addresses()[0], keys.ca().display());
    let front = front_at(&[upstream], {
        let is_set = is_set.clone();
        move || if is_set.load(SeqCst) { Moment::At(jiff::Timestamp::now()) } else { Moment::Unknown }
    })
    .unwrap();
    assert!(answers(&front, "one.example."));
    is_set.store(true, SeqCst);
    assert!(!answers(&front, "two.example."));
    assert_eq!(last.names(), ["one.example."]);
}

#[test]
fn encrypted_and_plain_upstreams_do_not_mix_and_what_cannot_be_known_is_refused() {
    let now = || Moment::At(jiff::Timestamp::now());
    let mixed = front_at(&["tls://192.0.2.1?pin=".to_owned() + &STANDARD.encode([7; 32]), "192.0.2.2:53".into()], now);
    assert!(matches!(mixed, Err(Error::Mixed { .. })), "{mixed:?}");
    let missing = front_at(&["tls://192.0.2.1?ca=/nowhere/ca.pem".into()], now);
    assert!(missing.is_err_and(|error| error.to_string().contains("/nowhere/ca.pem")));
}

#[test]
fn failed_upstream_is_passed_over_and_taken_up_again() {
    let (first, second) = (Behind::new(), Behind::new());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed, known) = (gone.local_addr().unwrap(), second.known(OURS));
    drop(gone);
    let upstreams = [
        format!("tls://{closed}{known}"),
        format!("tls://{}{}", first.tls(), first.known("wrong.example")),
        format!("https://{}{known}", second.https()),
    ];
    let front = front(&upstreams);
    for n in 0..10 {
        assert!(answers(&front, &format!("n{n}.example.")));
    }
    assert_eq!((first.last.count(), second.last.count()), (0, 10));
    let troubles: Vec<_> = front.upstreams().iter().map(|health| health.trouble.is_some()).collect();
    assert_eq!(troubles, [true, true, false]);
}

#[test]
fn connection_that_an_upstream_closes_is_opened_anew_and_nothing_is_lost() {
    let behind = Behind::new();
    // Closes each connection as soon as one reply has gone through it.
    let (served, breaker) = (Arc::new(AtomicUsize::new(0)), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = breaker.local_addr().unwrap();
    let (count, to) = (served.clone(), behind.bench.address());
    std::thread::spawn(move || {
        for client in breaker.incoming().take(20) {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(to).unwrap();
            let mut buffer = [0; 4096];
            let Ok(length @ 1..) = client.read(&mut buffer) else { continue };
            server.write_all(&buffer[..length]).unwrap();
            let length = server.read(&mut buffer).unwrap();
            client.write_all(&buffer[..length]).unwrap();
            count.fetch_add(1, SeqCst);
        }
    });
    let front = front(&[format!("tcp://{address}")]);
    for n in 0..10 {
        assert!(answers(&front, &format!("n{n}.example.")), "{n}");
    }
    wait(|| served.load(SeqCst) == 10);
}

#[test]
fn upstream_that_accepts_and_says_nothing_costs_its_deadline_and_no_more() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let behind = Behind::new();
    let address = silent.local_addr().unwrap();
    let upstreams =
        [format!("tls://{address}{}", behind.known(OURS)), format!("tls://{}{}", behind.tls(), behind.known(OURS))];
    let front = front(&upstreams);
    let began = Instant::now();
    assert!(answers(&front, "one.example."));
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(answers(&front, "two.example."));
    assert!(began.elapsed() < Duration::from_millis(1000), "it is asked last now: {:?}", began.elapsed());
}

#[test]
fn what_is_asked_is_padded_and_carries_nothing_of_the_client() {
    // Records what comes in, unencrypted: the same messages go over TLS.
    let behind = Behind::new();
    let front = front(&[format!("tls://{}{}", behind.tls(), behind.known(OURS))]);
    let mut client = query("www.example.", RecordType::A);
    let subnet = hickory_proto::rr::rdata::opt::ClientSubnet::new([198, 51, 100, 0].into(), 24, 0);
    let edns = client.edns.as_mut().unwrap();
    edns.options_mut().insert(hickory_proto::rr::rdata::opt::EdnsOption::Subnet(subnet));
    assert_eq!(udp(front.addresses()[0], &client).unwrap().response_code, ResponseCode::NoError);
    // A terminator of ours in between sees the length of what is asked.
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn({
        let seen = seen.clone();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![rustls::pki_types::pem::PemObject::from_pem_file(behind.keys.certificate()).unwrap()],
                rustls::pki_types::pem::PemObject::from_pem_file(behind.keys.key()).unwrap(),
            )
            .unwrap();
        move || {
            let (stream, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            for _ in 0..3 {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut message).unwrap();
                let parsed = Message::from_vec(&message).unwrap();
                let reply = answer(&parsed, plain_records(&parsed));
                seen.lock().unwrap().push(message);
                stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
                stream.flush().unwrap();
            }
        }
    });
    let front = self::front(&[format!("tls://{address}{}", behind.known(OURS))]);
    for text in ["a.example.", "a-rather-long-name-as-trackers-have-them.something.example.", "b.example."] {
        client.queries[0].name = name(text);
        assert_eq!(udp(front.addresses()[0], &client).unwrap().response_code, ResponseCode::NoError, "{text}");
    }
    thread.join().unwrap();
    for message in seen.lock().unwrap().iter() {
        assert_eq!(message.len(), 128);
        let options = Message::from_vec(message).unwrap().edns.unwrap();
        let codes: Vec<u16> = options.options().as_ref().iter().map(|(code, _)| u16::from(*code)).collect();
        assert_eq!(codes, [12], "padding and nothing else");
    }
}

/// An unbound that answers its own zone over TLS and HTTPS; ended when dropped.
struct Unbound {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn unbound_is_asked_over_tls_and_https() {
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (tls, https) = (free(), free());
    let config = format!(
        "server:\n interface: 127.0.0.1@{tls}\n interface: 127.0.0.1@{https}\n tls-port: {tls}\n https-port: {https}\n \
         tls-service-pem: {}\n tls-service-key: {}\n chroot: \"\"\n username: \"\"\n directory: {}\n pidfile: \"\"\n \
         use-syslog: no\n do-daemonize: no\n num-threads: 1\n local-zone: . static\n local-data: \". 300 IN NS ns.example.\"\n \
         local-data: \"www.example. 300 IN A 192.0.2.80\"\nremote-control:\n control-enable: no\n",
        keys.certificate().display(),
        keys.key().display(),
        folder.path().display(),
    );
    let path = folder.path().join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    let child = Command::new("unbound").arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _unbound = Unbound { child: child.expect("unbound is installed (package unbound)"), _folder: folder };
    wait(|| TcpStream::connect(("127.0.0.1", https)).is_ok() && TcpStream::connect(("127.0.0.1", tls)).is_ok());
    for upstream in [format!("tls://127.0.0.1:{tls}"), format!("https://127.0.0.1:{https}")] {
        let upstream = format!("{upstream}?name={OURS}&ca={}", keys.ca().display());
        let front = front(std::slice::from_ref(&upstream));
        for _ in 0..2 {
            assert_eq!(
                addresses(&ask(&front, "www.example.")),
                [std::net::IpAddr::from([192, 0, 2, 80])],
                "{upstream}"
            );
        }
        assert_eq!(ask(&front, "none.example.").response_code, ResponseCode::NXDomain);
        let parsed: Upstream = upstream.parse().unwrap();
        assert!(!matches!(parsed.how, How::Udp | How::Tcp));
        sheshi_resolver::probe(&parsed, Arc::new(|| Moment::At(jiff::Timestamp::now()))).unwrap();
    }
}
