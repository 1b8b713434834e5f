//! Lists on disk: what goes live, what is held, what stays.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use sheshi_lists::{Keeper, ListError, ListState, Loaded};
use sheshi_policy::{Name, Policy};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
    policy: Policy,
    keeper: Keeper,
}

const POLICY: &str = "version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\nmust_block = [\"bad.example\"]\nmust_allow = [\"wikipedia.org\"]\n";

impl Place {
    fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(folder.path().join("state"));
        Self { folder, policy: Policy::parse(policy).unwrap(), keeper }
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join("adult.txt"), content).unwrap();
    }

    fn load(&self) -> Result<Loaded, ListError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        self.keeper.load(&self.policy, self.folder.path(), now, &mut |_| ())
    }

    /// Why the list is held; the edition in force still blocks.
    fn held(&self) -> String {
        let loaded = self.load().unwrap();
        assert!(loaded.editions[0].lists(&Name::parse("bad.example").unwrap()), "the last good edition is in force");
        match &loaded.status[0].state {
            ListState::Held { reason, .. } => reason.clone(),
            ListState::Current => panic!("went live"),
        }
    }
}

fn good() -> String {
    (0..100).map(|n| format!("n{n}.example\n")).collect::<String>() + "bad.example\n"
}

#[test]
fn bad_edition_does_not_replace_the_last_good_one() {
    let place = Place::new(POLICY);
    place.write(good());
    assert_eq!(place.load().unwrap().status[0].state, ListState::Current);
    let most = |count: usize| good().lines().rev().take(count).collect::<Vec<_>>().join("\n");
    let odd = |count: usize| good() + &"x y z\n".repeat(count);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/broken");
    let expected = include_str!("../testdata/broken.expected").lines().filter(|line| !line.starts_with('#'));
    let expected: Vec<(&str, &str)> = expected.map(|line| line.split_once(": ").unwrap()).collect();
    for (file, reason) in &expected {
        place.write(fs::read(corpus.join(file)).unwrap());
        let held = place.held();
        assert!(held.contains(reason), "{file}: {held}");
    }
    assert_eq!(fs::read_dir(&corpus).unwrap().count(), expected.len(), "a body without an expectation");
    assert!(expected.len() >= 16);
    fs::remove_file(place.folder.path().join("adult.txt")).unwrap();
    assert!(place.held().contains("No such file"));
    // What is sound goes live, odd lines included.
    for body in [odd(100), most(80), good().replace('\n', "\r\n")] {
        place.write(good());
        place.load().unwrap();
        place.write(body);
        assert_eq!(place.load().unwrap().status[0].state, ListState::Current);
    }
}

#[test]
fn first_edition_that_is_bad_is_an_error_not_an_empty_list() {
    let place = Place::new(POLICY);
    for body in ["", "<html>", "# nothing\n", "good.example\n"] {
        place.write(body);
        assert!(place.load().is_err(), "{body}");
    }
}

#[test]
fn shrunk_edition_goes_live_once_a_person_approves_that_very_one() {
    let place = Place::new(POLICY);
    place.write(good());
    place.load().unwrap();
    place.write("bad.example\nn1.example\n");
    let ListState::Held { digest, .. } = place.load().unwrap().status[0].state.clone() else { panic!("went live") };
    place.keeper.approve(&place.policy.lists[0], &digest).unwrap();
    let loaded = place.load().unwrap();
    assert_eq!((&loaded.status[0].state, loaded.status[0].entries), (&ListState::Current, 2));
}

#[test]
fn damaged_or_half_written_kept_edition_is_not_used() {
    let place = Place::new(POLICY);
    place.write(good());
    place.load().unwrap();
    let folder = place.folder.path().join("state/adult");
    let kept = folder.join(fs::read_to_string(folder.join("good")).unwrap());
    place.write("");
    let part = kept.join("part-0");
    let whole = fs::read(&part).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"other.example\n"] {
        fs::write(&part, damaged).unwrap();
        assert!(place.load().is_err());
    }
    fs::write(&part, &whole).unwrap();
    assert!(place.held().contains("empty"));
    // A name that leads elsewhere is not followed.
    fs::write(folder.join("good"), "../../adult.txt").unwrap();
    assert!(place.load().is_err());
}

