//! Text on pages: lines are broken, pages turned, and everything is tagged for who listens instead of looking. Knows the
//! PDF format (ISO 32000-1) through pdf-writer and nothing of reports. The same calls give the same bytes: lengths are whole
//! thousandths of a point, nothing is compressed, no date is written.

use std::collections::BTreeMap;

use pdf_writer::{
    Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr,
    types::{ArtifactType, CidFontType, FontFlags, StructRole, SystemInfo, TableHeaderScope, UnicodeCmap},
};

use super::font::{Font, UNITS};

/// A4 and its margins, in thousandths of a point.
const WIDTH: i64 = 595_000;
const HEIGHT: i64 = 842_000;
const MARGIN: i64 = 36_000;
/// What the foot of each page takes.
const FOOT: i64 = 34_000;
/// From margin to margin.
pub(super) const FULL: i64 = WIDTH - 2 * MARGIN;

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) bold: bool,
    pub(super) size: i64,
    pub(super) colour: [f32; 3],
}

/// A piece of text.
pub(super) type Run = (Style, String);

struct Word {
    style: Style,
    text: String,
    width: i64,
    /// Whether a space stands before it.
    spaced: bool,
}

enum Op {
    Text { style: Style, x: i64, y: i64, text: String, mark: Option<i32> },
    Line { x: i64, y: i64, length: i64, thickness: i64 },
    Frame { x: i64, y: i64, width: i64, height: i64, thickness: i64 },
}

enum Kid {
    Node(usize),
    Mark(usize, i32),
}

struct Node {
    role: StructRole,
    parent: usize,
    kids: Vec<Kid>,
}

/// Pages being filled.
pub(super) struct Paper {
    fonts: [Font; 2],
    used: [BTreeMap<u16, char>; 2],
    pages: Vec<Vec<Op>>,
    /// How many marks each page has.
    marks: Vec<Vec<usize>>,
    nodes: Vec<Node>,
    open: usize,
    y: i64,
}

impl Paper {
    pub(super) fn new() -> Self {
        let document = Node { role: StructRole::Document, parent: 0, kids: Vec::new() };
        let mut paper = Self {
            fonts: [Font::regular(), Font::bold()],
            used: [BTreeMap::new(), BTreeMap::new()],
            pages: Vec::new(),
            marks: Vec::new(),
            nodes: vec![document],
            open: 0,
            y: 0,
        };
        paper.turn();
        paper
    }

    /// Begins the next page.
    pub(super) fn turn(&mut self) {
        self.pages.push(Vec::new());
        self.marks.push(Vec::new());
        self.y = HEIGHT - MARGIN;
    }

    fn need(&mut self, height: i64) {
        if self.y - height < MARGIN + FOOT {
            self.turn();
        }
    }

    /// Leaves room.
    pub(super) fn gap(&mut self, height: i64) {
        self.y -= height;
    }

    /// How high the next text stands; for [`Self::frame`].
    pub(super) fn height(&self) -> i64 {
        self.y
    }

    /// A frame from some height down to here, over the full width.
    pub(super) fn frame(&mut self, from: i64, thickness: i64) {
        let (y, height) = (self.y, from - self.y);
        let frame = Op::Frame { x: MARGIN, y, width: FULL, height, thickness };
        self.pages.last_mut().expect("a page is open").push(frame);
    }

    fn begin(&mut self, role: StructRole) {
        let node = self.nodes.len();
        self.nodes.push(Node { role, parent: self.open, kids: Vec::new() });
        self.nodes[self.open].kids.push(Kid::Node(node));
        self.open = node;
    }

    fn end(&mut self) {
        self.open = self.nodes[self.open].parent;
    }

    fn mark(&mut self) -> i32 {
        let page = self.pages.len() - 1;
        let mark = self.marks[page].len() as i32;
        self.marks[page].push(self.open);
        self.nodes[self.open].kids.push(Kid::Mark(page, mark));
        mark
    }

    fn width(&self, style: Style, text: &str) -> i64 {
        let font = &self.fonts[usize::from(style.bold)];
        let units: i64 = text.chars().map(|c| font.advance(font.glyph(c).0)).sum();
        units * style.size / UNITS
    }

