//! Replies built with hickory, reduced by us, read by hickory again.

use std::str::FromStr;

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name as HName, RData, Record as HRecord, RecordType, rdata},
};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> HName {
    HName::from_str(text).unwrap()
}

fn question(text: &str, qtype: u16) -> Question {
    Question { name: Name::from_text(text).unwrap(), qtype, dnssec: 0 }
}

fn reply(asked: &str, qtype: RecordType, answers: Vec<HRecord>) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(name(asked), qtype));
    let mut message = query.into_response();
    for record in answers {
        message.add_answer(record);
    }
    message
}

fn cname(from: &str, to: &str) -> HRecord {
    HRecord::from_rdata(name(from), 300, RData::CNAME(rdata::CNAME(name(to))))
}

fn a(owner: &str, last: u8) -> HRecord {
    HRecord::from_rdata(name(owner), 60, RData::A(rdata::A::new(192, 0, 2, last)))
}

/// Puts the answer behind its question, as a client would see it.
fn whole(question: &Question, answer: &Answer) -> Message {
    let mut bytes = vec![0, 1, 0x81, answer.rcode as u8, 0, 1];
    bytes.extend_from_slice(&answer.counts[0].to_be_bytes());
    bytes.extend_from_slice(&answer.counts[1].to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(question.name.as_bytes());
    bytes.extend_from_slice(&question.qtype.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(&answer.body);
    Message::from_vec(&bytes).unwrap()
}

#[test]
fn only_the_questions_chain_is_kept() {
    let mut message = reply(
        "www.shop.example.",
        RecordType::A,
        vec![
            a("bank.example.", 66),
            cname("www.shop.example.", "edge.cdn.example."),
            a("edge.cdn.example.", 1),
            a("edge.cdn.example.", 2),
            cname("other.example.", "www.shop.example."),
        ],
    );
    message.add_authority(HRecord::from_rdata(name("example."), 300, RData::NS(rdata::NS(name("evil.example.")))));
    message.add_additional(a("evil.example.", 67));
    let question = question("www.shop.example", rtype::A);
    let answer = reduce(&message.to_vec().unwrap(), &question).unwrap();
    let seen = whole(&question, &answer);
    assert_eq!(
        seen.answers,
        vec![cname("www.shop.example.", "edge.cdn.example."), a("edge.cdn.example.", 1), a("edge.cdn.example.", 2),]
    );
    assert!(seen.authorities.is_empty() && seen.additionals.is_empty());
    assert_eq!(answer.ttl, 60);
    assert_eq!(each_name(&answer.hops).collect::<Vec<_>>(), [b"\x04edge\x03cdn\x07example\x00"]);
    assert_eq!(answer.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap(), "192.0.2.2".parse().unwrap()]);
}

#[test]
fn alias_loops_and_endless_chains_are_refused() {
    let looped =
        reply("a.example.", RecordType::A, vec![cname("a.example.", "b.example."), cname("b.example.", "a.example.")]);
    assert_eq!(reduce(&looped.to_vec().unwrap(), &question("a.example", rtype::A)), Err(Unusable::Chain));
    let long = (0..20).map(|n| cname(&format!("n{n}.example."), &format!("n{}.example.", n + 1))).collect();
    let long = reply("n0.example.", RecordType::A, long);
    assert_eq!(reduce(&long.to_vec().unwrap(), &question("n0.example", rtype::A)), Err(Unusable::Chain));
}

#[test]
fn answers_to_other_questions_are_refused() {
    let message = reply("a.example.", RecordType::A, vec![a("a.example.", 1)]).to_vec().unwrap();
    for other in [question("b.example", rtype::A), question("a.example", rtype::AAAA)] {
        assert_eq!(reduce(&message, &other), Err(Unusable::OtherQuestion));
    }
    let mut none = message.clone();
    none[5] = 0;
    assert_eq!(reduce(&none, &question("a.example", rtype::A)), Err(Unusable::OtherQuestion));
}

#[test]
fn a_no_is_kept_as_long_as_its_soa_says() {
    let mut message = reply("nothing.example.", RecordType::A, vec![]);
    message.metadata.response_code = ResponseCode::NXDomain;
    let soa = rdata::SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, 90);
    message.add_authority(HRecord::from_rdata(name("example."), 600, RData::SOA(soa.clone())));
    let question = question("nothing.example", rtype::A);
    let answer = reduce(&message.to_vec().unwrap(), &question).unwrap();
    assert_eq!((answer.rcode, answer.ttl, answer.counts), (rcode::NXDOMAIN, 90, [0, 1]));
    assert_eq!(whole(&question, &answer).authorities[0].ttl, 90);

    // A foreign zone's SOA proves nothing.
    message.authorities[0].name = name("other.");
    let answer = reduce(&message.to_vec().unwrap(), &question).unwrap();
    assert_eq!((answer.ttl, answer.counts), (0, [0, 0]));
}

