//! Checks a policy as a whole: what it names exists, and its parts agree.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::{
    DATE, Field, Spec, SpecCategory, SpecGroup, SpecList,
    builtin::{self, CATEGORIES, CSAM, ORDERS},
    path,
};
use crate::{
    Category, CategoryInfo, Format, Group, Network, Policy, Problem, Problems, YouTube,
    name::Name,
    policy::{Exception, List, Order, Organisation, Scoped, Source},
    read::nearest,
    schedule::Schedule,
};

const ZONE: &str = "Europe/Tirane";
const GUEST: &str = "guest";
const DAY: u64 = 86_400;
const MOST_CATEGORIES: usize = 100;
const MOST_LISTS: usize = 1000;
const MOST_GROUPS: usize = 64;
const MOST_EXCEPTIONS: usize = 1000;

impl Policy {
    /// Reads and checks a policy; every problem of both at once.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let (spec, mut problems) = Spec::read(text);
        let policy = spec.resolve(&mut problems);
        if problems.is_empty() { Ok(policy) } else { Err(Problems::sorted(problems)) }
    }
}

impl Spec {
    /// Checks a policy as a whole; every problem at once.
    pub fn check(&self) -> Result<Policy, Problems> {
        let mut problems = Vec::new();
        let policy = self.resolve(&mut problems);
        if problems.is_empty() { Ok(policy) } else { Err(Problems::sorted(problems)) }
    }

    fn resolve(&self, problems: &mut Vec<Problem>) -> Policy {
        let schedules = self.schedules();
        let used = self.categories_used();
        let (categories, scheduled) = self.categories(&used, problems);
        let find = |name: &str| categories.iter().position(|info| &*info.name == name).map(|n| Category(n as u8));
        let lists: Vec<List> = self.lists.iter().filter_map(|list| self.list(list, &find, problems)).collect();
        let listed = |category: Category| lists.iter().any(|list| list.category == Some(category));
        let locked = |category: Category| categories[usize::from(category.0)].locked;
        let all: Vec<Category> = (0..categories.len() as u8).map(Category).collect();
        let default: Vec<Category> = all.iter().copied().filter(|&n| listed(n) || locked(n)).collect();
        let floor: Vec<Category> = all.iter().copied().filter(|&category| locked(category)).collect();
        let groups = self.groups(&find, &default, &floor, &categories, problems);
        limit(&self.lists.iter().map(|list| &list.name).collect::<Vec<_>>(), MOST_LISTS, "lists", problems);
        limit(&self.groups.iter().map(|group| &group.name).collect::<Vec<_>>(), MOST_GROUPS, "groups", problems);
        let mut signals = Vec::new();
        if self.browser_dns {
            signals.push("use-application-dns.net");
        }
        if self.private_relay {
            signals.extend(["mask.icloud.com", "mask-h2.icloud.com", "mask-api.icloud.com"]);
        }
        let numbered = |names: &[Field<Scoped>]| -> Vec<(Scoped, u32)> {
            names.iter().map(|name| (name.value.clone(), name.line as u32)).collect()
        };
        Policy {
            generation: self.generation,
            organisation: self.organisation(),
            exceptions: self.exceptions(problems),
            orders: self.orders(problems),
            groups,
            lists,
            scheduled,
            schedules,
            categories,
            allow: numbered(&self.allow),
            deny: numbered(&self.deny),
            engines: self.engines.clone().unwrap_or_else(|| builtin::engines().collect()),
            other_engines: self.other_engines,
            signals: if self.is_bare() { Vec::new() } else { signals },
            canary_zone: self.canary_zone.clone(),
            strip_ech: self.strip_ech,
        }
    }

    /// Made by [`Spec::blocking`]: no safe search, no signals.
    fn is_bare(&self) -> bool {
        self.engines.as_ref().is_some_and(Vec::is_empty) && !self.other_engines
    }

    fn organisation(&self) -> Organisation {
        let Some(organisation) = &self.organisation else { return Organisation::default() };
        Organisation {
            name: organisation.name.as_ref().map_or("", |name| &name.value).into(),
            contact: organisation.contact.iter().map(|contact| contact.value.as_str().into()).collect(),
        }
    }

    fn schedules(&self) -> Vec<Schedule> {
        let zone = |own: &Option<Field<String>>| {
            own.as_ref().or(self.time_zone.as_ref()).map_or(ZONE, |zone| &zone.value).into()
        };
        let schedule = |schedule: &super::SpecSchedule| Schedule {
            zone: zone(&schedule.time_zone),
            windows: schedule.windows.iter().map(|window| window.value).collect(),
        };
        self.schedules.iter().map(schedule).collect()
    }

