//! A real HTTPS server on loopback that says what a test tells it to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What the server says to a request.
#[derive(Clone)]
pub(crate) struct Reply {
    /// Head and body, octet by octet.
    pub(crate) bytes: Vec<u8>,
    /// How the connection goes on.
    pub(crate) then: Then,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    /// Ends as TLS wants it.
    Close,
    /// Breaks off, as when somebody cuts the connection.
    Cut,
    /// Stays open and silent.
    Silence,
    /// Sends one more octet every so many milliseconds, for ever.
    Trickle(u64),
}

pub(crate) fn ok(headers: &str, body: impl AsRef<[u8]>) -> Reply {
    reply(200, &format!("Content-Length: {}\r\n{headers}", body.as_ref().len()), body)
}

pub(crate) fn reply(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}\r\n");
    Reply { bytes: [head.as_bytes(), body.as_ref()].concat(), then: Then::Close }
}

pub(crate) fn redirect(to: &str) -> Reply {
    reply(302, &format!("Location: {to}\r\nContent-Length: 0\r\n"), "")
}

/// The server. It answers each path with what was last set for it, else with 404.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// The authority that has signed its certificate.
    pub(crate) authority: Vec<u8>,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    replies: Mutex<HashMap<String, Reply>>,
    heads: Mutex<Vec<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// On this address, with a certificate for the names `lists.example` and `inside.example`.
    pub(crate) async fn start(address: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::from_params(&params, &key);
        let names = ["lists.example", "inside.example", address].map(str::to_owned);
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move { drop(serve(stream, acceptor, state).await) });
            }
        });
        Self { port, authority: authority.der().to_vec(), state, accepting }
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.state.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// The heads of the requests so far; forgets them.
    pub(crate) fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.state.heads.lock().unwrap())
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    state.heads.lock().unwrap().push(head);
    let said = state.replies.lock().unwrap().get(&path).cloned();
    let said = said.unwrap_or_else(|| reply(404, "Content-Length: 0\r\n", ""));
    stream.write_all(&said.bytes).await?;
    stream.flush().await?;
    match said.then {
        Then::Close => stream.shutdown().await?,
        Then::Cut => {}
        Then::Silence => drop(stream.read_u8().await),
        Then::Trickle(pause) => loop {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            stream.write_all(b"a").await?;
            stream.flush().await?;
        },
    }
    Ok(())
}
