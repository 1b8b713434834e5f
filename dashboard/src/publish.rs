//! From a text to a published generation: checked, compiled with the lists, read back, kept, entered. What fails on the
//! way changes nothing.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use sheshi_policy::{Compiled, Policy, Problem};

use crate::{
    Error,
    inputs::{self, Input},
    store::{GenerationRow, Store},
};

/// Where policies and lists are on this server's disk.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Where people put lists.
    pub(crate) lists: PathBuf,
    /// Files of lists, each under its digest.
    kept: PathBuf,
    /// Compiled policies, each under its digest.
    compiled: PathBuf,
    /// Where lists are laid out while a policy is compiled.
    work: PathBuf,
}

/// How many generations one can go back to.
const HELD: i64 = 20;

/// Whether one can still go back to this generation.
pub(crate) fn is_held(number: i64, newest: i64) -> bool {
    number > newest - HELD
}

/// What a list gave to a compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListFigures {
    pub(crate) name: String,
    /// The title of its category; none for allowed names.
    pub(crate) category: Option<String>,
    pub(crate) edition: String,
    pub(crate) entries: u64,
    pub(crate) refused: u64,
    /// When its file was written last, in Unix seconds; none for a legal order.
    pub(crate) written: Option<i64>,
}

/// The newest published policy, ready to be asked and sent.
pub(crate) struct Newest {
    pub(crate) number: i64,
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
    pub(crate) compiled: Compiled,
}

/// Why a text did not become a policy.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The text, or where its lists come from.
    Problems(Vec<Problem>),
    /// The lists, or putting it all together.
    Lists(String),
    /// The machine.
    Failed(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A policy compiled under a number.
pub(crate) struct Made {
    bytes: Vec<u8>,
    digest: String,
    inputs: Vec<Input>,
    pub(crate) lists: Vec<ListFigures>,
}

impl Places {
    /// The folders below a data folder; made when missing.
    pub(crate) fn open(data: &Path, lists: PathBuf) -> Result<Self, Error> {
        let places =
            Self { lists, kept: data.join("lists-kept"), compiled: data.join("policies"), work: data.join("work") };
        for folder in [&places.lists, &places.kept, &places.compiled, &places.work] {
            fs::create_dir_all(folder).map_err(Error::file("making the folder", folder))?;
        }
        Ok(places)
    }

    /// Removes the inputs and compiled files of all but the newest generations, and those that no generation came of: a
    /// city's lists are large and change daily. Held while nothing is compiled.
    pub(crate) fn sweep(&self, generations: &[GenerationRow]) {
        let newest = generations.iter().map(|row| row.number).max().unwrap_or(0);
        let held: Vec<_> = generations.iter().filter(|row| is_held(row.number, newest)).collect();
        let inputs: HashSet<String> = held
            .iter()
            .flat_map(|row| serde_json::from_str::<Vec<Input>>(&row.inputs).unwrap_or_default())
            .map(|input| input.digest)
            .collect();
        let compiled: HashSet<String> = held.iter().map(|row| format!("{}.policy", row.digest)).collect();
        for (folder, kept) in [(&self.kept, inputs), (&self.compiled, compiled)] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if !entry.file_name().to_str().is_some_and(|name| kept.contains(name))
                    && let Err(error) = fs::remove_file(entry.path())
                {
                    tracing::warn!("removing {}: {error}", entry.path().display());
                }
            }
        }
    }

    /// Removes what an interrupted publish left.
    pub(crate) fn clear(&self) {
        let cleared = fs::remove_dir_all(&self.work).and_then(|()| fs::create_dir_all(&self.work));
        if let Err(error) = cleared {
            tracing::warn!("clearing the folder {}: {error}", self.work.display());
        }
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.compiled.join(format!("{digest}.policy"))
    }

    /// Reads a compiled policy and checks that it is the one it should be.
    fn load(&self, row: &GenerationRow) -> Result<Newest, Error> {
        let path = self.file(&row.digest);
        let bytes = Bytes::from(fs::read(&path).map_err(Error::file("reading the compiled policy", &path))?);
        let damaged = |why: String| Error::file("reading the compiled policy", &path)(std::io::Error::other(why));
        let compiled = Compiled::from_bytes(bytes.to_vec()).map_err(|error| damaged(error.to_string()))?;
        if hex::encode(compiled.digest()) != row.digest || i64::try_from(compiled.generation()) != Ok(row.number) {
            return Err(damaged("it is not the one that was published".into()));
        }
        Ok(Newest { number: row.number, digest: row.digest.clone(), bytes, compiled })
    }

    /// Checks a text: everything that is wrong with it and with where its lists come from.
    pub(crate) fn check(&self, text: &str) -> Result<Policy, Vec<Problem>> {
        let policy = Policy::parse(text).map_err(|problems| problems.0)?;
        let problems = inputs::problems(&policy, &self.lists, |list| line_of(text, list));
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }

    /// Checks and compiles a text under a number: with the lists as they are now, or with those kept for an earlier
    /// generation.
    pub(crate) fn make(&self, text: &str, number: i64, kept: Option<Vec<Input>>) -> Result<Made, Unfit> {
        let mut policy = match &kept {
            None => self.check(text).map_err(Unfit::Problems)?,
            Some(_) => Policy::parse(text).map_err(|problems| Unfit::Problems(problems.0))?,
        };
        policy.generation = number.unsigned_abs();
        let inputs = match kept {
            None => inputs::keep(&policy, &self.lists, &self.kept)?,
            Some(inputs) => inputs,
        };
        // What is compiled is what is kept, whatever happens in the lists folder meanwhile.
        // A folder of its own: a request that was given up may still be compiling.
        static TURN: AtomicU64 = AtomicU64::new(0);
        let folder = self.work.join(format!("{number}-{}-{}", std::process::id(), TURN.fetch_add(1, Relaxed)));
        fs::create_dir_all(&folder).map_err(Error::file("making the folder", &folder))?;
        let compiled = inputs::lay_out(&inputs, &self.kept, &folder)
            .map_err(Unfit::Failed)
            .and_then(|()| compile(&policy, &folder));
        let _ = fs::remove_dir_all(&folder);
        let (bytes, compiled) = compiled?;
        let lists = figures(&compiled, &inputs);
        Ok(Made { digest: hex::encode(compiled.digest()), bytes, inputs, lists })
    }

    /// Keeps what was made and enters it as the next generation. `false` when another publish was faster.
    pub(crate) async fn publish(&self, store: &Store, made: Made, entry: Entry, number: i64) -> Result<bool, Error> {
        let path = self.file(&made.digest);
        let json = |error: serde_json::Error| Error::Database { doing: "writing figures", why: error.to_string() };
        let row = GenerationRow {
            number,
            digest: made.digest,
            text: entry.text,
            inputs: serde_json::to_string(&made.inputs).map_err(json)?,
            lists: serde_json::to_string(&made.lists).map_err(json)?,
            note: entry.note,
            who: entry.who,
            at: entry.at,
        };
        let bytes = made.bytes;
        let written = tokio::task::spawn_blocking(move || inputs::write_once(&path, &bytes)).await;
        written.map_err(|error| Error::Database { doing: "keeping a compiled policy", why: error.to_string() })??;
        store.publish(row, entry.keep_draft).await
    }
}

