//! The garden: names that strangers resolve before they are admitted. Their addresses are opened to strangers before the answer
//! leaves, so that a device that uses it at once is not refused.

use std::{fmt::Debug, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use crate::{
    answer::reduce,
    cache::Entry,
    guard,
    pipeline::{Asker, Core, Door},
    wire::{Name, Query, Question, rtype},
};

/// How long an address stays open at least, so that what an answer of a few seconds led to can be loaded.
const AT_LEAST: u32 = 300;
/// How long at most: the name is asked again in the meantime.
const AT_MOST: u32 = 24 * 3600;

/// Opens addresses to strangers.
pub trait Opener: Debug + Send + Sync + 'static {
    /// Opens them for this long; says whether they are open.
    fn open(&self, addresses: Vec<IpAddr>, time: Duration) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// Names that strangers resolve. Without an opener nothing is in the garden.
#[derive(Debug, Clone, Default)]
pub struct Garden {
    /// The names, each with everything below it.
    pub names: Vec<String>,
    /// Who opens their addresses.
    pub opener: Option<Arc<dyn Opener>>,
}

/// The same, as it is asked.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    pub(crate) names: Vec<Name>,
    pub(crate) opener: Option<Arc<dyn Opener>>,
}

impl Core {
    /// Whether a stranger's question is for an address of the garden. The kernel must have said that it is a stranger: who only
    /// is in no directory could not use what is opened here.
    pub(crate) fn in_garden(&self, asker: &Asker, query: &Query<'_>) -> bool {
        asker.door == Door::Strangers
            && self.garden.opener.is_some()
            && matches!(query.question.qtype, rtype::A | rtype::AAAA)
            && self.garden.names.iter().any(|name| query.question.name.is_within(name))
    }

    /// Opens the addresses of a reply to a stranger. `false` if they could not be: then the reply must not leave.
    pub(crate) async fn open(&self, reply: &[u8], question: &Question, now: u32) -> bool {
        // What has no answer has no addresses; what was cut short comes again over TCP.
        let Ok(answer) = reduce(reply, question) else { return true };
        let entry = Entry::new(question, answer, now);
        let addresses: Vec<_> = entry.addresses().filter(|address| !guard::is_inside(*address, &self.ours)).collect();
        let Some(opener) = self.garden.opener.as_ref().filter(|_| !addresses.is_empty()) else { return true };
        let time = entry.expires.saturating_sub(now).clamp(AT_LEAST, AT_MOST);
        opener.open(addresses, Duration::from_secs(time.into())).await
    }
}
