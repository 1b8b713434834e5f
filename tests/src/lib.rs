//! The lab: a hotspot on this machine, and the end-to-end flows that run on it.
//!
//! A [`Lab`] is a set of namespaces: an internet with its resolvers and web, a gateway with the real programs, and
//! guests with a real DHCP client. It needs no root and leaves nothing behind, because all of it hangs on one process
//! (room `inside`) that dies with whoever started it. A [`Place`] hands out sockets and runs programs inside a
//! namespace; a [`Guest`] joins, resolves and browses; [`arrivals`] tells what reached the internet side.
//! `sheshi-lab` is the same for people.

pub mod arrivals;
pub mod attacks;
pub mod cli;
mod config;
mod control;
pub mod dns;
mod enter;
mod error;
mod guest;
pub mod http;
mod inside;
mod internet;
mod lab;
pub mod lists;
mod options;
mod place;
pub mod plan;
mod tls;
mod wait;

pub use arrivals::{Arrival, Asked};
pub use config::{approve_policy, control_socket, path as config_path, policy_path};
pub use control::{ProcessStatus, Status};
pub use error::LabError;
pub use guest::{BYPASS_PAGE, Guest, Lease, REAL_PAGE};
pub use inside::processes::own_program;
pub use lab::{Lab, down, status};
pub use nix::sys::signal::Signal;
pub use options::{GatewayKind, Ipv6, Isolation, Options};
pub use place::Place;
pub use wait::until;
