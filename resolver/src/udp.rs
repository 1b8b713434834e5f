//! The fast path: a thread of its own for each UDP socket. What needs no upstream is answered here, batch by batch, without
//! allocation, lock or task; the rest is handed on with the way back, a batch at a time.

use std::{
    net::UdpSocket,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tracing::{error, warn};

use crate::{
    forward::{Forward, Job},
    pipeline::{Asker, Door, Step, Turn},
    server::Shared,
    sockets::Batch,
    stats::{Count, Counts, Tally},
    wire::Transport,
};

/// Runs `serve` until `stopped`, again after a panic: a message that trips over a mistake of ours costs its batch, not the listener.
pub(crate) fn keep_serving(stopped: &AtomicBool, mut serve: impl FnMut()) {
    while !stopped.load(Relaxed) {
        if catch_unwind(AssertUnwindSafe(&mut serve)).is_err() {
            error!("answering DNS over UDP failed on a mistake in the program; a few queries were lost, going on");
        }
    }
}

/// Serves one socket until the resolver stops.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    socket: &Arc<UdpSocket>,
    batch: &mut Batch,
    door: Door,
    tally: &Tally,
    forward: &Forward,
) {
    let core = &shared.core;
    let mut texts = shared.texts();
    let counts = Counts::new();
    let mut jobs = Vec::new();
    while !shared.stopped.load(Relaxed) {
        let count = match batch.receive(socket) {
            Ok(0) => continue,
            Ok(count) => count,
            Err(error) => {
                // Such as a network that went away: the address may come back, so the thread stays.
                warn!(%error, "cannot receive queries for a moment");
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            }
        };
        let now = shared.time.millis();
        // Loaded once for the batch: policy and directory are swapped whole.
        let snapshot = core.views.current((now / 1000) as u32);
        let directory = core.directory();
        for at in 0..count {
            let Some(peer) = batch.peer(at) else {
                counts.count(Count::Dropped);
                continue;
            };
            let asker = Asker { peer, transport: Transport::Udp, door };
            let (query, reply) = batch.pair(at);
            let mut turn = Turn {
                now,
                snapshot: &snapshot,
                directory: directory.as_deref().map(|directory| &**directory),
                counts: &counts,
                texts: &mut texts,
                fetched: &[],
                #[cfg(test)]
                steps: Vec::new(),
            };
            match core.answer(&mut turn, &asker, query, reply) {
                Step::Reply(length) => batch.reply(at, length),
                Step::Ignore => {}
                Step::Ask(question, client) => {
                    let Some(place) = core.wait(client) else {
                        if let Step::Reply(length) = core.turn_away(&counts, &asker, query, (now / 1000) as u32, reply)
                        {
                            batch.reply(at, length);
                        }
                        continue;
                    };
                    let message = query.into();
                    let (origin, socket) = (batch.origin(at), socket.clone());
                    jobs.push(Job { question, message, asker, socket, origin, place });
                }
            }
        }
        forward.hand(&mut jobs);
        // Counted first: who has the reply can see it in the counts.
        counts.flush(tally);
        batch.send(socket, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_goes_on_after_a_panic() {
        let (stopped, mut rounds) = (AtomicBool::new(false), 0);
        keep_serving(&stopped, || {
            rounds += 1;
            assert!(rounds > 2, "a mistake in the program, made on purpose");
            stopped.store(true, Relaxed);
        });
        assert_eq!(rounds, 3);
    }
}
