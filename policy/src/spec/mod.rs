//! The policy as the admin writes it: docs/policy-format.md.

use std::path::{Path, PathBuf};

use crate::{
    BlockAnswer, Format, Network, Problem, Problems, YouTube,
    name::{Name, NotAName},
    policy::Scoped,
    schedule::{WINDOW, Window},
};

mod builtin;
mod check;
#[cfg(test)]
mod tests;

use crate::read::{self, Field, Section, choose};

/// A policy as written: well-formed, not yet checked as a whole.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    generation: u64,
    time_zone: Option<Field<String>>,
    allow: Vec<Field<Scoped>>,
    deny: Vec<Field<Scoped>>,
    organisation: Option<SpecOrganisation>,
    categories: Vec<SpecCategory>,
    lists: Vec<SpecList>,
    groups: Vec<SpecGroup>,
    schedules: Vec<SpecSchedule>,
    exceptions: Vec<SpecException>,
    orders: Vec<SpecOrder>,
    engines: Option<Vec<&'static str>>,
    other_engines: bool,
    browser_dns: bool,
    private_relay: bool,
    strip_ech: bool,
    canary_zone: Option<Name>,
}

#[derive(Debug, Clone)]
struct SpecOrganisation {
    name: Option<Field<String>>,
    contact: Vec<Field<String>>,
}

#[derive(Debug, Clone)]
struct SpecCategory {
    name: Field<String>,
    title: Option<Field<String>>,
    locked: Option<Field<bool>>,
    answer: Option<Field<BlockAnswer>>,
    ede: Option<Field<u64>>,
    secret: Option<Field<bool>>,
    schedule: Option<Field<String>>,
}

#[derive(Debug, Clone)]
struct SpecList {
    name: Field<String>,
    category: Option<Field<String>>,
    file: Option<Field<String>>,
    url: Option<Field<String>>,
    private_addresses: Option<Field<bool>>,
    format: Option<Field<Format>>,
    /// Its names are allowed, not blocked.
    welcome: bool,
    subdomains: Option<Field<bool>>,
    key_file: Option<Field<String>>,
    must_block: Vec<Field<Name>>,
    must_allow: Vec<Field<Name>>,
    max_age: Option<Field<u64>>,
    every: Option<Field<u64>>,
    licence: Option<Field<String>>,
}

#[derive(Debug, Clone)]
struct SpecGroup {
    name: Field<String>,
    title: Option<Field<String>>,
    networks: Vec<Field<Network>>,
    interfaces: Vec<Field<String>>,
    role: Option<Field<String>>,
    categories: Option<Vec<Field<String>>>,
    safe_search: Option<Field<bool>>,
    youtube: Option<Field<YouTube>>,
}

#[derive(Debug, Clone)]
struct SpecSchedule {
    name: Field<String>,
    windows: Vec<Field<Window>>,
    time_zone: Option<Field<String>>,
}

#[derive(Debug, Clone)]
struct SpecException {
    here: Field<()>,
    name: Option<Field<Scoped>>,
    owner: Option<Field<String>>,
    reason: Option<Field<String>>,
    expires: Option<Field<String>>,
}

#[derive(Debug, Clone)]
struct SpecOrder {
    names: Vec<Field<Scoped>>,
    number: Option<Field<String>>,
    body: Option<Field<String>>,
    date: Option<Field<String>>,
    basis: Option<Field<String>>,
    until: Option<Field<String>>,
}

/// What a date should look like.
const DATE: &str = "write a date such as 2027-03-31, or a time such as 2027-03-31T12:00:00Z";

