//! Who keeps the promises: the rules in force, the admitted, and what is done when somebody else touches them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::errno::Errno;
use sheshi_firewall::{Counter, Error, Health, Promise, Ruleset, contract, ir::Table};
use sheshi_policy::Mac;

use crate::{
    allowance::{Device, Devices},
    encode::{Present, Transaction},
    forwarding,
    kernel::{self, Pair},
    netlink::{Batched, Failure, Socket},
    picture::Picture,
};

/// How the guard table is owned, best first: `owner` and `persist` (nobody else changes it while we or the holder live, and
/// it outlives us), `owner` alone (kernels before 6.9: it goes with us and the holder, the working table stays), or nobody.
const OWNERSHIP: [u32; 3] = [2 | 4, 2, 0];
const NO_PERSIST: &str = "C24, C27: this kernel knows no table that outlives its owner (it is older than 6.9): when guard and holder are \
    killed together, the guard table goes, and only the working table holds the door";
const NO_OWNER: &str = "C24, C28: this kernel knows no owner of tables (it is older than 5.12), so anybody with CAP_NET_ADMIN can remove \
    the guard table; it is watched and put back, but not while the guard is down";
const NO_ROOM: &str = "C25: the system grants small socket buffers only, so a very long list of closed addresses may be \
    refused; run the guard with CAP_NET_ADMIN over the machine";

/// The rules, the admitted, and the sockets they are kept through.
pub(crate) struct Keeper {
    /// All changes of tables go through this one socket: the kernel takes it for the guard table's owner.
    pub(crate) socket: Socket,
    pub(crate) ruleset: Option<Ruleset>,
    /// What was rendered, by table.
    rendered: Vec<(Table, Picture)>,
    /// How the kernel showed it right after it was sent: by this, changes of others are told from a kernel that dumps a
    /// rule in other words than ours.
    shown: Vec<Picture>,
    /// Who is admitted, and until when.
    pub(crate) guests: HashMap<Pair, Instant>,
    /// Pairs the kernel no longer has, whose connections are still to be cut.
    pub(crate) gone: HashSet<Pair>,
    /// What those of them with limits may use up.
    pub(crate) devices: Devices,
    /// Which of [`OWNERSHIP`] this kernel takes.
    ownership: usize,
    /// What strangers reach, and until when.
    pub(crate) garden: HashMap<IpAddr, Instant>,
    restored: u64,
    state: Option<PathBuf>,
}

impl Keeper {
    /// A keeper with the state the kernel and the state file show. Closes everything unless rules of ours are in force.
    pub(crate) fn start(state: Option<PathBuf>) -> Result<Self, Error> {
        let socket = Socket::new(0).map_err(|source| failed("open a netlink socket to netfilter", source))?;
        let mut keeper = Self {
            socket,
            ruleset: None,
            rendered: Vec::new(),
            shown: Vec::new(),
            guests: HashMap::new(),
            gone: HashSet::new(),
            devices: Devices::default(),
            ownership: 0,
            garden: HashMap::new(),
            restored: 0,
            state,
        };
        let begun = keeper.begin();
        if begun.is_err() {
            // Nothing of ours is known to be in force.
            forwarding::off().map_err(|source| failed("switch forwarding off", source))?;
        }
        begun.map(|()| keeper)
    }

    fn begin(&mut self) -> Result<(), Error> {
        let found = self.picture(contract::WORKING)?;
        self.read_guests()?;
        self.read_devices()?;
        if let Some(ruleset) = self.load()? {
            tracing::info!(generation = ruleset.generation, "putting the last ruleset in force again");
            self.apply(&ruleset)?;
            return self.cut_expired(&ruleset);
        }
        if found.closes_forwarding() && !self.guests.is_empty() {
            tracing::warn!(
                "rules of ours with guests in them are in force, but the ruleset is not known: keeping them until one comes"
            );
            return self.install(&[contract::guard()]);
        }
        tracing::info!("no ruleset yet: closed");
        self.apply(&Ruleset::closed())
    }

    /// Puts a ruleset in force, in one transaction. If anything of it is refused, the old one stays.
    pub(crate) fn apply(&mut self, ruleset: &Ruleset) -> Result<(), Error> {
        ruleset.check()?;
        let [working, guard] = contract::tables(ruleset);
        self.install(&[guard, working])?;
        self.ruleset = Some(ruleset.clone());
        self.save(ruleset);
        forwarding::follow(ruleset).map_err(|source| failed("switch forwarding", source))?;
        tracing::info!(generation = ruleset.generation, closed = ruleset.closed, "the ruleset is in force");
        Ok(())
    }

