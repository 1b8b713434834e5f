//! The room's one place with SQL: sessions under a pseudonym, records of consent, and in `vouchers` the codes.
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
pub(crate) use vouchers::Offer;
pub use vouchers::{Batch, BatchState};

mod vouchers;

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
    /// The code that is used, as its hash.
    pub(crate) code: Option<Hash>,
    /// The acceptance of the terms; a device of the city's own has none.
    pub(crate) accepted: Option<Accepted>,
    /// Unix seconds; nothing where the clock is not set.
    pub(crate) now: Option<i64>,
}

/// That a text was accepted.
pub(crate) struct Accepted {
    pub(crate) pseudonym: Hash,
    pub(crate) terms: Hash,
    pub(crate) language: &'static str,
    pub(crate) text: String,
}

/// A session: pseudonym, group, and whether a code gave it.
pub(crate) type Row = (Hash, (Box<str>, bool));

enum Write {
    Admit(Box<Admission>),
    /// Ends a session that had so many seconds left, where that is known.
    Close {
        pseudonym: Hash,
        left: Option<i64>,
        now: Option<i64>,
    },
    Regroup(Hash, Box<str>),
    /// Deletes one record of consent.
    Erase(String),
    Vouchers(Box<Batch>, Vec<Hash>),
    EndBatch(String),
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
    Batches(oneshot::Sender<Result<Vec<BatchState>, Error>>),
    Offer { code: Hash, pseudonym: Hash, now: Option<i64>, reply: oneshot::Sender<Result<Option<Offer>, Error>> },
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

    pub(crate) async fn close(&self, pseudonym: Hash, left: Option<i64>, now: Option<i64>) -> Result<(), Error> {
        self.ask("closing a session", |reply| Task::Write(Write::Close { pseudonym, left, now }, reply)).await
    }

    pub(crate) async fn regroup(&self, pseudonym: Hash, group: &str) -> Result<(), Error> {
        self.ask("moving a session", |reply| Task::Write(Write::Regroup(pseudonym, group.into()), reply)).await
    }

    pub(crate) async fn erase(&self, consent: String) -> Result<(), Error> {
        self.ask("erasing a record of consent", |reply| Task::Write(Write::Erase(consent), reply)).await
    }

    pub(crate) async fn vouchers(&self, batch: Batch, codes: Vec<Hash>) -> Result<(), Error> {
        self.ask("keeping codes", |reply| Task::Write(Write::Vouchers(Box::new(batch), codes), reply)).await
    }

    pub(crate) async fn end_batch(&self, name: String) -> Result<(), Error> {
        self.ask("ending codes", |reply| Task::Write(Write::EndBatch(name), reply)).await
    }

    pub(crate) async fn batches(&self) -> Result<Vec<BatchState>, Error> {
        self.ask("reading the codes", Task::Batches).await
    }

    pub(crate) async fn offer(&self, code: Hash, pseudonym: Hash, now: Option<i64>) -> Result<Option<Offer>, Error> {
        self.ask("reading a code", |reply| Task::Offer { code, pseudonym, now, reply }).await
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
        connection.execute_batch(vouchers::SCHEMA).map_err(failed)?;
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
                    Task::Batches(reply) => {
                        self.write(&mut writes);
                        let batches = vouchers::batches(&self.connection);
                        let _ = reply.send(batches.map_err(|error| self.failed("reading the codes", error)));
                    }
                    Task::Offer { code, pseudonym, now, reply } => {
                        self.write(&mut writes);
                        let offer = vouchers::offer(&self.connection, &code, &pseudonym, now);
                        let _ = reply.send(offer.map_err(|error| self.failed("reading a code", error)));
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
        for (n, (_, reply)) in writes.drain(..).enumerate() {
            let _ = reply.send(match &outcome {
                Ok(done) if done[n] => Ok(()),
                Ok(_) => Err(Error::UsedUp),
                Err(why) => Err(self.failed("recording", why)),
            });
        }
        if deleted && outcome.is_ok() {
            // The write-ahead log still holds the pages as they were before.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    /// Whether each could be done; an error is of all of them.
    fn transact<'a>(&mut self, writes: impl Iterator<Item = &'a Write>) -> Result<Vec<bool>, String> {
        let transaction = self.connection.transaction().map_err(|error| error.to_string())?;
        let done = writes.map(|write| execute(&transaction, write)).collect::<Result<Vec<_>, _>>();
        let done = done.map_err(|error| error.to_string())?;
        // SQLite goes on writing to a file that was removed or replaced under it, and what it writes is lost.
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => {}
            Ok(_) => return Err("the file was replaced".into()),
            Err(error) => return Err(format!("the file is gone: {error}")),
        }
        transaction.commit().map_err(|error| error.to_string()).map(|()| done)
    }

    fn sessions(&self) -> Result<Vec<Row>, Error> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT pseudonym, client_group, EXISTS (SELECT 1 FROM seat WHERE seat.pseudonym = session.pseudonym) FROM session",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
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

/// Executes one write. Whether it could be done.
fn execute(transaction: &Transaction<'_>, write: &Write) -> rusqlite::Result<bool> {
    let run = |sql, params: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(params);
    match write {
        Write::Admit(admission) => {
            if let Some(code) = &admission.code
                && !vouchers::take(transaction, code, &admission.pseudonym, admission.now)?
            {
                // Two devices brought the last seat's code at once. Nothing of this one is written; the others' is.
                return Ok(false);
            }
            if let Some(accepted) = &admission.accepted {
                run(
                    "INSERT INTO terms (hash, language, content) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    params![accepted.terms, accepted.language, accepted.text],
                )?;
                run(
                    "INSERT INTO consent (pseudonym, terms, accepted_at) VALUES (?1, ?2, ?3) \
                     ON CONFLICT DO UPDATE SET accepted_at = excluded.accepted_at, kept_until = NULL",
                    params![accepted.pseudonym, accepted.terms, admission.now],
                )?;
            }
            run(
                "INSERT INTO session (pseudonym, client_group) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET client_group = excluded.client_group",
                params![admission.pseudonym, admission.group],
            )?;
        }
        Write::Close { pseudonym, left, now } => {
            vouchers::give_back(transaction, pseudonym, *left, *now)?;
            run("DELETE FROM session WHERE pseudonym = ?1", params![pseudonym])?;
        }
        Write::Regroup(pseudonym, group) => {
            run("UPDATE session SET client_group = ?2 WHERE pseudonym = ?1", params![pseudonym, group])?;
        }
        Write::Erase(consent) => {
            run("DELETE FROM consent WHERE lower(hex(pseudonym)) = lower(?1)", params![consent])?;
            run("DELETE FROM terms WHERE hash NOT IN (SELECT terms FROM consent)", params![])?;
        }
        Write::Vouchers(batch, codes) => vouchers::add(transaction, batch, codes)?,
        Write::EndBatch(name) => vouchers::end(transaction, name)?,
        Write::Purge { now, keep_days } => {
            vouchers::purge(transaction, *now)?;
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
    Ok(true)
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
