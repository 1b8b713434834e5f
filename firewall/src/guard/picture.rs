//! What a table is, read from netlink messages: from those we send, and from those the kernel dumps. The two are
//! compared piece by piece, so that a rule added, lost, moved or changed by anybody is seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::netlink::{Message, attributes, number, text};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(crate) const NEWTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
pub(crate) const GETTABLE: u16 = NEWTABLE + 1;
pub(crate) const NEWCHAIN: u16 = NEWTABLE + 3;
pub(crate) const GETCHAIN: u16 = NEWTABLE + 4;
pub(crate) const NEWRULE: u16 = NEWTABLE + 6;
pub(crate) const GETRULE: u16 = NEWTABLE + 7;
pub(crate) const NEWSET: u16 = NEWTABLE + 9;
pub(crate) const GETSET: u16 = NEWTABLE + 10;
pub(crate) const NEWSETELEM: u16 = NEWTABLE + 12;
pub(crate) const GETSETELEM: u16 = NEWTABLE + 13;

const NFT_TABLE_F_DORMANT: u64 = 1;

/// One table.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) exists: bool,
    /// A dormant table has its chains unhooked: it is as good as none.
    dormant: bool,
    chains: BTreeMap<String, Hooked>,
    rules: BTreeMap<String, Vec<Rule>>,
    sets: BTreeMap<String, Shape>,
    /// Of sets without times: key, and whether it ends an interval.
    elements: BTreeMap<String, BTreeSet<(Vec<u8>, bool)>>,
}

/// A chain's place. All zero for one that others jump to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Hooked {
    hook: Option<(u64, u64)>,
    kind: String,
    policy: u64,
}

#[derive(Debug, Clone)]
struct Rule {
    comment: String,
    exprs: Vec<Expr>,
    counted: Option<(u64, u64)>,
}

impl PartialEq for Rule {
    /// Counters run on.
    fn eq(&self, other: &Self) -> bool {
        self.comment == other.comment && self.exprs == other.exprs
    }
}

impl Eq for Rule {}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Shape {
    flags: u64,
    key_type: u64,
    key_length: u64,
    value_type: u64,
    size: u64,
}

/// An expression: its name, and its attributes that are not zero, by their path. The kernel leaves out, or adds, what is
/// zero; everything else must be the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expr {
    name: String,
    values: BTreeMap<Vec<u16>, Vec<u8>>,
}

impl Picture {
    /// Adds what a message says about the table; messages about others are passed over.
    pub(crate) fn add(&mut self, table: &str, message: &Message<'_>) {
        if message.attribute(1).map(text).as_deref() != Some(table) {
            return;
        }
        let name = |kind| message.attribute(kind).map(text).unwrap_or_default();
        let value = |kind| message.attribute(kind).map_or(0, number);
        match message.kind {
            NEWTABLE => {
                self.exists = true;
                self.dormant = value(2) & NFT_TABLE_F_DORMANT != 0;
            }
            NEWCHAIN => {
                let hook = message.attribute(4).map(|nested| {
                    let part = |wanted| {
                        attributes(nested).find(|(kind, _)| *kind == wanted).map_or(0, |(_, value)| number(value))
                    };
                    (part(1), part(2))
                });
                let policy = if hook.is_some() { value(5) } else { 0 };
                self.rules.entry(name(3)).or_default();
                self.chains.insert(name(3), Hooked { hook, kind: name(7), policy });
            }
            NEWRULE => self.rules.entry(name(2)).or_default().push(Rule::read(message)),
            NEWSET => {
                let size = message.attribute(9).and_then(|desc| attributes(desc).find(|(kind, _)| *kind == 1));
                let size = size.map_or(0, |(_, value)| number(value));
                let shape =
                    Shape { flags: value(3), key_type: value(4), key_length: value(5), value_type: value(6), size };
                self.sets.insert(name(2), shape);
            }
            NEWSETELEM => {
                let set = self.elements.entry(name(2)).or_default();
                set.extend(elements(message).filter(|element| element.timeout == 0).map(|e| (e.key, e.interval_end)));
            }
            _ => {}
        }
    }

