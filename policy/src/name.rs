//! Names: from text to wire form and back, and the folded form that look-ups hash.
//!
//! Inside the room a name is kept as its labels in wire form (RFC 1035 §3.1), in lower case, without the root label.

use std::{borrow::Cow, fmt};

/// Most octets of a name in wire form, the root label left out (RFC 1035 §2.3.4).
pub(crate) const MAX: usize = 254;

/// A name in lower-case wire form without the root label. Never empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// Nothing, or only a dot.
    #[error("is empty or the root")]
    Empty,
    /// A label is empty, or longer than 63 octets, or the whole is longer than 255.
    #[error("has a label of more than 63 octets or none, or is longer than 255")]
    Length,
    /// A character that no host name has.
    #[error("has a character that no name has")]
    Character,
    /// An address.
    #[error("is an address, not a name")]
    Address,
}

impl Name {
    /// Reads a name as people write it; other scripts become A-labels (RFC 5891).
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let mut wire = Vec::with_capacity(text.len() + 1);
        push(text, &mut wire)?;
        Ok(Self(wire.into()))
    }

    /// Its labels in wire form, without the root label.
    pub fn labels(&self) -> &[u8] {
        &self.0
    }

    /// Its wire form, with the root label.
    pub fn wire(&self) -> Box<[u8]> {
        let mut wire = self.0.to_vec();
        wire.push(0);
        wire.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends the labels of a name to `wire`; on an error `wire` is as before.
pub(crate) fn push(text: &str, wire: &mut Vec<u8>) -> Result<(), NotAName> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let text = if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(ascii(text)?) };
    let start = wire.len();
    let end = push_ascii(text.as_bytes(), wire);
    if end.is_err() {
        wire.truncate(start);
    }
    end
}

/// To A-labels, by the rules browsers use (UTS 46, not transitional).
fn ascii(text: &str) -> Result<String, NotAName> {
    let options = idna::AsciiDenyList::EMPTY;
    let text = idna::domain_to_ascii_cow(text.as_bytes(), options).map_err(|_| NotAName::Character)?;
    Ok(text.strip_suffix('.').unwrap_or(&text).to_owned())
}

fn push_ascii(text: &[u8], wire: &mut Vec<u8>) -> Result<(), NotAName> {
    if text.is_empty() {
        return Err(NotAName::Empty);
    }
    if text.len() > MAX - 1 {
        return Err(NotAName::Length);
    }
    let mut label = wire.len();
    wire.push(0);
    let mut number = true;
    for &byte in text {
        match byte {
            b'.' => {
                close(label, wire)?;
                label = wire.len();
                wire.push(0);
                number = true;
            }
            b'0'..=b'9' => wire.push(byte),
            b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => {
                number = false;
                wire.push(byte.to_ascii_lowercase());
            }
            b':' if str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()) => {
                return Err(NotAName::Address);
            }
            _ => return Err(NotAName::Character),
        }
    }
    close(label, wire)?;
    // No top-level domain is a number (RFC 3696 §2): what ends in one is an address, or meant to be.
    if number { Err(NotAName::Address) } else { Ok(()) }
}

fn close(label: usize, wire: &mut [u8]) -> Result<(), NotAName> {
    match wire.len() - label - 1 {
        length @ 1..=63 => {
            wire[label] = length as u8;
            Ok(())
        }
        _ => Err(NotAName::Length),
    }
}

/// The dotted form of labels in wire form; octets outside ASCII as `\DDD` (RFC 1035 §5.1).
pub(crate) fn dotted(labels: &[u8]) -> String {
    let mut text = String::with_capacity(labels.len());
    let mut rest = labels;
    while let Some((&length, after)) = rest.split_first() {
        let (label, after) = after.split_at(usize::from(length).min(after.len()));
        if length == 0 {
            break;
        }
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(byte)]),
                0x21..=0x7e => text.push(char::from(byte.to_ascii_lowercase())),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        rest = after;
    }
    text
}

/// A queried name, checked, in lower case, with the places of its labels: all that look-ups need, without allocation.
pub(crate) struct Folded {
    /// The labels without the root label; zero after `length`, so that eight octets can be read at any place of a name.
    bytes: [u8; 264],
    length: usize,
    /// Where each label's length octet is.
    starts: [u8; 128],
    labels: usize,
}

impl Folded {
    /// Checks and folds a name in wire form, ending in the root label. `None` when it is malformed.
    pub(crate) fn new(wire: &[u8]) -> Option<Self> {
        let (&root, labels) = wire.split_last()?;
        if root != 0 || labels.len() > MAX {
            return None;
        }
        let mut folded = Self { bytes: [0; 264], length: labels.len(), starts: [0; 128], labels: 0 };
        let (words, rest) = labels.as_chunks::<8>();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        for (to, from) in folded.bytes.as_chunks_mut::<8>().0.iter_mut().zip(words.iter().chain([&last])) {
            *to = lower(u64::from_le_bytes(*from)).to_le_bytes();
        }
        let mut at = 0;
        while at < labels.len() {
            let length = usize::from(labels[at]);
            if length == 0 || length > 63 {
                return None;
            }
            *folded.starts.get_mut(folded.labels)? = at as u8;
            folded.labels += 1;
            at += 1 + length;
        }
        (at == labels.len()).then_some(folded)
    }

    /// How many labels it has.
    pub(crate) fn count(&self) -> usize {
        self.labels
    }

    /// Its last `count` labels.
    pub(crate) fn suffix(&self, count: usize) -> &[u8] {
        match self.labels.checked_sub(count).filter(|_| count > 0) {
            Some(label) => &self.bytes[usize::from(self.starts[label])..self.length],
            None => &[],
        }
    }

