//! The order of rules: from all that was found about a name to one verdict.

use jiff::Timestamp;

use crate::{
    Action, BlockAnswer, Category, Moment, Reason, Rule, Verdict, View, YouTube,
    atom::{Atom, Scope, What},
    meta::{Meta, Target},
    search,
};

/// Hits of lists that are kept. More are not dropped: see [`Seen::more`].
const HITS: usize = 24;

/// A pattern or a digest has no place among the labels: nothing stops it.
pub(crate) const NOWHERE: u8 = u8::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    Listed,
    Important,
    Spared,
    Stopped,
}

/// What a hit weighs: not locked, its category, its list; the least is the strongest.
type Strength = (bool, Category, u16);

/// All that was found about a name.
pub(crate) struct Seen {
    /// List, kind, and how many labels the entry has.
    hits: [(u16, Hit, u8); HITS],
    count: usize,
    /// The strongest of the hits that there was no room for. What a list takes back does not count for them, and is
    /// lost itself when there is no room: so that nothing is allowed by mistake.
    more: Option<Strength>,
    order: Option<u16>,
    exception: bool,
    deny: bool,
    allow: bool,
    welcome: Option<u16>,
    target: Option<u16>,
    above: bool,
    /// Part of the table could not be read.
    pub(crate) unreadable: bool,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            hits: [(0, Hit::Listed, 0); HITS],
            count: 0,
            more: None,
            order: None,
            exception: false,
            deny: false,
            allow: false,
            welcome: None,
            target: None,
            above: false,
            unreadable: false,
        }
    }

    /// Takes in what an entry of `labels` labels says. Exceptions and orders that are not in force say nothing.
    pub(crate) fn add(&mut self, atom: Atom, labels: u8, meta: &Meta, view: &View) {
        // What speaks of the name only leaves what is below as it is.
        self.above |= atom.scope == Scope::Exact;
        match atom.what {
            What::Listed(list) => self.hit(list, Hit::Listed, labels, meta, view),
            What::Important(list) => self.hit(list, Hit::Important, labels, meta, view),
            What::Spared(list) => self.hit(list, Hit::Spared, labels, meta, view),
            What::Stopped(list) => self.hit(list, Hit::Stopped, labels, meta, view),
            What::Welcome(list) => self.welcome = Some(self.welcome.map_or(list, |before| before.min(list))),
            What::Deny => self.deny = true,
            What::Allow => self.allow = true,
            What::Exception(number) => self.exception |= exception_holds(meta, number, view.at),
            What::Order(number) => {
                if order_holds(meta, number, view.at) {
                    self.order = Some(self.order.map_or(number, |before| before.min(number)));
                }
            }
            What::Search(target) => self.target = Some(target),
            What::Above => {}
        }
    }

    fn hit(&mut self, list: u16, hit: Hit, labels: u8, meta: &Meta, view: &View) {
        match self.hits.get_mut(self.count) {
            Some(place) => {
                *place = (list, hit, labels);
                self.count += 1;
            }
            None if matches!(hit, Hit::Listed | Hit::Important) => {
                self.more = stronger(self.more, strength(meta, view.blocked, list));
            }
            None => {}
        }
    }

    /// The category and list that block by list: the first of each, a locked category before all.
    fn listed(&self, meta: &Meta, blocked: u128) -> Option<Strength> {
        let hits = &self.hits[..self.count];
        let mut best = self.more;
        for &(list, hit, labels) in hits {
            if matches!(hit, Hit::Listed | Hit::Important) && !taken_back(hits, list, hit, labels) {
                best = stronger(best, strength(meta, blocked, list));
            }
        }
        best
    }

    /// The verdict. The order of the steps is the order of [`Rule`].
    pub(crate) fn settle(&self, meta: &Meta, view: &View) -> Verdict {
        let listed = if self.count == 0 { None } else { self.listed(meta, view.blocked) };
        let from_list = |rule, category: Category, list| {
            let answer = meta.categories.get(usize::from(category.0)).map_or(BlockAnswer::Nxdomain, |info| info.answer);
            self.block(rule, answer, Some(category), Some(list))
        };
        if let Some((false, category, list)) = listed {
            return from_list(Rule::Locked, category, list);
        }
        if let Some(order) = self.order.and_then(|order| meta.orders.get(usize::from(order)))
            && let Some(category) = meta.lists.get(usize::from(order.list)).and_then(|list| list.category)
        {
            return from_list(Rule::Order, category, order.list);
        }
        // Before anything can allow: what could not be read may have been a locked name or an order.
        if self.unreadable {
            return UNKNOWN;
        }
        if self.exception {
            return allow(Rule::Exception, None);
        }
        if self.deny {
            return self.block(Rule::Deny, BlockAnswer::Nxdomain, None, None);
        }
        if self.allow || self.welcome.is_some() {
            return allow(Rule::Allow, if self.allow { None } else { self.welcome });
        }
        if let Some(target) = self.target.and_then(|target| meta.targets.get(usize::from(target)))
            && let Some(action) = self.search(target, meta, view)
        {
            return Verdict { action, reason: Reason { rule: Rule::SafeSearch, category: None, list: None } };
        }
        if let Some((_, category, list)) = listed {
            return from_list(Rule::Category, category, list);
        }
        allow(Rule::Default, None)
    }

    fn search(&self, target: &Target, meta: &Meta, view: &View) -> Option<Action> {
        let group = meta.groups.get(usize::from(view.group.0));
        // A group that does not exist is held to the strictest.
        let (safe, youtube) = group.map_or((true, YouTube::Strict), |group| (group.safe_search, group.youtube));
        if !safe {
            return None;
        }
        let alias = |name: &str| crate::name::Name::parse(name).ok().map(|name| Action::Alias(name.wire()));
        match target {
            Target::Alias(_, wire) => Some(Action::Alias(wire.clone())),
            Target::YouTube => match youtube {
                YouTube::Off => None,
                YouTube::Moderate => alias(search::YOUTUBE_MODERATE),
                YouTube::Strict => alias(search::YOUTUBE_STRICT),
            },
            Target::Addresses(addresses) => Some(Action::Addresses(addresses.clone())),
            Target::Block => Some(Action::Block(self.answer(BlockAnswer::Nxdomain))),
        }
    }

    fn block(&self, rule: Rule, answer: BlockAnswer, category: Option<Category>, list: Option<u16>) -> Verdict {
        Verdict { action: Action::Block(self.answer(answer)), reason: Reason { rule, category, list } }
    }

    /// NXDOMAIN says that nothing exists below (RFC 8020): not said where something below may be allowed.
    fn answer(&self, answer: BlockAnswer) -> BlockAnswer {
        if self.above && answer == BlockAnswer::Nxdomain { BlockAnswer::NullAddress } else { answer }
    }
}

