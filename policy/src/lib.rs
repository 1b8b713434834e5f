//! What may be resolved.
//!
//! An admin writes a [`Spec`] (TOML); it is checked as a whole, every problem at once, and becomes a [`Policy`]; policy and
//! lists are compiled into one [`Compiled`] file that gateways map into memory; [`Compiled::decide`] turns a name into a
//! [`Verdict`]. Nothing here reads a clock, opens a socket or waits: time is an argument.
//!
//! The room also holds the few values that the resolver, the portal and the firewall share: [`Mac`] and the client
//! [`Directory`].

pub mod client;
mod compile;
mod compiled;
mod image;
mod info;
mod name;
mod network;
mod problem;
mod spec;
pub mod verdict;

pub use client::{Client, Directory, Mac};
pub use compile::{CompileError, Edition, Progress, compile};
pub use compiled::{Compiled, Explanation, LoadError};
pub use info::{CategoryInfo, Group, ListInfo, YouTube};
pub use network::{Network, NotANetwork};
pub use problem::{Problem, Problems};
pub use spec::{List, Policy, Source, Spec};
pub use verdict::{Action, BlockAnswer, Category, GroupId, Moment, Reason, Rule, Verdict, View};
