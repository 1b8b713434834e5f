//! Patterns: wildcards inside a label, keywords and regular expressions, behind one automaton. The one file that knows
//! aho-corasick.
//!
//! Each pattern has literals of which one must occur in any name it matches. One pass of the automaton over a name
//! finds the few patterns that are then tried; most names try none.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::meta;
use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Repetition},
};
use serde::{Deserialize, Serialize};

use crate::atom::{Atom, Scope, What};

/// A regular expression's program may take this much memory, in octets.
const SIZE: usize = 256 << 10;
/// Literals an expression may be found by; more would make it cheaper to try it always.
const LITERALS: usize = 400;
/// A literal is at least this long: shorter ones occur in too many names.
const SHORTEST: usize = 2;

/// A pattern as stored: the text of a regular expression over the dotted lower-case name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pattern {
    /// The regular expression.
    pub(crate) regex: Box<str>,
    /// What it says, packed.
    pub(crate) atom: u32,
    /// The line of the list it stands on.
    pub(crate) line: u32,
}

/// Why a pattern is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAPattern {
    /// Not a regular expression, or one that does not take linear time (look-around, back-references).
    Syntax,
    /// Too big.
    Big,
    /// It has no two fixed characters in a row by which it could be found, or matches any name.
    Loose,
}

/// How an expression starts that matches whatever is below what it matches.
const LABELS: &str = "(?:^|\\.)";

/// How far the word of an expression reaches: one that is not known to match what is below speaks of the name only.
pub(crate) fn scope(regex: &str) -> Scope {
    if regex.starts_with(LABELS) && regex.ends_with('$') { Scope::Tree } else { Scope::Exact }
}

/// A pattern that says only that it is listed.
pub(crate) fn plain(regex: &str) -> Pattern {
    let atom = Atom { what: What::Listed(0), scope: Scope::Tree }.pack();
    Pattern { regex: regex.into(), atom, line: 0 }
}

/// The regular expression of an adblock-like wildcard: `*` is any run of characters.
pub(crate) fn wildcard(text: &str, whole_labels: bool) -> String {
    let mut regex = String::from(if whole_labels { LABELS } else { "" });
    for part in text.split_inclusive('*') {
        regex.push_str(&regex_syntax::escape(part.trim_end_matches('*')));
        if part.ends_with('*') {
            regex.push_str(".*");
        }
    }
    regex
}

/// Checks a regular expression.
pub(crate) fn check(regex: &str) -> Result<(), NotAPattern> {
    if regex.len() > 4096 {
        return Err(NotAPattern::Big);
    }
    let hir = parse(regex).ok_or(NotAPattern::Syntax)?;
    literals(&hir).ok_or(NotAPattern::Loose)?;
    let program = build(&hir).ok_or(NotAPattern::Big)?;
    // What matches unrelated names matches everything.
    if [&b""[..], b"a.example", b"0-0.test"].iter().all(|name| program.is_match(*name)) {
        return Err(NotAPattern::Loose);
    }
    Ok(())
}

fn parse(regex: &str) -> Option<Hir> {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(60).build();
    parser.parse(regex).ok().map(small)
}

/// The expression over names in lower case: what would match a capital matches the small letter.
fn small(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0.to_ascii_lowercase()),
        HirKind::Class(class) => {
            let mut class = match class {
                Class::Bytes(class) => class,
                // Without Unicode the parser gives classes of octets, save for those that are ASCII anyway.
                Class::Unicode(class) => {
                    class.to_byte_class().unwrap_or_else(|| ClassBytes::new([ClassBytesRange::new(0, 255)]))
                }
            };
            class.case_fold_simple();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'A', b'Z')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(small(*sub)) })
        }
        HirKind::Capture(capture) => small(*capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(small).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(small).collect()),
    }
}

/// Literals of which one is in every match; the longest that can be had.
fn literals(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let found = match hir.kind() {
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Capture(capture) => literals(&capture.sub)?,
        HirKind::Repetition(repetition) if repetition.min > 0 => literals(&repetition.sub)?,
        HirKind::Concat(parts) => {
            let shortest = |found: &Vec<Vec<u8>>| found.iter().map(Vec::len).min().unwrap_or(0);
            parts.iter().filter_map(literals).max_by_key(|found| (shortest(found), usize::MAX - found.len()))?
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(literals(part)?);
            }
            all
        }
        _ => return None,
    };
    let fit = found.len() <= LITERALS && found.iter().all(|literal| literal.len() >= SHORTEST);
    fit.then_some(found)
}