    /// Names of categories that something of the policy needs: declared, of a list, or of a group.
    fn categories_used(&self) -> Vec<&str> {
        let declared = self.categories.iter().map(|category| category.name.value.as_str());
        let listed = self.lists.iter().filter_map(|list| list.category.as_ref()).map(|name| name.value.as_str());
        let grouped = self.groups.iter().filter_map(|group| group.categories.as_ref()).flatten();
        declared.chain(listed).chain(grouped.map(|name| name.value.as_str())).collect()
    }

    /// Categories known to everybody that are used, in their order, then declared ones, in the order of the policy.
    fn categories(&self, used: &[&str], problems: &mut Vec<Problem>) -> (Vec<CategoryInfo>, Vec<Option<usize>>) {
        let declared = |name: &str| self.categories.iter().find(|category| category.name.value == name);
        let (mut infos, mut scheduled) = (Vec::new(), Vec::new());
        for category in &CATEGORIES {
            if used.contains(&category.name) {
                let (info, schedule) = self.category(category.name, category.title, declared(category.name), problems);
                infos.push(info);
                scheduled.push(schedule);
            }
        }
        for category in &self.categories {
            if CATEGORIES.iter().all(|builtin| builtin.name != category.name.value) {
                let name = &category.name.value;
                let title = if name == ORDERS { "Legal order" } else { name };
                let (info, schedule) = self.category(name, title, Some(category), problems);
                infos.push(info);
                scheduled.push(schedule);
            }
        }
        limit(
            &self.categories.iter().map(|category| &category.name).collect::<Vec<_>>(),
            MOST_CATEGORIES,
            "categories",
            problems,
        );
        infos.truncate(127);
        scheduled.truncate(127);
        (infos, scheduled)
    }

    fn category(
        &self,
        name: &str,
        title: &str,
        spec: Option<&SpecCategory>,
        problems: &mut Vec<Problem>,
    ) -> (CategoryInfo, Option<usize>) {
        let (answer, ede) = builtin::answer(name);
        let mut info = CategoryInfo {
            name: name.into(),
            title: title.into(),
            locked: name == CSAM,
            secret: name == CSAM,
            answer,
            ede,
        };
        let Some(spec) = spec else { return (info, None) };
        for flag in [&spec.locked, &spec.secret].into_iter().flatten() {
            if name == CSAM && !flag.value {
                problems.push(flag.problem("cannot be false", "remove the line: csam is always locked and secret"));
            }
        }
        let set = |own: bool, flag: &Option<Field<bool>>| own || flag.as_ref().is_some_and(|flag| flag.value);
        info.locked = set(info.locked, &spec.locked);
        info.secret = set(info.secret, &spec.secret);
        if let Some(title) = &spec.title {
            info.title = title.value.as_str().into();
        }
        if let Some(answer) = &spec.answer {
            info.answer = answer.value;
        }
        match &spec.ede {
            Some(ede) if ede.value == 15 || ede.value == 16 => info.ede = ede.value as u16,
            Some(ede) => {
                let right = "write 15 (own policy) or 16 (required by others)";
                problems.push(ede.problem(format!("{} is no code for a block", ede.value), right));
            }
            None => {}
        }
        let schedule = spec.schedule.as_ref().and_then(|name| self.schedule(name, problems));
        if let (Some(name), true) = (&spec.schedule, info.locked) {
            problems.push(name.problem("is on a locked category", "remove it: the floor holds at every time"));
            return (info, None);
        }
        (info, schedule)
    }

    fn schedule(&self, name: &Field<String>, problems: &mut Vec<Problem>) -> Option<usize> {
        let found = self.schedules.iter().position(|schedule| schedule.name.value == name.value);
        if found.is_none() {
            let names: Vec<&str> = self.schedules.iter().map(|schedule| schedule.name.value.as_str()).collect();
            let right = did_you_mean(&name.value, &names, &format!("add a section [schedule.{}]", name.value));
            problems.push(name.problem(format!("there is no schedule \"{}\"", name.value), right));
        }
        found
    }

