//! File descriptors are exhausted. One test in this file, for it takes them away from its whole process.

mod common;

use std::{
    fs::File,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use common::*;
use nix::sys::resource::{Resource, setrlimit};

#[test]
fn without_descriptors_the_filter_holds_and_afterwards_everything_works_again() {
    let upstream = Scripted::plain();
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let bench = Bench::start(&[upstream.address], policy(&[("adult", &["blocked.example"])]));
    let good = [Ipv4Addr::new(192, 0, 2, 7)];
    assert_eq!(addresses(&bench.ask("known.example.", RecordType::A)), good);
    // The client's own socket is open before there are none left.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(bench.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let ask = |name: &str| {
        socket.send(&query(name, RecordType::A).to_vec().unwrap()).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a reply");
        Message::from_vec(&buffer[..length]).unwrap()
    };
    let stream = std::net::TcpStream::connect(bench.address()).unwrap();
    let mut taken = Vec::new();
    let mut take = || {
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
    };
    // Sockets of questions that were answered are given back a second later: those too.
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        take();
        std::thread::sleep(Duration::from_millis(20));
    }
    for round in 0..3 {
        let reply = ask("www.blocked.example.");
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NXDomain,
            "round {round}: what is blocked stays blocked"
        );
        assert_eq!(addresses(&ask("known.example.")), good, "round {round}: what is cached is served");
        take();
        let reply = ask(&format!("new{round}.example."));
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail, "round {round}: what cannot be asked fails");
    }
    assert!(taken.len() > 5, "there were some to take");
    drop((taken, stream));
    let until = Instant::now() + Duration::from_secs(5);
    let mut n = 0;
    while addresses(&ask(&format!("later{n}.example."))) != good {
        assert!(Instant::now() < until, "names are resolved again");
        std::thread::sleep(Duration::from_millis(50));
        n += 1;
    }
    let reply = tcp(bench.address(), &query("tcp.example.", RecordType::A)).expect("TCP is accepted again");
    assert_eq!(addresses(&reply), good);
}