    /// The names of the chains.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &String> {
        self.chains.keys()
    }

    /// The names of sets whose elements are ours alone: networks.
    pub(crate) fn plain_sets(&self) -> Vec<String> {
        const NFT_SET_INTERVAL: u64 = 4;
        self.sets
            .iter()
            .filter(|(_, shape)| shape.flags & NFT_SET_INTERVAL != 0)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Whether the kernel enters this table when it forwards, and drops what falls through.
    pub(crate) fn closes_forwarding(&self) -> bool {
        const NF_INET_FORWARD: u64 = 2;
        let closed = |chain: &Hooked| chain.policy == 0 && chain.hook.is_some_and(|(hook, _)| hook == NF_INET_FORWARD);
        self.exists && !self.dormant && self.chains.values().any(closed)
    }

    /// Comment, packets and bytes of each rule that counts.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let rules = self.rules.values().flatten();
        rules.filter_map(|rule| rule.counted.map(|(packets, bytes)| (rule.comment.as_str(), packets, bytes)))
    }

    /// All comments, in order within each chain.
    pub(crate) fn comments(&self) -> impl Iterator<Item = &str> {
        self.rules.values().flatten().map(|rule| rule.comment.as_str())
    }

    /// The first difference of what is found to what was rendered, in words.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        if !found.exists {
            return Some("the table is gone".into());
        }
        if found.dormant {
            return Some("the table is dormant".into());
        }
        if let Some((name, what)) = differing(&self.chains, &found.chains) {
            return Some(format!("chain {name} {what}"));
        }
        if let Some((name, what)) = differing(&self.sets, &found.sets) {
            return Some(format!("set {name} {what}"));
        }
        for (chain, rules) in &self.rules {
            let others = &found.rules[chain];
            for (index, rule) in rules.iter().enumerate() {
                match others.get(index) {
                    None => return Some(format!("chain {chain}: rule {index} \"{}\" is missing", rule.comment)),
                    Some(other) if other != rule => {
                        return Some(format!(
                            "chain {chain}: rule {index} is \"{}\", not \"{}\" as rendered: {}",
                            other.comment,
                            rule.comment,
                            rule.why(other)
                        ));
                    }
                    Some(_) => {}
                }
            }
            if let Some(other) = others.get(rules.len()) {
                return Some(format!("chain {chain}: a rule too many, \"{}\"", other.comment));
            }
        }
        let none = BTreeSet::new();
        for set in self.plain_sets() {
            let (ours, theirs) = (self.elements.get(&set).unwrap_or(&none), found.elements.get(&set).unwrap_or(&none));
            if ours != theirs {
                return Some(format!("set {set} has other elements"));
            }
        }
        None
    }
}

/// The first name under which the two differ, and how.
fn differing<'n, V: PartialEq>(
    ours: &'n BTreeMap<String, V>,
    theirs: &'n BTreeMap<String, V>,
) -> Option<(&'n str, &'static str)> {
    for (name, value) in ours {
        match theirs.get(name) {
            None => return Some((name, "is missing")),
            Some(other) if other != value => return Some((name, "has another shape")),
            Some(_) => {}
        }
    }
    theirs.keys().find(|name| !ours.contains_key(*name)).map(|name| (name.as_str(), "is not ours"))
}

impl Rule {
    fn read(message: &Message<'_>) -> Self {
        let mut exprs = Vec::new();
        let mut counted = None;
        for (_, element) in attributes(message.attribute(4).unwrap_or_default()) {
            let mut name = String::new();
            let mut values = BTreeMap::new();
            for (kind, value) in attributes(element) {
                match kind {
                    1 => name = text(value),
                    2 => flatten(&name, &mut Vec::new(), value, &mut values),
                    _ => {}
                }
            }
            if name == "counter" {
                let part = |path: u16| values.get([path].as_slice()).map_or(0, |value: &Vec<u8>| number(value));
                counted = Some((part(2), part(1)));
                values.clear();
            }
            // NFTA_LOOKUP_SET_ID, NFTA_DYNSET_SET_ID: a number within one transaction.
            match name.as_str() {
                "lookup" => values.remove([4].as_slice()),
                "dynset" => values.remove([2].as_slice()),
                _ => None,
            };
            exprs.push(Expr { name, values });
        }
        Self { comment: comment(message.attribute(7).unwrap_or_default()), exprs, counted }
    }

    fn why(&self, other: &Self) -> String {
        if self.comment != other.comment {
            return "another comment".into();
        }
        let mut pairs = self.exprs.iter().zip(&other.exprs).enumerate();
        if let Some((index, (ours, theirs))) = pairs.find(|(_, (ours, theirs))| ours != theirs) {
            return format!(
                "expression {index} is {} {:x?}, not {} {:x?}",
                theirs.name, theirs.values, ours.name, ours.values
            );
        }
        format!("{} expressions, not {}", other.exprs.len(), self.exprs.len())
    }
}

/// Takes nested attributes apart where nf_tables.h nests them: data, verdicts.
fn flatten(name: &str, path: &mut Vec<u16>, bytes: &[u8], values: &mut BTreeMap<Vec<u16>, Vec<u8>>) {
    for (kind, value) in attributes(bytes) {
        path.push(kind);
        let nested = matches!(
            (name, path.as_slice()),
            ("cmp", [3]) | ("bitwise", [4 | 5]) | ("immediate", [2] | [2, 2]) | ("dynset", [7] | [7, 2])
        );
        if nested {
            flatten(name, path, value, values);
        } else if value.iter().any(|byte| *byte != 0) {
            // The chain's name comes with or without its terminating zero.
            let value = if (name, path.as_slice()) == ("immediate", &[2, 2, 2]) {
                text(value).into_bytes()
            } else {
                value.to_vec()
            };
            values.insert(path.clone(), value);
        }
        path.pop();
    }
}

