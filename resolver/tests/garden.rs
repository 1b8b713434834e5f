//! The garden: what strangers resolve, and that nothing leaves before its addresses are open.

mod common;

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use common::*;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use sheshi_policy::Directory;
use sheshi_resolver::{Clients, Garden, Opener, Settings};

/// Notes what it is asked to open, after a while; opens nothing when told so.
#[derive(Debug, Default)]
struct Gardener {
    opened: Mutex<Vec<(Vec<IpAddr>, Duration)>>,
    refuses: AtomicBool,
}

impl Opener for Gardener {
    fn open(&self, addresses: Vec<IpAddr>, time: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.opened.lock().unwrap().push((addresses, time));
            !self.refuses.load(Relaxed)
        })
    }
}

fn bench(upstream: &Scripted, blocked: &[(&str, &[&str])]) -> (Bench, Arc<Gardener>) {
    let gardener = Arc::new(Gardener::default());
    let names = vec!["museum.example".into(), "blocked.example".into()];
    let garden = Garden { names, opener: Some(gardener.clone()) };
    let settings = Settings { garden, ..settings(&[upstream.address]) };
    let nobody = Clients::Directory(Arc::new(ArcSwap::from_pointee(Directory::default())));
    (Bench::with(settings, policy(blocked), nobody), gardener)
}

#[test]
fn addresses_of_the_garden_are_open_before_the_answer_leaves() {
    let upstream = Scripted::plain();
    let (bench, gardener) = bench(&upstream, &[]);
    let server = bench.stranger_address();
    for (round, text) in ["museum.example.", "WWW.Museum.example.", "museum.example."].into_iter().enumerate() {
        let replies = [udp(server, &query(text, RecordType::A)), tcp(server, &query(text, RecordType::A))];
        let opened = gardener.opened.lock().unwrap().clone();
        for reply in replies.map(Option::unwrap) {
            let got = addresses(&reply);
            assert!(!got.is_empty() && got != [IpAddr::from(PORTAL4)], "{text}: {reply:?}");
            // Each answer is opened anew, from the cache as from upstream: an address may have closed meanwhile.
            assert_eq!(opened.len(), 2 * (round + 1));
            assert!(opened.iter().rev().take(2).all(|(addresses, _)| *addresses == got), "{opened:?}");
            assert!(opened.iter().all(|(_, time)| *time >= Duration::from_secs(300)));
        }
    }
}

#[test]
fn what_is_not_in_the_garden_is_the_portal_as_before() {
    let upstream = Scripted::plain();
    let (bench, gardener) = bench(&upstream, &[("adult", &["blocked.example"])]);
    let stranger = bench.stranger_address();
    for text in ["evilmuseum.example.", "example.", "museum.example.evil.example.", "www.example.com."] {
        let reply = udp(stranger, &query(text, RecordType::A)).unwrap();
        assert_eq!(addresses(&reply), [IpAddr::from(PORTAL4)], "{text}");
    }
    // Other types would be a way for a tunnel; the guests' port is for the directory to decide.
    for rtype in [RecordType::TXT, RecordType::NULL, RecordType::HTTPS, RecordType::CNAME] {
        assert!(udp(stranger, &query("museum.example.", rtype)).unwrap().answers.is_empty(), "{rtype}");
    }
    let reply = udp(bench.address(), &query("museum.example.", RecordType::A)).unwrap();
    assert_eq!(addresses(&reply), [IpAddr::from(PORTAL4)]);
    // What the policy blocks is blocked in the garden, too.
    let reply = udp(stranger, &query("blocked.example.", RecordType::A)).unwrap();
    assert!(reply.response_code == ResponseCode::NXDomain || addresses(&reply).iter().all(|to| to.is_unspecified()));
    assert_eq!((upstream.count(), gardener.opened.lock().unwrap().len()), (0, 0));
    // The control.
    assert_ne!(addresses(&udp(stranger, &query("museum.example.", RecordType::A)).unwrap()), [IpAddr::from(PORTAL4)]);
    assert!(upstream.count() > 0);
}

#[test]
fn no_answer_leaves_whose_addresses_could_not_be_opened() {
    let upstream = Scripted::start(|query, _, _| {
        let name = &query.queries[0].name;
        let inside = name.to_string().to_ascii_lowercase().starts_with("inside");
        vec![answer(query, vec![a(name, if inside { [192, 168, 1, 1] } else { [198, 18, 0, 10] })])]
    });
    let (bench, gardener) = bench(&upstream, &[]);
    let server = bench.stranger_address();
    gardener.refuses.store(true, Relaxed);
    for reply in
        [udp(server, &query("museum.example.", RecordType::A)), tcp(server, &query("museum.example.", RecordType::A))]
    {
        let reply = reply.unwrap();
        assert_eq!((reply.response_code, reply.answers.len()), (ResponseCode::ServFail, 0));
    }
    gardener.refuses.store(false, Relaxed);
    assert_eq!(addresses(&udp(server, &query("museum.example.", RecordType::A)).unwrap()).len(), 1);
    // A name of the garden that leads into this network opens nothing.
    let before = gardener.opened.lock().unwrap().len();
    assert!(addresses(&udp(server, &query("inside.museum.example.", RecordType::A)).unwrap()).is_empty());
    assert_eq!(gardener.opened.lock().unwrap().len(), before);
}
