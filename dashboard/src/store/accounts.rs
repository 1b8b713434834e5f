//! People, and their one-time codes.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Result, Session, Store, audit::enter};
use crate::{Error, audit::Deed, role::Role, secret::Hash};

/// A person's account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) password: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) signed_in_at: Option<i64>,
}

/// What one-time codes are for, and their time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeUse {
    /// The first owner.
    Owner,
    /// A person sets a password.
    Account(i64),
    /// A gateway joins.
    Claim,
}

impl CodeUse {
    fn columns(self) -> (&'static str, Option<i64>) {
        match self {
            Self::Owner => ("owner", None),
            Self::Account(id) => ("account", Some(id)),
            Self::Claim => ("claim", None),
        }
    }

    /// For how long the code is good, in seconds.
    pub(crate) fn life(self) -> i64 {
        match self {
            Self::Owner => 24 * 3600,
            Self::Account(_) => 48 * 3600,
            Self::Claim => 3600,
        }
    }
}

const ACCOUNT: &str = "SELECT id, name, role, password, enabled, signed_in_at FROM account";

pub(super) fn role(name: String) -> Result<Role> {
    Role::parse(&name).ok_or(rusqlite::Error::InvalidQuery)
}

fn account(row: &Row<'_>) -> Result<Account> {
    Ok(Account {
        id: row.get(0)?,
        name: row.get(1)?,
        role: role(row.get(2)?)?,
        password: row.get(3)?,
        enabled: row.get(4)?,
        signed_in_at: row.get(5)?,
    })
}

fn owners(transaction: &Transaction<'_>) -> Result<i64> {
    transaction.query_row(
        "SELECT count(*) FROM account WHERE role = 'owner' AND enabled AND password IS NOT NULL",
        [],
        |row| row.get(0),
    )
}

/// Takes a code out of use; whether it was good.
fn spend(transaction: &Transaction<'_>, hash: &Hash, purpose: &str, now: i64) -> Result<Option<Option<i64>>> {
    transaction
        .query_row(
            "DELETE FROM code WHERE hash = ?1 AND purpose = ?2 AND expires_at > ?3 RETURNING account",
            params![hash, purpose, now],
            |row| row.get(0),
        )
        .optional()
}

impl Store {
    /// Whether somebody can sign in as owner.
    pub(crate) async fn has_owner(&self) -> std::result::Result<bool, Error> {
        self.run("looking for an owner", |connection| {
            let owners: i64 = connection.query_row(
                "SELECT count(*) FROM account WHERE role = 'owner' AND password IS NOT NULL",
                [],
                |row| row.get(0),
            )?;
            Ok(owners > 0)
        })
        .await
    }

    pub(crate) async fn accounts(&self) -> std::result::Result<Vec<Account>, Error> {
        self.run("reading the accounts", |connection| {
            let sql = format!("{ACCOUNT} ORDER BY name");
            connection.prepare_cached(&sql)?.query_map([], account)?.collect()
        })
        .await
    }

    pub(crate) async fn account_named(&self, name: &str) -> std::result::Result<Option<Account>, Error> {
        let name = name.to_owned();
        self.run("looking for an account", move |connection| {
            let sql = format!("{ACCOUNT} WHERE name = ?1");
            connection.prepare_cached(&sql)?.query_row([name], account).optional()
        })
        .await
    }

    pub(crate) async fn account(&self, id: i64) -> std::result::Result<Option<Account>, Error> {
        self.run("looking for an account", move |connection| {
            let sql = format!("{ACCOUNT} WHERE id = ?1");
            connection.prepare_cached(&sql)?.query_row([id], account).optional()
        })
        .await
    }

    /// Keeps a new code; the codes before it for the same account, or for the first owner, are no longer good.
    pub(crate) async fn add_code(
        &self,
        hash: Hash,
        purpose: CodeUse,
        now: i64,
        deed: Option<Deed>,
    ) -> std::result::Result<(), Error> {
        self.change("keeping a code", move |transaction| {
            let (kind, account) = purpose.columns();
            if purpose != CodeUse::Claim {
                transaction.execute("DELETE FROM code WHERE purpose = ?1 AND account IS ?2", params![kind, account])?;
            }
            transaction.execute(
                "INSERT INTO code (hash, purpose, account, expires_at) VALUES (?1, ?2, ?3, ?4)",
                params![hash, kind, account, now + purpose.life()],
            )?;
            deed.map_or(Ok(()), |deed| enter(transaction, now, &deed))
        })
        .await
    }

