//! One message, from its bytes to the bytes of the reply. UDP and TCP, fast and slow path all come through here, so they cannot
//! answer differently.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use sheshi_policy::{Action, BlockAnswer, Directory, Reason, Rule, Verdict};

use crate::{
    Clients, PortalAddresses,
    answer::each_name,
    cache::{Cache, Entry},
    cookies::Cookies,
    designation::Designation,
    garden::Plot,
    guard,
    limits::{Place, Places, Rates},
    local::Locals,
    novelty::{Novel, Novelty},
    reply::{self, BLOCK_TTL, Reply, ede},
    stats::{Count, Counts},
    targets::Targets,
    texts::Texts,
    views::{Snapshot, Views},
    wire::{self, Key, Name, Parsed, Query, Question, Transport, rcode, rtype},
};

/// Which listener a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// For admitted clients.
    Guests,
    /// For strangers: nothing that comes in here is ever asked of an upstream.
    Strangers,
}

/// Where a message came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) peer: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) door: Door,
}

/// What one message is answered by: the time, the policy and the directory that are in force, taken once.
pub(crate) struct Turn<'a> {
    /// Milliseconds of the room's monotonic clock.
    pub(crate) now: u64,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) directory: Option<&'a Directory>,
    pub(crate) counts: &'a Counts,
    pub(crate) texts: &'a mut Texts,
    /// What came of asking upstream; empty the first time round.
    pub(crate) fetched: &'a [Fetched],
    /// Steps taken, for the test of their order.
    #[cfg(test)]
    pub(crate) steps: Vec<&'static str>,
}

impl Turn<'_> {
    pub(crate) fn step(&mut self, _name: &'static str) {
        #[cfg(test)]
        self.steps.push(_name);
    }

    fn seconds(&self) -> u32 {
        (self.now / 1000) as u32
    }
}

/// What came of asking upstream.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) question: Question,
    pub(crate) entry: Arc<Entry>,
    /// Expired, but no upstream answered in time.
    pub(crate) stale: bool,
}

/// What is to be done with a message.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this many bytes of the buffer.
    Reply(usize),
    /// Nothing.
    Ignore,
    /// Ask upstream, on behalf of this client, and come back with the answer.
    Ask(Box<Question>, u64),
}

/// What the cache has under a name, fresh or not.
type Found = Option<arc_swap::Guard<Option<Arc<Entry>>>>;

/// What sets a client's rates apart: with a proven address, and for being told to prove it.
const PROVEN: u64 = 1 << 60;
const ASKING: u64 = 1 << 61;

/// The verdict of a policy that has nothing to say about a name.
const ALLOWED: Verdict =
    Verdict { action: Action::Allow, reason: Reason { rule: Rule::Default, category: None, list: None } };

/// What is known about the question, or about the name that it was rewritten to.
struct Known {
    entry: arc_swap::Guard<Option<Arc<Entry>>>,
    stale: bool,
    target: Option<Box<Name>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Stranger,
    Client(Served),
}

/// A client that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Served {
    /// Number of its view.
    view: usize,
    /// What its questions under way are counted by.
    key: u64,
    /// A stranger who asks for a name of the garden: nothing is answered from the cache alone, so that its addresses are opened.
    garden: bool,
}

/// A reply or decision that ends the walk.
pub(crate) type Ended<T> = Result<T, Step>;

/// What all threads share.
pub(crate) struct Core {
    pub(crate) views: Views,
    pub(crate) clients: Clients,
    pub(crate) cache: Cache,
    pub(crate) locals: Locals,
    pub(crate) targets: Targets,
    pub(crate) rates: Option<Rates>,
    pub(crate) cookies: Cookies,
    pub(crate) novelty: Option<Novelty>,
    pub(crate) waiting: Places<u64>,
    pub(crate) portal: PortalAddresses,
    pub(crate) portal_name: Option<Name>,
    /// Our encrypted listeners, where clients may be told of them.
    pub(crate) designation: Option<Designation>,
    /// Addresses of the gateway itself.
    pub(crate) ours: Vec<IpAddr>,
    /// Names that may lead into this network.
    pub(crate) private_names: Vec<Name>,
    /// What strangers resolve.
    pub(crate) garden: Plot,
    pub(crate) seed: u64,
}

