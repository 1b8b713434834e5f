//! From checked policy and lists to one compiled file.

use sha2::{Digest, Sha256};

use crate::{
    BlockAnswer, Category, CategoryInfo, Edition, Format, ListInfo, Policy,
    addresses::Addresses,
    atom::{Atom, Scope, What},
    canary, explain, file,
    hashed::{self, DIGEST},
    list::Kind,
    meta::{Hashed, Meta, MetaException, MetaOrder, Target},
    name::{self, Name},
    network::Network,
    pattern::{self, Pattern},
    policy::{List, Scoped},
    search,
    sets::Interner,
    table,
};

/// Why a policy could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A list of the policy was not given: nothing may become allowed because a list is missing.
    #[error("compiling the policy: list {0} has no edition; give its file, or fetch it first")]
    Missing(String),
    /// More of something than the file can hold.
    #[error("compiling the policy: too many {0}")]
    TooMany(&'static str),
    /// The description could not be written.
    #[error("compiling the policy: writing its description: {0}")]
    Description(serde_json::Error),
}

/// How far a long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, such as `sorting names`.
    pub step: &'static str,
    /// Items done.
    pub done: u64,
    /// Items in all.
    pub total: u64,
}

/// The name of the category that orders belong to.
const ORDERS: &str = "orders";

