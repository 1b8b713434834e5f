//! What devices with limits may use up, and what they have used: kept in the kernel, by the mark of their connections.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use nix::errno::Errno;
use sheshi_firewall::{Error, Limits, contract};
use sheshi_policy::Mac;

use crate::{
    admission::Post,
    encode::Transaction,
    keeper::{Keeper, failed, failed_by},
    kernel, locked,
    netlink::Failure,
};

/// A device with limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    /// The mark of its connections.
    pub(crate) mark: u32,
    pub(crate) limits: Limits,
    /// Bytes it has used, as of the last look.
    pub(crate) used: u64,
}

/// Devices with limits, by their MAC.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    pub(crate) known: HashMap<Mac, Device>,
    /// Those whose data is used up, until the gateway has ended their sessions.
    pub(crate) spent: HashSet<Mac>,
    /// The number given last.
    last: u32,
}

impl Devices {
    /// A mark that no device has.
    fn mark(&mut self) -> u32 {
        loop {
            self.last = (self.last + 1) & 0x00ff_ffff;
            let mark = u32::from(contract::MARK_BEGINS) << 24 | self.last;
            if mark != contract::MARK && self.last != 0 && self.known.values().all(|device| device.mark != mark) {
                return mark;
            }
        }
    }
}

impl Post {
    /// Expels those whose data is used up: the kernel passes nothing of theirs already. To be called every second or so.
    pub(crate) fn weigh(&self) {
        let found = locked(&self.keeper).weigh();
        let over = found.unwrap_or_else(|error| {
            tracing::error!(%error, "looking at what devices have used; trying again");
            Vec::new()
        });
        for mac in over {
            // Its session is over before its pairs are gone: a renewal that comes in between is refused.
            locked(&self.keeper).devices.spent.insert(mac);
            if let Err(error) = self.shut_out(mac) {
                tracing::error!(%error, "expelling a guest whose data is used up; trying again");
            }
        }
    }
}

impl Keeper {
    /// What changes with a device's limits: what is taken from the kernel and what is put there.
    pub(crate) fn change_of(&mut self, mac: Mac, limits: Limits) -> (Option<Device>, Option<Device>) {
        let old = self.devices.known.get(&mac).copied();
        if old.map_or(limits.is_none(), |old| old.limits == limits) {
            return (None, None);
        }
        let new = (!limits.is_none()).then(|| {
            let mark = old.map_or_else(|| self.devices.mark(), |old| old.mark);
            Device { mark, limits, used: old.map_or(0, |old| old.used) }
        });
        (old, new)
    }

    /// Forgets devices of which no address is admitted any more.
    pub(crate) fn forget_devices(&mut self) -> Result<(), Error> {
        let admitted: HashSet<Mac> = self.guests.keys().map(|(mac, _)| *mac).collect();
        let gone: Vec<_> = self
            .devices
            .known
            .iter()
            .filter(|(mac, _)| !admitted.contains(*mac))
            .map(|(mac, device)| (*mac, *device))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        transaction.unlimit(&gone);
        match self.socket.commit(&transaction.finish()) {
            Ok(()) => {}
            // Somebody took them out: what is there now is read anew.
            Err(failure) if failure.is(Errno::ENOENT) => return self.read_devices(),
            Err(failure) => return Err(failed_by("forget what a device may use up", failure)),
        }
        self.devices.known.retain(|mac, _| admitted.contains(mac));
        Ok(())
    }

    /// The devices as the kernel has them.
    pub(crate) fn read_devices(&mut self) -> Result<(), Error> {
        let reading = |source: io::Error| failed("read what devices may use up", source);
        let (known, marks) = kernel::devices(&mut self.socket).map_err(reading)?;
        let highest = marks.iter().map(|mark| mark & 0x00ff_ffff).max().unwrap_or(0);
        self.devices.known = known;
        self.devices.last = self.devices.last.max(highest);
        Ok(())
    }

    /// Looks at what has been used, and names those who have used up their data.
    fn weigh(&mut self) -> Result<Vec<Mac>, Error> {
        if self.devices.known.values().all(|device| device.limits.data.is_none()) {
            return Ok(Vec::new());
        }
        let reading = |source: io::Error| failed("read what devices have used", source);
        // Only what was used: a table that somebody has just flushed is put back with the limits in memory.
        for (mac, found) in kernel::devices(&mut self.socket).map_err(reading)?.0 {
            if let Some(device) = self.devices.known.get_mut(&mac).filter(|device| device.mark == found.mark) {
                device.used = found.used;
            }
        }
        let over = |device: &Device| device.limits.data.is_some_and(|data| device.used >= data);
        Ok(self.devices.known.iter().filter(|(_, device)| over(device)).map(|(mac, _)| *mac).collect())
    }
}

/// Whether elements were there already, or were not: memory and kernel have drifted apart.
pub(crate) fn drifted(failure: &Failure) -> bool {
    failure.is(Errno::ENOENT) || failure.is(Errno::EEXIST)
}
