//! What guests object to: a file to which lines are appended, and which knows no device.
//!
//! A line is an objection or the decision about one. The file is bounded: so many may wait for a decision, and what was
//! decided is kept for a while, so that who objected finds the answer by the number, and then dropped.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// Objections that wait for a decision, at most.
const WAITING: usize = 500;
/// For how long a decision is kept, in seconds.
const KEEP: i64 = 90 * 86_400;
/// Longest text, in characters.
pub(crate) const TEXT_LIMIT: usize = 1000;

/// An objection to a block. Nothing in it is of a device, and nothing grants it but a person who edits the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    /// Under what it is known to who handed it in, and to the admin.
    pub number: String,
    /// The name it is about.
    pub name: String,
    /// Why it should be open, in the words of a guest: not to be trusted.
    pub text: String,
    /// The language of the page.
    pub language: String,
    /// When it came, in seconds of Unix time; nothing where the clock was not set.
    pub handed_in: Option<i64>,
    /// By when it is to be decided.
    pub decide_by: Option<i64>,
    /// What was decided.
    #[serde(default)]
    pub decision: Option<Decision>,
}

/// What an admin decided about an objection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether the block is lifted. This says so; the policy does it.
    pub granted: bool,
    /// What who objected reads.
    pub answer: String,
    /// When, in seconds of Unix time; nothing where the clock was not set.
    pub at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Objection(Objection),
    Decision { number: String, decision: Decision },
}

/// The file, and what is in it.
pub(crate) struct Objections {
    path: PathBuf,
    known: Mutex<BTreeMap<String, Objection>>,
}

impl Objections {
    /// Reads the file; a missing one is empty, and a line that is not whole is passed over.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::File { doing: "reading the objections", path: path.into(), source }),
        };
        let mut known: BTreeMap<String, Objection> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match serde_json::from_str(line) {
                Ok(Line::Objection(objection)) => drop(known.insert(objection.number.clone(), objection)),
                Ok(Line::Decision { number, decision }) => {
                    if let Some(objection) = known.get_mut(&number) {
                        objection.decision = Some(decision);
                    }
                }
                Err(error) => tracing::warn!("{}: a line is passed over: {error}", path.display()),
            }
        }
        Ok(Self { path: path.into(), known: Mutex::new(known) })
    }

    /// Appends an objection. Whether there was a place for it.
    pub(crate) fn add(&self, objection: Objection, now: Option<i64>) -> Result<bool, Error> {
        let mut known = self.known();
        if known.values().filter(|known| known.decision.is_none()).count() >= WAITING {
            return Ok(false);
        }
        self.drop_old(&mut known, now)?;
        self.append(&Line::Objection(objection.clone()))?;
        known.insert(objection.number.clone(), objection);
        Ok(true)
    }

    /// Appends a decision. Whether there is such an objection.
    pub(crate) fn decide(&self, number: &str, decision: Decision) -> Result<bool, Error> {
        let mut known = self.known();
        let Some(objection) = known.get_mut(number) else { return Ok(false) };
        self.append(&Line::Decision { number: number.into(), decision: decision.clone() })?;
        objection.decision = Some(decision);
        Ok(true)
    }

    pub(crate) fn get(&self, number: &str, now: Option<i64>) -> Option<Objection> {
        self.known().get(number).filter(|objection| !is_old(objection, now)).cloned()
    }

    /// All that are kept: those that wait first, by their deadline.
    pub(crate) fn all(&self, now: Option<i64>) -> Vec<Objection> {
        let mut all: Vec<_> = self.known().values().filter(|objection| !is_old(objection, now)).cloned().collect();
        all.sort_by_key(|objection| (objection.decision.is_some(), objection.decide_by, objection.handed_in));
        all
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Objection>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, line: &Line) -> Result<(), Error> {
        let write = || {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut options = fs::OpenOptions::new();
            let mut file = options.create(true).append(true).read(true).mode(0o600).open(&self.path)?;
            let mut text = serde_json::to_string(line)? + "\n";
            // After a line that was cut off by a loss of power the next one must not become part of it.
            let mut last = Vec::new();
            if file.metadata()?.len() > 0 {
                io::Seek::seek(&mut file, io::SeekFrom::End(-1))?;
                file.read_to_end(&mut last)?;
            }
            if last.last().is_some_and(|byte| *byte != b'\n') {
                text.insert(0, '\n');
            }
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().map_err(|source| Error::File { doing: "writing an objection to", path: self.path.clone(), source })
    }

    /// Writes the file anew without the decisions whose time is over; beside and renamed, so that nothing is lost halfway.
    fn drop_old(&self, known: &mut BTreeMap<String, Objection>, now: Option<i64>) -> Result<(), Error> {
        if !known.values().any(|objection| is_old(objection, now)) {
            return Ok(());
        }
        known.retain(|_, objection| !is_old(objection, now));
        let beside = self.path.with_extension("new");
        let write = || {
            let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
            for objection in known.values() {
                writeln!(file, "{}", serde_json::to_string(&Line::Objection(objection.clone()))?)?;
            }
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|source| Error::File { doing: "writing the objections to", path: beside.clone(), source })
    }
}