impl Spec {
    /// Reads a policy; every problem at once.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let (spec, problems) = Self::read(text);
        if problems.is_empty() { Ok(spec) } else { Err(Problems::sorted(problems)) }
    }

    /// Reads what can be read, and says what cannot.
    fn read(text: &str) -> (Self, Vec<Problem>) {
        read::document(text, Self::top)
    }

    fn top(top: &mut Section<'_, '_>) -> Self {
        let version = [(1u64, ())];
        match top.integer("version") {
            Some(found) if version.iter().all(|(version, ())| *version != found.value) => {
                let wrong = format!("{} is a version that this sheshi does not read", found.value);
                top.note(found.problem(wrong, "write version = 1"));
            }
            None if !top.has("version") => top.missing("version", "write version = 1 as the first line"),
            _ => {}
        }
        let mut spec = Self {
            generation: top.integer("generation").map_or(0, |field| field.value),
            time_zone: top.parsed("time_zone", zone),
            allow: top.list("allow", scoped).unwrap_or_default(),
            deny: top.list("deny", scoped).unwrap_or_default(),
            organisation: top.section("organisation", |section| SpecOrganisation {
                name: section.text("name"),
                contact: section.list("contact", contact).unwrap_or_default(),
            }),
            categories: top.named("category", category),
            lists: top.named("list", list),
            groups: top.named("group", group),
            schedules: top.named("schedule", schedule),
            exceptions: top.repeated("exception", exception),
            orders: top.repeated("order", order),
            other_engines: true,
            browser_dns: true,
            private_relay: true,
            ..Self::default()
        };
        let block = [("block", true), ("allow", false)];
        let off = [("off", true), ("allow", false)];
        if let Some((engines, others)) = top.section("safe_search", |section| {
            let names: Vec<(&str, &'static str)> = builtin::engines().map(|name| (name, name)).collect();
            (section.list("engines", |text| choose(text, &names)), section.choice("others", &block))
        }) {
            spec.engines = engines.map(|engines| engines.into_iter().map(|engine| engine.value).collect());
            spec.other_engines = others.is_none_or(|others| others.value);
        }
        let kept = [("keep", false), ("strip", true)];
        if let Some((browser_dns, private_relay, ech)) = top.section("signals", |section| {
            (section.choice("browser_dns", &off), section.choice("private_relay", &off), section.choice("ech", &kept))
        }) {
            spec.browser_dns = browser_dns.is_none_or(|field| field.value);
            spec.private_relay = private_relay.is_none_or(|field| field.value);
            spec.strip_ech = ech.is_some_and(|field| field.value);
        }
        spec.canary_zone =
            top.section("canary", |section| section.parsed("zone", name)).flatten().map(|zone| zone.value);
        spec
    }

    /// A policy that blocks these categories by these files, with nothing else in it: for trying out, without safe
    /// search or signals.
    pub fn blocking<'a>(blocks: impl IntoIterator<Item = (&'a str, &'a Path)>) -> Self {
        let field = |value: &str, path: &str| Field { value: value.to_owned(), path: path.to_owned(), line: 0 };
        let mut spec = Self { engines: Some(Vec::new()), ..Self::default() };
        for (number, (category, file)) in blocks.into_iter().enumerate() {
            if spec.categories.iter().all(|known| known.name.value != category) {
                spec.categories.push(SpecCategory {
                    name: field(category, "category"),
                    title: None,
                    locked: None,
                    answer: None,
                    ede: None,
                    secret: None,
                    schedule: None,
                });
            }
            spec.lists.push(SpecList {
                name: field(&format!("{category}-{}", number + 1), "list"),
                category: Some(field(category, "category")),
                file: Some(field(&file.to_string_lossy(), "file")),
                url: None,
                private_addresses: None,
                format: None,
                welcome: false,
                subdomains: None,
                key_file: None,
                must_block: Vec::new(),
                must_allow: Vec::new(),
                max_age: None,
                every: None,
                licence: None,
            });
        }
        spec
    }
}

fn category(name: Field<String>, section: &mut Section<'_, '_>) -> SpecCategory {
    let answers = [
        ("nxdomain", BlockAnswer::Nxdomain),
        ("null-address", BlockAnswer::NullAddress),
        ("block-page", BlockAnswer::BlockPage),
    ];
    SpecCategory {
        name,
        title: section.text("title"),
        locked: section.flag("locked"),
        answer: section.choice("answer", &answers),
        ede: section.integer("ede"),
        secret: section.flag("secret"),
        schedule: section.text("schedule"),
    }
}

fn list(name: Field<String>, section: &mut Section<'_, '_>) -> SpecList {
    let formats = [
        ("auto", Format::Auto),
        ("hosts", Format::Hosts),
        ("domains", Format::Domains),
        ("adblock", Format::Adblock),
        ("dnsmasq", Format::Dnsmasq),
        ("unbound", Format::Unbound),
        ("rpz", Format::Rpz),
        ("ut1", Format::Ut1),
        ("regex", Format::Regex),
        ("hashed", Format::Hashed),
        ("addresses", Format::Addresses),
    ];
    SpecList {
        name,
        category: section.text("category"),
        file: section.text("file"),
        url: section.text("url"),
        private_addresses: section.flag("private_addresses"),
        format: section.choice("format", &formats),
        welcome: section.choice("use", &[("block", false), ("allow", true)]).is_some_and(|field| field.value),
        subdomains: section.flag("subdomains"),
        key_file: section.text("key_file"),
        must_block: section.list("must_block", self::name).unwrap_or_default(),
        must_allow: section.list("must_allow", self::name).unwrap_or_default(),
        max_age: section.parsed("max_age", duration),
        every: section.parsed("every", duration),
        licence: section.text("licence"),
    }
}

