//! Whether the portal's certificate is good at a moment: RFC 8910 lets its API be announced only where it can be reached.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::Tls;

impl Tls {
    /// Whether the certificate can be read and its time has begun and is not over. Whatever is odd about it is a no.
    pub fn is_valid(&self, at: Timestamp) -> bool {
        let certificate = CertificateDer::from_pem_file(&self.certificate).ok();
        certificate.and_then(|der| validity(&der)).is_some_and(|(from, to)| from <= at && at <= to)
    }
}

/// From when and to when a certificate is good (RFC 5280 section 4.1.2.5).
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (0x30, whole, []) = element(certificate)? else { return None };
    let (0x30, mut rest, _) = element(whole)? else { return None };
    // The version is written only where it is not the first.
    if let (0xa0, _, after) = element(rest)? {
        rest = after;
    }
    // Serial number, algorithm, issuer.
    for wanted in [0x02, 0x30, 0x30] {
        let (tag, _, after) = element(rest)?;
        if tag != wanted {
            return None;
        }
        rest = after;
    }
    let (0x30, times, _) = element(rest)? else { return None };
    let (from, _, rest) = time(times)?;
    let (to, _, []) = time(rest)? else { return None };
    Some((from, to))
}

fn time(bytes: &[u8]) -> Option<(Timestamp, u8, &[u8])> {
    let (tag, text, rest) = element(bytes)?;
    let text = std::str::from_utf8(text).ok()?;
    // UTCTime has two digits for the year, up to 2049; GeneralizedTime has four.
    let whole = match (tag, text.len()) {
        (0x17, 13) => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        (0x18, 15) => text.to_owned(),
        _ => return None,
    };
    let at = DateTime::strptime("%Y%m%d%H%M%SZ", &whole).ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some((at.timestamp(), tag, rest))
}

/// The first element of some DER: tag, content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_is_good_in_its_time_and_at_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate.pem");
        let files = Tls { certificate: path.clone(), key: path.clone(), port: 443 };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!files.is_valid(at("2026-11-23T00:00:00Z")), "there is none");
        for (from, to) in [(2026, 2027), (2026, 2055), (2051, 2055)] {
            let mut wanted = rcgen::CertificateParams::new(["wifi.tirana.example".to_owned()]).unwrap();
            wanted.not_before = rcgen::date_time_ymd(from, 1, 2);
            wanted.not_after = rcgen::date_time_ymd(to, 3, 4);
            let certificate = wanted.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            std::fs::write(&path, certificate.pem()).unwrap();
            for (text, good) in [
                (format!("{from}-01-01T23:59:59Z"), false),
                (format!("{from}-01-02T00:00:00Z"), true),
                (format!("{to}-03-04T00:00:00Z"), true),
                (format!("{to}-03-04T00:00:01Z"), false),
            ] {
                assert_eq!(files.is_valid(at(&text)), good, "{text}");
            }
            let der = certificate.der().to_vec();
            for length in 0..der.len() {
                assert_eq!(validity(&der[..length]), None, "cut at {length}");
            }
        }
        std::fs::write(&path, "no certificate").unwrap();
        assert!(!files.is_valid(at("2026-11-23T00:00:00Z")));
    }
}
