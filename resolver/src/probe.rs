//! Asking one upstream one harmless question, for who wants to know whether it can be used.

use sheshi_policy::Moment;

use crate::{
    Clock, Upstream,
    stats::Tally,
    time::Time,
    upstream::Upstreams,
    wire::{Name, Question, rtype},
};

/// Asks `upstream` for the root's name servers: every resolver knows them, and nothing about guests is in it. Waits for up to three
/// seconds; must not be called within a runtime.
pub fn probe(upstream: &Upstream, clock: Clock) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let upstreams = Upstreams::new(std::slice::from_ref(upstream), Time::new(), &clock);
    let upstreams = upstreams.map_err(|error| error.to_string())?;
    let question = Question { name: Name::root(), qtype: rtype::NS, dnssec: 0 };
    let answer = runtime.block_on(upstreams.ask(&question, None, &Tally::new()));
    if answer.is_some() {
        return Ok(());
    }
    let trouble = upstreams.health().into_iter().find_map(|health| health.trouble);
    let unset = clock() == Moment::Unknown && upstream.is_encrypted();
    let hint = if unset { " (the clock has never been set)" } else { "" };
    Err(trouble.unwrap_or_else(|| "it refuses to answer".into()) + hint)
}
