//! A list's text, from a file or from a folder as UT1 publishes them, within limits.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};
use sheshi_policy::{Edition, Format, List, Source};

use crate::{ListError, save::unhex};

/// Most octets of one list, all its files together.
pub const LIMIT: u64 = 512 << 20;

/// A list's text as it was read: one part for each file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Each part's format and content.
    pub parts: Vec<(Format, Vec<u8>)>,
}

impl Text {
    /// Reads a list that is a file or folder; a relative path starts at `folder`.
    pub fn read(list: &List, folder: &Path) -> Result<Self, ListError> {
        let path = match &list.source {
            Source::File(file) => folder.join(file),
            Source::Url(url) => return Err(ListError::NotFetched { list: list.name.to_string(), url: url.clone() }),
        };
        let failed = |source| ListError::Read { list: list.name.to_string(), path: path.clone(), source };
        if fs::metadata(&path).map_err(failed)?.is_dir() {
            return Self::read_folder(list, &path);
        }
        let mut left = LIMIT;
        Ok(Self { parts: vec![(list.format, read_file(list, &path, &mut left)?)] })
    }

    /// Whether a file of this name in a folder of UT1 is read.
    pub(crate) fn is_of_folder(name: &str) -> bool {
        matches!(name, "domains" | "urls" | "usage") || name.contains("expression")
    }

    fn read_folder(list: &List, path: &Path) -> Result<Self, ListError> {
        let failed = |source| ListError::Read { list: list.name.to_string(), path: path.to_owned(), source };
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
        let mut left = LIMIT;
        let mut files = BTreeMap::new();
        for entry in entries {
            if let Some(name) = entry.file_name().to_str().filter(|name| Self::is_of_folder(name)) {
                files.insert(name.to_owned(), read_file(list, &path.join(name), &mut left)?);
            }
        }
        Self::of_folder(list, files).map_err(|(wrong, right)| ListError::Folder {
            list: list.name.to_string(),
            path: path.to_owned(),
            wrong,
            right,
        })
    }

    /// `domains` are names, `expressions` and the like regular expressions, `urls` are counted, `usage` says what for.
    /// Else what is wrong, and what would be right. By name, so that the same folder has the same digest everywhere.
    pub(crate) fn of_folder(
        list: &List,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, (&'static str, &'static str)> {
        let allows = list.category.is_none();
        let mut parts = Vec::new();
        for (name, text) in files {
            let format = match &*name {
                "domains" => Format::Ut1,
                "urls" => Format::Urls,
                "usage" => match (text.trim_ascii_start().starts_with(b"white"), allows) {
                    (true, false) => {
                        let right = "write use = \"allow\" and no category";
                        return Err(("its `usage` says that its names are to be allowed", right));
                    }
                    (false, true) => {
                        let right = "write a category and no use";
                        return Err(("its `usage` says that its names are to be blocked", right));
                    }
                    _ => continue,
                },
                // An allow list cannot allow by expression: that would be too wide.
                _ if allows => continue,
                _ => Format::Regex,
            };
            // UT1 has empty files beside full ones.
            if !text.trim_ascii().is_empty() {
                parts.push((format, text));
            }
        }
        if parts.is_empty() {
            return Err(("it has none of `domains`, `expressions`, `urls`", "name a folder of one category"));
        }
        Ok(Self { parts })
    }

    /// SHA-256 of all parts, one after the other.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (_, text) in &self.parts {
            digest.update(text);
        }
        digest.finalize().into()
    }

    /// Parses it; the key of a hashed list is read from its file.
    pub fn parse(&self, list: &List, folder: &Path) -> Result<Edition, ListError> {
        let key = list.key_file.as_ref().map(|file| read_key(list, &folder.join(file))).transpose()?;
        let parts: Vec<(Format, &[u8])> = self.parts.iter().map(|(format, text)| (*format, &text[..])).collect();
        Edition::parse_parts(list, &parts, key).map_err(|why| ListError::NotAList { list: list.name.to_string(), why })
    }
}

fn read_file(list: &List, path: &Path, left: &mut u64) -> Result<Vec<u8>, ListError> {
    let name = || list.name.to_string();
    let failed = |source| ListError::Read { list: name(), path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    // One octet more than allowed tells a list that is too large from one that just fits.
    file.take(*left + 1).read_to_end(&mut text).map_err(failed)?;
    match left.checked_sub(text.len() as u64) {
        Some(rest) => *left = rest,
        None => return Err(ListError::TooLarge { list: name(), path: path.to_owned(), limit: LIMIT >> 20 }),
    }
    Ok(text)
}

fn read_key(list: &List, path: &Path) -> Result<[u8; 32], ListError> {
    let name = || list.name.to_string();
    let failed = |source| ListError::Read { list: name(), path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(200).read_to_string(&mut text)).map_err(failed)?;
    unhex(text.trim()).ok_or_else(|| ListError::Key { list: name(), path: path.to_owned() })
}
