//! The first attempt at an upstream, without a task or a decoded message: one thread takes what the UDP threads do not know, asks in
//! batches, and answers in batches. Each batch leaves from a socket of its own with a random port; an answer counts only with the
//! port, the id and the question's exact letters (RFC 5452). Whatever is not a plain answer in time is handed to the slow path.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use tokio::runtime::Handle;

use crate::{
    answer::{Unusable, reduce},
    cache::Entry,
    cookies::Jar,
    limits::Place,
    pipeline::{Asker, Door, Fetched, Step},
    server::Shared,
    sockets::{BATCH, Exchange, Origin, Poll, connect, send_to},
    stats::{Count, Counts, Tally},
    wire::{HEADER, MAX_UDP, Question, rtype},
};

/// How long the upstream has, in milliseconds, before the slow path takes over.
const ATTEMPT: u64 = 600;
/// How long the thread sleeps at most before it looks whether it is to stop, in milliseconds.
const LOOK: u64 = 200;
/// Key of the wake-up channel among the sockets.
const WAKE: u64 = 0;

/// A query that waits for an upstream, with the way back.
pub(crate) struct Job {
    pub(crate) question: Box<Question>,
    pub(crate) message: Box<[u8]>,
    pub(crate) asker: Asker,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) origin: Origin,
    pub(crate) place: Place<u64>,
}

/// The way in, for the UDP threads.
pub(crate) struct Forward {
    queue: Mutex<Vec<Job>>,
    asleep: AtomicBool,
    wake: UnixStream,
}

impl Forward {
    /// The way in, and the end that the thread waits at.
    pub(crate) fn new() -> std::io::Result<(Self, UnixStream)> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok((Self { queue: Mutex::new(Vec::new()), asleep: AtomicBool::new(false), wake }, woken))
    }

    /// Hands over a batch, emptying `jobs`.
    pub(crate) fn hand(&self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).append(jobs);
        if self.asleep.swap(false, SeqCst) {
            // Full means that a wake-up is under way already.
            let _ = (&self.wake).write(&[1]);
        }
    }
}

/// A socket with its questions under way, by id.
struct Open {
    socket: UdpSocket,
    upstream: SocketAddr,
    asked: Vec<(u16, Rc<Question>)>,
}

/// A question under way and who waits for it.
struct Flight {
    /// The question as it was sent, letters in random case.
    sent: Box<[u8]>,
    jobs: Vec<Job>,
}

/// The thread's own state.
pub(crate) struct Forwarder {
    shared: Arc<Shared>,
    forward: Arc<Forward>,
    woken: UnixStream,
    runtime: Handle,
    tally: Arc<Tally>,
    poll: Poll,
    /// Two batches of buffers: what is asked must not overwrite what is being read.
    outgoing: Exchange,
    incoming: Exchange,
    open: HashMap<u64, Open>,
    /// Sockets by the time they are given up, in milliseconds.
    deadlines: VecDeque<(u64, u64)>,
    flights: HashMap<Rc<Question>, Flight>,
    next_key: u64,
    /// Cookies of the upstreams.
    jar: Jar,
    secret: RandomState,
    drawn: u64,
}

