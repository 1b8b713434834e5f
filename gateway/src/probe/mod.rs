//! Measuring the filter from the guest's side, all day.
//!
//! A process of its own, the `guest`, joins as a phone does and tries what it is told (`wire`). The gateway decides what
//! to try and what it means: a `round` gives each probe what it needs, the probes are in `controls`, `judge` holds the
//! rules of what counts as blocked or closed. `ledger` writes what came of it into the signed log and says what it amounts
//! to; `prober` runs each probe at its cadence, `drill` what the daemon cannot do to itself.

#![allow(
    clippy::result_large_err,
    reason = "a probe that stops early gives its finding, which is what all of this is about"
)]

mod controls;
pub mod dns;
pub mod drill;
pub mod guest;
pub mod http;
pub mod judge;
pub mod known;
pub mod ledger;
mod lists;
pub mod prober;
mod round;
mod settings;
pub mod standing;
pub mod wire;

pub use settings::{Settings, Witness};
pub(crate) use settings::{settings, witness};
