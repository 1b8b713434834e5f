//! The audit log in the database.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Result, Store};
use crate::{
    Error,
    audit::{self, Chain, Deed, Entry},
    secret::Hash,
};

/// Longest text kept of what was before or after, in characters.
const KEPT: usize = 400;

/// Enters a deed; part of the transaction that does it.
pub(super) fn enter(transaction: &Transaction<'_>, at: i64, deed: &Deed) -> Result<()> {
    let last: Option<(i64, Hash)> = transaction
        .prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (number, before) = last.map_or((1, audit::START), |(number, hash)| (number + 1, hash));
    let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(KEPT).collect::<String>());
    let mut entry = Entry {
        number,
        at,
        who: deed.who.clone(),
        action: deed.action.to_owned(),
        subject: deed.subject.chars().take(KEPT).collect(),
        before: cut(&deed.before),
        after: cut(&deed.after),
        hash: audit::START,
    };
    entry.hash = entry.hash_after(&before);
    transaction
        .prepare_cached(
            "INSERT INTO audit (number, at, who, action, subject, before, after, hash) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            entry.number,
            entry.at,
            entry.who,
            entry.action,
            entry.subject,
            entry.before,
            entry.after,
            entry.hash
        ])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry {
        number: row.get(0)?,
        at: row.get(1)?,
        who: row.get(2)?,
        action: row.get(3)?,
        subject: row.get(4)?,
        before: row.get(5)?,
        after: row.get(6)?,
        hash: row.get(7)?,
    })
}

const COLUMNS: &str = "SELECT number, at, who, action, subject, before, after, hash FROM audit";

impl Store {
    /// The newest entries below a number, newest first.
    pub(crate) async fn audit_page(&self, below: i64, most: u32) -> std::result::Result<Vec<Entry>, Error> {
        self.run("reading the audit log", move |connection| {
            let sql = format!("{COLUMNS} WHERE number < ?1 ORDER BY number DESC LIMIT ?2");
            connection.prepare_cached(&sql)?.query_map(params![below, most], entry)?.collect()
        })
        .await
    }

    /// The whole log, oldest first.
    pub(crate) async fn audit_all(&self) -> std::result::Result<Vec<Entry>, Error> {
        self.run("reading the audit log", |connection| {
            let sql = format!("{COLUMNS} ORDER BY number");
            connection.prepare_cached(&sql)?.query_map([], entry)?.collect()
        })
        .await
    }

    /// Follows the whole log.
    pub(crate) async fn audit_check(&self) -> std::result::Result<Chain, Error> {
        self.run("checking the audit log", |connection| {
            let sql = format!("{COLUMNS} ORDER BY number");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut chain = Chain::default();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                chain.take(&entry(row)?);
            }
            // The counter of AUTOINCREMENT remembers a tail that was deleted.
            let given: Option<i64> = connection
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'audit'", [], |row| row.get(0))
                .optional()?;
            if chain.broken.is_none() && given.unwrap_or(0) != chain.count {
                chain.broken = Some(chain.count + 1);
            }
            Ok(chain)
        })
        .await
    }
}
