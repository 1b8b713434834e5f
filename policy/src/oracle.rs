//! The order of rules against a naive model: random policies and lists, written as text, and a model that reads the
//! document's order off one rule after the other.

use std::fmt::Write;

use proptest::prelude::*;

use crate::{
    Compiled, GroupId, Moment, Name, Rule,
    tests::{at, compiled},
};

/// Something that is said about a name; the number chooses a list, an exception's end, or an order's.
#[derive(Debug, Clone)]
struct Said {
    kind: usize,
    number: usize,
    scope: usize,
    name: String,
}

const LISTS: [(&str, &str); 4] = [("one", "gambling"), ("two", "adult"), ("three", "adult"), ("four", "drugs")];
/// `gambling` is locked, the group blocks `adult`, and `drugs` is not blocked.
const LOCKED: &str = "gambling";
const CHOSEN: [&str; 2] = ["gambling", "adult"];

const LISTED: usize = 0;
const IMPORTANT: usize = 1;
const SPARED: usize = 2;
const STOPPED: usize = 3;
const ALLOW: usize = 4;
const DENY: usize = 5;
const EXCEPTION: usize = 6;
const ORDER: usize = 7;
const WELCOME: usize = 8;

/// Scopes: the tree, what is below, the name only.
fn reaches(said: &Said, name: &str) -> bool {
    let below = name.strip_suffix(&said.name).is_some_and(|rest| rest.ends_with('.'));
    match said.scope {
        0 => name == said.name || below,
        1 => below,
        _ => name == said.name,
    }
}

fn model(all: &[Said], name: &str, known: bool) -> (Rule, bool) {
    let reaching: Vec<&Said> = all.iter().filter(|said| reaches(said, name)).collect();
    let by_list = |list: usize| {
        let of = |kind: usize| reaching.iter().filter(move |said| said.kind == kind && said.number == list);
        let stopped_below = |said: &Said| of(STOPPED).any(|stop| stop.name.len() > said.name.len());
        let important = of(IMPORTANT).any(|said| !stopped_below(said));
        let listed = of(LISTED).any(|said| !stopped_below(said));
        important || listed && of(SPARED).next().is_none()
    };
    let category = |wanted: &dyn Fn(&str) -> bool| (0..LISTS.len()).any(|list| wanted(LISTS[list].1) && by_list(list));
    let any = |kind: usize, number: Option<usize>| {
        reaching.iter().any(|said| said.kind == kind && number.is_none_or(|number| said.number == number))
    };
    // Number 0 has ended, the others have not; an unknown time ends exceptions and no orders.
    let in_force = |kind| (1..4).any(|number| any(kind, Some(number)));
    if category(&|name| name == LOCKED) {
        (Rule::Locked, true)
    } else if in_force(ORDER) || !known && any(ORDER, None) {
        (Rule::Order, true)
    } else if known && in_force(EXCEPTION) {
        (Rule::Exception, false)
    } else if any(DENY, None) {
        (Rule::Deny, true)
    } else if any(ALLOW, None) || any(WELCOME, None) {
        (Rule::Allow, false)
    } else if category(&|name| CHOSEN.contains(&name)) {
        (Rule::Category, true)
    } else {
        (Rule::Default, false)
    }
}

