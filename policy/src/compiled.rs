//! The compiled policy: one file, checked before use, that turns a name into a verdict.

use std::{fmt, net::IpAddr, path::Path};

use crate::{
    Action, CategoryInfo, Group, GroupId, ListInfo, Moment, Network, Reason, Rule, Verdict, View,
    addresses::Addresses,
    atom::{Atom, What},
    file::{Checked, LoadError, MAGIC, Section},
    hashed::Hashes,
    memo::{Memo, Record},
    meta::{Meta, Target},
    name::Folded,
    network,
    pattern::Patterns,
    policy::Organisation,
    seen::{NOWHERE, Seen, UNKNOWN},
    sets::Sets,
    table::{Found, Table},
};

/// A compiled policy. Immutable; a new generation is a new value.
pub struct Compiled {
    file: Checked,
    pub(crate) meta: Meta,
    pub(crate) sets: Sets,
    patterns: Patterns,
    hashes: Hashes,
    /// Names lately found to be on no hashed list: to find that out costs two digests a label.
    unhashed: Option<Memo>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

/// Something found about a name, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// An entry of the table of names: its labels, bucket, place, and number among the atoms of its set.
    Table { labels: u8, bucket: u32, place: u8, atom: usize },
    /// A pattern.
    Pattern(usize),
    /// A digest of a hashed list.
    Hashed,
}

impl Compiled {
    /// What every compiled file starts with, and no text does.
    pub const MAGIC: [u8; 16] = *MAGIC;

