//! What may be resolved.
//!
//! An admin writes a [`spec`] (TOML); it is checked as a whole, every problem at once, and becomes a policy; policy and
//! lists are compiled into one [`Compiled`] file that gateways map into memory; [`Compiled::decide`] turns a name into a
//! [`Verdict`]. Nothing here reads a clock, opens a socket or waits: time is an argument.
//!
//! The room also holds the few values that the resolver, the portal and the firewall share: [`Mac`] and the client
//! [`Directory`].

pub mod client;
pub mod verdict;

pub use client::{Client, Directory, Mac};
pub use verdict::{Action, Category, GroupId, Moment, Reason, Rule, Verdict, View};
