//! Whether the names of search engines' safe modes exist. An engine whose safe mode is gone is blocked until it is back, and whoever
//! runs the gateway is told: an alias that leads nowhere looks like a broken network to everybody.
//!
//! Asked for now and then, beside the guests' questions; no query waits for it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::{
    flight::Flights,
    pipeline::Core,
    server::Shared,
    wire::{Name, Question, rcode, rtype},
};

/// How often somebody looks whether there is another policy.
const LOOK: Duration = Duration::from_secs(1);
/// How often targets are asked for, in seconds: all of them, and those that were missing.
const ALL: u32 = 600;
const MISSING: u32 = 60;

/// Targets that no upstream knows.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    missing: ArcSwap<Vec<(Name, Box<str>)>>,
}

impl Targets {
    /// Whether upstreams have said that there is no such target.
    pub(crate) fn is_missing(&self, target: &Name) -> bool {
        self.missing.load().iter().any(|(name, _)| name == target)
    }

    /// Those that are missing.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.missing.load().iter().map(|(_, text)| text.to_string()).collect()
    }
}

/// Asks for the targets of whatever policy is in force until the resolver stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let (mut seen, mut again) = (0, 0);
    while !shared.stopped.load(Relaxed) {
        let now = shared.time.seconds();
        let snapshot = shared.core.views.current(now).compiled.clone();
        // One number a policy that is loaded: another policy may be at the place of one that is gone.
        let which = Arc::as_ptr(&snapshot) as usize ^ snapshot.generation() as usize;
        if which != seen || now >= again {
            let targets: Vec<Box<str>> = snapshot.search_targets().map(Into::into).collect();
            let any = look(&shared.core, shared.flights(), targets).await;
            (seen, again) = (which, now + if any { MISSING } else { ALL });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks for each of `targets`; tells whether any is missing.
async fn look(core: &Arc<Core>, flights: &Arc<Flights>, mut targets: Vec<Box<str>>) -> bool {
    targets.sort_unstable();
    targets.dedup();
    let (before, mut missing) = (core.targets.missing.load_full(), Vec::new());
    for text in targets {
        let Some(name) = Name::from_text(&text) else { continue };
        let was = before.iter().any(|(known, _)| *known == name);
        let entry = flights.fetch(core, &Question { name, qtype: rtype::A, dnssec: 0 }, None).await.entry;
        let is = match entry.rcode {
            rcode::NXDOMAIN => true,
            rcode::NOERROR => entry.addresses().next().is_none(),
            // No upstream has said anything: what was known before holds.
            _ => was,
        };
        match (was, is) {
            (false, true) => {
                warn!("{text}, the safe mode of a search engine, does not exist: the engine is blocked until it does");
            }
            (true, false) => info!("{text}, the safe mode of a search engine, exists again"),
            _ => {}
        }
        if is {
            missing.push((name, text));
        }
    }
    let any = !missing.is_empty();
    core.targets.missing.store(Arc::new(missing));
    any
}
