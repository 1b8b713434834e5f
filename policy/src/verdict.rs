//! The answer to "may this be resolved", and what decided it.

use std::net::IpAddr;

/// A group of the compiled policy, by position in [`crate::Compiled::groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupId(pub u16);

/// A category of the compiled policy, by position in [`crate::Compiled::categories`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Category(pub u8);

/// The time a verdict is asked for. A router without a battery does not know it at boot, and nothing unlocks because of
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The clock is set.
    At(jiff::Timestamp),
    /// The clock has never been set: schedules count as blocking, exceptions as expired.
    Unknown,
}

/// What a group's policy amounts to at a moment: made once a minute, not once a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Whose view this is.
    pub group: GroupId,
    /// Bit `n` is set when category `n` is blocked now.
    pub blocked: u128,
    /// The moment: exceptions and orders end at one.
    pub at: Moment,
}

/// What is to be done with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Resolve it.
    Allow,
    /// Answer with the category's block answer.
    Block(BlockAnswer),
    /// Answer as if the name were an alias (CNAME) of this one, in lower-case wire form.
    Alias(Box<[u8]>),
    /// Answer with these addresses only; other types have no data.
    Addresses(Box<[IpAddr]>),
}

/// How a blocked name is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockAnswer {
    /// NXDOMAIN.
    Nxdomain,
    /// NOERROR with `0.0.0.0` or `::`; other types have no data.
    NullAddress,
    /// NOERROR with the portal's address, which serves the block page; other types have no data.
    BlockPage,
}

/// Which kind of rule decided. The order is the order of precedence, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A list of a locked category: nothing weakens it.
    Locked,
    /// A legal order.
    Order,
    /// An exception with owner and expiry.
    Exception,
    /// A name the policy denies.
    Deny,
    /// A name the policy allows.
    Allow,
    /// Safe search.
    SafeSearch,
    /// A list of a category that is blocked now.
    Category,
    /// Nothing matched.
    Default,
}

/// What decided. Small and `Copy`: the words are looked up in the compiled policy only when somebody reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The kind of rule.
    pub rule: Rule,
    /// The category, where a list decided.
    pub category: Option<Category>,
    /// The list, by position in [`crate::Compiled::lists`], where a list decided.
    pub list: Option<u16>,
}

/// What is to be done with a name, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub action: Action,
    /// What decided it.
    pub reason: Reason,
}

impl Verdict {
    /// Whether the name is to be kept from the guest.
    pub fn is_block(&self) -> bool {
        matches!(self.action, Action::Block(_))
    }
}
