//! What guests see: OS probes, terms, sessions, status, block page, RFC 8908.
//!
//! [`Portal`] owns the sessions and publishes the directory of clients; [`Gate`] is the firewall and [`Neighbours`] the
//! neighbour table, as it sees them. A request comes in through `serve` (hyper, with bounds on everything), goes through
//! `dispatch` (whose host is it, and who asks), and is answered by a page of `pages` or an OS probe of `probes`. Guests
//! are admitted in one order: kernel, record, directory, page; and what was not recorded is undone.

mod admission;
mod api;
mod book;
mod dispatch;
mod doors;
mod error;
mod filter;
mod host;
mod hours;
pub mod inside;
mod keys;
mod objections;
mod pages;
mod plural;
mod portal;
mod probes;
mod roaming;
mod routes;
mod serve;
mod settings;
mod store;
mod terms;
mod tls;
mod tries;
mod validity;
mod vouchers;
mod wanted;
mod words;

pub use book::SessionInfo;
pub use doors::{BoxFuture, Clock, Gate, GateError, Neighbours, SystemClock};
pub use error::Error;
pub use objections::{Decision, Objection};
pub use portal::{Portal, SelfTest, Stats};
pub use probes::probe_hosts;
pub use settings::{Access, Limits, Problem, Roaming, Settings, Staff, Tls};
pub use store::{Batch, BatchState, Consent};
