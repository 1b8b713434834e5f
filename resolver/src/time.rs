//! The room's own clock, which only goes forward and starts at zero. The time of day is an argument and used for policy only.

use std::time::Instant;

/// Monotonic time since the resolver started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    start: Instant,
}

impl Time {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Milliseconds.
    pub(crate) fn millis(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Seconds; 136 years of them.
    pub(crate) fn seconds(&self) -> u32 {
        self.start.elapsed().as_secs() as u32
    }
}
