//! DNS cookies (RFC 7873) in the interoperable form of RFC 9018: who shows the cookie it was given has received something at its
//! address, so nobody else has forged the query. And the other way round: upstreams must repeat ours.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::wire::{HEADER, rtype, skip_name};

/// Octets of a client's cookie, and of that with ours behind it.
const CLIENT: usize = 8;
const WHOLE: usize = 24;
/// A cookie of ours is taken for an hour, and five minutes before its time; one older than half an hour is given anew
/// (RFC 9018 section 4.3).
const OLD: u32 = 3600;
const EARLY: u32 = 300;
const RENEW: u32 = 1800;
/// Number of the option.
pub(crate) const OPTION: u16 = 10;

/// A client's cookie with ours behind it, as a reply carries it.
pub(crate) type Cookie = [u8; WHOLE];

/// SipHash-2-4 (Aumasson and Bernstein, 2012), as RFC 9018 wants it.
fn siphash(key: [u64; 2], data: &[u8]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = data.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = data.len() as u8;
    for word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(*word);
        v[3] ^= word;
        (0..2).for_each(|_| round(&mut v));
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// 128 bits that nobody outside knows.
fn secret() -> [u64; 2] {
    [RandomState::new().hash_one(1u8), RandomState::new().hash_one(2u8)]
}

/// Cookies for clients, under a secret that is new with each start.
pub(crate) struct Cookies {
    secret: [u64; 2],
    /// The time of day when we started, in seconds. Only differences to it matter, so a wrong clock does no harm.
    start: u32,
}

impl Cookies {
    pub(crate) fn new() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as u32);
        Self { secret: secret(), start }
    }

    /// The cookie for a reply to `client`, which showed `cookie` (8 or 16 to 40 octets) at `now` (seconds since the start), and
    /// whether what it showed proves that it is at its address.
    pub(crate) fn answer(&self, cookie: &[u8], client: IpAddr, now: u32) -> (Cookie, bool) {
        let now = self.start.wrapping_add(now);
        let mut theirs = [0; CLIENT];
        theirs.copy_from_slice(&cookie[..CLIENT]);
        if let Some(shown) = cookie.first_chunk::<WHOLE>().filter(|shown| shown.len() == cookie.len())
            && let [.., a, b, c, d, _, _, _, _, _, _, _, _] = *shown
        {
            // Numbers that wrap around (RFC 1982), so that 2106 is as good as any year.
            let time = u32::from_be_bytes([a, b, c, d]);
            let (age, early) = (now.wrapping_sub(time), time.wrapping_sub(now));
            if (age <= OLD || early <= EARLY) && self.bake(theirs, client, time) == *shown {
                let fresh = age < RENEW || early <= EARLY;
                return (if fresh { *shown } else { self.bake(theirs, client, now) }, true);
            }
        }
        (self.bake(theirs, client, now), false)
    }

    /// RFC 9018 section 4: version 1, three octets of zero, the time, and the hash over all before it and the address.
    fn bake(&self, theirs: [u8; CLIENT], client: IpAddr, time: u32) -> Cookie {
        let (mut hashed, mut length) = ([0; 32], 20);
        hashed[..CLIENT].copy_from_slice(&theirs);
        hashed[CLIENT] = 1;
        hashed[12..16].copy_from_slice(&time.to_be_bytes());
        match client.to_canonical() {
            IpAddr::V4(v4) => hashed[16..20].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => {
                hashed[16..].copy_from_slice(&v6.octets());
                length = 32;
            }
        }
        let mut cookie = [0; WHOLE];
        cookie[..16].copy_from_slice(&hashed[..16]);
        cookie[16..].copy_from_slice(&siphash(self.secret, &hashed[..length]).to_le_bytes());
        cookie
    }
}

/// Upstreams' cookies: ours for each, and what each gave us.
pub(crate) struct Jar {
    secret: [u64; 2],
    theirs: HashMap<SocketAddr, Box<[u8]>>,
}

impl Jar {
    pub(crate) fn new() -> Self {
        Self { secret: secret(), theirs: HashMap::new() }
    }

    fn ours(&self, upstream: SocketAddr) -> [u8; CLIENT] {
        let mut hashed = [0; 18];
        let address = match upstream.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        hashed[..16].copy_from_slice(&address.octets());
        hashed[16..].copy_from_slice(&upstream.port().to_be_bytes());
        siphash(self.secret, &hashed).to_le_bytes()
    }