    /// Sends tables in one transaction: first so that sets keep their elements; if the kernel refuses that, because an
    /// older program's sets have another shape, anew with the guests we know.
    fn install(&mut self, tables: &[Table]) -> Result<(), Error> {
        let doing = "put the rules in force";
        let mut presents = Vec::new();
        for table in tables {
            let found = self.picture(table.name)?;
            presents.push(Present { exists: found.exists, chains: found.chains().cloned().collect() });
        }
        let kept = self.commit(tables, &presents, &[], &[]);
        if let Err(failure) = kept {
            tracing::warn!(%failure, "the rules could not be refilled in place; replacing the tables");
            self.replace(tables).map_err(|failure| failed_by(doing, failure))?;
        }
        self.look(tables)
    }

    /// Sends tables anew in one transaction, with the guests in memory.
    fn replace(&mut self, tables: &[Table]) -> Result<(), Failure> {
        let now = Instant::now();
        let guests: Vec<_> = self
            .guests
            .iter()
            .map(|((mac, address), until)| (*mac, *address, milliseconds(until.saturating_duration_since(now))))
            .filter(|(_, _, left)| *left > 0)
            .collect();
        let presents: Vec<_> = tables.iter().map(|_| Present::default()).collect();
        let devices: Vec<_> = self.devices.known.iter().map(|(mac, device)| (*mac, *device)).collect();
        self.commit(tables, &presents, &guests, &devices)
    }

    fn commit(
        &mut self,
        tables: &[Table],
        presents: &[Present],
        guests: &[(Mac, IpAddr, u64)],
        devices: &[(Mac, Device)],
    ) -> Result<(), Failure> {
        let reading = |source| Failure { doing: "reading the tables".into(), source };
        loop {
            let mut transaction = Transaction::new();
            for (table, present) in tables.iter().zip(presents) {
                let guarding = table.name == contract::GUARD;
                let flags = if guarding { OWNERSHIP[self.ownership] } else { 0 };
                let in_kernel = kernel::flags(&mut self.socket, table.name).map_err(reading)?;
                let mut present = present.clone();
                // A table cannot be given an owner later.
                let other_flags = guarding && in_kernel.is_some_and(|(found, _)| found != flags);
                if in_kernel.is_some() && (!present.exists || other_flags) {
                    transaction.remove(table.name);
                    present = Present::default();
                }
                transaction.install(table, &present, flags);
                if table.name == contract::WORKING {
                    transaction.admit(guests);
                    transaction.limit(devices);
                }
            }
            match self.socket.commit(&transaction.finish()) {
                Err(failure)
                    if self.ownership + 1 < OWNERSHIP.len()
                        && (failure.is(Errno::EOPNOTSUPP) || failure.is(Errno::EINVAL)) =>
                {
                    self.ownership += 1;
                    tracing::info!(%failure, "trying again with a guard table that is held less firmly");
                }
                other => return other,
            }
        }
    }

    /// Remembers what was rendered, and how the kernel shows it.
    fn look(&mut self, tables: &[Table]) -> Result<(), Error> {
        self.rendered.clear();
        self.shown.clear();
        for table in tables {
            let flags = if table.name == contract::GUARD { OWNERSHIP[self.ownership] } else { 0 };
            let rendered = rendering(table, flags);
            let shown = self.picture(table.name)?;
            if let Some(difference) = rendered.difference(&shown) {
                tracing::warn!(table = table.name, %difference, "the kernel shows the rules otherwise than rendered");
            }
            self.rendered.push((table.clone(), rendered));
            self.shown.push(shown);
        }
        Ok(())
    }

    /// Looks whether the kernel still holds what it was given, and puts it back if not. If that fails, forwarding goes off;
    /// returns whether the rules are in force.
    pub(crate) fn inspect(&mut self) -> bool {
        let tables: Vec<Table> = self.rendered.iter().map(|(table, _)| table.clone()).collect();
        let changed = tables.iter().zip(self.shown.clone()).find_map(|(table, shown)| {
            let difference = match self.picture(table.name) {
                Ok(found) => shown.difference(&found)?,
                Err(error) => error.to_string(),
            };
            Some((table.name, difference))
        });
        let Some((table, difference)) = changed else { return true };
        tracing::warn!(table, %difference, "somebody changed the rules: putting them back");
        let put_back = self.replace(&tables).map_err(|failure| failed_by("put the rules back", failure));
        match put_back.and_then(|()| self.look(&tables)) {
            Ok(()) => {
                self.restored += 1;
                if let Some(error) = self.ruleset.as_ref().and_then(|ruleset| forwarding::follow(ruleset).err()) {
                    tracing::error!(%error, "switching forwarding");
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "the rules could not be put back: switching forwarding off");
                if let Err(error) = forwarding::off() {
                    tracing::error!(%error, "switching forwarding off");
                }
                false
            }
        }
    }

