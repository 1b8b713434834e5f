//! A hotspot of network namespaces, made for one test and gone with it.
//!
//! ```text
//!  guest ──┐
//!          ├─ br-guest [gateway] wan0 ── internet
//!  thief ──┘
//! ```
//! The test runs again as a child of `unshare`: its process is the gateway, with network, mounts and processes of its
//! own; the others are threads that moved to a namespace of their own. When it ends, the kernel takes all of it back.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use sheshi_firewall::{Guard, Ruleset};
use sheshi_policy::Mac;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub const GUEST: Mac = Mac([2, 0, 0x5e, 0x10, 0, 1]);
pub const THIEF: Mac = Mac([2, 0, 0x5e, 0x10, 0, 2]);
pub const GUEST4: &str = "10.80.0.11";
pub const GUEST6: &str = "2001:db8:80::11";
pub const THIEF4: &str = "10.80.0.12";
pub const THIEF6: &str = "2001:db8:80::12";
pub const GATEWAY4: &str = "10.80.0.1";
pub const GATEWAY6: &str = "2001:db8:80::1";
pub const GATEWAY_LINK: &str = "fe80::1";
pub const WAN4: &str = "203.0.113.2";
pub const WAN6: &str = "2001:db8:f::2";
/// A web server, and whatever else, on the internet.
pub const WEB4: &str = "198.18.0.10";
pub const WEB6: &str = "2001:db8:e::10";
/// Somebody else's resolver, not on the list of closed addresses.
pub const RESOLVER4: &str = "198.18.0.53";
pub const RESOLVER6: &str = "2001:db8:e::53";
/// Addresses that `square()` closes on port 443.
pub const CLOSED4: &str = "192.0.2.53";
pub const CLOSED6: &str = "2001:db8:d0::53";

const INSIDE: &str = "SHESHI_FIREWALL_LAB";

/// Runs the test in a lab that needs no root. `name` is the test's own path, by which it is found again inside.
pub fn lab(name: &str, test: impl FnOnce(&Lab)) {
    enter(name, &["--user", "--map-root-user"], test);
}

/// Runs the test in a lab of the real root, for what a user namespace cannot do.
pub fn root_lab(name: &str, test: impl FnOnce(&Lab)) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "{name} needs root: run it with sudo, or leave the stage out with --skip root_stage"
    );
    enter(name, &[], test);
}

fn enter(name: &str, user: &[&str], test: impl FnOnce(&Lab)) {
    if std::env::var_os(INSIDE).is_some() {
        return test(&Lab::new());
    }
    let output = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .expect("unshare from util-linux");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "in the lab (it needs user namespaces: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces>0):\n{text}"
    );
    assert!(text.contains("1 passed"), "{name:?} is not this test's name:\n{text}");
}

/// The hotspot.
pub struct Lab {
    pub guest: Namespace,
    pub thief: Namespace,
    pub internet: Namespace,
    /// What the internet sees on its wire.
    pub tap: Tap,
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        quiet_ipv6();
        ip("link set lo up");
        ip("link add br-guest type bridge mcast_snooping 0 forward_delay 0");
        ip("link set br-guest address 02:00:5e:10:00:fe addrgenmode none");
        ip("addr add 10.80.0.1/20 dev br-guest");
        ip("addr add 2001:db8:80::1/64 dev br-guest nodad");
        ip("addr add fe80::1/64 dev br-guest nodad");
        ip("link set br-guest up");
        let guest = device("g1", &GUEST.to_string(), GUEST4, GUEST6);
        let thief = device("g2", &THIEF.to_string(), THIEF4, THIEF6);
        let internet = Namespace::new();
        ip(&format!("link add wan0 type veth peer name isp netns {}", internet.tid));
        ip("link set wan0 address 02:00:5e:10:00:fd");
        ip("addr add 203.0.113.2/24 dev wan0");
        ip("addr add 2001:db8:f::2/64 dev wan0 nodad");
        ip("link set wan0 up");
        internet.call(|| {
            ip("link set lo up");
            ip("addr add 203.0.113.1/24 dev isp");
            ip("addr add 2001:db8:f::1/64 dev isp nodad");
            ip("link set isp up");
            ip("route add 10.80.0.0/20 via 203.0.113.2");
            ip("route add 2001:db8:80::/64 via 2001:db8:f::2");
            for address in [WEB4, WEB6, RESOLVER4, RESOLVER6, CLOSED4, CLOSED6] {
                add_address(address, "lo");
            }
            for port in [22, 25, 53, 80, 443, 853, 4433] {
                serve(port, "internet", &[WEB4, WEB6, RESOLVER4, RESOLVER6, CLOSED4, CLOSED6]);
            }
        });
        ip("route add default via 203.0.113.1");
        ip("route add default via 2001:db8:f::1");
        let tap = internet.call(Tap::new);
        Self { guest, thief, internet, tap, folder: tempfile::tempdir().unwrap() }
    }

    /// Our services, and some that guests must not reach, on the gateway.
    pub fn services(&self) {
        for (port, label) in [
            (53, "resolver"),
            (853, "dot"),
            (8443, "doh"),
            (5300, "strangers"),
            (80, "portal"),
            (443, "tls"),
            (22, "ssh"),
            (8080, "admin"),
        ] {
            serve(port, label, &[GATEWAY4, GATEWAY6, GATEWAY_LINK, WAN4, WAN6]);
        }
    }

    /// Lets the guest and the thief look for each other at the gateway: the bridge keeps them apart, its routing does not.
    pub fn bounce(&self) {
        let routes = |other4: &'static str, other6: &'static str| {
            move || {
                ip(&format!("route add {other4} via {GATEWAY4}"));
                ip(&format!("route add {other6} via {GATEWAY6}"));
            }
        };
        self.guest.call(routes(THIEF4, THIEF6));
        self.thief.call(routes(GUEST4, GUEST6));
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("guard.sock")
    }

    /// A running guard.
    pub fn guard(&self) -> Running {
        self.guard_with(&[])
    }

    /// A running guard with more options.
    pub fn guard_with(&self, options: &[&str]) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_sheshi-guard"))
            .arg("--socket")
            .arg(self.socket())
            .args(["--log", "warn", "--state"])
            .arg(self.folder.path().join("guard.state"))
            .args(options)
            .spawn()
            .unwrap();
        let mut running = Running { child, guard: None };
        running.guard =
            Some(eventually("the guard answers", || Guard::connect(self.socket(), Duration::from_secs(5)).ok()));
        running
    }

    /// A guard with a ruleset in force.
    pub fn guarding(&self, ruleset: &Ruleset) -> Running {
        let running = self.guard();
        running.apply(ruleset).unwrap();
        running
    }
}

