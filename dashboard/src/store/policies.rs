//! The draft and the generations.

use rusqlite::{OptionalExtension, Row, params};

use super::{Result, Store, audit::enter};
use crate::{Error, audit::Deed};

/// The policy as somebody is writing it.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) text: String,
    pub(crate) who: String,
    pub(crate) at: i64,
}

/// A published policy. It never changes.
#[derive(Debug, Clone)]
pub(crate) struct GenerationRow {
    pub(crate) number: i64,
    /// Of the compiled file, hexadecimal.
    pub(crate) digest: String,
    pub(crate) text: String,
    /// JSON.
    pub(crate) inputs: String,
    /// JSON.
    pub(crate) lists: String,
    pub(crate) note: String,
    pub(crate) who: String,
    pub(crate) at: i64,
}

const GENERATION: &str = "SELECT number, digest, text, inputs, lists, note, who, at FROM generation";

fn generation(row: &Row<'_>) -> Result<GenerationRow> {
    Ok(GenerationRow {
        number: row.get(0)?,
        digest: row.get(1)?,
        text: row.get(2)?,
        inputs: row.get(3)?,
        lists: row.get(4)?,
        note: row.get(5)?,
        who: row.get(6)?,
        at: row.get(7)?,
    })
}

impl Store {
    pub(crate) async fn draft(&self) -> std::result::Result<Option<Draft>, Error> {
        self.run("reading the draft", |connection| {
            connection
                .query_row("SELECT text, who, at FROM draft", [], |row| {
                    Ok(Draft { text: row.get(0)?, who: row.get(1)?, at: row.get(2)? })
                })
                .optional()
        })
        .await
    }

    /// Keeps the draft, if the one it was made from is still the one that is kept; else gives that back.
    pub(crate) async fn save_draft(
        &self,
        draft: Draft,
        made_from: Option<String>,
    ) -> std::result::Result<Option<Draft>, Error> {
        self.change("saving the draft", move |transaction| {
            let kept = transaction
                .query_row("SELECT text, who, at FROM draft", [], |row| {
                    Ok(Draft { text: row.get(0)?, who: row.get(1)?, at: row.get(2)? })
                })
                .optional()?;
            if let Some(kept) = &kept
                && made_from.as_ref() != Some(&kept.text)
                && kept.text != draft.text
            {
                return Ok(Some(kept.clone()));
            }
            transaction.execute(
                "INSERT INTO draft (one, text, who, at) VALUES (1, ?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET text = excluded.text, who = excluded.who, at = excluded.at",
                params![draft.text, draft.who, draft.at],
            )?;
            let size = |text: &str| format!("{} lines", text.lines().count());
            let mut deed = Deed::new(&draft.who, "draft-saved", "policy").to(size(&draft.text));
            if let Some(kept) = kept {
                deed = deed.from(size(&kept.text));
            }
            enter(transaction, draft.at, &deed)?;
            Ok(None)
        })
        .await
    }

    pub(crate) async fn discard_draft(&self, who: String, now: i64) -> std::result::Result<(), Error> {
        self.change("discarding the draft", move |transaction| {
            if transaction.execute("DELETE FROM draft", [])? > 0 {
                enter(transaction, now, &Deed::new(&who, "draft-discarded", "policy"))?;
            }
            Ok(())
        })
        .await
    }

    /// The generations, newest first.
    pub(crate) async fn generations(&self) -> std::result::Result<Vec<GenerationRow>, Error> {
        self.run("reading the generations", |connection| {
            let sql = format!("{GENERATION} ORDER BY number DESC");
            connection.prepare_cached(&sql)?.query_map([], generation)?.collect()
        })
        .await
    }

    pub(crate) async fn newest_generation(&self) -> std::result::Result<Option<GenerationRow>, Error> {
        self.run("reading the newest generation", |connection| {
            let sql = format!("{GENERATION} ORDER BY number DESC LIMIT 1");
            connection.prepare_cached(&sql)?.query_row([], generation).optional()
        })
        .await
    }

    pub(crate) async fn generation(&self, number: i64) -> std::result::Result<Option<GenerationRow>, Error> {
        self.run("reading a generation", move |connection| {
            let sql = format!("{GENERATION} WHERE number = ?1");
            connection.prepare_cached(&sql)?.query_row([number], generation).optional()
        })
        .await
    }

    /// Enters a generation if it is the next one; the draft it came from is done with. `false` when another was faster.
    pub(crate) async fn publish(&self, row: GenerationRow, keep_draft: bool) -> std::result::Result<bool, Error> {
        self.change("publishing a policy", move |transaction| {
            let last: Option<(i64, String)> = transaction
                .query_row("SELECT number, digest FROM generation ORDER BY number DESC LIMIT 1", [], |last| {
                    Ok((last.get(0)?, last.get(1)?))
                })
                .optional()?;
            if last.as_ref().map_or(0, |(number, _)| *number) + 1 != row.number {
                return Ok(false);
            }
            transaction.execute(
                "INSERT INTO generation (number, digest, text, inputs, lists, note, who, at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![row.number, row.digest, row.text, row.inputs, row.lists, row.note, row.who, row.at],
            )?;
            if !keep_draft {
                transaction.execute("DELETE FROM draft", [])?;
            }
            let mut deed = Deed::new(&row.who, "policy-published", format!("generation {}", row.number)).to(format!(
                "sha256 {}{}{}",
                row.digest,
                if row.note.is_empty() { "" } else { ": " },
                row.note
            ));
            if let Some((number, digest)) = last {
                deed = deed.from(format!("generation {number}, sha256 {digest}"));
            }
            enter(transaction, row.at, &deed)?;
            Ok(true)
        })
        .await
    }
}