/// What is entered with a generation.
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) note: String,
    pub(crate) who: String,
    pub(crate) at: i64,
    /// Whether the draft stays: it is another text than the one that is published.
    pub(crate) keep_draft: bool,
}

fn compile(policy: &Policy, folder: &Path) -> Result<(Vec<u8>, Compiled), Unfit> {
    let base = format!("{}/", folder.display());
    // Where lists are laid out is nothing an admin knows.
    let lists = |error: &dyn std::fmt::Display| Unfit::Lists(error.to_string().replace(&base, ""));
    let editions = sheshi_lists::load(policy, folder, &mut |_| ()).map_err(|error| lists(&error))?;
    let bytes = sheshi_policy::compile(policy, &editions, &mut |_| ()).map_err(|error| lists(&error))?;
    let compiled = Compiled::from_bytes(bytes.clone()).map_err(|error| lists(&error))?;
    Ok((bytes, compiled))
}

fn figures(compiled: &Compiled, inputs: &[Input]) -> Vec<ListFigures> {
    let title = |category: sheshi_policy::Category| {
        compiled.categories().get(usize::from(category.0)).map(|info| info.title.to_string())
    };
    let list = |list: &sheshi_policy::ListInfo| ListFigures {
        name: list.name.to_string(),
        category: list.category.and_then(title),
        edition: list.edition.to_string(),
        entries: u64::from(list.entries),
        refused: list.refused.iter().map(|(_, count)| u64::from(*count)).sum(),
        written: inputs.iter().filter(|input| *input.list == *list.name).map(|input| input.written).max(),
    };
    compiled.lists().iter().map(list).collect()
}

/// The line on which a list's section begins, from 1; the first one where it cannot be found.
fn line_of(text: &str, list: &str) -> usize {
    let heads = [format!("[list.{list}]"), format!("[list.\"{list}\"]")];
    text.lines()
        .position(|line| heads.iter().any(|head| line.trim_start().starts_with(head)))
        .map_or(1, |line| line + 1)
}

/// Keeps the newest generation in memory.
#[derive(Default)]
pub(crate) struct Shelf(ArcSwapOption<Newest>);

impl Shelf {
    /// The newest published policy; read from disk when another one has been published since.
    pub(crate) async fn newest(&self, store: &Store, places: &Places) -> Result<Option<Arc<Newest>>, Error> {
        let Some(row) = store.newest_generation().await? else { return Ok(None) };
        if let Some(newest) = self.0.load_full()
            && newest.digest == row.digest
        {
            return Ok(Some(newest));
        }
        let places = places.clone();
        let loaded = tokio::task::spawn_blocking(move || places.load(&row)).await;
        let loaded = loaded
            .map_err(|error| Error::Database { doing: "reading a compiled policy", why: error.to_string() })??;
        let loaded = Arc::new(loaded);
        self.0.store(Some(loaded.clone()));
        Ok(Some(loaded))
    }
}
