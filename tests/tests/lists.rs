//! Names of real block lists are blocked. `SHESHI_LISTS` names the folder; where there is none, lists of the same shape
//! are made up.

use std::{env, path::PathBuf};

use hickory_proto::rr::RecordType;
use sheshi_tests::{Lab, Options, lists, plan};

/// How many names of each list are asked for.
const SAMPLES: usize = 25;

#[test]
fn names_of_every_list_are_blocked_and_others_are_not() {
    let made_up = tempfile::tempdir().unwrap();
    let folder = match env::var_os("SHESHI_LISTS").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => {
            lists::make_up(made_up.path()).unwrap();
            made_up.path().to_owned()
        }
    };
    let options = Options { lists: Some(folder.clone()), guests: 1, ..Options::default() };
    let lab = Lab::start(options).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    let (mut asked, mut open) = (0, Vec::new());
    for (list, names) in lists::samples(&folder, SAMPLES).unwrap() {
        for name in names {
            asked += 1;
            let answer = guest.resolve(&name, RecordType::A).unwrap();
            if !answer.is_blocked() {
                open.push(format!("{name} of {list}: {} {:?}", answer.code(), answer.addresses()));
            }
        }
    }
    println!("{asked} names of {} asked for", folder.display());
    assert!(open.is_empty(), "not blocked:\n{}", open.join("\n"));
    assert!(guest.resolve("pornhub.com", RecordType::HTTPS).unwrap().is_blocked());
    for name in ["news.example.org", "sheshi-lab.example", "www.tirana.example"] {
        let answer = guest.resolve(name, RecordType::A).unwrap();
        assert_eq!(answer.addresses(), [plan::WEB_V4], "{name}: {}", answer.code());
    }
}
