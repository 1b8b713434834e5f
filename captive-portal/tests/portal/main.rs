//! The portal over real sockets, as devices see it.

mod access;
mod bounds;
mod browser;
mod filter;
mod flows;
mod hotspot;
mod journeys;
mod pages;
mod requests;
