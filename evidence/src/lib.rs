//! What a gateway can prove about its own filter, and how anyone checks it. Pure of sockets and clocks; builds anywhere.
//!
//! The gateway's probes come in as values: [`record::Attempt`]s of the probes that the [`control::Catalogue`] lists; the
//! [`log::Log`] keeps them as chained [`record::Record`]s under one Merkle tree, and signs its size and root
//! ([`note::Checkpoint`]). The [`rollup`] turns attempts into a verdict under a [`profile::Profile`]; [`details`] says it
//! as a signed [`statement`], [`report`] as pages, and a [`bundle::Bundle`] holds all of it for one period.
//! [`verify::verify`] checks a bundle by computing everything again; the binary `sheshi-verify` is that function.
//! `docs/evidence-format.md` is the contract: every byte here follows from it. Signing is in [`sign`] alone, outside time
//! stamps are in [`tsp`] alone.

pub mod badge;
pub mod bundle;
pub mod canon;
pub mod chain;
pub mod challenge;
pub mod control;
pub mod details;
mod error;
mod findings;
pub mod hash;
pub mod log;
pub mod merkle;
pub mod note;
mod pass;
pub mod problem;
pub mod profile;
pub mod record;
mod refusal;
pub mod report;
pub mod rollup;
pub mod sample;
pub mod sign;
pub mod statement;
pub mod time;
pub mod tsp;
pub mod verify;

pub use error::Error;
pub use hash::{Digest, Token};
pub use refusal::Name;
pub use time::Time;
