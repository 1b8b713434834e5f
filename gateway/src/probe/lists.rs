//! What probes need of the loaded lists: their names, for samples, and how old they are.

use std::{path::Path, time::SystemTime};

use sheshi_evidence::{Digest, hash::is_id, record, sample::Names};
use sheshi_lists::Keeper;
use sheshi_policy::{Compiled, Edition, Policy};

use super::{ledger, round::Round};
use crate::{config::Config, generations};

/// Beyond this many names a list is not held in memory to be sorted.
const LARGEST: u32 = 3_000_000;

/// A list's id in evidence.
pub(super) fn id(name: &str) -> String {
    if is_id(name) { name.to_owned() } else { format!("list-{}", &Digest::of(name.as_bytes()).to_string()[..12]) }
}

/// The names of a list's edition in force, in the order of the draw.
pub(super) fn names(config: &Config, list: &str) -> Result<Names, String> {
    let policy = generations::read(&config.policy).map_err(|error| error.to_string())?;
    let list = policy.lists.iter().find(|other| &*other.name == list).ok_or("the policy has changed meanwhile")?;
    let folder = config.policy.parent().unwrap_or(Path::new(""));
    let keeper = Keeper::new(config.state.join("lists"));
    let (edition, _) = keeper.last_good(list, folder).map_err(|error| error.to_string())?;
    Ok(Names::new(edition.listed().collect()))
}

/// One edition for each list of a policy, of one name that nobody has: for a policy that is only looked at.
pub(super) fn editions_of_one_name(policy: &Policy) -> Result<Vec<Edition>, String> {
    let parts: [(sheshi_policy::Format, &[u8]); 1] = [(sheshi_policy::Format::Domains, b"nobody.invalid\n")];
    let edition = |list| Edition::parse_parts(list, &parts, Some([0; 32])).map_err(|error| error.to_string());
    policy.lists.iter().map(edition).collect()
}

/// Age in seconds of the oldest list of these categories.
pub(super) fn oldest(round: &Round<'_>, categories: &[&str]) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let of = |name: &str| {
        let list = round.policy.lists().iter().find(|list| &*list.name == name)?;
        Some(&*round.policy.categories()[usize::from(list.category?.0)].name)
    };
    let ages = round.sight.lists().into_iter().filter(|list| of(&list.name).is_some_and(|c| categories.contains(&c)));
    ages.map(|list| now.saturating_sub(list.since) as i64).max().unwrap_or(0)
}

/// The record of the policy in force. Reads and sorts every list, so it is made once a generation, off the runtime.
pub(super) fn state(config: &Config, compiled: &Compiled) -> record::State {
    let policy = generations::read(&config.policy).ok();
    let mut lists: Vec<record::List> = compiled
        .lists()
        .iter()
        .filter(|list| !list.order)
        .map(|list| {
            let category = list.category.map(|category| &compiled.categories()[usize::from(category.0)]);
            // Names of secret lists are never gathered; the digest of what was read stands for them.
            let open = category.is_none_or(|info| !info.secret) && list.entries <= LARGEST;
            let names = if open { names(config, &list.name).ok() } else { None };
            let of_text = || Digest::of(list.digest.as_bytes());
            let spec = policy.as_ref().and_then(|policy| policy.lists.iter().find(|other| other.name == list.name));
            record::List {
                age_limit_s: spec.map_or(0, |list| list.max_age),
                category: category.map_or_else(|| "allowed".into(), |info| info.name.to_string()),
                digest: names.map_or_else(of_text, |names| names.digest()),
                edition: list.edition.to_string(),
                enforceable: u64::from(list.entries),
                entries: u64::from(list.entries) + list.refused.iter().map(|(_, count)| u64::from(*count)).sum::<u64>(),
                id: id(&list.name),
                licence: list.licence.to_string(),
            }
        })
        .collect();
    lists.sort_by(|one, other| one.id.cmp(&other.id));
    lists.dedup_by(|one, other| one.id == other.id);
    record::State {
        generation: compiled.generation(),
        lists,
        policy: Digest(compiled.digest()),
        software: ledger::software(),
    }
}
