//! Answers DNS for guests, filtered.
//!
//! [`start`] gives a [`Handle`]; `udp` (own threads, batches, nothing allocated), `tcp` (TLS too) and `https` bring messages to one
//! function, `pipeline::Core::walk`, which turns bytes into bytes with `wire` (reads queries), `views` (the policy in force, applied on the way
//! out), `own` (replies of our own making), `cache` (what upstreams said) and `reply` (writes replies).
//! What nobody knows yet goes to `forward`, a thread that asks in batches and keeps of each message what `answer` finds was asked
//! for. What is no plain answer in time goes on through `flight` (each question once) to `upstream`, where
//! hickory asks over UDP and lines of our own over TCP, TLS and HTTP/2.

mod answer;
mod cache;
mod certificate;
mod cookies;
mod designation;
mod ech;
mod flight;
mod forward;
mod garden;
mod guard;
mod https;
pub mod inside;
mod limits;
mod local;
mod novelty;
mod own;
mod padding;
mod pipeline;
mod probe;
mod reply;
mod secure;
mod server;
mod settings;
mod sockets;
mod stats;
mod targets;
mod tcp;
mod texts;
mod time;
mod udp;
mod upstream;
mod views;
mod wire;

pub use garden::{Garden, Opener};
pub use limits::Rate;
pub use novelty::NewNames;
pub use probe::probe;
pub use secure::Secure;
pub use server::{Handle, start};
pub use settings::{Clients, Error, Limits, PortalAddresses, Settings};
pub use stats::Stats;
pub use upstream::{
    Health,
    spec::{How, Identity, Trust, Upstream},
};
pub use views::Clock;