    /// Appends the option for a query to `upstream` at `at`; gives its length. The query's OPT record must end there.
    pub(crate) fn write(&self, upstream: SocketAddr, out: &mut [u8], at: usize) -> usize {
        let theirs = self.theirs.get(&upstream).map_or(&[][..], |theirs| theirs);
        let length = CLIENT + theirs.len();
        let option = &mut out[at..at + 4 + length];
        option[..2].copy_from_slice(&OPTION.to_be_bytes());
        option[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        option[4..4 + CLIENT].copy_from_slice(&self.ours(upstream));
        option[4 + CLIENT..].copy_from_slice(theirs);
        4 + length
    }

    /// Whether `reply` may come from `upstream`: it repeats our cookie, or has none and the upstream has never had one. Remembers what
    /// the upstream gives us (RFC 7873 section 5.3).
    pub(crate) fn accepts(&mut self, upstream: SocketAddr, reply: &[u8]) -> bool {
        match find(reply) {
            Some(cookie) if cookie.len() < CLIENT || cookie[..CLIENT] != self.ours(upstream) => false,
            Some(cookie) => {
                let theirs = &cookie[CLIENT..];
                if (8..=32).contains(&theirs.len()) && self.theirs.get(&upstream).is_none_or(|known| **known != *theirs)
                {
                    self.theirs.insert(upstream, theirs.into());
                }
                true
            }
            None => !self.theirs.contains_key(&upstream),
        }
    }
}

/// The cookie in a reply, if there is one.
fn find(reply: &[u8]) -> Option<&[u8]> {
    let be16 = |at: usize| Some(u16::from_be_bytes([*reply.get(at)?, *reply.get(at + 1)?]));
    let [questions, answers, authority, additional] = [be16(4)?, be16(6)?, be16(8)?, be16(10)?].map(u32::from);
    let mut at = HEADER;
    for _ in 0..questions {
        at = skip_name(reply, at)? + 4;
    }
    for _ in 0..answers + authority + additional {
        at = skip_name(reply, at)?;
        let (kind, length) = (be16(at)?, usize::from(be16(at + 8)?));
        let mut options = reply.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if kind != rtype::OPT {
            continue;
        }
        while let [high, low, size @ ..] = options {
            let (code, size) =
                (u16::from_be_bytes([*high, *low]), usize::from(u16::from_be_bytes(*size.first_chunk()?)));
            let value = options.get(4..4 + size)?;
            if code == OPTION {
                return Some(value);
            }
            options = &options[4 + size..];
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    fn cookies(secret: &str, start: u32) -> Cookies {
        let key = |half: &[u8]| u64::from_le_bytes(half.try_into().unwrap());
        let secret = octets(secret);
        Cookies { secret: [key(&secret[..8]), key(&secret[8..])], start }
    }

    /// The examples of RFC 9018 appendix A.
    #[test]
    fn cookies_are_those_of_the_standard() {
        let secret = "e5e973e5a6b2a43f48e7dc849e37bfcf";
        // A.1: learning a new server cookie.
        let client: IpAddr = "198.51.100.100".parse().unwrap();
        let (cookie, proven) = cookies(secret, 1_559_731_985).answer(&octets("2464c4abcf10c957"), client, 0);
        assert_eq!(cookie.to_vec(), octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
        assert!(!proven);
        // A.2: the same cookie is good later, and no older than half an hour it is given back as it is.
        let (again, proven) = cookies(secret, 1_559_731_985).answer(&cookie, client, 100);
        assert!(proven && again == cookie);
        // A.3: renewed after that.
        let client: IpAddr = "203.0.113.203".parse().unwrap();
        let old = octets("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let (renewed, proven) = cookies(secret, 1_559_734_700).answer(&old, client, 0);
        assert_eq!(renewed.to_vec(), octets("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"));
        // Its reserved octets are not zero: another implementation's, which we do not share a secret with.
        assert!(!proven);
    }

    #[test]
    fn only_a_cookie_of_ours_for_this_address_in_its_time_proves_anything() {
        let ours = cookies("e5e973e5a6b2a43f48e7dc849e37bfcf", 4_294_967_000);
        let here: IpAddr = "2001:db8::7".parse().unwrap();
        let (cookie, _) = ours.answer(&[7; 8], here, 10);
        for (now, proven) in [(10, true), (1800, true), (3610, true), (3611, false), (9000, false)] {
            assert_eq!(ours.answer(&cookie, here, now).1, proven, "{now}");
        }
        assert_ne!(ours.answer(&cookie, here, 2000).0, cookie, "an old one is given anew");
        assert!(!ours.answer(&cookie, "2001:db8::8".parse().unwrap(), 10).1);
        for at in 0..WHOLE {
            let mut forged = cookie;
            forged[at] ^= 1;
            assert!(!ours.answer(&forged, here, 10).1, "octet {at}");
        }
        assert!(!ours.answer(&cookie[..16], here, 10).1);
        assert!(!Cookies::new().answer(&cookie, here, 10).1);
    }

    #[test]
    fn reply_of_an_upstream_must_repeat_our_cookie_once_it_has_one() {
        let (upstream, other) = ("192.0.2.1:53".parse().unwrap(), "192.0.2.2:53".parse().unwrap());
        let mut jar = Jar::new();
        let reply = |cookie: &[u8]| {
            let mut reply =
                vec![0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0];
            if !cookie.is_empty() {
                let length = reply.len() - 1;
                reply[length] = 4 + cookie.len() as u8;
                reply.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
                reply.extend_from_slice(cookie);
            }
            reply
        };
        assert!(jar.accepts(upstream, &reply(b"")), "an upstream without cookies");
        let mut out = [0; 64];
        assert_eq!(jar.write(upstream, &mut out, 0), 12);
        let ours: [u8; 8] = out[4..12].try_into().unwrap();
        assert_ne!(ours, jar.ours(other), "upstreams cannot tell by it that we are the same");
        assert!(!jar.accepts(upstream, &reply(&[ours, [9; 8]].concat().as_slice()[1..])));
        assert!(jar.accepts(upstream, &reply(&[ours, *b"of thems"].concat())));
        assert!(!jar.accepts(upstream, &reply(b"")), "it has cookies and this reply has none");
        assert_eq!(jar.write(upstream, &mut out, 0), 20);
        assert_eq!(out[12..20], *b"of thems");
    }
}
