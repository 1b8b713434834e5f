//! What is kept, for how long, and what goes first.

use super::*;
use crate::wire::{Name, rtype};

fn question(name: &str) -> Question {
    Question { name: Name::from_text(name).unwrap(), qtype: rtype::A, dnssec: 0 }
}

fn answer(size: usize, ttl: u32) -> Answer {
    let nothing = Entry::failure(&question("x"), None, 0);
    assert!(nothing.is_failure());
    Answer {
        rcode: rcode::NOERROR,
        body: vec![7; size],
        counts: [1, 0],
        ttls: vec![],
        pointers: vec![],
        ttl,
        hops: vec![],
        addresses: vec![],
    }
}

fn store(cache: &Cache, name: &str, size: usize, now: u32) {
    let question = question(name);
    cache.store(&question, Arc::new(Entry::new(&question, answer(size, 300), now)), now);
}

#[test]
fn stored_answer_is_found_by_its_exact_question_only() {
    let cache = Cache::new(1 << 20, 1);
    store(&cache, "www.example", 40, 0);
    let asked = question("www.example");
    assert!(cache.find(&asked.key()).is_some());
    for other in [
        Question { qtype: rtype::AAAA, ..asked },
        Question { dnssec: Question::DO, ..asked },
        Question { dnssec: Question::CD, ..asked },
        question("ww.example"),
    ] {
        assert!(cache.find(&other.key()).is_none(), "{other:?}");
    }
}

#[test]
fn cache_stays_below_its_bytes_and_keeps_hot_names() {
    let cache = Cache::new(1 << 20, 2);
    for hot in 0..50 {
        store(&cache, &format!("hot{hot}.example"), 100, 0);
    }
    for flood in 0..20_000 {
        store(&cache, &format!("flood{flood}.example"), 1500, 0);
        assert!(cache.bytes() <= 1 << 20);
        if flood % 20 == 0 {
            for hot in 0..50 {
                cache.find(&question(&format!("hot{hot}.example")).key());
            }
        }
    }
    let left = (0..50).filter(|hot| cache.find(&question(&format!("hot{hot}.example")).key()).is_some()).count();
    assert!(left >= 45, "{left} of 50 hot names survived");
    assert!(cache.len() > 100);
}

#[test]
fn failures_are_remembered_longer_each_time_up_to_five_seconds() {
    let asked = question("dead.example");
    let mut before: Option<Entry> = None;
    for want in [1, 2, 4, 5, 5] {
        let next = Entry::failure(&asked, before.as_ref(), 100);
        assert_eq!(next.expires - next.stored, want);
        before = Some(next);
    }
}

#[test]
fn failure_does_not_displace_what_could_be_served_stale() {
    let cache = Cache::new(1 << 20, 3);
    store(&cache, "www.example", 40, 0);
    let asked = question("www.example");
    cache.store(&asked, Arc::new(Entry::failure(&asked, None, 400)), 400);
    let found = cache.find(&asked.key()).unwrap();
    let found = found.as_ref().unwrap();
    assert!(!found.is_failure() && !found.is_fresh(400) && found.is_stale(400));
}

#[test]
fn judgement_holds_for_its_epoch_and_view() {
    let entry = Entry::new(&question("www.example"), answer(1, 1), 0);
    entry.set_clean(5, 1);
    entry.set_clean(5, 3);
    assert!(entry.is_clean(5, 1) && entry.is_clean(5, 3));
    assert!(!entry.is_clean(5, 2) && !entry.is_clean(6, 1));
    entry.set_clean(6, 2);
    assert!(entry.is_clean(6, 2) && !entry.is_clean(6, 1) && !entry.is_clean(5, 1));
    entry.set_clean(6, 40);
    assert!(!entry.is_clean(6, 40));
}