/// Compiles a policy with its lists: one edition for each list of the policy.
pub fn compile(
    policy: &Policy,
    editions: &[Edition],
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<u8>, CompileError> {
    let editions: Vec<&Edition> = policy
        .lists
        .iter()
        .map(|list| {
            let edition = editions.iter().find(|edition| edition.list() == &*list.name);
            edition.ok_or_else(|| CompileError::Missing(list.name.to_string()))
        })
        .collect::<Result<_, _>>()?;
    let canaries: Vec<Option<Edition>> =
        policy.lists.iter().zip(&editions).map(|(list, edition)| canaries(policy, list, edition)).collect();

    let mut builder = Builder::new(key(policy, &editions));
    let mut categories = policy.categories.clone();
    let mut lists: Vec<ListInfo> =
        policy.lists.iter().zip(&editions).map(|(list, edition)| list_info(list, edition)).collect();
    let total = policy.lists.len() as u64;
    for (number, (list, edition)) in policy.lists.iter().zip(&editions).enumerate() {
        let number = number16(number, "lists")?;
        progress(Progress { step: "hashing names", done: u64::from(number), total });
        builder.list(number, list, edition)?;
        if let Some(canaries) = &canaries[usize::from(number)] {
            builder.list(number, list, canaries)?;
        }
    }
    let mut orders = Vec::new();
    if !policy.orders.is_empty() {
        let category = order_category(&mut categories)?;
        for (number, order) in policy.orders.iter().enumerate() {
            let list = number16(lists.len(), "lists and orders")?;
            lists.push(order_info(order, category));
            let what = What::Order(number16(number, "orders")?);
            for (name, line) in &order.names {
                builder.scoped(name, what, *line)?;
            }
            let (body, basis) = (order.body.clone(), order.basis.clone());
            orders.push(MetaOrder { list, body, basis, from: order.from, until: order.until });
        }
    }
    for (number, exception) in policy.exceptions.iter().enumerate() {
        builder.allowed(&exception.name, What::Exception(number16(number, "exceptions")?), exception.line)?;
    }
    for (name, line) in &policy.deny {
        builder.scoped(name, What::Deny, *line)?;
    }
    for (name, line) in &policy.allow {
        builder.allowed(name, What::Allow, *line)?;
    }
    for signal in &policy.signals {
        builder.text(signal, What::Deny, Scope::Tree)?;
    }
    let targets = builder.engines(policy)?;

    progress(Progress { step: "sorting names", done: 0, total: builder.rows.len() as u64 });
    let mut sets = Interner::default();
    let addresses = Addresses::write(&builder.networks, &mut sets).ok_or(CompileError::TooMany("sets"))?;
    let names = builder.write(&mut sets, progress)?;
    let meta = Meta {
        organisation: policy.organisation.clone(),
        canary_zone: policy.canary_zone.as_ref().map(|zone| zone.to_string().into()),
        groups: policy.groups.clone(),
        scheduled: (0..categories.len()).map(|number| policy.scheduled.get(number).copied().flatten()).collect(),
        categories,
        schedules: policy.schedules.clone(),
        lists,
        exceptions: policy
            .exceptions
            .iter()
            .map(|exception| MetaException {
                owner: exception.owner.clone(),
                reason: exception.reason.clone(),
                expires: exception.expires,
            })
            .collect(),
        orders,
        targets,
        patterns: builder.patterns,
        hashed: builder.hashed,
        strip_ech: policy.strip_ech,
        key: builder.key,
        buckets: names.buckets,
        lengths: names.lengths,
    };
    drop(builder.rows);
    let meta = serde_json::to_vec(&meta).map_err(CompileError::Description)?;
    progress(Progress { step: "writing", done: 0, total: 1 });
    let hashes = builder.hashes.concat();
    let file =
        file::write(policy.generation, [names.hot, names.cold, sets.write(), meta, hashes, addresses, names.lines]);
    progress(Progress { step: "writing", done: 1, total: 1 });
    Ok(file)
}

/// The key of the table's hash: the same for the same policy and lists, so that compiling is reproducible, and not
/// known to whoever writes only one of the lists.
fn key(policy: &Policy, editions: &[&Edition]) -> u64 {
    let mut digest = Sha256::new();
    digest.update(policy.generation.to_le_bytes());
    for edition in editions {
        digest.update(edition.list());
        digest.update(edition.digest());
    }
    let digest: [u8; 32] = digest.finalize().into();
    u64::from_le_bytes(std::array::from_fn(|n| digest[n]))
}

fn number16(number: usize, what: &'static str) -> Result<u16, CompileError> {
    u16::try_from(number).map_err(|_| CompileError::TooMany(what))
}

fn list_info(list: &List, edition: &Edition) -> ListInfo {
    ListInfo {
        name: list.name.clone(),
        order: false,
        category: list.category,
        edition: edition.edition().into(),
        digest: hex(&edition.digest()),
        entries: edition.entries() as u32,
        refused: edition.refused().iter().map(|(why, count)| (why.text().into(), *count)).collect(),
        licence: list.licence.clone(),
    }
}

fn order_info(order: &crate::policy::Order, category: Category) -> ListInfo {
    ListInfo {
        name: order.number.clone(),
        order: true,
        category: Some(category),
        edition: order.day.clone(),
        digest: "".into(),
        entries: order.names.len() as u32,
        refused: Vec::new(),
        licence: "".into(),
    }
}

/// The category of orders: as the policy declares it, else as law has it.
fn order_category(categories: &mut Vec<CategoryInfo>) -> Result<Category, CompileError> {
    let position = categories.iter().position(|category| &*category.name == ORDERS);
    let position = position.unwrap_or_else(|| {
        categories.push(CategoryInfo {
            name: ORDERS.into(),
            title: "Legal order".into(),
            locked: false,
            secret: false,
            answer: BlockAnswer::BlockPage,
            ede: 16,
        });
        categories.len() - 1
    });
    u8::try_from(position).ok().filter(|&n| n < 128).map(Category).ok_or(CompileError::TooMany("categories"))
}

/// Names under the canary zone that say which edition is in force. They are written as a list and go through the same
/// parser as the list itself.
fn canaries(policy: &Policy, list: &List, edition: &Edition) -> Option<Edition> {
    let zone = policy.canary_zone.as_ref()?;
    let category = policy.categories.get(usize::from(list.category?.0))?;
    let zone = zone.to_string();
    let of_category = canary::of_category(&category.name, &zone);
    let of_edition = canary::of_edition(edition.edition(), &list.name, &zone);
    // Each stands for itself alone: what is below a category's may be that of an edition that is not in force.
    let list = List { subdomains: false, ..list.clone() };
    let digest = edition.key.as_ref().filter(|_| !edition.hashes.is_empty());
    let (format, of_edition) = match digest.and_then(|key| hashed::digest(key, of_edition.as_bytes())) {
        Some(digest) => (Format::Hashed, hex(&digest)),
        None => (Format::Domains, of_edition.into()),
    };
    let parts = [(Format::Domains, of_category.as_bytes()), (format, of_edition.as_bytes())];
    Edition::parse_parts(&list, &parts, edition.key).ok()
}

fn hex(octets: &[u8]) -> Box<str> {
    octets.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}")).into()
}

/// One thing said about one name, on its way into the table.
#[derive(Debug, Clone, Copy)]
struct Said {
    hash: u64,
    /// Where in its arena the name is.
    start: u32,
    line: u32,
    atom: u32,
    arena: u16,
    length: u8,
}