    /// How it stands.
    pub(crate) fn health(&mut self) -> Result<Health, Error> {
        let mut difference =
            if self.ruleset.is_none() { "the ruleset in force is not known".into() } else { String::new() };
        let mut counters: BTreeMap<Promise, (u64, u64)> = BTreeMap::new();
        let found = [self.picture(contract::GUARD)?, self.picture(contract::WORKING)?];
        for ((table, rendered), found) in self.rendered.iter().zip(&found) {
            if let (true, Some(first)) = (difference.is_empty(), rendered.difference(found)) {
                difference = format!("table {}: {first}", table.name);
            }
        }
        for (comment, packets, bytes) in found.iter().flat_map(Picture::counters) {
            if let Some(promise) = Promise::of_comment(comment) {
                let sum = counters.entry(promise).or_default();
                *sum = (sum.0 + packets, sum.1 + bytes);
            }
        }
        let counter = |(promise, (packets, bytes)): (Promise, (u64, u64))| Counter {
            promise: promise.to_string(),
            title: promise.title().into(),
            packets,
            bytes,
        };
        let generation = found[1].comments().find_map(|comment| comment.strip_prefix("C01 generation ")?.parse().ok());
        let mut weaker_promises = Vec::new();
        match self.ownership {
            0 => {}
            1 => weaker_promises.push(NO_PERSIST.to_string()),
            _ => weaker_promises.push(NO_OWNER.to_string()),
        }
        if !self.socket.roomy {
            weaker_promises.push(NO_ROOM.to_string());
        }
        Ok(Health {
            in_force: found.iter().all(Picture::closes_forwarding),
            matches: difference.is_empty(),
            difference,
            closed: self.ruleset.as_ref().is_some_and(|ruleset| ruleset.closed),
            generation: generation.unwrap_or(0),
            forwarding: forwarding::read(),
            counters: counters.into_iter().map(counter).collect(),
            restored: self.restored,
            weaker_promises,
        })
    }

    /// Our address on the netlink bus.
    pub(crate) fn port(&self) -> io::Result<u32> {
        self.socket.port()
    }

    /// Closes what the guard table alone holds closed, before a new guard takes it over: without the working table, forwarding
    /// goes off until the rules are in force again.
    pub(crate) fn brace() -> Result<(), Error> {
        let mut socket = Socket::new(0).map_err(|source| failed("open a netlink socket to netfilter", source))?;
        let working = kernel::picture(&mut socket, contract::WORKING)
            .map_err(|source| failed("read the table in force", source))?;
        if working.closes_forwarding() {
            return Ok(());
        }
        forwarding::off().map_err(|source| failed("switch forwarding off", source))
    }

    /// A second handle on the socket that owns the guard table.
    pub(crate) fn owner(&self) -> io::Result<OwnedFd> {
        self.socket.share()
    }

    fn picture(&mut self, table: &str) -> Result<Picture, Error> {
        kernel::picture(&mut self.socket, table).map_err(|source| failed(&format!("read the table {table}"), source))
    }

    /// The last ruleset, from the state file. A file that is there and is none of ours is an error: the rules in force stay.
    fn load(&self) -> Result<Option<Ruleset>, Error> {
        let Some(path) = &self.state else { return Ok(None) };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&format!("read {}", path.display()), source)),
        };
        let parsed = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        match parsed.and_then(|ruleset: Ruleset| ruleset.check().map(|()| ruleset).map_err(|error| error.to_string())) {
            Ok(ruleset) => Ok(Some(ruleset)),
            Err(why) => {
                tracing::warn!(path = %path.display(), %why, "the state file is none of ours; going on without it");
                Ok(None)
            }
        }
    }

    fn save(&self, ruleset: &Ruleset) {
        let Some(path) = &self.state else { return };
        if let Err(error) = save(path, ruleset) {
            tracing::error!(path = %path.display(), %error, "the ruleset could not be saved: after a restart of the guard it is known only when sent again");
            // A file of an older ruleset would bring that back.
            let _ = fs::remove_file(path);
        }
    }
}

/// What the kernel must show for a table.
fn rendering(table: &Table, flags: u32) -> Picture {
    let mut transaction = Transaction::new();
    transaction.install(table, &Present::default(), flags);
    let batch: Batched = transaction.finish();
    let mut picture = Picture::default();
    for message in batch.messages() {
        picture.add(table.name, &message);
    }
    picture
}

/// Written beside and moved into place: old or new, never half.
fn save(path: &Path, ruleset: &Ruleset) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec(ruleset)?)?;
    fs::rename(&beside, path)
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn refused(doing: &str, why: String) -> Error {
    Error::Failed { doing: doing.into(), why }
}

pub(crate) fn failed(doing: &str, source: io::Error) -> Error {
    refused(doing, source.to_string())
}

pub(crate) fn failed_by(doing: &str, failure: Failure) -> Error {
    refused(doing, failure.to_string())
}