fn group(name: Field<String>, section: &mut Section<'_, '_>) -> SpecGroup {
    let youtube = [("off", YouTube::Off), ("moderate", YouTube::Moderate), ("strict", YouTube::Strict)];
    SpecGroup {
        name,
        title: section.text("title"),
        networks: section.list("networks", network).unwrap_or_default(),
        interfaces: section.list("interfaces", any).unwrap_or_default(),
        role: section.text("role"),
        categories: section.list("categories", any),
        safe_search: section.flag("safe_search"),
        youtube: section.choice("youtube", &youtube),
    }
}

fn schedule(name: Field<String>, section: &mut Section<'_, '_>) -> SpecSchedule {
    if !section.has("windows") {
        section.missing("windows", WINDOW);
    }
    let window = |text: &str| {
        Window::parse(text).ok_or_else(|| (format!("\"{text}\" is not a window of time"), WINDOW.to_owned()))
    };
    SpecSchedule {
        name,
        windows: section.list("windows", window).unwrap_or_default(),
        time_zone: section.parsed("time_zone", zone),
    }
}

fn exception(section: &mut Section<'_, '_>) -> SpecException {
    if !section.has("name") {
        section.missing("name", "say which name is excepted");
    }
    if !section.has("expires") {
        section.missing("expires", DATE);
    }
    SpecException {
        here: section.here(),
        name: section.parsed("name", scoped),
        owner: section.required_text("owner", "say who answers for it"),
        reason: section.required_text("reason", "say why"),
        expires: section.time("expires", DATE),
    }
}

fn order(section: &mut Section<'_, '_>) -> SpecOrder {
    for (key, right) in [("names", "say which names are ordered blocked"), ("date", DATE)] {
        if !section.has(key) {
            section.missing(key, right);
        }
    }
    SpecOrder {
        names: section.list("names", scoped).unwrap_or_default(),
        number: section.required_text("number", "give the order's number"),
        body: section.required_text("body", "say who ordered it"),
        date: section.time("date", DATE),
        basis: section.required_text("basis", "give the legal basis"),
        until: section.time("until", DATE),
    }
}

type Parsed<T> = Result<T, (String, String)>;

fn any(text: &str) -> Parsed<String> {
    Ok(text.to_owned())
}

fn no_name(text: &str, error: NotAName) -> (String, String) {
    let right = match error {
        NotAName::Address => "write a name such as example.org; addresses go into a list with format = \"addresses\"",
        _ => "write a name such as example.org, without https:// and without a path",
    };
    (format!("\"{text}\" {error}"), right.to_owned())
}

fn scoped(text: &str) -> Parsed<Scoped> {
    Scoped::parse(text).map_err(|error| no_name(text, error))
}

fn name(text: &str) -> Parsed<Name> {
    Name::parse(text).map_err(|error| no_name(text, error))
}

fn network(text: &str) -> Parsed<Network> {
    text.parse().map_err(|_| {
        (format!("\"{text}\" is not a network"), "write it as 10.20.0.0/16 or 2001:db8:20::/48".to_owned())
    })
}

fn zone(text: &str) -> Parsed<String> {
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let right = match read::nearest(text, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "write an IANA name such as \"Europe/Tirane\"".to_owned(),
            };
            Err((format!("\"{text}\" is not a known time zone"), right))
        }
    }
}

fn contact(text: &str) -> Parsed<String> {
    if ["mailto:", "https:", "tel:", "sips:"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    let right = if text.contains('@') {
        format!("write \"mailto:{text}\"")
    } else {
        "start it with mailto:, https:, tel: or sips:".to_owned()
    };
    Err((format!("\"{text}\" is not a URI that a guest can use"), right))
}

/// Seconds from `90m`, `12h`, `14d`.
fn duration(text: &str) -> Parsed<u64> {
    let wrong = || (format!("\"{text}\" is not a duration"), "write it as \"90m\", \"12h\" or \"14d\"".to_owned());
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let good = digits.len() <= 6 && !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|&number: &u64| good && number > 0).map(|number| number * unit).ok_or_else(wrong)
}

/// A path as the policy writes it.
fn path(field: &Field<String>) -> PathBuf {
    PathBuf::from(&field.value)
}
