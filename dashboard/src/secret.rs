//! Random values, their hashes, and passwords: the only file that knows Argon2 (RFC 9106).

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::Error;

/// A SHA-256 digest.
pub(crate) type Hash = [u8; 32];

/// Letters and digits that nobody confuses when reading a code aloud (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code: 80 bits.
const CODE: usize = 16;

/// A session's id: 128 random bits as a cookie carries them.
pub(crate) fn session_id() -> Result<String, Error> {
    Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
}

/// A one-time code in groups of four.
pub(crate) fn code() -> Result<String, Error> {
    let letters = random::<CODE>()?.map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

/// The hash under which a code is kept, however it was typed.
pub(crate) fn code_hash(typed: &str) -> Hash {
    let letters =
        typed.chars().filter(|letter| letter.is_ascii_alphanumeric()).map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        });
    hash(letters.take(64).collect::<String>())
}

/// SHA-256.
pub(crate) fn hash(value: impl AsRef<[u8]>) -> Hash {
    Sha256::digest(value.as_ref()).into()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Secret(format!("drawing random numbers: {error}")))?;
    Ok(bytes)
}

/// Fewest letters of a password. Length is what counts (NIST SP 800-63B section 3.1.1.2).
pub(crate) const SHORTEST: usize = 12;
/// Most octets of a password: a bound on the work it makes.
pub(crate) const LONGEST: usize = 256;

/// Hashes a password with argon2id, 19 MiB, two passes: half a blink here, and as slow for whoever has the file.
pub(crate) fn hash_password(password: &str) -> Result<String, Error> {
    let failed = |error| Error::Secret(format!("hashing a password: {error}"));
    Ok(Argon2::default().hash_password(password.as_bytes()).map_err(failed)?.to_string())
}

/// Whether a password is the one that was hashed. Without a hash it works as long and says no, so that the time tells
/// nobody which names exist.
pub(crate) fn password_matches(hashed: Option<&str>, password: &str) -> bool {
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c2hlc2hpLW5vYm9keSE$1w6MjoKQyGWYxjKZGGxHMYQS+VC4Ynh6PBV1yaOBrwA";
    Argon2::default().verify_password(password.as_bytes(), hashed.unwrap_or(NOBODY)).is_ok() && hashed.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_known_again_and_no_other_is() {
        let hashed = hash_password("një fjalëkalim i gjatë").unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(password_matches(Some(&hashed), "një fjalëkalim i gjatë"));
        assert!(!password_matches(Some(&hashed), "një fjalëkalim i gjate"));
        assert_ne!(hashed, hash_password("një fjalëkalim i gjatë").unwrap());
    }

    #[test]
    fn unknown_name_takes_as_long_and_never_matches() {
        let hashed = hash_password("some password").unwrap();
        let time = |hashed| {
            let start = std::time::Instant::now();
            assert!(!password_matches(hashed, "another password"));
            start.elapsed()
        };
        let (known, unknown) = (time(Some(&*hashed)), time(None));
        assert!(unknown * 4 > known, "{unknown:?} against {known:?}: the name is given away");
    }

    #[test]
    fn code_is_read_however_it_is_typed() {
        let code = code().unwrap();
        assert_eq!(code.len(), 19);
        assert_eq!(code_hash(&code), code_hash(&code.to_lowercase().replace('-', " ")));
        assert_eq!(code_hash("O0-il"), code_hash("0011"));
        assert_ne!(code_hash(&code), code_hash("0000-0000-0000-0000"));
    }

    #[test]
    fn ten_thousand_session_ids_are_all_different() {
        let ids: std::collections::HashSet<String> = (0..10_000).map(|_| session_id().unwrap()).collect();
        assert_eq!((ids.len(), ids.iter().next().unwrap().len()), (10_000, 22));
    }
}
