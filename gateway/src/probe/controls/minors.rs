//! Illegal content, content not for minors, threats, safe search.

use std::net::IpAddr;

use sheshi_evidence::{
    record::{Note, Outcome, Sample},
    sample,
};
use sheshi_policy::{Compiled, Moment, SafeMode, Spec, YouTube, search_engines};

use super::Result;
use crate::probe::{
    dns::kind,
    judge::{self, Bad, Found, Signature},
    known, lists,
    round::Round,
};

const THREE: [u16; 3] = [kind::A, kind::AAAA, kind::HTTPS];

/// Without a licence there is no list, and the report says so in red.
pub(super) fn abuse(round: &Round<'_>) -> Result {
    if round.canary("csam").is_none() && !has_list(round, "csam") {
        let found = Found::not_applicable("no list of child sexual abuse material is configured: it needs a licence");
        return Ok(Found { note: Some(Note::NoCsamList), ..found });
    }
    Ok(Found::unclear("the licence's public test name is not configured"))
}

pub(super) fn terror(round: &Round<'_>) -> Result {
    if has_list(round, "terror") {
        return Ok(Found::unclear("the list's public test name is not configured"));
    }
    Ok(Found { note: Some(Note::NoList), ..Found::not_applicable("no such list is open to this city") })
}

fn has_list(round: &Round<'_>, category: &str) -> bool {
    let of = |category| &*round.policy.categories()[usize::from(category)].name;
    round.policy.lists().iter().any(|list| list.category.is_some_and(|found| of(found.0) == category))
}

/// Locked categories that have a canary, with how they are blocked.
fn locked(round: &Round<'_>) -> Vec<(String, Signature)> {
    let locked = round.policy.categories().iter().filter(|info| info.locked);
    locked.filter_map(|info| round.canary(&info.name).zip(round.signature(&info.name))).collect()
}

/// The compiled policy itself: locked is locked, and nothing that an admin can write opens it.
pub(super) fn floor(round: &Round<'_>, probe: &str) -> Result {
    if probe == "p3" {
        // What no city may leave open, where there is a list of it.
        let floor = ["csam", "terror", "orders"];
        let unlocked = round.policy.categories().iter().filter(|info| floor.contains(&&*info.name) && !info.locked);
        let unlocked: Vec<_> =
            unlocked.filter(|info| has_list(round, &info.name)).map(|info| info.name.to_string()).collect();
        let locked: Vec<_> =
            round.policy.categories().iter().filter(|info| info.locked).map(|info| info.name.to_string()).collect();
        let found = Found::held(
            unlocked.is_empty(),
            "categories of the compiled policy",
            "child abuse, terror and orders are locked where they have a list",
            format!("locked: {}; not locked: {}", locked.join(" "), unlocked.join(" ")),
        );
        return Ok(found.figure("unlocked", unlocked.len() as i64));
    }
    let marks = locked(round);
    if marks.is_empty() {
        return Err(Found::unclear("no locked category has a list and a canary zone to try it with"));
    }
    let text =
        std::fs::read_to_string(&round.sight.config.policy).map_err(|error| Found::unclear(error.to_string()))?;
    let names: Vec<_> = marks.iter().map(|(name, _)| name.as_str()).collect();
    let opened = open(&text, &names).map_err(Found::unclear)?;
    let view = opened.view(sheshi_policy::GroupId(0), Moment::At(jiff::Timestamp::now()));
    let wire = |name: &str| sheshi_policy::Name::parse(name).map(|name| name.wire()).unwrap_or_default();
    let lost: Vec<_> = names.iter().filter(|name| !opened.decide(&wire(name), &view).is_block()).copied().collect();
    let want = "the policy with all of them under `allow` and in an exception blocks them still";
    Ok(Found::held(lost.is_empty(), format!("allow {}", names.join(" ")), want, format!("opened: {}", lost.join(" "))))
}

/// The city's policy, compiled with canaries only and with these names allowed by the strongest means there are.
fn open(policy: &str, names: &[&str]) -> std::result::Result<Compiled, String> {
    let mut table: toml::Table = policy.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let allow = table.entry("allow").or_insert_with(|| toml::Value::Array(Vec::new()));
    allow.as_array_mut().ok_or("`allow` is no list")?.extend(names.iter().map(|name| toml::Value::from(*name)));
    let text = toml::to_string(&table).map_err(|error| error.to_string())?;
    let policy = Spec::parse(&text).and_then(|spec| spec.check()).map_err(|problems| problems.to_string())?;
    let editions = lists::editions_of_one_name(&policy)?;
    let bytes = sheshi_policy::compile(&policy, &editions, &mut |_| ()).map_err(|error| error.to_string())?;
    Compiled::from_bytes(bytes).map_err(|error| error.to_string())
}

