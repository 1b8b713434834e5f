//! Codes that admit: made in batches, kept as hashes, and what one of them gives to who brings it.

use std::time::Duration;

use sheshi_policy::Mac;

use crate::{
    Batch, BatchState, Error, Portal,
    admission::Grant,
    keys::{code, read_code, sha256},
    portal::Inner,
};

/// Letters of a code, five bits each: nobody finds one by trying, not even with the hashes at hand.
const LETTERS: usize = 12;
/// Most codes at once.
const AT_ONCE: u32 = 1000;
/// Codes that are none, within ten minutes: of one device, and of all. Somebody who mistypes has tries left, and all the
/// world together finds one of a million codes once in a hundred thousand years.
pub(crate) const GUESSES: (Duration, u32, u32) = (Duration::from_secs(600), 5, 300);

/// What a code is good for.
pub(crate) enum Redeemed {
    Grant(Grant),
    /// There is no such code, or nothing is left of it.
    Bad,
    /// Too many were tried.
    SlowDown,
}

impl Portal {
    /// Makes codes and keeps their hashes. This is the only time that the codes themselves are to be had.
    pub async fn new_vouchers(&self, batch: Batch, count: u32) -> Result<Vec<String>, Error> {
        let problem = match &batch {
            batch if batch.name.is_empty() || batch.name.len() > 64 || batch.name.chars().any(char::is_control) => {
                Some("name: want one of at most 64 bytes")
            }
            batch if !(60..=90 * 86_400).contains(&batch.seconds) => Some("time: want 1m to 90 days"),
            batch if !(1..=10_000).contains(&batch.devices) => Some("devices: want 1 to 10000"),
            _ if !(1..=AT_ONCE).contains(&count) => Some("count: want 1 to 1000"),
            _ => None,
        };
        let known = |group: &String| self.0.compiled.load().group(group).is_some();
        let problem = match &batch.group {
            Some(group) if !known(group) => Some("group: want one of the policy"),
            _ => problem,
        };
        if let Some(problem) = problem {
            return Err(Error::Batch(problem));
        }
        if self.0.store.batches().await?.iter().any(|known| known.batch.name == batch.name) {
            return Err(Error::Batch("name: there is such a batch already"));
        }
        let codes = (0..count).map(|_| code(LETTERS)).collect::<Result<Vec<_>, _>>()?;
        self.0.store.vouchers(batch, codes.iter().map(|code| hash(code)).collect()).await?;
        let stroked = codes.iter().map(|code| format!("{}-{}-{}", &code[..4], &code[4..8], &code[8..]));
        Ok(stroked.collect())
    }

    /// The batches of codes, and what has been used of each.
    pub async fn vouchers(&self) -> Result<Vec<BatchState>, Error> {
        self.0.store.batches().await
    }

    /// Makes all codes of a batch invalid. Whether there was such a batch. Who is online by one stays so.
    pub async fn end_vouchers(&self, name: &str) -> Result<bool, Error> {
        let had = self.0.store.batches().await?.iter().any(|known| known.batch.name == name);
        self.0.store.end_batch(name.to_owned()).await?;
        Ok(had)
    }
}

impl Inner {
    /// What a code gives to this device.
    pub(crate) async fn redeem(&self, mac: Mac, typed: &str) -> Result<Redeemed, Error> {
        if !self.guessing.allow(mac, self.now()) {
            return Ok(Redeemed::SlowDown);
        }
        let code = hash(&read_code(typed));
        match self.store.offer(code, self.keys.pseudonym(mac), self.unix()).await? {
            Some(offer) => Ok(Redeemed::Grant(Grant {
                group: offer.group.map(Into::into),
                time: Some(Duration::from_secs(offer.seconds)),
                code: Some(code),
            })),
            None => {
                self.guessing.count(mac, self.now());
                Ok(Redeemed::Bad)
            }
        }
    }
}

/// A fast hash is enough: the codes are random and long.
fn hash(code: &str) -> crate::keys::Hash {
    sha256(&format!("sheshi voucher {code}"))
}
