//! Keeps the last good edition of each list on disk.
//!
//! For each list a folder: one folder for each kept edition, named by its digest, with the parts of its text and a
//! description; the file `good` names the one in force. An edition is complete and synced before `good` names it. For a list
//! by URL, `waiting` names in the same way what was fetched last and is not in force, and `subscription.json` says when to ask.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sheshi_policy::{Edition, Format, List, Policy, Progress, Source};

use crate::{
    ListError,
    fetch::Subscription,
    gate::{self, Held},
    read::Text,
    save::{self, hex, unhex},
};

/// Names the edition in force.
const GOOD: &str = "good";
/// Names the one that was in force before.
const BEFORE: &str = "before";
/// Names what was fetched and is not in force.
const WAITING: &str = "waiting";
const SUBSCRIPTION: &str = "subscription.json";

/// Keeps editions in a folder.
#[derive(Debug, Clone)]
pub struct Keeper {
    folder: PathBuf,
    /// One at a time changes what is there: whoever tidies up must not find what another is writing.
    changing: Arc<Mutex<()>>,
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
    /// Of a list by URL: when it was and will be asked for, and what came of it.
    pub subscription: Option<Subscription>,
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
        Self { folder: folder.into(), changing: Arc::default() }
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
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let total = policy.lists.len() as u64;
        let mut loaded = Loaded { editions: Vec::new(), status: Vec::new() };
        for (number, list) in policy.lists.iter().enumerate() {
            progress(Progress { step: "reading lists", done: number as u64, total });
            let (edition, status) = match &list.source {
                Source::File(_) => self.offer(list, folder, Text::read(list, folder), now)?,
                Source::Url(_) => self.fetched(list, folder, now)?,
            };
            loaded.editions.push(edition);
            loaded.status.push(status);
        }
        progress(Progress { step: "reading lists", done: total, total });
        Ok(loaded)
    }

    /// A list by URL: what was fetched last if it may go live, else the last good edition.
    fn fetched(&self, list: &List, folder: &Path, now: SystemTime) -> Result<(Edition, ListStatus), ListError> {
        let (edition, mut status) = match self.kept(list, WAITING) {
            None => self.last_good(list, folder)?,
            Some(waiting) => {
                let offered = self.offer(list, folder, Ok(waiting.text), now)?;
                if offered.1.state == ListState::Current {
                    self.wait_for(list, None).map_err(|source| self.failed(list, source))?;
                }
                offered
            }
        };
        status.subscription = self.subscription(list);
        Ok((edition, status))
    }

    /// What is remembered about a list's subscription.
    pub fn subscription(&self, list: &List) -> Option<Subscription> {
        serde_json::from_slice(&fs::read(self.of(list).join(SUBSCRIPTION)).ok()?).ok()
    }

    /// Remembers it.
    pub(crate) fn subscribe(&self, list: &List, subscription: &Subscription) -> Result<(), ListError> {
        let write = || {
            fs::create_dir_all(self.of(list))?;
            save::file(&self.of(list).join(SUBSCRIPTION), &serde_json::to_vec_pretty(subscription)?)
        };
        write().map_err(|source| self.failed(list, source))
    }

    /// Whether a text of this digest is there, in force or waiting, and undamaged.
    pub(crate) fn has(&self, list: &List, digest: &str) -> bool {
        let is = |name| self.named(list, name).is_some_and(|named| named == digest) && self.kept(list, name).is_some();
        is(GOOD) || is(WAITING)
    }

    /// Takes what was fetched, to be judged at the next [`Keeper::load`]. Gives its digest, and whether that is anything new.
    pub(crate) fn arrive(&self, list: &List, text: &Text) -> Result<(String, bool), ListError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = hex(&text.digest());
        let good = self.kept(list, GOOD).is_some_and(|kept| kept.description.digest == digest);
        let waited = self.named(list, WAITING);
        let arrive = || {
            if good {
                return self.wait_for(list, None);
            }
            self.write(list, text, 0, 0)?;
            self.wait_for(list, Some(&digest))
        };
        arrive().map_err(|source| self.failed(list, source))?;
        let new = if good { waited.is_some() } else { waited.as_ref() != Some(&digest) };
        Ok((digest, new))
    }

    fn wait_for(&self, list: &List, digest: Option<&str>) -> io::Result<()> {
        let waiting = self.of(list).join(WAITING);
        match digest {
            Some(digest) => save::file(&waiting, digest.as_bytes())?,
            None => match fs::remove_file(waiting) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.forget(list)
    }

    fn failed(&self, list: &List, source: io::Error) -> ListError {
        ListError::Keep { list: list.name.to_string(), path: self.of(list), source }
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
        let kept = self.kept(list, GOOD);
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
                self.keep(list, &text, &edition, since).map_err(|source| self.failed(list, source))?;
                since
            }
        };
        let status = status(list, &edition, ListState::Current, since);
        Ok((edition, status))
    }

    /// The last good edition of a list.
    pub fn last_good(&self, list: &List, folder: &Path) -> Result<(Edition, ListStatus), ListError> {
        let Some(kept) = self.kept(list, GOOD) else {
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
        approve().map_err(|source| self.failed(list, source))
    }

    fn approved(&self, list: &List) -> Option<[u8; 32]> {
        unhex(fs::read_to_string(self.of(list).join("approved")).ok()?.trim())
    }

    fn of(&self, list: &List) -> PathBuf {
        self.folder.join(&*list.name)
    }

    /// The digest that one of our files names.
    fn named(&self, list: &List, name: &str) -> Option<String> {
        let digest = fs::read_to_string(self.of(list).join(name)).ok()?.trim().to_owned();
        // A digest, not a path that somebody put there.
        unhex(&digest).map(|_| digest)
    }

    /// The edition that one of our files names, when it is all there and its digest is right.
    fn kept(&self, list: &List, name: &str) -> Option<Kept> {
        let digest = self.named(list, name)?;
        let folder = self.of(list).join(&digest);
        let description: Description = serde_json::from_slice(&fs::read(folder.join("description.json")).ok()?).ok()?;
        let mut parts = Vec::new();
        for (number, format) in description.formats.iter().enumerate() {
            parts.push((*format, fs::read(folder.join(format!("part-{number}"))).ok()?));
        }
        let text = Text { parts };
        if hex(&text.digest()) != digest {
            tracing::warn!(list = &*list.name, "a kept edition is damaged and not used");
            return None;
        }
        Some(Kept { text, description })
    }

    fn keep(&self, list: &List, text: &Text, edition: &Edition, since: u64) -> io::Result<()> {
        let digest = self.write(list, text, edition.entries() as u64, since)?;
        let folder = self.of(list);
        if let Some(good) = self.named(list, GOOD).filter(|good| *good != digest) {
            save::file(&folder.join(BEFORE), good.as_bytes())?;
        }
        save::file(&folder.join(GOOD), digest.as_bytes())?;
        self.forget(list)
    }

    /// Writes a text with its description, so that one of our files may name it.
    fn write(&self, list: &List, text: &Text, entries: u64, since: u64) -> io::Result<String> {
        let folder = self.of(list);
        let digest = hex(&text.digest());
        let new = folder.join(&digest);
        fs::create_dir_all(&new)?;
        for (number, (_, part)) in text.parts.iter().enumerate() {
            save::file(&new.join(format!("part-{number}")), part)?;
        }
        let formats = text.parts.iter().map(|(format, _)| *format).collect();
        let description = Description { digest: digest.clone(), entries, since, formats };
        save::file(&new.join("description.json"), &serde_json::to_vec_pretty(&description)?)?;
        save::folder_entries(&folder)?;
        Ok(digest)
    }

    /// Removes editions that none of our files names.
    fn forget(&self, list: &List) -> io::Result<()> {
        let stay: Vec<String> = [GOOD, BEFORE, WAITING].iter().filter_map(|name| self.named(list, name)).collect();
        for entry in fs::read_dir(self.of(list))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if unhex(&name).is_some() && !stay.contains(&name) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
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
        subscription: None,
    }
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
