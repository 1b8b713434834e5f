//! Replies as hickory reads them.

use std::sync::Arc;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};

use super::*;
use crate::{
    answer::reduce,
    wire::{Parsed, Question, Transport, parse},
};

fn query(name: &str, qtype: u16, edns: bool) -> Vec<u8> {
    let mut message = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    message.extend_from_slice(Name::from_text(name).unwrap().as_bytes());
    message.extend_from_slice(&qtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if edns {
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    message
}

fn write(query: &[u8], write: impl FnOnce(&mut Reply<'_>)) -> Message {
    let mut name = Name::root();
    let Parsed::Query(parsed) = parse(query, Transport::Udp, &mut name) else { panic!() };
    let mut out = [0; MAX_UDP];
    let mut reply = Reply::new(&parsed, &mut out);
    write(&mut reply);
    let length = reply.finish(rcode::NOERROR);
    Message::from_vec(&out[..length]).unwrap()
}

/// What an upstream says about `name`: an alias below the same zone, then an address of that, both shortened against the question.
fn entry(name: &str) -> Arc<Entry> {
    let question = Question { name: Name::from_text(name).unwrap(), qtype: rtype::A, dnssec: 0 };
    let mut message = query(name, rtype::A, false);
    message[2] |= 0x80;
    message[7] = 2;
    message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 44, 0, 6, 3, b'o', b'n', b'e', 0xc0, 12]);
    let target = message.len() - 6;
    message.extend_from_slice(&[0xc0, target as u8, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    Arc::new(Entry::new(&question, reduce(&message, &question).unwrap(), 0))
}

#[test]
fn entry_is_readable_behind_its_own_question() {
    let entry = entry("safe.search.example");
    let message = write(&query("safe.search.example", 1, true), |reply| reply.entry(&entry, 10, false));
    let text: Vec<_> = message.answers.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        ["safe.search.example. 290 IN CNAME one.safe.search.example.", "one.safe.search.example. 50 IN A 192.0.2.1",]
    );
}

#[test]
fn entry_is_readable_behind_an_alias_too() {
    let entry = entry("safe.search.example");
    let target = Name::from_text("safe.search.example").unwrap();
    for asked in ["www.search.al", "a.very.much.longer.name.than.the.target.itself.search.al", "x"] {
        let message = write(&query(asked, 1, true), |reply| reply.alias(&target, Some((&entry, 10, false))));
        let text: Vec<_> = message.answers.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                format!("{asked}. 30 IN CNAME safe.search.example."),
                "safe.search.example. 290 IN CNAME one.safe.search.example.".to_owned(),
                "one.safe.search.example. 50 IN A 192.0.2.1".to_owned(),
            ]
        );
    }
}

#[test]
fn reason_is_given_where_there_is_room_and_who_has_no_edns_gets_none() {
    let text = |message: &Message| {
        let edns = message.edns.as_ref()?;
        edns.options().as_ref().iter().find(|(code, _)| u16::from(*code) == 15).map(|(_, option)| {
            let bytes = Vec::<u8>::try_from(option).unwrap();
            (u16::from_be_bytes([bytes[0], bytes[1]]), bytes.len() - 2)
        })
    };
    let block = |reply: &mut Reply<'_>| {
        reply.own_soa(BLOCK_TTL);
        reply.explain(ede::BLOCKED, &[b'x'; 250]);
    };
    assert_eq!(text(&write(&query("blocked.example", 1, true), block)), Some((15, 250)));
    assert_eq!(text(&write(&query("blocked.example", 1, false), block)), None);
    // A long name and a client that takes 512 bytes: the code still fits, the text does not.
    let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
    let mut small = query(&long, 1, true);
    let at = small.len() - 8;
    small[at..at + 2].copy_from_slice(&[0, 0]);
    assert_eq!(text(&write(&small, block)), Some((15, 0)));
}

#[test]
fn too_much_is_truncated_and_keeps_its_opt() {
    let message = write(&query("many.example", 1, true), |reply| {
        for n in 0..200 {
            reply.address(IpAddr::from([192, 0, 2, n]), 1);
        }
        reply.explain(ede::STALE, b"");
    });
    assert!(message.truncation && message.answers.is_empty() && message.edns.is_some());
}

#[test]
fn own_records_are_what_they_should_be() {
    let message = write(&query("www.example", 255, false), |reply| {
        reply.minimal_any();
        reply.own_soa(30);
    });
    assert_eq!(message.answers[0].to_string(), "www.example. 3600 IN HINFO RFC8482 ");
    assert_eq!(message.authorities[0].record_type(), RecordType::SOA);
    assert_eq!(message.authorities[0].to_string(), "www.example. 30 IN SOA . . 30 30 30 30 30");
    assert_eq!(message.response_code, ResponseCode::NoError);
}
