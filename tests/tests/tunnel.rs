//! A tunnel through DNS, by the program that people use for it: fast through a router as one finds it, slowed and counted by sheshi,
//! while others browse as ever.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use sheshi_tests::{Guest, Lab, Options, Place, plan, until};
use socket2::{Domain, Type};

/// How long the tunnel is watched.
const WATCHED: Duration = Duration::from_secs(25);
/// The address of the tunnel's far end.
const FAR_END: &str = "10.200.0.1";

/// A program that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(place: &Place, command: &[&str]) -> Running {
    let mut command = place.command(command).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

/// Octets that come through a tunnel of this guest while it is watched.
fn carried(lab: &Lab, guest: &Guest) -> usize {
    let (internet, zone) = (lab.place("internet"), format!("t.{}", plan::TUNNEL_ZONE));
    let port = plan::TUNNEL_PORT.to_string();
    let far_end = format!("{FAR_END}/24");
    let server = run(&internet, &["iodined", "-f", "-c", "-P", "lab", "-l", "127.0.0.1", "-p", &port, &far_end, &zone]);
    let to: SocketAddr = format!("{FAR_END}:8000").parse().unwrap();
    let listener = until("the tunnel's server", Duration::from_secs(20), || {
        let socket = internet.socket(Domain::IPV4, Type::STREAM, None).ok()?;
        socket.bind(&to.into()).ok()?;
        socket.listen(1).ok()?;
        Some(std::net::TcpListener::from(socket))
    })
    .unwrap();
    // Sends as fast as the tunnel takes it; a tunnel that has ended tells nobody.
    let over = Arc::new(AtomicBool::new(false));
    let source = std::thread::spawn({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else { return };
                stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                while !over.load(Ordering::Relaxed) {
                    match stream.write(&[7; 4096]) {
                        Err(error) if error.kind() != ErrorKind::WouldBlock => break,
                        _ => {}
                    }
                }
            }
        }
    });
    let (start, mut heard) = (Instant::now(), 0);
    let client = run(guest, &["iodine", "-f", "-r", "-P", "lab", &plan::GATEWAY_V4.to_string(), &zone]);
    while start.elapsed() < WATCHED {
        let left = WATCHED.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        // Through the tunnel's interface only: the far end is on the internet side, where a route leads too.
        let socket = guest.socket(Domain::IPV4, Type::STREAM, None).unwrap();
        let connected = socket
            .bind_device(Some(b"dns0"))
            .and_then(|()| socket.connect_timeout(&to.into(), left.min(Duration::from_secs(3))));
        if connected.is_err() {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        let mut stream = TcpStream::from(socket);
        let mut room = [0; 16_384];
        while start.elapsed() < WATCHED {
            let left = WATCHED.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).unwrap();
            match stream.read(&mut room) {
                Ok(0) | Err(_) => break,
                Ok(more) => heard += more,
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    // Who still waits for a connection gets this one, from the internet side, where no tunnel is needed.
    let _ = internet.connect(to, Duration::from_secs(2));
    source.join().unwrap();
    drop((client, server));
    heard
}

fn slowed(lab: &Lab) -> u64 {
    lab.gateway_status().unwrap()["dns"]["new_names_slowed"].as_u64().unwrap()
}

fn tunnel_questions(lab: &Lab) -> usize {
    lab.upstream_names().iter().filter(|name| name.ends_with(plan::TUNNEL_ZONE)).count()
}

#[test]
fn tunnel_of_an_admitted_guest_is_slowed_and_counted_while_others_browse() {
    let naive = Lab::start(Options { guests: 1, ..Options::naive() }).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = naive.guest("guest1");
    guest.join().unwrap();
    let fast = carried(&naive, &guest);
    let many = tunnel_questions(&naive);
    assert!(fast > 200_000 && many > 300, "the tunnel does not work at all: {fast} octets in {many} questions");
    drop(naive);

    let lab = Lab::start(Options { guests: 2, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"));
    let (tunneller, reader) = (lab.guest("guest1"), lab.guest("guest2"));
    tunneller.join_and_accept().unwrap();
    reader.join_and_accept().unwrap();
    browse(&reader, 0);
    assert_eq!(slowed(&lab), 0, "browsing alone is slowed");
    let slow = std::thread::scope(|scope| {
        let tunnel = scope.spawn(|| carried(&lab, &tunneller));
        // While the tunnel is at its limit.
        let found = until("the tunnel to be noticed", WATCHED, || (slowed(&lab) > 0).then_some(()));
        for page in 1..4 {
            browse(&reader, page);
        }
        (tunnel.join().unwrap(), found).0
    });
    let (few, turned_away) = (tunnel_questions(&lab), slowed(&lab));
    eprintln!("without a filter {fast} octets in {many} questions, with it {slow} in {few}, {turned_away} turned away");
    assert!(turned_away > 0, "nothing was turned away");
    assert!(few <= 200, "{few} of its questions reached the upstream");
    assert!(slow * 5 < fast, "{slow} octets through sheshi, {fast} without it");
    let figures = lab.sheshi(&["status"]).unwrap();
    assert!(figures.contains("sends data through DNS"), "{figures}");
    assert!(!figures.contains("tunnel-lab"), "a name in the status: {figures}");
}

/// A page: thirty sites, and two dozen names below one of them, in both families.
fn browse(guest: &Guest, page: usize) {
    // A page a second is more than a person reads, and less than the bound on all questions (100 a second).
    std::thread::sleep(Duration::from_secs(1));
    let sites = (0..30).map(|n| format!("www.site{page}x{n}.com"));
    let own = (0..24).map(|n| format!("img{n}.page{page}.newspaper.org"));
    for name in sites.chain(own) {
        for kind in [RecordType::A, RecordType::AAAA] {
            let answer = guest.resolve(&name, kind).unwrap();
            assert_eq!(answer.code(), ResponseCode::NoError, "{name}");
        }
    }
}
