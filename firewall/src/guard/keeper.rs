//! Who keeps the promises: the rules in force, the admitted, and what is done when somebody else touches them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::errno::Errno;
use sheshi_firewall::{
    Counter, Error, Guest, Health, Promise, Ruleset, contract,
    ir::Table,
    message::{MAX_ADDRESSES, MAX_TIME},
};
use sheshi_policy::Mac;

use crate::{
    encode::{Present, Transaction},
    forwarding,
    kernel::{self, Pair},
    netlink::{Batched, Failure, Socket},
    picture::Picture,
};

/// `owner` and `persist`: nobody else changes the table while we live, and it outlives us.
const OWNED: u32 = 2 | 4;
const NO_OWNER: &str = "C24: this kernel knows no table that outlives its owner (it is older than 6.9), so anybody with \
    CAP_NET_ADMIN can remove the guard table; it is watched and put back";
const NO_ROOM: &str = "C25: the system grants small socket buffers only, so a very long list of closed addresses may be \
    refused; run the guard with CAP_NET_ADMIN over the machine";

/// The rules, the admitted, and the sockets they are kept through.
pub(crate) struct Keeper {
    /// All changes of tables go through this one socket: the kernel takes it for the guard table's owner.
    socket: Socket,
    ruleset: Option<Ruleset>,
    /// What was rendered, by table.
    rendered: Vec<(Table, Picture)>,
    /// How the kernel showed it right after it was sent: by this, changes of others are told from a kernel that dumps a
    /// rule in other words than ours.
    shown: Vec<Picture>,
    guests: HashMap<Pair, Instant>,
    guard_flags: u32,
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
            guard_flags: OWNED,
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
        let kept = self.commit(tables, &presents, &[]);
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
        self.commit(tables, &presents, &guests)
    }

    fn commit(&mut self, tables: &[Table], presents: &[Present], guests: &[(Mac, IpAddr, u64)]) -> Result<(), Failure> {
        let reading = |source| Failure { doing: "reading the tables".into(), source };
        loop {
            let mut transaction = Transaction::new();
            for (table, present) in tables.iter().zip(presents) {
                let guarding = table.name == contract::GUARD;
                let flags = if guarding { self.guard_flags } else { 0 };
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
                }
            }
            match self.socket.commit(&transaction.finish()) {
                Err(failure)
                    if self.guard_flags == OWNED && (failure.is(Errno::EOPNOTSUPP) || failure.is(Errno::EINVAL)) =>
                {
                    tracing::warn!(%failure, "trying again with a guard table that nobody owns");
                    self.guard_flags = 0;
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
            let flags = if table.name == contract::GUARD { self.guard_flags } else { 0 };
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

    /// Looks whether the kernel still holds what it was given, and puts it back if not. If that fails, forwarding goes off.
    pub(crate) fn inspect(&mut self) {
        let tables: Vec<Table> = self.rendered.iter().map(|(table, _)| table.clone()).collect();
        let changed = tables.iter().zip(self.shown.clone()).find_map(|(table, shown)| {
            let difference = match self.picture(table.name) {
                Ok(found) => shown.difference(&found)?,
                Err(error) => error.to_string(),
            };
            Some((table.name, difference))
        });
        let Some((table, difference)) = changed else { return };
        tracing::warn!(table, %difference, "somebody changed the rules: putting them back");
        let put_back = self.replace(&tables).map_err(|failure| failed_by("put the rules back", failure));
        match put_back.and_then(|()| self.look(&tables)) {
            Ok(()) => {
                self.restored += 1;
                if let Some(error) = self.ruleset.as_ref().and_then(|ruleset| forwarding::follow(ruleset).err()) {
                    tracing::error!(%error, "switching forwarding");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the rules could not be put back: switching forwarding off");
                if let Err(error) = forwarding::off() {
                    tracing::error!(%error, "switching forwarding off");
                }
            }
        }
    }

    /// Admits a device at addresses of guests' networks; renews those it has. Connections of addresses that are new are
    /// cut; if that fails, they are taken out again.
    pub(crate) fn admit(&mut self, mac: Mac, addresses: &[IpAddr], time: Duration) -> Result<(), Error> {
        let doing = "admit a guest";
        if time.is_zero() || time > MAX_TIME {
            return Err(refused(
                doing,
                format!("{} s is no time; want up to {} s", time.as_secs(), MAX_TIME.as_secs()),
            ));
        }
        // A group address (first bit of the first octet) or none at all belongs to no device.
        if mac.0[0] & 1 != 0 || mac.0 == [0; 6] {
            return Err(refused(doing, "the MAC address is no device's".into()));
        }
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(refused(doing, format!("{} addresses; want 1 to {MAX_ADDRESSES}", addresses.len())));
        }
        let addresses: HashSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        if let Some(stray) = addresses.iter().find(|address| !self.may_be_a_guests(**address)) {
            return Err(refused(doing, format!("{stray} is not an address of a guest network")));
        }
        let until = Instant::now() + time;
        let timed = |pair: &Pair| (pair.0, pair.1, milliseconds(time));
        let (mut known, mut new): (Vec<Pair>, Vec<Pair>);
        let mut attempt = 0;
        loop {
            (known, new) =
                addresses.iter().map(|address| (mac, *address)).partition(|pair| self.guests.contains_key(pair));
            let mut transaction = Transaction::new();
            // The kernel before 6.12 keeps the old time of an element that is added again.
            transaction.expel(&known.iter().map(|pair| (pair.0, pair.1, 0)).collect::<Vec<_>>());
            transaction.admit(&known.iter().chain(&new).map(timed).collect::<Vec<_>>());
            match self.socket.commit(&transaction.finish()) {
                Ok(()) => break,
                // An element's time ran out just now, or memory and kernel have drifted apart.
                Err(failure) if attempt < 3 && (failure.is(Errno::ENOENT) || failure.is(Errno::EEXIST)) => {
                    attempt += 1;
                    self.read_guests()?;
                }
                Err(failure) => return Err(failed_by(doing, failure)),
            }
        }
        self.guests.extend(known.iter().chain(&new).map(|pair| (*pair, until)));
        let fresh: HashSet<IpAddr> = new.iter().map(|(_, address)| *address).collect();
        if let Err(source) = self.cut(&fresh) {
            self.take_out(&new)?;
            return Err(failed(doing, source));
        }
        tracing::debug!(%mac, "admitted");
        Ok(())
    }

    /// Expels a device; returns how many of its addresses were admitted.
    pub(crate) fn expel(&mut self, mac: Mac) -> Result<usize, Error> {
        let doing = "expel a guest";
        self.read_guests()?;
        let pairs: Vec<Pair> = self.guests.keys().filter(|(admitted, _)| *admitted == mac).copied().collect();
        let count = self.take_out(&pairs)?;
        self.cut(&pairs.iter().map(|(_, address)| *address).collect()).map_err(|source| failed(doing, source))?;
        tracing::debug!(%mac, "expelled");
        Ok(count)
    }

    fn take_out(&mut self, pairs: &[Pair]) -> Result<usize, Error> {
        let mut pairs = pairs.to_vec();
        let mut attempt = 0;
        loop {
            let mut transaction = Transaction::new();
            transaction.expel(&pairs.iter().map(|pair| (pair.0, pair.1, 0)).collect::<Vec<_>>());
            match self.socket.commit(&transaction.finish()) {
                Ok(()) => break,
                Err(failure) if attempt < 3 && failure.is(Errno::ENOENT) => {
                    attempt += 1;
                    self.read_guests()?;
                    pairs.retain(|pair| self.guests.contains_key(pair));
                }
                Err(failure) => return Err(failed_by("take a guest out", failure)),
            }
        }
        self.guests.retain(|pair, _| !pairs.contains(pair));
        Ok(pairs.len())
    }

    /// Cuts the connections of guests whose time is over. To be called often: the kernel stops what they send by itself,
    /// this stops what is sent to them.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        let over: Vec<Pair> = self.guests.iter().filter(|(_, until)| **until <= now).map(|(pair, _)| *pair).collect();
        if over.is_empty() {
            return;
        }
        match self.cut(&over.iter().map(|(_, address)| *address).collect()) {
            Ok(_) => self.guests.retain(|pair, _| !over.contains(pair)),
            Err(error) => tracing::error!(%error, "cutting the connections of guests whose time is over; trying again"),
        }
    }

    /// The admitted, as the kernel has them.
    pub(crate) fn guests(&mut self) -> Result<Vec<Guest>, Error> {
        let guests = kernel::guests(&mut self.socket).map_err(|source| failed("read the admitted", source))?;
        let mut guests: Vec<_> =
            guests.into_iter().map(|((mac, address), left)| Guest { mac, address, left }).collect();
        guests.sort_by_key(|guest| (guest.mac, guest.address));
        Ok(guests)
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
        if self.guard_flags == 0 {
            weaker_promises.push(NO_OWNER.to_string());
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

    fn may_be_a_guests(&self, address: IpAddr) -> bool {
        // A guest may ask our resolver from its link-local address, too.
        let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let sides = self.ruleset.iter().flat_map(|ruleset| &ruleset.guests);
        let mut sides = sides.flat_map(|guest| guest.v4.iter().chain(&guest.v6));
        link_local || sides.any(|side| side.network.contains(address) && side.gateway != address)
    }

    fn picture(&mut self, table: &str) -> Result<Picture, Error> {
        kernel::picture(&mut self.socket, table).map_err(|source| failed(&format!("read the table {table}"), source))
    }

    fn read_guests(&mut self) -> Result<(), Error> {
        let guests = kernel::guests(&mut self.socket).map_err(|source| failed("read the admitted", source))?;
        let now = Instant::now();
        self.guests = guests.into_iter().map(|(pair, left)| (pair, now + left)).collect();
        Ok(())
    }

    fn cut(&mut self, addresses: &HashSet<IpAddr>) -> io::Result<usize> {
        if addresses.is_empty() {
            return Ok(0);
        }
        kernel::cut(&mut self.socket, |connection| connection.ends.iter().any(|end| addresses.contains(end)))
    }

    /// Cuts the forwarded connections of guests whose time ran out while nobody swept.
    fn cut_expired(&mut self, ruleset: &Ruleset) -> Result<(), Error> {
        let admitted: HashSet<IpAddr> = self.guests.keys().map(|(_, address)| *address).collect();
        let networks: Vec<_> =
            ruleset.guests.iter().flat_map(|guest| guest.v4.iter().chain(&guest.v6)).map(|side| side.network).collect();
        let stale =
            |source: IpAddr| !admitted.contains(&source) && networks.iter().any(|network| network.contains(source));
        kernel::cut(&mut self.socket, |connection| {
            connection.mark == contract::MARK && connection.source.is_some_and(stale)
        })
        .map_err(|source| failed("cut the connections of guests whose time is over", source))?;
        Ok(())
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn refused(doing: &str, why: String) -> Error {
    Error::Failed { doing: doing.into(), why }
}

fn failed(doing: &str, source: io::Error) -> Error {
    refused(doing, source.to_string())
}

fn failed_by(doing: &str, failure: Failure) -> Error {
    refused(doing, failure.to_string())
}
