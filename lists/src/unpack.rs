//! What a server sent, unpacked: gzip, zstd and tar, told by their first octets, whatever the server calls them. What
//! unfolds to more than a list can is refused before it has cost more than that.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use sheshi_policy::List;

use crate::read::Text;

/// One for the file, one for the way.
const LAYERS: usize = 2;
/// Enough to know a tar by (POSIX ustar: the mark is at 257).
const HEAD: u64 = 512;
/// Names compress four to ten times; what unfolds to more than this many times its size is made to harm.
const RATIO: u64 = 64;
/// What anything may unfold to.
const FREE: u64 = 1 << 20;

/// Why a body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Unpackable {
    /// It is cut short or damaged.
    #[error("it cannot be unpacked: {0}")]
    Damaged(#[from] io::Error),
    /// It grows beyond all measure.
    #[error("it unfolds to more than {0} MiB, which no list of its size does")]
    Bomb(u64),
    /// Packed again and again.
    #[error("it is packed more than twice")]
    Layers,
    /// A tar without the files of UT1.
    #[error("its tar is not one category of UT1: {0}; {1}")]
    Folder(&'static str, &'static str),
}

/// A list's text from what was received; `limit` is how many octets it may have unpacked.
pub(crate) fn unpack(list: &List, body: &[u8], limit: u64) -> Result<Text, Unpackable> {
    let limit = limit.min(FREE + RATIO * body.len() as u64);
    let mut source: Box<dyn Read + '_> = Box::new(body);
    for layer in 0..=LAYERS {
        let mut head = Vec::new();
        source.by_ref().take(HEAD).read_to_end(&mut head).map_err(|error| told(error, limit))?;
        let kind = Kind::of(&head);
        let whole = Cursor::new(head).chain(source);
        if layer == LAYERS && matches!(kind, Kind::Gzip | Kind::Zstd) {
            return Err(Unpackable::Layers);
        }
        source = match kind {
            Kind::Gzip => Box::new(Bounded { source: MultiGzDecoder::new(whole), left: limit }),
            Kind::Zstd => {
                let decoder = StreamingDecoder::new(whole).map_err(io::Error::other)?;
                Box::new(Bounded { source: decoder, left: limit })
            }
            Kind::Tar => return untar(list, whole, limit),
            Kind::Plain => {
                let mut text = Vec::new();
                let mut whole = Bounded { source: whole, left: limit };
                whole.read_to_end(&mut text).map_err(|error| told(error, limit))?;
                return Ok(Text { parts: vec![(list.format, text)] });
            }
        };
    }
    Err(Unpackable::Layers)
}

enum Kind {
    Gzip,
    Zstd,
    Tar,
    Plain,
}

impl Kind {
    fn of(head: &[u8]) -> Self {
        match head {
            // RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ if head.get(257..262) == Some(b"ustar") => Self::Tar,
            _ => Self::Plain,
        }
    }
}

/// The files of UT1 in a tar: of one folder, whatever else lies beside them.
fn untar(list: &List, tar: impl Read, limit: u64) -> Result<Text, Unpackable> {
    let mut archive = tar::Archive::new(tar);
    let mut folder = None;
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|error| told(error, limit))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.into_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| Text::is_of_folder(name)) else {
            continue;
        };
        let here = path.parent().map(ToOwned::to_owned).unwrap_or_default();
        if *folder.get_or_insert_with(|| here.clone()) != here {
            return Err(Unpackable::Folder("it has several folders", "subscribe to each category by itself"));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| told(error, limit))?;
        files.insert(name.to_owned(), content);
    }
    // The checksum of what it was packed in comes last.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| told(error, limit))?;
    Text::of_folder(list, files).map_err(|(wrong, right)| Unpackable::Folder(wrong, right))
}

/// A source that fails when it gives more than it may.
struct Bounded<R> {
    source: R,
    left: u64,
}

/// What [`Bounded`] fails with, so that it is known again behind a decoder.
#[derive(Debug, thiserror::Error)]
#[error("too large")]
struct TooLarge;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(space)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(TooLarge)),
        }
        Ok(length)
    }
}