    /// Breaks runs into lines of at most this width; a word longer than that is broken too.
    fn lines(&self, runs: &[Run], width: i64) -> Vec<Vec<Word>> {
        let mut lines: Vec<Vec<Word>> = vec![Vec::new()];
        let mut used = 0;
        for (style, text) in runs {
            let space = self.width(*style, " ");
            for (i, text) in text.split(' ').enumerate() {
                for (part, text) in self.parts(*style, text, width).into_iter().enumerate() {
                    let own = self.width(*style, &text);
                    let spaced = i > 0 && part == 0;
                    let gap = if spaced { space } else { 0 };
                    let line = lines.last_mut().expect("there is one");
                    if !line.is_empty() && used + gap + own > width {
                        lines.push(Vec::new());
                        used = 0;
                    }
                    let line = lines.last_mut().expect("there is one");
                    used += own + if line.is_empty() { 0 } else { gap };
                    line.push(Word { style: *style, text, width: own, spaced: spaced && !line.is_empty() });
                }
            }
        }
        lines
    }

    fn parts(&self, style: Style, word: &str, width: i64) -> Vec<String> {
        if self.width(style, word) <= width {
            return vec![word.to_owned()];
        }
        let mut parts = vec![String::new()];
        for c in word.chars() {
            let part = parts.last_mut().expect("there is one");
            if !part.is_empty() && self.width(style, &format!("{part}{c}")) > width {
                parts.push(c.to_string());
            } else {
                part.push(c);
            }
        }
        parts
    }

    fn put(&mut self, style: Style, x: i64, y: i64, text: String, mark: Option<i32>) {
        let font = usize::from(style.bold);
        for c in text.chars() {
            let (glyph, shown) = self.fonts[font].glyph(c);
            self.used[font].insert(glyph, shown);
        }
        self.pages.last_mut().expect("a page is open").push(Op::Text { style, x, y, text, mark });
    }

    /// Draws lines from the current height down, as one piece of the open element.
    fn draw(&mut self, lines: Vec<Vec<Word>>, x: i64, top: i64, leading: i64) {
        for (i, line) in lines.into_iter().enumerate() {
            let y = top - leading * (i as i64 + 1) + leading / 4;
            let (mut at, mut words) = (x, line.into_iter().peekable());
            while let Some(word) = words.next() {
                let (style, start) = (word.style, at);
                let (mut text, mut width) = (word.text, word.width);
                // What looks alike on a line is drawn, and read aloud, as one.
                while let Some(next) = words.next_if(|next| same(next.style, style)) {
                    if next.spaced {
                        text.push(' ');
                    }
                    text.push_str(&next.text);
                    width = self.width(style, &text);
                }
                if words.peek().is_some_and(|next| next.spaced) {
                    text.push(' ');
                    width = self.width(style, &text);
                }
                // A reader that flows the text needs the space that the end of the line stands for.
                text.push(' ');
                let mark = self.mark();
                self.put(style, start, y, text, Some(mark));
                at = start + width;
            }
        }
    }

    /// A paragraph, or heading, of these runs.
    pub(super) fn text(&mut self, role: StructRole, runs: &[Run], indent: i64) {
        let leading = leading(runs);
        let lines = self.lines(runs, FULL - 2 * indent);
        // A heading does not stand alone at the foot of a page.
        let keep = if matches!(role, StructRole::H1 | StructRole::H2) { 4 } else { 1 };
        self.begin(role);
        let mut first = true;
        for line in lines {
            self.need(leading * if first { keep } else { 1 });
            first = false;
            let top = self.y;
            self.draw(vec![line], MARGIN + indent, top, leading);
            self.y = top - leading;
        }
        self.end();
    }

