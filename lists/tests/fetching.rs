//! Lists by URL, from a real HTTPS server on loopback: what is asked, what is taken, what is refused and why.

mod https;

use std::{
    io::Write,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use https::{Server, Then, ok, redirect, reply};
use sheshi_lists::{Fetcher, Keeper, Limits, ListState, ListStatus, LookUp, Round, Step, Trust};
use sheshi_policy::{Name, Policy};
use tempfile::TempDir;

const START: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

struct Place {
    server: Server,
    folder: TempDir,
    policy: Policy,
    limits: Limits,
    /// What `inside.example` resolves to.
    inside: IpAddr,
    looked_up: Arc<AtomicUsize>,
}

fn good() -> String {
    (0..100).map(|n| format!("n{n}.example\n")).collect::<String>() + "bad.example\n"
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START + seconds)
}

impl Place {
    /// A policy with one list, from `path` of a server that counts as public, and no other address does.
    async fn new(path: &str) -> Self {
        let server = Server::start("127.0.0.1").await;
        let url = format!("https://lists.example:{}{path}", server.port);
        let policy = format!(
            "version = 1\n[list.adult]\nurl = \"{url}\"\ncategory = \"adult\"\nmust_block = [\"bad.example\"]\nmust_allow = [\"wikipedia.org\"]\n"
        );
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
            policy: Policy::parse(&policy).unwrap(),
            limits: Limits { sent: 1 << 20, unpacked: 4 << 20, ..Limits::default() },
            inside: "127.0.0.2".parse().unwrap(),
            looked_up: Arc::default(),
        }
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(self.folder.path())
    }

    fn fetcher(&self) -> Fetcher {
        let (inside, looked_up) = (self.inside, Arc::clone(&self.looked_up));
        let look_up: LookUp = Arc::new(move |name: String| {
            looked_up.fetch_add(1, Ordering::Relaxed);
            let found = match &*name {
                "lists.example" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                "inside.example" => Ok(vec![inside]),
                _ => Err("there is no such name".to_owned()),
            };
            Box::pin(async move { found })
        });
        let trust = Trust::These(vec![self.server.authority.clone()]);
        let public = |address| address == IpAddr::from([127, 0, 0, 1]);
        Fetcher::reaching(self.keeper(), trust, look_up, self.limits, public)
    }

    /// One round, at so many seconds after the start.
    async fn round(&self, seconds: u64) -> Round {
        // A new one each time: what matters must be on disk.
        self.fetcher().round(&self.policy, false, at(seconds), &|_, _| ()).await
    }

    /// How the list stands; what is in force blocks.
    fn status(&self) -> ListStatus {
        let loaded = self.keeper().load(&self.policy, Path::new(""), at(0), &mut |_| ());
        let mut loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.editions[0].lists(&Name::parse("bad.example").unwrap()), "the last good edition is in force");
        loaded.status.remove(0)
    }

    fn held(&self) -> String {
        match self.status().state {
            ListState::Held { reason, .. } => reason,
            ListState::Current => panic!("went live"),
        }
    }

    fn error(&self) -> String {
        self.keeper().subscription(&self.policy.lists[0]).unwrap().error.unwrap_or_default()
    }
}

