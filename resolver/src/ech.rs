//! Taking `ech` out of service bindings (RFC 9848), for a policy that wants to see the names that browsers go to.

use crate::wire::{HEADER, rtype};

/// Keys of service parameters (RFC 9460 section 14.3.2).
const MANDATORY: u16 = 0;
const ECH: u16 = 5;

/// What is left of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stripped {
    pub(crate) len: usize,
    /// Answers and authority records.
    pub(crate) counts: [u16; 2],
}

/// Takes `ech` out of the service bindings among the records from `from` to `end`, and the signatures over what was changed: they
/// do not match any more. `None` when there is nothing to take out, or the records cannot be read.
pub(crate) fn strip(message: &mut [u8], from: usize, end: usize, counts: [u16; 2]) -> Option<Stripped> {
    let mut records = Vec::new();
    let mut at = from;
    for number in 0..counts[0] + counts[1] {
        let record = Record::read(message.get(..end)?, at, usize::from(number >= counts[0]))?;
        at = record.end;
        records.push(record);
    }
    let changed = |record: &Record| record.is_binding() && has_ech(&message[record.data..record.end]);
    // All bindings of an answer are one set: its signatures are all wrong once one of them is changed.
    if !records.iter().any(changed) {
        return None;
    }
    let (mut left, mut counts) = (Vec::with_capacity(end - from), [0; 2]);
    for record in &records {
        let (head, data) = (&message[record.start..record.data], &message[record.data..record.end]);
        let signs = record.rtype == rtype::RRSIG && matches!(data, [0, 64 | 65, ..]);
        if signs {
            continue;
        }
        counts[record.section] += 1;
        let length_at = left.len() + head.len() - 2;
        left.extend_from_slice(head);
        match changed(record) {
            true => without_ech(data, &mut left)?,
            false => left.extend_from_slice(data),
        }
        let length = (left.len() - length_at - 2) as u16;
        left[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }
    message[from..from + left.len()].copy_from_slice(&left);
    Some(Stripped { len: from + left.len(), counts })
}

/// Where a record and its data are.
struct Record {
    start: usize,
    data: usize,
    end: usize,
    rtype: u16,
    section: usize,
}

impl Record {
    fn read(message: &[u8], start: usize, section: usize) -> Option<Self> {
        let mut at = start.max(HEADER);
        loop {
            match *message.get(at)? {
                0 => break at += 1,
                0xc0.. => break at += 2,
                length => at += 1 + usize::from(length),
            }
        }
        let rtype = be16(message, at)?;
        let end = at + 10 + usize::from(be16(message, at + 8)?);
        (end <= message.len()).then_some(Self { start, data: at + 10, end, rtype, section })
    }

    fn is_binding(&self) -> bool {
        matches!(self.rtype, rtype::SVCB | rtype::HTTPS)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Where a binding's parameters begin: behind its priority and its target, which is never compressed (RFC 9460 section 2.2).
fn parameters_at(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    while *data.get(at)? != 0 {
        at += 1 + usize::from(data[at]);
    }
    Some(at + 1)
}

/// Key and value of each parameter, as far as they can be read.
fn parameters(data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = parameters_at(data).and_then(|at| data.get(at..)).unwrap_or_default();
    std::iter::from_fn(move || {
        let (key, length) = (be16(rest, 0)?, usize::from(be16(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        Some((key, value))
    })
}

fn has_ech(data: &[u8]) -> bool {
    parameters(data).any(|(key, _)| key == ECH)
}

/// Writes a binding without `ech`, and without `ech` among what clients must understand: they would not take the rest.
fn without_ech(data: &[u8], left: &mut Vec<u8>) -> Option<()> {
    left.extend_from_slice(&data[..parameters_at(data)?]);
    for (key, value) in parameters(data) {
        let mandatory: Vec<u8>;
        let value = match key {
            ECH => continue,
            MANDATORY => {
                let keys = value.as_chunks::<2>().0.iter().filter(|key| u16::from_be_bytes(**key) != ECH);
                mandatory = keys.flatten().copied().collect();
                if mandatory.is_empty() {
                    continue;
                }
                &mandatory
            }
            _ => value,
        };
        left.extend_from_slice(&key.to_be_bytes());
        left.extend_from_slice(&(value.len() as u16).to_be_bytes());
        left.extend_from_slice(value);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Record of this type below the question's name.
    fn record(rtype: u16, data: &[u8]) -> Vec<u8> {
        let mut record = vec![0xc0, 12];
        for field in [rtype, 1, 0, 300, data.len() as u16] {
            record.extend_from_slice(&field.to_be_bytes());
        }
        record.extend_from_slice(data);
        record
    }

    /// A binding to the owner itself, with these parameters.
    fn binding(parameters: &[(u16, &[u8])]) -> Vec<u8> {
        let mut data = vec![0, 1, 0];
        for (key, value) in parameters {
            data.extend_from_slice(&key.to_be_bytes());
            data.extend_from_slice(&(value.len() as u16).to_be_bytes());
            data.extend_from_slice(value);
        }
        record(rtype::HTTPS, &data)
    }

    const ALPN: (u16, &[u8]) = (1, b"\x02h2");
    const HINT: (u16, &[u8]) = (4, &[192, 0, 2, 1]);
    const KEYS: (u16, &[u8]) = (5, b"keys of the server");

    fn stripped(records: &[Vec<u8>], counts: [u16; 2]) -> Option<(Vec<u8>, [u16; 2])> {
        let mut message = [vec![0; 20], records.concat(), vec![9; 10]].concat();
        let end = 20 + records.concat().len();
        let Stripped { len, counts } = strip(&mut message, 20, end, counts)?;
        Some((message[20..len].to_vec(), counts))
    }

    #[test]
    fn ech_goes_and_everything_else_stays() {
        let records = [binding(&[ALPN, HINT, KEYS]), binding(&[ALPN])];
        assert_eq!(stripped(&records, [2, 0]), Some(([binding(&[ALPN, HINT]), binding(&[ALPN])].concat(), [2, 0])));
        assert_eq!(stripped(&[binding(&[ALPN, HINT])], [1, 0]), None);
    }

    #[test]
    fn signatures_over_what_was_changed_go_and_others_stay() {
        let (over_https, over_alias) = (record(rtype::RRSIG, &[0, 65, 13, 1]), record(rtype::RRSIG, &[0, 5, 13, 1]));
        let denial = record(rtype::NSEC, &[0]);
        let records = [over_alias.clone(), binding(&[KEYS]), over_https.clone(), denial.clone()];
        assert_eq!(stripped(&records, [3, 1]), Some(([over_alias, binding(&[]), denial].concat(), [2, 1])));
        assert_eq!(stripped(&[binding(&[ALPN]), over_https], [2, 0]), None);
    }

    #[test]
    fn ech_is_not_left_mandatory() {
        let both = binding(&[(0, &[0, 1, 0, 5]), ALPN, KEYS]);
        assert_eq!(stripped(&[both], [1, 0]), Some((binding(&[(0, &[0, 1]), ALPN]), [1, 0])));
        let alone = binding(&[(0, &[0, 5]), KEYS]);
        assert_eq!(stripped(&[alone], [1, 0]), Some((binding(&[]), [1, 0])));
    }

    proptest! {
        #[test]
        fn no_octets_make_it_fail(mut message: Vec<u8>, from in 0usize..40, counts: [u8; 2]) {
            let end = message.len();
            if from < end {
                strip(&mut message, from, end, counts.map(u16::from));
            }
        }
    }
}
