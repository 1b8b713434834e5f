//! RFC 3161 time stamps: an outside clock saw a checkpoint. The only file that knows X.509 and CMS (RFC 5652).
//!
//! Stricter than those allow: every byte of a response is either signed, or must be what it is, so that no changed byte
//! goes unseen. Accepted are tokens of one signer, RSA (PKCS #1, key algorithm `rsaEncryption`) or ECDSA on P-256 and
//! P-384, with SHA-256, 384 or 512, as `openssl ts` and the public authorities make them.

use std::path::Path;

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use crate::{Error, Time, hash::from_base64};

/// Whose time stamps count: the authority's own certificate, or the one that issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    der: Vec<u8>,
}

/// Why a time stamp was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TspError(&'static str);

type Result<T, E = TspError> = std::result::Result<T, E>;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const GENERALIZED_TIME: u8 = 0x18;
const UTC_TIME: u8 = 0x17;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// A place in DER bytes.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: tag, content, and all its bytes. Lengths in their one spelling (X.690 section 10.1).
    fn any(&mut self) -> Result<(u8, &'a [u8], &'a [u8])> {
        const CUT: TspError = TspError("its DER is cut off");
        let all = self.0;
        let (&[tag, short], mut rest) = all.split_first_chunk::<2>().ok_or(CUT)?;
        let mut length = usize::from(short);
        if short >= 0x80 {
            let count = usize::from(short & 0x7f);
            let (bytes, after) = rest.split_at_checked(count).ok_or(CUT)?;
            length =
                bytes.iter().try_fold(0_usize, |n, b| n.checked_mul(256)?.checked_add(usize::from(*b))).ok_or(CUT)?;
            let least =
                if count == 1 { 0x80 } else { 1_usize.checked_shl(8 * (count as u32).saturating_sub(1)).unwrap_or(0) };
            if count == 0 || count > 4 || length < least {
                return Err(TspError("a DER length is not in its one spelling"));
            }
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok((tag, content, &all[..all.len() - rest.len()]))
    }

    /// The content of the next value, which must have this tag.
    fn value(&mut self, tag: u8) -> Result<&'a [u8]> {
        let (found, content, _) = self.any()?;
        if found == tag { Ok(content) } else { Err(TspError("a part of it is not what belongs there")) }
    }

    fn inside(&mut self, tag: u8) -> Result<Self> {
        self.value(tag).map(Self)
    }

    fn has(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(TspError("has more than belongs there")) }
    }

    fn exactly(&mut self, tag: u8, want: &[u8], why: &'static str) -> Result<()> {
        if self.value(tag)? == want { Ok(()) } else { Err(TspError(why)) }
    }

    /// An algorithm: its name, and parameters that must be absent or NULL.
    fn algorithm(&mut self) -> Result<&'a [u8]> {
        let mut inside = self.inside(SEQUENCE)?;
        let name = inside.value(OID)?;
        if !inside.0.is_empty() && inside.0 != [5, 0] {
            return Err(TspError("an algorithm has parameters"));
        }
        Ok(name)
    }
}

