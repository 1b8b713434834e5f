//! Subscriptions: asks for each list by URL when it is due, and puts what came beside the edition in force, for the keeper
//! to judge. When to ask again is worked out here, kept on disk, and survives restarts.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use sheshi_policy::{List, Policy, Source};

use crate::{
    Keeper,
    address::is_public,
    http::{Answer, Fault, Http, Limits, LookUp, Trust, Validators},
    keeper::seconds,
    unpack::unpack,
};

/// After the first failure in a row; each further one doubles it.
const FIRST: u64 = 60;
/// The longest back-off, and the longest that a server may ask for.
const LONGEST: u64 = 6 * 3600;
const PATIENCE: u64 = 86_400;

/// What is remembered about a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subscription {
    /// The URL that all this is about.
    pub(crate) url: String,
    /// What the server calls the text that it last sent.
    pub(crate) validators: Validators,
    /// SHA-256 of that text, unpacked, hexadecimal.
    pub(crate) digest: String,
    /// When the server last answered as it should, in seconds since 1970; 0 for never.
    pub checked: u64,
    /// When it is asked again, in the same.
    pub next: u64,
    /// How many times in a row it could not be fetched.
    pub failures: u32,
    /// Why, the last time.
    pub error: Option<String>,
}

/// How a fetch goes on.
#[derive(Debug)]
pub enum Step {
    /// The server is asked.
    Asked,
    /// So many octets have come, of so many.
    Received(u64, Option<u64>),
    /// It has nothing newer.
    Unchanged,
    /// It sent a text of so many octets, unpacked.
    Arrived(u64),
    /// It could not be fetched; asked again after so many seconds.
    Failed(String, u64),
}

/// What a round of fetching came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The lists for which something new is there to be judged.
    pub arrived: Vec<String>,
    /// Until the next list is due.
    pub next: Duration,
}

/// Fetches lists by URL.
#[derive(Clone)]
pub struct Fetcher {
    keeper: Keeper,
    http: Arc<Http>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Fetches for this keeper.
    pub fn new(keeper: Keeper, trust: Trust, look_up: LookUp, limits: Limits) -> Self {
        Self::reaching(keeper, trust, look_up, limits, is_public)
    }

    /// The same with other words on which addresses are public.
    pub fn reaching(
        keeper: Keeper,
        trust: Trust,
        look_up: LookUp,
        limits: Limits,
        is_public: fn(IpAddr) -> bool,
    ) -> Self {
        Self { keeper, http: Arc::new(Http { trust, look_up, limits, is_public }) }
    }

    /// Fetches every list that is due, one after the other; with `at_once`, all of them.
    pub async fn round(
        &self,
        policy: &Policy,
        at_once: bool,
        now: SystemTime,
        progress: &(dyn Fn(&str, Step) + Sync),
    ) -> Round {
        let began = Instant::now();
        let now = || now + began.elapsed();
        let mut round = Round { arrived: Vec::new(), next: Duration::from_secs(LONGEST) };
        for list in &policy.lists {
            let Source::Url(url) = &list.source else { continue };
            let mut subscription = self.keeper.subscription(list).filter(|known| known.url == *url).unwrap_or_default();
            if at_once || is_due(&subscription, list.every, seconds(now())) {
                progress(&list.name, Step::Asked);
                let arrived = self.fetch(list, url, &mut subscription, progress).await;
                let (base, step) = match arrived {
                    Ok(None) => (list.every, Step::Unchanged),
                    Ok(Some(octets)) => {
                        round.arrived.push(list.name.to_string());
                        (list.every, Step::Arrived(octets))
                    }
                    Err(Failed { why, again }) => {
                        subscription.failures = subscription.failures.saturating_add(1);
                        subscription.error = Some(why.clone());
                        let wait = back_off(subscription.failures, list.every, again);
                        (wait, Step::Failed(why, wait))
                    }
                };
                let ended = seconds(now());
                if !matches!(step, Step::Failed(..)) {
                    (subscription.checked, subscription.failures, subscription.error) = (ended, 0, None);
                }
                subscription.next = ended + jitter(base, chance());
                if let Err(error) = self.keeper.subscribe(list, &subscription) {
                    tracing::error!("{error}");
                }
                progress(&list.name, step);
            }
            let wait = subscription.next.saturating_sub(seconds(now())).max(1);
            round.next = round.next.min(Duration::from_secs(wait));
        }
        round
    }

