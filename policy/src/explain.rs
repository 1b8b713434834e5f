//! Which list, line and rule decide about a name.

use std::fmt;

use serde::Serialize;

use crate::{
    Action, Compiled, GroupId, Moment, Rule,
    atom::{Atom, What},
    compiled::Place,
    name::{self, Folded},
    seen::{self, Seen, UNKNOWN},
};

/// Which list, line and rule decide about a name. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The name, in dotted lower-case form.
    pub name: String,
    /// For whom.
    pub group: String,
    /// `allow`, `block` or `rewrite`.
    pub action: &'static str,
    /// The kind of rule that decides.
    pub rule: Rule,
    /// The category, where a list decides.
    pub category: Option<String>,
    /// The list, where a list decides.
    pub list: Option<String>,
    /// That list's edition.
    pub edition: Option<String>,
    /// The line of that list, or of the policy, from 1.
    pub line: Option<u32>,
    /// The entry that matched: the name itself, a parent, or a pattern.
    pub entry: Option<String>,
    /// The reason in words.
    pub text: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}: {}: {}", self.name, self.group, self.action, self.text)?;
        if let Some(list) = &self.list {
            write!(f, ", list {list}")?;
        }
        if let Some(edition) = self.edition.as_deref().filter(|edition| !edition.is_empty()) {
            write!(f, " edition {edition}")?;
        }
        if let Some(line) = self.line {
            write!(f, "{}line {line}", if self.list.is_some() { " " } else { ", policy " })?;
        }
        match &self.entry {
            Some(entry) => write!(f, " ({entry})"),
            None => Ok(()),
        }
    }
}

impl Compiled {
    /// Which list, line and rule decide about a name. `name` as for [`Compiled::decide`].
    pub fn explain(&self, name: &[u8], group: GroupId, at: Moment) -> Explanation {
        let view = self.view(group, at);
        let (mut seen, mut found, mut unreadable) = (Seen::new(), Vec::new(), false);
        let folded = Folded::new(name);
        let verdict = match &folded {
            None => UNKNOWN,
            Some(folded) => {
                let collect = |atom: Atom, place: Place| {
                    seen.add(atom, place.labels(), &self.meta, &view);
                    found.push((atom.what, place));
                };
                self.look_up(folded, collect, &mut unreadable);
                seen.unreadable = unreadable;
                seen.settle(&self.meta, &view)
            }
        };
        let reason = verdict.reason;
        // The entry nearest to the name among those that can have decided.
        let deciding = found.iter().filter(|(what, _)| self.decides(*what, reason.rule, reason.list, at));
        let place = deciding.max_by_key(|(_, place)| place.labels()).map(|(what, place)| (*what, *place));
        let list = reason.list.and_then(|list| self.lists().get(usize::from(list)));
        let category = reason.category.and_then(|category| self.categories().get(usize::from(category.0)));
        let secret = category.is_some_and(|category| category.secret);
        let (entry, line) = match place {
            Some((_, place)) if !secret => self.entry(place),
            _ => (None, None),
        };
        Explanation {
            name: folded.as_ref().map_or_else(String::new, |name| name::dotted(name.all())),
            group: self.groups().get(usize::from(group.0)).map_or_else(String::new, |group| group.name.to_string()),
            action: match verdict.action {
                Action::Allow => "allow",
                Action::Block(_) => "block",
                Action::Alias(_) | Action::Addresses(_) => "rewrite",
            },
            rule: reason.rule,
            category: category.map(|category| category.name.to_string()),
            list: list.map(|list| list.name.to_string()),
            edition: list.map(|list| list.edition.to_string()),
            line,
            entry,
            text: match (&folded, unreadable) {
                (None, _) => "not a name".to_owned(),
                (_, true) => "part of the compiled policy cannot be read".to_owned(),
                _ => self.words(reason.rule, category.map(|category| &*category.title), place),
            },
        }
    }

