//! A resolver between a client and a scripted upstream, all on loopback.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its part of it")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
pub use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use sheshi_policy::{Compiled, Edition, Moment, Policy, Source, Spec, compile};
use sheshi_resolver::{Clients, Handle, Limits, PortalAddresses, Settings, Upstream};

pub const PORTAL4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const PORTAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x5e, 0, 0, 0, 0, 1);

pub fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub fn a(owner: &Name, address: [u8; 4]) -> Record {
    Record::from_rdata(owner.clone(), 300, RData::A(rdata::A(address.into())))
}

pub fn aaaa(owner: &Name, address: &str) -> Record {
    Record::from_rdata(owner.clone(), 300, RData::AAAA(rdata::AAAA(address.parse().unwrap())))
}

pub fn cname(owner: &Name, target: &str) -> Record {
    Record::from_rdata(owner.clone(), 300, RData::CNAME(rdata::CNAME(name(target))))
}

pub fn soa(zone: &str) -> Record {
    let soa = rdata::SOA::new(name("ns.example."), name("root.example."), 1, 3600, 900, 86_400, 60);
    Record::from_rdata(name(zone), 60, RData::SOA(soa))
}

/// A policy that blocks these names, one category each, and does nothing else.
pub fn policy(blocked: &[(&str, &[&str])]) -> Arc<Compiled> {
    let paths: Vec<_> = blocked.iter().map(|(category, _)| format!("{category}.txt")).collect();
    let blocks = blocked.iter().zip(&paths).map(|((category, _), path)| (*category, std::path::Path::new(path)));
    let policy = Spec::blocking(blocks).check().unwrap();
    compiled(&policy, |list| {
        let (.., names) =
            blocked.iter().zip(&paths).map(|((_, names), path)| (path, names)).find(|(path, _)| list == *path).unwrap();
        names.join("\n")
    })
}

/// A policy as an admin writes it, its lists' files given by name.
pub fn policy_of(text: &str, lists: &[(&str, &str)]) -> Arc<Compiled> {
    let policy = Spec::parse(text).and_then(|spec| spec.check()).unwrap_or_else(|problems| panic!("{problems}"));
    compiled(&policy, |file| lists.iter().find(|(name, _)| *name == file).expect("a list of this name").1.to_owned())
}

fn compiled(policy: &Policy, text: impl Fn(&str) -> String) -> Arc<Compiled> {
    let editions: Vec<_> = policy
        .lists
        .iter()
        .map(|list| {
            let Source::File(path) = &list.source else { panic!("a file") };
            Edition::parse(list, text(path.to_str().unwrap()).as_bytes()).unwrap()
        })
        .collect();
    Arc::new(Compiled::from_bytes(compile(policy, &editions, &mut |_| ()).unwrap()).unwrap())
}

/// What the upstream does with a query: any number of datagrams (or messages on the stream) in this order.
pub type Script = Box<dyn Fn(&Message, &[u8], bool) -> Vec<Vec<u8>> + Send + Sync>;

/// A query's bytes, and the port it came from.
pub type Asked = (Vec<u8>, u16);

/// A scripted upstream over UDP and TCP.
pub struct Scripted {
    pub address: SocketAddr,
    /// What it was asked.
    pub asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(script: impl Fn(&Message, &[u8], bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = (0..32)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
                let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
                Some((udp, tcp))
            })
            .expect("a port free for UDP and TCP");
        let address = udp.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(Box::new(script));
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut threads = Vec::new();
        threads.push({
            let (asked, stop, script) = (asked.clone(), stop.clone(), script.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, peer)) = udp.recv_from(&mut buffer) else { continue };
                    let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                    asked.lock().unwrap().push((buffer[..length].to_vec(), peer.port()));
                    for reply in script(&query, &buffer[..length], false) {
                        udp.send_to(&reply, peer).unwrap();
                    }
                }
            })
        });
        tcp.set_nonblocking(true).unwrap();
        threads.push({
            let (asked, stop) = (asked.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut connections = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let Ok((mut stream, peer)) = tcp.accept() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                    let (asked, script) = (asked.clone(), script.clone());
                    connections.push(std::thread::spawn(move || {
                        while let Some(bytes) = read_framed(&mut stream) {
                            let Ok(query) = Message::from_vec(&bytes) else { break };
                            asked.lock().unwrap().push((bytes.clone(), peer.port()));
                            for reply in script(&query, &bytes, true) {
                                if write_framed(&mut stream, &reply).is_err() {
                                    return;
                                }
                            }
                        }
                    }));
                }
                for connection in connections {
                    connection.join().unwrap();
                }
            })
        });
        Self { address, asked, stop, threads }
    }

    /// Answers A and AAAA of every name, and "no data" otherwise.
    pub fn plain() -> Self {
        Self::start(|query, _, _| vec![answer(query, plain_records(query))])
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Names asked for, in lower case.
    pub fn names(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let name = |bytes: &[u8]| Message::from_vec(bytes).unwrap().queries[0].name().to_lowercase().to_string();
        asked.iter().map(|(bytes, _)| name(bytes)).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

pub fn plain_records(query: &Message) -> Vec<Record> {
    let asked = query.queries[0].name();
    match query.queries[0].query_type() {
        RecordType::A => vec![a(asked, [192, 0, 2, 7])],
        RecordType::AAAA => vec![aaaa(asked, "2001:db8::7")],
        _ => vec![],
    }
}

/// A reply to `query` with these answers, an SOA when there are none.
pub fn answer(query: &Message, records: Vec<Record>) -> Vec<u8> {
    let mut reply = query.clone().into_response();
    reply.metadata.recursion_available = true;
    if records.is_empty() {
        reply.add_authority(soa("."));
    }
    for record in records {
        reply.add_answer(record);
    }
    reply.to_vec().unwrap()
}

fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], bytes].concat())
}

