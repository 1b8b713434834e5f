//! Keeps the last good edition of each list on disk.
//!
//! For each list a folder: one folder for each kept edition, named by its digest, with the parts of its text and a
//! description; the file `good` names the one in force. An edition is complete and synced before `good` names it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sheshi_policy::{Edition, Format, List, Policy, Progress, Source};

use crate::{
    ListError,
    gate::{self, Held},
    read::Text,
    save::{self, hex, unhex},
};

/// Editions of a list that stay on disk: the one in force and the one before.
const KEPT: usize = 2;

/// Keeps editions in a folder.
#[derive(Debug, Clone)]
pub struct Keeper {
    folder: PathBuf,
}

/// All lists of a policy, each in the edition that is to be in force.
#[derive(Debug)]
pub struct Loaded {
    /// One edition for each list of the policy.
    pub editions: Vec<Edition>,
    /// How each list stands.
    pub status: Vec<ListStatus>,
}

/// How a list stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListStatus {
    /// Its name in the policy.
    pub name: String,
    /// Whether the newest edition is in force.
    pub state: ListState,
    /// The edition in force.
    pub edition: String,
    /// Entries of the edition in force.
    pub entries: u64,
    /// Lines of it that were refused, by reason.
    pub refused: Vec<(String, u32)>,
    /// When the edition in force was first read, in seconds since 1970, by the gateway's clock.
    pub since: u64,
    /// Older than this many seconds, it is stale.
    pub max_age: u64,
}

impl ListStatus {
    /// Whether the edition in force is older than the policy wants. A clock that runs before `since` says nothing.
    pub fn is_stale(&self, now: SystemTime) -> bool {
        seconds(now).saturating_sub(self.since) > self.max_age
    }
}

/// Whether a list's newest edition is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListState {
    /// It is.
    Current,
    /// It is held back; the last good one is in force.
    Held {
        /// Why.
        reason: String,
        /// SHA-256 of the edition that is held, in hexadecimal, for [`Keeper::approve`]; empty when it could not be
        /// read.
        digest: String,
    },
}

/// What is kept beside the text.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    digest: String,
    entries: u64,
    since: u64,
    formats: Vec<Format>,
}

struct Kept {
    text: Text,
    description: Description,
}

