//! A hotspot on the loopback interface: the real portal on a real socket, devices with their own source addresses, and the
//! two doors of the portal as values that a test can look into and break.

use std::{
    collections::HashMap,
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use sheshi_captive_portal::{BoxFuture, Clock, Gate, GateError, Neighbours, Portal, Settings};
use sheshi_policy::{Compiled, Directory, Edition, Mac, Moment, Spec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

pub(crate) const NAME: &str = "wifi.tirana.example";

/// The set of admitted guests, as the kernel keeps it.
#[derive(Default)]
pub(crate) struct Kernel {
    pub(crate) set: Mutex<HashMap<(Mac, IpAddr), Instant>>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// What the firewall does instead of its work.
    pub(crate) fault: Mutex<Fault>,
    /// How long it takes to admit.
    pub(crate) delay: Mutex<Duration>,
    clock: Arc<Watch>,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    RefusesToAdmit,
    RefusesToExpel,
    /// Does not answer when it is to expel.
    HangsOnExpel,
    /// Does it, but says that it did not.
    AdmitsAndDenies,
}

impl Kernel {
    pub(crate) fn has(&self, mac: Mac) -> bool {
        let now = self.clock.instant();
        self.set.lock().unwrap().iter().any(|((owner, _), until)| *owner == mac && *until > now)
    }

    pub(crate) fn addresses(&self, mac: Mac) -> Vec<IpAddr> {
        let mut addresses: Vec<_> =
            self.set.lock().unwrap().keys().filter(|(owner, _)| *owner == mac).map(|(_, address)| *address).collect();
        addresses.sort();
        addresses
    }

    pub(crate) fn dump(&self) -> Vec<(Mac, IpAddr, Duration)> {
        let now = self.clock.instant();
        let set = self.set.lock().unwrap();
        set.iter().filter(|(_, until)| **until > now).map(|((mac, ip), until)| (*mac, *ip, *until - now)).collect()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Gate for Kernel {
    fn admit(&self, mac: Mac, addresses: Vec<IpAddr>, time: Duration) -> BoxFuture<'_, Result<(), GateError>> {
        Box::pin(async move {
            // The real one is asked over a socket: others run meanwhile.
            let delay = Duration::from_millis(5) + *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            self.asked.lock().unwrap().push(format!("admit {mac} {}", addresses.len()));
            let fault = *self.fault.lock().unwrap();
            if fault == Fault::RefusesToAdmit {
                return Err(GateError("the kernel said no".into()));
            }
            let until = self.clock.instant() + time;
            self.set.lock().unwrap().extend(addresses.into_iter().map(|address| ((mac, address), until)));
            if fault == Fault::AdmitsAndDenies { Err(GateError("no answer".into())) } else { Ok(()) }
        })
    }

    fn expel(&self, mac: Mac) -> BoxFuture<'_, Result<(), GateError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.asked.lock().unwrap().push(format!("expel {mac}"));
            let fault = *self.fault.lock().unwrap();
            match fault {
                Fault::RefusesToExpel => return Err(GateError("the kernel said no".into())),
                Fault::HangsOnExpel => std::future::pending::<()>().await,
                _ => {}
            }
            self.set.lock().unwrap().retain(|(owner, _), _| *owner != mac);
            Ok(())
        })
    }
}

/// The neighbour table.
#[derive(Default)]
pub(crate) struct Table(pub(crate) Mutex<HashMap<IpAddr, Mac>>);

impl Neighbours for Table {
    fn mac(&self, address: IpAddr) -> Option<Mac> {
        self.0.lock().unwrap().get(&address).copied()
    }

    fn addresses(&self, mac: Mac) -> Vec<IpAddr> {
        let mut addresses: Vec<_> =
            self.0.lock().unwrap().iter().filter(|(_, owner)| **owner == mac).map(|(address, _)| *address).collect();
        addresses.sort();
        addresses
    }
}

