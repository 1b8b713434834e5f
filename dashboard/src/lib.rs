//! The city's server.
//!
//! A [`Dashboard`] is opened over one data folder and serves HTTP/1: pages for people (`pages/`), and an API for gateways
//! (`api.rs`, docs/dashboard-protocol.md). Every request goes through `guard.rs`, which refuses what `routes.rs` does not
//! grant; everything that is kept goes through `store/`, with its entry in the audit log (`audit.rs`). A policy becomes a
//! generation in `publish.rs`. The other end of the API is the room `protocol`.

mod api;
mod app;
mod audit;
mod error;
mod fleet;
mod guard;
mod inputs;
mod pages;
mod publish;
mod role;
mod routes;
mod secret;
mod serve;
mod settings;
mod store;
mod time;
mod view;
mod words;

pub use app::{Dashboard, GatewayLine};
pub use error::Error;
pub use role::Role;
pub use settings::{Public, Settings};

#[cfg(test)]
mod tests;
