//! Sessions, and failed attempts to start one.

use rusqlite::{OptionalExtension, params};

use super::{Store, accounts::role, audit::enter};
use crate::{Error, audit::Deed, role::Role, secret::Hash};

/// A session in force and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) hash: Hash,
    pub(crate) account: i64,
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// A session ends when nothing was asked for this long, in seconds.
pub(crate) const IDLE: i64 = 2 * 3600;
/// A session ends after this long at the latest, in seconds.
pub(crate) const LIFE: i64 = 12 * 3600;
/// How often it is written down that a session was used, in seconds.
const NOTED: i64 = 60;

/// Failed attempts within the last quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) own: u32,
    pub(crate) all: u32,
}

/// How long a failed attempt counts, in seconds.
pub(crate) const REMEMBERED: i64 = 15 * 60;

impl Store {
    /// Starts a session under a new id; `old`, which the browser showed before, ends.
    pub(crate) async fn start_session(
        &self,
        account: i64,
        hash: Hash,
        old: Option<Hash>,
        now: i64,
    ) -> std::result::Result<(), Error> {
        self.change("starting a session", move |transaction| {
            if let Some(old) = old {
                transaction.execute("DELETE FROM session WHERE hash = ?1", [old])?;
            }
            transaction.execute(
                "DELETE FROM session WHERE created_at <= ?1 OR seen_at <= ?2",
                params![now - LIFE, now - IDLE],
            )?;
            transaction.execute(
                "INSERT INTO session (hash, account, created_at, seen_at) VALUES (?1, ?2, ?3, ?3)",
                params![hash, account, now],
            )?;
            let name: String = transaction.query_row(
                "UPDATE account SET signed_in_at = ?2 WHERE id = ?1 RETURNING name",
                params![account, now],
                |row| row.get(0),
            )?;
            enter(transaction, now, &Deed::new(&name, "signed-in", &*name))
        })
        .await
    }

    /// The session of this hash, if it is in force and its account enabled.
    pub(crate) async fn session(&self, hash: Hash, now: i64) -> std::result::Result<Option<Session>, Error> {
        self.run("looking for a session", move |connection| {
            let found: Option<(i64, String, String, i64)> = connection
                .prepare_cached(
                    "SELECT account.id, account.name, account.role, session.seen_at FROM session \
                     JOIN account ON account.id = session.account \
                     WHERE session.hash = ?1 AND account.enabled AND session.created_at > ?2 AND session.seen_at > ?3",
                )?
                .query_row(params![hash, now - LIFE, now - IDLE], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((account, name, role_name, seen_at)) = found else { return Ok(None) };
            if seen_at + NOTED <= now {
                connection.execute("UPDATE session SET seen_at = ?2 WHERE hash = ?1", params![hash, now])?;
            }
            Ok(Some(Session { hash, account, name, role: role(role_name)? }))
        })
        .await
    }

    pub(crate) async fn end_session(&self, session: Session, now: i64) -> std::result::Result<(), Error> {
        self.change("ending a session", move |transaction| {
            transaction.execute("DELETE FROM session WHERE hash = ?1", [session.hash])?;
            enter(transaction, now, &Deed::new(&session.name, "signed-out", &*session.name))
        })
        .await
    }

    /// How many attempts failed lately: for this subject, and for all.
    pub(crate) async fn failures(&self, subject: Hash, now: i64) -> std::result::Result<Failures, Error> {
        self.run("counting failed attempts", move |connection| {
            let since = now - REMEMBERED;
            let own = connection
                .prepare_cached("SELECT count(*) FROM failure WHERE subject = ?1 AND at > ?2")?
                .query_row(params![subject, since], |row| row.get(0))?;
            let all = connection
                .prepare_cached("SELECT count(*) FROM failure WHERE at > ?1")?
                .query_row([since], |row| row.get(0))?;
            Ok(Failures { own, all })
        })
        .await
    }

    /// Counts a failed attempt, and enters it where a deed is given.
    pub(crate) async fn failed(&self, subject: Hash, now: i64, deed: Option<Deed>) -> std::result::Result<(), Error> {
        self.change("counting a failed attempt", move |transaction| {
            transaction.execute("DELETE FROM failure WHERE at <= ?1", [now - REMEMBERED])?;
            transaction.execute("INSERT INTO failure (subject, at) VALUES (?1, ?2)", params![subject, now])?;
            deed.map_or(Ok(()), |deed| enter(transaction, now, &deed))
        })
        .await
    }

    /// Forgets the failed attempts for a subject.
    pub(crate) async fn forgive(&self, subject: Hash) -> std::result::Result<(), Error> {
        self.change("forgetting failed attempts", move |transaction| {
            transaction.execute("DELETE FROM failure WHERE subject = ?1", [subject])?;
            Ok(())
        })
        .await
    }
}
