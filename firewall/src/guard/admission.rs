//! Who is in: admitted, renewed, expelled, over. What a guest had open is cut whenever its standing changes.

use std::{
    collections::HashSet,
    mem,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use sheshi_firewall::{
    Error, Guest, Limits, Ruleset, contract,
    message::{MAX_ADDRESSES, MAX_TIME},
};
use sheshi_policy::Mac;

use crate::{
    allowance::drifted,
    connections::{self, Cutter},
    encode::Transaction,
    hold::Holder,
    keeper::{Keeper, failed, failed_by, milliseconds, refused},
    kernel::{self, Pair},
    locked,
};

/// What the guard's threads share. Walking the connections takes longer than anything else, so it is done without the
/// keeper.
pub(crate) struct Post {
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) cutter: Cutter,
    pub(crate) holder: Mutex<Holder>,
}

impl Post {
    /// Admits a device at addresses of guests' networks; renews those it has. Connections of addresses that are new are
    /// cut; if that fails, they are taken out again.
    pub(crate) fn admit(&self, mac: Mac, addresses: &[IpAddr], time: Duration, limits: Limits) -> Result<(), Error> {
        let new = locked(&self.keeper).let_in(mac, addresses, time, limits)?;
        if let Err(source) = self.cutter.cut(new.iter().map(|(_, address)| *address)) {
            locked(&self.keeper).take_out(&new)?;
            return Err(failed("cut a guest's older connections", source));
        }
        tracing::debug!(%mac, "admitted");
        Ok(())
    }

    /// Expels a device; returns how many of its addresses were admitted.
    pub(crate) fn expel(&self, mac: Mac) -> Result<usize, Error> {
        let count = self.shut_out(mac)?;
        // Whoever asks knows now that its session is over, and may begin another.
        locked(&self.keeper).devices.spent.remove(&mac);
        Ok(count)
    }

    pub(crate) fn shut_out(&self, mac: Mac) -> Result<usize, Error> {
        let mut keeper = locked(&self.keeper);
        keeper.read_guests()?;
        let pairs: Vec<Pair> = keeper.guests.keys().filter(|(admitted, _)| *admitted == mac).copied().collect();
        let count = keeper.take_out(&pairs)?;
        keeper.forget_devices()?;
        drop(keeper);
        self.cutter
            .cut(pairs.iter().map(|(_, address)| *address))
            .map_err(|source| failed("cut a guest's connections", source))?;
        tracing::debug!(%mac, "expelled");
        Ok(count)
    }