impl Forwarder {
    pub(crate) fn new(
        shared: Arc<Shared>,
        forward: Arc<Forward>,
        woken: UnixStream,
        runtime: Handle,
        tally: Arc<Tally>,
    ) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&woken, WAKE)?;
        Ok(Self {
            shared,
            forward,
            woken,
            runtime,
            tally,
            poll,
            outgoing: Exchange::new(),
            incoming: Exchange::new(),
            open: HashMap::new(),
            deadlines: VecDeque::new(),
            flights: HashMap::new(),
            next_key: WAKE + 1,
            jar: Jar::new(),
            secret: RandomState::new(),
            drawn: 0,
        })
    }

    /// Serves until the resolver stops.
    pub(crate) fn serve(&mut self) {
        let (mut ready, mut jobs) = (Vec::new(), Vec::new());
        // Started again after a panic, nobody may wait for a socket that is gone.
        (self.open, self.deadlines) = (HashMap::new(), VecDeque::new());
        for (_, flight) in std::mem::take(&mut self.flights) {
            flight.jobs.into_iter().for_each(|job| self.hand_on(job, None));
        }
        while !self.shared.stopped.load(Relaxed) {
            self.take(&mut jobs);
            while !jobs.is_empty() {
                self.ask(&mut jobs);
            }
            let wait = if self.sleep() { self.patience() } else { 0 };
            self.poll.wait(&mut ready, wait);
            self.forward.asleep.store(false, SeqCst);
            for key in ready.drain(..) {
                if key == WAKE {
                    let _ = self.woken.read(&mut [0; 64]);
                } else {
                    self.hear(key);
                }
            }
            self.give_up();
        }
    }

    fn take(&self, jobs: &mut Vec<Job>) {
        jobs.append(&mut self.forward.queue.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says that whoever hands something over must wake us; `false` when something came in before that was said.
    fn sleep(&self) -> bool {
        self.forward.asleep.store(true, SeqCst);
        self.forward.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn patience(&self) -> u64 {
        let now = self.shared.time.millis();
        self.deadlines.front().map_or(LOOK, |(deadline, _)| deadline.saturating_sub(now).clamp(1, LOOK))
    }

    /// 64 bits that nobody outside can foretell: a keyed hash of a counter, under a key from the system.
    fn random(&mut self) -> u64 {
        self.drawn += 1;
        self.secret.hash_one(self.drawn)
    }

    /// Asks a batch of what is in `jobs`.
    fn ask(&mut self, jobs: &mut Vec<Job>) {
        let Some(upstream) = self.shared.upstreams().first_over_udp() else {
            jobs.drain(..).for_each(|job| self.hand_on(job, None));
            return;
        };
        let mut asked: Vec<(u16, Rc<Question>)> = Vec::with_capacity(BATCH);
        while asked.len() < BATCH {
            let Some(job) = jobs.pop() else { break };
            // What a stranger may know waits for the firewall, which this thread must not.
            if job.asker.door == Door::Strangers {
                self.hand_on(job, None);
                continue;
            }
            if let Some(flight) = self.flights.get_mut(&*job.question) {
                flight.jobs.push(job);
                continue;
            }
            // Answered while it was handed over.
            if self.known(&job.question) {
                self.hand_on(job, None);
                continue;
            }
            let mut id = self.random() as u16;
            while asked.iter().any(|(taken, _)| *taken == id) {
                id = self.random() as u16;
            }
            let letters = [self.random(), self.random()];
            let buffer = self.outgoing.buffer(asked.len());
            let (length, question_end) = write_query(buffer, id, &job.question, letters);
            let option = self.jar.write(upstream, buffer, length);
            buffer[length - 2..length].copy_from_slice(&(option as u16).to_be_bytes());
            self.outgoing.fill(asked.len(), length + option);
            let sent = self.outgoing.buffer(asked.len())[HEADER..question_end].into();
            let question = Rc::new(*job.question);
            self.flights.insert(question.clone(), Flight { sent, jobs: vec![job] });
            asked.push((id, question));
        }
        if asked.is_empty() {
            return;
        }
        let (secret, drawn) = (&self.secret, &mut self.drawn);
        let socket = connect(upstream, || {
            *drawn += 1;
            secret.hash_one(*drawn)
        });
        let key = self.next_key;
        match socket.and_then(|socket| self.poll.add(&socket, key).map(|()| socket)) {
            Ok(socket) => {
                self.next_key += 1;
                for _ in &asked {
                    self.tally.count(Count::UpstreamQueries);
                }
                self.outgoing.send(&socket, asked.len());
                self.deadlines.push_back((self.shared.time.millis() + ATTEMPT, key));
                self.open.insert(key, Open { socket, upstream, asked });
            }
            // No socket to be had: the slow path waits for one, or says so.
            Err(_) => asked.into_iter().for_each(|(_, question)| self.abandon(&question, None)),
        }
    }

    /// Whether the cache has a fresh answer by now.
    fn known(&self, question: &Question) -> bool {
        let now = self.shared.time.seconds();
        let found = self.shared.core.cache.find(&question.key());
        found.as_ref().and_then(|found| found.as_ref()).is_some_and(|entry| entry.is_fresh(now))
    }

    /// Takes what an upstream sent and answers who waited for it.
    fn hear(&mut self, key: u64) {
        let Some(mut open) = self.open.remove(&key) else { return };
        let count = self.incoming.receive(&open.socket);
        let (counts, mut heard) = (Counts::new(), false);
        for at in 0..count {
            let Some((question, flight)) = self.landed(at, &mut open) else { continue };
            heard = true;
            let now = self.shared.time.seconds();
            match reduce(self.incoming.datagram(at), &question) {
                Ok(answer) => {
                    let entry = Arc::new(Entry::new(&question, answer, now));
                    if entry.is_fresh(now) {
                        self.shared.core.cache.store(&question, entry.clone(), now);
                    }
                    let fetched = [Fetched { question: *question, entry, stale: false }];
                    flight.jobs.into_iter().for_each(|job| self.answer(job, &fetched, &counts));
                }
                // Cut short, refused, failed: the slow path knows TCP and other upstreams.
                Err(unusable) => {
                    // What is only too long for a datagram is at the same upstream over TCP.
                    let failed = unusable != Unusable::Truncated;
                    if failed {
                        self.tally.count(Count::UpstreamFailures);
                    }
                    let tried = failed.then_some(open.upstream);
                    flight.jobs.into_iter().for_each(|job| self.hand_on(job, tried));
                }
            }
        }
        counts.flush(&self.tally);
        if heard {
            self.shared.upstreams().speaks(open.upstream);
        }
        if !open.asked.is_empty() {
            self.open.insert(key, open);
        }
    }

    /// The flight that datagram `at` is the answer of. Anything else is ignored, and the socket goes on listening.
    fn landed(&mut self, at: usize, open: &mut Open) -> Option<(Rc<Question>, Flight)> {
        let datagram = self.incoming.datagram(at);
        let id = u16::from_be_bytes(*datagram.first_chunk()?);
        let asked = open.asked.iter().position(|(asked, _)| *asked == id)?;
        let question = &open.asked[asked].1;
        let sent = &self.flights.get(question)?.sent;
        let heard = datagram.get(HEADER..HEADER + sent.len())?;
        if datagram[2] & 0x80 == 0 || datagram[4..6] != [0, 1] || *heard != **sent {
            return None;
        }
        // Another cookie than ours, or none where there should be one: somebody else's. The real answer may still come.
        if !self.jar.accepts(open.upstream, datagram) {
            return None;
        }
        let (_, question) = open.asked.swap_remove(asked);
        let flight = self.flights.remove(&question)?;
        Some((question, flight))
    }

    fn answer(&self, job: Job, fetched: &[Fetched], counts: &Counts) {
        let mut reply = [0; MAX_UDP];
        counts.count(Count::CacheMisses);
        match self.shared.step(&job.asker, &job.message, fetched, &mut reply, counts) {
            Step::Reply(length) => send_to(&job.socket, &reply[..length], &job.origin),
            Step::Ignore => {}
            Step::Ask(next, _) => self.hand_on(Job { question: next, ..job }, None),
        }
    }

    /// Gives up sockets whose time is over, and marks their upstream as silent.
    fn give_up(&mut self) {
        let now = self.shared.time.millis();
        while let Some((deadline, key)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            let Some(open) = self.open.remove(&key) else { continue };
            self.tally.count(Count::UpstreamFailures);
            self.shared.upstreams().silent(open.upstream, deadline - ATTEMPT);
            for (_, question) in open.asked {
                self.abandon(&question, Some(open.upstream));
            }
        }
    }

    /// Hands on everybody who waits for `question`.
    fn abandon(&mut self, question: &Question, tried: Option<SocketAddr>) {
        if let Some(flight) = self.flights.remove(question) {
            flight.jobs.into_iter().for_each(|job| self.hand_on(job, tried));
        }
    }

    /// Hands a query to the slow path, with the upstream that was `tried` in vain.
    fn hand_on(&self, job: Job, tried: Option<SocketAddr>) {
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            let mut reply = vec![0; MAX_UDP];
            if let Some(length) = shared.ask(&job.asker, &job.message, *job.question, tried, &mut reply).await {
                send_to(&job.socket, &reply[..length], &job.origin);
            }
            drop(job.place);
        });
    }
}