/// A guard process, ended with the test.
pub struct Running {
    child: Child,
    guard: Option<Guard>,
}

impl Running {
    /// Kills it as hard as can be.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        run("kill", &format!("-{name} {}", self.child.id()));
    }

    /// Admits the guest for a minute at its two addresses.
    pub fn admit_guest(&self) {
        self.admit(GUEST, &[GUEST4.parse().unwrap(), GUEST6.parse().unwrap()], Duration::from_secs(60)).unwrap();
    }
}

impl std::ops::Deref for Running {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        self.guard.as_ref().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A device on the guest bridge, apart from its neighbours there.
fn device(port: &str, mac: &str, v4: &str, v6: &str) -> Namespace {
    let namespace = Namespace::new();
    ip(&format!("link add {port} type veth peer name eth0 netns {}", namespace.tid));
    ip(&format!("link set {port} master br-guest up"));
    run("bridge", &format!("link set dev {port} isolated on"));
    let (mac, v4, v6) = (mac.to_string(), v4.to_string(), v6.to_string());
    namespace.call(move || {
        ip("link set lo up");
        ip(&format!("link set eth0 address {mac}"));
        ip(&format!("addr add {v4}/20 dev eth0"));
        ip(&format!("addr add {v6}/64 dev eth0 nodad"));
        ip("link set eth0 up");
        ip("route add default via 10.80.0.1");
        ip("route add default via 2001:db8:80::1");
    });
    namespace
}

/// A thread that lives in a network namespace of its own and does there what it is told.
pub struct Namespace {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    tid: i32,
}

impl Namespace {
    fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, tid) = mpsc::channel();
        thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            quiet_ipv6();
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        Self { jobs, tid: tid.recv().unwrap() }
    }

    /// Does it there, and waits for the result.
    pub fn call<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move || {
            let _ = done.send(job());
        };
        self.jobs.send(Box::new(job)).unwrap();
        result.recv().expect("the job in the namespace panicked")
    }

    /// What answers on this TCP port: the label it sends, or how it fails.
    pub fn tcp(&self, address: &str, port: u16) -> Result<String, Failure> {
        let to = socket_address(address, port);
        self.call(move || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| Failure::of(&error))?;
            talk(&mut stream).map_err(|error| Failure::of(&error))
        })
    }

    /// What answers on this UDP port.
    pub fn udp(&self, address: &str, port: u16) -> Result<String, Failure> {
        let to = socket_address(address, port);
        self.call(move || udp(to, b"hello").map_err(|error| Failure::of(&error)))
    }

    /// What answers on this UDP port to a datagram that needs three fragments.
    pub fn udp_large(&self, address: &str, port: u16) -> Result<String, Failure> {
        let to = socket_address(address, port);
        self.call(move || udp(to, &[b'!'; 4000]).map_err(|error| Failure::of(&error)))
    }

    /// An open connection, to be talked over with [`talk`].
    pub fn connect(&self, address: &str, port: u16) -> TcpStream {
        let to = socket_address(address, port);
        self.call(move || TcpStream::connect_timeout(&to, PATIENCE).unwrap())
    }

    /// Sends a packet of an IP protocol that is neither TCP nor UDP.
    pub fn raw(&self, address: &str, protocol: i32, payload: &'static [u8]) {
        let to = socket_address(address, 0);
        self.call(move || {
            let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).unwrap();
            let _ = socket.send_to(payload, &SockAddr::from(to));
        });
    }

    /// Whether a ping comes back.
    pub fn ping(&self, address: &str) -> bool {
        let address = address.to_string();
        self.call(move || {
            let out = Command::new("ping").args(["-n", "-c", "1", "-W", "1", &address]).output().expect("ping");
            out.status.success()
        })
    }
}

