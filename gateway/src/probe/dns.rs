//! Questions to resolvers and what is read from their replies: as much of RFC 1035, 6891, 8914 and 9460 as probes need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types of record.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Text.
    pub const TXT: u16 = 16;
    /// Service binding (RFC 9460).
    pub const SVCB: u16 = 64;
    /// Service binding of the web.
    pub const HTTPS: u16 = 65;
}

const OPT: u16 = 41;
/// EDNS option of an Extended DNS Error.
const EDE: u16 = 15;

/// NOERROR.
pub const NOERROR: u8 = 0;
/// NXDOMAIN.
pub const NXDOMAIN: u8 = 3;

/// A question with an OPT record, recursion desired; `None` for what is no name.
pub fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    if out.len() > 12 + 255 {
        return None;
    }
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    // The root, OPT, 1232 octets of payload, nothing else.
    out.extend([0, 0, OPT as u8, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    Some(out)
}

/// What a reply says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The question's.
    pub id: u16,
    /// What became of it.
    pub code: u8,
    /// Records of the answer section, in order.
    pub answers: Vec<Record>,
    /// Extended DNS Error: code and text.
    pub error: Option<(u16, String)>,
}

/// A record of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An address.
    Address(IpAddr),
    /// An alias of this name.
    Alias(String),
    /// A service binding: target and address hints.
    Service(String, Vec<IpAddr>),
    /// Texts, put together.
    Text(String),
    /// Anything else.
    Other(u16),
}

