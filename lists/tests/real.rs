//! Real lists (the folder named by `SHESHI_LISTS`), or generated ones of the same shape: every name of them is blocked
//! by the compiled policy, and nothing else.

use std::{
    collections::HashSet,
    env, fs,
    path::{Path, PathBuf},
};

use sheshi_policy::{Compiled, GroupId, Moment, Name, Policy, Refusal, Rule};

/// Lists by name, path, category, and how a line gives its name.
type Row = (&'static str, &'static str, &'static str, fn(&str) -> Option<&str>);

const LISTS: &[Row] = &[
    ("porn", "sinfonietta/pornography-hosts", "adult", hosts),
    ("bets", "sinfonietta/gambling-hosts", "gambling", hosts),
    ("social", "sinfonietta/social-hosts", "social", hosts),
    ("phishing", "cbuijs/phishing-domains-top-n", "phishing", plain),
    ("drugs", "blocklistproject/drugs.adblock", "drugs", adblock),
    ("scam", "blocklistproject/scam.adblock", "scam", adblock),
    ("vpn", "ut1/vpn", "bypass", plain),
    ("doh", "ut1/doh", "bypass", plain),
    ("dating", "ut1/dating", "dating", plain),
    ("warez", "ut1/warez", "piracy", plain),
];

fn hosts(line: &str) -> Option<&str> {
    line.split('#').next()?.split_whitespace().nth(1)
}

fn plain(line: &str) -> Option<&str> {
    Some(line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn adblock(line: &str) -> Option<&str> {
    line.trim().strip_prefix("||")?.strip_suffix('^')
}

/// Writes lists of the shape of the real ones: same files, same odd lines, fewer names.
fn generate(folder: &Path) {
    for (list, (name, path, _, _)) in LISTS.iter().enumerate() {
        let mut lines = vec!["# generated".to_owned(), String::new()];
        for n in 0..2000 {
            let name = match n % 5 {
                0 => format!("www.{name}{n}.example"),
                1 => format!("{name}-{n}.co.uk"),
                2 => format!("xn--{name}{n}-kva.example.com"),
                3 => format!("a.b.c.{name}{n}.example.org"),
                _ => format!("{name}_{n}.example.net"),
            };
            lines.push(match list {
                0..=2 => format!("0.0.0.0 {name}"),
                4 | 5 => format!("||{name}^"),
                _ => name,
            });
        }
        lines.extend(["192.0.2.1".to_owned(), "com".to_owned(), "bad..example".to_owned()]);
        let path = folder.join(path);
        let file = if path.starts_with(folder.join("ut1")) { path.join("domains") } else { path.clone() };
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, lines.join("\r\n")).unwrap();
        if path.is_dir() {
            fs::write(path.join("usage"), "black\n").unwrap();
            fs::write(path.join("urls"), "page.example/a\npage.example/b\n").unwrap();
        }
    }
}

/// The folder of real lists, or `generated`, with lists written into it.
fn lists(generated: &Path) -> PathBuf {
    match env::var_os("SHESHI_LISTS") {
        Some(folder) => PathBuf::from(folder),
        None => {
            generate(generated);
            generated.to_owned()
        }
    }
}

/// How many things a line says: a line of a hosts file may name several.
fn things(line: &str) -> usize {
    let line = line.split('#').next().unwrap_or(line);
    let mut words = line.split_whitespace();
    let address = words.next().is_some_and(|word| word.parse::<std::net::IpAddr>().is_ok());
    if address { words.count().max(1) } else { 1 }
}

#[test]
fn every_line_of_the_lists_is_taken_or_refused_with_a_reason() {
    let generated = tempfile::tempdir().unwrap();
    let folder = lists(generated.path());
    let mut seen = 0;
    for publisher in fs::read_dir(&folder).unwrap() {
        let publisher = publisher.unwrap().path();
        if !publisher.is_dir() {
            continue;
        }
        for list in fs::read_dir(publisher).unwrap() {
            let path = list.unwrap().path();
            let white = fs::read(path.join("usage")).is_ok_and(|usage| usage.starts_with(b"white"));
            let kind = if white { "use = \"allow\"" } else { "category = \"adult\"" };
            let text = format!("version = 1\n[list.x]\nfile = \"{}\"\n{kind}\n", path.display());
            let policy = Policy::parse(&text).unwrap();
            let edition = sheshi_lists::load(&policy, &folder, &mut |_| ());
            let edition = edition.unwrap_or_else(|error| panic!("{error}")).remove(0);
            let mut parts: Vec<PathBuf> = vec![path.clone()];
            if path.is_dir() {
                parts = fs::read_dir(&path).unwrap().map(|part| part.unwrap().path()).collect();
                parts.retain(|part| !(part.ends_with("usage") || white && part.ends_with("expressions")));
            }
            let mut lines = 0;
            for part in parts {
                let text = fs::read(part).unwrap();
                for line in text.split(|&octet| octet == b'\n').map(<[u8]>::trim_ascii) {
                    if !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b"!") {
                        lines += things(&String::from_utf8_lossy(line));
                    }
                }
            }
            let refused: u32 = edition.refused().values().sum();
            assert_eq!(edition.entries() + refused as usize, lines, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= LISTS.len());
}

#[test]
fn every_name_of_the_lists_is_blocked_and_no_neighbour() {
    let generated = tempfile::tempdir().unwrap();
    let folder = lists(generated.path());
    let mut text = "version = 1\n[safe_search]\nengines = []\nothers = \"allow\"\n".to_owned();
    for (name, path, category, _) in LISTS {
        text += &format!("[list.{name}]\nfile = \"{path}\"\ncategory = \"{category}\"\n");
    }
    let policy = Policy::parse(&text).unwrap();
    let editions = sheshi_lists::load(&policy, &folder, &mut |_| ()).unwrap();
    let file = sheshi_policy::compile(&policy, &editions, &mut |_| ()).unwrap();
    let on_disk = generated.path().join("policy");
    fs::write(&on_disk, &file).unwrap();
    let compiled = Compiled::load(&on_disk).unwrap();
    let view = compiled.view(GroupId(0), Moment::Unknown);

    let mut names = HashSet::new();
    for ((name, path, _, read), edition) in LISTS.iter().zip(&editions) {
        let path = folder.join(path);
        let path = if path.is_dir() { path.join("domains") } else { path };
        let text = fs::read(path).unwrap();
        let before = names.len();
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some(wire) = read(line).and_then(|name| Name::parse(name).ok())
                && !untouchable(&wire.to_string())
            {
                names.insert(wire);
            }
        }
        assert!(names.len() > before + 50, "{name}");
        let refused: u32 = edition.refused().values().sum();
        assert!(
            u64::from(refused) * 20 < edition.entries() as u64 || *name == "warez" || *name == "doh",
            "{name}: {refused}"
        );
    }
    let all = names.len();
    // Names under which anybody can register are refused, and there are few of them.
    let suffixes: u32 = editions.iter().filter_map(|edition| edition.refused().get(&Refusal::PublicSuffix)).sum();
    names.retain(|name| suffixes == 0 || compiled.decide(&name.wire(), &view).is_block());
    assert!(names.len() + suffixes as usize >= all, "{} of {all} names are blocked", names.len());
    for name in &names {
        let wire = name.wire();
        assert!(compiled.decide(&wire, &view).is_block(), "{name}");
        assert!(compiled.decide(&wire.to_ascii_uppercase(), &view).is_block(), "{name} in capitals");
        let below = [&b"\x03www"[..], &wire].concat();
        assert!(below.len() > 255 || compiled.decide(&below, &view).is_block(), "below {name}");
    }

    // The same name with another first letter, unless that is listed too, or below something listed.
    let listed = |name: &Name| {
        let text = name.to_string();
        text.match_indices('.')
            .map(|(at, _)| &text[at + 1..])
            .chain([&text[..]])
            .any(|part| Name::parse(part).is_ok_and(|part| names.contains(&part)))
    };
    for name in names.iter().take(20_000) {
        let Ok(neighbour) = Name::parse(&format!("q{name}")) else { continue };
        let verdict = compiled.decide(&neighbour.wire(), &view);
        assert_eq!(verdict.is_block(), listed(&neighbour), "{neighbour}");
        if !verdict.is_block() {
            assert_eq!(verdict.reason.rule, Rule::Default);
        }
    }
}

/// Names that lists have and that no line can block: top-level and special names. The real lists have a few.
fn untouchable(name: &str) -> bool {
    let special = ["localhost", "local", "lan", "home", "localdomain"];
    let top = name.rsplit('.').next().unwrap_or(name);
    special.contains(&top) || !name.contains('.')
}
