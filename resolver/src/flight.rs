//! Questions under way: each is asked of upstreams once, however many clients wait for it (RFC 5452 section 5: a second equal
//! question would be a second chance for a forged answer).

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use crate::{
    cache::{Cache, Entry},
    pipeline::{Core, Fetched},
    stats::Tally,
    time::Time,
    upstream::Upstreams,
    wire::Question,
};

/// When an expired answer is served instead of waiting longer: with the first attempt, 1.8 s (RFC 8767 section 5).
const PATIENCE: Duration = Duration::from_millis(1200);

type Landing = watch::Receiver<Option<Arc<Entry>>>;

/// The questions under way, by what is asked.
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Box<[u8]>, Landing>>,
    pub(crate) upstreams: Upstreams,
    pub(crate) tally: Arc<Tally>,
    pub(crate) time: Time,
}

/// Takes a question off the list, even when the task that asked it has panicked.
struct Under<'a> {
    flights: &'a Flights,
    key: Box<[u8]>,
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn key(question: &Question) -> Box<[u8]> {
    let [high, low] = question.qtype.to_be_bytes();
    [question.name.as_bytes(), &[high, low, question.dnssec]].concat().into()
}

impl Flights {
    pub(crate) fn new(upstreams: Upstreams, tally: Arc<Tally>, time: Time) -> Self {
        Self { under_way: Mutex::new(HashMap::new()), upstreams, tally, time }
    }

    /// The answer to `question` from upstream, or an expired one when that takes too long or fails.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        core: &Arc<Core>,
        question: &Question,
        tried: Option<SocketAddr>,
    ) -> Fetched {
        let now = self.time.seconds();
        let fetched = |entry, stale| Fetched { question: *question, entry, stale };
        let known = core.cache.find(&question.key()).and_then(|known| known.as_ref().cloned());
        if let Some(entry) = known.as_ref().filter(|entry| entry.is_fresh(now)) {
            return fetched(entry.clone(), false);
        }
        let old = known.filter(|old| old.is_stale(now));
        let landing = self.board(core, question, tried);
        let Some(old) = old else { return fetched(landed(landing, question, now).await, false) };
        match timeout(PATIENCE, landed(landing, question, now)).await {
            Ok(entry) if !entry.is_failure() => fetched(entry, false),
            _ => {
                old.spare(self.time.seconds());
                fetched(old, true)
            }
        }
    }

    /// Joins the question's flight, or starts it. It lands even if everybody who waits for it has left.
    fn board(self: &Arc<Self>, core: &Arc<Core>, question: &Question, tried: Option<SocketAddr>) -> Landing {
        let key = key(question);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = under_way.get(&key) {
            return landing.clone();
        }
        let (land, landing) = watch::channel(None);
        under_way.insert(key.clone(), landing.clone());
        let (flights, core, question) = (self.clone(), core.clone(), *question);
        tokio::spawn(async move {
            let under = Under { flights: &flights, key };
            let entry = flights.ask(&core.cache, &question, tried).await;
            // Off the list before anybody hears, so that who comes now finds the cache and not an old flight.
            drop(under);
            land.send_replace(Some(entry));
        });
        landing
    }

    async fn ask(&self, cache: &Cache, question: &Question, tried: Option<SocketAddr>) -> Arc<Entry> {
        let answer = self.upstreams.ask(question, tried, &self.tally).await;
        let now = self.time.seconds();
        let entry = Arc::new(match answer {
            Some(answer) => Entry::new(question, answer, now),
            None => {
                Entry::failure(question, cache.find(&question.key()).as_deref().and_then(|old| old.as_deref()), now)
            }
        });
        // A TTL of zero is for those who wait and nobody else.
        if entry.is_fresh(now) {
            cache.store(question, entry.clone(), now);
        }
        entry
    }
}

/// Waits for a flight; one that crashed is a failure.
async fn landed(mut landing: Landing, question: &Question, now: u32) -> Arc<Entry> {
    match landing.wait_for(Option::is_some).await.map(|entry| entry.clone()) {
        Ok(Some(entry)) => entry,
        _ => Arc::new(Entry::failure(question, None, now)),
    }
}
