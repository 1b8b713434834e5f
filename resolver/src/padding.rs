//! Padding of messages that travel encrypted, so that their length says less about the name in them (RFC 7830, RFC 8467).

use crate::wire::{HEADER, rtype, skip_name};

/// Lengths that queries are brought to a multiple of (RFC 8467 section 4.1).
pub(crate) const QUERY: usize = 128;
/// The same for replies.
pub(crate) const REPLY: usize = 468;

/// The EDNS option.
const PADDING: u16 = 12;
/// Its code and length.
const OPTION: usize = 4;

/// Whether `query` carries padding: then its reply shall too (RFC 7830 section 4).
pub(crate) fn is_wanted(query: &[u8]) -> bool {
    let Some(options) = opt(query).and_then(|at| query.get(at..)) else { return false };
    let mut rest = options;
    while let [high, low, long, short, tail @ ..] = rest {
        if u16::from_be_bytes([*high, *low]) == PADDING {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*long, *short]));
        rest = tail.get(length..).unwrap_or_default();
    }
    false
}

/// Fills `message`, whose last record is OPT, up to a multiple of `block` bytes. One without OPT stays as it is.
pub(crate) fn pad(message: &mut Vec<u8>, block: usize) {
    let Some(at) = opt(message) else { return };
    let length = message.len() + OPTION;
    let fill = length.next_multiple_of(block).min(usize::from(u16::MAX)).saturating_sub(length);
    let data = message.len() - at + OPTION + fill;
    let (Ok(data), Ok(filled)) = (u16::try_from(data), u16::try_from(fill)) else { return };
    if length + fill > usize::from(u16::MAX) {
        return;
    }
    message[at - 2..at].copy_from_slice(&data.to_be_bytes());
    message.extend_from_slice(&PADDING.to_be_bytes());
    message.extend_from_slice(&filled.to_be_bytes());
    message.resize(length + fill, 0);
}

/// Where the data of the OPT record begins, when that is the message's last record.
fn opt(message: &[u8]) -> Option<usize> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?])));
    let mut at = HEADER;
    for _ in 0..count(4)? {
        at = skip_name(message, at)? + 4;
    }
    let mut found = None;
    for _ in 0..count(6)? + count(8)? + count(10)? {
        at = skip_name(message, at)?;
        let data = at + 10;
        let is_opt = count(at)? == usize::from(rtype::OPT);
        at = data + count(at + 8)?;
        found = is_opt.then_some(data);
    }
    found.filter(|_| at == message.len())
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Edns, Message, Query},
        rr::{Name, RecordType},
    };

    use super::*;

    fn query(name: &str, edns: bool) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        if edns {
            message.edns.get_or_insert_with(Edns::new).set_max_payload(1232);
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn padded_messages_have_lengths_of_whole_blocks_and_still_read_the_same() {
        for name in ["a.", "www.example.com.", &format!("{0}.{0}.{0}.example.", "x".repeat(60))] {
            for block in [QUERY, REPLY] {
                let plain = query(name, true);
                let mut padded = plain.clone();
                assert!(!is_wanted(&padded));
                pad(&mut padded, block);
                assert_eq!(padded.len() % block, 0, "{name}");
                assert!(is_wanted(&padded));
                let (plain, padded) = (Message::from_vec(&plain).unwrap(), Message::from_vec(&padded).unwrap());
                assert_eq!(plain.queries, padded.queries);
            }
        }
    }

    #[test]
    fn what_has_no_opt_or_no_room_is_left_alone() {
        let plain = query("www.example.com.", false);
        let mut padded = plain.clone();
        pad(&mut padded, QUERY);
        assert_eq!(plain, padded);
        let mut long = query("www.example.com.", true);
        long.resize(long.len() - 2, 0);
        // An option of 65,400 bytes leaves no room for whole blocks.
        let fill = 65_400u16;
        long.extend_from_slice(&(fill + 4).to_be_bytes());
        long.extend_from_slice(&[0xff, 0xf0]);
        long.extend_from_slice(&fill.to_be_bytes());
        long.resize(long.len() + usize::from(fill), 0);
        pad(&mut long, REPLY);
        assert!(long.len() <= usize::from(u16::MAX) && Message::from_vec(&long).is_ok());
    }

    #[test]
    fn no_bytes_make_padding_panic() {
        let whole = query("www.example.com.", true);
        for cut in 0..whole.len() {
            for byte in [0, 1, 0x3f, 0xc0, 0xff] {
                let mut message = whole[..cut].to_vec();
                message.push(byte);
                is_wanted(&message);
                pad(&mut message, QUERY);
            }
        }
    }
}
