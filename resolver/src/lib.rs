//! Answers DNS for guests, filtered.
//!
//! [`start`] gives a [`Handle`]; `udp` (own threads, batches, nothing allocated) and `tcp` bring messages to one function,
//! `pipeline::Core::walk`, which turns bytes into bytes with `wire` (reads queries), `views` (the policy in force, applied on the way
//! out), `own` (replies of our own making), `cache` (what upstreams said) and `reply` (writes replies).
//! What nobody knows yet goes to `forward`, a thread that asks in batches and keeps of each message what `answer` finds was asked
//! for. What is no plain answer in time goes on through `flight` (each question once) to `upstream`, where hickory asks.

mod answer;
mod cache;
mod flight;
mod forward;
mod garden;
mod guard;
pub mod inside;
mod limits;
mod local;
mod own;
mod pipeline;
mod reply;
mod server;
mod settings;
mod sockets;
mod stats;
mod tcp;
mod texts;
mod time;
mod udp;
mod upstream;
mod views;
mod wire;

pub use garden::{Garden, Opener};
pub use limits::Rate;
pub use server::{Handle, start};
pub use settings::{Clients, Error, Limits, PortalAddresses, Settings};
pub use stats::Stats;
pub use upstream::Upstream;
pub use views::Clock;
