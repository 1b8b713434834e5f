//! Signed requests: the only file of this room that signs and checks signatures. Keys are those of the evidence room, so that a gateway
//! has one name, its key's fingerprint, wherever people meet it.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use sheshi_evidence::sign::{PublicKey, SecretKey};

/// The header with the public key, 64 hexadecimal digits.
pub const KEY: &str = "sheshi-key";
/// The header with the boot id, 32 hexadecimal digits.
pub const BOOT: &str = "sheshi-boot";
/// The header with the sequence, decimal.
pub const SEQUENCE: &str = "sheshi-sequence";
/// The header with the signature, base64.
pub const SIGNATURE: &str = "sheshi-signature";

/// Highest sequence: a million a second would take ages to get there, and a jump beyond it is a mistake.
pub const HIGHEST: u64 = 1 << 53;

/// What a request shows besides its content, once its signature fits.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The gateway's public key.
    pub key: [u8; 32],
    /// Its boot id.
    pub boot: String,
    /// The request's sequence, at most [`HIGHEST`].
    pub sequence: u64,
    /// The signature.
    pub signature: [u8; 64],
}

/// What is signed: every part that says what a request does, on a line of its own.
fn signed(method: &str, path: &str, body: &[u8], boot: &str, sequence: u64) -> String {
    let digest = hex::encode(Sha256::digest(body));
    format!("sheshi-request/1\n{method}\n{path}\n{digest}\n{boot}\n{sequence}\n")
}

/// The headers that sign a request.
pub fn sign(
    key: &SecretKey,
    method: &str,
    path: &str,
    body: &[u8],
    boot: &str,
    sequence: u64,
) -> [(&'static str, String); 4] {
    let signature = key.sign(signed(method, path, body, boot, sequence).as_bytes());
    [
        (KEY, hex::encode(key.public().bytes())),
        (BOOT, boot.to_owned()),
        (SEQUENCE, sequence.to_string()),
        (SIGNATURE, STANDARD.encode(signature)),
    ]
}

/// The key of these 32 octets (RFC 8032), by way of its PEM form (RFC 8410 section 4). A weak one is none.
fn public_key(key: &[u8; 32]) -> Option<PublicKey> {
    const DER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let body = STANDARD.encode([&DER[..], key].concat());
    PublicKey::parse(&format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")).ok()
}

/// The fingerprint of a public key, in groups of four digits that two people can read to each other; empty for octets that
/// are no key.
pub fn fingerprint(key: &[u8; 32]) -> String {
    let digits = public_key(key).map_or_else(String::new, |key| hex::encode(key.fingerprint().0));
    digits.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(" ")
}

/// Checks a request's signature and gives what it shows. `path` is path and query as they stood in the request line.
///
/// # Errors
/// What is missing, odd or does not fit.
pub fn check(headers: &HeaderMap, method: &str, path: &str, body: &[u8]) -> Result<Shown, &'static str> {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value.filter(|_| values.next().is_none())
    };
    let key = one(KEY).filter(|key| key.len() == 64).and_then(|key| hex::decode(key).ok());
    let key: [u8; 32] = key.and_then(|key| key.try_into().ok()).ok_or("sheshi-key: want 64 hexadecimal digits")?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let boot = one(BOOT)
        .filter(|boot| boot.len() == 32 && boot.bytes().all(lower))
        .ok_or("sheshi-boot: want 32 hexadecimal digits in lower case")?;
    let sequence: u64 = one(SEQUENCE)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|sequence| (1..=HIGHEST).contains(sequence))
        .ok_or("sheshi-sequence: want a whole number from 1 to 2^53")?;
    let signature = one(SIGNATURE).and_then(|signature| STANDARD.decode(signature).ok());
    let signature: Option<[u8; 64]> = signature.and_then(|signature| signature.try_into().ok());
    let signature = signature.ok_or("sheshi-signature: want 64 octets in base64")?;
    let text = signed(method, path, body, boot, sequence);
    if !public_key(&key).is_some_and(|key| key.verifies(text.as_bytes(), &signature)) {
        return Err("the signature does not fit the request");
    }
    Ok(Shown { key, boot: boot.to_owned(), sequence, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIS_BOOT: &str = "00112233445566778899aabbccddeeff";

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn signature_covers_every_part_of_the_request() {
        let key = SecretKey::new([7; 32]);
        let signed = sign(&key, "POST", "/api/v1/report", b"{}", THIS_BOOT, 5);
        let good = headers(&signed);
        let shown = check(&good, "POST", "/api/v1/report", b"{}").unwrap();
        assert_eq!((shown.key, &*shown.boot, shown.sequence), (key.public().bytes(), THIS_BOOT, 5));
        assert!(check(&good, "GET", "/api/v1/report", b"{}").is_err());
        assert!(check(&good, "POST", "/api/v1/report?x", b"{}").is_err());
        assert!(check(&good, "POST", "/api/v1/report", b"{} ").is_err());
        for (n, other) in [
            (0, hex::encode(SecretKey::new([8; 32]).public().bytes())),
            (1, "10112233445566778899aabbccddeeff".into()),
            (2, "6".into()),
            (3, STANDARD.encode([0; 64])),
        ] {
            let mut changed = signed.clone();
            changed[n].1 = other;
            assert!(check(&headers(&changed), "POST", "/api/v1/report", b"{}").is_err(), "header {n}");
        }
    }

    #[test]
    fn weak_key_signs_nothing() {
        // The neutral element, under which a signature can be made to fit any text.
        let mut signed = sign(&SecretKey::new([7; 32]), "GET", "/", b"", THIS_BOOT, 1);
        signed[0].1 = format!("01{}", "0".repeat(62));
        signed[3].1 = STANDARD.encode([&[1_u8][..], &[0; 63]].concat());
        assert!(check(&headers(&signed), "GET", "/", b"").is_err());
    }

    #[test]
    fn fingerprint_is_the_one_of_the_evidence() {
        let key = SecretKey::new([7; 32]).public();
        let shown = fingerprint(&key.bytes());
        assert_eq!(shown.replace(' ', ""), hex::encode(key.fingerprint().0));
        assert_eq!((shown.len(), shown.split(' ').count()), (79, 16));
    }

    #[test]
    fn headers_that_are_odd_missing_or_twice_are_refused() {
        let key = SecretKey::new([7; 32]);
        for (boot, sequence) in
            [("", 1), ("00112233445566778899AABBCCDDEEFF", 1), (THIS_BOOT, 0), (THIS_BOOT, HIGHEST + 1)]
        {
            assert!(check(&headers(&sign(&key, "GET", "/", b"", boot, sequence)), "GET", "/", b"").is_err());
        }
        let signed = sign(&key, "GET", "/", b"", THIS_BOOT, 1);
        for (name, value) in signed.clone() {
            let mut twice = headers(&signed);
            twice.append(name, value.parse().unwrap());
            assert!(check(&twice, "GET", "/", b"").is_err(), "{name} twice");
            let mut without = headers(&signed);
            without.remove(name);
            assert!(check(&without, "GET", "/", b"").is_err(), "without {name}");
        }
    }
}
