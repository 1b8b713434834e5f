//! The gateway's calls to the city's dashboard (docs/dashboard-protocol.md): it claims its place and reports once a minute.
//! It works as well without: what fails here is told in the status, and changes nothing that is in force.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};
use sheshi_lists::LookUp;
use sheshi_protocol::{
    client::{Caller, ClientError},
    message::{self, ListInForce, PolicyInForce, Report, Service},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    config,
    evidence_log::{self, EvidenceError},
    generations::{self, BuildError},
    plan::Trouble,
    status::{self, ListLine, Status},
};

/// How often the dashboard hears from us.
pub const EVERY: Duration = Duration::from_secs(60);
/// For a connection to stand.
const CONNECT: Duration = Duration::from_secs(15);
/// How many numbers are written ahead: a gateway that dies uses none twice, and writes to its disk once in sixteen hours.
const AHEAD: u64 = 1000;

/// Why the city cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum CityError {
    /// The configuration names no dashboard.
    #[error(
        "the configuration names no dashboard\nfix: write [city] with dashboard = \"https://…\" and restart the gateway"
    )]
    NoCity,
    /// What is kept of it cannot be read or written.
    #[error("{doing} {path}: {source}")]
    File {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Our key is not to be had.
    #[error(transparent)]
    Key(#[from] EvidenceError),
    /// It cannot be written as a whole.
    #[error(transparent)]
    Write(#[from] BuildError),
    /// It cannot be reached.
    #[error("reach {host}: {why}")]
    Unreached {
        /// The dashboard.
        host: String,
        /// Why.
        why: String,
    },
    /// It was asked, and failed or refused.
    #[error(transparent)]
    Asked(#[from] ClientError),
}

/// How we stand with the city; kept over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The code that the place was claimed with.
    code: String,
    /// What the dashboard last said: `pending`, `approved` …; empty before it was asked.
    state: String,
    /// No sequence above this one has been used.
    reserved: u64,
}

/// How we stand with the city, for the status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CityStatus {
    /// The dashboard.
    pub dashboard: String,
    /// `unclaimed`, `pending`, `approved`, `refused`, `quarantined` or `revoked`.
    pub state: String,
    /// Our key's fingerprint, which an operator compares before approving.
    pub fingerprint: String,
    /// Seconds since the dashboard last took a report.
    pub heard: Option<u64>,
}

/// The calling end.
pub struct City {
    settings: config::City,
    site: String,
    path: PathBuf,
    look_up: LookUp,
    tls: TlsConnector,
    fingerprint: String,
    /// One call at a time: each request has the next sequence.
    caller: tokio::sync::Mutex<Caller>,
    kept: Mutex<Kept>,
    heard: Mutex<Option<Instant>>,
}

fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CityError + 'a {
    move |source| CityError::File { doing, path: path.into(), source }
}

impl City {
    /// Takes up what is kept below the gateway's state, and makes a key when there is none.
    pub fn open(config: &config::Config, settings: config::City, look_up: LookUp) -> Result<Self, CityError> {
        let folder = config.state.join("city");
        fs::create_dir_all(&folder).map_err(file("make the folder", &folder))?;
        // The key that signs our evidence: a gateway has one name.
        let key = evidence_log::own_key(&config.state)?;
        let path = folder.join("standing.json");
        let kept: Kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from).map_err(file("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(file("read", &path)(error)),
        };
        let caller = Caller::new(key, boot()?, kept.reserved, &settings.authority());
        Ok(Self {
            tls: connector(settings.authorities.as_deref())?,
            fingerprint: caller.fingerprint(),
            site: config.site.clone(),
            caller: tokio::sync::Mutex::new(caller),
            kept: Mutex::new(kept),
            heard: Mutex::default(),
            settings,
            path,
            look_up,
        })
    }

    fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps it on disk first: what is not written has not happened.
    fn keep(&self, change: impl FnOnce(&mut Kept)) -> Result<(), CityError> {
        let mut kept = self.kept();
        change(&mut kept);
        if kept != self.kept() {
            generations::replace(&self.path, &serde_json::to_vec(&kept).unwrap_or_default())?;
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        }
        Ok(())
    }

