//! The order of the pipeline, and what each of its ends looks like.

use std::{net::Ipv4Addr, path::Path};

use sheshi_policy::{Compiled, Edition, Moment, Spec, compile};

use super::*;
use crate::{answer::Answer, limits::Rate};

fn compiled(blocked: &str) -> Compiled {
    let policy = Spec::blocking([("adult", Path::new("adult.txt"))]).check().unwrap();
    let editions: Vec<_> = policy.lists.iter().map(|list| Edition::parse(list, blocked.as_bytes()).unwrap()).collect();
    Compiled::from_bytes(compile(&policy, &editions, &mut |_| ()).unwrap()).unwrap()
}

fn core(rate: Option<Rate>) -> Core {
    let policy = Arc::new(ArcSwap::from_pointee(compiled("blocked.example")));
    Core {
        views: Views::new(policy, Arc::new(|| Moment::Unknown)),
        clients: Clients::Everyone { group: None },
        cache: Cache::new(1 << 20, 5),
        locals: Locals::new(),
        targets: Targets::default(),
        rates: rate.map(|rate| Rates::new(rate, 5)),
        cookies: Cookies::new(),
        novelty: None,
        waiting: Places::new(10, 10),
        portal: PortalAddresses { v4: Some(Ipv4Addr::new(198, 51, 100, 1)), v6: None },
        portal_name: Name::from_text("portal.example"),
        designation: None,
        ours: Vec::new(),
        private_names: Vec::new(),
        garden: Default::default(),
        seed: 5,
    }
}

fn message(name: &str, flags: [u8; 2], qtype: u8, class: u8) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(Name::from_text(name).unwrap().as_bytes());
    message.extend_from_slice(&[0, qtype, 0, class]);
    message
}

fn asker(door: Door, port: u16) -> Asker {
    Asker { peer: SocketAddr::from(([192, 0, 2, 50], port)), transport: Transport::Udp, door }
}

/// Walks once at `now` milliseconds; gives the end and the steps that led to it.
fn walk(core: &Core, asker: &Asker, message: &[u8], now: u64) -> (Step, Vec<&'static str>, Vec<u8>) {
    let snapshot = core.views.current((now / 1000) as u32);
    let mut texts = Texts::new(&[], "");
    let counts = Counts::new();
    let mut turn = Turn {
        now,
        snapshot: &snapshot,
        directory: None,
        counts: &counts,
        texts: &mut texts,
        fetched: &[],
        steps: Vec::new(),
    };
    let mut out = vec![0; 1232];
    let step = core.answer(&mut turn, asker, message, &mut out);
    let steps = turn.steps.clone();
    (step, steps, out)
}

fn put(core: &Core, name: &str, hops: &[&str], address: [u8; 4]) {
    let question = Question { name: Name::from_text(name).unwrap(), qtype: rtype::A, dnssec: 0 };
    let answer = Answer {
        rcode: rcode::NOERROR,
        body: [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4][..], &address].concat(),
        counts: [1, 0],
        ttls: vec![6],
        pointers: vec![0],
        ttl: 300,
        hops: hops.iter().flat_map(|hop| Name::from_text(hop).unwrap().as_bytes().to_vec()).collect(),
        addresses: vec![address.into()],
    };
    core.cache.store(&question, Arc::new(Entry::new(&question, answer, 0)), 0);
}

/// The order that every message is taken through, as the design gives it.
const ORDER: [&str; 10] =
    ["parse", "limit", "offered", "who", "local", "verdict", "carry out", "known", "filter", "reply"];