fn build(hir: &Hir) -> Option<meta::Regex> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(SIZE))
        .hybrid_cache_capacity(SIZE)
        .onepass(false)
        .utf8_empty(false)
        .which_captures(regex_automata::nfa::thompson::WhichCaptures::None);
    meta::Builder::new().configure(config).build_from_hir(hir).ok()
}

/// All patterns of a policy, ready to be tried.
pub(crate) struct Patterns {
    automaton: Option<AhoCorasick>,
    /// For each literal of the automaton, whose it is.
    owners: Vec<u32>,
    patterns: Vec<(meta::Regex, Atom)>,
}

impl Patterns {
    /// Builds the automaton; `None` when a stored pattern is not what [`check`] lets through.
    pub(crate) fn new(stored: &[Pattern]) -> Option<Self> {
        let (mut patterns, mut words, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (number, pattern) in stored.iter().enumerate() {
            let hir = parse(&pattern.regex)?;
            for literal in literals(&hir)? {
                words.push(literal);
                owners.push(number as u32);
            }
            patterns.push((build(&hir)?, Atom::unpack(pattern.atom)?));
        }
        let automaton = match words.is_empty() {
            true => None,
            // The contiguous automaton is nearly as fast as a table of transitions and a tenth of its size.
            false => Some(AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&words).ok()?),
        };
        Some(Self { automaton, owners, patterns })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.automaton.is_none()
    }

    /// Calls `found` with the number and the atom of each pattern that matches the dotted lower-case name. A pattern
    /// may be called more than once.
    pub(crate) fn matches(&self, name: &[u8], mut found: impl FnMut(usize, Atom)) {
        let Some(automaton) = &self.automaton else { return };
        let mut last = None;
        for hit in automaton.find_overlapping_iter(name) {
            let Some(&owner) = self.owners.get(hit.pattern().as_usize()) else { continue };
            if last == Some(owner) {
                continue;
            }
            last = Some(owner);
            if let Some((regex, atom)) = self.patterns.get(owner as usize)
                && regex.is_match(name)
            {
                found(owner as usize, *atom);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(regexes: &[&str], name: &str) -> Vec<usize> {
        let stored: Vec<_> = regexes
            .iter()
            .map(|regex| {
                assert_eq!(check(regex), Ok(()), "{regex}");
                Pattern {
                    regex: (*regex).into(),
                    atom: Atom { what: What::Listed(0), scope: Scope::Tree }.pack(),
                    line: 1,
                }
            })
            .collect();
        let mut found = Vec::new();
        Patterns::new(&stored).unwrap().matches(name.as_bytes(), |number, _| found.push(number));
        found.dedup();
        found
    }

    #[test]
    fn wildcard_matches_inside_labels_and_below() {
        let regex = format!("{}$", wildcard("ads*.example.com", true));
        assert_eq!(matches(&[&regex], "ads7.example.com"), [0]);
        assert_eq!(matches(&[&regex], "x.ads-eu.example.com"), [0]);
        assert!(matches(&[&regex], "bads7.example.com").is_empty());
        assert!(matches(&[&regex], "ads7.example.com.net").is_empty());
    }

    #[test]
    fn expression_written_in_capitals_matches() {
        assert_eq!(matches(&[r"^BAD[A-Z]+\.Example$"], "badger.example"), [0]);
        assert_eq!(matches(&[r"(?i)BAD\d"], "x.bad7.example"), [0]);
        assert_eq!(matches(&[r"bad\Dx"], "bad-x.example"), [0]);
    }

    #[test]
    fn each_alternative_of_an_expression_is_found() {
        let regex = r"(^|[-\?+=/_])(big|hard)?(adult|babe|teen|xxx)s?([-\.\?+=/_]|$)";
        for name in ["bigadults.example", "my-teen.example", "xxx.example"] {
            assert_eq!(matches(&[regex], name), [0], "{name}");
        }
        for name in ["canteen.example", "adulthood.example"] {
            assert!(matches(&[regex], name).is_empty(), "{name}");
        }
    }

    #[test]
    fn expression_that_cannot_be_used_is_refused() {
        for (regex, why) in [
            ("(", NotAPattern::Syntax),
            (r"(a)\1", NotAPattern::Syntax),
            ("(?=bad)", NotAPattern::Syntax),
            (".*", NotAPattern::Loose),
            ("a|b", NotAPattern::Loose),
            ("[a-z]+", NotAPattern::Loose),
            ("(bad)?", NotAPattern::Loose),
            ("(bad){1000}{1000}", NotAPattern::Big),
        ] {
            assert_eq!(check(regex), Err(why), "{regex}");
        }
    }
}