fn is_old(objection: &Objection, now: Option<i64>) -> bool {
    let decided = objection.decision.as_ref().and_then(|decision| decision.at);
    matches!((decided, now), (Some(at), Some(now)) if now - at > KEEP)
}

/// A guest's text as it is kept: one line's worth of characters each, no control characters but line ends, bounded.
pub(crate) fn tidy(text: &str) -> String {
    let kept = text.trim().chars().filter(|character| !character.is_control() || *character == '\n');
    kept.take(TEXT_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objection(number: &str) -> Objection {
        Objection {
            number: number.into(),
            name: "casino.example".into(),
            text: "why".into(),
            language: "en".into(),
            handed_in: Some(1000),
            decide_by: Some(2000),
            decision: None,
        }
    }

    #[test]
    fn what_was_handed_in_and_decided_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/objections.jsonl");
        let objections = Objections::open(&path).unwrap();
        assert!(objections.add(objection("a"), Some(1000)).unwrap());
        assert!(objections.add(objection("b"), Some(1000)).unwrap());
        let decision = Decision { granted: true, answer: "You are right.".into(), at: Some(1500) };
        assert!(objections.decide("a", decision.clone()).unwrap());
        assert!(!objections.decide("c", decision.clone()).unwrap());
        let again = Objections::open(&path).unwrap();
        assert_eq!(again.all(Some(1500)), objections.all(Some(1500)));
        assert_eq!(again.get("a", Some(1500)).unwrap().decision, Some(decision));
        assert_eq!(again.all(Some(1500)).iter().map(|objection| &*objection.number).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn decision_is_kept_for_its_time_and_then_gone_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objections.jsonl");
        let objections = Objections::open(&path).unwrap();
        objections.add(objection("a"), Some(1000)).unwrap();
        objections.decide("a", Decision { granted: false, answer: String::new(), at: Some(2000) }).unwrap();
        assert!(objections.get("a", Some(2000 + KEEP)).is_some());
        assert!(objections.get("a", Some(2001 + KEEP)).is_none());
        objections.add(objection("b"), Some(2001 + KEEP)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("\"a\"") && text.contains("\"b\""), "{text}");
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let objections = Objections::open(&folder.path().join("objections.jsonl")).unwrap();
        let full: BTreeMap<_, _> = (0..WAITING).map(|n| (n.to_string(), objection(&n.to_string()))).collect();
        *objections.known() = full;
        assert!(!objections.add(objection("x"), None).unwrap());
        objections.decide("7", Decision { granted: true, answer: String::new(), at: None }).unwrap();
        assert!(objections.add(objection("x"), None).unwrap());
    }

    #[test]
    fn line_that_was_cut_off_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("objections.jsonl");
        Objections::open(&path).unwrap().add(objection("a"), None).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"objection\":{\"num").unwrap();
        Objections::open(&path).unwrap().add(objection("b"), None).unwrap();
        assert_eq!(Objections::open(&path).unwrap().all(None).len(), 2);
    }

    #[test]
    fn text_is_kept_without_control_characters_and_within_bounds() {
        assert_eq!(tidy(" a\u{1b}[31m\r\nb\0 "), "a[31m\nb");
        assert_eq!(tidy(&"ë".repeat(2000)).chars().count(), TEXT_LIMIT);
    }
}
