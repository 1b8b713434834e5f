//! The roaming ticket: what a guest shows at another hotspot of the city to go on there (docs/roaming-ticket.md).
//!
//! A ticket says a group and an end, and nothing else: no number, no device, no place. All guests of a group whose time
//! ends within the same ten minutes have the same ticket, so that it tells no operator who came, nor from where.

use std::{fs, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    Error,
    keys::{Hash, seal},
};

/// What the first octet is.
const VERSION: u8 = 1;
/// What a ticket's end is rounded down to, in seconds.
const GRAIN: i64 = 600;
/// Octets of the seal.
const SEAL: usize = 16;
/// Longest name of a group.
const GROUP: usize = 64;

/// The city's keys: the first seals, all open.
pub(crate) struct Roaming {
    keys: Vec<Hash>,
    longest: Duration,
}

impl Roaming {
    /// Reads a file with a key a line, in hexadecimal. Lines that begin with `#` are remarks.
    pub(crate) fn load(path: &Path, longest: Duration) -> Result<Self, Error> {
        let unreadable = |source| Error::File { doing: "reading the roaming keys", path: path.into(), source };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|line| {
            let mut key = [0; 32];
            hex::decode_to_slice(line, &mut key).map(|()| key)
        });
        match keys.collect::<Result<Vec<_>, _>>() {
            Ok(keys) if !keys.is_empty() => Ok(Self { keys, longest }),
            _ => Err(unreadable(std::io::Error::other(
                "want one key a line, each 64 hexadecimal digits: openssl rand -hex 32",
            ))),
        }
    }

    /// A ticket for the time until `until` (Unix seconds), rounded down; none for less than the grain.
    pub(crate) fn ticket(&self, group: &str, until: i64, now: i64) -> Option<String> {
        let longest = i64::try_from(self.longest.as_secs()).ok()?;
        let until = until.min(now + longest).div_euclid(GRAIN) * GRAIN;
        if until <= now || group.len() > GROUP {
            return None;
        }
        let mut ticket = vec![VERSION];
        ticket.extend_from_slice(&u32::try_from(until / GRAIN).ok()?.to_be_bytes());
        ticket.extend_from_slice(group.as_bytes());
        let sealed = seal(self.keys.first()?, &ticket);
        ticket.extend_from_slice(&sealed[..SEAL]);
        Some(URL_SAFE_NO_PAD.encode(ticket))
    }

    /// The group and the time left of a ticket that the city sealed, that is not over and not for longer than we honour.
    pub(crate) fn read(&self, ticket: &str, now: i64) -> Option<(String, Duration)> {
        if ticket.len() > 128 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let (said, sealed) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
        let ours = |key: &Hash| {
            let right = seal(key, said);
            // Every octet is looked at, so that the time taken says nothing about where the first wrong one is.
            right.iter().zip(sealed).fold(0, |wrong, (a, b)| wrong | (a ^ b)) == 0
        };
        if !self.keys.iter().any(ours) {
            return None;
        }
        let (version, rest) = said.split_first()?;
        let (until, group) = rest.split_at_checked(4)?;
        let until = i64::from(u32::from_be_bytes(until.try_into().ok()?)) * GRAIN;
        let left = Duration::from_secs(u64::try_from(until - now).ok()?);
        let good = *version == VERSION && !left.is_zero() && left <= self.longest;
        good.then(|| Some((String::from_utf8(group.to_vec()).ok()?, left)))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_420_800;
    const HOUR: Duration = Duration::from_secs(3600);

    fn city(keys: &[u8]) -> Roaming {
        Roaming { keys: keys.iter().map(|n| [*n; 32]).collect(), longest: 12 * HOUR }
    }

    #[test]
    fn every_gateway_of_the_city_honours_a_ticket_and_no_other_does() {
        let ticket = city(&[1]).ticket("guest", NOW + 3 * 3600, NOW).unwrap();
        assert_eq!(city(&[2, 1]).read(&ticket, NOW + 3600), Some(("guest".into(), 2 * HOUR)));
        assert_eq!(city(&[2]).read(&ticket, NOW + 3600), None);
    }

    #[test]
    fn ticket_is_the_same_for_all_who_leave_about_then() {
        let city = city(&[1]);
        let ticket = |until| city.ticket("guest", until, NOW).unwrap();
        assert_eq!(ticket(NOW + 7200), ticket(NOW + 7799));
        assert_ne!(ticket(NOW + 7200), ticket(NOW + 7800));
        assert_ne!(city.ticket("staff", NOW + 7200, NOW).unwrap(), ticket(NOW + 7200));
    }

    #[test]
    fn ticket_ends_and_is_never_for_longer_than_we_honour() {
        let city = city(&[1]);
        let ticket = city.ticket("guest", NOW + 100 * 3600, NOW).unwrap();
        assert_eq!(city.read(&ticket, NOW).unwrap().1, 12 * HOUR);
        assert_eq!(city.read(&ticket, NOW + 12 * 3600), None);
        // A gateway whose clock runs behind honours it no longer than its own bound.
        assert_eq!(city.read(&ticket, NOW - 3600), None);
        assert_eq!(city.ticket("guest", NOW + 599, NOW), None);
    }

    #[test]
    fn changed_ticket_is_refused_at_every_bit() {
        let city = city(&[1]);
        let ticket = city.ticket("guest", NOW + 7200, NOW).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&ticket).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(city.read(&URL_SAFE_NO_PAD.encode(changed), NOW), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(city.read(&URL_SAFE_NO_PAD.encode(&bytes[..length]), NOW), None, "{length} octets");
        }
        for text in ["", "!", "AQ", &"A".repeat(200)] {
            assert_eq!(city.read(text, NOW), None, "{text}");
        }
    }

    #[test]
    fn ticket_is_the_documented_one() {
        let ticket = city(&[7]).ticket("guest", NOW + 7200, NOW).unwrap();
        let document = include_str!("../../docs/roaming-ticket.md");
        assert!(document.contains(&ticket), "{ticket}");
    }

    #[test]
    fn key_file_is_read_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roaming.key");
        fs::write(&path, format!("# of June\n{}\n{}\n", "01".repeat(32), "02".repeat(32))).unwrap();
        assert_eq!(Roaming::load(&path, HOUR).unwrap().keys, [[1; 32], [2; 32]]);
        for text in ["", "# none\n", "0102", "zz"] {
            fs::write(&path, text).unwrap();
            let error = Roaming::load(&path, HOUR).map(drop).unwrap_err().to_string();
            assert!(error.contains("roaming.key") && error.contains("64 hexadecimal"), "{error}");
        }
    }
}