impl Reply {
    /// Reads a reply; `None` for what is none.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut at = Reader { message, at: 0 };
        let id = at.u16()?;
        let flags = at.u16()?;
        if flags & 0x8000 == 0 {
            return None;
        }
        let mut reply = Self { id, code: (flags & 0xf) as u8, ..Self::default() };
        let [questions, answers, authority, additional] = [at.u16()?, at.u16()?, at.u16()?, at.u16()?];
        for _ in 0..questions {
            at.name()?;
            at.take(4)?;
        }
        for number in 0..u32::from(answers) + u32::from(authority) + u32::from(additional) {
            at.name()?;
            let kind = at.u16()?;
            at.take(6)?;
            let length = usize::from(at.u16()?);
            let end = at.at + length;
            if end > message.len() {
                return None;
            }
            if number < u32::from(answers) {
                reply.answers.push(at.record(kind, end)?);
            } else if kind == OPT {
                reply.error = reply.error.or(at.error(end));
            }
            at.at = end;
        }
        Some(reply)
    }

    /// Every address in it, hints of services among them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let each = self.answers.iter().flat_map(|record| match record {
            Record::Address(address) => std::slice::from_ref(address),
            Record::Service(_, hints) => hints,
            _ => &[],
        });
        each.copied().collect()
    }

    /// The name that the answer leads on to first.
    pub fn alias(&self) -> Option<&str> {
        self.answers.iter().find_map(|record| match record {
            Record::Alias(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// In a few words, for a record.
    pub fn told(&self) -> String {
        let code = match self.code {
            NOERROR => "NOERROR".to_owned(),
            NXDOMAIN => "NXDOMAIN".to_owned(),
            2 => "SERVFAIL".to_owned(),
            5 => "REFUSED".to_owned(),
            code => format!("rcode {code}"),
        };
        let error = self.error.as_ref().map(|(code, text)| format!(", EDE {code} {text}")).unwrap_or_default();
        let records = self.answers.iter().map(|record| match record {
            Record::Address(address) => address.to_string(),
            Record::Alias(name) => format!("alias of {name}"),
            Record::Service(target, _) => format!("service at {target}"),
            Record::Text(text) => format!("{text:?}"),
            Record::Other(kind) => format!("type {kind}"),
        });
        let records = records.collect::<Vec<_>>().join(" ");
        let space = if records.is_empty() { "" } else { " " };
        format!("{code}{space}{records}{error}").chars().take(400).collect()
    }
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let taken = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
    }

    /// A name, pointers followed; they lead backwards only, so it ends.
    fn name(&mut self) -> Option<String> {
        let (mut text, mut at, mut end, mut limit) = (String::new(), self.at, None, self.at);
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => {
                    at += 1;
                    break;
                }
                1..64 => {
                    let label = self.message.get(at + 1..at + 1 + usize::from(length))?;
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.extend(label.iter().map(|octet| char::from(octet.to_ascii_lowercase())));
                    at += 1 + usize::from(length);
                }
                192.. => {
                    let to = usize::from(length & 0x3f) << 8 | usize::from(*self.message.get(at + 1)?);
                    end.get_or_insert(at + 2);
                    if to >= limit {
                        return None;
                    }
                    (at, limit) = (to, to);
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at);
        Some(text)
    }

    fn record(&mut self, kind: u16, end: usize) -> Option<Record> {
        let data = &self.message[self.at..end];
        Some(match kind {
            kind::A => Record::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            kind::AAAA => Record::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            kind::CNAME => Record::Alias(self.name()?),
            kind::TXT => {
                let mut text = String::new();
                while self.at < end {
                    let length = usize::from(self.take(1)?[0]);
                    text.push_str(&String::from_utf8_lossy(self.take(length)?));
                }
                Record::Text(text)
            }
            kind::SVCB | kind::HTTPS => {
                self.u16()?;
                let target = self.name()?;
                let mut hints = Vec::new();
                while self.at < end {
                    let (key, length) = (self.u16()?, usize::from(self.u16()?));
                    let value = self.take(length)?;
                    match key {
                        4 => hints.extend(value.as_chunks().0.iter().map(|v4: &[u8; 4]| IpAddr::from(*v4))),
                        6 => hints.extend(value.as_chunks().0.iter().map(|v6: &[u8; 16]| IpAddr::from(*v6))),
                        _ => {}
                    }
                }
                Record::Service(target, hints)
            }
            kind => Record::Other(kind),
        })
    }

    fn error(&mut self, end: usize) -> Option<(u16, String)> {
        while self.at + 4 <= end {
            let (code, length) = (self.u16()?, usize::from(self.u16()?));
            let data = self.take(length)?;
            if code == EDE && data.len() >= 2 {
                let text = String::from_utf8_lossy(&data[2..]).into_owned();
                return Some((u16::from_be_bytes([data[0], data[1]]), text));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply to `question` with these records behind it: owner is the question's name.
    fn reply(records: &[(u16, &[u8])], options: &[u8]) -> Vec<u8> {
        let mut message = question(7, "x.example", kind::A).unwrap();
        message.truncate(message.len() - 11);
        message[2] = 0x81;
        message[7] = records.len() as u8;
        for (kind, data) in records {
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 30]);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(*data);
        }
        message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0]);
        message.extend((options.len() as u16).to_be_bytes());
        message.extend(options);
        message
    }

    #[test]
    fn reply_is_read_with_aliases_hints_and_error() {
        let service = [&[0, 1, 3, b'c', b'd', b'n', 0, 0, 4, 0, 4][..], &[192, 0, 2, 9]].concat();
        let records = [(5, &[0xc0, 12][..]), (1, &[192, 0, 2, 1]), (65, &service), (16, &[2, b'h', b'i'])];
        let message = reply(&records, &[0, 15, 0, 4, 0, 17, b'o', b'k']);
        let read = Reply::parse(&message).unwrap();
        assert_eq!(read.alias(), Some("x.example"));
        assert_eq!(read.addresses(), ["192.0.2.1".parse::<IpAddr>().unwrap(), "192.0.2.9".parse().unwrap()]);
        assert_eq!(read.error, Some((17, "ok".into())));
        assert!(read.told().contains("service at cdn") && read.told().contains("EDE 17 ok"), "{}", read.told());
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_turn_for_ever() {
        let whole = reply(&[(5, &[0xc0, 12]), (65, &[0, 1, 0, 0, 4, 0, 4, 1, 2, 3, 4])], &[0, 15, 0, 2, 0, 15]);
        for cut in 0..whole.len() {
            let _ = Reply::parse(&whole[..cut]);
        }
        for place in 0..whole.len() {
            for value in [0, 1, 63, 64, 192, 255] {
                let mut bent = whole.clone();
                bent[place] = value;
                let _ = Reply::parse(&bent);
            }
        }
        assert_eq!(Reply::parse(&question(1, "x.example", 1).unwrap()), None, "a question is no reply");
    }

    #[test]
    fn what_is_no_name_gives_no_question() {
        for name in ["", "a..b", &"a".repeat(64), &["a"; 130].join(".")] {
            assert_eq!(question(1, name, kind::A), None, "{name}");
        }
        assert!(question(1, "Example.Org.", kind::A).is_some());
    }
}
