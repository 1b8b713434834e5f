//! A reader of replies that shares nothing with the one in the resolver: what it cannot read, no client can.

use std::sync::{Arc, LazyLock};

use sheshi_policy::{Compiled, Edition, Spec, compile};
use sheshi_resolver::{PortalAddresses, inside::Pipeline};

const POLICY: &str = r#"
version = 1
[organisation]
name = "City"
contact = ["mailto:wifi@city.example"]
[list.adult]
category = "adult"
file = "adult.txt"
format = "domains"
[list.bad]
category = "bypass"
file = "addresses.txt"
format = "addresses"
"#;

static COMPILED: LazyLock<Arc<Compiled>> = LazyLock::new(|| {
    let policy = Spec::parse(POLICY).and_then(|spec| spec.check()).expect("a good policy");
    let texts = [("adult", "blocked.example\n"), ("bad", "203.0.113.0/24\n")];
    let editions = policy.lists.iter().map(|list| {
        let (_, text) = texts.iter().find(|(name, _)| *list.name == **name).expect("a text for each list");
        Edition::parse(list, text.as_bytes()).expect("a list")
    });
    let editions: Vec<_> = editions.collect();
    let bytes = compile(&policy, &editions, &mut |_| ()).expect("compiles");
    Arc::new(Compiled::from_bytes(bytes).expect("loads"))
});

/// A resolver that blocks `blocked.example` and the addresses of 203.0.113.0/24, and locks search engines to their safe addresses.
pub(crate) fn pipeline() -> Pipeline {
    let portal = PortalAddresses { v4: Some([198, 51, 100, 1].into()), v6: None };
    Pipeline::new(COMPILED.clone(), portal, 1 << 16)
}

/// A name in wire form.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

/// A query with these flags; `edns` is the data of an OPT record.
pub(crate) fn query(text: &str, qtype: u16, flags: u16, edns: Option<&[u8]>) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd];
    for word in [flags, 1, 0, 0, u16::from(edns.is_some())] {
        message.extend(word.to_be_bytes());
    }
    message.extend(name(text));
    message.extend([qtype.to_be_bytes(), [0, 1]].concat());
    if let Some(options) = edns {
        message.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0]);
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
    }
    message
}

/// A record: its owner, and what is at its end.
pub(crate) struct Record {
    pub(crate) owner: Vec<u8>,
    pub(crate) rtype: u16,
    /// 0 answer, 1 authority, 2 additional.
    pub(crate) section: usize,
    pub(crate) data: Vec<u8>,
    /// The name in the data of an alias.
    pub(crate) target: Option<Vec<u8>>,
}

/// A reply, read from its first byte to its last.
pub(crate) struct Reply {
    pub(crate) code: u8,
    pub(crate) truncated: bool,
    pub(crate) question: Option<(Vec<u8>, u16)>,
    pub(crate) records: Vec<Record>,
}

fn word(message: &[u8], at: usize) -> usize {
    usize::from(message[at]) << 8 | usize::from(message[at + 1])
}

/// The name at `at` in lower case, and where it ends.
fn read_name(message: &[u8], at: usize) -> (Vec<u8>, usize) {
    let (mut name, mut here, mut end) = (Vec::new(), at, None);
    for _ in 0..200 {
        let length = usize::from(message[here]);
        match length {
            0 => {
                name.push(0);
                assert!(name.len() <= 255, "a name of {} octets", name.len());
                return (name, end.unwrap_or(here + 1));
            }
            1..=63 => {
                name.extend(message[here..=here + length].iter().map(u8::to_ascii_lowercase));
                here += 1 + length;
            }
            192.. => {
                end = end.or(Some(here + 2));
                here = word(message, here) & 0x3fff;
            }
            _ => panic!("a label of type {length:#x}"),
        }
    }
    panic!("a name without an end");
}

/// Reads all of a reply; panics where a client would stumble.
pub(crate) fn read(message: &[u8]) -> Reply {
    assert!(message.len() >= 12, "a reply of {} bytes", message.len());
    assert_eq!(message[2] & 0x80, 0x80, "a reply says that it is one");
    assert_eq!(message[3] & 0x40, 0, "Z is clear");
    let (mut at, mut question) = (12, None);
    assert!(word(message, 4) <= 1, "one question at most");
    if word(message, 4) == 1 {
        let (name, end) = read_name(message, at);
        question = Some((name, word(message, end) as u16));
        at = end + 4;
    }
    let mut records = Vec::new();
    for section in 0..3 {
        for _ in 0..word(message, 6 + 2 * section) {
            let (owner, end) = read_name(message, at);
            let (rtype, length) = (word(message, end) as u16, word(message, end + 8));
            at = end + 10 + length;
            let data = message[end + 10..at].to_vec();
            let named = match rtype {
                5 | 39 => Some(end + 10),
                64 | 65 => Some(end + 12),
                _ => None,
            };
            let target = named.map(|place| {
                let (name, stop) = read_name(message, place);
                assert!(stop <= at, "the name of an alias stays within its record");
                name
            });
            records.push(Record { owner, rtype, section, data, target });
        }
    }
    assert_eq!(at, message.len(), "nothing behind the last record");
    Reply { code: message[3] & 15, truncated: message[2] & 2 != 0, question, records }
}

/// Whether `name` is `parent` or below it.
pub(crate) fn within(name: &[u8], parent: &[u8]) -> bool {
    let mut rest = name;
    while rest.len() > parent.len() {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    rest == parent
}
