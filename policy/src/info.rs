//! What a compiled policy says about itself: its groups, categories and lists.

use serde::{Deserialize, Serialize};

use crate::{BlockAnswer, Category, Network};

/// Clients that share a policy. The first group of a policy is the one for guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name in the policy, such as `guest`.
    pub name: Box<str>,
    /// What people read.
    pub title: Box<str>,
    /// Networks whose clients belong to it.
    pub networks: Vec<Network>,
    /// Interfaces, such as `br-guest.20`, whose clients belong to it.
    pub interfaces: Vec<Box<str>>,
    /// The portal role whose clients belong to it.
    pub role: Option<Box<str>>,
    /// Categories it blocks, now or on schedule, by position in [`crate::Compiled::categories`].
    pub categories: Vec<Category>,
    /// Whether search engines are held to their safe mode.
    pub safe_search: bool,
    /// How YouTube is restricted.
    pub youtube: YouTube,
}

/// How YouTube is restricted. Both modes hide comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum YouTube {
    /// Not at all.
    Off,
    /// Moderate restricted mode.
    #[default]
    Moderate,
    /// Strict restricted mode.
    Strict,
}

/// A category of the compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryInfo {
    /// Its name in the policy, such as `adult`.
    pub name: Box<str>,
    /// What people read.
    pub title: Box<str>,
    /// Whether it belongs to the floor: blocked for every group, at any time, and nothing weakens it.
    pub locked: bool,
    /// Whether its names must never be shown, counted by name, sampled or exported.
    pub secret: bool,
    /// How its names are answered.
    pub answer: BlockAnswer,
    /// Extended DNS Error info code (RFC 8914): 15 is the operator's own policy, 16 an external order.
    pub ede: u16,
}

/// A list as it went into the compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInfo {
    /// Its name in the policy; of an order, its number.
    pub name: Box<str>,
    /// Whether it is a legal order: names that others have ordered blocked.
    pub order: bool,
    /// Its category; `None` for a list of allowed names.
    pub category: Option<Category>,
    /// Which edition: what the publisher calls it, or the start of its digest; of an order, its date.
    pub edition: Box<str>,
    /// SHA-256 of the list as it was read, in hexadecimal.
    pub digest: Box<str>,
    /// How many entries it gave.
    pub entries: u32,
    /// How many lines were not taken, by reason.
    pub refused: Vec<(Box<str>, u32)>,
    /// Its licence, for reports.
    pub licence: Box<str>,
}