    /// Makes the first owner, if the code is good and there is none yet.
    pub(crate) async fn make_owner(
        &self,
        code: Hash,
        name: String,
        password: String,
        now: i64,
    ) -> std::result::Result<Option<i64>, Error> {
        self.change("making the first owner", move |transaction| {
            if owners(transaction)? > 0 || spend(transaction, &code, "owner", now)?.is_none() {
                return Ok(None);
            }
            let id: i64 = transaction.query_row(
                "INSERT INTO account (name, role, password, enabled, created_at) VALUES (?1, 'owner', ?2, 1, ?3) \
                 ON CONFLICT (name) DO UPDATE SET role = 'owner', password = excluded.password, enabled = 1 RETURNING id",
                params![name, password, now],
                |row| row.get(0),
            )?;
            enter(transaction, now, &Deed::new("console", "owner-made", name).to("owner"))?;
            Ok(Some(id))
        })
        .await
    }

    /// Adds a person who has no password yet; `None` when the name is taken.
    pub(crate) async fn add_account(
        &self,
        name: String,
        role: Role,
        now: i64,
        who: String,
    ) -> std::result::Result<Option<i64>, Error> {
        self.change("adding a person", move |transaction| {
            let id: Option<i64> = transaction
                .query_row(
                    "INSERT INTO account (name, role, enabled, created_at) VALUES (?1, ?2, 1, ?3) \
                     ON CONFLICT DO NOTHING RETURNING id",
                    params![name, role.name(), now],
                    |row| row.get(0),
                )
                .optional()?;
            if id.is_some() {
                enter(transaction, now, &Deed::new(&who, "person-added", name).to(role.name()))?;
            }
            Ok(id)
        })
        .await
    }

    /// Whom a code is for that sets a password.
    pub(crate) async fn code_account(&self, hash: Hash, now: i64) -> std::result::Result<Option<Account>, Error> {
        self.run("looking for a code", move |connection| {
            let sql = format!(
                "{ACCOUNT} WHERE id = (SELECT account FROM code \
                 WHERE hash = ?1 AND purpose = 'account' AND expires_at > ?2)"
            );
            connection.prepare_cached(&sql)?.query_row(params![hash, now], account).optional()
        })
        .await
    }

    /// Sets a password by a code; the account's sessions end. `None` when the code is not good.
    pub(crate) async fn set_password(
        &self,
        code: Hash,
        password: String,
        now: i64,
    ) -> std::result::Result<Option<i64>, Error> {
        self.change("setting a password", move |transaction| {
            let Some(Some(id)) = spend(transaction, &code, "account", now)? else { return Ok(None) };
            let name: String = transaction.query_row(
                "UPDATE account SET password = ?2 WHERE id = ?1 RETURNING name",
                params![id, password],
                |row| row.get(0),
            )?;
            transaction.execute("DELETE FROM session WHERE account = ?1", [id])?;
            enter(transaction, now, &Deed::new(&name, "password-set", &*name))?;
            Ok(Some(id))
        })
        .await
    }

    /// Changes a password; all sessions of the account but this one end.
    pub(crate) async fn change_password(
        &self,
        session: Session,
        password: String,
        now: i64,
    ) -> std::result::Result<(), Error> {
        self.change("changing a password", move |transaction| {
            transaction
                .execute("UPDATE account SET password = ?2 WHERE id = ?1", params![session.account, password])?;
            transaction.execute(
                "DELETE FROM session WHERE account = ?1 AND hash <> ?2",
                params![session.account, session.hash],
            )?;
            enter(transaction, now, &Deed::new(&session.name, "password-changed", &*session.name))
        })
        .await
    }

    /// Changes a role or whether the account is enabled. `false` when nobody would be left as owner, or nothing is there.
    pub(crate) async fn change_account(
        &self,
        id: i64,
        role: Role,
        enabled: bool,
        now: i64,
        who: String,
    ) -> std::result::Result<bool, Error> {
        self.run("changing an account", move |connection| {
            let transaction = connection.transaction()?;
            let sql = format!("{ACCOUNT} WHERE id = ?1");
            let Some(was) = transaction.query_row(&sql, [id], account).optional()? else { return Ok(false) };
            transaction.execute(
                "UPDATE account SET role = ?2, enabled = ?3 WHERE id = ?1",
                params![id, role.name(), enabled],
            )?;
            if owners(&transaction)? == 0 {
                return Ok(false); // rolled back
            }
            if !enabled {
                transaction.execute("DELETE FROM session WHERE account = ?1", [id])?;
                transaction.execute("DELETE FROM code WHERE account = ?1", [id])?;
            }
            if was.role != role {
                let deed = Deed::new(&who, "role-changed", &*was.name).from(was.role.name()).to(role.name());
                enter(&transaction, now, &deed)?;
            }
            if was.enabled != enabled {
                let action = if enabled { "person-enabled" } else { "person-disabled" };
                enter(&transaction, now, &Deed::new(&who, action, &*was.name))?;
            }
            transaction.commit()?;
            Ok(true)
        })
        .await
    }
}