/// A clock that a test moves on.
pub(crate) struct Watch {
    born: Instant,
    ahead: Mutex<Duration>,
    pub(crate) set: Mutex<bool>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { born: Instant::now(), ahead: Mutex::default(), set: Mutex::new(true) }
    }
}

impl Watch {
    pub(crate) fn forward(&self, time: Duration) {
        *self.ahead.lock().unwrap() += time;
    }
}

/// 2026-11-23T08:00:00Z.
const START: i64 = 1_795_420_800;

impl Clock for Watch {
    fn instant(&self) -> Instant {
        self.born + *self.ahead.lock().unwrap()
    }

    fn moment(&self) -> Moment {
        if *self.set.lock().unwrap() {
            let ahead = self.ahead.lock().unwrap().as_secs();
            Moment::At(jiff::Timestamp::from_second(START + ahead as i64).unwrap())
        } else {
            Moment::Unknown
        }
    }
}

/// A portal with everything around it.
pub(crate) struct Hotspot {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) portal: Portal,
    pub(crate) address: SocketAddr,
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) table: Arc<Table>,
    pub(crate) directory: Arc<ArcSwap<Directory>>,
    pub(crate) clock: Arc<Watch>,
    pub(crate) settings: Settings,
    server: tokio::task::JoinHandle<()>,
}

pub(crate) fn device(n: u16) -> Mac {
    Mac([2, 0, 0, 0, (n >> 8) as u8, n as u8])
}

/// The source address of a device; that of 250 is nobody's.
pub(crate) fn source(n: u16) -> IpAddr {
    Ipv4Addr::new(127, 0, (n >> 8) as u8, n as u8).into()
}

pub(crate) fn settings(folder: &Path) -> Settings {
    let text = format!(
        "name = '{NAME}'
         addresses = ['127.0.0.1', '2001:db8::1']
         organisation = 'Bashkia Tiranë'
         venue = 'Sheshi Skënderbej'
         contact = 'wifi@tirana.example'
         website = 'https://www.tirana.example/'
         database = '{folder}/lib/portal.sqlite'
         objections = '{folder}/lib/objections.jsonl'
         run = '{folder}/run'",
        folder = folder.display()
    );
    toml::from_str(&text).unwrap()
}

/// A policy of three categories with a list, one without, and an order.
pub(crate) fn compiled() -> Arc<ArcSwap<Compiled>> {
    let spec = r#"
        version = 1
        generation = 1
        [list.dating]
        file = "dating.txt"
        category = "dating"
        [group.guest]
        title = "Guests"
        categories = ["adult", "gambling"]
        [category.terror]
        locked = true
        [category.gambling]
        answer = "block-page"
        [list.adult]
        file = "adult.txt"
        category = "adult"
        [list.gambling]
        file = "gambling.txt"
        category = "gambling"
        [list.iwf]
        file = "csam.txt"
        category = "csam"
        [[order]]
        names = ["ordered.example"]
        number = "No. 42"
        body = "AKEP"
        date = 2026-01-01
        basis = "A law"
    "#;
    let lists = [
        ("adult", "adult.example\n"),
        ("gambling", "casino.example\n"),
        ("iwf", "abuse.example\n"),
        ("dating", "dating.example\n"),
    ];
    let policy = Spec::parse(spec).and_then(|spec| spec.check()).unwrap_or_else(|problems| panic!("{problems}"));
    let editions: Vec<_> = policy
        .lists
        .iter()
        .map(|list| {
            let (_, names) = lists.iter().find(|(name, _)| *name == &*list.name).unwrap();
            Edition::parse(list, names.as_bytes()).unwrap()
        })
        .collect();
    let bytes = sheshi_policy::compile(&policy, &editions, &mut |_| ()).unwrap();
    Arc::new(ArcSwap::from_pointee(Compiled::from_bytes(bytes).unwrap()))
}