struct Builder<'a> {
    key: u64,
    /// Arenas of editions, in the order in which they were taken.
    arenas: Vec<&'a [u8]>,
    /// Names of the policy itself; the last arena.
    own: Vec<u8>,
    rows: Vec<Said>,
    patterns: Vec<Pattern>,
    hashes: Vec<Vec<u8>>,
    hashed: Vec<Hashed>,
    networks: Vec<(Network, Atom)>,
}

/// Arena number of the policy's own names.
const OWN: u16 = u16::MAX;

struct Names {
    buckets: u32,
    lengths: u128,
    hot: Vec<u8>,
    cold: Vec<u8>,
    lines: Vec<u8>,
}

impl<'a> Builder<'a> {
    fn new(key: u64) -> Self {
        Self {
            key,
            arenas: Vec::new(),
            own: Vec::new(),
            rows: Vec::new(),
            patterns: Vec::new(),
            hashes: Vec::new(),
            hashed: Vec::new(),
            networks: Vec::new(),
        }
    }

    fn list(&mut self, number: u16, list: &List, edition: &'a Edition) -> Result<(), CompileError> {
        let welcome = list.category.is_none();
        let said = |kind| match (kind, welcome) {
            (Kind::Listed | Kind::Important, true) => What::Welcome(number),
            (Kind::Listed, false) => What::Listed(number),
            (Kind::Important, false) => What::Important(number),
            (Kind::Spared, _) => What::Spared(number),
            (Kind::Stopped, _) => What::Stopped(number),
        };
        let arena = number16(self.arenas.len(), "lists")?;
        if arena == OWN {
            return Err(CompileError::TooMany("lists"));
        }
        self.arenas.push(edition.arena());
        self.rows.reserve(edition.len());
        for (start, name, entry) in edition.placed() {
            let what = said(entry.kind);
            let hash = name::hash(self.key, name).ok_or(CompileError::TooMany("labels"))?;
            let atom = Atom { what, scope: entry.scope }.pack();
            self.rows.push(Said { hash, start, line: entry.line, atom, arena, length: name.len() as u8 });
            if matches!(what, What::Welcome(_) | What::Spared(_) | What::Stopped(_)) {
                self.above(name, entry.scope)?;
            }
        }
        let atom = Atom { what: said(Kind::Listed), scope: Scope::Tree };
        let pattern = |(regex, line): &(Box<str>, u32)| Pattern {
            regex: regex.clone(),
            atom: Atom { scope: pattern::scope(regex), ..atom }.pack(),
            line: *line,
        };
        self.patterns.extend(edition.patterns.iter().map(pattern));
        self.networks.extend(edition.networks.iter().map(|(network, _)| (*network, atom)));
        if let (Some(key), false, false) = (edition.key, edition.hashes.is_empty(), welcome) {
            let mut digests = edition.hashes.clone();
            digests.sort_unstable();
            digests.dedup();
            let before: usize = self.hashes.iter().map(Vec::len).sum();
            let (start, count) = (u32::try_from(before / DIGEST), u32::try_from(digests.len()));
            let (Ok(start), Ok(count)) = (start, count) else { return Err(CompileError::TooMany("digests")) };
            self.hashes.push(digests.concat());
            self.hashed.push(Hashed { list: number, key, start, count });
        }
        Ok(())
    }

    fn push(&mut self, name: &[u8], what: What, scope: Scope, line: u32) -> Result<(), CompileError> {
        let start = u32::try_from(self.own.len()).map_err(|_| CompileError::TooMany("names"))?;
        let hash = name::hash(self.key, name).ok_or(CompileError::TooMany("labels"))?;
        self.own.extend(name);
        let atom = Atom { what, scope }.pack();
        self.rows.push(Said { hash, start, line, atom, arena: OWN, length: name.len() as u8 });
        Ok(())
    }

    fn scoped(&mut self, name: &Scoped, what: What, line: u32) -> Result<(), CompileError> {
        self.push(name.name.labels(), what, name.scope, line)
    }

    /// A name that is allowed: names above it must not be answered NXDOMAIN.
    fn allowed(&mut self, name: &Scoped, what: What, line: u32) -> Result<(), CompileError> {
        self.scoped(name, what, line)?;
        self.above(name.name.labels(), name.scope)
    }

    fn above(&mut self, name: &[u8], scope: Scope) -> Result<(), CompileError> {
        let mut rest = if scope == Scope::Below { Some(name) } else { name::parent(name) };
        while let Some(above) = rest {
            self.push(above, What::Above, Scope::Exact, 0)?;
            rest = name::parent(above);
        }
        Ok(())
    }

