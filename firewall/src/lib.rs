//! The firewall's rules as a value, and the guard that holds them in the kernel.
//!
//! A [`Ruleset`] says what is wanted; [`contract::tables`] turns it into [`ir`], one value with two back ends:
//! [`Ruleset::render`] writes it as nft text, and the binary `sheshi-guard` (`src/guard/`), which alone links libnftnl
//! and alone has CAP_NET_ADMIN, sends it to the kernel. Everybody else talks to that process through [`Guard`], in the
//! typed and bounded messages of [`message`]. Each rule keeps a numbered [`Promise`]; docs/network-contract.md states them.

mod client;
pub mod contract;
mod error;
pub mod ir;
mod limits;
pub mod message;
mod network;
mod promise;
mod render;
mod ruleset;
pub mod sandbox;

pub use client::Guard;
pub use error::Error;
pub use limits::Limits;
pub use message::{Counter, Forwarding, Guest, Health};
pub use network::last_address;
pub use promise::Promise;
pub use ruleset::{Admin, GuestSide, Ipv6Mode, MAX_CLOSED_ADDRESSES, Ports, Ruleset, Side, Ways};
pub use sheshi_policy::Network;
