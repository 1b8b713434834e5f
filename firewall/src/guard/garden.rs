//! What strangers reach before they are admitted: addresses, opened one by one and each for its time.
//!
//! Which names they belong to is decided elsewhere. Here is the last look: whatever was answered for a name, no address of
//! this network, of the provider's or of no network at all is opened.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use sheshi_firewall::{
    Error,
    message::{MAX_ADDRESSES, MAX_OPEN},
};

use crate::{
    allowance::drifted,
    encode::Transaction,
    keeper::{Keeper, failed_by, milliseconds, refused},
};

impl Keeper {
    /// Opens addresses to strangers; returns when the kernel has them. What stays open for longer already is left alone.
    pub(crate) fn open(&mut self, addresses: &[IpAddr], time: Duration) -> Result<(), Error> {
        let doing = "open addresses to strangers";
        let has_garden = self.ruleset.as_ref().is_some_and(|ruleset| ruleset.garden && !ruleset.closed);
        if !has_garden {
            return Err(refused(doing, "the ruleset in force has no garden".into()));
        }
        if time.is_zero() || time > MAX_OPEN {
            let (asked, most) = (time.as_secs(), MAX_OPEN.as_secs());
            return Err(refused(doing, format!("{asked} s is no time; want up to {most} s")));
        }
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(refused(doing, format!("{} addresses; want 1 to {MAX_ADDRESSES}", addresses.len())));
        }
        if let Some(stray) = addresses.iter().find(|address| !is_public(**address) || self.is_ours(**address)) {
            return Err(refused(doing, format!("{stray} is not an address of the public internet")));
        }
        let (now, until) = (Instant::now(), Instant::now() + time);
        self.garden.retain(|_, until| *until > now);
        let mut wanted = addresses.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|address| self.garden.get(address).is_none_or(|open| *open < until));
        let timed = |address: &IpAddr| (*address, milliseconds(time));
        let mut attempt = 0;
        loop {
            let known: Vec<_> = wanted.iter().filter(|address| self.garden.contains_key(address)).collect();
            let mut transaction = Transaction::new();
            // The kernel before 6.12 keeps the old time of an element that is added again.
            transaction.close(&known.into_iter().map(timed).collect::<Vec<_>>());
            transaction.open(&wanted.iter().map(timed).collect::<Vec<_>>());
            match self.socket.commit(&transaction.finish()) {
                Ok(()) => break,
                // One ran out just now, or the table is another: what the kernel does not have is not to be taken out.
                Err(failure) if attempt < 1 && drifted(&failure) => {
                    attempt += 1;
                    self.garden.retain(|address, _| !wanted.contains(address));
                }
                Err(failure) => return Err(failed_by(doing, failure)),
            }
        }
        self.garden.extend(wanted.into_iter().map(|address| (address, until)));
        Ok(())
    }

    /// Whether it is an address of a network of ours.
    fn is_ours(&self, address: IpAddr) -> bool {
        let sides = self.ruleset.iter().flat_map(|ruleset| &ruleset.guests);
        let mut sides = sides.flat_map(|guest| guest.v4.iter().chain(&guest.v6));
        sides.any(|side| side.network.contains(address))
    }
}

/// Whether an address belongs to the public internet (RFC 6890 and its registries), told by what does not.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public4(v4),
        IpAddr::V6(v6) => is_public6(v6),
    }
}

fn is_public4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || a >= 240
        // Carriers' NAT (RFC 6598), protocol assignments (RFC 6890), 6to4 relays (RFC 7526).
        || a == 100 && b & 0xc0 == 64
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99);
    !special
}

fn is_public6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3. In it, Teredo (2001::/32) and 6to4 (2002::/16) carry addresses of others.
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0) && first != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_opened() {
        for closed in [
            "0.0.0.0",
            "10.80.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "172.20.0.1",
            "192.168.1.1",
            "192.0.0.8",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2002:a00:1::1",
            "2001:0:4136::1",
        ] {
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
        for open in ["9.9.9.9", "172.32.0.1", "100.128.0.1", "198.18.0.10", "2620:fe::fe", "2001:db8::1"] {
            assert!(is_public(open.parse().unwrap()), "{open}");
        }
    }
}
