//! What an upstream says: from its bytes through the cache to a client, twice. Nothing comes out but the chain that begins at the
//! question, nothing blocked, and no address inside our own network.

use sheshi_resolver::inside::{LONGEST, Outcome};

use crate::dns;

const QUESTIONS: [(&str, u16); 8] = [
    ("www.example", 1),
    ("www.example", 28),
    ("www.example", 65),
    ("a.b.www.example", 5),
    ("mail.example", 15),
    ("x.example", 16),
    ("www.google.com", 1),
    ("a-name-of-more-letters-than-most.and-more-labels.than.one.example", 33),
];

/// The first byte: bits 0 to 2 the question, bit 3 DNSSEC, bit 4 a stream, bit 5 the whole message is given and not only what
/// follows its question. The next three are flags and the numbers of records.
pub(crate) fn run(input: &[u8]) {
    let Some((&[how, code, answers, authorities], rest)) = input.split_first_chunk::<4>() else { return };
    let (text, qtype) = QUESTIONS[usize::from(how & 7)];
    let stream = how & 16 != 0;
    let query = dns::query(text, qtype, 0x0100, (how & 8 != 0).then_some(&[]));
    let mut pipeline = dns::pipeline();
    let mut out = vec![0; LONGEST];
    if pipeline.answer(&query, stream, &mut out) != Outcome::Ask {
        return;
    }
    let (asked, qtype) = pipeline.asked().expect("what is to be asked");
    let reply = if how & 32 != 0 {
        rest.to_vec()
    } else {
        let header = [1, 2, 0x81, 0x80 | code & 15, 0, 1, 0, answers, 0, authorities, 0, 0];
        [&header, asked, &qtype.to_be_bytes(), &[0, 1], rest].concat()
    };
    let usable = pipeline.hear(Some(&reply));
    let Outcome::Reply(length) = pipeline.again(&query, stream, &mut out) else { return };
    let first = check(&query, &out[..length], stream);
    assert!(usable || first.code == 2, "what is of no use is a failure");
    // Ten seconds later the cache says the same, or has let it go.
    pipeline.now += 10_000;
    if let Outcome::Reply(length) = pipeline.answer(&query, stream, &mut out) {
        let second = check(&query, &out[..length], stream);
        assert_eq!((first.code, first.records.len()), (second.code, second.records.len()), "the cache says the same");
    }
}

fn check(query: &[u8], reply: &[u8], stream: bool) -> dns::Reply {
    assert!(stream || reply.len() <= 1232, "{} bytes over UDP", reply.len());
    assert_eq!(query[..2], reply[..2]);
    let read = dns::read(reply);
    let (name, _) = read.question.as_ref().expect("the reply repeats the question");
    // The chain: the question's name, and what aliases lead on to.
    let mut reached = vec![name.clone()];
    let mut addresses = 0;
    for record in read.records.iter().filter(|record| record.section == 0) {
        let above = record.rtype == 39 || record.rtype == 46;
        let known = reached.iter().any(|name| *name == record.owner || above && dns::within(name, &record.owner));
        assert!(known, "a record that nobody asked for: {:?}", record.owner);
        if record.rtype == 5 {
            reached.extend(record.target.clone());
        }
        if let (1, [a, b, ..]) = (record.rtype, &record.data[..]) {
            addresses += 1;
            let inside =
                matches!((a, b), (10 | 127 | 0, _) | (192, 168) | (169, 254) | (172, 16..=31) | (100, 64..=127));
            assert!(!inside, "an address inside: {:?}", record.data);
            assert!(record.data[..3] != [203, 0, 113], "a listed address");
        }
        let leads = record.target.iter().any(|target| dns::within(target, &dns::name("blocked.example")));
        assert!(!leads, "led to what is blocked");
    }
    assert!(addresses == 0 || read.code == 0 || reached.len() > 1, "addresses only with an answer");
    read
}

/// A record about the question's name.
fn record(rtype: u16, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [&[0xc0, 12], &rtype.to_be_bytes()[..], &[0, 1, 0, 0, 1, 44], &length, data].concat()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (target, blocked) = (dns::name("cdn.example"), dns::name("ads.blocked.example"));
    let owned = |owner: &[u8], record: Vec<u8>| [owner, &record[2..]].concat();
    let soa = [&[0, 0][..], &[0; 20]].concat();
    let alias = [record(5, &target), owned(&target, record(1, &[192, 0, 2, 1]))].concat();
    let circle = [record(5, &target), owned(&target, record(5, &[0xc0, 12]))].concat();
    let dname = [owned(&dns::name("example"), record(39, &target)), record(5, &dns::name("www.cdn.example"))].concat();
    let service = [&[0, 1][..], &target, &[0, 4, 0, 4, 192, 0, 2, 1]].concat();
    let cases: [(u8, u8, u8, u8, Vec<u8>); 16] = [
        (0, 0, 1, 0, record(1, &[192, 0, 2, 1])),
        (0, 0, 1, 0, record(1, &[10, 0, 0, 1])),
        (0, 0, 1, 0, record(1, &[203, 0, 113, 5])),
        (1, 0, 1, 0, record(28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
        (0, 0, 2, 0, alias),
        (0, 0, 2, 0, circle),
        (0, 0, 2, 0, dname),
        (0, 0, 1, 0, record(5, &blocked)),
        (2, 0, 1, 0, record(65, &service)),
        (2, 0, 1, 0, record(65, &[&[0, 0][..], &blocked].concat())),
        (4, 0, 1, 0, record(15, &[&[0, 10][..], &target].concat())),
        (5, 0, 1, 0, record(16, b"\x05hello\x03you")),
        (0, 3, 0, 1, owned(&dns::name("example"), record(6, &soa))),
        (
            8,
            0,
            1,
            1,
            [record(1, &[192, 0, 2, 1]), record(46, &[&[0, 1][..], &[0; 16], &target, &[7; 64]].concat())].concat(),
        ),
        (0, 5, 0, 0, Vec::new()),
        (7, 0, 1, 0, record(33, &[&[0, 1, 0, 2, 0, 80][..], &target].concat())),
    ];
    cases
        .into_iter()
        .flat_map(|(how, code, answers, authorities, rest)| {
            [0, 16].map(|stream| [&[how | stream, code, answers, authorities], &rest[..]].concat())
        })
        .collect()
}