impl Core {
    /// The directory in force, where there is one.
    pub(crate) fn directory(&self) -> Option<arc_swap::Guard<Arc<Directory>>> {
        match &self.clients {
            Clients::Directory(directory) => Some(ArcSwap::load(directory)),
            Clients::Everyone { .. } => None,
        }
    }

    /// A place among the questions under way.
    pub(crate) fn wait(&self, client: u64) -> Option<Place<u64>> {
        self.waiting.take(client)
    }

    /// Answers one message into `out`, which must hold the transport's largest reply.
    pub(crate) fn answer(&self, turn: &mut Turn<'_>, asker: &Asker, message: &[u8], out: &mut [u8]) -> Step {
        let mut name = Name::root();
        match self.walk(turn, asker, message, &mut name, out) {
            Ok(step) | Err(step) => step,
        }
    }

    /// The pipeline. Each line may end it.
    fn walk(&self, turn: &mut Turn<'_>, asker: &Asker, message: &[u8], name: &mut Name, out: &mut [u8]) -> Ended<Step> {
        // Parsing comes first: it is pure, cheap, and what is not a query never costs anything else.
        let mut parsed = self.parse(turn, asker, message, name)?;
        // The rate is taken by address, before anything a client can forge changes what we do, refusals included.
        self.limit(turn, asker, &mut parsed, out)?;
        // Then what no client may have from us, whoever it is (RFC 8906).
        let query = self.offered(turn, parsed, message, out)?;
        // Who asks comes before any name is looked at: a stranger's name must not reach policy, cache or upstream.
        let client = self.who(turn, asker, &query, out)?;
        // Local names go before policy: no list can take the portal away, and no upstream hears of them.
        self.local(turn, &query, out)?;
        // The verdict goes before any answer: a blocked name is blocked whatever is cached, and costs no upstream anything.
        let (verdict, found) = self.verdict(turn, &query, client);
        let target = self.carry_out(turn, &query, &verdict, out)?;
        // The cache holds what upstreams said, never what we made of it.
        let known = self.known(turn, &query, target, found, client, out)?;
        // The answer is judged on its way out, for each policy anew: aliases, service targets, addresses.
        let known = self.filter(turn, &query, &verdict, known, client, out)?;
        // Only now is anything written that came from outside.
        Ok(self.reply(turn, &query, &known, out))
    }

