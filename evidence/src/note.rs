//! Checkpoints as C2SP signed notes, and cosignatures of outside witnesses (`docs/evidence-format.md`, section 5).

use crate::{
    Digest, Time,
    hash::{from_base64, to_base64},
    sign::{PublicKey, SecretKey},
};

/// Size and root of a log, as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

/// Why a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Its bytes are not those of section 5.
    #[error("not a checkpoint: {0}")]
    Shape(&'static str),
    /// The signature is not this key's over this text.
    #[error("the signature is not by the key {0}")]
    Signature(Digest),
    /// A cosignature by nobody whose key was given.
    #[error("line {line} is by `{name}`, and none of the given keys is theirs")]
    Unknown {
        /// Line in the file, from 1.
        line: usize,
        /// The name it gives.
        name: String,
    },
    /// A cosignature that was asked for is not there.
    #[error("no cosignature by the key {0}")]
    Missing(Digest),
}

/// Type bytes of C2SP `signed-note`.
const ED25519: u8 = 1;
const COSIGNATURE: u8 = 4;

/// Whether a text may be a log's or a witness's name.
pub fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
        && !text.starts_with("DSSEv1")
}

fn key_id(name: &str, kind: u8, key: &PublicKey) -> [u8; 4] {
    let hash = Digest::of_parts(&[name.as_bytes(), b"\n", &[kind], &key.bytes()]);
    [hash.0[0], hash.0[1], hash.0[2], hash.0[3]]
}

fn line(name: &str, parts: &[&[u8]]) -> String {
    format!("— {name} {}\n", to_base64(&parts.concat()))
}

impl Checkpoint {
    /// The signed text: three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.base64())
    }

    /// The note with the log's own signature.
    pub fn sign(&self, key: &SecretKey) -> String {
        let text = self.text();
        let signature = key.sign(text.as_bytes());
        let id = key_id(&self.origin, ED25519, &key.public());
        format!("{text}\n{}", line(&self.origin, &[&id, &signature]))
    }

    /// Reads a note that has exactly the log's own signature, and checks it.
    ///
    /// # Errors
    /// When one byte is not as it must be.
    pub fn verify(note: &[u8], key: &PublicKey) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Shape("not UTF-8"))?;
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Shape("no empty line"))?;
        let [origin, size, root] = text.split('\n').collect::<Vec<_>>()[..] else {
            return Err(NoteError::Shape("want three lines: origin, size, root"));
        };
        if !is_name(origin) {
            return Err(NoteError::Shape("the origin is empty, too long, or has spaces or `+`"));
        }
        let root = Digest::from_base64(root).ok_or(NoteError::Shape("the root is not 32 bytes in base64"))?;
        let size = size.parse().map_err(|_| NoteError::Shape("the size is not a number"))?;
        let checkpoint = Self { origin: origin.to_owned(), size, root };
        let signature =
            parse_line(signatures, origin).ok_or(NoteError::Shape("not one signature line of the origin"))?;
        let (id, signature) = signature.split_at_checked(4).ok_or(NoteError::Shape("no key id"))?;
        let signature: &[u8; 64] =
            signature.try_into().map_err(|_| NoteError::Shape("the signature is not 64 bytes"))?;
        // Comparing with what we would write refuses every other spelling: `007`, `+7`, lines that do not belong.
        let id_fits = id == key_id(origin, ED25519, key);
        let again = format!("{}\n{}", checkpoint.text(), line(origin, &[id, signature]));
        if again != note {
            return Err(NoteError::Shape("not the canonical form"));
        }
        if !id_fits || !key.verifies(checkpoint.text().as_bytes(), signature) {
            return Err(NoteError::Signature(key.fingerprint()));
        }
        Ok(checkpoint)
    }

    /// A witness's line over this checkpoint, to be put after the log's own; the witness must have checked that the
    /// log grew into it from the last checkpoint it cosigned.
    pub fn cosign(&self, name: &str, key: &SecretKey, at: Time) -> String {
        let seconds = at.millis().unsigned_abs() / 1000;
        let signature = key.sign(self.cosigned_text(seconds).as_bytes());
        let id = key_id(name, COSIGNATURE, &key.public());
        line(name, &[&id, &seconds.to_be_bytes(), &signature])
    }

    fn cosigned_text(&self, seconds: u64) -> String {
        format!("cosignature/v1\ntime {seconds}\n{}", self.text())
    }

    /// Checks a file that is the note and cosignature lines, one by each of the keys and no other; gives names and times.
    ///
    /// # Errors
    /// When the note is not its beginning, a line is not right, a line is by nobody known, or a key has no line.
    pub fn verify_cosigned(
        &self,
        cosigned: &[u8],
        note: &[u8],
        keys: &[PublicKey],
    ) -> Result<Vec<(String, Time)>, NoteError> {
        let lines =
            cosigned.strip_prefix(note).ok_or(NoteError::Shape("does not start with the bytes of `checkpoint`"))?;
        let lines = std::str::from_utf8(lines).map_err(|_| NoteError::Shape("not UTF-8"))?;
        let mut left: Vec<&PublicKey> = keys.iter().collect();
        let mut witnesses = Vec::new();
        for (i, text) in lines.split_inclusive('\n').enumerate() {
            let name = text.strip_prefix("— ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            let bytes = parse_line(text, name).ok_or(NoteError::Shape("not a signature line"))?;
            if !is_name(name) || bytes.len() != 4 + 8 + 64 {
                return Err(NoteError::Shape("not a cosignature line"));
            }
            let unknown = || NoteError::Unknown { line: i + 6, name: name.to_owned() };
            let known = left.iter().position(|key| key_id(name, COSIGNATURE, key) == bytes[..4]).ok_or_else(unknown)?;
            let key = left.remove(known);
            let seconds = u64::from_be_bytes(bytes[4..12].try_into().expect("eight bytes"));
            let signature = bytes[12..].try_into().expect("64 bytes");
            if !key.verifies(self.cosigned_text(seconds).as_bytes(), signature) {
                return Err(NoteError::Signature(key.fingerprint()));
            }
            let at = i64::try_from(seconds).ok().and_then(|s| Time::from_millis(s.saturating_mul(1000)));
            witnesses.push((name.to_owned(), at.ok_or(NoteError::Shape("time is beyond the year 9998"))?));
        }
        match left.first() {
            Some(key) => Err(NoteError::Missing(key.fingerprint())),
            None => Ok(witnesses),
        }
    }
}

