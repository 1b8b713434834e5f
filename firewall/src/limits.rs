//! What one device may use up.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Slowest rate: below it pages do not load, and what is meant is not to admit.
const MIN_RATE: u64 = 8 * 1024;
/// Fastest rate, and most data: what is above is surely a mistake of units.
const MAX_RATE: u64 = 1 << 33;
const MAX_DATA: u64 = 1 << 50;

/// What one device may use up, at all its addresses of both families together. Nothing said is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes a second to the device.
    #[serde(default)]
    pub down: Option<u64>,
    /// Bytes a second from the device.
    #[serde(default)]
    pub up: Option<u64>,
    /// Bytes in both directions, from admission to expulsion.
    #[serde(default)]
    pub data: Option<u64>,
}

impl Limits {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the figures make sense.
    pub fn check(&self) -> Result<(), Error> {
        let rate = |path, rate: Option<u64>| {
            let wrong = rate.filter(|rate| !(MIN_RATE..=MAX_RATE).contains(rate))?;
            Some(format!("limits.{path}: {wrong} bytes a second; want {MIN_RATE} to {MAX_RATE}"))
        };
        let data = self.data.filter(|data| !(1..=MAX_DATA).contains(data));
        let data = data.map(|wrong| format!("limits.data: {wrong} bytes; want 1 to {MAX_DATA}"));
        let problems: Vec<_> = [rate("down", self.down), rate("up", self.up), data].into_iter().flatten().collect();
        if problems.is_empty() { Ok(()) } else { Err(Error::Refused(problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_wrong_unit_are_refused_by_name() {
        assert!(Limits::default().check().is_ok());
        assert!(Limits { down: Some(1_250_000), up: Some(MIN_RATE), data: Some(1 << 30) }.check().is_ok());
        let wrong = Limits { down: Some(20), up: Some(MAX_RATE + 1), data: Some(0) };
        let Err(Error::Refused(problems)) = wrong.check() else { panic!("accepted") };
        let paths: Vec<_> = problems.iter().map(|problem| problem.split(':').next().unwrap()).collect();
        assert_eq!(paths, ["limits.down", "limits.up", "limits.data"]);
    }
}