/// The same as a policy and lists.
fn written(all: &[Said]) -> Compiled {
    let scoped = |said: &Said| format!("\"{}{}\"", ["", "*.", "="][said.scope], said.name);
    let of = |kind: usize| all.iter().filter(move |said| said.kind == kind);
    let names = |kind| of(kind).map(scoped).collect::<Vec<_>>().join(", ");
    let mut policy = format!("version = 1\nallow = [{}]\ndeny = [{}]\n", names(ALLOW), names(DENY));
    policy += "[safe_search]\nengines = []\nothers = \"allow\"\n[category.gambling]\nlocked = true\n";
    policy += "[group.guest]\ncategories = [\"adult\"]\n";
    for (name, category) in LISTS {
        write!(policy, "[list.{name}]\nfile = \"{name}\"\ncategory = \"{category}\"\nformat = \"adblock\"\n").unwrap();
    }
    policy += "[list.welcome]\nfile = \"welcome\"\nuse = \"allow\"\nformat = \"adblock\"\n";
    for said in of(EXCEPTION) {
        let expires = if said.number == 0 { "2026-01-01" } else { "2027-01-01" };
        let name = scoped(said);
        write!(policy, "[[exception]]\nname = {name}\nowner = \"a\"\nreason = \"b\"\nexpires = {expires}\n").unwrap();
    }
    for said in of(ORDER) {
        let until = if said.number == 0 { "2026-01-01" } else { "2027-01-01" };
        let name = scoped(said);
        write!(policy, "[[order]]\nnames = [{name}]\nnumber = \"1\"\nbody = \"a\"\nbasis = \"b\"\ndate = 2025-01-01\nuntil = {until}\n")
            .unwrap();
    }
    let rule = |said: &Said| -> String {
        let name = match said.scope {
            0 => format!("||{}^", said.name),
            1 => format!("||*.{}^", said.name),
            _ => format!("|{}^", said.name),
        };
        match said.kind {
            IMPORTANT => format!("{name}$important\n"),
            SPARED => format!("@@{name}\n"),
            // A stop needs an entry to be a stop of: one that says nothing about the asked names.
            STOPPED => format!("||nothing.test^$denyallow={}\n", said.name),
            _ => format!("{name}\n"),
        }
    };
    let mut lists: Vec<(&str, String)> = LISTS
        .iter()
        .enumerate()
        .map(|(number, (name, _))| {
            let lines = all.iter().filter(|said| said.kind <= STOPPED && said.number == number).map(rule);
            (*name, lines.collect::<String>() + "||nothing.test^\n")
        })
        .collect();
    lists.push(("welcome", of(WELCOME).map(rule).collect::<String>() + "||nobody.test^\n"));
    let lists: Vec<(&str, &str)> = lists.iter().map(|(name, text)| (*name, text.as_str())).collect();
    compiled(&policy, &lists)
}

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|labels| format!("{}.example.test", labels.join(".")))
}

fn said() -> impl Strategy<Value = Said> {
    (0usize..9, 0usize..4, 0usize..3, name()).prop_map(|(kind, number, scope, name)| {
        // `$denyallow` names a tree.
        Said { kind, number, scope: if kind == STOPPED { 0 } else { scope }, name }
    })
}

proptest! {
    #[test]
    fn verdict_agrees_with_the_model(
        all in proptest::collection::vec(said(), 0..25),
        asked in proptest::collection::vec(name(), 30),
    ) {
        let compiled = written(&all);
        for (moment, known) in [(at("2026-11-23T12:00:00Z"), true), (Moment::Unknown, false)] {
            let view = compiled.view(GroupId(0), moment);
            for name in &asked {
                let wire = Name::parse(name).unwrap().wire();
                let verdict = compiled.decide(&wire, &view);
                let expected = model(&all, name, known);
                prop_assert_eq!((verdict.reason.rule, verdict.is_block()), expected, "{}", name);
                prop_assert_eq!(&compiled.decide(&wire.to_ascii_uppercase(), &view), &verdict);
                // The explanation decides as the verdict does, and finds what decided.
                let explanation = compiled.explain(&wire, GroupId(0), moment);
                prop_assert_eq!(explanation.rule, verdict.reason.rule);
                prop_assert_eq!(explanation.line.is_some(), verdict.reason.rule != Rule::Default, "{}", explanation);
                // What is above something allowed is never said not to exist.
                if verdict.action == crate::Action::Block(crate::BlockAnswer::Nxdomain) {
                    for below in &asked {
                        let wire = Name::parse(below).unwrap().wire();
                        let allows = [Rule::Allow, Rule::Exception].contains(&compiled.decide(&wire, &view).reason.rule);
                        prop_assert!(!(allows && below.ends_with(&format!(".{name}"))), "{} below {}", below, name);
                    }
                }
            }
        }
    }
}
