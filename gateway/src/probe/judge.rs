//! What counts as blocked, closed or answered. Pure: replies in, judgement out.
//!
//! *No answer* is not *blocked*: blocked is our own block answer with our reason in it, and only while something that must
//! work did work in the same run.

use std::net::IpAddr;

use sheshi_evidence::{
    control::Figures,
    record::{Note, Outcome, Sample},
};

use super::{
    dns::{Record, Reply},
    known,
    wire::Saw,
};

/// Why something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// It was seen to be otherwise.
    Otherwise(String),
    /// It could not be told.
    Unclear(String),
}

/// What came of one probe, before it is a record.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// How it came out; without any word it is inconclusive.
    pub outcome: Option<Outcome>,
    /// What was asked.
    pub ask: String,
    /// What should come of it.
    pub want: String,
    /// What came.
    pub saw: String,
    /// Counts and measures.
    pub figures: Figures,
    /// The DNS reply, in base64.
    pub msg: Option<String>,
    /// What to print beside it.
    pub note: Option<Note>,
    /// What was drawn by seed.
    pub sample: Option<Sample>,
}

impl Found {
    /// An outcome with what was asked, wanted and seen.
    pub fn new(outcome: Outcome, ask: impl Into<String>, want: impl Into<String>, saw: impl Into<String>) -> Self {
        Self { outcome: Some(outcome), ask: ask.into(), want: want.into(), saw: saw.into(), ..Self::default() }
    }

    /// It could not be measured, and what would mend that.
    pub fn unclear(why: impl Into<String>) -> Self {
        Self::new(Outcome::Inconclusive, "", "", why)
    }

    /// It is no matter here.
    pub fn not_applicable(why: impl Into<String>) -> Self {
        Self::new(Outcome::NotApplicable, "", "", why)
    }

    /// Passes or fails as a condition holds.
    pub fn held(holds: bool, ask: impl Into<String>, want: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::new(if holds { Outcome::Pass } else { Outcome::Fail }, ask, want, saw)
    }

    /// Several tries that must all be as they should: one that was seen otherwise fails, else one that is unclear, or a
    /// positive control that did not work, leaves it open.
    pub fn all(
        ask: impl Into<String>,
        want: impl Into<String>,
        tries: Vec<(String, Result<(), Bad>)>,
        control: &Result<(), String>,
    ) -> Self {
        let (mut otherwise, mut unclear, count) = (Vec::new(), Vec::new(), tries.len());
        for (what, came) in tries {
            match came {
                Ok(()) => {}
                Err(Bad::Otherwise(saw)) => otherwise.push(format!("{what}: {saw}")),
                Err(Bad::Unclear(saw)) => unclear.push(format!("{what}: {saw}")),
            }
        }
        let (outcome, saw) = if !otherwise.is_empty() {
            (Outcome::Fail, short(&otherwise, count))
        } else if let Err(why) = control {
            (Outcome::Inconclusive, format!("the positive control did not work: {why}"))
        } else if !unclear.is_empty() || count == 0 {
            (Outcome::Inconclusive, short(&unclear, count))
        } else {
            (Outcome::Pass, format!("{count} of {count}"))
        };
        Self::new(outcome, ask, want, saw)
    }

    /// With a figure.
    #[must_use]
    pub fn figure(mut self, name: &str, value: impl TryInto<i64>) -> Self {
        self.figures.insert(name.into(), value.try_into().unwrap_or(1 << 52));
        self
    }

    /// With the reply, in base64.
    #[must_use]
    pub fn message(mut self, msg: Option<String>) -> Self {
        self.msg = msg;
        self
    }
}

/// The first few of many, for a record that stays small.
fn short(all: &[String], count: usize) -> String {
    let first = all.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
    format!("{} of {count} not so: {first}", all.len()).chars().take(700).collect()
}

/// How a category is blocked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The code of RFC 8914.
    pub code: u16,
    /// What the reason must contain, when one category is meant.
    pub words: Option<String>,
}

/// Whether a reply is our block answer.
pub fn blocked(reply: &Reply, signature: &Signature, ours: &[IpAddr]) -> Result<(), Bad> {
    let foreign = reply.addresses().into_iter().find(|address| !ours.contains(address) && !address.is_unspecified());
    if let Some(address) = foreign {
        return Err(Bad::Otherwise(format!("it has the address {address}")));
    }
    if reply.answers.iter().any(|record| !matches!(record, Record::Address(_))) {
        return Err(Bad::Otherwise(reply.told()));
    }
    match &reply.error {
        Some((code, text)) if *code == signature.code => match &signature.words {
            Some(words) if !text.contains(words.as_str()) => {
                Err(Bad::Otherwise(format!("blocked for another reason: {text}")))
            }
            _ => Ok(()),
        },
        Some((code, text)) if matches!(code, 15..=17) => {
            Err(Bad::Otherwise(format!("blocked with EDE {code}: {text}")))
        }
        // Whoever says "no such name" without our reason did not block it.
        _ if matches!(reply.code, 0 | 3) => Err(Bad::Otherwise(format!("not our block answer: {}", reply.told()))),
        _ => Err(Bad::Unclear(reply.told())),
    }
}

