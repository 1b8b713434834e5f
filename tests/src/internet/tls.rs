//! Certificates of the lab's internet: one authority, and for every name that is asked for one certificate, made then.

use std::{
    collections::HashMap,
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::error::{Doing, LabError};

/// The name of a server whose client named none.
const NAMELESS: &str = "nameless.example";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(name) {
            return Some(known.clone());
        }
        let key = KeyPair::generate().ok()?;
        let certificate = CertificateParams::new([name.to_owned()]).ok()?.signed_by(&key, &self.issuer).ok()?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let secret = ring::sign::any_supported_type(&secret).ok()?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let certified = Arc::new(CertifiedKey::new(chain, secret));
        made.insert(name.to_owned(), certified.clone());
        Some(certified)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(hello.server_name().unwrap_or(NAMELESS))
    }
}

/// Accepts TLS for any name; the authority's certificate is written to `authority`.
pub(crate) fn acceptor(authority: &Path) -> Result<TlsAcceptor, LabError> {
    let other = std::io::Error::other::<rcgen::Error>;
    let doing = || "making the certificate authority of the internet".to_owned();
    let key = KeyPair::generate().map_err(other).doing(doing)?;
    let mut params = CertificateParams::new(["lab authority".to_owned()]).map_err(other).doing(doing)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).map_err(other).doing(doing)?;
    fs::write(authority, certificate.pem()).doing(|| format!("writing {}", authority.display()))?;
    let authority = Authority { issuer: Issuer::new(params, key), made: Mutex::default() };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)
        .doing(doing)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(authority));
    Ok(TlsAcceptor::from(Arc::new(config)))
}
