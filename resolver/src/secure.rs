//! The encrypted listeners, as they are asked for and as they stand.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    Error,
    certificate::Certificate,
    designation::Designation,
    limits::Places,
    pipeline::Door,
    server::{Shared, listen},
    tcp::{self, Carrier},
    wire::Name,
};

/// Where and with what DNS is offered encrypted. Only admitted clients are served; everybody else is a stranger here as elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secure {
    /// Where DNS over TLS (RFC 7858) is served.
    pub tls: Vec<SocketAddr>,
    /// Where DNS over HTTPS (RFC 8484) is served, at `/dns-query`.
    pub https: Vec<SocketAddr>,
    /// The certificate with its chain, a PEM file; read again when it changes.
    pub certificate: PathBuf,
    /// Its key, a PEM file.
    pub key: PathBuf,
    /// Our name in the certificate. With one, clients are told of these listeners (RFC 9462), and the name leads to the portal's
    /// addresses.
    pub name: Option<String>,
}

/// The encrypted listeners, opened.
pub(crate) struct Encrypted {
    pub(crate) tls: Vec<TcpListener>,
    pub(crate) https: Vec<TcpListener>,
    certificate: Arc<Certificate>,
    name: Option<Name>,
}

impl Encrypted {
    pub(crate) fn open(settings: &Secure) -> Result<Self, Error> {
        let certificate = Arc::new(Certificate::load(settings)?);
        let open = |addresses: &[SocketAddr], protocol| -> Result<Vec<_>, Error> {
            let failed = |address| move |source: io::Error| Error::Listen { address, protocol, source };
            addresses.iter().map(|address| listen(*address).map_err(failed(*address))).collect()
        };
        let name = |text: &String| Name::from_text(text).ok_or_else(|| Error::Name(text.clone()));
        Ok(Self {
            tls: open(&settings.tls, "TLS")?,
            https: open(&settings.https, "HTTPS")?,
            certificate,
            name: settings.name.as_ref().map(name).transpose()?,
        })
    }

    /// With the ports that were found when 0 was asked for.
    pub(crate) fn addresses(&self, listeners: &[TcpListener]) -> Vec<SocketAddr> {
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    pub(crate) fn designation(&self) -> Option<Designation> {
        let (tls, https) = (self.addresses(&self.tls), self.addresses(&self.https));
        Designation::new(self.name?, &tls, &https, self.certificate.clone())
    }

    /// Serves until the runtime ends.
    pub(crate) fn serve(
        self,
        shared: &Arc<Shared>,
        places: &Places<IpAddr>,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(), Error> {
        let _inside = runtime.enter();
        runtime.spawn(self.certificate.clone().watch());
        let tls = self.tls.into_iter().map(|listener| (listener, Carrier::Tls(self.certificate.clone())));
        let https = self.https.into_iter().map(|listener| (listener, Carrier::Https(self.certificate.clone())));
        for (listener, carrier) in tls.chain(https) {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::Thread)?;
            runtime.spawn(tcp::serve(shared.clone(), listener, Door::Guests, places.clone(), carrier));
        }
        Ok(())
    }
}