/// Whether a name is answered as an alias of its safe mode, or nothing else is known of it. `safe` are the addresses that
/// the target had in the same run.
pub fn rewritten(reply: &Reply, target: &str, safe: &[IpAddr]) -> Result<(), Bad> {
    let addresses = reply.addresses();
    let alias = reply.alias() == Some(target);
    if reply.code == 0 && (alias || !addresses.is_empty()) && (alias || addresses.iter().all(|a| safe.contains(a))) {
        return if addresses.iter().all(|address| safe.is_empty() || safe.contains(address)) {
            Ok(())
        } else {
            Err(Bad::Otherwise(format!("it leads to {target}, with other addresses: {}", reply.told())))
        };
    }
    match (reply.code, &reply.error) {
        // A target that does not exist upstream makes the engine blocked, which is as good.
        (_, Some((15, _))) if addresses.is_empty() => Ok(()),
        (0, _) if addresses.is_empty() && reply.answers.is_empty() => Ok(()),
        (0 | 3, _) => Err(Bad::Otherwise(reply.told())),
        _ => Err(Bad::Unclear(reply.told())),
    }
}

/// Whether a name is answered with real addresses.
pub fn allowed(reply: &Reply, ours: &[IpAddr]) -> Result<(), Bad> {
    let real = |address: &IpAddr| !ours.contains(address) && !address.is_unspecified();
    match (reply.code, &reply.error) {
        (0, None) if reply.addresses().iter().any(real) => Ok(()),
        (_, Some((15..=17, text))) => Err(Bad::Otherwise(format!("it is blocked: {text}"))),
        (0 | 3, _) => Err(Bad::Otherwise(format!("it has no address: {}", reply.told()))),
        _ => Err(Bad::Unclear(reply.told())),
    }
}

/// Whether a door is closed: refused, unreachable or silent. That it is not the whole world that is gone is for the positive
/// control to show.
pub fn closed(saw: &Saw) -> Result<(), Bad> {
    match saw.end.as_str() {
        _ if saw.connected => Err(Bad::Otherwise("the connection came about".into())),
        _ if saw.reply.is_some() => Err(Bad::Otherwise("an answer came back".into())),
        "refused" | "unreachable" | "silent" => Ok(()),
        other => Err(Bad::Unclear(other.to_owned())),
    }
}

/// Whether an address is one of the world's.
pub fn leads_out(reply: &Reply) -> Option<IpAddr> {
    reply.addresses().into_iter().find(|address| known::is_public(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u8, address: Option<&str>, error: Option<(u16, &str)>) -> Reply {
        let answers = address.map(|text| Record::Address(text.parse().unwrap())).into_iter().collect();
        Reply { id: 1, code, answers, error: error.map(|(code, text)| (code, text.to_owned())) }
    }

    fn adult() -> Signature {
        Signature { code: 15, words: Some("Adult".into()) }
    }

    #[test]
    fn only_our_own_answer_with_our_reason_is_blocked() {
        let ours = ["10.77.0.1".parse().unwrap()];
        let judge = |reply| blocked(&reply, &adult(), &ours);
        for good in [
            reply(3, None, Some((15, "Blocked: Adult"))),
            reply(0, Some("0.0.0.0"), Some((15, "Blocked: Adult"))),
            reply(0, Some("10.77.0.1"), Some((15, "Blocked: Adult"))),
        ] {
            assert_eq!(judge(good), Ok(()));
        }
        for bad in [
            reply(3, None, None),
            reply(3, None, Some((22, ""))),
            reply(0, None, None),
            reply(0, Some("203.0.113.80"), Some((15, "Blocked: Adult"))),
            reply(3, None, Some((16, "Blocked: Adult"))),
            reply(3, None, Some((15, "Blocked: Malware"))),
        ] {
            assert!(matches!(judge(bad.clone()), Err(Bad::Otherwise(_))), "{bad:?}");
        }
        assert!(matches!(judge(reply(2, None, Some((22, "")))), Err(Bad::Unclear(_))), "a failure blocks nothing");
    }

    #[test]
    fn silence_is_closed_only_while_the_positive_control_works() {
        let silent = Saw { end: "silent".into(), ..Saw::default() };
        let tries = || vec![("853".to_owned(), closed(&silent))];
        assert_eq!(Found::all("", "", tries(), &Ok(())).outcome, Some(Outcome::Pass));
        assert_eq!(Found::all("", "", tries(), &Err("no way out".into())).outcome, Some(Outcome::Inconclusive));
        let open = Saw { connected: true, end: "done".into(), ..Saw::default() };
        let tries = vec![("853".to_owned(), closed(&open))];
        assert_eq!(Found::all("", "", tries, &Err("no way out".into())).outcome, Some(Outcome::Fail));
        assert_eq!(Found::all("", "", Vec::new(), &Ok(())).outcome, Some(Outcome::Inconclusive), "nothing tried");
        let broken = Saw { end: "the deed broke off".into(), ..Saw::default() };
        assert!(matches!(closed(&broken), Err(Bad::Unclear(_))));
    }

    #[test]
    fn safe_search_is_an_alias_or_the_targets_own_addresses() {
        let safe = ["203.0.113.80".parse().unwrap()];
        let judge = |reply: &Reply| rewritten(reply, "safe.example", &safe);
        let mut alias = reply(0, Some("203.0.113.80"), None);
        alias.answers.insert(0, Record::Alias("safe.example".into()));
        assert_eq!(judge(&alias), Ok(()));
        alias.answers[1] = Record::Address("198.51.100.1".parse().unwrap());
        assert!(judge(&alias).is_err(), "an alias with the addresses of another");
        assert_eq!(judge(&reply(0, Some("203.0.113.80"), None)), Ok(()));
        assert!(judge(&reply(0, Some("198.51.100.1"), None)).is_err());
        assert!(judge(&reply(2, None, None)).is_err());
    }
}