    /// Cuts the connections of guests whose time is over. To be called often: the kernel stops what they send by itself,
    /// this stops what is sent to them.
    pub(crate) fn sweep(&self) {
        let over: Vec<Pair> = {
            let (keeper, now) = (locked(&self.keeper), Instant::now());
            let expired = keeper.guests.iter().filter(|(_, until)| **until <= now).map(|(pair, _)| pair);
            expired.chain(&keeper.gone).copied().collect()
        };
        if over.is_empty() {
            return;
        }
        match self.cutter.cut(over.iter().map(|(_, address)| *address)) {
            Ok(()) => {
                let (mut keeper, now) = (locked(&self.keeper), Instant::now());
                // One of them may have been admitted anew meanwhile.
                keeper.guests.retain(|pair, until| *until > now || !over.contains(pair));
                keeper.gone.retain(|pair| !over.contains(pair));
                if let Err(error) = keeper.forget_devices() {
                    tracing::error!(%error, "forgetting what devices might use up; trying again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "cutting the connections of guests whose time is over; trying again");
            }
        }
    }
}

impl Keeper {
    /// Puts the pairs into the kernel's sets, and what the device may use up. Returns the pairs whose connections are to be
    /// cut: the new ones, and all when the device's connections carry another mark from now on.
    fn let_in(&mut self, mac: Mac, addresses: &[IpAddr], time: Duration, limits: Limits) -> Result<Vec<Pair>, Error> {
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
        limits.check()?;
        if self.devices.spent.contains(&mac) {
            return Err(refused(doing, "its data is used up, and its session is not ended yet".into()));
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
        let changed;
        loop {
            (known, new) =
                addresses.iter().map(|address| (mac, *address)).partition(|pair| self.guests.contains_key(pair));
            let mut transaction = Transaction::new();
            // The kernel before 6.12 keeps the old time of an element that is added again.
            transaction.expel(&known.iter().map(|pair| (pair.0, pair.1, 0)).collect::<Vec<_>>());
            let change = self.change_of(mac, limits);
            transaction.unlimit(&change.0.map(|device| (mac, device)).into_iter().collect::<Vec<_>>());
            transaction.limit(&change.1.map(|device| (mac, device)).into_iter().collect::<Vec<_>>());
            transaction.admit(&known.iter().chain(&new).map(timed).collect::<Vec<_>>());
            match self.socket.commit(&transaction.finish()) {
                Ok(()) => break changed = change,
                // An element's time ran out just now, or memory and kernel have drifted apart.
                Err(failure) if attempt < 3 && drifted(&failure) => {
                    attempt += 1;
                    self.read_guests()?;
                    self.read_devices()?;
                }
                Err(failure) => return Err(failed_by(doing, failure)),
            }
        }
        self.guests.extend(known.iter().chain(&new).map(|pair| (*pair, until)));
        match changed {
            (None, None) => return Ok(new),
            (_, Some(device)) => drop(self.devices.known.insert(mac, device)),
            (Some(_), None) => drop(self.devices.known.remove(&mac)),
        }
        let same_mark = changed.0.map(|device| device.mark) == changed.1.map(|device| device.mark);
        Ok(if same_mark { new } else { self.guests.keys().filter(|(other, _)| *other == mac).copied().collect() })
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

    /// The admitted, as the kernel has them.
    pub(crate) fn guests(&mut self) -> Result<Vec<Guest>, Error> {
        let guests = kernel::guests(&mut self.socket).map_err(|source| failed("read the admitted", source))?;
        let mut guests: Vec<_> =
            guests.into_iter().map(|((mac, address), left)| Guest { mac, address, left }).collect();
        guests.sort_by_key(|guest| (guest.mac, guest.address));
        Ok(guests)
    }

    fn may_be_a_guests(&self, address: IpAddr) -> bool {
        // A guest may ask our resolver from its link-local address, too.
        let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let sides = self.ruleset.iter().flat_map(|ruleset| &ruleset.guests);
        let mut sides = sides.flat_map(|guest| guest.v4.iter().chain(&guest.v6));
        link_local || sides.any(|side| side.network.contains(address) && side.gateway != address)
    }

    pub(crate) fn read_guests(&mut self) -> Result<(), Error> {
        let guests = kernel::guests(&mut self.socket).map_err(|source| failed("read the admitted", source))?;
        let now = Instant::now();
        let guests = guests.into_iter().map(|(pair, left)| (pair, now + left)).collect();
        let before = mem::replace(&mut self.guests, guests);
        self.gone.extend(before.into_keys().filter(|pair| !self.guests.contains_key(pair)));
        Ok(())
    }

    /// Cuts the forwarded connections of guests whose time ran out while nobody swept.
    pub(crate) fn cut_expired(&mut self, ruleset: &Ruleset) -> Result<(), Error> {
        let admitted: HashSet<IpAddr> = self.guests.keys().map(|(_, address)| *address).collect();
        let networks: Vec<_> =
            ruleset.guests.iter().flat_map(|guest| guest.v4.iter().chain(&guest.v6)).map(|side| side.network).collect();
        let stale =
            |source: IpAddr| !admitted.contains(&source) && networks.iter().any(|network| network.contains(source));
        connections::cut(&mut self.socket, |connection| {
            connection.mark >> 24 == u32::from(contract::MARK_BEGINS) && connection.source.is_some_and(stale)
        })
        .map_err(|source| failed("cut the connections of guests whose time is over", source))?;
        Ok(())
    }
}
