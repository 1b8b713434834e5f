//! Our own certificate: what DNS over TLS and over HTTPS are offered with, read again when its files change.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use crate::{Error, Secure};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What is spoken on a connection, as the handshake names it (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// DNS over TLS (RFC 7858).
    Dot,
    /// HTTP/2 or HTTP/1.1 (RFC 8484).
    Https,
}

/// The certificate in use.
pub(crate) struct Certificate {
    files: Secure,
    acceptors: ArcSwap<Acceptors>,
    changed: Mutex<Changed>,
    there: AtomicBool,
}

type Changed = [Option<SystemTime>; 2];

struct Acceptors {
    dot: TlsAcceptor,
    https: TlsAcceptor,
}

impl Certificate {
    pub(crate) fn load(files: &Secure) -> Result<Self, Error> {
        let changed = Mutex::new(changed(files));
        let acceptors = ArcSwap::from_pointee(acceptors(files)?);
        Ok(Self { files: files.clone(), acceptors, changed, there: AtomicBool::new(true) })
    }

    /// Whether both files are there: who takes them away wants encrypted DNS to end.
    pub(crate) fn is_there(&self) -> bool {
        self.there.load(Relaxed)
    }

    /// Shakes hands, with the newest certificate that could be read; `None` for who cannot or is too slow.
    pub(crate) async fn greet(&self, stream: TcpStream, protocol: Protocol) -> Option<TlsStream<TcpStream>> {
        if !self.is_there() {
            return None;
        }
        let acceptor = match protocol {
            Protocol::Dot => self.acceptors.load().dot.clone(),
            Protocol::Https => self.acceptors.load().https.clone(),
        };
        timeout(HANDSHAKE, acceptor.accept(stream)).await.ok()?.ok()
    }

    /// Looks after the files for as long as the resolver runs.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let now = changed(&self.files);
        let there = now.iter().all(Option::is_some);
        if self.there.swap(there, Relaxed) && !there {
            warn!(
                "encrypted DNS is off: {} or {} is gone; put both back",
                self.files.certificate.display(),
                self.files.key.display()
            );
        }
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if !there || now == *changed {
            return;
        }
        match acceptors(&self.files) {
            Ok(acceptors) => {
                self.acceptors.store(Arc::new(acceptors));
                *changed = now;
                info!("the certificate of encrypted DNS was renewed");
            }
            // Perhaps one of two files is written and the other is not yet: looked at again.
            Err(error) => warn!("keeping the certificate in use: {error}"),
        }
    }
}

fn changed(files: &Secure) -> Changed {
    [&files.certificate, &files.key].map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

fn acceptors(files: &Secure) -> Result<Acceptors, Error> {
    Ok(Acceptors {
        dot: TlsAcceptor::from(config(files, &[b"dot"])?),
        https: TlsAcceptor::from(config(files, &[b"h2", b"http/1.1"])?),
    })
}

/// Shown whatever name a client names or none: clients of DNS know our address before our name.
fn config(files: &Secure, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
    fn failed<E: ToString>(path: &Path) -> impl Fn(E) -> Error {
        move |error| Error::Certificate { path: path.to_owned(), why: error.to_string() }
    }
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed(&files.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed(&files.certificate))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(failed(&files.certificate))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}
