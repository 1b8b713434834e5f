//! What may be resolved.
//!
//! An admin writes a [`Spec`] (TOML); it is checked as a whole, every problem at once, and becomes a [`Policy`]; policy
//! and lists ([`Edition`]) are compiled into one file ([`compile()`]) that gateways map into memory;
//! [`Compiled::decide`] turns a name into a [`Verdict`]. Nothing here reads a clock, opens a socket or waits: time is
//! an argument. The room also holds the few values that the resolver, the portal and the firewall share: [`Mac`] and
//! the client [`Directory`].

mod addresses;
mod atom;
mod canary;
pub mod client;
mod compile;
mod compiled;
mod domain;
mod explain;
mod file;
mod hashed;
mod info;
mod list;
mod map;
mod memo;
mod meta;
mod name;
mod network;
mod pattern;
mod policy;
mod problem;
pub mod read;
mod schedule;
mod search;
mod seen;
mod sets;
mod sign;
mod spec;
mod table;
pub mod verdict;

pub use canary::Canary;
pub use client::{Client, Directory, Mac};
pub use compile::{CompileError, Progress, compile};
pub use compiled::Compiled;
pub use domain::registrable;
pub use explain::Explanation;
pub use file::LoadError;
pub use info::{CategoryInfo, Group, ListInfo, YouTube};
pub use list::{Edition, NotAList, Refusal};
pub use name::{Name, NotAName};
pub use network::{Network, NotANetwork};
pub use policy::{Format, List, Organisation, Policy, Source};
pub use problem::{Problem, Problems};
pub use search::{SafeMode, search_engines};
pub use sign::sign;
pub use spec::Spec;
pub use verdict::{Action, BlockAnswer, Category, GroupId, Moment, Reason, Rule, Verdict, View};

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
