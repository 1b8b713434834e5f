//! Gateways: their claims, what their requests' sequence says, and their reports.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Result, Store, audit::enter};
use sheshi_protocol::signed::Shown;

use crate::{Error, audit::Deed, secret::Hash};

/// How the city stands to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has claimed; nobody has decided yet.
    Pending,
    /// It may report and fetch the policy.
    Approved,
    /// It was turned away.
    Refused,
    /// Its key is in two places, or somebody replays it: nothing it says is taken until it joins anew with a new key.
    Quarantined,
    /// It was let in once and no longer is.
    Revoked,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Refused, Self::Quarantined, Self::Revoked];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }
}

/// A gateway as the dashboard knows it.
#[derive(Debug, Clone)]
pub(crate) struct GatewayRow {
    pub(crate) id: i64,
    pub(crate) key: Hash,
    pub(crate) site: String,
    pub(crate) state: State,
    pub(crate) why: String,
    pub(crate) alarm: String,
    pub(crate) claimed_at: i64,
    pub(crate) repeats: i64,
    pub(crate) seen_at: Option<i64>,
    /// JSON.
    pub(crate) report: Option<String>,
}

/// One hour of a gateway's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HourRow {
    /// Hours of Unix time.
    pub(crate) hour: i64,
    pub(crate) reports: i64,
    pub(crate) open: i64,
    pub(crate) troubles: i64,
}

/// What the sequence of a signed request says.
#[derive(Debug, Clone)]
pub(crate) enum Presented {
    /// Newer than everything before.
    Fresh(GatewayRow),
    /// The very request that came last, again.
    Repeated,
    /// From a gateway that is not let in.
    NotLetIn(State),
    /// Nobody knows this key.
    Unknown,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Known under this state; the first time, or again with the same key.
    Known(State),
    /// The code is not good, or another gateway has used it.
    Refused,
}

/// Boots that are remembered for each gateway.
const BOOTS: i64 = 1000;
/// Hours that are remembered: five weeks.
const HOURS: i64 = 35 * 24;

const GATEWAY: &str = "SELECT id, key, site, state, why, alarm, claimed_at, repeats, seen_at, report FROM gateway";

fn state(name: &str) -> Result<State> {
    State::ALL.into_iter().find(|state| state.name() == name).ok_or(rusqlite::Error::InvalidQuery)
}

fn gateway(row: &Row<'_>) -> Result<GatewayRow> {
    Ok(GatewayRow {
        id: row.get(0)?,
        key: row.get(1)?,
        site: row.get(2)?,
        state: state(&row.get::<_, String>(3)?)?,
        why: row.get(4)?,
        alarm: row.get(5)?,
        claimed_at: row.get(6)?,
        repeats: row.get(7)?,
        seen_at: row.get(8)?,
        report: row.get(9)?,
    })
}

fn by_key(transaction: &Transaction<'_>, key: &Hash) -> Result<Option<GatewayRow>> {
    let sql = format!("{GATEWAY} WHERE key = ?1");
    transaction.prepare_cached(&sql)?.query_row([key], gateway).optional()
}

fn quarantine(transaction: &Transaction<'_>, row: &GatewayRow, why: &str, now: i64) -> Result<()> {
    transaction.execute("UPDATE gateway SET state = 'quarantined', why = ?2 WHERE id = ?1", params![row.id, why])?;
    let deed = Deed::new(&hex::encode(row.key), "gateway-quarantined", &*row.site).from(row.state.name()).to(why);
    enter(transaction, now, &deed)
}