fn told(error: io::Error, limit: u64) -> Unpackable {
    // A decoder above may have wrapped it.
    let mut source: Option<&(dyn std::error::Error + 'static)> =
        error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(inner) = source {
        if inner.is::<TooLarge>() {
            return Unpackable::Bomb(limit >> 20);
        }
        source = match inner.downcast_ref::<io::Error>() {
            Some(inner) => inner.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => inner.source(),
        };
    }
    Unpackable::Damaged(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use sheshi_policy::{Format, Policy};

    use super::*;

    const LIMIT: u64 = 8 << 20;

    fn list(more: &str) -> List {
        let text = format!("version = 1\n[list.x]\nurl = \"https://lists.example/x\"\n{more}\n");
        Policy::parse(&text).unwrap().lists.remove(0)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn plain(body: &[u8]) -> Result<Vec<u8>, String> {
        let text = unpack(&list("category = \"adult\""), body, LIMIT).map_err(|error| error.to_string())?;
        assert_eq!(text.parts.len(), 1);
        Ok(text.parts.into_iter().next().unwrap().1)
    }

    #[test]
    fn text_comes_out_however_it_was_packed() {
        let names: String = (0..5000).map(|n| format!("n{n}.example\n")).collect();
        let names = names.as_bytes();
        let members = [gzip(&names[..1000]), gzip(&names[1000..])].concat();
        for body in [names.to_vec(), gzip(names), zstd(names), gzip(&gzip(names)), gzip(&zstd(names)), members] {
            assert_eq!(plain(&body).unwrap(), names);
        }
    }

    #[test]
    fn bomb_is_refused_before_it_unfolds() {
        let zeros = vec![0; 16 << 20];
        let bombs = [gzip(&zeros), zstd(&zeros), gzip(&gzip(&zeros)), gzip(&gzip(b"").repeat(100_000))];
        for bomb in bombs {
            let refused = plain(&bomb).unwrap_err();
            assert!(refused.contains("which no list of its size does"), "{refused} ({} octets)", bomb.len());
        }
        assert!(plain(&gzip(&gzip(&gzip(b"bad.example")))).unwrap_err().contains("more than twice"));
        let large = "bad.example\n".repeat(1 << 20);
        assert!(plain(large.as_bytes()).unwrap_err().contains("more than 8 MiB"));
    }

    #[test]
    fn body_that_is_cut_short_is_refused() {
        let names: String = (0..5000u32).map(|n| format!("{}.example\n", n.wrapping_mul(2_654_435_761))).collect();
        for whole in [gzip(names.as_bytes()), zstd(names.as_bytes()), gzip(&tar(&[("x/domains", &names)]))] {
            for cut in [whole.len() - 1, whole.len() / 2, 20] {
                let refused = plain(&whole[..cut]);
                assert!(refused.is_err(), "cut at {cut} of {}", whole.len());
            }
        }
    }

    #[test]
    fn tar_of_ut1_is_read_as_its_folder_would_be() {
        let files = [
            ("adult/README", "no list"),
            ("adult/domains", "bad.example\n"),
            ("adult/expressions", "(casino|poker)[0-9]\n"),
            ("adult/urls", "page.example/a\n"),
            ("adult/usage", "black\n"),
        ];
        let text = unpack(&list("category = \"adult\""), &gzip(&tar(&files)), LIMIT).unwrap();
        let formats: Vec<Format> = text.parts.iter().map(|(format, _)| *format).collect();
        assert_eq!(formats, [Format::Ut1, Format::Regex, Format::Urls]);
        let says = |list: &List, files: &[(&str, &str)]| unpack(list, &tar(files), LIMIT).unwrap_err().to_string();
        assert!(says(&list("use = \"allow\""), &files).contains("its names are to be blocked"));
        let two = [files[1], ("games/domains", "game.example\n")];
        assert!(says(&list("category = \"adult\""), &two).contains("several folders"));
        assert!(says(&list("category = \"adult\""), &files[..1]).contains("none of `domains`"));
    }
}