/// The comment among a rule's user data: type, length, value.
fn comment(mut data: &[u8]) -> String {
    while let [kind, length, rest @ ..] = data {
        let length = usize::from(*length).min(rest.len());
        if *kind == 0 {
            return text(&rest[..length]);
        }
        data = &rest[length..];
    }
    String::new()
}

/// An element of a set.
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    interval_end: bool,
    /// In milliseconds; zero for none.
    timeout: u64,
    /// Milliseconds left.
    pub(crate) left: u64,
    /// The value it leads to.
    pub(crate) value: Vec<u8>,
    /// Of its expression, if it has one: the attributes 1 and 4, which are a limit's rate, a quota's bytes and what is used.
    pub(crate) measured: (u64, u64),
}

/// The elements a message names.
pub(crate) fn elements<'m>(message: &Message<'m>) -> impl Iterator<Item = Element> + use<'m> {
    attributes(message.attribute(3).unwrap_or_default()).map(|(_, element)| {
        let get = |wanted: u16| attributes(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let key = attributes(get(1).unwrap_or_default()).next().map_or(Vec::new(), |(_, key)| key.to_vec());
        let value = |kind| get(kind).map_or(0, number);
        let data = attributes(get(2).unwrap_or_default()).next().map_or(Vec::new(), |(_, value)| value.to_vec());
        let nested = |bytes: &'m [u8], wanted: u16| {
            attributes(bytes).find(|(kind, _)| *kind == wanted).map_or(&[] as &[u8], |(_, value)| value)
        };
        // NFTA_SET_ELEM_EXPR, NFTA_EXPR_DATA.
        let measure = nested(get(7).unwrap_or_default(), 2);
        let measured = (number(nested(measure, 1)), number(nested(measure, 4)));
        let (timeout, left) = (value(4), value(5));
        Element { key, interval_end: value(3) & 1 != 0, timeout, left, value: data, measured }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sheshi_firewall::{Network, Ruleset, contract};

    use super::*;
    use crate::{
        encode::{Present, Transaction},
        netlink::messages,
    };

    /// The picture of the messages we would send.
    fn picture(ruleset: &Ruleset) -> Picture {
        let mut transaction = Transaction::new();
        transaction.install(&contract::working(ruleset), &Present::default(), 0);
        let batch = transaction.finish();
        let mut picture = Picture::default();
        batch.messages().for_each(|message| picture.add(contract::WORKING, &message));
        picture
    }

    #[test]
    fn same_ruleset_is_the_same_picture_and_another_is_not() {
        let closed = Ruleset::closed();
        assert_eq!(picture(&closed).difference(&picture(&closed)), None);
        let later = Ruleset { generation: 1, ..Ruleset::closed() };
        assert!(picture(&closed).difference(&picture(&later)).unwrap().contains("another comment"));
        let network: Network = "192.0.2.0/24".parse().unwrap();
        let listed = Ruleset { block: vec![network], ..Ruleset::closed() };
        assert_eq!(picture(&closed).difference(&picture(&listed)).unwrap(), "set block4 has other elements");
        assert_eq!(picture(&closed).difference(&Picture::default()).unwrap(), "the table is gone");
    }

    #[test]
    fn closed_ruleset_closes_forwarding_and_nothing_does_not() {
        assert!(picture(&Ruleset::closed()).closes_forwarding());
        assert!(!Picture::default().closes_forwarding());
        let dormant = Picture { dormant: true, ..picture(&Ruleset::closed()) };
        assert!(!dormant.closes_forwarding());
        assert_eq!(picture(&Ruleset::closed()).difference(&dormant).unwrap(), "the table is dormant");
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_kernel_stop_us(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut picture = Picture::default();
            for message in messages(&bytes) {
                picture.add(contract::WORKING, &message);
                elements(&message).for_each(drop);
            }
            let _ = comment(&bytes);
        }

        #[test]
        fn no_mutilated_message_stops_us(at in 0_usize..4000, value in any::<u8>()) {
            let mut transaction = Transaction::new();
            transaction.install(&contract::working(&Ruleset::closed()), &Present::default(), 0);
            let mut bytes = transaction.finish().into_bytes();
            let at = at % bytes.len();
            bytes[at] = value;
            let mut picture = Picture::default();
            for message in messages(&bytes) {
                picture.add(contract::WORKING, &message);
            }
            let _ = picture.difference(&Picture::default());
            let _ = Picture::default().difference(&picture);
        }
    }
}