    /// How many octets have arrived, if anything new has.
    async fn fetch(
        &self,
        list: &List,
        url: &str,
        subscription: &mut Subscription,
        progress: &(dyn Fn(&str, Step) + Sync),
    ) -> Result<Option<u64>, Failed> {
        // What the server is told that we have must be there, whole.
        let known = self.keeper.has(list, &subscription.digest).then(|| subscription.validators.clone());
        let known = known.filter(|known| *known != Validators::default());
        let received = |done, total| progress(&list.name, Step::Received(done, total));
        let answer = self.http.get(url, known.as_ref(), list.private_addresses, &received).await?;
        let Answer::Body(body, validators) = answer else { return Ok(None) };
        let (keeper, list, limit) = (self.keeper.clone(), list.clone(), self.http.limits.unpacked);
        let work = move || {
            let text = unpack(&list, &body, limit).map_err(Fault::from)?;
            drop(body);
            let octets = text.parts.iter().map(|(_, part)| part.len() as u64).sum();
            let (digest, new) = keeper.arrive(&list, &text)?;
            Ok::<_, Failed>((digest, new.then_some(octets)))
        };
        let worked = tokio::task::spawn_blocking(work).await;
        let (digest, new) =
            worked.unwrap_or_else(|_| Err(Failed { why: "unpacking it failed".to_owned(), again: None }))?;
        *subscription = Subscription { url: url.to_owned(), validators, digest, ..subscription.clone() };
        Ok(new)
    }
}

struct Failed {
    why: String,
    again: Option<Duration>,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        let again = if let Fault::Status { again, .. } = &fault { *again } else { None };
        // What went wrong below says more than "error sending request".
        let mut why = fault.to_string();
        let mut source = std::error::Error::source(&fault).and_then(std::error::Error::source);
        while let Some(error) = source {
            let more = error.to_string();
            if !why.contains(&more) {
                why = why + ": " + &more;
            }
            source = error.source();
        }
        Self { why, again }
    }
}

impl From<crate::ListError> for Failed {
    fn from(error: crate::ListError) -> Self {
        Self { why: error.to_string(), again: None }
    }
}

/// Whether a list is to be asked for. A time further off than any we set was set by a clock that was wrong.
fn is_due(subscription: &Subscription, every: u64, now: u64) -> bool {
    let farthest = jitter(every.max(PATIENCE), u16::MAX);
    subscription.url.is_empty() && subscription.failures == 0
        || subscription.next <= now
        || subscription.next > now.saturating_add(farthest)
}

/// Seconds to wait after so many failures in a row.
fn back_off(failures: u32, every: u64, again: Option<Duration>) -> u64 {
    let wait = FIRST << failures.saturating_sub(1).min(16);
    let wished = again.map_or(0, |again| again.as_secs().min(PATIENCE));
    wait.min(LONGEST).min(every.max(FIRST)).max(wished)
}

/// Spreads a wait by an eighth to either side, so that a city's gateways do not all ask in the same second.
fn jitter(wait: u64, chance: u16) -> u64 {
    wait - wait / 8 + wait / 4 * u64::from(chance) / u64::from(u16::MAX)
}

fn chance() -> u16 {
    let mut octets = [0; 2];
    // Without randomness all the same: it only spreads load.
    let _ = getrandom::fill(&mut octets);
    u16::from_le_bytes(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_six_hours_and_never_beyond_the_period() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 40].map(|failures| back_off(failures, 86_400, None)).into();
        assert_eq!(waits, [60, 120, 240, 15_360, LONGEST, LONGEST]);
        assert_eq!(back_off(40, 3600, None), 3600);
        assert_eq!(back_off(1, 86_400, Some(Duration::from_secs(7200))), 7200);
        assert_eq!(back_off(1, 86_400, Some(Duration::MAX)), PATIENCE);
    }

    #[test]
    fn wait_is_spread_by_an_eighth() {
        assert_eq!((jitter(8000, 0), jitter(8000, u16::MAX)), (7000, 9000));
        assert!((7000..=9000).contains(&jitter(8000, chance())));
    }

    #[test]
    fn clock_that_was_ahead_delays_no_list_for_years() {
        let mut known =
            Subscription { url: "https://lists.example/".into(), next: 2_000_000_000, ..Default::default() };
        assert!(is_due(&known, 86_400, 1_800_000_000));
        known.next = 1_800_080_000;
        assert!(!is_due(&known, 86_400, 1_800_000_000) && is_due(&known, 86_400, 1_800_080_000));
    }
}
