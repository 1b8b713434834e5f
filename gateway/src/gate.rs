//! The doors of portal and resolver to the rest: the firewall (through the guard) and the neighbour table (through [`Network`]).

use std::{net::IpAddr, time::Duration};

use sheshi_captive_portal::{BoxFuture, Gate, GateError, Neighbours};
use sheshi_firewall::{Guard, Limits};
use sheshi_policy::Mac;
use sheshi_resolver::Opener;

use crate::network::Network;

/// Asks the guard without holding up the threads that serve guests: its client waits for the answer.
pub async fn ask<T: Send + 'static>(
    guard: &Guard,
    question: impl FnOnce(&Guard) -> Result<T, sheshi_firewall::Error> + Send + 'static,
) -> Result<T, sheshi_firewall::Error> {
    let guard = guard.clone();
    tokio::task::spawn_blocking(move || question(&guard)).await.expect("the guard's client does not panic")
}

/// The firewall, as the portal sees it.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Who opens.
    pub guard: Guard,
    /// What each device may use up.
    pub limits: Limits,
}

impl Gate for Doors {
    fn admit(&self, mac: Mac, addresses: Vec<IpAddr>, time: Duration) -> BoxFuture<'_, Result<(), GateError>> {
        Box::pin(async move {
            let limits = self.limits;
            ask(&self.guard, move |guard| guard.admit_within(mac, &addresses, time, limits))
                .await
                .map_err(|error| GateError(error.to_string()))
        })
    }

    fn expel(&self, mac: Mac) -> BoxFuture<'_, Result<(), GateError>> {
        Box::pin(async move {
            ask(&self.guard, move |guard| guard.expel(mac))
                .await
                .map(drop)
                .map_err(|error| GateError(error.to_string()))
        })
    }
}

impl Opener for Doors {
    fn open(&self, addresses: Vec<IpAddr>, time: Duration) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let opened = ask(&self.guard, move |guard| guard.open(&addresses, time)).await;
            if let Err(error) = &opened {
                tracing::warn!("a name of the garden stays closed: {error}");
            }
            opened.is_ok()
        })
    }
}

impl Neighbours for Network {
    fn mac(&self, address: IpAddr) -> Option<Mac> {
        // Waiting is rare, and the runtime gives its other work to another thread meanwhile.
        let wait = || tokio::runtime::Handle::current().block_on(self.mac_now(address));
        Network::mac(self, address).or_else(|| tokio::task::block_in_place(wait))
    }

    fn addresses(&self, mac: Mac) -> Vec<IpAddr> {
        Network::addresses(self, mac)
    }
}
