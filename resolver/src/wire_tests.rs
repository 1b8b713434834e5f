//! Queries as clients and attackers write them.

use super::*;
use proptest::prelude::*;

fn query(name: &[u8], tail: &[u8], counts: [u8; 8]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0];
    message.extend_from_slice(&counts);
    message.extend_from_slice(name);
    message.extend_from_slice(tail);
    message
}

const ONE: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

#[test]
fn spelling_does_not_change_the_question() {
    let lower = query(b"\x03www\x07example\x00", &[0, 1, 0, 1], ONE);
    let mixed = query(b"\x03wWw\x07eXAMPLE\x00", &[0, 1, 0, 1], ONE);
    let (mut one, mut other) = (Name::root(), Name::root());
    // A longer name before must leave nothing behind.
    parse(&query(&[b"\x3f".as_slice(), &[b'x'; 63], b"\0"].concat(), &[0, 1, 0, 1], ONE), Transport::Udp, &mut other);
    let (Parsed::Query(lower), Parsed::Query(mixed)) =
        (parse(&lower, Transport::Udp, &mut one), parse(&mixed, Transport::Udp, &mut other))
    else {
        panic!()
    };
    assert_eq!(lower.question, mixed.question);
    assert_eq!(lower.question.hash(7), mixed.question.hash(7));
    assert_eq!(mixed.head[12..25], *b"\x03wWw\x07eXAMPLE\x00");
    assert_eq!(mixed.last_label, 4);
}

#[test]
fn malformed_queries_are_refused_by_header_alone() {
    let name: &[u8] = b"\x03www\x07example\x00";
    let long: Vec<u8> = [&[63u8; 64][..]; 4].concat().into_iter().chain([0]).collect();
    for (message, want) in [
        (query(b"", b"", [0; 8]), rcode::FORMERR), // header only
        (query(name, &[0, 1, 0, 1], [0, 2, 0, 0, 0, 0, 0, 0]), rcode::FORMERR), // two questions
        (query(name, &[0, 1, 0, 1], [0xff, 0xff, 0, 0, 0, 0, 0, 0]), rcode::FORMERR), // 65,535 questions
        (query(name, &[0, 1, 0, 1, 9], ONE), rcode::FORMERR), // bytes left over
        (query(name, &[0, 1, 0], ONE), rcode::FORMERR), // cut short
        (query(&long, &[0, 1, 0, 1], ONE), rcode::FORMERR), // name of 257 octets
        (query(b"\x40aaaa\x00", &[0, 1, 0, 1], ONE), rcode::FORMERR), // label type 01
        (query(b"\xc0\x0c", &[0, 1, 0, 1], ONE), rcode::FORMERR), // pointer to itself
        (query(name, &[0, 41, 0, 1], ONE), rcode::FORMERR), // asks for OPT
        (query(name, &[0, 1, 0, 1], [0, 1, 0, 1, 0, 0, 0, 0]), rcode::FORMERR), // an answer in a query
        (
            query(name, &[0, 1, 0, 1, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 1]),
            rcode::FORMERR,
        ),
    ] {
        let Parsed::Refuse(code) = parse(&message, Transport::Udp, &mut Name::root()) else { panic!("{message:?}") };
        assert_eq!(code, want, "{message:?}");
    }
}

#[test]
fn replies_and_fragments_are_ignored() {
    let mut reply = query(b"\x03www\x00", &[0, 1, 0, 1], ONE);
    reply[2] |= 0x80;
    assert!(matches!(parse(&reply, Transport::Udp, &mut Name::root()), Parsed::Ignore));
    assert!(matches!(parse(&reply[..11], Transport::Udp, &mut Name::root()), Parsed::Ignore));
}

#[test]
fn opt_is_read_once_and_only_where_it_belongs() {
    let opt = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
    let one = [&[0, 1, 0, 1][..], &opt].concat();
    let message = query(b"\x03www\x00", &one, [0, 1, 0, 0, 0, 0, 0, 1]);
    let mut space = Name::root();
    let Parsed::Query(query_) = parse(&message, Transport::Udp, &mut space) else { panic!() };
    assert_eq!(query_.edns, Some(Edns { payload: 1232, version: 0, wants_dnssec: true }));
    assert_eq!(query_.question.dnssec, Question::DO);
    let two = [&one[..], &opt].concat();
    assert!(matches!(
        parse(&query(b"\x03www\x00", &two, [0, 1, 0, 0, 0, 0, 0, 2]), Transport::Udp, &mut Name::root()),
        Parsed::Refuse(1)
    ));
}

#[test]
fn within_holds_on_label_boundaries_only() {
    let name = |text| Name::from_text(text).unwrap();
    assert!(name("a.b.example").is_within(&name("b.example")));
    assert!(name("b.example").is_within(&name("b.example")));
    assert!(!name("ab.example").is_within(&name("b.example")));
    assert!(!name("example").is_within(&name("b.example")));
    assert!(name("example").is_within(&name("")));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, Transport::Udp, &mut Name::root());
        let mut query = bytes;
        query.splice(..0, [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        let _ = parse(&query, Transport::Udp, &mut Name::root());
    }
}