/// What is said when it cannot be known whether a name is listed, or when it is no name.
pub(crate) const UNKNOWN: Verdict = Verdict {
    action: Action::Block(BlockAnswer::Nxdomain),
    reason: Reason { rule: Rule::Default, category: None, list: None },
};

fn allow(rule: Rule, list: Option<u16>) -> Verdict {
    Verdict { action: Action::Allow, reason: Reason { rule, category: None, list } }
}

/// What a list weighs; `None` when its category is neither locked nor blocked now.
fn strength(meta: &Meta, blocked: u128, list: u16) -> Option<Strength> {
    let category = meta.lists.get(usize::from(list))?.category?;
    let locked = meta.categories.get(usize::from(category.0))?.locked;
    (locked || blocked & 1 << (category.0 & 127) != 0).then_some((!locked, category, list))
}

fn stronger(one: Option<Strength>, other: Option<Strength>) -> Option<Strength> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether the same list takes an entry back: an exception anywhere on the way down, except from an important entry; or
/// a stop further down than the entry.
fn taken_back(hits: &[(u16, Hit, u8)], list: u16, hit: Hit, labels: u8) -> bool {
    hits.iter().any(|&(other, kind, at)| {
        other == list
            && match kind {
                Hit::Spared => hit != Hit::Important,
                Hit::Stopped => labels != NOWHERE && at > labels,
                Hit::Listed | Hit::Important => false,
            }
    })
}

/// Whether an exception is in force; not while the time is unknown.
pub(crate) fn exception_holds(meta: &Meta, number: u16, at: Moment) -> bool {
    let Some(exception) = meta.exceptions.get(usize::from(number)) else { return false };
    matches!(at, Moment::At(now) if now < exception.expires)
}

/// Whether an order is in force; always while the time is unknown.
pub(crate) fn order_holds(meta: &Meta, number: u16, at: Moment) -> bool {
    let Some(order) = meta.orders.get(usize::from(number)) else { return true };
    let within = |now: Timestamp| order.from <= now && order.until.is_none_or(|until| now < until);
    match at {
        Moment::At(now) => within(now),
        Moment::Unknown => true,
    }
}