#[tokio::test]
async fn list_is_fetched_and_asked_for_again_only_when_due_with_its_validators() {
    let place = Place::new("/list?format=hosts").await;
    let validators = "ETag: \"one\"\r\nLast-Modified: Mon, 23 Nov 2026 10:00:00 GMT\r\n";
    place.server.set("/list?format=hosts", ok(validators, good()));
    let round = place.round(0).await;
    assert_eq!(round.arrived, ["adult"]);
    let next = place.keeper().subscription(&place.policy.lists[0]).unwrap().next - START;
    assert!((DAY - DAY / 8..=DAY + DAY / 8 + 60).contains(&next), "{next}");
    let status = place.status();
    assert_eq!((status.state, status.entries), (ListState::Current, 101));
    let heads = place.server.heads();
    assert!(heads.len() == 1 && !heads[0].to_lowercase().contains("if-none-match"), "{heads:?}");
    assert!(heads[0].contains(&format!("host: lists.example:{}", place.server.port)), "{heads:?}");
    assert!(place.round(DAY / 2).await.arrived.is_empty());
    assert!(place.server.heads().is_empty(), "not due, not asked");

    place.server.set("/list?format=hosts", reply(304, "ETag: \"one\"\r\n", ""));
    assert!(place.round(2 * DAY).await.arrived.is_empty());
    let head = place.server.heads().remove(0);
    assert!(head.contains("if-none-match: \"one\"\r\n"), "{head}");
    assert!(head.contains("if-modified-since: Mon, 23 Nov 2026 10:00:00 GMT\r\n"), "{head}");
    let subscription = place.status().subscription.unwrap();
    assert!((START + 2 * DAY..START + 2 * DAY + 60).contains(&subscription.checked));

    place.server.set("/list?format=hosts", ok("ETag: \"two\"\r\n", good() + "more.example\n"));
    assert_eq!(place.round(4 * DAY).await.arrived, ["adult"]);
    assert_eq!(place.status().entries, 102);
    place.server.heads();
    // Validators of a text that is lost would be answered "unchanged", for ever.
    std::fs::remove_dir_all(place.folder.path().join("adult")).unwrap();
    place.round(6 * DAY).await;
    assert!(!place.server.heads()[0].contains("if-none-match"));
    assert_eq!(place.status().entries, 102);
}

#[tokio::test]
async fn list_that_was_never_fetched_is_an_error_and_the_fetch_mends_it() {
    let place = Place::new("/list").await;
    let load = || place.keeper().load(&place.policy, Path::new(""), at(0), &mut |_| ()).map(|_| ());
    assert!(load().unwrap_err().to_string().contains("has not been fetched"));
    place.server.set("/list", ok("", "<html>moved</html>"));
    place.round(0).await;
    let error = load().unwrap_err().to_string();
    assert!(error.contains("list adult: it is a web page"), "{error}");
    place.server.set("/list", ok("", good()));
    place.round(2 * DAY).await;
    load().unwrap();
}

#[tokio::test]
async fn edition_that_may_not_go_live_leaves_the_last_good_one_in_force_also_after_a_restart() {
    let place = Place::new("/list").await;
    place.server.set("/list", ok("ETag: \"good\"\r\n", good()));
    place.round(0).await;
    place.status();
    let fewer = good().lines().rev().take(70).collect::<Vec<_>>().join("\n");
    for (number, (body, reason)) in [
        ("<!DOCTYPE html><title>Welcome</title>".to_owned(), "a web page"),
        (String::new(), "it is empty"),
        (fewer.clone(), "shrank from 101 to 70"),
        (good().replace("bad.example", "b.example"), "does not block bad.example"),
        (good() + "wikipedia.org\n", "blocks wikipedia.org"),
    ]
    .into_iter()
    .enumerate()
    {
        place.server.set("/list", ok("", body));
        let then = (number as u64 + 1) * 2 * DAY;
        assert_eq!(place.round(then).await.arrived, ["adult"], "{reason}");
        let held = place.held();
        assert!(held.contains(reason), "{held}");
        assert!(place.held().contains(reason), "it still says why when asked again");
    }
    // The publisher has put it right: nothing is held any more.
    place.server.set("/list", ok("", good()));
    assert_eq!(place.round(20 * DAY).await.arrived, ["adult"]);
    assert_eq!(place.status().state, ListState::Current);
    // What a person approves goes live without being fetched again.
    place.server.set("/list", ok("ETag: \"few\"\r\n", fewer));
    place.round(22 * DAY).await;
    let ListState::Held { digest, .. } = place.status().state else { panic!("went live") };
    place.keeper().approve(&place.policy.lists[0], &digest).unwrap();
    let status = place.status();
    assert_eq!((status.state, status.entries), (ListState::Current, 70));
}

