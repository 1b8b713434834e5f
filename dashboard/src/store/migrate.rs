//! Migrations: numbered, each taking place as a whole with its number, and never changed once they are out.

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

/// Brings the tables up to date. A database of a later version is refused: what it holds could be misread.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| Error::Database { doing: "migrating tables", why: error.to_string() };
    loop {
        // Immediate: of two processes that start at once, one migrates and the other finds it done.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let version: usize = transaction
            .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
            .map_err(failed)?
            .try_into()
            .unwrap_or(usize::MAX);
        if version > MIGRATIONS.len() {
            return Err(Error::Database {
                doing: "reading the version of the tables",
                why: format!(
                    "it is {version}, and this sheshi-dashboard knows {}; start the one that wrote it, or a later one",
                    MIGRATIONS.len()
                ),
            });
        }
        let Some(migration) = MIGRATIONS.get(version) else { return Ok(()) };
        transaction.execute_batch(migration).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute("INSERT INTO draft VALUES (1, 'x', 'ana', 0)", []).unwrap();
        migrate(&mut connection).unwrap();
        let drafts: i64 = connection.query_row("SELECT count(*) FROM draft", [], |row| row.get(0)).unwrap();
        assert_eq!(drafts, 1);
    }

    #[test]
    fn tables_of_a_later_version_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        let error = migrate(&mut connection).unwrap_err().to_string();
        assert!(error.contains("it is 999"), "{error}");
    }
}