pub(super) async fn floor_holds(round: &Round<'_>) -> Result {
    let marks = locked(round);
    let (tries, message) = round.blocked(&marks, &[kind::A]).await;
    let found = Found::all("canaries of locked categories", "blocked", tries, round.dns_works().await);
    Ok(found.message(message))
}

pub(super) async fn adult(round: &Round<'_>) -> Result {
    let (name, signature) = round.mark()?;
    let ask = format!("{name} A AAAA HTTPS");
    let (tries, message) = round.blocked(&[(name, signature)], &THREE).await;
    Ok(Found::all(ask, "blocked as adult", tries, round.dns_works().await).message(message))
}

pub(super) async fn well_known(round: &Round<'_>) -> Result {
    let signature = round.signature("adult").ok_or_else(|| Found::unclear("the policy has no category `adult`"))?;
    let names: Vec<_> = known::ADULT.iter().map(|name| ((*name).to_owned(), signature.clone())).collect();
    let (tries, message) = round.blocked(&names, &[kind::A]).await;
    let ask = known::ADULT.join(" ");
    Ok(Found::all(ask, "blocked as adult, by the lists", tries, round.dns_works().await).message(message))
}

/// Names drawn by seed from the largest loaded list of these categories. No record names one of them.
pub(super) async fn drawn(round: &Round<'_>, categories: &[&str], count: u64) -> Result {
    let (seed, date, size) =
        round.sight.seed().ok_or_else(|| Found::unclear("the time is not known, so there is no seed"))?;
    let of = |list: &sheshi_policy::ListInfo| {
        list.category.map(|category| &round.policy.categories()[usize::from(category.0)])
    };
    let eligible = |list: &&sheshi_policy::ListInfo| {
        of(list).is_some_and(|info| categories.contains(&&*info.name) && !info.secret) && !list.order
    };
    let list = round.policy.lists().iter().filter(eligible).max_by_key(|list| list.entries);
    let ask = format!("{count} names by seed from the lists of {}", categories.join(", "));
    let Some(list) = list else {
        return Err(Found::new(Outcome::Fail, ask, "blocked", "no list of these categories is loaded"));
    };
    let (config, name) = (round.sight.config.clone(), list.name.to_string());
    let names = tokio::task::spawn_blocking(move || lists::names(&config, &name)).await;
    let names = names.map_err(|error| Found::unclear(error.to_string()))?.map_err(Found::unclear)?;
    if names.is_empty() {
        return Err(Found::new(Outcome::Fail, ask, "blocked", "the list has no names to draw from"));
    }
    let drawn: Vec<String> = names.draw(&seed, count).map(str::to_owned).collect();
    let mut once = drawn.clone();
    once.sort_unstable();
    once.dedup();
    let info = of(list);
    let signature = Signature { code: info.map_or(15, |info| info.ede), words: None };
    let pairs: Vec<_> = once.iter().map(|name| (name.clone(), signature.clone())).collect();
    let (tries, _) = round.blocked(&pairs, &[kind::A]).await;
    let mut misses: Vec<String> = once
        .iter()
        .zip(&tries)
        .filter(|(_, (_, came))| matches!(came, Err(Bad::Otherwise(_))))
        .map(|(name, _)| sample::miss(&seed, name))
        .collect();
    misses.sort_unstable();
    let unclear = tries.iter().filter(|(_, came)| matches!(came, Err(Bad::Unclear(_)))).count();
    let outcome = match (misses.is_empty(), unclear, round.dns_works().await) {
        (false, ..) => Outcome::Fail,
        (true, 0, Ok(())) => Outcome::Pass,
        _ => Outcome::Inconclusive,
    };
    let saw = format!("{} of {} different names not blocked, {unclear} without an answer", misses.len(), once.len());
    let mut found = Found::new(outcome, ask, "all blocked", saw)
        .figure("misses", misses.len() as i64)
        .figure("asked", drawn.len() as i64);
    found.sample = Some(Sample {
        count,
        date,
        edition: list.edition.to_string(),
        list: lists::id(&list.name),
        misses,
        names: sample::commitment(drawn.iter().map(String::as_str)),
        size,
    });
    Ok(found)
}

pub(super) async fn alias(round: &Round<'_>) -> Result {
    let zone = round.zone()?;
    let (_, signature) = round.mark()?;
    let name = format!("alias.{zone}");
    let (tries, message) = round.blocked(&[(name.clone(), signature)], &[kind::A, kind::AAAA]).await;
    let want = "blocked: its alias leads to the adult canary";
    Ok(Found::all(format!("{name} A AAAA"), want, tries, round.dns_works().await).message(message))
}

