//! A certifier's blind challenge: one-time names that the gateway holds only as keyed hashes (format, section 9).
//!
//! All of it is the certifier's: the gateway stores nothing and cannot tell these entries from its list's others.

use crate::{Digest, sample::keyed};

/// The certifier's one-time names under a zone, made from a secret; 24 letters and digits each.
pub fn names(secret: &[u8; 32], zone: &str, count: u64) -> Vec<String> {
    let name = |item: u64| {
        let hash = keyed(secret, &[b"sheshi challenge", &item.to_be_bytes()]);
        format!("{}.{zone}", base32(&hash[..15]))
    };
    (0..count).map(name).collect()
}

/// RFC 4648 base32 in lower case; 15 bytes are 24 characters without padding.
fn base32(bytes: &[u8]) -> String {
    bytes
        .chunks_exact(5)
        .flat_map(|five| {
            let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8)
                .rev()
                .map(move |place| b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> (5 * place) & 31) as usize] as char)
        })
        .collect()
}

/// The entry of a name in a hashed list with this key: what the city is given.
pub fn entry(list_key: &[u8], name: &str) -> Digest {
    Digest(keyed(list_key, &[name.as_bytes()]))
}

/// A share with its 95 % interval (Wilson), in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Blocked of asked.
    pub ppm: u64,
    /// Lower end.
    pub low_ppm: u64,
    /// Upper end.
    pub high_ppm: u64,
}

/// How many of the certifier's names were blocked; `None` when none were asked, or more blocked than asked.
pub fn share(blocked: u64, asked: u64) -> Option<Share> {
    if asked == 0 || blocked > asked {
        return None;
    }
    let (z, n) = (1.959_963_984_540_054_f64, asked as f64);
    let p = blocked as f64 / n;
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let reach = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let ppm = |share: f64| (share.clamp(0.0, 1.0) * 1e6) as u64;
    let exact = u128::from(blocked) * 1_000_000 / u128::from(asked);
    Some(Share { ppm: exact as u64, low_ppm: ppm(middle - reach), high_ppm: ppm(middle + reach) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_secret_and_the_list_shows_only_hashes() {
        let one = names(&[1; 32], "canary.example", 3);
        assert_eq!(one, names(&[1; 32], "canary.example", 3));
        assert_ne!(one, names(&[2; 32], "canary.example", 3));
        // Computed once with Python's base64 and hmac.
        assert_eq!(one[0], "tg6hnxikdsv2d4kk4ziygrhx.canary.example");
        assert_ne!(entry(b"list key", &one[0]), entry(b"other key", &one[0]));
    }

    #[test]
    fn interval_is_wilsons() {
        assert_eq!(share(98, 100), Some(Share { ppm: 980_000, low_ppm: 929_988, high_ppm: 994_498 }));
        assert_eq!(share(0, 0), None);
        assert_eq!(share(2, 1), None);
        assert_eq!(share(100, 100).unwrap().high_ppm, 1_000_000);
    }
}
