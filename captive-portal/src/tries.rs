//! How often a device, and all devices together, may do what costs somebody something: object, or try a code.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sheshi_policy::Mac;

/// Counts in windows of time. A device can make itself a new address, so what protects is the number of all together;
/// the number of one device keeps one that errs from taking the turn of the others.
pub(crate) struct Tries {
    window: Duration,
    of_one: u32,
    of_all: u32,
    counted: Mutex<Option<Counted>>,
}

struct Counted {
    since: Instant,
    all: u32,
    devices: HashMap<Mac, u32>,
}

impl Tries {
    pub(crate) fn new(window: Duration, of_one: u32, of_all: u32) -> Self {
        Self { window, of_one, of_all, counted: Mutex::default() }
    }

    /// Whether a device may try once more; counts nothing.
    pub(crate) fn allow(&self, mac: Mac, now: Instant) -> bool {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*counted {
            Some(counted) if now.saturating_duration_since(counted.since) < self.window => {
                counted.all < self.of_all && counted.devices.get(&mac).is_none_or(|count| *count < self.of_one)
            }
            _ => true,
        }
    }

    /// Counts a try.
    pub(crate) fn count(&self, mac: Mac, now: Instant) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |counted: &Counted| now.saturating_duration_since(counted.since) >= self.window;
        if counted.as_ref().is_none_or(over) {
            *counted = Some(Counted { since: now, all: 0, devices: HashMap::new() });
        }
        if let Some(counted) = &mut *counted {
            // `of_all` bounds the map too: beyond it nobody is asked about any more.
            counted.all = counted.all.saturating_add(1);
            if counted.all <= self.of_all {
                *counted.devices.entry(mac).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_has_its_tries_and_all_have_theirs() {
        let tries = Tries::new(Duration::from_secs(60), 2, 3);
        let (now, [a, b, c]) = (Instant::now(), [1, 2, 3].map(|n| Mac([2, 0, 0, 0, 0, n])));
        for _ in 0..2 {
            assert!(tries.allow(a, now));
            tries.count(a, now);
        }
        assert!(!tries.allow(a, now) && tries.allow(b, now));
        tries.count(b, now);
        assert!(!tries.allow(b, now) && !tries.allow(c, now));
        assert!(tries.allow(a, now + Duration::from_secs(60)));
        tries.count(a, now + Duration::from_secs(60));
        assert!(tries.allow(a, now + Duration::from_secs(61)));
    }
}
