//! Statements: in-toto Statement v1 in a DSSE envelope (`docs/evidence-format.md`, sections 6 and 7).

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Digest, Time, canon,
    hash::{from_base64, to_base64},
    record::{List, Network, Note, Outcome},
    rollup::{ControlFinding, Period, Verdict},
    sign::{PublicKey, SecretKey},
};

/// The payload type of all statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// Predicate type of [`Details`].
pub const DETAILS: &str = "https://sheshi.example/compliance/v1";
/// Predicate type of [`TestResult`].
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// Predicate type of [`Manifest`].
pub const MANIFEST: &str = "https://sheshi.example/bundle/v1";

/// The bytes that a DSSE signature is over (its pre-authentication encoding).
pub fn dsse_bytes(kind: &str, body: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).as_bytes(), body].concat()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: Digest,
    sig: String,
}

/// An in-toto statement about subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<P> {
    #[serde(rename = "_type")]
    kind: String,
    /// What is said.
    pub predicate: P,
    /// In which vocabulary.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// Of what.
    pub subject: Vec<Resource>,
}

/// A thing with a name and a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Its digest.
    pub digest: Sha256,
    /// Its name.
    pub name: String,
}

/// in-toto's way to write a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sha256 {
    /// The digest.
    pub sha256: Digest,
}

impl Resource {
    /// A thing with a name and a digest.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { digest: Sha256 { sha256: digest }, name: name.into() }
    }
}

/// Why an envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not the canonical bytes of an envelope or statement.
    #[error("{0}")]
    NotCanonical(String),
    /// Another type than this file must have.
    #[error("its type is `{0}`")]
    WrongType(String),
    /// Signed by another key, or by more or fewer than one.
    #[error("not signed by exactly the key {0}")]
    WrongKey(Digest),
    /// The signature does not fit.
    #[error("the signature by {0} does not fit the text")]
    BadSignature(Digest),
}

impl<P: Serialize + DeserializeOwned> Statement<P> {
    /// A statement.
    pub fn new(predicate_type: &str, subject: Vec<Resource>, predicate: P) -> Self {
        Self { kind: STATEMENT.into(), predicate, predicate_type: predicate_type.into(), subject }
    }

    /// The bytes of the payload.
    pub fn payload(&self) -> Vec<u8> {
        canon::encode(self)
    }

    /// The signed envelope.
    pub fn sign(&self, key: &SecretKey) -> Vec<u8> {
        let payload = self.payload();
        let signature = key.sign(&dsse_bytes(IN_TOTO, &payload));
        canon::encode(&Envelope {
            payload: to_base64(&payload),
            payload_type: IN_TOTO.into(),
            signatures: vec![EnvelopeSignature { keyid: key.public().fingerprint(), sig: to_base64(&signature) }],
        })
    }

    /// Reads an envelope, checks its one signature and its types, and that all bytes are canonical.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify(envelope: &[u8], predicate_type: &str, key: &PublicKey) -> Result<Self, StatementError> {
        let canonical = |error: crate::Error| StatementError::NotCanonical(error.to_string());
        let envelope: Envelope = canon::decode(envelope).map_err(canonical)?;
        if envelope.payload_type != IN_TOTO {
            return Err(StatementError::WrongType(envelope.payload_type));
        }
        let fingerprint = key.fingerprint();
        let [signature] = &envelope.signatures[..] else { return Err(StatementError::WrongKey(fingerprint)) };
        if signature.keyid != fingerprint {
            return Err(StatementError::WrongKey(fingerprint));
        }
        let not_base64 = |what: &str| StatementError::NotCanonical(format!("{what} is not base64 in its one spelling"));
        let payload = from_base64(&envelope.payload).ok_or_else(|| not_base64("the payload"))?;
        let bytes: [u8; 64] = from_base64(&signature.sig)
            .and_then(|sig| sig.try_into().ok())
            .ok_or_else(|| not_base64("the signature"))?;
        if !key.verifies(&dsse_bytes(IN_TOTO, &payload), &bytes) {
            return Err(StatementError::BadSignature(fingerprint));
        }
        let statement: Self = match canon::decode(&payload) {
            Ok(statement) => statement,
            // Most likely a statement of another type, which is then what to tell.
            Err(error) => match serde_json::from_slice::<Statement<serde_json::Value>>(&payload) {
                Ok(other) if other.predicate_type != predicate_type => {
                    return Err(StatementError::WrongType(other.predicate_type));
                }
                _ => return Err(canonical(error)),
            },
        };
        if statement.kind != STATEMENT || statement.predicate_type != predicate_type {
            return Err(StatementError::WrongType(statement.predicate_type));
        }
        Ok(statement)
    }
}

/// A catalogue or profile by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// Of its canonical JSON.
    pub digest: Digest,
    /// Its name.
    pub id: String,
    /// Its edition.
    pub version: String,
}

