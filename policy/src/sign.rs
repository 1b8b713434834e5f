//! The signature of a compiled file: the only file of the room that knows Ed25519 (RFC 8032).
//!
//! It stands after everything else and is over a fixed text and the file's digest, so that it can be made and checked
//! without the file's content, and never passes for a signature of anything else.

use ed25519_dalek::{
    Signature, Signer, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey},
};

use crate::{
    Compiled, LoadError,
    file::{Checked, SIGNATURE_MARK},
};

/// What is signed, before the digest.
const CONTEXT: &[u8] = b"sheshi compiled policy v1\n";

fn message(digest: [u8; 32]) -> Vec<u8> {
    [CONTEXT, &digest].concat()
}

/// Appends a signature to a compiled file. `key` is an Ed25519 private key in PKCS #8 PEM.
pub fn sign(mut file: Vec<u8>, key: &str) -> Result<Vec<u8>, LoadError> {
    let key = SigningKey::from_pkcs8_pem(key).map_err(|_| LoadError::Signature("the key is no Ed25519 private key"))?;
    let digest = Checked::from_bytes(file.clone())?;
    if digest.signature.is_some() {
        return Err(LoadError::Signature("it is signed already"));
    }
    file.extend(SIGNATURE_MARK);
    file.extend(key.sign(&message(digest.digest)).to_bytes());
    Ok(file)
}

impl Compiled {
    /// Checks that this key has signed it. `key` is an Ed25519 public key in PEM.
    pub fn check_signature(&self, key: &str) -> Result<(), LoadError> {
        let key = VerifyingKey::from_public_key_pem(key)
            .map_err(|_| LoadError::Signature("the key is no Ed25519 public key"))?;
        let signature = self.signature().ok_or(LoadError::Signature("it is not signed"))?;
        // Strict: a signature that others than the key's owner can change into another one is refused.
        key.verify_strict(&message(self.digest()), &Signature::from_bytes(&signature))
            .map_err(|_| LoadError::Signature("it is not signed by this key"))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding};

    use super::*;
    use crate::{Edition, Policy, compile};

    fn keys(seed: u8) -> (String, String) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let private = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        (private, key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap())
    }

    fn file(name: &str) -> Vec<u8> {
        let policy = Policy::parse("version = 1\n[list.x]\nfile = \"x\"\ncategory = \"adult\"\n").unwrap();
        let edition = Edition::parse(&policy.lists[0], name.as_bytes()).unwrap();
        compile(&policy, &[edition], &mut |_| ()).unwrap()
    }

    #[test]
    fn signature_is_of_this_file_by_this_key() {
        let ((private, public), (_, other)) = (keys(1), keys(2));
        let signed = sign(file("bad.example"), &private).unwrap();
        let compiled = Compiled::from_bytes(signed.clone()).unwrap();
        compiled.check_signature(&public).unwrap();
        let says = |compiled: &Compiled, key: &str| compiled.check_signature(key).unwrap_err().to_string();
        assert_eq!(
            says(&compiled, &other),
            "checking the signature of a compiled policy: it is not signed by this key"
        );
        let unsigned = Compiled::from_bytes(file("bad.example")).unwrap();
        assert_eq!(unsigned.digest(), compiled.digest());
        assert!(says(&unsigned, &public).ends_with("it is not signed"));
        // The signature of one file under another.
        let spliced = [&file("worse.example")[..], &signed[signed.len() - 80..]].concat();
        assert!(says(&Compiled::from_bytes(spliced).unwrap(), &public).ends_with("not signed by this key"));
        assert!(sign(signed, &private).is_err());
    }

    #[test]
    fn changed_signature_is_refused() {
        let (private, public) = keys(1);
        let signed = sign(file("bad.example"), &private).unwrap();
        for at in signed.len() - 80..signed.len() {
            let mut bad = signed.clone();
            bad[at] ^= 1;
            let refused = Compiled::from_bytes(bad).and_then(|compiled| compiled.check_signature(&public));
            assert!(refused.is_err(), "octet {at}");
        }
    }
}
