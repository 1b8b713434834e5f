//! What the portal needs of others: the firewall, the neighbour table and a clock.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use sheshi_policy::{Mac, Moment};

/// A future on the heap, as a trait object must give one.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The firewall refused, or did not answer. The text is logged: it names no device.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GateError(pub String);

/// The firewall, as the portal sees it. Both methods return when the kernel has acknowledged, and may be repeated.
pub trait Gate: Send + Sync + 'static {
    /// Lets a device through under these addresses for `time` from now, also where it already was let through.
    fn admit(&self, mac: Mac, addresses: Vec<IpAddr>, time: Duration) -> BoxFuture<'_, Result<(), GateError>>;

    /// Shuts a device out under all its addresses and ends its open connections.
    fn expel(&self, mac: Mac) -> BoxFuture<'_, Result<(), GateError>>;
}

/// The kernel's neighbour table on the guest side: who a guest is, whatever it says of itself.
pub trait Neighbours: Send + Sync + 'static {
    /// The device that has this address.
    fn mac(&self, address: IpAddr) -> Option<Mac>;

    /// All addresses of a device.
    fn addresses(&self, mac: Mac) -> Vec<IpAddr>;
}

/// The time. Sessions are counted in `instant`, which never jumps; `moment` is for records and schedules.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time.
    fn instant(&self) -> Instant;

    /// The date, where it is known.
    fn moment(&self) -> Moment;
}

/// The system's clock. A date before this was written means that nobody has set it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// 2026-11-01T00:00:00Z, in seconds of Unix time.
const WRITTEN: i64 = 1_793_491_200;

impl Clock for SystemClock {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn moment(&self) -> Moment {
        let now = jiff::Timestamp::now();
        if now.as_second() < WRITTEN { Moment::Unknown } else { Moment::At(now) }
    }
}