#[test]
fn every_message_goes_through_the_steps_in_this_order() {
    let core = core(None);
    put(&core, "www.example", &[], [192, 0, 2, 1]);
    put(&core, "hop.example", &["x.blocked.example"], [192, 0, 2, 1]);
    put(&core, "inside.example", &[], [10, 0, 0, 1]);
    let guest = asker(Door::Guests, 4000);
    let query = |name| message(name, [1, 0], 1, 1);
    // Message, who, and how many of the steps it takes.
    for (message, asker, steps) in [
        (query("www.example"), guest, 10),
        (query("hop.example"), guest, 9),
        (query("inside.example"), guest, 9),
        (query("unknown.example"), guest, 8),
        (message("www.example", [0, 0], 1, 1), guest, 8),
        (query("a.blocked.example"), guest, 7),
        (query("portal.example"), guest, 5),
        (query("x.onion"), guest, 5),
        (message("version.bind", [1, 0], 16, 3), guest, 3),
        (message("www.example", [0x79, 0], 1, 1), guest, 3),
        (message("www.example", [0x80, 0], 1, 1), guest, 1),
        (query("www.example"), self::asker(Door::Guests, 53), 1),
    ] {
        let (_, taken, _) = walk(&core, &asker, &message, 0);
        // Behind a rewrite or block that was found in the answer, earlier steps are repeated for what was found.
        assert_eq!(taken[..steps.min(taken.len())], ORDER[..steps], "{message:?}");
    }
    let (step, taken, out) = walk(&core, &asker(Door::Strangers, 4000), &query("a.blocked.example"), 0);
    assert_eq!(taken, ["parse", "limit", "offered", "who", "stranger"]);
    let Step::Reply(length) = step else { panic!() };
    assert!(out[..length].ends_with(&[198, 51, 100, 1]));
}

#[test]
fn rate_comes_before_anything_a_client_can_forge() {
    let core = core(Some(Rate { per_second: 1, burst: 2 }));
    let malformed = [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (round, want) in [(0, 3), (1, 3), (2, 2), (3, 2)] {
        let (_, taken, _) = walk(&core, &asker(Door::Guests, 4000), &malformed, 0);
        assert_eq!(taken.len(), want, "round {round}");
    }
    // Another port or another name of the same address has no rate of its own.
    let (step, _, _) = walk(&core, &asker(Door::Strangers, 4001), &message("x.onion", [1, 0], 1, 1), 0);
    assert!(matches!(step, Step::Ignore));
}

#[test]
fn cached_answer_is_copied_with_id_spelling_and_counted_down_ttl() {
    let core = core(None);
    put(&core, "www.example", &[], [192, 0, 2, 1]);
    let mut query = message("www.example", [1, 0x60], 1, 1);
    query[13..16].copy_from_slice(b"wWW");
    let (step, _, out) = walk(&core, &asker(Door::Guests, 4000), &query, 100_000);
    let Step::Reply(length) = step else { panic!() };
    let mut want = vec![0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    want.extend_from_slice(b"\x03wWW\x07example\x00\x00\x01\x00\x01");
    want.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 200, 0, 4, 192, 0, 2, 1]);
    assert_eq!(out[..length], want, "AA, AD and Z are clear, RD is the client's, RA is set");
}

#[test]
fn known_answer_is_served_from_the_cache_only_until_its_end() {
    let core = core(None);
    put(&core, "www.example", &[], [192, 0, 2, 1]);
    let query = message("www.example", [1, 0], 1, 1);
    assert!(matches!(walk(&core, &asker(Door::Guests, 4000), &query, 299_999).0, Step::Reply(_)));
    assert!(matches!(walk(&core, &asker(Door::Guests, 4000), &query, 300_000).0, Step::Ask(..)));
}

#[test]
fn query_from_a_port_of_another_service_is_ignored() {
    let core = core(None);
    put(&core, "www.example", &[], [192, 0, 2, 1]);
    for name in ["www.example", "unknown.example", "a.blocked.example", "portal.example"] {
        let query = message(name, [1, 0], 1, 1);
        for port in [0, 7, 13, 17, 19, 53] {
            for door in [Door::Guests, Door::Strangers] {
                assert!(
                    matches!(walk(&core, &asker(door, port), &query, 0).0, Step::Ignore),
                    "{name} from port {port}"
                );
            }
            // Over TCP there is a connection, so nobody else is made to answer.
            let stream = Asker { transport: Transport::Tcp, ..asker(Door::Guests, port) };
            assert!(!matches!(walk(&core, &stream, &query, 0).0, Step::Ignore), "{name} from port {port} over TCP");
        }
        for port in [1, 6, 8, 52, 54, 1024, 65_535] {
            let step = walk(&core, &asker(Door::Guests, port), &query, 0).0;
            assert!(!matches!(step, Step::Ignore), "{name} from port {port}, which is nobody's");
        }
    }
}
