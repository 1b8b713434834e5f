//! What a resolver is started with.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use arc_swap::ArcSwap;
use sheshi_policy::Directory;

use crate::{Garden, Secure, Upstream, limits::Rate, novelty::NewNames};

/// What a resolver is started with. `Default` listens nowhere and has no upstream; everything else in it is meant to be used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where admitted clients are served, over UDP and TCP. Addresses need not exist yet.
    pub listen: Vec<SocketAddr>,
    /// Where strangers are served: every name is the portal, nothing goes upstream.
    pub stranger_listen: Vec<SocketAddr>,
    /// Where admitted clients are served over TLS and HTTPS, if anywhere.
    pub secure: Option<Secure>,
    /// Resolvers to forward to, the first one preferred: all of them plain, or all of them encrypted.
    pub upstreams: Vec<Upstream>,
    /// UDP threads for each listening address, and threads of the slow path.
    pub threads: usize,
    /// Most bytes that the cache may take.
    pub cache_bytes: usize,
    /// The portal's addresses on the guests' side.
    pub portal: PortalAddresses,
    /// The portal's own name, which resolves to these addresses for everybody.
    pub portal_name: Option<String>,
    /// More addresses of this gateway, to which no public name may lead.
    pub own_addresses: Vec<IpAddr>,
    /// Names that may lead to private addresses, with everything below them.
    pub private_names: Vec<String>,
    /// How to object to a block: URIs for the block answer's structured text (`mailto:`, `https:`, `tel:`).
    pub contact: Vec<String>,
    /// Who filters, for the same text.
    pub organisation: String,
    /// Names that strangers resolve before they are admitted.
    pub garden: Garden,
    /// Whether to ask now and then for the safe modes of search engines, and to block engines whose safe mode does not exist.
    pub check_search_targets: bool,
    /// What clients may use up.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            stranger_listen: Vec::new(),
            secure: None,
            upstreams: Vec::new(),
            threads: 1,
            cache_bytes: 16 << 20,
            portal: PortalAddresses::default(),
            portal_name: None,
            own_addresses: Vec::new(),
            private_names: Vec::new(),
            contact: Vec::new(),
            organisation: String::new(),
            garden: Garden::default(),
            check_search_targets: true,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Refuses what could not work, before any socket is opened.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.listen.is_empty() && self.stranger_listen.is_empty() {
            return Err(Error::NoListener);
        }
        if self.upstreams.is_empty() && !self.listen.is_empty() {
            return Err(Error::NoUpstream);
        }
        // Whoever can cut the encrypted ones off would else have everything in the clear.
        if let (Some(plain), Some(encrypted)) = (
            self.upstreams.iter().find(|upstream| !upstream.is_encrypted()),
            self.upstreams.iter().find(|upstream| upstream.is_encrypted()),
        ) {
            return Err(Error::Mixed { plain: plain.to_string(), encrypted: encrypted.to_string() });
        }
        let secure = self.secure.iter().flat_map(|secure| secure.tls.iter().chain(&secure.https));
        let ours = self.listen.iter().chain(&self.stranger_listen).chain(secure);
        for (listen, upstream) in ours.flat_map(|listen| self.upstreams.iter().map(move |upstream| (listen, upstream)))
        {
            let wildcard = listen.ip().is_unspecified() && upstream.address.ip().is_loopback();
            if listen.port() == upstream.address.port() && (listen.ip() == upstream.address.ip() || wildcard) {
                return Err(Error::Loop(upstream.address));
            }
        }
        Ok(())
    }
}

/// The portal's addresses on the guests' side. Without one of a family, names have no data of that family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortalAddresses {
    /// Answers A.
    pub v4: Option<Ipv4Addr>,
    /// Answers AAAA.
    pub v6: Option<Ipv6Addr>,
}

/// What clients may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Queries a second for each address; `None` for no limit, as behind a proxy or in a benchmark.
    pub rate: Option<Rate>,
    /// Names that nobody has asked for lately, for each client; `None` for no limit.
    pub new_names: Option<NewNames>,
    /// Queries that wait for upstreams, in total. Each may hold two sockets, so the process needs as many open files.
    pub waiting: usize,
    /// The same for each client.
    pub waiting_per_client: usize,
    /// TCP connections in total.
    pub connections: usize,
    /// The same for each address.
    pub connections_per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: Some(Rate { per_second: 100, burst: 300 }),
            new_names: Some(NewNames { per_minute: 60 }),
            waiting: 1024,
            waiting_per_client: 100,
            connections: 512,
            connections_per_client: 20,
        }
    }
}

impl Limits {
    /// No limit for a single client, for a resolver that is tried out or measured.
    pub fn single_client() -> Self {
        Self { rate: None, new_names: None, waiting_per_client: 4096, connections_per_client: 512, ..Self::default() }
    }
}

/// Who may ask, and which group they belong to.
#[derive(Debug, Clone)]
pub enum Clients {
    /// Admitted clients; everybody else is a stranger.
    Directory(Arc<ArcSwap<Directory>>),
    /// Everybody, as `sheshi resolve` serves them.
    Everyone {
        /// The group whose policy holds; `None` goes by the groups' networks, else the group for guests.
        group: Option<String>,
    },
}

/// Why the resolver did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to listen on.
    #[error("starting the resolver: there is no address to listen on; want at least one, such as 127.0.0.1:53")]
    NoListener,
    /// Nothing to forward to.
    #[error("starting the resolver: there is no upstream to forward to; want at least one address, such as 9.9.9.9:53")]
    NoUpstream,
    /// An upstream that is ourselves.
    #[error("starting the resolver: upstream {0} is this resolver itself; want another server")]
    Loop(SocketAddr),
    /// A socket could not be opened.
    #[error("listening on {address} over {protocol}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A setting that should be a name is none.
    #[error(
        "starting the resolver: {0:?} is not a domain name; want labels of 1 to 63 ASCII characters, such as portal.example"
    )]
    Name(String),
    /// A name that we need ourselves could not be looked up.
    #[error("no upstream answers")]
    Silent,
    /// Plain and encrypted upstreams together.
    #[error(
        "starting the resolver: upstream {encrypted} is encrypted and {plain} is not, so that cutting off the one would lay bare what is asked; want one kind"
    )]
    Mixed {
        /// One that is not encrypted.
        plain: String,
        /// One that is.
        encrypted: String,
    },
    /// An upstream cannot be known by what was given.
    #[error("starting the resolver: upstream {upstream}: {why}")]
    Upstream {
        /// The upstream.
        upstream: String,
        /// Why.
        why: String,
    },
    /// The certificate of encrypted DNS cannot be used.
    #[error(
        "reading the certificate of encrypted DNS: {path}: {why}; want a PEM file with the certificate and its chain, and one with its key"
    )]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No thread to be had.
    #[error("starting a thread of the resolver: {0}")]
    Thread(io::Error),
}
