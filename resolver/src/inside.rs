//! The pipeline without its sockets, for who measures it (`benches`) or looks for what breaks it (`fuzz`): messages go in and come
//! out as bytes, and whoever holds it is the upstream.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use sheshi_policy::{Compiled, Moment};

use crate::{
    Clients, PortalAddresses,
    answer::reduce,
    cache::{Cache, Entry},
    cookies::Cookies,
    limits::Places,
    local::Locals,
    pipeline::{Asker, Core, Door, Fetched, Step, Turn},
    stats::Counts,
    targets::Targets,
    texts::Texts,
    views::Views,
    wire::{Name, Question, Transport},
};

/// Longest reply, in bytes: what the buffer of [`Pipeline::answer`] must hold.
pub const LONGEST: usize = u16::MAX as usize;

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This many bytes of the buffer are the reply.
    Reply(usize),
    /// It is not answered.
    Nothing,
    /// An upstream has to be asked; [`Pipeline::hear`] takes what it says.
    Ask,
}

/// One resolver's state and nothing around it.
pub struct Pipeline {
    core: Core,
    counts: Counts,
    texts: Texts,
    /// Milliseconds since the start: it stands still unless somebody moves it.
    pub now: u64,
    asked: Option<Question>,
    fetched: Vec<Fetched>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("now", &self.now).field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A resolver that serves everybody by `policy`, with a cache of `cache_bytes` and without a limit of rate.
    pub fn new(policy: Arc<Compiled>, portal: PortalAddresses, cache_bytes: usize) -> Self {
        let core = Core {
            views: Views::new(Arc::new(ArcSwap::new(policy)), Arc::new(|| Moment::Unknown)),
            clients: Clients::Everyone { group: None },
            cache: Cache::new(cache_bytes, 1),
            locals: Locals::new(),
            targets: Targets::default(),
            rates: None,
            cookies: Cookies::new(),
            novelty: None,
            waiting: Places::new(1, 1),
            portal,
            portal_name: Name::from_text("portal.city.example"),
            designation: None,
            ours: Vec::new(),
            private_names: Vec::new(),
            garden: crate::garden::Plot::default(),
            seed: 1,
        };
        let texts = Texts::new(&["mailto:wifi@city.example".to_owned()], "City");
        Self { core, counts: Counts::new(), texts, now: 0, asked: None, fetched: Vec::new() }
    }

    /// Answers a guest's message over UDP (or, as a `stream`, over TCP) into `out`, which holds [`LONGEST`] bytes.
    pub fn answer(&mut self, message: &[u8], stream: bool, out: &mut [u8]) -> Outcome {
        self.fetched.clear();
        self.step(message, stream, Door::Guests, out)
    }

    /// Answers a stranger's.
    pub fn answer_stranger(&mut self, message: &[u8], stream: bool, out: &mut [u8]) -> Outcome {
        self.fetched.clear();
        self.step(message, stream, Door::Strangers, out)
    }

    /// Goes on with the message for which [`Outcome::Ask`] came, after [`Self::hear`].
    pub fn again(&mut self, message: &[u8], stream: bool, out: &mut [u8]) -> Outcome {
        self.step(message, stream, Door::Guests, out)
    }

    /// What was to be asked last: the name in wire form and the type.
    pub fn asked(&self) -> Option<(&[u8], u16)> {
        self.asked.as_ref().map(|question| (question.name.as_bytes(), question.qtype))
    }

    /// Takes an upstream's reply to what was to be asked last; without one it has failed. `false`: the reply is of no use.
    pub fn hear(&mut self, reply: Option<&[u8]>) -> bool {
        let Some(question) = self.asked.take() else { return false };
        let seconds = (self.now / 1000) as u32;
        let answer = reply.and_then(|reply| reduce(reply, &question).ok());
        let usable = answer.is_some();
        let entry = Arc::new(match answer {
            Some(answer) => Entry::new(&question, answer, seconds),
            None => Entry::failure(&question, None, seconds),
        });
        if entry.is_fresh(seconds) {
            self.core.cache.store(&question, entry.clone(), seconds);
        }
        self.fetched.push(Fetched { question, entry, stale: false });
        usable
    }

    fn step(&mut self, message: &[u8], stream: bool, door: Door, out: &mut [u8]) -> Outcome {
        let transport = if stream { Transport::Tcp } else { Transport::Udp };
        let asker = Asker { peer: SocketAddr::from(([192, 0, 2, 50], 4000)), transport, door };
        let snapshot = self.core.views.current((self.now / 1000) as u32);
        let mut turn = Turn {
            now: self.now,
            snapshot: &snapshot,
            directory: None,
            counts: &self.counts,
            texts: &mut self.texts,
            fetched: &self.fetched,
            #[cfg(test)]
            steps: Vec::new(),
        };
        match self.core.answer(&mut turn, &asker, message, out) {
            Step::Reply(length) => Outcome::Reply(length),
            Step::Ignore => Outcome::Nothing,
            Step::Ask(question, _) => {
                self.asked = Some(*question);
                Outcome::Ask
            }
        }
    }
}