#[tokio::test]
async fn body_that_is_not_whole_or_too_much_is_refused_before_it_is_judged() {
    let mut place = Place::new("/list").await;
    place.server.set("/list", ok("ETag: \"good\"\r\n", good()));
    place.round(0).await;
    place.status();
    place.limits.silence = Duration::from_millis(300);
    place.limits.total = Duration::from_millis(1500);
    let half = &good()[..600];
    let body = gzip(good().as_bytes());
    let mut long = reply(200, "Content-Length: 5000\r\n", good());
    let mut endless = reply(200, "Connection: close\r\n", half);
    let mut silent = reply(200, "Content-Length: 5000\r\n", half);
    let mut trickle = reply(200, "Content-Length: 5000\r\n", half);
    let mut mute = reply(200, "", "");
    (long.then, endless.then, silent.then) = (Then::Close, Then::Cut, Then::Silence);
    (trickle.then, mute.bytes, mute.then) = (Then::Trickle(100), Vec::new(), Then::Silence);
    let cases = [
        (long, "end of file before message length reached"),
        (endless, "without sending TLS close_notify"),
        (silent, "too slow: it stopped sending"),
        (trickle, "too slow: the whole took too long"),
        (mute, "too slow: it does not answer"),
        (reply(200, "Content-Length: 4000000000\r\n", half), "larger than 1 MiB"),
        (reply(200, "Connection: close\r\n", vec![b'a'; 2 << 20]), "larger than 1 MiB"),
        (ok("Content-Encoding: gzip\r\n", &body[..body.len() / 2]), "cannot be unpacked"),
        (ok("Content-Encoding: gzip\r\n", gzip(&vec![0; 16 << 20])), "unfolds to more than"),
        (reply(206, "Content-Length: 3\r\n", "abc"), "answered 206"),
        (reply(403, "Content-Length: 3\r\n", "abc"), "answered 403"),
        (reply(200, "Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), "asking lists.example"),
        (reply(200, "Nonsense\r\n", "abc"), "asking lists.example"),
    ];
    for (number, (said, reason)) in cases.into_iter().enumerate() {
        place.server.set("/list", said);
        assert!(place.round((number as u64 + 1) * 3 * DAY).await.arrived.is_empty(), "{reason}");
        let error = place.error();
        assert!(error.contains(reason), "{error}");
        let status = place.status();
        assert_eq!((status.state, status.entries), (ListState::Current, 101));
        assert_eq!(status.subscription.unwrap().failures as usize, number + 1);
    }
    // What arrives whole, packed, is taken.
    place.server.set("/list", ok("Content-Encoding: gzip\r\n", gzip((good() + "more.example\n").as_bytes())));
    place.round(60 * DAY).await;
    let status = place.status();
    assert_eq!((status.entries, status.subscription.unwrap().failures), (102, 0));
}

#[tokio::test]
async fn server_that_fails_is_asked_less_and_less_often_and_at_once_when_a_person_says_so() {
    let place = Place::new("/list").await;
    place.server.set("/list", ok("", good()));
    place.round(0).await;
    place.server.set("/list", reply(500, "Content-Length: 0\r\n", ""));
    let mut now = 2 * DAY;
    for wait in [60, 120, 240, 480] {
        let round = place.round(now).await;
        assert!((wait - wait / 8 - 1..=wait + wait / 8).contains(&round.next.as_secs()), "{wait}: {round:?}");
        assert_eq!(place.error(), "the server answered 500 Internal Server Error");
        now += wait / 2;
        place.round(now).await;
        assert_eq!(place.server.heads().len(), if wait == 60 { 2 } else { 1 }, "not asked while it waits");
        now += wait;
    }
    assert_eq!(place.status().subscription.unwrap().failures, 4);
    place.server.set("/list", reply(503, "Retry-After: 7200\r\nContent-Length: 0\r\n", ""));
    let round = place.round(now).await;
    assert!(round.next.as_secs() >= 6300, "{round:?}");
    place.server.set("/list", ok("", good() + "more.example\n"));
    let round = place.fetcher().round(&place.policy, true, at(now + 1), &|_, _| ()).await;
    assert_eq!(round.arrived, ["adult"]);
    let subscription = place.status().subscription.unwrap();
    assert_eq!((subscription.failures, subscription.error), (0, None));
}

#[tokio::test]
async fn nothing_leads_to_an_address_that_is_not_public() {
    let mut place = Place::new("/list").await;
    let port = place.server.port;
    let inside = Server::start("127.0.0.2").await;
    inside.set("/list", ok("", good()));
    let private = "has the address 127.0.0.2, which is not public";
    for (to, reason) in [
        (format!("https://127.0.0.2:{}/list", inside.port), private),
        (format!("https://inside.example:{}/list", inside.port), private),
        (format!("https://[::ffff:127.0.0.2]:{}/list", inside.port), "which is not public"),
        (format!("https://[::1]:{}/list", inside.port), "has the address ::1, which is not public"),
        (format!("http://lists.example:{port}/list"), "no URL that is fetched"),
        (format!("https://name:word@lists.example:{port}/list"), "no URL that is fetched"),
        ("file:///etc/passwd".to_owned(), "no URL that is fetched"),
        ("/list".to_owned(), "redirected more than 5 times"),
        ("https://unknown.example/".to_owned(), "looking up unknown.example: there is no such name"),
        (format!("https://localhost:{port}/"), "looking up localhost"),
    ] {
        place.server.set("/list", redirect(&to));
        place.fetcher().round(&place.policy, true, at(0), &|_, _| ()).await;
        let error = place.error();
        assert!(error.contains(reason), "{to}: {error}");
    }
    assert!(inside.heads().is_empty(), "not one request came there");
    place.server.set("/list", redirect(&format!("https://127.0.0.1:{port}/moved/")));
    place.server.set("/moved/", redirect("list"));
    place.server.set("/moved/list", ok("", good()));
    assert_eq!(place.fetcher().round(&place.policy, true, at(0), &|_, _| ()).await.arrived, ["adult"]);

    // The policy may say that the server is the city's own; its certificate counts all the same.
    let own = format!("https://inside.example:{}/list", inside.port);
    let policy =
        format!("version = 1\n[list.adult]\nurl = \"{own}\"\nprivate_addresses = true\ncategory = \"adult\"\n");
    place.policy = Policy::parse(&policy).unwrap();
    place.round(0).await;
    assert!(place.error().contains("invalid peer certificate"), "{}", place.error());
    place.server = inside;
    place.fetcher().round(&place.policy, true, at(0), &|_, _| ()).await;
    assert_eq!(place.error(), "");
    place.status();
}

/// A name that first has an address that passes and then another: what was checked must be what is connected to.
#[tokio::test]
async fn name_is_looked_up_once_for_each_connection() {
    let mut place = Place::new("/list").await;
    place.server.set("/list", ok("", good()));
    place.round(0).await;
    assert_eq!(place.looked_up.load(Ordering::Relaxed), 1);
    // A public and a private address: only the public one is tried, and nobody listens there.
    place.inside = "127.0.0.1".parse().unwrap();
    let policy = "version = 1\n[list.adult]\nurl = \"https://inside.example:1/\"\ncategory = \"adult\"\n";
    place.policy = Policy::parse(policy).unwrap();
    place.round(0).await;
    assert!(place.error().contains("connecting to inside.example"), "{}", place.error());
    assert_eq!(place.looked_up.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn progress_tells_how_a_fetch_goes_on() {
    let place = Place::new("/list").await;
    place.server.set("/list", ok("ETag: \"one\"\r\n", good()));
    let told = Mutex::new(Vec::new());
    let note = |list: &str, step: Step| told.lock().unwrap().push(format!("{list} {step:?}"));
    place.fetcher().round(&place.policy, false, at(0), &note).await;
    place.server.set("/list", reply(304, "", ""));
    place.fetcher().round(&place.policy, false, at(2 * DAY), &note).await;
    let length = good().len();
    let mut told = told.into_inner().unwrap();
    told.dedup();
    assert_eq!(told[0], "adult Asked");
    assert!(told.contains(&format!("adult Received({length}, Some({length}))")), "{told:?}");
    assert_eq!(
        &told[told.len() - 3..],
        [format!("adult Arrived({length})"), "adult Asked".into(), "adult Unchanged".into()]
    );
}