    /// Hash of the last `count` labels, made from the hash of one label less.
    pub(crate) fn extend_hash(&self, hash: u64, count: usize) -> u64 {
        let start = usize::from(self.starts[self.labels - count]);
        let length = usize::from(self.bytes[start]);
        let mut hash = hash;
        // The length octet is hashed with the label, so that no two sequences of labels are hashed as the same octets.
        let mut at = start;
        let mut left = length + 1;
        while left > 8 {
            hash = mix(hash ^ self.word(at));
            at += 8;
            left -= 8;
        }
        let mask = u64::MAX >> (64 - 8 * left as u32);
        mix(hash ^ (self.word(at) & mask))
    }

    fn word(&self, at: usize) -> u64 {
        self.bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// The whole name without the root label.
    pub(crate) fn all(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Writes the dotted form, octet for octet, and gives it back.
    pub(crate) fn text<'a>(&self, space: &'a mut [u8; 256]) -> &'a [u8] {
        let Some(length) = self.length.checked_sub(1) else { return &[] };
        space[..length].copy_from_slice(&self.bytes[1..=length]);
        for &start in &self.starts[1..self.labels] {
            space[usize::from(start) - 1] = b'.';
        }
        &space[..length]
    }
}

/// Eight octets with `A`–`Z` made small. Length octets are below `A`, so a whole name may be folded.
fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let past_z = low + (0x7f - b'Z' as u64) * ONES;
    let capital = (from_a ^ past_z) & !word & (0x80 * ONES);
    word | (capital >> 2)
}

/// One round: a full multiplication, both halves kept. Its place: names are spread over the table by it. That two names
/// are the same is never concluded from a hash.
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x2d35_8dcc_aa6c_78a5) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hash of labels in lower-case wire form.
pub(crate) fn hash(key: u64, labels: &[u8]) -> Option<u64> {
    let mut wire = [0; 256];
    wire.get_mut(..labels.len())?.copy_from_slice(labels);
    let folded = Folded::new(wire.get(..=labels.len())?)?;
    Some((1..=folded.count()).fold(key, |hash, count| folded.extend_hash(hash, count)))
}

/// How many labels.
pub(crate) fn count(labels: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = labels;
    while let Some((&length, after)) = rest.split_first() {
        count += 1;
        rest = after.get(usize::from(length)..).unwrap_or_default();
    }
    count
}

/// The name above, without its first label; `None` above a top-level name.
pub(crate) fn parent(labels: &[u8]) -> Option<&[u8]> {
    let (&length, after) = labels.split_first()?;
    after.get(usize::from(length)..).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_becomes_labels_in_lower_case() {
        assert_eq!(Name::parse("Bad.Example.").unwrap().labels(), b"\x03bad\x07example");
        assert_eq!(Name::parse("köln.example").unwrap().to_string(), "xn--kln-sna.example");
        assert_eq!(Name::parse("_dmarc.a-b.example").unwrap().to_string(), "_dmarc.a-b.example");
        assert_eq!(Name::parse("KÖLN。example").unwrap().to_string(), "xn--kln-sna.example");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        for (text, why) in [
            ("", NotAName::Empty),
            (".", NotAName::Empty),
            ("a..b", NotAName::Length),
            (".a", NotAName::Length),
            (long.as_str(), NotAName::Length),
            (&"a.".repeat(128), NotAName::Length),
            ("192.0.2.1", NotAName::Address),
            ("2001:db8::1", NotAName::Address),
            ("a b", NotAName::Character),
            ("a/b", NotAName::Character),
            ("bad\u{0}.example", NotAName::Character),
        ] {
            assert_eq!(Name::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn malformed_wire_form_is_refused() {
        for wire in [
            &b""[..],
            b"\x03bad",
            b"\x03ba\0",
            b"\x04bad\0",
            b"\xc0\x0c\0",
            b"\0\0",
            &[1; 256],
            &[0x40; 66],
            b"\x03bad\0\0",
        ] {
            assert!(Folded::new(wire).is_none(), "{wire:?}");
        }
        assert_eq!(Folded::new(b"\0").map(|name| name.count()), Some(0));
    }

    #[test]
    fn longest_names_are_folded() {
        let many = [&[1, b'A'].repeat(127)[..], &[0]].concat();
        let folded = Folded::new(&many).unwrap();
        assert_eq!((folded.count(), folded.all()), (127, &[1, b'a'].repeat(127)[..]));
        let mut space = [0; 256];
        assert_eq!(folded.text(&mut space), ["a"; 127].join(".").as_bytes());
    }

    proptest! {
        #[test]
        fn every_octet_is_folded_as_ascii_folds(label in proptest::collection::vec(any::<u8>(), 1..=63)) {
            let wire = [&[label.len() as u8][..], &label, &[3, b'C', b'o', b'M', 0]].concat();
            let folded = Folded::new(&wire).unwrap();
            prop_assert_eq!(folded.all(), &wire[..wire.len() - 1].to_ascii_lowercase()[..]);
            prop_assert_eq!(folded.suffix(1), b"\x03com");
        }

        #[test]
        fn hash_of_a_suffix_is_the_hash_of_that_name(labels in proptest::collection::vec("[a-z0-9]{1,20}", 1..8), key: u64) {
            let name = Name::parse(&format!("{}.test", labels.join("."))).unwrap();
            let folded = Folded::new(&name.wire()).unwrap();
            let mut running = key;
            for count in 1..=folded.count() {
                running = folded.extend_hash(running, count);
                prop_assert_eq!(Some(running), hash(key, folded.suffix(count)));
            }
        }
    }
}