/// All that follows from the records of a period. Members as in section 7 of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "section 7 of the format says what each is")]
pub struct Details {
    pub catalogue: Edition,
    pub changes: Vec<Change>,
    pub controls: Vec<ControlFinding>,
    pub coverage_ppm: u64,
    pub format: u8,
    pub gateway: String,
    pub key: Digest,
    pub lab: bool,
    pub lists: Vec<List>,
    pub longest_gap_s: u64,
    pub networks: Vec<Network>,
    pub notes: Vec<Note>,
    pub organisation: String,
    pub origin: String,
    pub people: Vec<Digest>,
    pub period: Period,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    pub probes_run: u64,
    pub profile: Edition,
    pub records: Extent,
    pub site: String,
    pub site_name: String,
    pub software: String,
    pub time_unknown: u64,
    pub verdict: Verdict,
    pub witness: Vec<Seen>,
}

/// Something that changed in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What it was.
    pub from: String,
    /// The record that says so.
    pub seq: u64,
    /// When, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What it is.
    pub to: String,
    /// `policy`, `software`, `clock` or `list <id>`.
    pub what: String,
}

/// Which records were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// One past the last.
    pub end: u64,
    /// The first.
    pub first: u64,
    /// Root, in base64, of the log's first `end` records.
    pub root: String,
}

/// A registered nonce that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// How often.
    pub hits: u64,
    /// The nonce.
    pub nonce: String,
    /// When it was registered.
    pub registered: Time,
    /// The record.
    pub seq: u64,
    /// When, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// in-toto's test-result predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestResult {
    /// Under what: catalogue, profile, policy, details, lists.
    pub configuration: Vec<Resource>,
    /// Controls that failed.
    #[serde(rename = "failedTests")]
    pub failed: Vec<String>,
    /// Controls that passed.
    #[serde(rename = "passedTests")]
    pub passed: Vec<String>,
    /// `PASSED`, `WARNED` or `FAILED`.
    pub result: String,
    /// Controls that were not shown.
    #[serde(rename = "warnedTests")]
    pub warned: Vec<String>,
}

/// What a bundle is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Digest of the catalogue.
    pub catalogue: Digest,
    /// First record in `records.jsonl`.
    pub first: u64,
    /// 1.
    pub format: u8,
    /// The gateway.
    pub gateway: String,
    /// 1: how CSV, HTML and OSCAL were written.
    pub renderer: u8,
    /// Size of the checkpoint.
    pub size: u64,
}

impl Details {
    /// The statement, about the gateway.
    pub fn statement(self) -> Statement<Self> {
        Statement::new(DETAILS, vec![Resource::new(self.gateway.clone(), self.key)], self)
    }

    /// The report that follows from these details, whose payload has the given digest.
    pub fn report(&self, payload: Digest) -> Statement<TestResult> {
        let ids = |state| {
            let of = self.controls.iter().filter(|control| control.state == state);
            of.map(|control| control.id.clone()).collect()
        };
        let mut configuration =
            vec![Resource::new("catalogue", self.catalogue.digest), Resource::new("profile", self.profile.digest)];
        configuration.extend(self.policy.map(|policy| Resource::new("policy", policy)));
        configuration.push(Resource::new("details", payload));
        configuration.extend(self.lists.iter().map(|list| Resource::new(format!("list {}", list.id), list.digest)));
        let result = match self.verdict {
            Verdict::Compliant => "PASSED",
            Verdict::WithFindings | Verdict::NotProven => "WARNED",
            Verdict::NotCompliant => "FAILED",
        };
        let result = TestResult {
            configuration,
            failed: ids(Outcome::Fail),
            passed: ids(Outcome::Pass),
            result: result.into(),
            warned: ids(Outcome::Inconclusive),
        };
        Statement::new(TEST_RESULT, vec![Resource::new(self.gateway.clone(), self.key)], result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement<Manifest> {
        let digest = Digest::of(b"x");
        let manifest = Manifest { catalogue: digest, first: 0, format: 1, gateway: "gw".into(), renderer: 1, size: 1 };
        Statement::new(MANIFEST, vec![Resource::new("a", digest)], manifest)
    }

    #[test]
    fn signing_bytes_are_those_of_the_dsse_specification() {
        assert_eq!(
            dsse_bytes("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn every_changed_bit_of_an_envelope_is_refused() {
        let key = SecretKey::new([1; 32]);
        let envelope = statement().sign(&key);
        assert_eq!(Statement::verify(&envelope, MANIFEST, &key.public()).unwrap(), statement());
        for at in 0..envelope.len() {
            for bit in 0..8 {
                let mut changed = envelope.clone();
                changed[at] ^= 1 << bit;
                let refused = Statement::<Manifest>::verify(&changed, MANIFEST, &key.public());
                assert!(refused.is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn other_key_and_other_predicate_are_refused() {
        let (key, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let envelope = statement().sign(&key);
        let verify = |predicate, key: &SecretKey| Statement::<Manifest>::verify(&envelope, predicate, &key.public());
        assert!(matches!(verify(MANIFEST, &other), Err(StatementError::WrongKey(_))));
        assert!(matches!(verify(DETAILS, &key), Err(StatementError::WrongType(_))));
    }
}
