//! Controls, probes and outcomes as values; records, chain, signature, verification.
pub mod canon;
pub mod chain;
pub mod control;
mod error;
pub mod hash;
pub mod log;
pub mod merkle;
pub mod note;
pub mod problem;
pub mod profile;
pub mod record;
pub mod rollup;
pub mod sign;
pub mod statement;
pub mod time;
pub use error::Error;
pub use hash::{Digest, Token};
pub use time::Time;
