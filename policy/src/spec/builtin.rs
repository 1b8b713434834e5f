//! What a policy need not say: the categories everybody knows.

use crate::{BlockAnswer, search};

/// A category that need not be declared. The order is the one in which they decide.
pub(super) struct Builtin {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
}

/// After the taxonomy of AGCOM's decision 9/23/CONS, with what a network needs besides.
pub(super) const CATEGORIES: [Builtin; 17] = [
    Builtin { name: "csam", title: "Child sexual abuse material" },
    Builtin { name: "terror", title: "Terrorist content" },
    Builtin { name: "malware", title: "Malware" },
    Builtin { name: "phishing", title: "Phishing" },
    Builtin { name: "scam", title: "Scams" },
    Builtin { name: "adult", title: "Adult content" },
    Builtin { name: "gambling", title: "Gambling" },
    Builtin { name: "violence", title: "Violence" },
    Builtin { name: "hate", title: "Hate and discrimination" },
    Builtin { name: "weapons", title: "Weapons" },
    Builtin { name: "drugs", title: "Drugs, alcohol and tobacco" },
    Builtin { name: "self-harm", title: "Self-harm and eating disorders" },
    Builtin { name: "sects", title: "Sects" },
    Builtin { name: "bypass", title: "Ways round the filter" },
    Builtin { name: "piracy", title: "Piracy" },
    Builtin { name: "dating", title: "Dating" },
    Builtin { name: "social", title: "Social media" },
];

/// Always locked and secret.
pub(super) const CSAM: &str = "csam";
/// What legal orders belong to.
pub(super) const ORDERS: &str = "orders";

/// How a category is answered, and with which code of RFC 8914, when the policy does not say.
pub(super) fn answer(category: &str) -> (BlockAnswer, u16) {
    if category == CSAM || category == ORDERS { (BlockAnswer::BlockPage, 16) } else { (BlockAnswer::Nxdomain, 15) }
}

/// The names of search engines.
pub(super) fn engines() -> impl Iterator<Item = &'static str> {
    let mut last = None;
    search::ENGINES.iter().filter_map(|engine| engine.name).filter(move |name| last.replace(*name) != Some(*name))
}
