//! docs/threats.md says which test proves that sheshi withstands which threat. This compares it with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rows of the tables: the id, and the cell that names the tests.
fn rows() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id |"));
    rows.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", id, attack, answer, tests, ""] = cells[..] else { panic!("not four cells: {line}") };
        assert!(!attack.is_empty() && !answer.is_empty(), "{id} says nothing");
        (id.to_owned(), tests.to_owned())
    })
    .collect()
}

/// The room and the function of each test that a cell names.
fn named(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|text| text.split_once(": ")).collect()
}

/// The functions of a room that are tests.
fn tests_of(room: &str) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root().join(room)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines: Vec<_> = text.lines().map(str::trim).collect();
                let marked = lines.windows(2).filter(|two| two[0].starts_with("#[") && two[0].contains("test"));
                let function = |line: &str| Some(line.split_once("fn ")?.1.split_once('(')?.0.to_owned());
                found.extend(marked.filter_map(|two| function(two[1])));
            }
        }
    }
    found
}

#[test]
fn every_threat_has_one_row() {
    let letters = [('D', 22), ('P', 15), ('W', 10), ('R', 15), ('F', 11)];
    let wanted: Vec<_> =
        letters.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n:02}"))).collect();
    let found: Vec<_> = rows().into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, wanted);
}

#[test]
fn every_row_names_a_test_or_says_why_there_is_none() {
    for (id, cell) in rows() {
        let reason = cell.strip_prefix("none: ");
        assert!(reason.is_none_or(|reason| reason.len() > 20), "{id} gives no reason");
        assert_eq!(reason.is_none(), !named(&cell).is_empty(), "{id} names tests or says why there are none: {cell}");
    }
}

#[test]
fn every_named_test_exists() {
    let rows = rows();
    let mut rooms = BTreeMap::new();
    for (id, cell) in &rows {
        for (room, name) in named(cell) {
            let tests = rooms.entry(room).or_insert_with(|| tests_of(room));
            assert!(tests.contains(name), "{id}: {room} has no test {name}");
        }
    }
}