    fn decides(&self, what: What, rule: Rule, list: Option<u16>, at: Moment) -> bool {
        match (rule, what) {
            (Rule::Locked | Rule::Category, What::Listed(from) | What::Important(from)) => Some(from) == list,
            (Rule::Order, What::Order(order)) => {
                self.meta.orders.get(usize::from(order)).map(|order| order.list) == list
                    && seen::order_holds(&self.meta, order, at)
            }
            (Rule::Exception, What::Exception(number)) => seen::exception_holds(&self.meta, number, at),
            (Rule::Deny, What::Deny) | (Rule::SafeSearch, What::Search(_)) => true,
            (Rule::Allow, What::Allow) => list.is_none(),
            (Rule::Allow, What::Welcome(from)) => Some(from) == list,
            _ => false,
        }
    }

    fn words(&self, rule: Rule, category: Option<&str>, place: Option<(What, Place)>) -> String {
        let category = category.unwrap_or("a category");
        match (rule, place) {
            (Rule::Locked, _) => format!("{category}, which is locked"),
            (Rule::Order, Some((What::Order(order), _))) => match self.meta.orders.get(usize::from(order)) {
                Some(order) => format!("legal order of {} ({})", order.body, order.basis),
                None => "legal order".to_owned(),
            },
            (Rule::Order, _) => "legal order".to_owned(),
            (Rule::Exception, Some((What::Exception(number), _))) => {
                match self.meta.exceptions.get(usize::from(number)) {
                    Some(exception) => {
                        format!("exception of {} until {}: {}", exception.owner, exception.expires, exception.reason)
                    }
                    None => "exception".to_owned(),
                }
            }
            (Rule::Exception, _) => "exception".to_owned(),
            (Rule::Deny, _) => "denied by the policy".to_owned(),
            (Rule::Allow, _) => "allowed by the policy".to_owned(),
            (Rule::SafeSearch, _) => "safe search".to_owned(),
            (Rule::Category, _) => category.to_owned(),
            (Rule::Default, _) => "nothing speaks against it".to_owned(),
        }
    }

    /// The entry at a place as people read it, and its line.
    fn entry(&self, place: Place) -> (Option<String>, Option<u32>) {
        match place {
            Place::Hashed => (None, None),
            Place::Pattern(number) => match self.meta.patterns.get(number) {
                Some(pattern) => (Some(format!("/{}/", pattern.regex)), Some(pattern.line).filter(|&line| line > 0)),
                None => (None, None),
            },
            Place::Table { bucket, place, atom, .. } => {
                let Some((labels, _)) = self.table().record(bucket, place) else { return (None, None) };
                (Some(name::dotted(&labels)), self.line(bucket, place, atom).filter(|&line| line > 0))
            }
        }
    }

    /// The line of an atom: the section has a start for each bucket, then one number for each atom, in the order of the
    /// table.
    fn line(&self, bucket: u32, place: u8, atom: usize) -> Option<u32> {
        let table = self.table();
        let section = self.lines();
        let start = section.get(bucket as usize * 4..)?.first_chunk().map(|start| u32::from_le_bytes(*start))?;
        let mut numbers = section.get(table.hot.len() / crate::table::BUCKET * 4 + start as usize..)?;
        for before in 0..place {
            let (_, set) = table.record(bucket, before)?;
            for _ in self.sets.get(set)? {
                read(&mut numbers)?;
            }
        }
        for _ in 0..atom {
            read(&mut numbers)?;
        }
        read(&mut numbers)
    }
}

/// Appends a number, seven bits an octet, the lowest first.
pub(crate) fn write(mut number: u32, section: &mut Vec<u8>) {
    while number >= 0x80 {
        section.push(number as u8 | 0x80);
        number >>= 7;
    }
    section.push(number as u8);
}

fn read(section: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let (&octet, rest) = section.split_first()?;
        *section = rest;
        number |= u32::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(number);
        }
    }
    None
}