/// Writes the query for an upstream, without options; gives its length and where its question ends. Nothing a client wrote goes on but the question
/// itself, in letters of our own choice.
pub(crate) fn write_query(out: &mut [u8], id: u16, question: &Question, letters: [u64; 2]) -> (usize, usize) {
    let name = question.name.as_bytes();
    let checked = if question.dnssec & Question::CD != 0 { 0x10 } else { 0 };
    out[..HEADER].copy_from_slice(&[0, 0, 1, checked, 0, 1, 0, 0, 0, 0, 0, 1]);
    out[..2].copy_from_slice(&id.to_be_bytes());
    let mut letters = u128::from(letters[0]) << 64 | u128::from(letters[1]);
    for (to, from) in out[HEADER..].iter_mut().zip(name) {
        let flip = from.is_ascii_lowercase() && letters & 1 == 1;
        *to = if flip { from.to_ascii_uppercase() } else { *from };
        letters = letters.rotate_right(u32::from(from.is_ascii_lowercase()));
    }
    let at = HEADER + name.len();
    out[at..at + 2].copy_from_slice(&question.qtype.to_be_bytes());
    out[at + 2..at + 4].copy_from_slice(&[0, 1]);
    let opt = &mut out[at + 4..at + 15];
    opt.fill(0);
    opt[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    opt[3..5].copy_from_slice(&(MAX_UDP as u16).to_be_bytes());
    opt[7] = if question.dnssec & Question::DO != 0 { 0x80 } else { 0 };
    (at + 15, at + 4)
}