    fn list(
        &self,
        list: &SpecList,
        find: &dyn Fn(&str) -> Option<Category>,
        problems: &mut Vec<Problem>,
    ) -> Option<List> {
        let before = problems.len();
        let category = match (&list.category, list.welcome) {
            (Some(category), true) => {
                problems.push(category.problem("is on a list with use = \"allow\"", "remove one of the two"));
                None
            }
            (None, true) => None,
            (None, false) => {
                let right = "write category = \"…\", for instance \"adult\"";
                problems.push(list.name.problem("has no category", right));
                None
            }
            (Some(category), false) => self.known_category(category, find, problems),
        };
        let source = match (&list.file, &list.url) {
            (Some(_), Some(url)) => {
                problems.push(url.problem("is given beside a file", "keep one of file and url"));
                None
            }
            (None, None) => {
                problems.push(list.name.problem("has no source", "write file = \"…\" or url = \"https://…\""));
                None
            }
            (Some(file), None) if file.value.is_empty() => {
                problems.push(file.problem("is empty", "write the path of the list, relative to the policy's folder"));
                None
            }
            (Some(file), None) => Some(Source::File(path(file))),
            (None, Some(url)) if !url.value.starts_with("https://") => {
                problems.push(url.problem("is not an https address", "write url = \"https://…\""));
                None
            }
            (None, Some(url)) => Some(Source::Url(url.value.clone())),
        };
        let format = list.format.as_ref().map_or(Format::Auto, |format| format.value);
        if format == Format::Hashed && list.key_file.is_none() {
            problems.push(list.name.problem("is hashed and has no key", "write key_file = \"…\""));
        }
        if list.welcome && matches!(format, Format::Hashed | Format::Regex | Format::Addresses) {
            let right = "give allowed names as names: use = \"allow\" is for lists of names";
            problems.push(list.name.problem("allows by something else than names", right));
        }
        let names = |names: &[Field<Name>]| names.iter().map(|name| name.value.clone()).collect();
        let seconds = |field: &Option<Field<u64>>, default| field.as_ref().map_or(default, |field| field.value);
        Some(List {
            name: list.name.value.as_str().into(),
            category,
            source: source.filter(|_| problems.len() == before)?,
            format,
            subdomains: list.subdomains.as_ref().is_none_or(|flag| flag.value),
            key_file: list.key_file.as_ref().map(path),
            must_block: names(&list.must_block),
            must_allow: names(&list.must_allow),
            max_age: seconds(&list.max_age, 14 * DAY),
            every: seconds(&list.every, DAY),
            private_addresses: list.private_addresses.as_ref().is_some_and(|flag| flag.value),
            licence: list.licence.as_ref().map_or("", |licence| &licence.value).into(),
        })
    }

    fn known_category(
        &self,
        name: &Field<String>,
        find: &dyn Fn(&str) -> Option<Category>,
        problems: &mut Vec<Problem>,
    ) -> Option<Category> {
        let found = find(&name.value);
        if found.is_none() {
            let known = CATEGORIES.iter().map(|category| category.name);
            let known: Vec<&str> =
                known.chain(self.categories.iter().map(|category| category.name.value.as_str())).collect();
            let right = did_you_mean(&name.value, &known, &format!("declare it: [category.{}]", name.value));
            problems.push(name.problem(format!("there is no category \"{}\"", name.value), right));
        }
        found
    }

    fn groups(
        &self,
        find: &dyn Fn(&str) -> Option<Category>,
        default: &[Category],
        floor: &[Category],
        categories: &[CategoryInfo],
        problems: &mut Vec<Problem>,
    ) -> Vec<Group> {
        let bare = Group {
            name: GUEST.into(),
            title: "Guests".into(),
            networks: Vec::new(),
            interfaces: Vec::new(),
            role: None,
            categories: default.to_vec(),
            safe_search: !self.is_bare(),
            youtube: if self.is_bare() { YouTube::Off } else { YouTube::Moderate },
        };
        let mut groups = Vec::new();
        let (guest, others): (Vec<_>, Vec<_>) = self.groups.iter().partition(|group| group.name.value == GUEST);
        if guest.is_empty() {
            groups.push(bare);
        }
        for group in guest.into_iter().chain(others) {
            groups.push(self.group(group, find, default, floor, categories, problems));
        }
        let mut seen: BTreeMap<Network, &str> = BTreeMap::new();
        for group in &self.groups {
            for network in &group.networks {
                if let Some(other) = seen.insert(network.value, &group.name.value)
                    && other != group.name.value
                {
                    let wrong = format!("{} belongs to group \"{other}\" already", network.value);
                    problems.push(network.problem(wrong, "give each network to one group"));
                }
            }
        }
        groups
    }