    fn parse<'m>(
        &self,
        turn: &mut Turn<'_>,
        asker: &Asker,
        message: &'m [u8],
        name: &'m mut Name,
    ) -> Ended<Parsed<'m>> {
        turn.step("parse");
        // Ports of services that answer anything: a forged source would make two servers talk for ever.
        let loops = matches!(asker.peer.port(), 0 | 7 | 13 | 17 | 19 | 53);
        match wire::parse(message, asker.transport, name) {
            Parsed::Ignore => Err(dropped(turn)),
            _ if loops && asker.transport == Transport::Udp => Err(dropped(turn)),
            parsed => Ok(parsed),
        }
    }

    fn limit(&self, turn: &mut Turn<'_>, asker: &Asker, parsed: &mut Parsed<'_>, out: &mut [u8]) -> Ended<()> {
        turn.step("limit");
        let shown = match parsed {
            Parsed::Query(query) => self.cookie(query, asker, turn.seconds()),
            _ => None,
        };
        // The second time round the query has been paid for.
        let Some(rates) = self.rates.as_ref().filter(|_| turn.fetched.is_empty()) else { return Ok(()) };
        // Who has proven to be at its address has a rate of its own: what others forge in its name does not use it up.
        let key = self.client_key(asker);
        let (proven, asking) = (key ^ PROVEN, key ^ ASKING);
        if rates.take(if shown == Some(true) { proven } else { key }, turn.now) {
            return Ok(());
        }
        turn.counts.count(Count::Dropped);
        match parsed {
            // Over its rate, who can show a cookie is told to, a tenth as often as it may ask: the reply is hardly longer than the
            // query (RFC 7873 section 5.2.3).
            Parsed::Query(query) if shown == Some(false) && rates.take_many(asking, 10, turn.now) => {
                Err(Step::Reply(Reply::new(query, out).finish(rcode::BADCOOKIE)))
            }
            _ => Err(Step::Ignore),
        }
    }

    /// Finds the cookie for the reply; tells whether the one shown proves the client's address, if there is one.
    fn cookie(&self, query: &mut Query<'_>, asker: &Asker, seconds: u32) -> Option<bool> {
        let (cookie, proven) = self.cookies.answer(query.cookie?, asker.peer.ip(), seconds);
        query.reply_cookie = Some(cookie);
        Some(proven)
    }

    fn offered<'m>(&self, turn: &mut Turn<'_>, parsed: Parsed<'m>, message: &[u8], out: &mut [u8]) -> Ended<Query<'m>> {
        turn.step("offered");
        if turn.fetched.is_empty() {
            turn.counts.count(Count::Queries);
        }
        let query = match parsed {
            Parsed::Query(query) => query,
            Parsed::Ignore => return Err(Step::Ignore),
            Parsed::Refuse(code) => {
                turn.counts.count(Count::Refused);
                return Err(Step::Reply(reply::refuse(message, code, out)));
            }
        };
        let code = if query.edns.is_some_and(|edns| edns.version != 0) {
            rcode::BADVERS
        } else if query.class != 1 || (249..=254).contains(&query.question.qtype) {
            // Other classes, version.bind among them; transfers, TKEY, TSIG and the obsolete mail types.
            rcode::REFUSED
        } else {
            return Ok(query);
        };
        turn.counts.count(Count::Refused);
        Err(Step::Reply(Reply::new(&query, out).finish(code)))
    }

    fn who(&self, turn: &mut Turn<'_>, asker: &Asker, query: &Query<'_>, out: &mut [u8]) -> Ended<Served> {
        turn.step("who");
        match self.asker(turn, asker) {
            Who::Client(client) => Ok(client),
            // The strictest view: what no group may see, a stranger does not see either.
            Who::Stranger if self.in_garden(asker, query) => {
                let view = turn.snapshot.compiled.groups().len();
                Ok(Served { view, key: self.client_key(asker), garden: true })
            }
            Who::Stranger => Err(self.stranger(turn, query, out)),
        }
    }

    fn asker(&self, turn: &Turn<'_>, asker: &Asker) -> Who {
        if asker.door == Door::Strangers {
            return Who::Stranger;
        }
        let (address, snapshot) = (asker.peer.ip(), turn.snapshot);
        match (&self.clients, turn.directory) {
            (Clients::Everyone { group }, _) => {
                let view = match group {
                    Some(group) => snapshot.by_name(group),
                    None => snapshot.by_network(address),
                };
                Who::Client(Served { view, key: self.client_key(asker), garden: false })
            }
            (Clients::Directory(_), directory) => match directory.and_then(|directory| directory.client(address)) {
                // A device is one client, however many addresses it gives itself.
                Some(client) => {
                    let [a, b, c, d, e, f] = client.mac.0;
                    let key = u64::from_be_bytes([0, 1, a, b, c, d, e, f]);
                    Who::Client(Served { view: snapshot.by_name(&client.group), key, garden: false })
                }
                None => Who::Stranger,
            },
        }
    }

    /// What a client's rate is counted by: its address.
    fn client_key(&self, asker: &Asker) -> u64 {
        match asker.peer.ip().to_canonical() {
            IpAddr::V4(v4) => u64::from(u32::from(v4)) | 1 << 40,
            IpAddr::V6(v6) => {
                let [high, low] = [(u128::from(v6) >> 64) as u64, u128::from(v6) as u64];
                high.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low ^ self.seed
            }
        }
    }

    /// The verdict on the name, and what the cache has under it. An answer in which this epoch's policy has found nothing to object
    /// to was allowed by it under this name: that verdict is remembered, not looked up again.
    fn verdict(&self, turn: &mut Turn<'_>, query: &Query<'_>, client: Served) -> (Verdict, Found) {
        turn.step("verdict");
        let found = self.cache.find(&query.question);
        let entry = found.as_ref().and_then(|found| found.as_ref());
        let verdict = if entry.is_some_and(|entry| entry.is_clean(turn.snapshot.epoch, client.view)) {
            ALLOWED
        } else {
            turn.snapshot.compiled.decide(query.question.name.as_bytes(), turn.snapshot.view(client.view))
        };
        (verdict, found)
    }

    /// What is known about the name: just fetched, or cached. Ends in a question for an upstream when nothing is.
    fn known(
        &self,
        turn: &mut Turn<'_>,
        query: &Query<'_>,
        target: Option<Box<Name>>,
        found: Found,
        client: Served,
        out: &mut [u8],
    ) -> Ended<Known> {
        turn.step("known");
        if query.question.qtype == rtype::ANY {
            // One record instead of everything: nothing to amplify, nothing to ask for (RFC 8482).
            turn.counts.count(Count::Local);
            let mut reply = Reply::new(query, out);
            reply.minimal_any();
            return Err(Step::Reply(reply.finish(rcode::NOERROR)));
        }
        if !query.recursion_desired {
            // Only what is cached could answer, and that would tell who asks what the others looked at.
            turn.counts.count(Count::Refused);
            let mut reply = Reply::new(query, out);
            reply.explain(ede::NOT_AUTHORITATIVE, b"");
            return Err(Step::Reply(reply.finish(rcode::REFUSED)));
        }
        let (key, found) = match target.as_deref() {
            Some(name) => {
                let key = Key { name, ..query.question };
                (key, self.cache.find(&key))
            }
            None => (query.question, found),
        };
        let (entry, stale) = match turn.fetched.iter().find(|fetched| fetched.question.key() == key) {
            Some(fetched) => (arc_swap::Guard::from_inner(Some(fetched.entry.clone())), fetched.stale),
            None if client.garden => return Err(Step::Ask(Box::new(key.question()), client.key)),
            None => match found {
                Some(entry) if entry.as_ref().is_some_and(|entry| entry.is_fresh(turn.seconds())) => {
                    turn.counts.count(Count::CacheHits);
                    (entry, false)
                }
                // An upstream has just failed to renew it: not everybody waits for the next attempt.
                Some(entry) if entry.as_ref().is_some_and(|entry| entry.is_spared(turn.seconds())) => {
                    turn.counts.count(Count::CacheHits);
                    (entry, true)
                }
                old => {
                    // What the cache has heard of is not new; nor is what the policy has led to, or what has been asked already.
                    let new = target.is_none() && turn.fetched.is_empty() && old.is_none_or(|old| old.is_none());
                    if new {
                        self.novel(turn, query, client, out)?;
                    }
                    return Err(Step::Ask(Box::new(key.question()), client.key));
                }
            },
        };
        match &*entry {
            Some(known) if !known.is_failure() => Ok(Known { entry, stale, target }),
            _ => {
                turn.counts.count(Count::Failed);
                let mut reply = Reply::new(query, out);
                reply.explain(ede::NO_REACHABLE_AUTHORITY, b"");
                Err(Step::Reply(reply.finish(rcode::SERVFAIL)))
            }
        }
    }

    /// Counts a name that is unknown here. It comes before the upstream is asked: what a tunnel sends goes no further.
    fn novel(&self, turn: &mut Turn<'_>, query: &Query<'_>, client: Served, out: &mut [u8]) -> Ended<()> {
        match &self.novelty {
            Some(novelty) if novelty.take(client.key, query.question.name, turn.now) == Novel::TooMany => {
                turn.counts.count(Count::NewNamesSlowed);
                let mut reply = Reply::new(query, out);
                reply.explain(ede::OTHER, b"{\"j\":\"too many names that are new below this domain\"}");
                Err(Step::Reply(reply.finish(rcode::SERVFAIL)))
            }
            _ => Ok(()),
        }
    }

    /// Holds the answer against the policy. The strongest rule along the chain decides: what a category list says about an alias
    /// does not beat an admin's allowing the name itself, a locked category does.
    fn filter(
        &self,
        turn: &mut Turn<'_>,
        query: &Query<'_>,
        verdict: &Verdict,
        known: Known,
        client: Served,
        out: &mut [u8],
    ) -> Ended<Known> {
        turn.step("filter");
        let Some(entry) = known.entry.as_ref() else { return Err(Step::Ignore) };
        // One entry is judged once for each view and epoch. Behind a rewrite the question's name is another, so it is judged anew.
        let memo = known.target.is_none();
        if memo && entry.is_clean(turn.snapshot.epoch, client.view) {
            return Ok(known);
        }
        let (compiled, holds) = (&turn.snapshot.compiled, turn.snapshot.view(client.view));
        let names = each_name(entry.hops()).map(|name| compiled.decide(name, holds));
        let addresses = entry.addresses().map(|address| compiled.decide_address(address, holds));
        let found = names.chain(addresses).find(|found| match &found.action {
            Action::Allow => false,
            // Whoever was led to a safe search by us is not led on to the next one.
            Action::Alias(_) | Action::Addresses(_) if known.target.is_some() => false,
            _ => found.reason.rule < verdict.reason.rule,
        });
        if let Some(found) = found {
            turn.counts.count(Count::RedecidedInAnswer);
            // The found name's verdict takes the place of the question's own. A rewrite is followed once.
            return match self.carry_out(turn, query, &found, out)? {
                Some(target) => {
                    let known = self.known(turn, query, Some(target), None, client, out)?;
                    self.filter(turn, query, &found, known, client, out)
                }
                // Rewritten to where it came from: a circle.
                None => Err(self.block(turn, query, BlockAnswer::Nxdomain, &found.reason, out)),
            };
        }
        let inside = entry.addresses().any(|address| guard::is_inside(address, &self.ours));
        if inside && !self.private_names.iter().any(|zone| query.question.name.is_within(zone)) {
            turn.counts.count(Count::Rebinding);
            let mut reply = Reply::new(query, out);
            reply.own_soa(BLOCK_TTL);
            reply.explain(ede::BLOCKED, b"{\"j\":\"the name leads to an address inside this network\"}");
            return Err(Step::Reply(reply.finish(rcode::NOERROR)));
        }
        if memo {
            entry.set_clean(turn.snapshot.epoch, client.view);
        }
        Ok(known)
    }

    fn reply(&self, turn: &mut Turn<'_>, query: &Query<'_>, known: &Known, out: &mut [u8]) -> Step {
        turn.step("reply");
        let Some(entry) = known.entry.as_ref() else { return Step::Ignore };
        let mut reply = Reply::new(query, out);
        let age = turn.seconds().saturating_sub(entry.stored);
        match &known.target {
            None => {
                turn.counts.count(Count::Allowed);
                reply.entry(entry, age, known.stale);
            }
            Some(target) => {
                turn.counts.count(Count::Rewritten);
                // Asked for the alias itself, the alias is the whole answer.
                let behind = query.question.qtype != rtype::CNAME;
                reply.alias(target, behind.then_some((&**entry, age, known.stale)));
            }
        }
        if turn.snapshot.compiled.strips_ech() && matches!(query.question.qtype, rtype::SVCB | rtype::HTTPS) {
            reply.strip_ech();
        }
        if known.stale {
            turn.counts.count(Count::Stale);
            reply.explain(ede::STALE, b"");
        }
        Step::Reply(reply.finish(entry.rcode))
    }

    /// Turns a query away because too much is under way.
    pub(crate) fn turn_away(
        &self,
        counts: &Counts,
        asker: &Asker,
        message: &[u8],
        seconds: u32,
        out: &mut [u8],
    ) -> Step {
        counts.count(Count::OverLimit);
        match wire::parse(message, asker.transport, &mut Name::root()) {
            Parsed::Query(mut query) => {
                self.cookie(&mut query, asker, seconds);
                let mut reply = Reply::new(&query, out);
                reply.explain(ede::OTHER, b"{\"j\":\"too many questions under way\"}");
                Step::Reply(reply.finish(rcode::SERVFAIL))
            }
            _ => Step::Ignore,
        }
    }
}

fn dropped(turn: &Turn<'_>) -> Step {
    turn.counts.count(Count::Dropped);
    Step::Ignore
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
