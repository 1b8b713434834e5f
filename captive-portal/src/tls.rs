//! The portal's certificate, read again when its files change.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::ResolvesServerCertUsingSni,
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{Error, Tls};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Certificate {
    /// The portal's name: for no other one is it shown.
    name: String,
    files: Tls,
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    changed: [Option<SystemTime>; 2],
    looked: Instant,
}

impl Certificate {
    pub(crate) fn load(files: &Tls, name: &str) -> Result<Self, Error> {
        let state = State { changed: changed(files), config: config(files, name)?, looked: Instant::now() };
        Ok(Self { name: name.to_owned(), files: files.clone(), state: Mutex::new(state) })
    }

    /// Accepts with the newest certificate that could be read.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        TlsAcceptor::from(state.config.clone())
    }

    fn look(&self, state: &mut State) {
        let now = changed(&self.files);
        if now != state.changed {
            match config(&self.files, &self.name) {
                Ok(config) => {
                    state.config = config;
                    state.changed = now;
                    tracing::info!("the portal's certificate was renewed");
                }
                // Perhaps one of two files is written and the other is not yet: looked at again.
                Err(error) => tracing::warn!("keeping the certificate in use: {error}"),
            }
        }
    }
}

fn changed(files: &Tls) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

/// Strangers' names all lead to the portal, so browsers come here that want somebody else. They get a refusal at once and never a
/// certificate: HTTPS is not intercepted, not even by mistake.
fn config(files: &Tls, name: &str) -> Result<Arc<ServerConfig>, Error> {
    fn failed<E: ToString>(path: &Path) -> impl Fn(E) -> Error {
        move |error| Error::Certificate { path: path.to_owned(), why: error.to_string() }
    }
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed(&files.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = CertifiedKey::from_der(chain, key, &provider).map_err(failed(&files.certificate))?;
    let mut only = ResolvesServerCertUsingSni::new();
    only.add(name, key).map_err(failed(&files.certificate))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed(&files.certificate))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(only));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