impl Hotspot {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// A hotspot with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let clock = Arc::new(Watch::default());
        let kernel = Arc::new(Kernel { clock: clock.clone(), ..Kernel::default() });
        let table = Arc::new(Table::default());
        table.0.lock().unwrap().extend((2..=1000).filter(|n| *n != 250).map(|n| (source(n), device(n))));
        let directory = Arc::new(ArcSwap::from_pointee(Directory::default()));
        let compiled = compiled();
        let portal =
            Portal::open(settings.clone(), kernel.clone(), table.clone(), directory.clone(), compiled, clock.clone())
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = {
            let portal = portal.clone();
            tokio::spawn(async move { portal.serve(listener, pending()).await })
        };
        Self { folder, portal, address, kernel, table, directory, clock, settings, server }
    }

    /// Ends the daemon as `kill -9` does and starts it again; kernel, disk and `/run` stay.
    pub(crate) async fn restart(&mut self) {
        self.server.abort();
        self.directory = Arc::default();
        self.portal = self.open().await;
        self.portal.restore(self.kernel.dump()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap();
        let portal = self.portal.clone();
        self.server = tokio::spawn(async move { portal.serve(listener, pending()).await });
    }

    /// Another portal over the same kernel, disk and `/run`.
    pub(crate) async fn open(&self) -> Portal {
        Portal::open(
            self.settings.clone(),
            self.kernel.clone(),
            self.table.clone(),
            self.directory.clone(),
            compiled(),
            self.clock.clone(),
        )
        .unwrap()
    }

    pub(crate) async fn connect(&self, n: u16) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source(n), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends these bytes from a device and reads the answer to its end.
    pub(crate) async fn raw(&self, n: u16, request: &[u8]) -> Answer {
        let mut stream = self.connect(n).await;
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        // A connection that is reset after its answer has still given the answer.
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
            .await
            .expect("an answer in time");
        Answer::parse(&bytes)
    }

    pub(crate) async fn request(
        &self,
        n: u16,
        method: &str,
        host: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len())
        };
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}{length}\r\n{body}");
        self.raw(n, request.as_bytes()).await
    }

    pub(crate) async fn get(&self, n: u16, host: &str, path: &str) -> Answer {
        self.request(n, "GET", host, path, "", "").await
    }

    pub(crate) async fn get_in(&self, n: u16, language: &str, host: &str, path: &str) -> Answer {
        self.request(n, "GET", host, path, &format!("Accept-Language: {language}\r\n"), "").await
    }

    pub(crate) async fn post(&self, n: u16, path: &str, body: &str) -> Answer {
        self.request(n, "POST", NAME, path, "", body).await
    }

    /// The token of the page that a device sees now.
    pub(crate) async fn token(&self, n: u16) -> String {
        self.get(n, NAME, "/").await.field("token")
    }

    /// A device opens the page and presses the button.
    pub(crate) async fn accept(&self, n: u16) -> Answer {
        let page = self.get(n, NAME, "/").await;
        self.post(n, "/accept", &format!("token={}&lang={}", page.field("token"), page.field("lang"))).await
    }

    pub(crate) fn is_guest(&self, n: u16) -> bool {
        self.directory.load().client(source(n)).is_some()
    }
}

impl Drop for Hotspot {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_eq!(text, "", "half an answer");
            return Self { status: 0, headers: Vec::new(), body: text };
        };
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other == name);
        let value = found.next().map(|(_, value)| &**value);
        assert!(found.next().is_none(), "two headers {name}");
        value
    }

    /// The value of a hidden field of the page's form.
    pub(crate) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&start).unwrap_or_else(|| panic!("no field {name} in {}", self.body));
        rest.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
    }

    pub(crate) fn title(&self) -> &str {
        self.body.split_once("<title>").map_or("", |(_, rest)| rest.split("</title>").next().unwrap())
    }

    /// Whether this is the page with the button.
    pub(crate) fn is_terms(&self) -> bool {
        self.body.contains("action=\"/accept\"")
    }

    pub(crate) fn is_status(&self) -> bool {
        self.body.contains("action=\"/leave\"")
    }
}
