//! The database: the room's one folder with SQL. One connection, one writer; every change and its entry in the audit log
//! are one transaction, on the disk before anybody is told.

mod accounts;
mod audit;
mod gateways;
mod migrate;
mod policies;
mod sessions;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{Error, audit::Deed};

pub(crate) use accounts::{Account, CodeUse};
pub(crate) use gateways::{Claim, GatewayRow, HourRow, Presented, State};
pub(crate) use policies::{Draft, GenerationRow};
pub(crate) use sessions::Session;

/// The database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// What a piece of work in the database gives.
type Result<T> = rusqlite::Result<T>;

impl Store {
    /// Opens the database of a data folder, making or migrating it as needed.
    pub(crate) fn open(folder: &Path) -> std::result::Result<Self, Error> {
        let path = folder.join("dashboard.sqlite");
        let failed =
            |why: rusqlite::Error| Error::Database { doing: "opening tables", why: format!("{path:?}: {why}") };
        let mut connection = Connection::open(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(Error::file("setting the mode of", &path))?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        // FULL: what was answered has reached the disk. secure_delete: what is deleted is overwritten.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; \
                 PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
            )
            .map_err(failed)?;
        migrate::migrate(&mut connection)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs a piece of work on a thread that may wait for the disk.
    async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        let connection = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A transaction that a panic cut short was rolled back when it was dropped.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        match done.await {
            Ok(result) => result.map_err(|error| Error::Database { doing, why: error.to_string() }),
            Err(error) => Err(Error::Database { doing, why: error.to_string() }),
        }
    }

    /// The same in one transaction, which takes place as a whole or not at all.
    async fn change<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        self.run(doing, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> std::result::Result<(), Error> {
        self.run("asking for a sign of life", |connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await
    }

    /// Enters a deed that changes nothing else.
    pub(crate) async fn note(&self, at: i64, deed: Deed) -> std::result::Result<(), Error> {
        self.change("entering the audit log", move |transaction| audit::enter(transaction, at, &deed)).await
    }

    /// Runs SQL that a test needs.
    #[cfg(test)]
    pub(crate) fn execute(&self, sql: &str) {
        self.0.lock().unwrap().execute_batch(sql).unwrap();
    }
}