    fn group(
        &self,
        group: &SpecGroup,
        find: &dyn Fn(&str) -> Option<Category>,
        default: &[Category],
        floor: &[Category],
        categories: &[CategoryInfo],
        problems: &mut Vec<Problem>,
    ) -> Group {
        let chosen = match &group.categories {
            None => default.to_vec(),
            Some(names) => {
                let mut chosen: Vec<Category> =
                    names.iter().filter_map(|name| self.known_category(name, find, problems)).collect();
                chosen.extend(floor);
                chosen.sort_unstable();
                chosen.dedup();
                for name in names {
                    let without = find(&name.value)
                        .filter(|category| !default.contains(category) && usize::from(category.0) < categories.len());
                    if without.is_some() {
                        let right = format!("add a list with category = \"{0}\", or remove \"{0}\" here", name.value);
                        problems.push(name.problem(format!("category \"{}\" has no list", name.value), right));
                    }
                }
                chosen
            }
        };
        let safe_search = group.safe_search.as_ref().is_none_or(|flag| flag.value);
        let youtube = group.youtube.as_ref().map_or(YouTube::Moderate, |youtube| youtube.value);
        Group {
            name: group.name.value.as_str().into(),
            title: group.title.as_ref().map_or(group.name.value.as_str(), |title| &title.value).into(),
            networks: group.networks.iter().map(|network| network.value).collect(),
            interfaces: group.interfaces.iter().map(|interface| interface.value.as_str().into()).collect(),
            role: group.role.as_ref().map(|role| role.value.as_str().into()),
            categories: chosen,
            safe_search,
            youtube: if safe_search { youtube } else { YouTube::Off },
        }
    }

    fn exceptions(&self, problems: &mut Vec<Problem>) -> Vec<Exception> {
        if let Some(exception) = self.exceptions.get(MOST_EXCEPTIONS) {
            let wrong = format!("is one of {} exceptions", self.exceptions.len());
            let right = format!("keep at most {MOST_EXCEPTIONS}; what holds for good belongs into `allow`");
            problems.push(exception.here.problem(wrong, right));
        }
        let mut exceptions = Vec::new();
        for exception in &self.exceptions {
            let expires = exception.expires.as_ref().and_then(|field| self.moment(field, true, problems));
            let (Some(name), Some(owner), Some(reason), Some(expires)) =
                (&exception.name, &exception.owner, &exception.reason, expires)
            else {
                continue;
            };
            exceptions.push(Exception {
                name: name.value.clone(),
                owner: owner.value.as_str().into(),
                reason: reason.value.as_str().into(),
                expires,
                line: name.line as u32,
            });
        }
        exceptions
    }

    fn orders(&self, problems: &mut Vec<Problem>) -> Vec<Order> {
        let mut orders = Vec::new();
        for order in &self.orders {
            let from = order.date.as_ref().and_then(|field| self.moment(field, false, problems));
            let until = order.until.as_ref().and_then(|field| self.moment(field, true, problems));
            if let (Some(field), Some(from), Some(until)) = (&order.until, from, until)
                && until <= from
            {
                problems.push(field.problem("is before the order's date", "write the day on which the order ends"));
            }
            let (Some(number), Some(body), Some(basis), Some(date), Some(from)) =
                (&order.number, &order.body, &order.basis, &order.date, from)
            else {
                continue;
            };
            orders.push(Order {
                names: order.names.iter().map(|name| (name.value.clone(), name.line as u32)).collect(),
                number: number.value.as_str().into(),
                body: body.value.as_str().into(),
                basis: basis.value.as_str().into(),
                day: date.value.chars().take("2026-01-01".len()).collect(),
                from,
                until,
            });
        }
        orders
    }

    /// A date or time as a moment: of a date its start, or, for the end of something, the start of the day after.
    fn moment(&self, field: &Field<String>, end: bool, problems: &mut Vec<Problem>) -> Option<Timestamp> {
        let moment = self.read_moment(&field.value, end);
        if moment.is_none() {
            problems.push(field.problem(format!("\"{}\" is not a date", field.value), DATE));
        }
        moment
    }

    fn read_moment(&self, text: &str, end: bool) -> Option<Timestamp> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment);
        }
        let zone = self.time_zone.as_ref().map_or(ZONE, |zone| &zone.value);
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let local = if text.len() > 10 {
            text.parse::<civil::DateTime>().ok()?
        } else {
            let date = text.parse::<civil::Date>().ok()?;
            let date = if end { date.checked_add(1.day()).ok()? } else { date };
            date.at(0, 0, 0, 0)
        };
        Some(local.to_zoned(zone).ok()?.timestamp())
    }
}

fn did_you_mean(text: &str, words: &[&str], otherwise: &str) -> String {
    match nearest(text, words) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => otherwise.to_owned(),
    }
}

fn limit(names: &[&Field<String>], most: usize, what: &str, problems: &mut Vec<Problem>) {
    if let Some(first) = names.get(most) {
        problems.push(first.problem(format!("is one of {} {what}", names.len()), format!("keep at most {most}")));
    }
}