/// The bytes of one signature line of this name, in its one spelling.
fn parse_line(text: &str, name: &str) -> Option<Vec<u8>> {
    let bytes = from_base64(text.strip_prefix("— ")?.strip_prefix(name)?.strip_prefix(' ')?.strip_suffix('\n')?)?;
    (line(name, &[&bytes]) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "wifi.example/gw-0042".into(), size: 18_204, root: Digest::of(b"root") }
    }

    #[test]
    fn signed_checkpoint_is_read_back() {
        let key = SecretKey::new([1; 32]);
        let note = checkpoint().sign(&key);
        assert_eq!(Checkpoint::verify(note.as_bytes(), &key.public()).unwrap(), checkpoint());
    }

    #[test]
    fn every_changed_cut_or_added_byte_is_refused() {
        let key = SecretKey::new([1; 32]);
        let note = checkpoint().sign(&key).into_bytes();
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut changed = note.clone();
                changed[at] ^= 1 << bit;
                assert!(Checkpoint::verify(&changed, &key.public()).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Checkpoint::verify(&note[..at], &key.public()).is_err(), "cut at {at}");
            let mut longer = note.clone();
            longer.insert(at, b'0');
            assert!(Checkpoint::verify(&longer, &key.public()).is_err(), "added at {at}");
        }
    }

    #[test]
    fn other_key_and_other_origin_are_refused() {
        let (key, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let note = checkpoint().sign(&other);
        assert_eq!(
            Checkpoint::verify(note.as_bytes(), &key.public()),
            Err(NoteError::Signature(key.public().fingerprint()))
        );
    }

    #[test]
    fn cosignature_of_each_given_witness_is_wanted_and_no_other() {
        let (key, city, school) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]), SecretKey::new([3; 32]));
        let at = "2026-11-23T00:05:12.000Z".parse().unwrap();
        let note = checkpoint().sign(&key);
        let cosigned = format!("{note}{}", checkpoint().cosign("witness.example/city", &city, at));
        let check = |bytes: &str, keys: &[&SecretKey]| {
            let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
            checkpoint().verify_cosigned(bytes.as_bytes(), note.as_bytes(), &keys)
        };
        assert_eq!(check(&cosigned, &[&city]).unwrap(), [("witness.example/city".to_owned(), at)]);
        assert!(matches!(check(&cosigned, &[]), Err(NoteError::Unknown { line: 6, .. })));
        assert!(matches!(check(&cosigned, &[&city, &school]), Err(NoteError::Missing(_))));
        assert!(matches!(check(&note, &[&city]), Err(NoteError::Missing(_))));
        for at in 0..cosigned.len() {
            let mut changed = cosigned.clone().into_bytes();
            changed[at] ^= 1;
            let keys = [city.public()];
            assert!(checkpoint().verify_cosigned(&changed, note.as_bytes(), &keys).is_err(), "byte {at}");
        }
    }
}