    /// Maps a compiled file, checking it before use.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::new(Checked::open(path)?)
    }

    /// The same from memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, LoadError> {
        Self::new(Checked::from_bytes(bytes)?)
    }

    fn new(file: Checked) -> Result<Self, LoadError> {
        let meta: Meta = serde_json::from_slice(file.section(Section::Meta))
            .map_err(|error| LoadError::Format(format!("its description cannot be read: {error}")))?;
        let part = |name: &str| LoadError::Format(format!("its {name} cannot be read"));
        let sets = Sets::read(file.section(Section::Sets)).ok_or_else(|| part("sets"))?;
        let patterns = Patterns::new(&meta.patterns).ok_or_else(|| part("patterns"))?;
        let hashes = Hashes::new(&meta.hashed).ok_or_else(|| part("hashed lists"))?;
        let unhashed = (!hashes.is_empty()).then(Memo::new);
        Ok(Self { file, meta, sets, patterns, hashes, unhashed })
    }

    /// The policy's running number.
    pub fn generation(&self) -> u64 {
        self.file.generation
    }

    /// SHA-256 that stands for the whole content.
    pub fn digest(&self) -> [u8; 32] {
        self.file.digest
    }

    pub(crate) fn signature(&self) -> Option<[u8; 64]> {
        self.file.signature
    }

    /// The groups; the first one is for guests.
    pub fn groups(&self) -> &[Group] {
        &self.meta.groups
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<GroupId> {
        let position = self.groups().iter().position(|group| &*group.name == name)?;
        Some(GroupId(u16::try_from(position).ok()?))
    }

    /// The categories.
    pub fn categories(&self) -> &[CategoryInfo] {
        &self.meta.categories
    }

    /// The lists, legal orders among them.
    pub fn lists(&self) -> &[ListInfo] {
        &self.meta.lists
    }

    /// Who runs the filter.
    pub fn organisation(&self) -> &Organisation {
        &self.meta.organisation
    }

    /// Names that search engines' names are answered as aliases of. One that does not exist upstream must make its
    /// engine's names blocked.
    pub fn search_targets(&self) -> impl Iterator<Item = &str> {
        let targets = self.meta.targets.iter();
        targets
            .flat_map(|target| -> &[&str] {
                match target {
                    Target::YouTube => &[crate::search::YOUTUBE_MODERATE, crate::search::YOUTUBE_STRICT],
                    _ => &[],
                }
            })
            .copied()
            .chain(self.meta.targets.iter().filter_map(|target| match target {
                Target::Alias(name, _) => Some(&**name),
                _ => None,
            }))
    }

    /// Whether `ech` is to be taken out of HTTPS and SVCB answers.
    pub fn strips_ech(&self) -> bool {
        self.meta.strip_ech
    }

    /// What a group's policy amounts to at a moment. A group that does not exist has every category blocked.
    pub fn view(&self, group: GroupId, at: Moment) -> View {
        let meta = &self.meta;
        let mut blocked = 0;
        for (number, info) in meta.categories.iter().enumerate() {
            let chosen = meta
                .groups
                .get(usize::from(group.0))
                .is_none_or(|group| group.categories.iter().any(|category| usize::from(category.0) == number));
            let schedule = meta.scheduled.get(number).copied().flatten();
            let now = match (schedule.map(|schedule| meta.schedules.get(schedule)), at) {
                (Some(Some(schedule)), Moment::At(at)) => schedule.holds(at),
                _ => true,
            };
            if info.locked || chosen && now {
                blocked |= 1 << (number & 127);
            }
        }
        View { group, blocked, at }
    }

    /// Whether a name may be resolved. `name` is in uncompressed wire form, in any case, ending in the root label;
    /// anything else is blocked.
    pub fn decide(&self, name: &[u8], view: &View) -> Verdict {
        let Some(name) = Folded::new(name) else { return UNKNOWN };
        // Nothing is said about most names: what keeps the findings is made with the first of them.
        let (mut seen, mut unreadable) = (None, false);
        let add = |atom, place: Place| {
            seen.get_or_insert_with(Seen::new).add(atom, place.labels(), &self.meta, view);
        };
        self.look_up(&name, add, &mut unreadable);
        match seen {
            None if unreadable => UNKNOWN,
            None => ALLOW,
            Some(mut seen) => {
                seen.unreadable = unreadable;
                seen.settle(&self.meta, view)
            }
        }
    }

    /// Calls `found` for everything that speaks of this name; sets `unreadable` when something could not be read.
    pub(crate) fn look_up(&self, name: &Folded, mut found: impl FnMut(Atom, Place), unreadable: &mut bool) {
        let table = self.table();
        let mut hash = self.meta.key;
        for count in 1..=name.count() {
            hash = name.extend_hash(hash, count);
            if self.meta.lengths & 1 << count == 0 {
                // Names of this many labels or more are not in the table.
                if self.meta.lengths >> count == 0 {
                    break;
                }
                continue;
            }
            match table.find(hash, name.suffix(count)) {
                Found::Nothing => {}
                Found::Unreadable => *unreadable = true,
                Found::Set { set, bucket, place } => match self.sets.get(set) {
                    Some(atoms) => {
                        for (number, atom) in atoms.iter().enumerate() {
                            if atom.reaches(count == name.count()) {
                                let labels = count as u8;
                                found(*atom, Place::Table { labels, bucket, place, atom: number });
                            }
                        }
                    }
                    None => *unreadable = true,
                },
            }
        }
        if !self.patterns.is_empty() {
            let mut space = [0; 256];
            self.patterns.matches(name.text(&mut space), |number, atom| found(atom, Place::Pattern(number)));
        }
        if let Some(unhashed) = &self.unhashed {
            let hash = (1..=name.count()).fold(self.meta.key, |hash, count| name.extend_hash(hash, count));
            if unhashed.get(hash, name.all()).is_some() {
                return;
            }
            let mut hashed = false;
            self.hashes.matches(self.file.section(Section::Hashed), name, |atom| {
                hashed = true;
                found(atom, Place::Hashed);
            });
            if !hashed {
                unhashed.put(hash, name.all(), Record { set: 0, bucket: 0, place: 0 });
            }
        }
    }

    pub(crate) fn table(&self) -> Table<'_> {
        Table { buckets: self.meta.buckets, hot: self.file.section(Section::Hot), cold: self.file.cold() }
    }

    pub(crate) fn lines(&self) -> &[u8] {
        self.file.section(Section::Lines)
    }

    /// Whether an address may be given in an answer.
    pub fn decide_address(&self, address: IpAddr, view: &View) -> Verdict {
        let section = self.file.section(Section::Addresses);
        if section.is_empty() {
            return ALLOW;
        }
        let Some(set) = Addresses::find(section, network::number(address.to_canonical())) else { return ALLOW };
        let Some(atoms) = self.sets.get(set) else { return UNKNOWN };
        let mut seen = Seen::new();
        for atom in atoms {
            seen.add(*atom, NOWHERE, &self.meta, view);
        }
        seen.settle(&self.meta, view)
    }

    /// The networks on lists of a category that this view blocks: what a firewall has to close.
    pub fn closed_networks(&self, category: &str, view: &View) -> Vec<Network> {
        let number = self.categories().iter().position(|of| &*of.name == category);
        let Some(number) = number.filter(|number| view.blocked & 1 << (number & 127) != 0) else { return Vec::new() };
        let is_of = |list: u16| {
            let of = self.lists().get(usize::from(list)).and_then(|list| list.category);
            of.is_some_and(|of| usize::from(of.0) == number)
        };
        let listed = |atom: &Atom| matches!(atom.what, What::Listed(list) | What::Important(list) if is_of(list));
        let mut networks = Vec::new();
        for (first, last, set) in Addresses::pieces(self.file.section(Section::Addresses)) {
            let Some(atoms) = set.and_then(|set| self.sets.get(set)) else { continue };
            let mut seen = Seen::new();
            for atom in atoms {
                seen.add(*atom, NOWHERE, &self.meta, view);
            }
            // Also when another category decides; but not what is allowed all the same.
            if atoms.iter().any(listed) && matches!(seen.settle(&self.meta, view).action, Action::Block(_)) {
                networks.extend(network::covering(first, last));
            }
        }
        networks
    }

    /// The words for people: extra text of the Extended DNS Error and of the block page.
    pub fn block_text(&self, reason: &Reason) -> String {
        let category = reason.category.and_then(|category| self.categories().get(usize::from(category.0)));
        let list = reason.list.and_then(|list| self.lists().get(usize::from(list)));
        match (reason.rule, category, list) {
            (Rule::Order, _, Some(list)) => format!("Blocked by legal order {}", list.name),
            (Rule::SafeSearch, ..) => "Blocked: this search engine has no safe mode".to_owned(),
            (_, Some(category), _) => format!("Blocked: {}", category.title),
            _ => "Blocked by the policy of this network".to_owned(),
        }
    }
}

impl Place {
    pub(crate) fn labels(self) -> u8 {
        match self {
            Self::Table { labels, .. } => labels,
            Self::Pattern(_) | Self::Hashed => NOWHERE,
        }
    }
}

const ALLOW: Verdict =
    Verdict { action: crate::Action::Allow, reason: Reason { rule: Rule::Default, category: None, list: None } };
