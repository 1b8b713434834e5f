//! Keys and signatures: the only file that knows Ed25519 (RFC 8032, RFC 8410).

use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ed25519_dalek::{
    Signature, Signer, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};

use crate::{Digest, Error};

/// A key that signs: a gateway's, a witness's, or a person's.
pub struct SecretKey(SigningKey);

/// What checks such a key's signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// The secret never reaches a log.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().fingerprint())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl SecretKey {
    /// A key from 32 bytes that the operating system drew at random.
    pub fn new(entropy: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&entropy))
    }

    /// Reads a key file that [`Self::save`] wrote (PKCS #8 PEM, as openssl writes it too).
    ///
    /// # Errors
    /// When it cannot be read, is no Ed25519 key, or others than its owner may read it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let broken = |what: String| Error::Key { path: path.into(), what };
        let file = fs::metadata(path).map_err(|error| broken(error.to_string()))?;
        let mode = file.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(broken(format!("mode is {mode:03o}, others could have copied it; make a new key, mode 600")));
        }
        let pem = fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
        SigningKey::from_pkcs8_pem(&pem)
            .map(Self)
            .map_err(|_| broken("not an Ed25519 private key in PKCS #8 PEM".to_owned()))
    }

    /// Writes the key to a new file that only its owner may read, and returns when it is on disk.
    ///
    /// # Errors
    /// When the file exists already (a key is never overwritten) or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let broken = |error: std::io::Error| Error::Key { path: path.into(), what: error.to_string() };
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key has a PKCS #8 form");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(broken)?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(broken)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(broken)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl PublicKey {
    /// Reads a PEM text (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When it is no Ed25519 public key, or one of the few weak ones.
    pub fn parse(pem: &str) -> Result<Self, Error> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|_| Error::NotAKey("not an Ed25519 public key in PEM (BEGIN PUBLIC KEY)"))?;
        if key.is_weak() {
            return Err(Error::NotAKey("a key of small order, under which any signature can be made to fit"));
        }
        Ok(Self(key))
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// As [`Self::parse`], or when the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let broken = |what: String| Error::Key { path: path.into(), what };
        let pem = fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
        Self::parse(&pem).map_err(|error| broken(error.to_string()))
    }

    /// As PEM text.
    pub fn pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("an Ed25519 key has an SPKI form")
    }

    /// The 32 bytes of RFC 8032.
    pub fn bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// SHA-256 of the DER form, the name of this key in all evidence.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.0.to_public_key_der().expect("an Ed25519 key has an SPKI form").as_bytes())
    }

    /// Whether this is the signature of these bytes by this key.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        // The strict form refuses points of small order, so a signature cannot fit two messages.
        self.0.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_key_signs_the_same_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.pem");
        let key = SecretKey::new([7; 32]);
        key.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = SecretKey::load(&path).unwrap();
        assert!(key.public().verifies(b"text", &loaded.sign(b"text")));
        assert!(key.save(&path).is_err(), "a key is never overwritten");
    }

    #[test]
    fn key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.pem");
        SecretKey::new([7; 32]).save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SecretKey::load(&path).unwrap_err().to_string().contains("mode is 640"));
    }

    #[test]
    fn signature_fits_one_text_and_one_key() {
        let (key, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let signature = key.sign(b"text");
        assert!(key.public().verifies(b"text", &signature));
        assert!(!key.public().verifies(b"texT", &signature));
        assert!(!other.public().verifies(b"text", &signature));
    }

    #[test]
    fn public_key_survives_pem_and_weak_keys_are_refused() {
        let key = SecretKey::new([3; 32]).public();
        assert_eq!(PublicKey::parse(&key.pem()).unwrap(), key);
        // The neutral element: y = 1.
        let mut der = hex::decode("302a300506032b6570032100").unwrap();
        der.extend([1_u8].into_iter().chain([0; 31]));
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", crate::hash::to_base64(&der));
        assert!(PublicKey::parse(&pem).unwrap_err().to_string().contains("small order"));
    }
}