/// What matters of a certificate (RFC 5280 section 4.1).
struct Certificate<'a> {
    all: &'a [u8],
    /// What its issuer signed.
    signed: &'a [u8],
    /// Issuer and serial number as CMS names them.
    name: Vec<u8>,
    from: Time,
    to: Time,
    key: &'a [u8],
    stamps: bool,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    fn parse(der: &mut Der<'a>) -> Result<Self> {
        let (tag, content, all) = der.any()?;
        if tag != SEQUENCE {
            return Err(TspError("has no certificate where one belongs"));
        }
        let mut outer = Der(content);
        let (tag, tbs, signed) = outer.any()?;
        let algorithm = outer.algorithm()?;
        let signature = bits(outer.value(BIT_STRING)?)?;
        outer.end()?;
        if tag != SEQUENCE {
            return Err(TspError("has no certificate where one belongs"));
        }
        let mut tbs = Der(tbs);
        if tbs.has(CONTEXT_0) {
            tbs.any()?;
        }
        let (_, _, serial) = tbs.any()?;
        if tbs.algorithm()? != algorithm {
            return Err(TspError("a certificate names two algorithms"));
        }
        let (_, _, issuer) = tbs.any()?;
        let mut validity = tbs.inside(SEQUENCE)?;
        let (from, to) = (time(&mut validity)?, time(&mut validity)?);
        tbs.any()?;
        let (_, _, key) = tbs.any()?;
        let mut stamps = false;
        while !tbs.0.is_empty() {
            let (tag, content, _) = tbs.any()?;
            if tag == CONTEXT_3 {
                stamps = stamps_time(Der(content))?;
            }
        }
        let name = [issuer, serial].concat();
        Ok(Self { all, signed, name, from, to, key, stamps, algorithm, signature })
    }

    fn signed_by(&self, issuer: &Certificate<'_>) -> bool {
        let algorithm = match self.algorithm {
            RSA_SHA256 | ECDSA_SHA256 => SHA256,
            RSA_SHA384 | ECDSA_SHA384 => SHA384,
            RSA_SHA512 => SHA512,
            _ => return false,
        };
        let is_rsa = matches!(self.algorithm, RSA_SHA256 | RSA_SHA384 | RSA_SHA512);
        fits(issuer.key, is_rsa, algorithm, self.signed, self.signature)
    }
}

