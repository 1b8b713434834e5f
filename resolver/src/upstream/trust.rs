//! Whether an encrypted upstream is who it should be: by name and trust anchors, or by its key.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256};
use sheshi_policy::Moment;

use super::spec::{Identity, Trust};
use crate::{Clock, Error, Upstream};

/// 2026-11-01T00:00:00Z, in seconds of Unix time: when this was written. It is later now, whatever the clock says.
const WRITTEN: u64 = 1_793_491_200;

/// The system's trust anchors, read once for all upstreams.
#[derive(Default)]
pub(crate) struct Anchors(Option<Arc<RootCertStore>>);

impl Anchors {
    fn system(&mut self) -> Result<Arc<RootCertStore>, String> {
        if let Some(anchors) = &self.0 {
            return Ok(anchors.clone());
        }
        let mut store = RootCertStore::empty();
        // What cannot be read of them is not trusted; the rest is.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(
                "this system has no trust anchors; install ca-certificates, or name a file with ca= or a key with pin="
                    .into(),
            );
        }
        Ok(self.0.insert(Arc::new(store)).clone())
    }
}

/// How to speak TLS with an upstream, and as whom to know it.
pub(crate) fn config(
    upstream: &Upstream,
    identity: &Identity,
    protocols: &[&[u8]],
    anchors: &mut Anchors,
    clock: Clock,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), Error> {
    let failed = |why: String| Error::Upstream { upstream: upstream.to_string(), why };
    let provider = Arc::new(default_provider());
    let by = match &identity.trust {
        Trust::System => By::Anchors(verifier(anchors.system().map_err(failed)?, &provider).map_err(failed)?),
        Trust::File(path) => By::Anchors(verifier(Arc::new(file(path).map_err(failed)?), &provider).map_err(failed)?),
        Trust::Key(pin) => By::Key(*pin),
    };
    let name = ServerName::try_from(identity.name.clone()).map_err(|error| failed(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Known { by, provider, clock }))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // A resumed session is not verified again, and connections are kept anyway.
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), name))
}

fn file(path: &Path) -> Result<RootCertStore, String> {
    let told = |error: &dyn fmt::Display| format!("read the trust anchors in {}: {error}", path.display());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| told(&error))? {
        let certificate = certificate.map_err(|error| told(&error))?;
        store.add(certificate).map_err(|error| told(&error))?;
    }
    if store.is_empty() { Err(told(&"it holds no certificate")) } else { Ok(store) }
}

fn verifier(store: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let builder = WebPkiServerVerifier::builder_with_provider(store, provider.clone());
    builder.build().map_err(|error| error.to_string())
}

/// By what an upstream is known.
enum By {
    Anchors(Arc<WebPkiServerVerifier>),
    Key([u8; 32]),
}

/// Verifies an upstream's certificate.
struct Known {
    by: By,
    provider: Arc<CryptoProvider>,
    clock: Clock,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let anchors = match &self.by {
            By::Anchors(anchors) => anchors,
            By::Key(pin) => {
                let key = ParsedCertificate::try_from(leaf)?.subject_public_key_info();
                let same = Sha256::digest(&*key)[..] == pin[..];
                return if same {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(CertificateError::ApplicationVerificationFailure.into())
                };
            }
        };
        let verified = |at| anchors.verify_server_cert(leaf, chain, name, ocsp, UnixTime::since_unix_epoch(at));
        if let Moment::At(now) = (self.clock)() {
            return verified(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
        }
        // Nobody has set the clock. All we know is that it is later than this program: a certificate will do that is valid at any
        // moment since then, and one that had ended by then will not.
        let mut at = Duration::from_secs(WRITTEN);
        for _ in 0..=chain.len() {
            match verified(at) {
                Err(TlsError::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                    at = Duration::from_secs(not_before.as_secs());
                }
                result => return result,
            }
        }
        verified(at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
