//! The dashboard as a whole: what is opened once and shared by all requests.

use std::{fs, future::Future, os::unix::fs::DirBuilderExt, sync::Arc};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Mutex, Semaphore},
};

use sheshi_protocol::signed;

use crate::{
    Error, Settings,
    audit::Deed,
    publish::{Places, Shelf},
    secret::{self},
    serve,
    store::{CodeUse, GatewayRow, State as Stand, Store},
};

/// Gives the time, in Unix seconds.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What all requests share.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) places: Places,
    pub(crate) shelf: Shelf,
    /// Held while a policy is compiled: one at a time.
    pub(crate) compiling: Mutex<()>,
    /// Passwords being hashed at once: each takes 19 MiB and a core.
    pub(crate) hashing: Semaphore,
    clock: Clock,
}

/// The city's server.
#[derive(Clone)]
pub struct Dashboard(pub(crate) Arc<App>);

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl App {
    pub(crate) fn now(&self) -> i64 {
        (self.clock)()
    }
}

/// A gateway as the console shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLine {
    /// What people call the place.
    pub site: String,
    /// `pending`, `approved`, `refused`, `quarantined` or `revoked`.
    pub state: &'static str,
    /// The key's fingerprint, in groups of four digits.
    pub fingerprint: String,
    /// Seconds since it was heard.
    pub heard: Option<i64>,
}

impl Dashboard {
    /// Opens the data folder, making it when missing.
    ///
    /// # Errors
    /// When a setting is unsafe, or the folder or its database cannot be used.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        Self::open_at(settings, Arc::new(|| jiff::Timestamp::now().as_second()))
    }

    pub(crate) fn open_at(settings: Settings, clock: Clock) -> Result<Self, Error> {
        settings.check()?;
        let data = &settings.data;
        // What is in it is nobody else's. A folder that is there already keeps its mode: it may be somebody else's, too.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.map_err(Error::file("making the folder", data))?;
        let store = Store::open(data)?;
        let places = Places::open(data, settings.lists.clone().unwrap_or_else(|| data.join("lists")))?;
        Ok(Self(Arc::new(App {
            settings,
            store,
            places,
            shelf: Shelf::default(),
            compiling: Mutex::new(()),
            hashing: Semaphore::new(2),
            clock,
        })))
    }

    /// A new one-time code for the first owner; `None` when there is an owner.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn owner_code(&self) -> Result<Option<String>, Error> {
        if self.0.store.has_owner().await? {
            return Ok(None);
        }
        let code = secret::code()?;
        self.0.store.add_code(secret::code_hash(&code), CodeUse::Owner, self.0.now(), None).await?;
        Ok(Some(code))
    }

    /// A new one-time code with which a person sets a password, made at the console; `None` when nobody has this name.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn password_code(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(account) = self.0.store.account_named(name).await? else { return Ok(None) };
        let code = secret::code()?;
        let deed = Deed::new("console", "code-made", account.name);
        self.0.store.add_code(secret::code_hash(&code), CodeUse::Account(account.id), self.0.now(), Some(deed)).await?;
        Ok(Some(code))
    }

    /// A one-time code with which a gateway claims its place, made at the console.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn claim_code(&self) -> Result<String, Error> {
        let code = secret::code()?;
        let deed = Deed::new("console", "claim-code-made", "fleet");
        self.0.store.add_code(secret::code_hash(&code), CodeUse::Claim, self.0.now(), Some(deed)).await?;
        Ok(code)
    }

    /// Every gateway: its site, how it stands, its fingerprint, and seconds since it was heard.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn gateways(&self) -> Result<Vec<GatewayLine>, Error> {
        let now = self.0.now();
        let rows = self.0.store.gateways().await?;
        let line = |row: GatewayRow| GatewayLine {
            fingerprint: signed::fingerprint(&row.key),
            site: row.site,
            state: row.state.name(),
            heard: row.seen_at.map(|then| now - then),
        };
        Ok(rows.into_iter().map(line).collect())
    }

    /// Lets a gateway in that waits, by its whole fingerprint, at the console; `false` when none with it waits.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn approve(&self, fingerprint: &str) -> Result<bool, Error> {
        let digits = |text: &str| text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase();
        let wanted = digits(fingerprint);
        let rows = self.0.store.gateways().await?;
        let waits = rows.into_iter().find(|row| {
            row.state == Stand::Pending && !wanted.is_empty() && digits(&signed::fingerprint(&row.key)) == wanted
        });
        let Some(row) = waits else { return Ok(false) };
        self.0.store.decide(row.id, (row.state, row.key), Stand::Approved, "console".into(), self.0.now()).await
    }

    /// Follows the audit log's chain: how many entries there are and the head, in hexadecimal.
    ///
    /// # Errors
    /// When the database cannot be read, or an entry does not fit the one before.
    pub async fn check_audit(&self) -> Result<(i64, String), Error> {
        let chain = self.0.store.audit_check().await?;
        match chain.broken {
            None => Ok((chain.count, hex::encode(chain.head))),
            Some(number) => Err(Error::Database {
                doing: "following the audit log",
                why: format!("entry {number} does not fit the one before: the log was changed from outside"),
            }),
        }
    }

    /// Serves until `shutdown`, then lets answers under way end.
    pub async fn serve(&self, listener: TcpListener, socket: Option<UnixListener>, shutdown: impl Future<Output = ()>) {
        self.0.places.clear();
        serve::serve(self.0.clone(), listener, socket, shutdown).await;
    }
}
