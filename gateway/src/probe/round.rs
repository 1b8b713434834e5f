//! One run of some probes: the guest's hands, and what must work so that a refusal means something.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sheshi_policy::{CategoryInfo, Compiled};
use tokio::sync::OnceCell;

use super::{
    Settings, Witness,
    dns::{self, Reply, kind},
    judge::{self, Bad, Found, Signature},
    prober::Sight,
    wire::{self, Ask, Deed, Joined, Router, Saw, Told},
};

/// How long a question may take.
const ANSWER_MS: u64 = 2000;
/// How long a closed door is knocked at.
pub(super) const KNOCK_MS: u64 = 1500;

/// The synthetic guest, told what to do.
#[derive(Debug, Clone)]
pub(super) struct Door(pub(super) PathBuf);

impl Door {
    async fn ask(&self, ask: Ask) -> Result<Told, String> {
        let path = self.0.clone();
        let asked = tokio::task::spawn_blocking(move || wire::ask(&path, &ask)).await;
        asked.map_err(|error| error.to_string())?.map_err(|error| format!("the synthetic guest: {error}"))
    }

    pub(super) async fn join(&self, afresh: bool) -> Result<Joined, String> {
        match self.ask(Ask::Join { afresh }).await? {
            Told::Joined(joined) => Ok(joined),
            _ => Err("the synthetic guest answered something else".into()),
        }
    }

    pub(super) async fn routers(&self, within_ms: u64) -> Result<Vec<Router>, String> {
        match self.ask(Ask::Routers { within_ms }).await? {
            Told::Routers(routers) => Ok(routers),
            _ => Err("the synthetic guest answered something else".into()),
        }
    }

    pub(super) async fn act(&self, deeds: Vec<Deed>) -> Result<Vec<Saw>, String> {
        let count = deeds.len();
        match self.ask(Ask::Do(deeds)).await? {
            Told::Saw(saw) if saw.len() == count => Ok(saw),
            _ => Err("the synthetic guest answered something else".into()),
        }
    }
}

/// A question to a resolver.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) to: SocketAddr,
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) tcp: bool,
}

impl Question {
    fn told(&self) -> String {
        let kind = match self.kind {
            kind::A => "A",
            kind::AAAA => "AAAA",
            kind::HTTPS => "HTTPS",
            kind::CNAME => "CNAME",
            kind::TXT => "TXT",
            kind::SVCB => "SVCB",
            2 => "NS",
            15 => "MX",
            33 => "SRV",
            _ => "other",
        };
        format!("{} {kind} at {}{}", self.name, self.to.ip(), if self.tcp { " by TCP" } else { "" })
    }
}

/// A question, and what came of it.
pub(super) struct Answer {
    pub(super) told: String,
    pub(super) reply: Result<Reply, Bad>,
    pub(super) message: Option<String>,
    pub(super) ms: u64,
}

impl Answer {
    pub(super) fn judge(&self, judge: impl FnOnce(&Reply) -> Result<(), Bad>) -> (String, Result<(), Bad>) {
        let judged = match &self.reply {
            Ok(reply) => judge(reply),
            Err(bad) => Err(bad.clone()),
        };
        (self.told.clone(), judged)
    }
}

/// One run.
pub(super) struct Round<'a> {
    pub(super) sight: &'a Sight,
    pub(super) door: Door,
    pub(super) joined: Joined,
    pub(super) policy: std::sync::Arc<Compiled>,
    /// Our addresses on the guest side.
    pub(super) ours: Vec<IpAddr>,
    pub(super) ipv6: bool,
    control4: OnceCell<Result<(), String>>,
    control6: OnceCell<Result<(), String>>,
    dns: OnceCell<Result<(), String>>,
    /// Control questions asked and answered, for their share.
    pub(super) asked: AtomicU64,
    pub(super) answered: AtomicU64,
}