    /// A table; the head, when there is one, stands again on each page.
    pub(super) fn table(&mut self, columns: &[i64], head: Option<&[Run]>, rows: &[Vec<Vec<Run>>], ruled: bool) {
        self.begin(StructRole::Table);
        if let Some(head) = head {
            let cells: Vec<Vec<Run>> = head.iter().map(|run| vec![run.clone()]).collect();
            self.row(columns, &cells, StructRole::TH, true);
        }
        for row in rows {
            let height = self.row_height(columns, row);
            if self.y - height < MARGIN + FOOT {
                self.turn();
                if let Some(head) = head {
                    self.repeat(columns, head);
                }
            }
            self.row(columns, row, StructRole::TD, ruled);
        }
        self.end();
    }

    fn row_height(&self, columns: &[i64], row: &[Vec<Run>]) -> i64 {
        let height = |(width, runs): (&i64, &Vec<Run>)| self.lines(runs, width - 4_000).len() as i64 * leading(runs);
        columns.iter().zip(row).map(height).max().unwrap_or_default() + 1_500
    }

    fn row(&mut self, columns: &[i64], row: &[Vec<Run>], role: StructRole, ruled: bool) {
        let height = self.row_height(columns, row);
        self.need(height);
        self.begin(StructRole::TR);
        let (top, mut x) = (self.y, MARGIN);
        for (width, runs) in columns.iter().zip(row) {
            self.begin(role);
            let lines = self.lines(runs, width - 4_000);
            self.draw(lines, x, top, leading(runs));
            self.end();
            x += width;
        }
        self.end();
        self.y = top - height;
        if ruled {
            let line = Op::Line { x: MARGIN, y: self.y + 600, length: FULL, thickness: 300 };
            self.pages.last_mut().expect("a page is open").push(line);
        }
    }

    /// The head again: the eye needs it, the ear has heard it.
    fn repeat(&mut self, columns: &[i64], head: &[Run]) {
        let (top, mut x) = (self.y, MARGIN);
        for (width, run) in columns.iter().zip(head) {
            let y = top - leading(std::slice::from_ref(run));
            self.put(run.0, x, y, run.1.clone(), None);
            x += width;
        }
        self.y = top - leading(head) - 3_000;
    }

    /// The file. `foot` is what stands at the foot of each page, before the page's number.
    pub(super) fn finish(mut self, title: &str, language: &str, foot: &[Run], page_of: &str) -> Vec<u8> {
        let foot_lines = |paper: &Self| paper.lines(foot, FULL);
        let count = self.pages.len();
        for page in 0..count {
            // The page is taken out and put back, so that `put` writes to it.
            let saved = self.pages.split_off(page + 1);
            let mut y = MARGIN + FOOT - 12_000;
            for line in foot_lines(&self) {
                let text: String = line
                    .iter()
                    .map(|word| if word.spaced { format!(" {}", word.text) } else { word.text.clone() })
                    .collect();
                self.put(foot[0].0, MARGIN, y, text, None);
                y -= foot[0].0.size * 5 / 4;
            }
            let number = format!("{page_of} {}/{count}", page + 1);
            let x = WIDTH - MARGIN - self.width(foot[0].0, &number);
            self.put(foot[0].0, x, MARGIN - 12_000, number, None);
            let line = Op::Line { x: MARGIN, y: MARGIN + FOOT - 3_000, length: FULL, thickness: 500 };
            self.pages[page].push(line);
            self.pages.extend(saved);
        }
        Writer::new(&self).write(&self, title, language)
    }
}

fn same(a: Style, b: Style) -> bool {
    a.bold == b.bold && a.size == b.size && a.colour == b.colour
}

fn leading(runs: &[Run]) -> i64 {
    runs.iter().map(|(style, _)| style.size * 5 / 4).max().unwrap_or(9_000)
}

/// Thousandths of a point as the file writes them.
fn points(length: i64) -> f32 {
    length as f32 / 1_000.0
}

/// Where each object of the file is.
struct Writer {
    pdf: Pdf,
    /// For each font, by old glyph, the number in the subset.
    glyphs: [BTreeMap<u16, u16>; 2],
}

const CATALOG: i32 = 1;
const PAGES: i32 = 2;
const TREE: i32 = 3;
const PARENTS: i32 = 4;
const INFO: i32 = 5;
/// Five objects a font.
const FONTS: i32 = 6;
const FIRST_PAGE: i32 = 16;

