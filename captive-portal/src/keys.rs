//! The room's one file with cryptography: pseudonyms of devices, tokens of pages, hashes of texts.
//!
//! A pseudonym is a keyed hash of a device's address. The key lies where a reboot takes it, as it takes the kernel's set of
//! admitted guests: what is on the disk then leads to nobody, not even by trying all addresses.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest, Sha256};
use sheshi_policy::Mac;

use crate::Error;

/// SHA-256, of a text or as a pseudonym.
pub(crate) type Hash = [u8; 32];

const KEY_FILE: &str = "portal.key";
/// A page's token is good for one to two of these.
const BUCKET: Duration = Duration::from_secs(1800);
const DAY: Duration = Duration::from_secs(86_400);

/// What a token is for. One for leaving does not accept.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// Accepting the terms with this hash: who has read another text has not accepted this one.
    Accept(&'a Hash),
    /// Ending the session.
    Leave,
    /// Objecting to a block.
    Object,
    /// Going on to this URL, which this device itself had asked for.
    Continue(&'a str),
}

pub(crate) struct Keys {
    pseudonym: Hash,
    token: Hash,
    /// The salt of consent records, and since when; thrown away daily.
    salt: Mutex<(Hash, Instant)>,
    born: Instant,
}

impl Keys {
    /// Loads the key of pseudonyms from the folder, or makes one where there is none of use.
    pub(crate) fn load(run: &Path, now: Instant) -> Result<Self, Error> {
        let path = run.join(KEY_FILE);
        let failed = |doing| {
            let path = path.clone();
            move |source| Error::File { doing, path, source }
        };
        let pseudonym = match fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => key,
                Err(_) => {
                    tracing::warn!("{} is damaged; guests have to accept once more", path.display());
                    make(run).map_err(failed("making the key"))?
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(run).map_err(failed("making the key"))?,
            Err(error) => return Err(failed("reading the key")(error)),
        };
        Ok(Self { pseudonym, token: random()?, salt: Mutex::new((random()?, now)), born: now })
    }

    /// The name of a device's session on disk, for as long as the machine runs.
    pub(crate) fn pseudonym(&self, mac: Mac) -> Hash {
        hash(&self.pseudonym, &[b"session", &mac.0])
    }

    /// The name of a device in a record of consent: the same for at most a day.
    pub(crate) fn consent_pseudonym(&self, mac: Mac, now: Instant) -> Result<Hash, Error> {
        let mut salt = self.salt.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(salt.1) >= DAY {
            *salt = (random()?, now);
        }
        Ok(hash(&salt.0, &[b"consent", &mac.0]))
    }

    /// A token that only the portal can make, for one device and one purpose. It is bound to the device and not to its
    /// address: a browser may fetch the page over IPv6 and send the form over IPv4.
    pub(crate) fn token(&self, purpose: Purpose<'_>, mac: Mac, now: Instant) -> String {
        hex::encode(&self.token_at(purpose, mac, self.bucket(now)).finalize().into_bytes()[..16])
    }

    /// Whether a token is of this device, for this purpose and not too old. In constant time.
    pub(crate) fn verify(&self, token: &str, purpose: Purpose<'_>, mac: Mac, now: Instant) -> bool {
        let mut given = [0; 16];
        if hex::decode_to_slice(token, &mut given).is_err() {
            return false;
        }
        let bucket = self.bucket(now);
        [bucket, bucket.wrapping_sub(1)]
            .into_iter()
            .any(|bucket| self.token_at(purpose, mac, bucket).verify_truncated_left(&given).is_ok())
    }

    fn bucket(&self, now: Instant) -> u64 {
        // From 1, so that the bucket before the first one is no other's.
        1 + now.saturating_duration_since(self.born).as_secs() / BUCKET.as_secs()
    }

    fn token_at(&self, purpose: Purpose<'_>, mac: Mac, bucket: u64) -> Hmac<Sha256> {
        let (name, what): (&[u8], &[u8]) = match purpose {
            Purpose::Accept(terms) => (b"accept", terms),
            Purpose::Leave => (b"leave", b""),
            Purpose::Object => (b"object", b""),
            Purpose::Continue(url) => (b"continue", url.as_bytes()),
        };
        keyed(&self.token, &[name, &mac.0, &bucket.to_be_bytes(), what])
    }
}

/// SHA-256 of a text.
pub(crate) fn sha256(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// What codes are written in: no letter that looks like another or like a digit.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A code of so many letters that nobody can guess: five bits each.
pub(crate) fn code(length: usize) -> Result<String, Error> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(bytes.into_iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// A code as a person typed it: whatever case, with or without strokes, and with the letters that look like digits.
pub(crate) fn read_code(text: &str) -> String {
    let letters = text.chars().take(64).filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    letters
        .map(|letter| match letter {
            'o' => '0',
            'i' | 'l' => '1',
            letter => letter,
        })
        .collect()
}

/// The keyed hash of a message, under a key of somebody else than this gateway alone.
pub(crate) fn seal(key: &Hash, message: &[u8]) -> Hash {
    hash(key, &[b"roaming", message])
}

fn hash(key: &Hash, parts: &[&[u8]]) -> Hash {
    keyed(key, parts).finalize().into_bytes().into()
}

fn keyed(key: &Hash, parts: &[&[u8]]) -> Hmac<Sha256> {
    // As a whole block of SHA-256, as which HMAC reads it in any case (RFC 2104 section 2).
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        // The length keeps parts apart: no two lists of parts are the same message.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

fn random() -> Result<Hash, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(bytes)
}

/// Makes a key file. Written beside and renamed, so that a half-written one is never found under its name.
fn make(run: &Path) -> io::Result<Hash> {
    let key = random().map_err(|error| io::Error::other(error.to_string()))?;
    fs::create_dir_all(run)?;
    let beside = run.join(format!("{KEY_FILE}.new"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?.write_all(&key)?;
    fs::rename(&beside, run.join(KEY_FILE))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ME: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn keys() -> (tempfile::TempDir, Keys, Instant) {
        let run = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let keys = Keys::load(run.path(), now).unwrap();
        (run, keys, now)
    }

    #[test]
    fn token_of_another_device_purpose_or_text_is_refused() {
        let (_run, keys, now) = keys();
        let (terms, changed) = (sha256("terms"), sha256("other terms"));
        let token = keys.token(Purpose::Accept(&terms), ME, now);
        assert!(keys.verify(&token, Purpose::Accept(&terms), ME, now));
        assert!(!keys.verify(&token, Purpose::Accept(&terms), OTHER, now));
        assert!(!keys.verify(&token, Purpose::Accept(&changed), ME, now));
        assert!(!keys.verify(&token, Purpose::Leave, ME, now));
        assert!(!keys.verify(&token, Purpose::Continue("http://example.com/"), ME, now));
    }

    #[test]
    fn malformed_or_cut_token_is_refused() {
        let (_run, keys, now) = keys();
        let token = keys.token(Purpose::Leave, ME, now);
        assert_eq!(token.len(), 32);
        for wrong in ["", "0", &token[..30], &format!("{token}00"), &format!("{} ", &token[..31]), &"0".repeat(32)] {
            assert!(!keys.verify(wrong, Purpose::Leave, ME, now), "{wrong}");
        }
    }

    #[test]
    fn token_grows_old() {
        let (_run, keys, now) = keys();
        let token = keys.token(Purpose::Leave, ME, now);
        assert!(keys.verify(&token, Purpose::Leave, ME, now + BUCKET));
        assert!(!keys.verify(&token, Purpose::Leave, ME, now + 2 * BUCKET));
    }

    #[test]
    fn code_is_read_as_people_type_it() {
        let text = code(12).unwrap();
        let typed = format!(" {}-{} ", text[..4].to_uppercase(), text[4..].replace('0', "O").replace('1', "l"));
        assert_eq!(read_code(&typed), text);
        assert_ne!(code(12).unwrap(), text);
    }

    #[test]
    fn pseudonym_outlives_the_process_but_not_the_folder() {
        let (run, keys, now) = keys();
        let again = Keys::load(run.path(), now).unwrap();
        assert_eq!(keys.pseudonym(ME), again.pseudonym(ME));
        assert_ne!(keys.pseudonym(ME), keys.pseudonym(OTHER));
        fs::remove_file(run.path().join(KEY_FILE)).unwrap();
        assert_ne!(keys.pseudonym(ME), Keys::load(run.path(), now).unwrap().pseudonym(ME));
    }

    #[test]
    fn consent_pseudonym_changes_daily() {
        let (_run, keys, now) = keys();
        let first = keys.consent_pseudonym(ME, now).unwrap();
        assert_eq!(first, keys.consent_pseudonym(ME, now + DAY / 2).unwrap());
        assert_ne!(first, keys.consent_pseudonym(ME, now + DAY).unwrap());
        assert_ne!(first, keys.pseudonym(ME));
    }

    #[test]
    fn key_is_readable_by_nobody_else_and_a_damaged_one_is_replaced() {
        let (run, keys, now) = keys();
        let path = run.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert_ne!(keys.pseudonym(ME), Keys::load(run.path(), now).unwrap().pseudonym(ME));
        assert_eq!(fs::read(&path).unwrap().len(), 32);
    }
}