#[test]
fn old_editions_are_removed_but_the_one_before() {
    let place = Place::new(POLICY);
    for n in 0..5 {
        place.write(good() + &format!("more{n}.example\n"));
        place.load().unwrap();
    }
    let folders = fs::read_dir(place.folder.path().join("state/adult")).unwrap();
    assert_eq!(folders.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 2);
}

#[test]
fn age_of_an_edition_counts_from_its_first_reading() {
    let place = Place::new(POLICY);
    place.write(good());
    let status = place.load().unwrap().status.remove(0);
    let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + days * 86_400);
    assert!(!status.is_stale(at(14)) && status.is_stale(at(15)));
    assert!(!status.is_stale(SystemTime::UNIX_EPOCH), "a clock that is not set says nothing");
}

#[test]
fn list_by_url_that_was_never_fetched_is_an_error() {
    let policy = "version = 1\n[list.x]\nurl = \"https://lists.example.org/x\"\ncategory = \"adult\"\n";
    let place = Place::new(policy);
    let error = place.load().unwrap_err().to_string();
    assert_eq!(
        error,
        "list x has not been fetched from https://lists.example.org/x yet; nothing can be compiled without it"
    );
}

fn folder_policy(key: &str) -> Policy {
    Policy::parse(&format!("version = 1\n[list.x]\nfile = \"x\"\nformat = \"ut1\"\n{key}\n")).unwrap()
}

fn write_all(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }
}

#[test]
fn folder_of_ut1_is_read_with_all_its_files() {
    let folder = tempfile::tempdir().unwrap();
    write_all(
        folder.path(),
        &[
            ("x/domains", "bad.example\n192.0.2.1\n"),
            ("x/urls", "page.example/a\nsite.example\n"),
            ("x/expressions", "(^|[-.])(gamble|casino)s?[0-9]\n"),
            ("x/usage", "black\n"),
            ("x/README", "not a list\n"),
        ],
    );
    let policy = folder_policy("category = \"gambling\"");
    let edition = sheshi_lists::load(&policy, folder.path(), &mut |_| ()).unwrap().remove(0);
    assert_eq!(edition.entries(), 2);
    let refused: Vec<_> = edition.refused().iter().map(|(why, count)| (why.text(), *count)).collect();
    assert_eq!(refused, [("an address, not a name", 1), ("a URL with a path: not enforceable by DNS", 2)]);
    for (name, expected) in [("www.bad.example", true), ("my-casino7.example", true), ("page.example", false)] {
        assert_eq!(edition.lists(&Name::parse(name).unwrap()), expected, "{name}");
    }
}

#[test]
fn allow_list_of_ut1_is_not_taken_for_a_block_list_nor_the_reverse() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path(), &[("x/domains", "good.example\n"), ("x/usage", "white\nchild\n")]);
    let blocked = sheshi_lists::load(&folder_policy("category = \"adult\""), folder.path(), &mut |_| ());
    assert!(blocked.unwrap_err().to_string().contains("its names are to be allowed; write use = \"allow\""));
    assert!(sheshi_lists::load(&folder_policy("use = \"allow\""), folder.path(), &mut |_| ()).is_ok());
    write_all(folder.path(), &[("x/usage", "black\n")]);
    let allowed = sheshi_lists::load(&folder_policy("use = \"allow\""), folder.path(), &mut |_| ());
    assert!(allowed.unwrap_err().to_string().contains("its names are to be blocked"));
}

#[test]
fn hashed_list_blocks_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    // printf %s bad.example | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…
    let digest = "78207b46122821d6dd6fe43731e3a2c8dd4bd0e7ca421ade530dba4877fc4c35";
    write_all(folder.path(), &[("x", digest), ("key", &"01".repeat(32))]);
    let text = "version = 1\n[list.x]\nfile = \"x\"\nformat = \"hashed\"\nkey_file = \"key\"\ncategory = \"csam\"\n";
    let policy = Policy::parse(text).unwrap();
    let edition = sheshi_lists::load(&policy, folder.path(), &mut |_| ()).unwrap().remove(0);
    assert!(edition.lists(&Name::parse("www.bad.example").unwrap()));
    assert!(!edition.lists(&Name::parse("good.example").unwrap()));
    for key in ["", "01", &"0x".repeat(32), &"01".repeat(33)] {
        write_all(folder.path(), &[("key", key)]);
        let error = sheshi_lists::load(&policy, folder.path(), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("not 64 hexadecimal digits"), "{error}");
    }
}
