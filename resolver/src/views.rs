//! What policy and groups amount to now. Made anew when the policy is swapped and once a minute, not for each query.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, Guard};
use sheshi_policy::{Category, Compiled, GroupId, Moment, View};

use crate::stats::CATEGORIES;

/// Where the time of day comes from.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// While the time of day is unknown, views are made anew after this many seconds; else at each full minute.
const RENEW: u32 = 15;

/// One moment's policy. Whoever holds it answers by this generation and no other.
pub(crate) struct Snapshot {
    pub(crate) compiled: Arc<Compiled>,
    /// Counts changes of policy or views; what was judged in another epoch is judged again.
    pub(crate) epoch: u32,
    /// One for each group, and a last one, where every category is blocked, for clients of groups that the policy does not have.
    views: Vec<View>,
    has_networks: bool,
    /// For each category, the place of its name in [`Views::names`].
    places: Box<[u8]>,
    renew_at: u32,
}

impl Snapshot {
    fn new(
        compiled: Arc<Compiled>,
        at: Moment,
        before: Option<&Snapshot>,
        now: u32,
        names: &mut Vec<Box<str>>,
    ) -> Self {
        let places = compiled.categories().iter().map(|category| place(names, &category.name)).collect();
        let groups = (0..compiled.groups().len() as u16).chain([u16::MAX]);
        let views: Vec<_> = groups.map(|group| compiled.view(GroupId(group), at)).collect();
        let epoch = match before {
            Some(before) if Arc::ptr_eq(&before.compiled, &compiled) && before.views == views => before.epoch,
            Some(before) => before.epoch.wrapping_add(1).max(1),
            None => 1,
        };
        let to_minute = match at {
            Moment::At(time) => 60 - time.as_second().rem_euclid(60) as u32,
            Moment::Unknown => RENEW,
        };
        let has_networks = compiled.groups().iter().any(|group| !group.networks.is_empty());
        Self { compiled, epoch, views, has_networks, places, renew_at: now.saturating_add(to_minute) }
    }

    /// Where blocks of a category are counted.
    pub(crate) fn place(&self, category: Category) -> u8 {
        self.places.get(usize::from(category.0)).copied().unwrap_or(OTHERS)
    }

    /// The view of number `index`.
    pub(crate) fn view(&self, index: usize) -> &View {
        &self.views[index.min(self.views.len() - 1)]
    }

    /// The view of the group of this name; the strictest when the policy has no such group.
    pub(crate) fn by_name(&self, name: &str) -> usize {
        let groups = self.compiled.groups();
        groups.iter().position(|group| &*group.name == name).unwrap_or(groups.len())
    }

    /// The view of the first group whose networks hold `address`, else of the group for guests.
    pub(crate) fn by_network(&self, address: IpAddr) -> usize {
        if !self.has_networks {
            return 0;
        }
        let holds = |group: &sheshi_policy::Group| group.networks.iter().any(|network| network.contains(address));
        self.compiled.groups().iter().position(holds).unwrap_or(0)
    }
}

/// Where categories are counted for which there is no place left.
const OTHERS: u8 = CATEGORIES as u8 - 1;

/// The place of a category's name: names keep theirs when a new policy puts its categories in another order.
fn place(names: &mut Vec<Box<str>>, name: &str) -> u8 {
    match names.iter().position(|known| **known == *name) {
        Some(place) => place as u8,
        None if names.len() < usize::from(OTHERS) => {
            names.push(name.into());
            names.len() as u8 - 1
        }
        None => OTHERS,
    }
}

/// The snapshot in force.
pub(crate) struct Views {
    policy: Arc<ArcSwap<Compiled>>,
    clock: Clock,
    current: ArcSwap<Snapshot>,
    /// Names of categories by the place where they are counted; held while a snapshot is renewed.
    names: Mutex<Vec<Box<str>>>,
}

impl Views {
    pub(crate) fn new(policy: Arc<ArcSwap<Compiled>>, clock: Clock) -> Self {
        let mut names = Vec::new();
        let current = ArcSwap::from_pointee(Snapshot::new(policy.load_full(), clock(), None, 0, &mut names));
        Self { policy, clock, current, names: Mutex::new(names) }
    }

    /// The snapshot for `now` (seconds). Whoever comes first after a change makes the new one: no query that arrives after a
    /// swap of the policy is answered by the old one.
    pub(crate) fn current(&self, now: u32) -> Guard<Arc<Snapshot>> {
        let current = self.current.load();
        if self.holds(&current, now) {
            return current;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        if self.holds(&before, now) {
            return before;
        }
        let next = Snapshot::new(self.policy.load_full(), (self.clock)(), Some(&before), now, &mut names);
        self.current.store(Arc::new(next));
        self.current.load()
    }

    /// Names of the categories that have been in force since the start, by the place where they are counted.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        names.resize(CATEGORIES, "others".into());
        names
    }

    fn holds(&self, snapshot: &Snapshot, now: u32) -> bool {
        now < snapshot.renew_at && Arc::ptr_eq(&self.policy.load(), &snapshot.compiled)
    }
}