    fn text(&mut self, name: &str, what: What, scope: Scope) -> Result<(), CompileError> {
        match Name::parse(name) {
            Ok(name) => self.push(name.labels(), what, scope, 0),
            Err(_) => Ok(()),
        }
    }

    fn engines(&mut self, policy: &Policy) -> Result<Vec<Target>, CompileError> {
        let mut targets = Vec::new();
        for engine in search::ENGINES {
            let chosen = match engine.name {
                Some(name) => policy.engines.contains(&name),
                None => policy.other_engines,
            };
            if !chosen {
                continue;
            }
            let what = What::Search(number16(targets.len(), "search engines")?);
            let scope = if engine.below { Scope::Tree } else { Scope::Exact };
            for name in engine.all_names() {
                self.text(&name, what, scope)?;
            }
            targets.push(match engine.answer {
                search::SafeMode::Alias(name) => match Name::parse(name) {
                    Ok(target) => Target::Alias(name.into(), target.wire()),
                    Err(_) => Target::Block,
                },
                search::SafeMode::YouTube => Target::YouTube,
                search::SafeMode::Addresses(addresses) => Target::Addresses(addresses.into()),
                search::SafeMode::Block => Target::Block,
            });
        }
        Ok(targets)
    }

    fn write(&mut self, sets: &mut Interner, progress: &mut dyn FnMut(Progress)) -> Result<Names, CompileError> {
        let mut rows = std::mem::take(&mut self.rows);
        let (arenas, own) = (&self.arenas, &self.own);
        let name = |said: &Said| -> &[u8] {
            let arena = if said.arena == OWN { own } else { arenas[usize::from(said.arena)] };
            &arena[said.start as usize..][..usize::from(said.length)]
        };
        rows.sort_unstable_by(|a, b| {
            let order = a.hash.cmp(&b.hash).then_with(|| name(a).cmp(name(b)));
            order.then_with(|| (a.atom, a.line).cmp(&(b.atom, b.line)))
        });
        let total = rows.len() as u64;
        let same = |a: &Said, b: &Said| a.hash == b.hash && name(a) == name(b);
        let count = rows.chunk_by(same).count();
        let buckets = table::buckets(count);
        let (mut hot, mut cold) = (Vec::with_capacity((buckets as usize + 64) * table::BUCKET), Vec::new());
        let (mut lines, mut lengths, mut failed) = (Vec::with_capacity(rows.len()), 0u128, false);
        let (mut per_name, mut atoms, mut done) = (Vec::with_capacity(count), Vec::new(), 0);
        let table_rows = rows.chunk_by(same).map(|group| {
            atoms.clear();
            let before = lines.len();
            for said in group {
                // Sorted: the first line of those that say the same is kept.
                let Some(atom) = Atom::unpack(said.atom) else { continue };
                if atoms.last() != Some(&atom) {
                    atoms.push(atom);
                    lines.push(said.line);
                }
            }
            per_name.push((lines.len() - before) as u32);
            let (set, name) = (sets.number(&atoms), name(&group[0]));
            failed |= set.is_none();
            lengths |= 1 << name::count(name);
            done += group.len() as u64;
            if done % 100_000 < group.len() as u64 {
                progress(Progress { step: "writing names", done, total });
            }
            table::Row { hash: group[0].hash, name, set: set.unwrap_or(0) }
        });
        let written = table::write(buckets, table_rows, &mut hot, &mut cold);
        if failed {
            return Err(CompileError::TooMany("different sets of lists"));
        }
        written.ok_or(CompileError::TooMany("names"))?;
        let lines = write_lines(&hot, &per_name, &lines);
        Ok(Names { buckets, lengths, hot, cold, lines })
    }
}

/// For each bucket the start of its numbers, then the numbers: one for each atom of each name.
fn write_lines(hot: &[u8], per_name: &[u32], lines: &[u32]) -> Vec<u8> {
    let mut section = Vec::new();
    let mut numbers = Vec::new();
    let (mut names, mut lines) = (per_name.iter(), lines.iter());
    for taken in table::counts(hot) {
        section.extend((numbers.len() as u32).to_le_bytes());
        let atoms: u32 = names.by_ref().take(taken).sum();
        for line in lines.by_ref().take(atoms as usize) {
            explain::write(*line, &mut numbers);
        }
    }
    section.extend(numbers);
    section
}
