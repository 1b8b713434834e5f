//! Telling clients that the same resolver speaks encrypted, too (RFC 9462): `_dns.resolver.arpa` designates ourselves and nobody
//! else, and only while there is a certificate to speak with.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    certificate::Certificate,
    https::PATH,
    wire::{Name, Query, rtype},
};

/// The name at which clients ask for designated resolvers.
const ASKED: &str = "_dns.resolver.arpa";

/// What is designated.
pub(crate) struct Designation {
    asked: Name,
    /// Our name in the certificate.
    pub(crate) name: Name,
    /// SVCB data, in order of preference.
    services: Vec<Vec<u8>>,
    certificate: Arc<Certificate>,
}

impl Designation {
    /// `None` when there is nothing to designate.
    pub(crate) fn new(
        name: Name,
        tls: &[SocketAddr],
        https: &[SocketAddr],
        certificate: Arc<Certificate>,
    ) -> Option<Self> {
        let asked = Name::from_text(ASKED)?;
        let dot = service(1, &name, "dot", tls, None);
        let doh = service(2, &name, "h2", https, Some(PATH));
        let services: Vec<_> = dot.into_iter().chain(doh).collect();
        (!services.is_empty()).then_some(Self { asked, name, services, certificate })
    }

    /// What answers `query`, when that asks for it and there is a certificate.
    pub(crate) fn answer(&self, query: &Query<'_>) -> Option<&[Vec<u8>]> {
        let asks = query.question.qtype == rtype::SVCB && *query.question.name == self.asked;
        (asks && self.certificate.is_there()).then_some(&self.services)
    }
}

/// SVCB data (RFC 9460 section 2.2, RFC 9461) of the listeners at `addresses` that share the first one's port.
fn service(priority: u16, name: &Name, alpn: &str, addresses: &[SocketAddr], path: Option<&str>) -> Option<Vec<u8>> {
    let port = addresses.first()?.port();
    // Hints save a question, and tie the encrypted resolver to the address of the plain one (RFC 9462 section 4.3).
    let hints = || addresses.iter().filter(|address| address.port() == port && !address.ip().is_unspecified());
    let v4 = hints().filter_map(|hint| if let IpAddr::V4(v4) = hint.ip() { Some(v4.octets()) } else { None });
    let v6 = hints().filter_map(|hint| if let IpAddr::V6(v6) = hint.ip() { Some(v6.octets()) } else { None });
    let path = path.map(|path| format!("{path}{{?dns}}").into_bytes());
    let parameters = [
        (1u16, [&[alpn.len() as u8], alpn.as_bytes()].concat()),
        (3, port.to_be_bytes().to_vec()),
        (4, v4.flatten().collect()),
        (6, v6.flatten().collect()),
        (7, path.unwrap_or_default()),
    ];
    let mut data = [&priority.to_be_bytes(), name.as_bytes()].concat();
    for (key, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        data.extend_from_slice(&key.to_be_bytes());
        data.extend_from_slice(&(value.len() as u16).to_be_bytes());
        data.extend_from_slice(value);
    }
    Some(data)
}