impl<'a> Round<'a> {
    pub(super) fn new(sight: &'a Sight, joined: Joined) -> Self {
        let plan = sight.plan.borrow();
        Self {
            sight,
            door: Door(sight.config.guest_socket()),
            joined,
            policy: sight.policy.load_full(),
            ours: plan.addresses.clone(),
            ipv6: plan.rules.forwards_ipv6(),
            control4: OnceCell::new(),
            control6: OnceCell::new(),
            dns: OnceCell::new(),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Positive controls are tried anew; what came of them before the guest was ready does not count.
    pub(super) fn forget(&mut self) {
        (self.asked, self.answered) = Default::default();
        (self.control4, self.control6, self.dns) = Default::default();
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.sight.settings
    }

    /// The host that stands for the internet, or what to configure.
    pub(super) fn witness(&self) -> Result<&Witness, Found> {
        let none =
            "no witness is configured: give a host of the city on the internet as [witness] (docs/configuration.md)";
        self.settings().witness.as_ref().ok_or_else(|| Found::unclear(none))
    }

    /// The canary zone, or what to configure.
    pub(super) fn zone(&self) -> Result<String, Found> {
        let none = "the policy has no canary zone: give one as [canary] zone (docs/policy-format.md)";
        self.policy.canary_zone().map(str::to_owned).ok_or_else(|| Found::unclear(none))
    }

    /// The resolver that the guest was told to use.
    pub(super) fn resolver(&self, v6: bool) -> Option<SocketAddr> {
        let told = self.joined.lease.as_ref().and_then(|lease| lease.resolvers.first()).copied().map(IpAddr::V4);
        let address = if v6 { self.ours.iter().copied().find(IpAddr::is_ipv6) } else { told };
        address.map(|address| (address, 53).into())
    }

    /// A question to the gateway.
    pub(super) fn question(&self, name: &str, kind: u16) -> Question {
        let to = self.resolver(false).unwrap_or(([0; 4], 53).into());
        Question { to, name: name.into(), kind, tcp: false }
    }

    /// Asks all of them. Silence is tried once more: a datagram may be lost, or over the rate.
    pub(super) async fn ask(&self, questions: &[Question]) -> Vec<Answer> {
        let mut all = Vec::with_capacity(questions.len());
        for some in questions.chunks(32) {
            let deeds =
                some.iter().enumerate().map(|(id, question)| deed(id as u16 + 1, question, ANSWER_MS)).collect();
            let saw = self.door.act(deeds).await;
            for (number, question) in some.iter().enumerate() {
                let one = saw.as_ref().map(|saw| &saw[number]);
                all.push(answer(question, number as u16 + 1, one));
            }
        }
        all
    }

    /// Whether the gateway resolves what is allowed: without that, "blocked" may be "broken".
    pub(super) async fn dns_works(&self) -> &Result<(), String> {
        self.dns.get_or_init(|| self.try_dns()).await
    }

    async fn try_dns(&self) -> Result<(), String> {
        let name = match (self.policy.canary_zone(), &self.settings().witness) {
            (Some(zone), _) => format!("allowed.{zone}"),
            (None, Some(witness)) => witness.name.clone(),
            (None, None) => return Err("neither a canary zone nor a witness is configured".into()),
        };
        self.asked.fetch_add(1, Relaxed);
        let answers = self.ask(&[self.question(&name, kind::A)]).await;
        let (told, judged) = answers[0].judge(|reply| judge::allowed(reply, &self.ours));
        match judged {
            Ok(()) => {
                self.answered.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(Bad::Otherwise(saw) | Bad::Unclear(saw)) => Err(format!("{told}: {saw}")),
        }
    }

    /// Whether the internet is there: a connection to the witness on port 443.
    pub(super) async fn way_out(&self, v6: bool) -> &Result<(), String> {
        let cell = if v6 { &self.control6 } else { &self.control4 };
        cell.get_or_init(|| self.try_way_out(v6)).await
    }

    async fn try_way_out(&self, v6: bool) -> Result<(), String> {
        let witness = self.settings().witness.as_ref().ok_or("no witness is configured ([witness])")?;
        let address = if v6 { witness.v6.map(IpAddr::V6) } else { Some(IpAddr::V4(witness.v4)) };
        let address = address.ok_or("the witness has no IPv6 address ([witness] v6)")?;
        self.asked.fetch_add(1, Relaxed);
        let saw = self.door.act(vec![knock((address, 443).into())]).await?;
        if saw[0].connected {
            self.answered.fetch_add(1, Relaxed);
            return Ok(());
        }
        Err(format!("TCP 443 to the witness {address}: {}", saw[0].end))
    }

    /// How a category of this name is blocked for guests; `None` where guests have it open or there is none.
    pub(super) fn signature(&self, category: &str) -> Option<Signature> {
        let info = self.category(category)?;
        Some(Signature { code: info.ede, words: Some(info.title.to_string()) })
    }

    pub(super) fn category(&self, name: &str) -> Option<&CategoryInfo> {
        self.policy.categories().iter().find(|info| &*info.name == name)
    }

    /// The canary of a category, when a list of it is loaded.
    pub(super) fn canary(&self, category: &str) -> Option<String> {
        let canaries = self.policy.canaries();
        let of =
            |list: usize| self.policy.lists()[list].category.map(|c| &*self.policy.categories()[usize::from(c.0)].name);
        canaries.into_iter().find(|canary| of(canary.list) == Some(category)).map(|canary| canary.of_category)
    }

    /// The first canary of a blocked category, adult before all others: what "blocked" is tried with.
    pub(super) fn mark(&self) -> Result<(String, Signature), Found> {
        self.zone()?;
        let missing = "no list of category `adult` is loaded, so nothing shows what is blocked";
        let both = self.canary("adult").zip(self.signature("adult"));
        both.ok_or_else(|| Found::new(sheshi_evidence::record::Outcome::Fail, "", "", missing))
    }

    /// Asks these names for these types, and judges each as blocked.
    pub(super) async fn blocked(
        &self,
        names: &[(String, Signature)],
        kinds: &[u16],
    ) -> (Vec<(String, Result<(), Bad>)>, Option<String>) {
        let questions: Vec<_> =
            names.iter().flat_map(|(name, _)| kinds.iter().map(|kind| self.question(name, *kind))).collect();
        let answers = self.ask(&questions).await;
        let message = answers.first().and_then(|answer| answer.message.clone());
        let signatures = names.iter().flat_map(|(_, signature)| kinds.iter().map(move |_| signature));
        let judged = answers.iter().zip(signatures);
        (judged.map(|(a, signature)| a.judge(|reply| judge::blocked(reply, signature, &self.ours))).collect(), message)
    }
}

/// A connection and nothing more.
pub(super) fn knock(to: SocketAddr) -> Deed {
    Deed::Tcp { to, send: String::new(), enough: 0, framed: false, within_ms: KNOCK_MS }
}

/// Asks once, or twice for want of an answer.
pub(super) fn deed(id: u16, question: &Question, within_ms: u64) -> Deed {
    let message = dns::question(id, &question.name, question.kind).unwrap_or_default();
    if question.tcp {
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        Deed::Tcp { to: question.to, send: BASE64_STANDARD.encode(framed), enough: 65_537, framed: true, within_ms }
    } else {
        Deed::Udp { to: question.to, send: BASE64_STANDARD.encode(message), within_ms, times: 2 }
    }
}

pub(super) fn answer(question: &Question, id: u16, saw: Result<&Saw, &String>) -> Answer {
    let mut answer = Answer { told: question.told(), reply: Err(Bad::Unclear(String::new())), message: None, ms: 0 };
    let saw = match saw {
        Ok(saw) => saw,
        Err(why) => {
            answer.reply = Err(Bad::Unclear(why.clone()));
            return answer;
        }
    };
    answer.ms = saw.ms;
    let bytes = saw.reply.as_ref().and_then(|reply| BASE64_STANDARD.decode(reply).ok());
    let bytes = bytes.map(|bytes| if question.tcp { bytes.get(2..).unwrap_or_default().to_vec() } else { bytes });
    let Some(bytes) = bytes else {
        answer.reply = Err(Bad::Unclear(saw.end.clone()));
        return answer;
    };
    answer.reply = match Reply::parse(&bytes) {
        Some(reply) if reply.id == id => Ok(reply),
        _ => Err(Bad::Unclear("what came back is no reply to it".into())),
    };
    answer.message = Some(BASE64_STANDARD.encode(&bytes)).filter(|text| text.len() < 1500);
    answer
}
