//! The room's one file with SQL: sessions under a pseudonym, and records of consent.
//!
//! One thread owns the connection. What arrives while it writes is written together, in one transaction: many guests
//! accept at once and a disk syncs slowly. It answers only after the commit has reached the disk.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, Transaction, params};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, keys::Hash};

/// Writes waiting at most; a guest beyond that is told to try again.
const QUEUE: usize = 1024;
/// Writes in one transaction at most.
const BATCH: usize = 128;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS session (
        pseudonym   BLOB PRIMARY KEY CHECK (length(pseudonym) = 32),
        client_group TEXT NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE IF NOT EXISTS terms (
        hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
        language    TEXT NOT NULL,
        content     TEXT NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE IF NOT EXISTS consent (
        pseudonym   BLOB NOT NULL CHECK (length(pseudonym) = 32),
        terms       BLOB NOT NULL REFERENCES terms (hash),
        accepted_at INTEGER,             -- Unix seconds; NULL when the clock was not set
        kept_until  INTEGER,             -- Unix seconds; NULL until the clock is set
        PRIMARY KEY (pseudonym, terms)   -- in the order of pseudonyms, so that no order links a record to a session
    ) WITHOUT ROWID, STRICT;
";

/// A record that somebody accepted a text. It leads to no device once its day is over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Consent {
    /// Who, in hexadecimal: a hash with a salt that is thrown away daily.
    pub pseudonym: String,
    /// SHA-256 of the text, in hexadecimal.
    pub terms: String,
    /// The language of the text.
    pub language: String,
    /// When, in seconds of Unix time; nothing where the gateway's clock was not set.
    pub accepted_at: Option<i64>,
}

/// What is written when a guest is admitted.
pub(crate) struct Admission {
    pub(crate) pseudonym: Hash,
    pub(crate) group: Box<str>,
    pub(crate) consent: Hash,
    pub(crate) terms: Hash,
    pub(crate) language: &'static str,
    pub(crate) text: String,
    pub(crate) accepted_at: Option<i64>,
}

/// A session: pseudonym and group.
pub(crate) type Row = (Hash, Box<str>);

enum Write {
    Admit(Box<Admission>),
    Close(Hash),
    /// Deletes what is older than the days that consent is kept.
    Purge {
        now: i64,
        keep_days: u16,
    },
}

enum Task {
    Write(Write, oneshot::Sender<Result<(), Error>>),
    Sessions(oneshot::Sender<Result<Vec<Row>, Error>>),
    Consents(oneshot::Sender<Result<Vec<Consent>, Error>>),
}

/// The database. Its thread ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Store {
    tasks: mpsc::Sender<Task>,
    path: PathBuf,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let (tasks, queue) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("portal-store".into())
            .spawn(move || file.work(queue))
            .map_err(|source| Error::File { doing: "starting the thread of", path: path.to_owned(), source })?;
        Ok(Self { tasks, path: path.to_owned() })
    }

    pub(crate) async fn admit(&self, admission: Admission) -> Result<(), Error> {
        self.ask("recording an admission", |reply| Task::Write(Write::Admit(Box::new(admission)), reply)).await
    }

    pub(crate) async fn close(&self, pseudonym: Hash) -> Result<(), Error> {
        self.ask("closing a session", |reply| Task::Write(Write::Close(pseudonym), reply)).await
    }

    pub(crate) async fn purge(&self, now: i64, keep_days: u16) -> Result<(), Error> {
        self.ask("deleting old records", |reply| Task::Write(Write::Purge { now, keep_days }, reply)).await
    }

    pub(crate) async fn sessions(&self) -> Result<Vec<Row>, Error> {
        self.ask("reading the sessions", Task::Sessions).await
    }

    pub(crate) async fn consents(&self) -> Result<Vec<Consent>, Error> {
        self.ask("reading the records of consent", Task::Consents).await
    }

    async fn ask<T>(
        &self,
        doing: &'static str,
        task: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Task,
    ) -> Result<T, Error> {
        let failed = |why: &str| Error::Database { doing, path: self.path.clone(), why: why.into() };
        let (reply, answer) = oneshot::channel();
        // Not waiting for a place: a queue this long means that the disk has stopped.
        self.tasks.try_send(task(reply)).map_err(|_| failed("too much is waiting to be written"))?;
        answer.await.map_err(|_| failed("its thread has ended"))?
    }
}

/// The connection, and which file it is.
struct File {
    connection: Connection,
    path: PathBuf,
    identity: (u64, u64),
}

