//! From the text of a policy and of lists to verdicts.

use crate::{
    Action, BlockAnswer, Compiled, Edition, Explanation, GroupId, Moment, Name, Policy, Rule, Verdict, compile,
};

/// A policy of this text, with these lists by name.
pub(crate) fn compiled(policy: &str, lists: &[(&str, &str)]) -> Compiled {
    let policy = Policy::parse(policy).unwrap_or_else(|problems| panic!("{problems}"));
    let editions: Vec<Edition> = lists
        .iter()
        .map(|(name, text)| {
            let list = policy.lists.iter().find(|list| &*list.name == *name).expect("a list of the policy");
            Edition::parse(list, text.as_bytes()).unwrap()
        })
        .collect();
    Compiled::from_bytes(compile(&policy, &editions, &mut |_| ()).unwrap()).unwrap()
}

pub(crate) fn at(time: &str) -> Moment {
    Moment::At(time.parse().unwrap())
}

const NOW: &str = "2026-11-23T12:00:00Z";

pub(crate) fn decide(compiled: &Compiled, name: &str, at: Moment) -> Verdict {
    compiled.decide(&Name::parse(name).unwrap().wire(), &compiled.view(GroupId(0), at))
}

fn rule(compiled: &Compiled, name: &str) -> Rule {
    decide(compiled, name, at(NOW)).reason.rule
}

fn explain(compiled: &Compiled, name: &str) -> Explanation {
    compiled.explain(&Name::parse(name).unwrap().wire(), GroupId(0), at(NOW))
}

const SHORTEST: &str = "version = 1\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n";

#[test]
fn listed_name_and_what_is_below_it_is_blocked() {
    let compiled = compiled(SHORTEST, &[("adult", "bad.example\n")]);
    let view = compiled.view(GroupId(0), Moment::Unknown);
    let blocked = Action::Block(BlockAnswer::Nxdomain);
    for name in [&b"\x03bad\x07example\0"[..], b"\x03WWW\x03Bad\x07eXample\0", b"\x01a\x01b\x03bad\x07example\0"] {
        assert_eq!(compiled.decide(name, &view).action, blocked);
    }
    for name in [&b"\x06notbad\x07example\0"[..], b"\x07example\0", b"\0", b"\x03bad\x07example\x03com\0"] {
        let verdict = compiled.decide(name, &view);
        assert_eq!((verdict.action, verdict.reason.rule), (Action::Allow, Rule::Default));
    }
}

#[test]
fn malformed_name_is_blocked() {
    let compiled = compiled(SHORTEST, &[("adult", "bad.example\n")]);
    let view = compiled.view(GroupId(0), Moment::Unknown);
    for name in [&b""[..], b"\x03bad", b"\xc0\x0c", b"\x03bad\0\x00", &[0x41; 300]] {
        assert!(compiled.decide(name, &view).is_block(), "{name:?}");
    }
}

#[test]
fn explanation_names_list_line_and_rule() {
    let compiled = compiled(SHORTEST, &[("adult", "# comment\nfirst.example\n\nbad.example\n")]);
    let explanation = explain(&compiled, "www.bad.example");
    assert_eq!((explanation.list.as_deref(), explanation.line), (Some("adult"), Some(4)));
    assert_eq!(explanation.entry.as_deref(), Some("bad.example"));
    let edition = explanation.edition.clone().unwrap();
    let expected =
        format!("www.bad.example for guest: block: Adult content, list adult edition {edition} line 4 (bad.example)");
    assert_eq!(explanation.to_string(), expected);
    assert!(serde_json::to_string(&explanation).unwrap().contains("\"rule\":\"category\""));
    assert_eq!(
        explain(&compiled, "good.example").to_string(),
        "good.example for guest: allow: nothing speaks against it"
    );
}

