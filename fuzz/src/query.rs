//! A guest's or stranger's message: it is answered by a reply that can be read, that fits, and that asks no upstream for what is
//! blocked.

use sheshi_resolver::inside::{LONGEST, Outcome};

use crate::dns;

/// The first byte: bit 0 a stream, bit 1 a stranger.
pub(crate) fn run(input: &[u8]) {
    let Some((how, message)) = input.split_first() else { return };
    let (stream, stranger) = (how & 1 == 1, how & 2 == 2);
    let mut pipeline = dns::pipeline();
    let mut out = vec![0; LONGEST];
    let outcome = if stranger {
        pipeline.answer_stranger(message, stream, &mut out)
    } else {
        pipeline.answer(message, stream, &mut out)
    };
    match outcome {
        Outcome::Nothing => {
            assert!(message.len() < 12 || message[2] & 0x80 != 0, "only replies and fragments get none");
        }
        Outcome::Ask => {
            assert!(!stranger, "nothing that a stranger asks is asked upstream");
            let (asked, _) = pipeline.asked().expect("what is to be asked");
            assert!(!dns::within(asked, &dns::name("blocked.example")), "what is blocked is asked of nobody");
            assert!(!pipeline.hear(None));
            let Outcome::Reply(length) = pipeline.again(message, stream, &mut out) else {
                panic!("no reply to a failure")
            };
            assert_eq!(check(message, &out[..length], stream).code, 2, "a failure is told");
        }
        Outcome::Reply(length) => {
            let reply = check(message, &out[..length], stream);
            // The same over the other transport, but for what did not fit.
            let mut other = vec![0; LONGEST];
            let outcome = if stranger {
                pipeline.answer_stranger(message, !stream, &mut other)
            } else {
                pipeline.answer(message, !stream, &mut other)
            };
            let Outcome::Reply(length) = outcome else { panic!("no reply over the other transport") };
            assert_eq!(check(message, &other[..length], !stream).code, reply.code, "both transports agree");
        }
    }
}

fn check(message: &[u8], reply: &[u8], stream: bool) -> dns::Reply {
    assert_eq!(message[..2], reply[..2], "the reply has the query's id");
    assert!(stream || reply.len() <= 1232, "{} bytes over UDP", reply.len());
    assert!(reply.len() <= 12 || reply.len() >= message.len().min(17), "a reply with a question holds it");
    let read = dns::read(reply);
    assert!(!(stream && read.truncated), "nothing is cut over a stream");
    if let Some((name, _)) = &read.question {
        let asked = &message[12..12 + name.len()];
        assert_eq!(asked.to_ascii_lowercase(), *name, "the reply repeats the question");
        assert_eq!(asked, &reply[12..12 + name.len()], "as the client spelt it");
    }
    read
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let names =
        ["www.example", "a.Blocked.example", "portal.city.example", "www.google.com", "x.onion", "", "mask.icloud.com"];
    for name in names {
        for qtype in [1, 28, 65, 255, 5] {
            messages.push(dns::query(name, qtype, 0x0100, None));
        }
        messages.push(dns::query(name, 1, 0x0110, Some(&[])));
        messages.push(dns::query(name, 1, 0x0100, Some(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])));
        messages.push(dns::query(name, 1, 0x0000, Some(&[0, 8, 0, 4, 0, 1, 0, 0])));
    }
    messages.push(dns::query("use-application-dns.net", 1, 0x0100, None));
    messages.push(dns::query("_dns.resolver.arpa", 64, 0x0100, None));
    messages.push(dns::query("www.example", 251, 0x0100, None));
    messages.push(dns::query(&format!("{}.example", vec!["x".repeat(61); 4].join(".")), 1, 0x0100, None));
    messages.extend([0x7800, 0x8000, 0x0900].map(|flags| dns::query("www.example", 1, flags, None)));
    messages.iter().flat_map(|message| (0..4u8).map(|how| [&[how], &message[..]].concat())).collect()
}
