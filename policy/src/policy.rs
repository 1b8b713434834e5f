//! The checked policy.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Category, CategoryInfo, Group, atom::Scope, name::Name, schedule::Schedule};

/// A policy that has been checked as a whole: what it names exists, and its parts agree.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its running number.
    pub generation: u64,
    /// Who runs the filter.
    pub organisation: Organisation,
    /// Its categories.
    pub categories: Vec<CategoryInfo>,
    /// Its lists.
    pub lists: Vec<List>,
    /// Its groups; the first one is for guests.
    pub groups: Vec<Group>,
    /// For each category, its schedule's position in `schedules`.
    pub(crate) scheduled: Vec<Option<usize>>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) allow: Vec<(Scoped, u32)>,
    pub(crate) deny: Vec<(Scoped, u32)>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) orders: Vec<Order>,
    /// Names of the engines held to their safe mode.
    pub(crate) engines: Vec<&'static str>,
    /// Whether engines without a safe mode are blocked.
    pub(crate) other_engines: bool,
    /// Names denied as signals.
    pub(crate) signals: Vec<&'static str>,
    pub(crate) canary_zone: Option<Name>,
    /// Whether `ech` is taken out of service bindings.
    pub(crate) strip_ech: bool,
}

/// Who runs the filter, for structured DNS errors and the block page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its name.
    pub name: Box<str>,
    /// URIs where a guest can object.
    pub contact: Vec<Box<str>>,
}

/// A list of a checked policy.
#[derive(Debug, Clone)]
pub struct List {
    /// Its name.
    pub name: Box<str>,
    /// The category its names belong to; `None` for a list of allowed names.
    pub category: Option<Category>,
    /// Where it comes from.
    pub source: Source,
    /// What its lines look like.
    pub format: Format,
    /// Whether a plain name stands for what is below it too.
    pub subdomains: bool,
    /// The file with the key of a hashed list, relative to the policy's folder.
    pub key_file: Option<PathBuf>,
    /// Names that an edition must block.
    pub must_block: Vec<Name>,
    /// Names that an edition must not block.
    pub must_allow: Vec<Name>,
    /// An edition older than this many seconds is stale.
    pub max_age: u64,
    /// A URL is asked every this many seconds.
    pub every: u64,
    /// Whether the server behind the URL may have an address that is not public.
    pub private_addresses: bool,
    /// Its licence, for reports.
    pub licence: Box<str>,
}

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or folder; relative to the policy's folder.
    File(PathBuf),
    /// Fetched from here.
    Url(String),
}

/// What a list's lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Found out from the content.
    Auto,
    /// `0.0.0.0 name`.
    Hosts,
    /// One name a line.
    Domains,
    /// `||name^` and the like.
    Adblock,
    /// `address=/name/`.
    Dnsmasq,
    /// `local-zone: "name" always_nxdomain`.
    Unbound,
    /// A response policy zone as a zone file.
    Rpz,
    /// A folder of UT1.
    Ut1,
    /// URLs: counted, and not enforced.
    Urls,
    /// One regular expression a line.
    Regex,
    /// One keyed digest a line.
    Hashed,
    /// Addresses and networks.
    Addresses,
}

/// A name of the policy and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scoped {
    pub(crate) name: Name,
    pub(crate) scope: Scope,
}

impl Scoped {
    /// Reads `name`, `*.name` or `=name`.
    pub(crate) fn parse(text: &str) -> Result<Self, crate::name::NotAName> {
        let (name, scope) = match (text.strip_prefix("*."), text.strip_prefix('=')) {
            (Some(name), _) => (name, Scope::Below),
            (_, Some(name)) => (name, Scope::Exact),
            _ => (text, Scope::Tree),
        };
        Ok(Self { name: Name::parse(name)?, scope })
    }
}

/// A name that is allowed for a time, and who answers for it.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub(crate) name: Scoped,
    pub(crate) owner: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) expires: Timestamp,
    pub(crate) line: u32,
}

/// Names that somebody with the right to do so has ordered blocked.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) names: Vec<(Scoped, u32)>,
    pub(crate) number: Box<str>,
    pub(crate) body: Box<str>,
    pub(crate) basis: Box<str>,
    /// The day it is dated, as the letter says: in another time zone it would be another.
    pub(crate) day: Box<str>,
    pub(crate) from: Timestamp,
    pub(crate) until: Option<Timestamp>,
}
