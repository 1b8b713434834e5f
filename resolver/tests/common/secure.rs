//! Certificates, and clients for DNS over TLS and over HTTPS.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Bytes,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use sha2::{Digest, Sha256};
use sheshi_resolver::{Secure, Settings};
use tempfile::TempDir;

/// Our name in the certificates.
pub const OURS: &str = "dns.city.example";

/// A folder with a certificate authority and a certificate of ours.
pub struct Keys {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Keys {
    /// A certificate for [`OURS`] and loopback, good now.
    pub fn new() -> Self {
        Self::valid((2020, 2099))
    }

    /// The same, valid from the first of one year to the first of another.
    pub fn valid(years: (i32, i32)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let keys = Self { folder, issuer: Issuer::new(params, key) };
        keys.renew(years);
        keys
    }

    /// Puts another certificate into the files; gives the SHA-256 of its key.
    pub fn renew(&self, (from, until): (i32, i32)) -> [u8; 32] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![OURS.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.certificate(), certificate.pem()).unwrap();
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
        Sha256::digest(key.subject_public_key_info()).into()
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Adds encrypted listeners to what a resolver is started with.
    pub fn secure(&self, settings: Settings) -> Settings {
        let secure = Secure {
            tls: vec!["127.0.0.1:0".parse().unwrap()],
            https: vec!["127.0.0.1:0".parse().unwrap()],
            certificate: self.certificate(),
            key: self.key(),
            name: Some(OURS.into()),
        };
        Settings { secure: Some(secure), ..settings }
    }

    /// A client that trusts our authority.
    pub fn client(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// A connection for DNS over TLS.
    pub fn dot(&self, server: SocketAddr) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from(OURS).unwrap();
        let connection = ClientConnection::new(self.client(&[b"dot"]), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.flush()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// Asks over TLS.
    pub fn ask_dot(&self, server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.dot(server)?;
        ask_framed(&mut stream, query)
    }

    /// Asks over HTTPS: GET or POST, HTTP/2 or HTTP/1.1.
    pub fn ask_https(&self, server: SocketAddr, method: Method, http2: bool, query: &[u8]) -> Vec<u8> {
        let response = self.request(server, http2, dns_request(server, method, query));
        assert_eq!(response.status(), 200, "{}", String::from_utf8_lossy(response.body()));
        assert_eq!(response.headers()["content-type"], "application/dns-message");
        response.into_body().into()
    }

    /// Sends one request over HTTPS.
    pub fn request(&self, server: SocketAddr, http2: bool, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = self.client(if http2 { &[b"h2"] } else { &[b"http/1.1"] });
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(server).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(config);
            let stream = connector.connect(ServerName::try_from(OURS).unwrap(), stream).await.unwrap();
            let response = if http2 {
                let (mut sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            } else {
                let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            };
            let (head, body) = response.into_parts();
            Response::from_parts(head, body.collect().await.unwrap().to_bytes())
        })
    }
}

/// A request as RFC 8484 has it.
pub fn dns_request(server: SocketAddr, method: Method, query: &[u8]) -> Request<Full<Bytes>> {
    let host = format!("{OURS}:{}", server.port());
    let post = method == Method::POST;
    let path = if post { String::new() } else { format!("?dns={}", URL_SAFE_NO_PAD.encode(query)) };
    Request::builder()
        .method(method)
        .uri(format!("https://{host}/dns-query{path}"))
        .header("host", host)
        .header("content-type", "application/dns-message")
        .body(Full::new(Bytes::copy_from_slice(if post { query } else { &[] })))
        .unwrap()
}

pub fn ask_framed(stream: &mut (impl Read + Write), query: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat())?;
    stream.flush()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