/// Whether the extensions say that this key is for time stamps (RFC 3161 section 2.3).
fn stamps_time(mut extensions: Der<'_>) -> Result<bool> {
    let mut list = extensions.inside(SEQUENCE)?;
    while !list.0.is_empty() {
        let mut extension = list.inside(SEQUENCE)?;
        let name = extension.value(OID)?;
        if name != EXTENDED_KEY_USAGE {
            continue;
        }
        while !extension.has(OCTET_STRING) {
            extension.any()?;
        }
        let mut usages = extension.inside(OCTET_STRING)?.inside(SEQUENCE)?;
        while !usages.0.is_empty() {
            if usages.value(OID)? == TIME_STAMPING {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn bits(content: &[u8]) -> Result<&[u8]> {
    content.strip_prefix(&[0]).ok_or(TspError("a bit string is not of whole bytes"))
}

/// `UTCTime` or `GeneralizedTime` in UTC (RFC 5280 section 4.1.2.5), the latter with or without fractions.
fn time(der: &mut Der<'_>) -> Result<Time> {
    const BAD: TspError = TspError("a time in it is not one");
    let (tag, content, _) = der.any()?;
    let text = std::str::from_utf8(content).map_err(|_| BAD)?.strip_suffix('Z').ok_or(BAD)?;
    let text = match tag {
        // Years 50 to 99 are of the last century.
        UTC_TIME if text.len() == 12 => format!("{}{text}", if text < "5" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return Err(BAD),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = format!("{fraction:0<3.3}");
    if whole.len() != 14 || !whole.is_ascii() {
        return Err(BAD);
    }
    let [y, mo, d, h, mi, s] = [&whole[..4], &whole[4..6], &whole[6..8], &whole[8..10], &whole[10..12], &whole[12..]];
    format!("{y}-{mo}-{d}T{h}:{mi}:{s}.{fraction}Z").parse().map_err(|_| BAD)
}

/// Whether a signature fits, under the key of a `SubjectPublicKeyInfo`.
fn fits(spki: &[u8], is_rsa: bool, digest: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let parts = || -> Result<(&[u8], &[u8], &[u8])> {
        let mut outer = Der(spki).inside(SEQUENCE)?;
        let mut algorithm = outer.inside(SEQUENCE)?;
        let name = algorithm.value(OID)?;
        let curve = if algorithm.has(OID) { algorithm.value(OID)? } else { &[] };
        Ok((name, curve, bits(outer.value(BIT_STRING)?)?))
    };
    let Ok((name, curve, key)) = parts() else { return false };
    let algorithm: &dyn VerificationAlgorithm = match (is_rsa, name, curve, digest) {
        (true, RSA, _, SHA256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (true, RSA, _, SHA384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (true, RSA, _, SHA512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (false, EC_KEY, P256, SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
        (false, EC_KEY, P256, SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
        (false, EC_KEY, P384, SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
        (false, EC_KEY, P384, SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
        _ => return false,
    };
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
}

fn digest_of(algorithm: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let algorithm = match algorithm {
        SHA256 => &ring::digest::SHA256,
        SHA384 => &ring::digest::SHA384,
        SHA512 => &ring::digest::SHA512,
        _ => return Err(TspError("its digest is not SHA-256, 384 or 512")),
    };
    Ok(ring::digest::digest(algorithm, bytes).as_ref().to_vec())
}

/// What is sent to an authority (RFC 3161 section 2.4.1): the SHA-256 of these bytes, and the wish for its certificate. No
/// nonce: a checkpoint is stamped under its own digest, which no earlier answer can have.
pub fn query(stamped: &[u8]) -> Vec<u8> {
    let der = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let algorithm = der(SEQUENCE, &[der(OID, SHA256), vec![5, 0]].concat());
    let digest = ring::digest::digest(&ring::digest::SHA256, stamped);
    let imprint = der(SEQUENCE, &[algorithm, der(OCTET_STRING, digest.as_ref())].concat());
    der(SEQUENCE, &[der(INTEGER, &[1]), imprint, der(BOOLEAN, &[0xff])].concat())
}

/// Whether a response says that it was granted and holds a token. What the token is worth only [`Authority::verify`] knows.
pub fn is_granted(response: &[u8]) -> bool {
    let read = || -> Result<()> {
        let mut all = Der(response);
        let mut response = all.inside(SEQUENCE)?;
        all.end()?;
        response.exactly(SEQUENCE, &[INTEGER, 1, 0], "the authority did not grant it")?;
        response.inside(SEQUENCE)?;
        response.end()
    };
    read().is_ok()
}

impl Authority {
    /// Reads a certificate in PEM (`BEGIN CERTIFICATE`); the first one counts.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn parse(pem: &str) -> Result<Self, Error> {
        let bad = Error::NotAKey("not a certificate in PEM (BEGIN CERTIFICATE)");
        let body = pem
            .split_once("-----BEGIN CERTIFICATE-----")
            .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
            .map(|(body, _)| body.split_whitespace().collect::<String>());
        let Some(der) = body.and_then(|body| from_base64(&body)) else { return Err(bad) };
        let mut place = Der(&der);
        match Certificate::parse(&mut place).and_then(|_| place.end()) {
            Ok(()) => Ok(Self { der }),
            Err(_) => Err(bad),
        }
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// As [`Self::parse`], or when the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let broken = |what: String| Error::Key { path: path.into(), what };
        let pem = std::fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
        Self::parse(&pem).map_err(|error| broken(error.to_string()))
    }

    /// Checks a response over some bytes; gives the time it attests.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify(&self, response: &[u8], stamped: &[u8]) -> Result<Time> {
        let own = Certificate::parse(&mut Der(&self.der))?;
        let mut all = Der(response);
        let mut response = all.inside(SEQUENCE)?;
        all.end()?;
        // PKIStatusInfo: granted, without text.
        response.exactly(SEQUENCE, &[INTEGER, 1, 0], "the authority did not grant it")?;
        let mut token = response.inside(SEQUENCE)?;
        response.end()?;
        token.exactly(OID, SIGNED_DATA, "is not signed data")?;
        let mut explicit = token.inside(CONTEXT_0)?;
        token.end()?;
        let mut data = explicit.inside(SEQUENCE)?;
        explicit.end()?;

        data.exactly(INTEGER, &[3], "is signed data of another version")?;
        let mut digests = data.inside(SET)?;
        let (_, _, first_digest) = digests.any()?;
        digests.end()?;
        let mut content = data.inside(SEQUENCE)?;
        content.exactly(OID, TST_INFO, "is not about a time stamp")?;
        let mut wrapped = content.inside(CONTEXT_0)?;
        content.end()?;
        let info = wrapped.value(OCTET_STRING)?;
        wrapped.end()?;
        let mut certificates = Vec::new();
        if data.has(CONTEXT_0) {
            let mut list = data.inside(CONTEXT_0)?;
            while !list.0.is_empty() {
                certificates.push(Certificate::parse(&mut list)?);
            }
        }
        let mut signers = data.inside(SET)?;
        data.end()?;
        let mut signer = signers.inside(SEQUENCE)?;
        signers.end()?;

        signer.exactly(INTEGER, &[1], "its signer is of another version")?;
        let name = signer.value(SEQUENCE)?;
        let (_, _, digest_bytes) = { signer }.any()?;
        let digest = signer.algorithm()?;
        if digest_bytes != first_digest {
            return Err(TspError("names two digests"));
        }
        let (tag, attributes, _) = signer.any()?;
        if tag != CONTEXT_0 {
            return Err(TspError("has no signed attributes"));
        }
        let is_rsa = match (signer.algorithm()?, digest) {
            (RSA, _) => true,
            (ECDSA_SHA256, SHA256) | (ECDSA_SHA384, SHA384) => false,
            _ => return Err(TspError("its signature is neither RSA nor ECDSA as we know them")),
        };
        let signature = signer.value(OCTET_STRING)?;
        signer.end()?;

        let certificate = trusted(&own, &certificates, name)?;
        attributes_fit(Der(attributes), &digest_of(digest, info)?)?;
        // RFC 5652 section 5.4: signed are the attributes as a SET, not under the tag they travel with.
        let length = attributes.len();
        let header = match length {
            0..0x80 => vec![SET, length as u8],
            0x80..0x100 => vec![SET, 0x81, length as u8],
            0x100..0x1_0000 => vec![SET, 0x82, (length >> 8) as u8, length as u8],
            _ => return Err(TspError("its attributes are too long")),
        };
        if !fits(certificate.key, is_rsa, digest, &[&header[..], attributes].concat(), signature) {
            return Err(TspError("its signature does not fit"));
        }
        let at = stamped_time(info, stamped)?;
        if at < certificate.from || certificate.to < at {
            return Err(TspError("the authority's certificate was not valid at that time"));
        }
        Ok(at)
    }
}

/// The signer's certificate: the reader's own, or one of the token's that the reader's own issued. The token may carry
/// no others, because nothing would vouch for their bytes.
fn trusted<'a>(own: &'a Certificate<'a>, found: &'a [Certificate<'a>], name: &[u8]) -> Result<&'a Certificate<'a>> {
    let signer = found.iter().find(|certificate| certificate.name == name);
    let signer = match signer {
        Some(signer) if signer.all == own.all => own,
        Some(signer) if signer.stamps && signer.signed_by(own) => signer,
        Some(_) => {
            return Err(TspError(
                "its signer's certificate is neither the one you brought nor issued by it for time stamps",
            ));
        }
        None if own.name == name => own,
        None => return Err(TspError("is signed by another authority")),
    };
    if found.iter().any(|certificate| certificate.all != signer.all && certificate.all != own.all) {
        return Err(TspError("carries a certificate that nothing vouches for"));
    }
    Ok(signer)
}

fn attributes_fit(mut attributes: Der<'_>, digest: &[u8]) -> Result<()> {
    let (mut kind, mut content) = (false, false);
    while !attributes.0.is_empty() {
        let mut attribute = attributes.inside(SEQUENCE)?;
        let name = attribute.value(OID)?;
        let mut values = attribute.inside(SET)?;
        match name {
            CONTENT_TYPE => kind = values.value(OID)? == TST_INFO,
            MESSAGE_DIGEST => content = values.value(OCTET_STRING)? == digest,
            _ => {}
        }
    }
    if kind && content { Ok(()) } else { Err(TspError("its attributes are not about this time stamp")) }
}

/// `TSTInfo` (RFC 3161 section 2.4.2).
fn stamped_time(info: &[u8], stamped: &[u8]) -> Result<Time> {
    let mut info = Der(info).inside(SEQUENCE)?;
    info.exactly(INTEGER, &[1], "is a time stamp of another version")?;
    info.value(OID)?;
    let mut imprint = info.inside(SEQUENCE)?;
    if imprint.algorithm()? != SHA256 {
        return Err(TspError("stamps another digest than SHA-256"));
    }
    imprint.exactly(OCTET_STRING, &digest_of(SHA256, stamped)?, "stamps another checkpoint")?;
    info.value(INTEGER)?;
    time(&mut info)
}

#[cfg(test)]
#[path = "tsp_tests.rs"]
mod tests;
