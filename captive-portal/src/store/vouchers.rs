//! Vouchers on disk. A code is there as its hash only; who uses it, under the pseudonym of the session.
//!
//! A voucher has as many seats as devices may use it. A seat keeps the time that is left when its device logs out, and
//! whoever brings the code takes a free seat up again: after a log-out, after a reboot, or under another address.

use rusqlite::{Connection, OptionalExtension, params};

use crate::keys::Hash;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS voucher (
        code        BLOB PRIMARY KEY CHECK (length(code) = 32),   -- SHA-256 of the code
        batch       TEXT NOT NULL,
        client_group TEXT,               -- NULL: the group of guests
        seconds     INTEGER NOT NULL,    -- for each device
        devices     INTEGER NOT NULL,
        valid_until INTEGER              -- Unix seconds; NULL: for good
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE IF NOT EXISTS seat (
        code        BLOB NOT NULL REFERENCES voucher (code) ON DELETE CASCADE,
        number      INTEGER NOT NULL,
        seconds     INTEGER NOT NULL,    -- left when it was taken or given back
        ends_at     INTEGER,             -- Unix seconds, while it is taken and the clock is set
        pseudonym   BLOB,                -- of the session that has it
        PRIMARY KEY (code, number)
    ) WITHOUT ROWID, STRICT;
";

/// Less time than this is none.
const LEAST: i64 = 60;
/// For how long a voucher that is out of date is kept, in seconds: so that somebody can say what became of it.
const KEEP: i64 = 90 * 86_400;

/// Codes that are made together.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// Its name.
    pub name: String,
    /// The group of who uses one; the guests' own when not given.
    pub group: Option<String>,
    /// How long each device may be online, in seconds.
    pub seconds: u32,
    /// How many devices may use one code.
    pub devices: u32,
    /// Until when a code can be used, in seconds of Unix time; for good when not given.
    pub valid_until: Option<i64>,
}

/// A batch, and what has been used of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BatchState {
    /// The batch.
    #[serde(flatten)]
    pub batch: Batch,
    /// How many codes it has.
    pub codes: u32,
    /// How many devices have used one of them.
    pub used: u32,
}

/// What a code gives a device now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) group: Option<String>,
    pub(crate) seconds: u64,
    seat: i64,
}

pub(super) fn add(connection: &Connection, batch: &Batch, codes: &[Hash]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO voucher (code, batch, client_group, seconds, devices, valid_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for code in codes {
        insert.execute(params![code, batch.name, batch.group, batch.seconds, batch.devices, batch.valid_until])?;
    }
    Ok(())
}

/// What a code gives this device. A voucher with an end is not good while nobody knows the date.
pub(super) fn offer(
    connection: &Connection,
    code: &Hash,
    pseudonym: &Hash,
    now: Option<i64>,
) -> rusqlite::Result<Option<Offer>> {
    let voucher = connection
        .prepare_cached(
            "SELECT client_group, seconds, devices FROM voucher
             WHERE code = ?1 AND (valid_until IS NULL OR ?2 < valid_until)",
        )?
        .query_row(params![code, now], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
        .optional()?;
    let Some((group, whole, devices)) = voucher else { return Ok(None) };
    // Its own seat first, then the free one with the most time. A seat is free when its session is gone.
    let seat = connection
        .prepare_cached(
            "SELECT number, CASE WHEN pseudonym IS NULL OR ends_at IS NULL OR ?3 IS NULL THEN seconds
                                 ELSE max(0, min(seconds, ends_at - ?3)) END AS remaining
             FROM seat WHERE code = ?1 AND (pseudonym = ?2 OR pseudonym IS NULL
                 OR pseudonym NOT IN (SELECT pseudonym FROM session))
             ORDER BY pseudonym IS ?2 DESC, remaining DESC LIMIT 1",
        )?
        .query_row(params![code, pseudonym, now], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let taken: i64 = connection
        .prepare_cached("SELECT count(*) FROM seat WHERE code = ?1")?
        .query_row(params![code], |row| row.get(0))?;
    let found = match seat {
        Some((number, left)) if left >= LEAST => Some((number, left)),
        _ if taken < devices => Some((taken, whole)),
        _ => None,
    };
    Ok(found.map(|(seat, left)| Offer { group, seconds: u64::try_from(left).unwrap_or(0), seat }))
}

/// Takes the seat that is offered; whether one was.
pub(super) fn take(connection: &Connection, code: &Hash, pseudonym: &Hash, now: Option<i64>) -> rusqlite::Result<bool> {
    let Some(offer) = offer(connection, code, pseudonym, now)? else { return Ok(false) };
    give_back(connection, pseudonym, None, now)?;
    let left = i64::try_from(offer.seconds).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT INTO seat (code, number, seconds, ends_at, pseudonym) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET seconds = ?3, ends_at = ?4, pseudonym = ?5",
        )?
        .execute(params![code, offer.seat, left, now.map(|now| now + left), pseudonym])?;
    Ok(true)
}

/// Gives a session's seat back, with the time that the session had left; where that is not known, with what the clock says.
pub(super) fn give_back(
    connection: &Connection,
    pseudonym: &Hash,
    left: Option<i64>,
    now: Option<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE seat SET seconds = max(0, min(seconds, coalesce(?2, ends_at - ?3, seconds))),
                 ends_at = NULL, pseudonym = NULL WHERE pseudonym = ?1",
        )?
        .execute(params![pseudonym, left, now])?;
    Ok(())
}

pub(super) fn batches(connection: &Connection) -> rusqlite::Result<Vec<BatchState>> {
    let mut statement = connection.prepare_cached(
        "SELECT batch, client_group, seconds, devices, valid_until, count(*),
             (SELECT count(*) FROM seat JOIN voucher AS own ON own.code = seat.code WHERE own.batch = voucher.batch)
         FROM voucher GROUP BY batch ORDER BY batch",
    )?;
    let rows = statement.query_map([], |row| {
        let batch = Batch {
            name: row.get(0)?,
            group: row.get(1)?,
            seconds: row.get(2)?,
            devices: row.get(3)?,
            valid_until: row.get(4)?,
        };
        Ok(BatchState { batch, codes: row.get(5)?, used: row.get(6)? })
    })?;
    rows.collect()
}

pub(super) fn end(connection: &Connection, batch: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM voucher WHERE batch = ?1")?.execute(params![batch])?;
    Ok(())
}

pub(super) fn purge(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM voucher WHERE valid_until < ?1")?.execute(params![now - KEEP])?;
    Ok(())
}