#[test]
fn service_targets_and_hints_are_noted() {
    // 1 svc.example. ipv4hint=10.0.0.1 ipv6hint=fd00::1
    let mut data = vec![0, 1];
    data.extend_from_slice(b"\x03svc\x07example\x00");
    data.extend_from_slice(&[0, 4, 0, 4, 10, 0, 0, 1, 0, 6, 0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let record = HRecord::from_rdata(
        name("www.example."),
        60,
        RData::Unknown { code: RecordType::HTTPS, rdata: rdata::NULL::with(data) },
    );
    let message = reply("www.example.", RecordType::HTTPS, vec![record]).to_vec().unwrap();
    let answer = reduce(&message, &question("www.example", rtype::HTTPS)).unwrap();
    assert_eq!(each_name(&answer.hops).collect::<Vec<_>>(), [b"\x03svc\x07example\x00"]);
    assert_eq!(answer.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
}

#[test]
fn no_such_name_that_has_an_address_is_of_no_use() {
    let question = question("www.example", rtype::A);
    let code = |answers: Vec<HRecord>| {
        let mut message = reply("www.example.", RecordType::A, answers);
        message.metadata.response_code = hickory_proto::op::ResponseCode::NXDomain;
        reduce(&message.to_vec().unwrap(), &question).map(|answer| answer.counts)
    };
    assert_eq!(code(vec![a("www.example.", 1)]), Err(Unusable::Malformed));
    assert_eq!(code(vec![cname("www.example.", "x.example."), a("x.example.", 1)]), Err(Unusable::Malformed));
    // An alias of a name that is not there is no contradiction.
    assert_eq!(code(vec![cname("www.example.", "x.example.")]), Ok([1, 0]));
}

#[test]
fn failures_and_cut_answers_are_of_no_use() {
    let mut message = reply("a.example.", RecordType::A, vec![]);
    message.metadata.response_code = ResponseCode::ServFail;
    assert_eq!(reduce(&message.to_vec().unwrap(), &question("a.example", rtype::A)), Err(Unusable::Code(2)));
    message.metadata.response_code = ResponseCode::NoError;
    message.metadata.truncation = true;
    assert_eq!(reduce(&message.to_vec().unwrap(), &question("a.example", rtype::A)), Err(Unusable::Truncated));
}

#[test]
fn pointers_that_lead_forwards_or_in_circles_are_malformed() {
    let mut message = reply("a.example.", RecordType::A, vec![a("a.example.", 1)]).to_vec().unwrap();
    let owner = 12 + 11 + 4;
    assert_eq!(message[owner], 0xc0, "hickory shortens the owner");
    for to in [owner as u8, owner as u8 + 2, 0xff] {
        message[owner + 1] = to;
        assert_eq!(reduce(&message, &question("a.example", rtype::A)), Err(Unusable::Malformed));
    }
}

#[test]
fn a_full_64_kib_reply_takes_milliseconds() {
    // As many records as fit, each owner 120 labels long through a pointer to the question.
    let deep = format!("{}example.", "a.".repeat(120));
    let mut message = reply(&deep, RecordType::A, vec![]).to_vec().unwrap();
    message[6..8].copy_from_slice(&3500u16.to_be_bytes());
    for n in 0..3500u16 {
        let [high, low] = n.to_be_bytes();
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, high, low]);
    }
    assert!(message.len() > 56_000);
    let start = std::time::Instant::now();
    let answer = reduce(&message, &question(&deep, rtype::A)).unwrap();
    let took = start.elapsed();
    assert_eq!(answer.addresses.len(), 3500);
    // 5 ms is the aim of an optimised build; an unoptimised one on a busy machine gets more, a quadratic walk would need seconds.
    assert!(took < std::time::Duration::from_millis(500), "{took:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_reducing_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..100) {
        let message = reply("www.example.", RecordType::A, vec![cname("www.example.", "x.example."), a("x.example.", 1)]);
        let mut message = message.to_vec().unwrap();
        let question = question("www.example", rtype::A);
        message[6..10].copy_from_slice(&[0, 3, 0, 3]);
        let keep = message.len().saturating_sub(cut).max(29);
        message.truncate(keep);
        message.extend_from_slice(&bytes);
        if let Ok(answer) = reduce(&message, &question) {
            whole(&question, &answer);
        }
    }

    #[test]
    fn what_is_kept_reads_the_same_through_hickory(
        labels in proptest::collection::vec("[a-zA-Z0-9]{1,12}", 1..5),
        targets in proptest::collection::vec("[a-z]{1,8}", 0..6),
        addresses in proptest::collection::vec(any::<u8>(), 1..10),
    ) {
        let asked = format!("{}.Example.", labels.join("."));
        let mut owner = asked.clone();
        let mut answers = Vec::new();
        for (n, target) in targets.iter().enumerate() {
            let next = format!("{target}{n}.cdn.example.");
            answers.push(cname(&owner, &next));
            owner = next;
        }
        answers.extend(addresses.iter().map(|last| a(&owner, *last)));
        let message = reply(&asked, RecordType::A, answers.clone()).to_vec().unwrap();
        let question = question(&asked, rtype::A);
        let answer = reduce(&message, &question).unwrap();
        prop_assert_eq!(whole(&question, &answer).answers, answers);
        prop_assert_eq!(each_name(&answer.hops).count(), targets.len());
    }
}
