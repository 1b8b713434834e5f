//! The room as a whole: a browser and gateways against the real router, over the real database.

mod api;
mod chain;
mod doors;
mod harness;
mod injection;
mod pages;
mod policy;
mod routes;