impl Writer {
    fn new(paper: &Paper) -> Self {
        let numbers = |used: &BTreeMap<u16, char>| {
            let glyphs = std::iter::once(0).chain(used.keys().copied().filter(|glyph| *glyph != 0));
            glyphs.zip(0..).collect()
        };
        Self { pdf: Pdf::new(), glyphs: [numbers(&paper.used[0]), numbers(&paper.used[1])] }
    }

    fn page(page: usize) -> Ref {
        Ref::new(FIRST_PAGE + 2 * page as i32)
    }

    fn node(paper: &Paper, node: usize) -> Ref {
        Ref::new(FIRST_PAGE + 2 * paper.pages.len() as i32 + node as i32)
    }

    fn write(mut self, paper: &Paper, title: &str, language: &str) -> Vec<u8> {
        self.pdf.set_version(1, 7);
        let mut catalog = self.pdf.catalog(Ref::new(CATALOG));
        catalog.pages(Ref::new(PAGES)).lang(TextStr(language));
        catalog.pair(Name(b"StructTreeRoot"), Ref::new(TREE));
        catalog.mark_info().marked(true);
        catalog.viewer_preferences().display_doc_title(true);
        catalog.finish();
        self.pdf.document_info(Ref::new(INFO)).title(TextStr(title)).producer(TextStr("sheshi"));
        let kids = (0..paper.pages.len()).map(Self::page);
        self.pdf.pages(Ref::new(PAGES)).kids(kids).count(paper.pages.len() as i32);
        for font in 0..2 {
            self.font(paper, font);
        }
        for page in 0..paper.pages.len() {
            self.contents(paper, page);
        }
        self.tree(paper);
        self.pdf.finish()
    }

    fn font(&mut self, paper: &Paper, which: usize) {
        let font = &paper.fonts[which];
        let (glyphs, used) = (&self.glyphs[which], &paper.used[which]);
        let name: &[u8] = [b"SHESHI+DejaVuSans".as_slice(), b"SHESHI+DejaVuSans-Bold"][which];
        let at = FONTS + 5 * which as i32;
        let [outer, inner, descriptor, file, unicode] = [0, 1, 2, 3, 4].map(|i| Ref::new(at + i));
        let system = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
        let mut type0 = self.pdf.type0_font(outer);
        type0.base_font(Name(name)).encoding_predefined(Name(b"Identity-H"));
        type0.descendant_font(inner).to_unicode(unicode);
        type0.finish();
        let mut cid = self.pdf.cid_font(inner);
        cid.subtype(CidFontType::Type2).base_font(Name(name)).system_info(system).font_descriptor(descriptor);
        cid.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
        let widths = glyphs.keys().map(|glyph| (font.advance(*glyph) * 1_000 / UNITS) as f32);
        cid.widths().consecutive(0, widths);
        cid.finish();
        let thousandths = |units: f32| units * 1_000.0 / UNITS as f32;
        let mut about = self.pdf.font_descriptor(descriptor);
        about.name(Name(name)).flags(FontFlags::NON_SYMBOLIC).italic_angle(0.0).stem_v(if which == 0 {
            80.0
        } else {
            140.0
        });
        about.bbox(Rect::new(thousandths(-2_090.0), thousandths(-850.0), thousandths(3_442.0), thousandths(2_389.0)));
        about
            .ascent(thousandths(1_901.0))
            .descent(thousandths(-483.0))
            .cap_height(thousandths(1_493.0))
            .font_file2(file);
        about.finish();
        let subset = font.subset(&glyphs.keys().copied().collect::<Vec<_>>());
        self.pdf.stream(file, &subset).pair(Name(b"Length1"), subset.len() as i32);
        let mut map = UnicodeCmap::new(Name(b"Custom"), system);
        for (glyph, c) in used {
            map.pair(glyphs[glyph], *c);
        }
        self.pdf.cmap(unicode, &map.finish());
    }

