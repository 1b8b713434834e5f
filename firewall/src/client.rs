//! The gateway's end of the guard's socket.

use std::{
    net::IpAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use sheshi_policy::Mac;

use crate::{
    Error, Guest, Health, Limits, Ruleset, Ways,
    message::{self, PAGE, Request, Response},
};

/// The guard, as others see it. Blocking. Each request has its own connection, so a restarted guard is simply met again;
/// it may be shared between threads.
#[derive(Debug, Clone)]
pub struct Guard {
    path: PathBuf,
    timeout: Duration,
}

impl Guard {
    /// The guard at this socket, once it has answered. Each later request takes at most `timeout`.
    pub fn connect(path: impl Into<PathBuf>, timeout: Duration) -> Result<Self, Error> {
        let guard = Self { path: path.into(), timeout };
        guard.health()?;
        Ok(guard)
    }

    /// Puts the ruleset in force, in one transaction. Admitted guests and their time stay.
    pub fn apply(&self, ruleset: &Ruleset) -> Result<(), Error> {
        ruleset.check()?;
        let doing = "applying a ruleset";
        let mut talk = Talk::start(self, doing)?;
        for page in ruleset.block.chunks(PAGE) {
            done(doing, talk.ask(&Request::Block { addresses: page.to_vec() })?)?;
        }
        for page in ruleset.ways.tor.chunks(PAGE) {
            done(doing, talk.ask(&Request::Tor { addresses: page.to_vec() })?)?;
        }
        let ways = Ways { tor: Vec::new(), ..ruleset.ways };
        let ruleset = Box::new(Ruleset { block: Vec::new(), ways, ..ruleset.clone() });
        done(doing, talk.ask(&Request::Apply { ruleset })?)
    }

    /// Admits the device at these addresses, from now on and for this long; renews what is admitted already. Its older
    /// connections are cut, so that none of them stays with the portal. It may use up as much as it likes.
    pub fn admit(&self, mac: Mac, addresses: &[IpAddr], time: Duration) -> Result<(), Error> {
        self.admit_within(mac, addresses, time, Limits::default())
    }

    /// The same within limits, which replace those it had before; what it has used already stays counted while it is in.
    pub fn admit_within(&self, mac: Mac, addresses: &[IpAddr], time: Duration, limits: Limits) -> Result<(), Error> {
        limits.check()?;
        let doing = "admitting a guest";
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Admit { mac, addresses: addresses.to_vec(), milliseconds, limits };
        done(doing, Talk::start(self, doing)?.ask(&request)?)
    }

    /// Opens these addresses to strangers, from now on and for this long, where the ruleset has a garden. When this returns, the
    /// kernel knows them. Addresses that are not of the public internet are refused.
    pub fn open(&self, addresses: &[IpAddr], time: Duration) -> Result<(), Error> {
        let doing = "opening addresses to strangers";
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Open { addresses: addresses.to_vec(), milliseconds };
        done(doing, Talk::start(self, doing)?.ask(&request)?)
    }

    /// Expels the device and cuts its connections. Returns how many of its addresses were admitted.
    pub fn expel(&self, mac: Mac) -> Result<usize, Error> {
        let doing = "expelling a guest";
        match Talk::start(self, doing)?.ask(&Request::Expel { mac })? {
            Response::Expelled { count } => Ok(count),
            other => Err(unexpected(doing, other)),
        }
    }

    /// Who has used up its data: the kernel lets nothing of theirs pass, and they are refused until they are expelled.
    pub fn spent(&self) -> Result<Vec<Mac>, Error> {
        let doing = "asking whose data is used up";
        match Talk::start(self, doing)?.ask(&Request::Spent)? {
            Response::Spent { devices } => Ok(devices),
            other => Err(unexpected(doing, other)),
        }
    }

    /// Who is admitted, as the kernel has it now, with the time left.
    pub fn guests(&self) -> Result<Vec<Guest>, Error> {
        let doing = "listing the guests";
        let mut talk = Talk::start(self, doing)?;
        let mut response = talk.ask(&Request::Guests)?;
        let mut all = Vec::new();
        loop {
            match response {
                Response::Guests { guests, more } => {
                    all.extend(guests);
                    if !more {
                        return Ok(all);
                    }
                    response = talk.hear()?;
                }
                other => return Err(unexpected(doing, other)),
            }
        }
    }

    /// How the firewall stands: whether what was rendered is what the kernel holds, and what its rules have met.
    pub fn health(&self) -> Result<Health, Error> {
        let doing = "asking for its health";
        match Talk::start(self, doing)?.ask(&Request::Health)? {
            Response::Health(health) => Ok(*health),
            other => Err(unexpected(doing, other)),
        }
    }
}

/// One connection.
struct Talk {
    stream: UnixStream,
    deadline: Instant,
    doing: &'static str,
}

impl Talk {
    fn start(guard: &Guard, doing: &'static str) -> Result<Self, Error> {
        let stream = UnixStream::connect(&guard.path)
            .map_err(|source| Error::Unreachable { path: guard.path.clone(), source })?;
        stream.set_write_timeout(Some(guard.timeout)).map_err(|source| Error::Broken { doing, source })?;
        Ok(Self { stream, deadline: Instant::now() + guard.timeout, doing })
    }

    fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        message::send(&self.stream, request, self.doing)?;
        self.hear()
    }

    fn hear(&mut self) -> Result<Response, Error> {
        message::receive(&self.stream, self.deadline, self.doing)?
            .ok_or_else(|| Error::Broken { doing: self.doing, source: std::io::ErrorKind::UnexpectedEof.into() })
    }
}

fn done(doing: &'static str, response: Response) -> Result<(), Error> {
    match response {
        Response::Done => Ok(()),
        other => Err(unexpected(doing, other)),
    }
}

fn unexpected(doing: &'static str, response: Response) -> Error {
    match response {
        Response::Refused { problems } => Error::Refused(problems),
        Response::Failed { doing, why } => Error::Failed { doing, why },
        _ => Error::Malformed { doing, what: "the answer does not fit the question".into() },
    }
}