pub const PATIENCE: Duration = Duration::from_millis(700);

/// How an attempt failed.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Failure {
    /// Somebody said no.
    Refused,
    /// Nobody said anything.
    Silence,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silence,
            _ => Self::Refused,
        }
    }
}

/// Says a word over a connection and returns what comes back.
pub fn talk(stream: &mut TcpStream) -> io::Result<String> {
    use std::io::{Read as _, Write as _};
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello")?;
    let mut buffer = [0; 64];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
    }
}

/// Ends a connection and waits until the other side has ended it, too: what is late would count as the next one's.
pub fn hang_up(mut stream: TcpStream) {
    use std::io::Read as _;
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0);
}

fn udp(to: SocketAddr, question: &[u8]) -> io::Result<String> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(question)?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Address and port; a link-local address on the device's own wire.
fn socket_address(address: &str, port: u16) -> SocketAddr {
    let mut to = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    if let SocketAddr::V6(to) = &mut to
        && to.ip().is_unicast_link_local()
    {
        // eth0 and br-guest are the second interface of their namespace, after lo.
        to.set_scope_id(2);
    }
    to
}

/// Answers on a port, TCP and UDP, with a label. One socket an address, so that answers come from where they were asked.
pub fn serve(port: u16, label: &'static str, addresses: &[&str]) {
    use std::io::{Read as _, Write as _};
    for address in addresses.iter().map(|address| socket_address(address, port)) {
        let listener = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while stream.read(&mut buffer).is_ok_and(|length| length > 0)
                        && stream.write_all(label.as_bytes()).is_ok()
                    {}
                });
            }
        });
        let socket = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(label.as_bytes(), peer);
            }
        });
    }
}

/// A wire on which nothing came.
pub const NOTHING: [Vec<u8>; 0] = [];

/// What comes over a wire.
#[derive(Clone)]
pub struct Tap {
    packets: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Listens on all interfaces of the namespace.
    fn new() -> Self {
        const ETH_P_ALL: u16 = 3;
        let all = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
        let packets = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&packets);
        thread::spawn(move || {
            use std::io::Read as _;
            let mut buffer = [0; 2048];
            while let Ok(length) = (&socket).read(&mut buffer) {
                kept.lock().unwrap().push(buffer[..length].to_vec());
            }
        });
        Self { packets }
    }

    /// The packets the gateway has sent since the last call, without the talk of neighbours (ARP, neighbour discovery, multicast listeners).
    pub fn take(&self) -> Vec<Vec<u8>> {
        thread::sleep(Duration::from_millis(100));
        let mut packets = std::mem::take(&mut *self.packets.lock().unwrap());
        packets.retain(|packet| packet[6..12] == [2, 0, 0x5e, 0x10, 0, 0xfd]);
        packets.retain(|packet| match packet.get(12..14) {
            Some([0x08, 0x00]) => true,
            Some([0x86, 0xdd]) => !neighbours(packet),
            _ => false,
        });
        packets
    }
}

/// Whether an IPv6 packet is neighbour discovery or a multicast listener's report, behind a hop-by-hop header or not.
fn neighbours(packet: &[u8]) -> bool {
    let kind = match packet[20] {
        58 => packet.get(54),
        0 if packet.get(54) == Some(&58) => packet.get(62),
        _ => None,
    };
    kind.is_some_and(|kind| (130..=137).contains(kind) || *kind == 143)
}

/// Waits for it, at most five seconds.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Adds a single address, usable at once.
pub fn add_address(address: &str, device: &str) {
    let bits = if address.contains(':') { 128 } else { 32 };
    ip(&format!("addr add {address}/{bits} dev {device}{}", if bits == 128 { " nodad" } else { "" }));
}

pub fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs a program in the caller's namespace and returns what it says.
pub fn run(program: &str, arguments: &str) -> String {
    let output =
        Command::new(program).args(arguments.split(' ')).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn sysctl(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
}

/// Addresses are usable at once, and nobody makes more of them.
fn quiet_ipv6() {
    for name in ["ipv6/conf/default/accept_dad", "ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_ra"] {
        sysctl(name, "0");
    }
}
