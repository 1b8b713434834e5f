//! What a gateway and the city's dashboard say to each other (docs/dashboard-protocol.md).
//!
//! [`message`] holds what is sent, with its bounds; [`signed`] signs requests and checks them; [`client`] is the gateway's
//! end. The dashboard's end is the dashboard.

pub mod client;
pub mod message;
pub mod signed;
