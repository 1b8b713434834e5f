//! From the guest's first moment until the gateway first speaks: is anything answered that nobody filtered?
//!
//! After a boot this covers the time in which links are up and the filter may not be.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{DEVICE, cable, deeds};
use crate::{
    config::Config,
    probe::{
        dns::{self, Reply, kind},
        known,
        wire::{self, Deed, Saw},
    },
};

const EVERY: Duration = Duration::from_millis(250);
/// Nobody spoke for so long: this is no boot, and there is nothing more to learn.
const LONGEST: Duration = Duration::from_secs(600);

/// What must not be answered.
pub(super) struct Marks {
    names: Vec<String>,
}

impl Marks {
    pub(super) fn of(_config: &Config) -> Self {
        Self { names: known::ADULT.iter().map(|name| (*name).to_owned()).collect() }
    }
}

/// A watch that goes on until it is ended.
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<wire::Watch>>,
}

impl Watch {
    pub(super) fn start(marks: Marks) -> Self {
        let watch = Self { over: Arc::default(), seen: Arc::default() };
        let (over, seen) = (watch.over.clone(), watch.seen.clone());
        let begin = Instant::now();
        thread::spawn(move || {
            let mut round = 0;
            while !over.load(Relaxed) && begin.elapsed() < LONGEST {
                let deeds = deeds_of(&marks, round);
                let saw = deeds::all(&deeds);
                // What came back after the gateway spoke is the gateway's to judge.
                if over.load(Relaxed) {
                    break;
                }
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.tried += deeds.len() as u64;
                seen.unfiltered += saw.iter().zip(&deeds).filter(|(saw, deed)| is_unfiltered(saw, deed)).count() as u64;
                seen.ms = begin.elapsed().as_millis() as u64;
                drop(seen);
                round += 1;
                thread::sleep(EVERY);
            }
        });
        watch
    }

    /// Ends it; what it has seen.
    pub(super) fn end(&self) -> wire::Watch {
        self.over.store(true, Relaxed);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn deeds_of(marks: &Marks, round: usize) -> Vec<Deed> {
    let name = &marks.names[round % marks.names.len()];
    let mut deeds = Vec::new();
    for resolver in known::foreign(!cable::global_v6(DEVICE).is_empty()).take(4) {
        let send = dns::question(round as u16 + 1, name, kind::A).unwrap_or_default();
        deeds.push(Deed::Udp {
            to: (resolver, 53).into(),
            send: BASE64_STANDARD.encode(send),
            within_ms: 200,
            times: 1,
        });
        deeds.push(Deed::Tcp {
            to: (resolver, 853).into(),
            send: String::new(),
            enough: 0,
            framed: false,
            within_ms: 200,
        });
    }
    deeds
}

/// An address of the world in the answer, or a connection to an encrypted resolver.
fn is_unfiltered(saw: &Saw, deed: &Deed) -> bool {
    if let Deed::Tcp { .. } = deed {
        return saw.connected;
    }
    let reply = saw.reply.as_ref().and_then(|reply| BASE64_STANDARD.decode(reply).ok());
    let reply = reply.and_then(|reply| Reply::parse(&reply));
    reply.is_some_and(|reply| reply.addresses().into_iter().any(known::is_public))
}
