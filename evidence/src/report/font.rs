//! The fonts of the PDF: widths, and a subset to embed. Reads just the tables that our own two files have.

use std::collections::BTreeMap;

/// A TrueType font without composite glyphs.
pub(super) struct Font {
    data: &'static [u8],
    tables: BTreeMap<[u8; 4], (usize, usize)>,
    /// `loca` in 4-byte entries.
    long: bool,
    metrics: u16,
}

/// Glyphs per em of both fonts.
pub(super) const UNITS: i64 = 2_048;
/// Shown for what the font has no glyph for.
const UNKNOWN: char = '\u{fffd}';

impl Font {
    pub(super) fn regular() -> Self {
        Self::of(include_bytes!("../../fonts/regular.ttf"))
    }

    pub(super) fn bold() -> Self {
        Self::of(include_bytes!("../../fonts/bold.ttf"))
    }

    fn of(data: &'static [u8]) -> Self {
        let count = usize::from(read16(data, 4));
        let table = |i: usize| {
            let at = 12 + 16 * i;
            let tag = [data[at], data[at + 1], data[at + 2], data[at + 3]];
            (tag, (read32(data, at + 8), read32(data, at + 12)))
        };
        let mut font = Self { data, tables: (0..count).map(table).collect(), long: false, metrics: 0 };
        font.long = read16(font.table(b"head"), 50) == 1;
        font.metrics = read16(font.table(b"hhea"), 34);
        font
    }

    fn table(&self, tag: &[u8; 4]) -> &'static [u8] {
        let (at, length) = self.tables[tag];
        &self.data[at..at + length]
    }

    /// The glyph of a character, and what it stands for where it is not its own.
    pub(super) fn glyph(&self, c: char) -> (u16, char) {
        match self.find(c) {
            0 => (self.find(UNKNOWN), UNKNOWN),
            glyph => (glyph, c),
        }
    }

    /// Format 4 of `cmap` (OpenType 1.9): segments with a delta or a list of glyphs.
    fn find(&self, c: char) -> u16 {
        let Ok(code) = u16::try_from(u32::from(c)) else { return 0 };
        let table = self.table(b"cmap");
        let map = &table[read32(table, 8)..];
        let twice = usize::from(read16(map, 6));
        let (ends, starts) = (14, 16 + twice);
        let (deltas, ranges) = (starts + twice, starts + 2 * twice);
        let Some(at) = (0..twice).step_by(2).find(|at| read16(map, ends + at) >= code) else { return 0 };
        let start = read16(map, starts + at);
        if start > code {
            return 0;
        }
        let (delta, range) = (read16(map, deltas + at), usize::from(read16(map, ranges + at)));
        if range == 0 {
            return code.wrapping_add(delta);
        }
        match read16(map, ranges + at + range + 2 * usize::from(code - start)) {
            0 => 0,
            glyph => glyph.wrapping_add(delta),
        }
    }

    /// Advance width in font units.
    pub(super) fn advance(&self, glyph: u16) -> i64 {
        i64::from(read16(self.table(b"hmtx"), 4 * usize::from(glyph.min(self.metrics - 1))))
    }

    fn outline(&self, glyph: u16) -> &'static [u8] {
        let (loca, glyf) = (self.table(b"loca"), self.table(b"glyf"));
        let end = |i: usize| if self.long { read32(loca, 4 * i) } else { 2 * usize::from(read16(loca, 2 * i)) };
        &glyf[end(usize::from(glyph))..end(usize::from(glyph) + 1)]
    }

    /// A font of just these glyphs, numbered as they come.
    pub(super) fn subset(&self, glyphs: &[u16]) -> Vec<u8> {
        let (mut glyf, mut loca, mut hmtx) = (Vec::new(), vec![0; 4], Vec::new());
        for &glyph in glyphs {
            glyf.extend_from_slice(self.outline(glyph));
            glyf.resize(glyf.len().next_multiple_of(4), 0);
            loca.extend_from_slice(&(glyf.len() as u32).to_be_bytes());
            hmtx.extend_from_slice(&(self.advance(glyph) as u16).to_be_bytes());
            // The left side bearing is where the outline begins.
            let bearing = self.outline(glyph).get(2..4).unwrap_or(&[0, 0]);
            hmtx.extend_from_slice(bearing);
        }
        let count = (glyphs.len() as u16).to_be_bytes();
        let mut head = self.table(b"head").to_vec();
        head[50..52].copy_from_slice(&[0, 1]);
        let mut hhea = self.table(b"hhea").to_vec();
        hhea[34..36].copy_from_slice(&count);
        let mut maxp = self.table(b"maxp").to_vec();
        maxp[4..6].copy_from_slice(&count);
        let tables: [(&[u8; 4], Vec<u8>); 6] =
            [(b"glyf", glyf), (b"head", head), (b"hhea", hhea), (b"hmtx", hmtx), (b"loca", loca), (b"maxp", maxp)];
        let mut font = vec![0, 1, 0, 0, 0, 6, 0, 64, 0, 2, 0, 32];
        let mut at = 12 + 16 * tables.len();
        for (tag, table) in &tables {
            font.extend_from_slice(*tag);
            for number in [checksum(table), at as u32, table.len() as u32] {
                font.extend_from_slice(&number.to_be_bytes());
            }
            at += table.len().next_multiple_of(4);
        }
        for (_, table) in &tables {
            font.extend_from_slice(table);
            font.resize(font.len().next_multiple_of(4), 0);
        }
        font
    }
}

fn checksum(table: &[u8]) -> u32 {
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_be_bytes(word)
    };
    table.chunks(4).fold(0, |sum: u32, bytes| sum.wrapping_add(word(bytes)))
}

fn read16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

fn read32(data: &[u8], at: usize) -> usize {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_have_what_the_words_and_the_names_of_the_region_need() {
        for font in [Font::regular(), Font::bold()] {
            for c in "abcËëÇçŽšČćđ“”’–→✓✗•…Скопје Ελλάδα?!%".chars() {
                let (glyph, shown) = font.glyph(c);
                assert_eq!(shown, c);
                assert!(font.advance(glyph) > 0, "{c}");
                assert!(c == ' ' || !font.outline(glyph).is_empty(), "{c}");
            }
            assert_eq!(font.glyph('漢').1, UNKNOWN);
            assert_eq!(font.glyph('😀').1, UNKNOWN);
        }
    }
}