/// Looks at boot and sequence, and takes them as the last ones if they are newer.
fn advance(transaction: &Transaction<'_>, row: GatewayRow, shown: &Shown, now: i64) -> Result<Presented> {
    let (boot, sequence, signature): (String, i64, Vec<u8>) = transaction
        .prepare_cached("SELECT boot, sequence, signature FROM gateway WHERE id = ?1")?
        .query_row([row.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if signature == shown.signature {
        transaction.execute("UPDATE gateway SET repeats = repeats + 1 WHERE id = ?1", [row.id])?;
        return Ok(Presented::Repeated);
    }
    let left: bool = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM boot WHERE gateway = ?1 AND boot = ?2)")?
        .query_row(params![row.id, shown.boot], |row| row.get(0))?;
    let why = if left {
        Some("a boot that had ended spoke again: the key is in two places".to_owned())
    } else if shown.sequence.cast_signed() <= sequence && shown.boot == boot {
        Some(format!(
            "sequence {} came after {sequence}: a request was replayed, or the key is in two places",
            shown.sequence
        ))
    } else if shown.sequence.cast_signed() <= sequence {
        Some(format!(
            "a new boot began at sequence {}, not after {sequence}: the key is in two places, or its state was put back",
            shown.sequence
        ))
    } else {
        None
    };
    if let Some(why) = why {
        quarantine(transaction, &row, &why, now)?;
        return Ok(Presented::NotLetIn(State::Quarantined));
    }
    if shown.boot != boot {
        transaction.execute("INSERT INTO boot (gateway, boot, at) VALUES (?1, ?2, ?3)", params![row.id, boot, now])?;
        transaction.execute(
            "DELETE FROM boot WHERE gateway = ?1 AND boot NOT IN \
             (SELECT boot FROM boot WHERE gateway = ?1 ORDER BY at DESC LIMIT ?2)",
            params![row.id, BOOTS],
        )?;
    }
    transaction.execute(
        "UPDATE gateway SET boot = ?2, sequence = ?3, signature = ?4, seen_at = ?5 WHERE id = ?1",
        params![row.id, shown.boot, shown.sequence.cast_signed(), shown.signature, now],
    )?;
    Ok(Presented::Fresh(row))
}

impl Store {
    /// Takes a claim: a good code makes a pending gateway of the key. The same key with its own code again is told how
    /// it stands; another key with a used code alarms both.
    pub(crate) async fn claim(
        &self,
        shown: Shown,
        site: String,
        code: Hash,
        now: i64,
    ) -> std::result::Result<Claim, Error> {
        self.change("taking a claim", move |transaction| {
            let who = hex::encode(shown.key);
            let used: Option<Option<i64>> = transaction
                .query_row(
                    "SELECT gateway FROM code WHERE hash = ?1 AND purpose = 'claim' AND (expires_at > ?2 OR gateway IS NOT NULL)",
                    params![code, now],
                    |row| row.get(0),
                )
                .optional()?;
            let known = by_key(transaction, &shown.key)?;
            match (known, used) {
                (Some(known), Some(Some(by))) if known.id == by => Ok(Claim::Known(known.state)),
                (None, Some(None)) => {
                    let id: i64 = transaction.query_row(
                        "INSERT INTO gateway (key, site, state, claimed_at, boot, sequence, signature) \
                         VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6) RETURNING id",
                        params![shown.key, site, now, shown.boot, shown.sequence.cast_signed(), shown.signature],
                        |row| row.get(0),
                    )?;
                    transaction.execute("UPDATE code SET gateway = ?2 WHERE hash = ?1", params![code, id])?;
                    enter(transaction, now, &Deed::new(&who, "gateway-claimed", site).to("pending"))?;
                    Ok(Claim::Known(State::Pending))
                }
                (_, Some(Some(by))) => {
                    let alarm = format!("its claim code was used again, by the key {who}");
                    transaction.execute("UPDATE gateway SET alarm = ?2 WHERE id = ?1", params![by, alarm])?;
                    enter(transaction, now, &Deed::new(&who, "code-used-twice", site).to(alarm))?;
                    Ok(Claim::Refused)
                }
                // A key that is known needs no new code; one with a code that nobody made gets nothing.
                (Some(_), Some(None)) | (_, None) => Ok(Claim::Refused),
            }
        })
        .await
    }

    /// Takes a signed request in: whose it is, and whether it is newer than what came before.
    pub(crate) async fn present(&self, shown: Shown, now: i64) -> std::result::Result<Presented, Error> {
        self.change("taking a gateway's request", move |transaction| match by_key(transaction, &shown.key)? {
            None => Ok(Presented::Unknown),
            Some(row) if row.state != State::Approved => Ok(Presented::NotLetIn(row.state)),
            Some(row) => advance(transaction, row, &shown, now),
        })
        .await
    }

    /// The same with a report, in one transaction.
    pub(crate) async fn report(
        &self,
        shown: Shown,
        report: String,
        open: bool,
        troubles: usize,
        now: i64,
    ) -> std::result::Result<Presented, Error> {
        self.change("taking a report", move |transaction| {
            let presented = match by_key(transaction, &shown.key)? {
                None => return Ok(Presented::Unknown),
                Some(row) if row.state != State::Approved => return Ok(Presented::NotLetIn(row.state)),
                Some(row) => advance(transaction, row, &shown, now)?,
            };
            let Presented::Fresh(row) = &presented else { return Ok(presented) };
            transaction
                .prepare_cached("UPDATE gateway SET report = ?2 WHERE id = ?1")?
                .execute(params![row.id, report])?;
            let hour = now / 3600;
            transaction
                .prepare_cached(
                    "INSERT INTO hour (gateway, hour, reports, open, troubles) VALUES (?1, ?2, 1, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET reports = reports + 1, open = open + excluded.open, \
                     troubles = max(troubles, excluded.troubles)",
                )?
                .execute(params![row.id, hour, open, i64::try_from(troubles).unwrap_or(i64::MAX)])?;
            transaction
                .prepare_cached("DELETE FROM hour WHERE gateway = ?1 AND hour < ?2")?
                .execute(params![row.id, hour - HOURS])?;
            Ok(presented)
        })
        .await
    }

    /// All gateways, by site.
    pub(crate) async fn gateways(&self) -> std::result::Result<Vec<GatewayRow>, Error> {
        self.run("reading the gateways", |connection| {
            let sql = format!("{GATEWAY} ORDER BY site, id");
            connection.prepare_cached(&sql)?.query_map([], gateway)?.collect()
        })
        .await
    }

    pub(crate) async fn gateway(&self, id: i64) -> std::result::Result<Option<GatewayRow>, Error> {
        self.run("looking for a gateway", move |connection| {
            let sql = format!("{GATEWAY} WHERE id = ?1");
            connection.prepare_cached(&sql)?.query_row([id], gateway).optional()
        })
        .await
    }

    /// The hours of a gateway from a given one on.
    pub(crate) async fn hours(&self, id: i64, from: i64) -> std::result::Result<Vec<HourRow>, Error> {
        self.run("reading a gateway's hours", move |connection| {
            connection
                .prepare_cached(
                    "SELECT hour, reports, open, troubles FROM hour WHERE gateway = ?1 AND hour >= ?2 ORDER BY hour",
                )?
                .query_map([id, from], |row| {
                    Ok(HourRow { hour: row.get(0)?, reports: row.get(1)?, open: row.get(2)?, troubles: row.get(3)? })
                })?
                .collect()
        })
        .await
    }

    /// Decides about a gateway, if it is still in the state that was seen, and its key is the one that was seen.
    pub(crate) async fn decide(
        &self,
        id: i64,
        seen: (State, Hash),
        to: State,
        who: String,
        now: i64,
    ) -> std::result::Result<bool, Error> {
        self.change("deciding about a gateway", move |transaction| {
            let sql = format!("{GATEWAY} WHERE id = ?1 AND state = ?2 AND key = ?3");
            let row = transaction.query_row(&sql, params![id, seen.0.name(), seen.1], gateway).optional()?;
            let Some(row) = row else { return Ok(false) };
            transaction.execute("UPDATE gateway SET state = ?2, why = '' WHERE id = ?1", params![id, to.name()])?;
            let action = match to {
                State::Approved => "gateway-approved",
                State::Refused => "gateway-refused",
                _ => "gateway-revoked",
            };
            let deed = Deed::new(&who, action, format!("{}, key {}", row.site, hex::encode(row.key)));
            enter(transaction, now, &deed.from(row.state.name()).to(to.name()))?;
            Ok(true)
        })
        .await
    }
}