#[test]
fn stronger_rule_decides() {
    let policy = r#"
version = 1
allow = ["a.allowed.example", "locked.example", "ordered.example", "denied.example"]
deny = ["denied.example", "excepted.example"]
[category.gambling]
locked = true
[list.adult]
file = "adult.txt"
category = "adult"
[list.bets]
file = "bets.txt"
category = "gambling"
[[exception]]
name = "excepted.example"
owner = "Librarian"
reason = "a book's page"
expires = 2026-12-31
[[exception]]
name = "locked.example"
owner = "Librarian"
reason = "cannot work"
expires = 2026-12-31
[[order]]
names = ["ordered.example", "=exactly.example"]
number = "12/2026"
body = "AKEP"
date = 2026-01-01
basis = "Law 54/2024 art. 30"
until = 2027-01-01
"#;
    let lists =
        [("adult", "allowed.example\nexcepted.example\nplain.example\nwww.google.al\n"), ("bets", "locked.example\n")];
    let compiled = compiled(policy, &lists);
    for (name, expected, block) in [
        ("locked.example", Rule::Locked, true),
        ("ordered.example", Rule::Order, true),
        ("exactly.example", Rule::Order, true),
        ("x.exactly.example", Rule::Default, false),
        ("www.excepted.example", Rule::Exception, false),
        ("denied.example", Rule::Deny, true),
        ("x.a.allowed.example", Rule::Allow, false),
        ("b.allowed.example", Rule::Category, true),
        ("www.google.al", Rule::SafeSearch, false),
        ("plain.example", Rule::Category, true),
        ("other.example", Rule::Default, false),
        ("use-application-dns.net", Rule::Deny, true),
        ("mask.icloud.com", Rule::Deny, true),
    ] {
        let verdict = decide(&compiled, name, at(NOW));
        assert_eq!((verdict.reason.rule, verdict.is_block()), (expected, block), "{name}");
    }
    // While the time is unknown: no exception, every order.
    assert_eq!(decide(&compiled, "excepted.example", Moment::Unknown).reason.rule, Rule::Deny);
    assert_eq!(decide(&compiled, "ordered.example", Moment::Unknown).reason.rule, Rule::Order);
    // After their ends. An end of a date is the end of that day, in the policy's time zone.
    assert_eq!(decide(&compiled, "excepted.example", at("2026-12-31T22:59:59Z")).reason.rule, Rule::Exception);
    assert_eq!(decide(&compiled, "excepted.example", at("2026-12-31T23:00:00Z")).reason.rule, Rule::Deny);
    assert_eq!(decide(&compiled, "exactly.example", at("2027-01-01T23:00:00Z")).reason.rule, Rule::Default);
    assert_eq!(rule(&compiled, "exactly.example"), Rule::Order);
    let order = explain(&compiled, "ordered.example");
    assert_eq!((order.list.as_deref(), order.line), (Some("12/2026"), Some(24)));
    assert!(order.text.contains("AKEP") && order.text.contains("Law 54/2024"), "{order}");
    let reason = decide(&compiled, "ordered.example", at(NOW)).reason;
    assert_eq!(compiled.block_text(&reason), "Blocked by legal order 12/2026");
    assert_eq!(compiled.categories()[usize::from(reason.category.unwrap().0)].ede, 16);
}

#[test]
fn name_above_an_allowed_one_is_not_denied_to_exist() {
    let policy = format!("version = 1\nallow = [\"good.bad.example\"]\n{}", &SHORTEST[12..]);
    let compiled = compiled(&policy, &[("adult", "bad.example\nworse.example\n")]);
    let action = |name| decide(&compiled, name, at(NOW)).action;
    assert_eq!(action("bad.example"), Action::Block(BlockAnswer::NullAddress));
    assert_eq!(action("other.bad.example"), Action::Block(BlockAnswer::Nxdomain));
    assert_eq!(action("worse.example"), Action::Block(BlockAnswer::Nxdomain));
    assert_eq!(action("www.good.bad.example"), Action::Allow);
}
