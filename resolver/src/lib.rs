//! Answers DNS for guests, filtered.
//!
//! [`start`] opens the listeners and gives a [`Handle`]; everything a message goes through is one function, `pipeline::Core::walk`,
//! which turns bytes into bytes and is called by `udp` (own threads, batches, nothing allocated) and `tcp` alike. `wire` reads
//! queries, `reply` writes replies, `answer` reduces what an upstream said to what was asked, `cache` keeps that.
//! What nobody knows yet goes to `forward` (a thread that asks in batches), and from there, when there is no plain answer in time,
//! through `flight` (each question once) to `upstream`, where hickory asks over UDP and TCP.
//! Policy comes as a pointer that is swapped whole (`views`) and is applied on the way out, so the cache knows nothing of it.

mod answer;
mod cache;
mod flight;
mod forward;
mod guard;
mod limits;
mod local;
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

pub use limits::Rate;
pub use server::{Handle, start};
pub use settings::{Clients, Error, Limits, PortalAddresses, Settings};
pub use stats::Stats;
pub use upstream::Upstream;
pub use views::Clock;