impl File {
    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: rusqlite::Error| Error::Database {
            doing: "opening tables",
            path: path.to_owned(),
            why: error.to_string(),
        };
        let unreadable = |source| Error::File { doing: "opening the portal's database", path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unreadable)?;
        }
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(2)).map_err(failed)?;
        // FULL: an admission is on the disk before the guest is told. secure_delete: what is deleted is overwritten.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; \
                 PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
            )
            .map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        let identity = identity(path).map_err(unreadable)?;
        Ok(Self { connection, path: path.to_owned(), identity })
    }

    fn failed(&self, doing: &'static str, why: impl ToString) -> Error {
        Error::Database { doing, path: self.path.clone(), why: why.to_string() }
    }

    fn work(mut self, mut queue: mpsc::Receiver<Task>) {
        let mut writes = Vec::new();
        while let Some(task) = queue.blocking_recv() {
            let mut next = Some(task);
            while let Some(task) = next.take() {
                match task {
                    Task::Write(write, reply) => {
                        writes.push((write, reply));
                        if writes.len() < BATCH {
                            next = queue.try_recv().ok();
                        }
                    }
                    // Who reads sees what was written before.
                    Task::Sessions(reply) => {
                        self.write(&mut writes);
                        let _ = reply.send(self.sessions());
                    }
                    Task::Consents(reply) => {
                        self.write(&mut writes);
                        let _ = reply.send(self.consents());
                    }
                }
            }
            self.write(&mut writes);
        }
    }

    /// Writes all in one transaction and tells everybody how it went.
    fn write(&mut self, writes: &mut Vec<(Write, oneshot::Sender<Result<(), Error>>)>) {
        if writes.is_empty() {
            return;
        }
        let outcome = self.transact(writes.iter().map(|(write, _)| write));
        let deleted = writes.iter().any(|(write, _)| !matches!(write, Write::Admit(_)));
        for (_, reply) in writes.drain(..) {
            let result = outcome.as_ref().map(|_| ()).map_err(|why| self.failed("recording", why));
            let _ = reply.send(result);
        }
        if deleted && outcome.is_ok() {
            // The write-ahead log still holds the pages as they were before.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    fn transact<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> Result<(), String> {
        let transaction = self.connection.transaction().map_err(|error| error.to_string())?;
        for write in writes {
            execute(&transaction, write).map_err(|error| error.to_string())?;
        }
        // SQLite goes on writing to a file that was removed or replaced under it, and what it writes is lost.
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => {}
            Ok(_) => return Err("the file was replaced".into()),
            Err(error) => return Err(format!("the file is gone: {error}")),
        }
        transaction.commit().map_err(|error| error.to_string())
    }

    fn sessions(&self) -> Result<Vec<Row>, Error> {
        let read = || {
            let mut statement = self.connection.prepare_cached("SELECT pseudonym, client_group FROM session")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()
        };
        read().map_err(|error: rusqlite::Error| self.failed("reading the sessions", error))
    }

    fn consents(&self) -> Result<Vec<Consent>, Error> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT lower(hex(pseudonym)), lower(hex(terms)), language, accepted_at \
                 FROM consent JOIN terms ON terms.hash = consent.terms ORDER BY accepted_at, pseudonym",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Consent {
                    pseudonym: row.get(0)?,
                    terms: row.get(1)?,
                    language: row.get(2)?,
                    accepted_at: row.get(3)?,
                })
            })?;
            rows.collect::<Result<_, _>>()
        };
        read().map_err(|error: rusqlite::Error| self.failed("reading the records of consent", error))
    }
}

fn execute(transaction: &Transaction<'_>, write: &Write) -> rusqlite::Result<()> {
    let run = |sql, params: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(params);
    match write {
        Write::Admit(admission) => {
            run(
                "INSERT INTO terms (hash, language, content) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![admission.terms, admission.language, admission.text],
            )?;
            run(
                "INSERT INTO consent (pseudonym, terms, accepted_at) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET accepted_at = excluded.accepted_at, kept_until = NULL",
                params![admission.consent, admission.terms, admission.accepted_at],
            )?;
            run(
                "INSERT INTO session (pseudonym, client_group) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET client_group = excluded.client_group",
                params![admission.pseudonym, admission.group],
            )?;
        }
        Write::Close(pseudonym) => {
            run("DELETE FROM session WHERE pseudonym = ?1", params![pseudonym])?;
        }
        Write::Purge { now, keep_days } => {
            // A record made before the clock was set is kept from now on; one made while it ran ahead, no longer than the rest.
            let latest = now + i64::from(*keep_days) * 86_400;
            run(
                "UPDATE consent SET kept_until = min(coalesce(accepted_at, ?1) + ?2, ?3) \
                 WHERE kept_until IS NULL OR kept_until > ?3",
                params![now, i64::from(*keep_days) * 86_400, latest],
            )?;
            run("DELETE FROM consent WHERE kept_until <= ?1", params![now])?;
            run("DELETE FROM terms WHERE hash NOT IN (SELECT terms FROM consent)", params![])?;
        }
    }
    Ok(())
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