impl Keeper {
    /// Keeps editions in this folder, which is made when something is first kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Reads all lists of a policy; relative paths start at `folder`, the policy's own. A list whose new edition may
    /// not go live comes in its last good edition, and the status says why; without one it is an error.
    pub fn load(
        &self,
        policy: &Policy,
        folder: &Path,
        now: SystemTime,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Loaded, ListError> {
        let total = policy.lists.len() as u64;
        let mut loaded = Loaded { editions: Vec::new(), status: Vec::new() };
        for (number, list) in policy.lists.iter().enumerate() {
            progress(Progress { step: "reading lists", done: number as u64, total });
            let (edition, status) = match &list.source {
                Source::File(_) => self.offer(list, folder, Text::read(list, folder), now)?,
                Source::Url(_) => self.last_good(list, folder)?,
            };
            loaded.editions.push(edition);
            loaded.status.push(status);
        }
        progress(Progress { step: "reading lists", done: total, total });
        Ok(loaded)
    }

    /// Takes a new text of a list, however it was got: keeps it when it passes the gate, else hands out the last good
    /// one.
    pub fn offer(
        &self,
        list: &List,
        folder: &Path,
        text: Result<Text, ListError>,
        now: SystemTime,
    ) -> Result<(Edition, ListStatus), ListError> {
        let kept = self.kept(list);
        let digest = text.as_ref().map_or(String::new(), |text| hex(&text.digest()));
        let (error, why) = match self.try_text(list, folder, text, kept.as_ref(), now) {
            Ok(good) => return Ok(good),
            Err(ListError::Held { why, .. }) => (None, why),
            Err(error @ ListError::Keep { .. }) => return Err(error),
            Err(error) => {
                let why = Held::Unreadable(error.to_string());
                (Some(error), why)
            }
        };
        let Some(kept) = kept else {
            return Err(error.unwrap_or(ListError::Held { list: list.name.to_string(), why }));
        };
        tracing::warn!(list = &*list.name, reason = %why, "new edition held, the last good one stays in force");
        let edition = kept.text.parse(list, folder)?;
        let state = ListState::Held { reason: why.to_string(), digest };
        let status = status(list, &edition, state, kept.description.since);
        Ok((edition, status))
    }

    fn try_text(
        &self,
        list: &List,
        folder: &Path,
        text: Result<Text, ListError>,
        kept: Option<&Kept>,
        now: SystemTime,
    ) -> Result<(Edition, ListStatus), ListError> {
        let text = text?;
        let edition = text.parse(list, folder)?;
        let digest = hex(&text.digest());
        let same = kept.filter(|kept| kept.description.digest == digest);
        // Also when nothing changed: the policy's sentinels may have.
        let before = if same.is_some() { None } else { kept.map(|kept| kept.description.entries) };
        gate::check(list, &edition, before, self.approved(list))
            .map_err(|why| ListError::Held { list: list.name.to_string(), why })?;
        let since = match same {
            Some(kept) => kept.description.since,
            None => {
                let since = seconds(now);
                self.keep(list, &text, &edition, since).map_err(|source| ListError::Keep {
                    list: list.name.to_string(),
                    path: self.of(list),
                    source,
                })?;
                since
            }
        };
        let status = status(list, &edition, ListState::Current, since);
        Ok((edition, status))
    }

    /// The last good edition of a list.
    pub fn last_good(&self, list: &List, folder: &Path) -> Result<(Edition, ListStatus), ListError> {
        let Some(kept) = self.kept(list) else {
            return match &list.source {
                Source::Url(url) => Err(ListError::NotFetched { list: list.name.to_string(), url: url.clone() }),
                Source::File(file) => Err(ListError::Read {
                    list: list.name.to_string(),
                    path: file.clone(),
                    source: io::ErrorKind::NotFound.into(),
                }),
            };
        };
        let edition = kept.text.parse(list, folder)?;
        let status = status(list, &edition, ListState::Current, kept.description.since);
        Ok((edition, status))
    }

    /// A person approves an edition that shrank, by its digest in hexadecimal.
    pub fn approve(&self, list: &List, digest: &str) -> Result<(), ListError> {
        let folder = self.of(list);
        let approve = || {
            fs::create_dir_all(&folder)?;
            save::file(&folder.join("approved"), digest.as_bytes())
        };
        approve().map_err(|source| ListError::Keep { list: list.name.to_string(), path: folder.clone(), source })
    }

    fn approved(&self, list: &List) -> Option<[u8; 32]> {
        unhex(fs::read_to_string(self.of(list).join("approved")).ok()?.trim())
    }

    fn of(&self, list: &List) -> PathBuf {
        self.folder.join(&*list.name)
    }

    /// The kept edition, when it is all there and its digest is right.
    fn kept(&self, list: &List) -> Option<Kept> {
        let folder = self.of(list);
        let good = fs::read_to_string(folder.join("good")).ok()?;
        let digest = good.trim();
        // A digest, not a path that somebody put there.
        unhex(digest)?;
        let folder = folder.join(digest);
        let description: Description = serde_json::from_slice(&fs::read(folder.join("description.json")).ok()?).ok()?;
        let mut parts = Vec::new();
        for (number, format) in description.formats.iter().enumerate() {
            parts.push((*format, fs::read(folder.join(format!("part-{number}"))).ok()?));
        }
        let text = Text { parts };
        if hex(&text.digest()) != digest {
            tracing::warn!(list = &*list.name, "the kept edition is damaged and not used");
            return None;
        }
        Some(Kept { text, description })
    }

    fn keep(&self, list: &List, text: &Text, edition: &Edition, since: u64) -> io::Result<()> {
        let folder = self.of(list);
        let digest = hex(&text.digest());
        let new = folder.join(&digest);
        fs::create_dir_all(&new)?;
        for (number, (_, part)) in text.parts.iter().enumerate() {
            save::file(&new.join(format!("part-{number}")), part)?;
        }
        let description = Description {
            digest: digest.clone(),
            entries: edition.entries() as u64,
            since,
            formats: text.parts.iter().map(|(format, _)| *format).collect(),
        };
        save::file(&new.join("description.json"), &serde_json::to_vec_pretty(&description)?)?;
        save::folder_entries(&folder)?;
        let before = fs::read_to_string(folder.join("good")).unwrap_or_default();
        save::file(&folder.join("good"), digest.as_bytes())?;
        forget(&folder, &[digest.trim(), before.trim()])
    }
}

/// Removes editions other than these; at most [`KEPT`] stay.
fn forget(folder: &Path, stay: &[&str; KEPT]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if unhex(&name).is_some() && !stay.contains(&name.as_str()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn status(list: &List, edition: &Edition, state: ListState, since: u64) -> ListStatus {
    ListStatus {
        name: list.name.to_string(),
        state,
        edition: edition.edition().to_owned(),
        entries: edition.entries() as u64,
        refused: edition.refused().iter().map(|(why, count)| (why.text().to_owned(), *count)).collect(),
        since,
        max_age: list.max_age,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
