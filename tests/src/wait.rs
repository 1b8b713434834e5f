//! Waiting for something to be so, with a deadline, and never for a fixed time.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::error::LabError;

/// How often is looked.
const STEP: Duration = Duration::from_millis(10);

/// Looks until there is something to see; tells what was waited for when the time is over.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, LabError> {
    let end = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if Instant::now() >= end {
            return Err(LabError::TooLate { what: what.into(), seconds: within.as_secs(), detail: String::new() });
        }
        thread::sleep(STEP);
    }
}
