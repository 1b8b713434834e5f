//! Everything small in a compiled file: stored as JSON, unpacked when it is loaded.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CategoryInfo, Group, ListInfo, pattern::Pattern, policy::Organisation, schedule::Schedule};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) organisation: Organisation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary_zone: Option<Box<str>>,
    pub(crate) groups: Vec<Group>,
    pub(crate) categories: Vec<CategoryInfo>,
    /// For each category, its schedule's position in `schedules`.
    pub(crate) scheduled: Vec<Option<usize>>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) lists: Vec<ListInfo>,
    pub(crate) exceptions: Vec<MetaException>,
    pub(crate) orders: Vec<MetaOrder>,
    pub(crate) targets: Vec<Target>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) hashed: Vec<Hashed>,
    /// Whether `ech` is taken out of service bindings.
    #[serde(default)]
    pub(crate) strip_ech: bool,
    /// Key of the table's hash.
    pub(crate) key: u64,
    /// How many buckets names are spread over.
    pub(crate) buckets: u32,
    /// Bit `n` is set when some name of the table has `n` labels.
    pub(crate) lengths: u128,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MetaException {
    pub(crate) owner: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) expires: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MetaOrder {
    /// Its position among the lists.
    pub(crate) list: u16,
    pub(crate) body: Box<str>,
    pub(crate) basis: Box<str>,
    pub(crate) from: Timestamp,
    pub(crate) until: Option<Timestamp>,
}

/// What a search engine's name is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// An alias of this name, in dotted form, and in wire form.
    Alias(Box<str>, Box<[u8]>),
    YouTube,
    Addresses(Box<[IpAddr]>),
    Block,
}

/// A hashed list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hashed {
    pub(crate) list: u16,
    pub(crate) key: [u8; 32],
    /// Its first digest's position in the section.
    pub(crate) start: u32,
    pub(crate) count: u32,
}