/// A resolver for everybody, and what it was started with.
pub struct Bench {
    pub handle: Handle,
    pub policy: Arc<ArcSwap<Compiled>>,
}

pub fn settings(upstreams: &[SocketAddr]) -> Settings {
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        stranger_listen: vec!["127.0.0.1:0".parse().unwrap()],
        upstreams: upstreams.iter().copied().map(Upstream::from).collect(),
        cache_bytes: 4 << 20,
        portal: PortalAddresses { v4: Some(PORTAL4), v6: Some(PORTAL6) },
        portal_name: Some("portal.city.example".into()),
        contact: vec!["mailto:wifi@city.example".into()],
        organisation: "City".into(),
        // What upstreams are asked is counted.
        check_search_targets: false,
        limits: Limits::single_client(),
        ..Settings::default()
    }
}

impl Bench {
    pub fn start(upstreams: &[SocketAddr], policy: Arc<Compiled>) -> Self {
        Self::with(settings(upstreams), policy, Clients::Everyone { group: None })
    }

    pub fn with(settings: Settings, policy: Arc<Compiled>, clients: Clients) -> Self {
        let policy = Arc::new(ArcSwap::new(policy));
        let clock = Arc::new(|| Moment::At(jiff::Timestamp::now()));
        let handle = sheshi_resolver::start(settings, policy.clone(), clients, clock).unwrap();
        Self { handle, policy }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    pub fn stranger_address(&self) -> SocketAddr {
        self.handle.stranger_addresses()[0]
    }

    /// Asks over UDP with EDNS.
    pub fn ask(&self, text: &str, rtype: RecordType) -> Message {
        udp(self.address(), &query(text, rtype)).expect("a reply")
    }

    pub fn ask_stranger(&self, text: &str, rtype: RecordType) -> Message {
        udp(self.stranger_address(), &query(text, rtype)).expect("a reply")
    }
}

/// A query with EDNS and a random id.
pub fn query(text: &str, rtype: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), rtype));
    message.edns.get_or_insert_with(Edns::new).set_max_payload(1232);
    message
}

pub fn udp(server: SocketAddr, query: &Message) -> Option<Message> {
    Message::from_vec(&udp_bytes(server, &query.to_vec().unwrap(), 5000)?).ok()
}

/// Sends a datagram and waits for one with the same id.
pub fn udp_bytes(server: SocketAddr, bytes: &[u8], millis: u64) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(millis))).unwrap();
    socket.send(bytes).unwrap();
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    assert_eq!(buffer.get(..2), bytes.get(..2), "the reply has the query's id");
    Some(buffer)
}

pub fn tcp(server: SocketAddr, query: &Message) -> Option<Message> {
    Message::from_vec(&tcp_bytes(server, &query.to_vec().unwrap())?).ok()
}

pub fn tcp_bytes(server: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write_framed(&mut stream, bytes).ok()?;
    read_framed(&mut stream)
}

/// The addresses in a reply.
pub fn addresses(message: &Message) -> Vec<std::net::IpAddr> {
    message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(v4) => Some(v4.0.into()),
            RData::AAAA(v6) => Some(v6.0.into()),
            _ => None,
        })
        .collect()
}

/// Code and text of the Extended DNS Error in a reply's bytes, if there is one.
pub fn ede(message: &Message) -> Option<(u16, String)> {
    let edns = message.edns.as_ref()?;
    edns.options().as_ref().iter().find_map(|(code, option)| {
        if u16::from(*code) != 15 {
            return None;
        }
        let bytes = Vec::<u8>::try_from(option).ok()?;
        Some((u16::from_be_bytes([bytes[0], bytes[1]]), String::from_utf8(bytes[2..].to_vec()).unwrap()))
    })
}