    /// How we stand.
    pub fn status(&self) -> CityStatus {
        let state = self.kept().state;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).map(|then| then.elapsed().as_secs());
        CityStatus {
            dashboard: self.settings.url(),
            state: if state.is_empty() { "unclaimed".into() } else { state },
            fingerprint: self.fingerprint.clone(),
            heard,
        }
    }

    /// Claims our place with a code that an operator made.
    ///
    /// # Errors
    /// When the dashboard cannot be reached, or refuses; the code is not kept then.
    pub async fn claim(&self, code: &str) -> Result<CityStatus, CityError> {
        let mut caller = self.caller.lock().await;
        let stream = self.connect(&caller).await?;
        let standing = caller.claim(stream, &self.site, code).await?;
        self.keep(|kept| (kept.code, kept.state) = (code.to_owned(), standing.state))?;
        Ok(self.status())
    }

    /// Reports, or asks how the claim stands when it is not approved yet. Nothing to do before the place is claimed.
    ///
    /// # Errors
    /// When the dashboard cannot be reached, or refuses.
    pub async fn round(&self, report: &Report) -> Result<(), CityError> {
        let kept = self.kept();
        if kept.code.is_empty() {
            return Ok(());
        }
        let mut caller = self.caller.lock().await;
        if kept.state != "approved" {
            let stream = self.connect(&caller).await?;
            let standing = caller.claim(stream, &self.site, &kept.code).await?;
            let approved = standing.state == "approved";
            self.keep(|kept| kept.state = standing.state)?;
            if !approved {
                return Ok(());
            }
        }
        let stream = self.connect(&caller).await?;
        match caller.report(stream, report).await {
            Ok(()) => {
                *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                Ok(())
            }
            Err(ClientError::Refused { status, refusal }) => {
                // What the dashboard makes of us now is worth knowing: it does not change back by asking.
                if ["pending", "quarantined", "revoked"].contains(&refusal.error.as_str()) {
                    self.keep(|kept| kept.state.clone_from(&refusal.error))?;
                }
                Err(ClientError::Refused { status, refusal }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What to say about it, when something is wrong.
    pub fn trouble(&self, error: Option<&CityError>) -> Option<Trouble> {
        let state = self.kept().state;
        let fix = match state.as_str() {
            "" => "make a code on the dashboard's page Fleet, then run `sheshi join CODE`",
            "pending" => "an operator compares the fingerprint on the dashboard's page Fleet, and approves",
            "quarantined" | "revoked" | "refused" => {
                "revoke this gateway in the dashboard, move the folders `city` and `evidence` below its state away (the key is in one, its numbers in the other), restart it and join again"
            }
            _ => "see that the dashboard can be reached from here; nothing else waits for it",
        };
        match (error, state.as_str()) {
            (Some(error), _) => Some(Trouble::new(format!("the dashboard was not told: {error}"), fix)),
            (None, "approved") => None,
            (None, "") => Some(Trouble::new("this gateway has not joined the city's dashboard", fix)),
            (None, other) => Some(Trouble::new(format!("the dashboard says of this gateway: {other}"), fix)),
        }
    }

    /// A connection for the next request, whose number is written down first.
    async fn connect(&self, caller: &Caller) -> Result<TlsStream<TcpStream>, CityError> {
        if caller.sequence() + 1 > self.kept().reserved {
            self.keep(|kept| kept.reserved = caller.sequence() + AHEAD)?;
        }
        let unreached = |why: String| CityError::Unreached { host: self.settings.authority(), why };
        let reach = async {
            let addresses = match self.settings.host.parse() {
                Ok(address) => vec![address],
                Err(_) => (self.look_up)(self.settings.host.clone()).await?,
            };
            let mut last = "the name has no address".to_owned();
            for address in addresses {
                match TcpStream::connect((address, self.settings.port)).await {
                    Ok(stream) => {
                        let name =
                            ServerName::try_from(self.settings.host.clone()).map_err(|error| error.to_string())?;
                        return self.tls.connect(name, stream).await.map_err(|error| error.to_string());
                    }
                    Err(error) => last = error.to_string(),
                }
            }
            Err(last)
        };
        tokio::time::timeout(CONNECT, reach)
            .await
            .map_err(|_| unreached("it does not answer".into()))?
            .map_err(unreached)
    }
}

/// What the dashboard is told: states and counts, nothing that names a device or a domain.
pub fn report(status: &Status) -> Report {
    let mut counts = std::collections::BTreeMap::new();
    for (figures, names) in [
        (&status.portal, &["sessions", "admitted"][..]),
        (&status.dns, &["queries", "allowed", "blocked", "stranger", "cache_hits", "cache_misses", "failed"][..]),
    ] {
        counts.extend(names.iter().filter_map(|name| Some(((*name).to_owned(), figures[*name].as_u64()?))));
    }
    let list = |list: &ListLine| ListInForce {
        name: list.name.clone(),
        category: list.category.clone(),
        edition: list.edition.clone(),
        entries: list.entries.into(),
        refused: list.refused.into(),
    };
    Report {
        site: status.site.clone(),
        version: status.version.clone(),
        running: status.running,
        service: match status.service {
            status::Service::Open => Service::Open,
            status::Service::Closed => Service::Closed,
        },
        troubles: status
            .troubles
            .iter()
            // As many as the dashboard takes: one too many must not keep the report away.
            .take(50)
            .map(|trouble| message::Trouble { what: message::line(&trouble.what), fix: message::line(&trouble.fix) })
            .collect(),
        policy: status.policy.as_ref().map(|policy| PolicyInForce {
            generation: policy.generation,
            digest: policy.digest.clone(),
            lists: policy.lists.iter().map(list).collect(),
        }),
        counts,
    }
}

/// The boot id that the kernel drew, without its dashes.
fn boot() -> Result<[u8; 16], CityError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let digits = text.trim().replace('-', "");
    let boot = u128::from_str_radix(&digits, 16).map_err(io::Error::other).map_err(file("read", path))?;
    Ok(boot.to_be_bytes())
}

/// Whom to believe that it is the dashboard: the authorities of a file, or those of the system.
fn connector(authorities: Option<&Path>) -> Result<TlsConnector, CityError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
            let found = read().map_err(io::Error::other).map_err(file("read", path))?;
            for certificate in found {
                roots.add(certificate).map_err(io::Error::other).map_err(file("read", path))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
