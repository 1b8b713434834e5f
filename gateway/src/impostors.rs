//! Devices that pass for the gateway: counted by the firewall, told to the admin for a while.

use std::time::{Duration, Instant};

use sheshi_firewall::Health;

use crate::plan::Trouble;

/// How long it is told after the last attempt.
const TOLD: Duration = Duration::from_secs(600);
/// The promise whose rules count them.
const PROMISE: &str = "C38";

/// What has been seen of them. Counts only: who it was is nobody's to keep.
#[derive(Debug, Default)]
pub struct Impostors {
    counted: u64,
    last: Option<Instant>,
}

impl Impostors {
    /// Takes what the firewall has counted; gives what the admin is to know.
    pub fn note(&mut self, health: &Health, now: Instant) -> Option<Trouble> {
        let counted = health.counters.iter().find(|counter| counter.promise == PROMISE).map_or(0, |c| c.packets);
        // A change of rules begins the count anew.
        if counted > self.counted || counted > 0 && counted < self.counted {
            self.last = Some(now);
        }
        self.counted = counted;
        self.last = self.last.filter(|last| now.duration_since(*last) < TOLD);
        self.last?;
        Some(Trouble::new(
            "a device on the guests' side passes for a router, a DHCP server or this gateway; what reached us was dropped",
            "see that the access point keeps guests apart (client isolation); if it does, nobody is harmed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use sheshi_firewall::{Counter, Forwarding};

    use super::*;

    fn health(packets: u64) -> Health {
        let counter = Counter { promise: PROMISE.into(), title: String::new(), packets, bytes: 0 };
        Health {
            in_force: true,
            matches: true,
            difference: String::new(),
            closed: false,
            generation: 1,
            forwarding: Forwarding { v4: true, v6: true },
            counters: vec![counter],
            restored: 0,
            weaker_promises: Vec::new(),
        }
    }

    #[test]
    fn attempt_is_told_for_ten_minutes_and_a_new_count_is_no_attempt() {
        let (mut impostors, begun) = (Impostors::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(impostors.note(&health(0), at(0)), None);
        assert!(impostors.note(&health(2), at(5)).is_some());
        assert!(impostors.note(&health(2), at(600)).is_some());
        assert_eq!(impostors.note(&health(2), at(606)), None);
        assert_eq!(impostors.note(&health(0), at(610)), None, "a change of rules");
        assert!(impostors.note(&health(1), at(615)).is_some());
    }
}