/// Categories that the city closed are closed, those it left open are open.
pub(super) async fn city(round: &Round<'_>, closed: bool) -> Result {
    let view = round.policy.view(sheshi_policy::GroupId(0), Moment::At(jiff::Timestamp::now()));
    let names = round.policy.categories().iter().enumerate();
    let of = |(number, _): &(usize, _)| (view.blocked >> number & 1 == 1) == closed;
    let names: Vec<_> =
        names.filter(of).filter_map(|(_, info)| round.canary(&info.name).zip(round.signature(&info.name))).collect();
    if names.is_empty() {
        return Err(Found::not_applicable("there is no such category with a list"));
    }
    if closed {
        let (tries, _) = round.blocked(&names, &[kind::A]).await;
        return Ok(Found::all("the canary of each closed category", "blocked as it", tries, round.dns_works().await));
    }
    let questions: Vec<_> = names.iter().map(|(name, _)| round.question(name, kind::A)).collect();
    let answers = round.ask(&questions).await;
    let tries = answers.iter().map(|answer| answer.judge(|reply| judge::allowed(reply, &round.ours))).collect();
    Ok(Found::all("the canary of each open category", "its real address", tries, round.dns_works().await))
}

pub(super) async fn threats(round: &Round<'_>) -> Result {
    round.zone()?;
    let mut names = Vec::new();
    for category in ["malware", "phishing"] {
        match round.canary(category).zip(round.signature(category)) {
            Some(pair) => names.push(pair),
            None => {
                let why = format!("no list of category {category} is loaded");
                return Err(Found::new(Outcome::Fail, "the malware and phishing canaries", "blocked", why));
            }
        }
    }
    let age = lists::oldest(round, &["malware", "phishing", "scam"]);
    let (tries, message) = round.blocked(&names, &THREE).await;
    let found = Found::all("the malware and phishing canaries", "blocked", tries, round.dns_works().await);
    Ok(found.message(message).figure("age_s", age))
}

/// Each engine of the table leads to its safe target, whose addresses are resolved in the same run.
pub(super) async fn engines(round: &Round<'_>, google: bool) -> Result {
    let mut tries = Vec::new();
    for (names, mode) in search_engines() {
        let names: Vec<String> = match google {
            true => names.into_iter().filter(|name| known::GOOGLE.contains(&name.as_str())).collect(),
            // The first three of each engine; Google's countries have a probe of their own.
            false => names.into_iter().take(3).collect(),
        };
        if let SafeMode::Alias(target) = mode {
            tries.extend(rewritten(round, &names, target).await);
        } else if let (SafeMode::Addresses(addresses), false) = (mode, google) {
            let questions: Vec<_> = names.iter().map(|name| round.question(name, kind::A)).collect();
            for answer in round.ask(&questions).await {
                tries.push(answer.judge(|reply| judge::rewritten(reply, "", addresses)));
            }
        }
    }
    let ask = if google { "Google's country names" } else { "the names of each engine that has a safe mode" };
    Ok(Found::all(ask, "rewritten to the safe target", tries, round.dns_works().await))
}

async fn rewritten(round: &Round<'_>, names: &[String], target: &str) -> Vec<(String, std::result::Result<(), Bad>)> {
    if names.is_empty() {
        return Vec::new();
    }
    let targets = [round.question(target, kind::A), round.question(target, kind::AAAA)];
    let safe = round.ask(&targets).await;
    let safe: Vec<IpAddr> =
        safe.iter().filter_map(|answer| answer.reply.as_ref().ok()).flat_map(|reply| reply.addresses()).collect();
    let questions: Vec<_> = names.iter().flat_map(|name| THREE.map(|kind| round.question(name, kind))).collect();
    let answers = round.ask(&questions).await;
    answers.iter().map(|answer| answer.judge(|reply| judge::rewritten(reply, target, &safe))).collect()
}

pub(super) async fn closed_engines(round: &Round<'_>) -> Result {
    let closed = search_engines().filter(|(_, mode)| *mode == SafeMode::Block).flat_map(|(names, _)| names);
    let questions: Vec<_> = closed.map(|name| round.question(&name, kind::A)).collect();
    let count = questions.len();
    let signature = Signature { code: 15, words: None };
    let answers = round.ask(&questions).await;
    let tries: Vec<_> =
        answers.iter().map(|answer| answer.judge(|reply| judge::blocked(reply, &signature, &round.ours))).collect();
    let misses = tries.iter().filter(|(_, came)| came.is_err()).count();
    let found = Found::all(format!("{count} engines without a safe mode"), "blocked", tries, round.dns_works().await);
    Ok(found.figure("misses", misses as i64))
}

pub(super) async fn youtube(round: &Round<'_>) -> Result {
    let target = match round.policy.groups().first().map(|group| group.youtube) {
        Some(YouTube::Strict) => "restrict.youtube.com",
        Some(YouTube::Moderate) => "restrictmoderate.youtube.com",
        _ => return Err(Found::not_applicable("the policy does not restrict YouTube")),
    };
    let names = known::YOUTUBE.map(str::to_owned);
    let tries = rewritten(round, &names, target).await;
    Ok(Found::all("the five names of YouTube", format!("rewritten to {target}"), tries, round.dns_works().await))
}