    fn contents(&mut self, paper: &Paper, page: usize) {
        let mut content = Content::new();
        for op in &paper.pages[page] {
            match op {
                Op::Text { style, x, y, text, mark } => {
                    match mark {
                        Some(mark) => {
                            content.begin_marked_content_with_properties(Name(b"Span")).properties().identify(*mark);
                        }
                        None => artifact(&mut content, ArtifactType::Pagination),
                    }
                    let which = usize::from(style.bold);
                    let font = &paper.fonts[which];
                    let glyph = |c: char| self.glyphs[which][&font.glyph(c).0].to_be_bytes();
                    let bytes: Vec<u8> = text.chars().flat_map(glyph).collect();
                    let [r, g, b] = style.colour;
                    content.set_fill_rgb(r, g, b).begin_text();
                    content.set_font(Name([b"F0".as_slice(), b"F1"][which]), points(style.size));
                    content.next_line(points(*x), points(*y)).show(Str(&bytes)).end_text().end_marked_content();
                }
                Op::Line { x, y, length, thickness } => {
                    artifact(&mut content, ArtifactType::Layout);
                    content.set_line_width(points(*thickness)).set_stroke_gray(0.4);
                    content.move_to(points(*x), points(*y)).line_to(points(x + length), points(*y)).stroke();
                    content.end_marked_content();
                }
                Op::Frame { x, y, width, height, thickness } => {
                    artifact(&mut content, ArtifactType::Layout);
                    content.set_line_width(points(*thickness)).set_stroke_gray(0.0);
                    content.rect(points(*x), points(*y), points(*width), points(*height)).stroke().end_marked_content();
                }
            }
        }
        let stream = Ref::new(Self::page(page).get() + 1);
        let mut about = self.pdf.page(Self::page(page));
        about.parent(Ref::new(PAGES)).contents(stream).struct_parents(page as i32);
        about.media_box(Rect::new(0.0, 0.0, points(WIDTH), points(HEIGHT)));
        let mut resources = about.resources();
        let mut fonts = resources.fonts();
        fonts.pair(Name(b"F0"), Ref::new(FONTS)).pair(Name(b"F1"), Ref::new(FONTS + 5));
        fonts.finish();
        resources.finish();
        about.finish();
        self.pdf.stream(stream, &content.finish());
    }

    fn tree(&mut self, paper: &Paper) {
        let mut root = self.pdf.indirect(Ref::new(TREE)).start::<pdf_writer::writers::StructTreeRoot<'_>>();
        root.child(Self::node(paper, 0)).parent_tree_next_key(paper.pages.len() as i32);
        root.pair(Name(b"ParentTree"), Ref::new(PARENTS));
        root.finish();
        let first = FIRST_PAGE + 2 * paper.pages.len() as i32 + paper.nodes.len() as i32;
        let mut parents = self.pdf.number_tree::<Ref>(Ref::new(PARENTS));
        let mut numbers = parents.nums();
        for page in 0..paper.pages.len() {
            numbers.insert(page as i32, Ref::new(first + page as i32));
        }
        numbers.finish();
        parents.finish();
        for (page, marks) in paper.marks.iter().enumerate() {
            let refs = marks.iter().map(|node| Self::node(paper, *node));
            self.pdf.indirect(Ref::new(first + page as i32)).array().items(refs);
        }
        for (at, node) in paper.nodes.iter().enumerate() {
            let parent = if at == 0 { Ref::new(TREE) } else { Self::node(paper, node.parent) };
            let mut element = self.pdf.struct_element(Self::node(paper, at));
            element.kind(node.role).parent(parent);
            if node.role == StructRole::TH {
                element.attributes().push().table().scope(TableHeaderScope::Column);
            }
            let mut children = element.children();
            for kid in &node.kids {
                match kid {
                    Kid::Node(kid) => {
                        children.struct_element(Self::node(paper, *kid));
                    }
                    Kid::Mark(page, mark) => {
                        children.marked_content_ref().page(Self::page(*page)).marked_content_id(*mark);
                    }
                }
            }
            children.finish();
        }
    }
}

fn artifact(content: &mut Content, kind: ArtifactType) {
    content.begin_marked_content_with_properties(Name(b"Artifact")).properties().artifact().kind(kind);
}
