//! Block lists in the layout of the public ones that examples/policy-public-lists.toml names, made up name by name, for
//! machines that have no real ones.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::{Doing, LabError};

/// How many names each made-up list has.
const NAMES: usize = 2000;

/// A list of the policy: its file, how a line of it is written, and whether its names are blocked.
struct Shape {
    file: &'static str,
    line: fn(&str) -> String,
    head: &'static str,
}

const SHAPES: [Shape; 12] = [
    Shape { file: "sinfonietta/pornography-hosts", line: hosts, head: "# made up\n0.0.0.0 pornhub.com\n" },
    Shape { file: "sinfonietta/gambling-hosts", line: hosts, head: "" },
    Shape { file: "sinfonietta/social-hosts", line: hosts, head: "" },
    Shape { file: "ut1/gambling/domains", line: plain, head: "" },
    Shape { file: "ut1/dating/domains", line: plain, head: "" },
    Shape { file: "ut1/doh/domains", line: plain, head: "" },
    Shape { file: "ut1/vpn/domains", line: plain, head: "" },
    Shape { file: "ut1/child/domains", line: plain, head: "" },
    Shape { file: "cbuijs/malware-domains-top-n", line: plain, head: "" },
    Shape { file: "cbuijs/phishing-domains-top-n", line: plain, head: "" },
    Shape { file: "blocklistproject/scam.adblock", line: adblock, head: "! Title: made up\n" },
    Shape { file: "blocklistproject/drugs.adblock", line: adblock, head: "! Title: made up\n" },
];

fn hosts(name: &str) -> String {
    format!("0.0.0.0 {name}")
}

fn plain(name: &str) -> String {
    name.to_owned()
}

fn adblock(name: &str) -> String {
    format!("||{name}^")
}

/// Writes made-up lists into this folder.
pub fn make_up(folder: &Path) -> Result<(), LabError> {
    for shape in &SHAPES {
        let stem = shape.file.replace(['/', '.'], "-");
        let mut text = shape.head.to_owned();
        for number in 0..NAMES {
            _ = writeln!(text, "{}", (shape.line)(&format!("n{number}.{stem}.sheshi-lab.example")));
        }
        write(&folder.join(shape.file), &text)?;
    }
    for folder in ["gambling", "dating", "doh", "vpn", "adult"].map(|name| folder.join("ut1").join(name)) {
        write(&folder.join("usage"), "black\n")?;
    }
    write(&folder.join("ut1/child/usage"), "white\n")?;
    write(&folder.join("ut1/adult/urls"), "example.org/some/page\n")?;
    write(&folder.join("ut1/adult/very_restrictive_expression"), "(hardcore|softcore)\n")
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    fs::create_dir_all(&folder).and_then(|()| fs::write(path, text)).doing(|| format!("writing {}", path.display()))
}

/// Some names that a list in this folder blocks, from all over it: its file, and the names.
pub fn samples(folder: &Path, every: usize) -> Result<Vec<(String, Vec<String>)>, LabError> {
    let blocking = SHAPES.iter().filter(|shape| !shape.file.contains("child"));
    blocking
        .map(|shape| {
            let path = folder.join(shape.file);
            let text = fs::read(&path).doing(|| format!("reading {}", path.display()))?;
            let text = String::from_utf8_lossy(&text);
            let names: Vec<String> = text.lines().filter_map(|line| name_of(line, shape)).collect();
            if names.is_empty() {
                let empty = io::Error::other("there is no name in it");
                return Err(empty).doing(|| format!("reading {}", path.display()));
            }
            Ok((shape.file.to_owned(), names.iter().step_by(names.len().div_ceil(every)).cloned().collect()))
        })
        .collect()
}

/// The name a line of a list blocks, where the line is as simple as its format allows.
fn name_of(line: &str, shape: &Shape) -> Option<String> {
    // Real hosts files have any of the addresses that lead nowhere, and any white space behind it.
    let line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ").replace("127.0.0.1 ", "0.0.0.0 ");
    let name = line.trim_start_matches("0.0.0.0 ").trim_start_matches("||").trim_end_matches('^');
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = |label: &str| (1..64).contains(&label.len()) && label.bytes().all(letter);
    let is_name = name.contains('.') && name.split('.').all(good) && name.parse::<std::net::IpAddr>().is_err();
    (is_name && (shape.line)(name) == line).then(|| name.to_owned())
}
