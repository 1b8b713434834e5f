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
    // Dated as the letter says, although that day began on the eve in Greenwich.
    let order = compiled.lists().iter().find(|list| list.order).unwrap();
    assert_eq!(&*order.edition, "2026-01-01");
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

fn decide_as(compiled: &Compiled, group: &str, name: &str, at: Moment) -> Verdict {
    let view = compiled.view(compiled.group(group).unwrap(), at);
    compiled.decide(&Name::parse(name).unwrap().wire(), &view)
}

#[test]
fn groups_and_schedules_choose_what_is_blocked() {
    let policy = r#"
version = 1
[category.adult]
locked = true
[category.games]
schedule = "school"
[schedule.school]
windows = ["mon-fri 08:00-16:00"]
[list.adult]
file = "a"
category = "adult"
[list.games]
file = "g"
category = "games"
[list.bets]
file = "b"
category = "gambling"
[group.staff]
networks = ["10.30.0.0/16"]
categories = []
safe_search = false
[group.pupils]
categories = ["games"]
youtube = "strict"
"#;
    let lists = [("adult", "a.example\n"), ("games", "g.example\n"), ("bets", "b.example\n")];
    let compiled = compiled(policy, &lists);
    assert_eq!(compiled.groups().iter().map(|group| &*group.name).collect::<Vec<_>>(), ["guest", "staff", "pupils"]);
    let (school, evening) = (at("2026-11-23T09:00:00Z"), at("2026-11-23T19:00:00Z"));
    for (group, name, at, blocked) in [
        ("guest", "a.example", evening, true),
        ("guest", "b.example", evening, true),
        ("guest", "g.example", school, true),
        ("guest", "g.example", evening, false),
        ("guest", "g.example", Moment::Unknown, true),
        ("staff", "a.example", evening, true),
        ("staff", "b.example", evening, false),
        ("staff", "g.example", school, false),
        ("pupils", "g.example", school, true),
        ("pupils", "g.example", evening, false),
        ("pupils", "b.example", school, false),
    ] {
        assert_eq!(decide_as(&compiled, group, name, at).is_block(), blocked, "{group} {name} {at:?}");
    }
    // A group that does not exist has everything blocked.
    let view = compiled.view(GroupId(99), evening);
    assert!(compiled.decide(b"\x01b\x07example\0", &view).is_block());
}

#[test]
fn search_engines_are_held_to_their_safe_mode() {
    let policy = format!("{SHORTEST}[group.strict]\nyoutube = \"strict\"\n[group.free]\nsafe_search = false\n");
    let compiled = compiled(&policy, &[("adult", "bad.example\nmail.google.com\n")]);
    let alias = |name: &str| Action::Alias(Name::parse(name).unwrap().wire());
    let nowhere = at(NOW);
    for (group, name, expected) in [
        ("guest", "www.google.al", alias("forcesafesearch.google.com")),
        ("guest", "WWW.Google.com", alias("forcesafesearch.google.com")),
        ("guest", "maps.google.com", Action::Allow),
        ("guest", "x.www.google.com", Action::Allow),
        ("guest", "forcesafesearch.google.com", Action::Allow),
        ("guest", "m.youtube.com", alias("restrictmoderate.youtube.com")),
        ("strict", "m.youtube.com", alias("restrict.youtube.com")),
        ("free", "m.youtube.com", Action::Allow),
        ("free", "www.google.al", Action::Allow),
        ("guest", "duckduckgo.com", alias("safe.duckduckgo.com")),
        ("guest", "html.duckduckgo.com", Action::Block(BlockAnswer::NullAddress)),
        ("guest", "images.search.yahoo.com", Action::Block(BlockAnswer::Nxdomain)),
        ("free", "search.yahoo.com", Action::Allow),
        ("guest", "yandex.com", Action::Addresses(["213.180.193.56".parse().unwrap()].into())),
        ("guest", "mail.google.com", Action::Block(BlockAnswer::Nxdomain)),
    ] {
        assert_eq!(decide_as(&compiled, group, name, nowhere).action, expected, "{group} {name}");
    }
    let targets: Vec<&str> = compiled.search_targets().collect();
    assert!(targets.contains(&"strict.bing.com") && targets.contains(&"restrict.youtube.com"), "{targets:?}");
    assert_eq!(explain(&compiled, "www.google.al").action, "rewrite");
}

#[test]
fn hashed_list_blocks_and_is_never_explained_by_name() {
    let policy = r#"
version = 1
[list.secret]
file = "s"
format = "hashed"
key_file = "k"
category = "csam"
"#;
    let policy = Policy::parse(policy).unwrap();
    let key = [7; 32];
    let digest = |name: &str| crate::hashed::digest(&key, name.as_bytes()).unwrap();
    let hex = |name: &str| {
        let digest = digest(name);
        digest.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
    };
    let text = (0..500).map(|n| hex(&format!("n{n}.example")) + "\n").collect::<String>() + &hex("bad.example");
    let parts = [(crate::Format::Hashed, text.as_bytes())];
    let edition = Edition::parse_parts(&policy.lists[0], &parts, Some(key)).unwrap();
    let compiled = Compiled::from_bytes(compile(&policy, &[edition], &mut |_| ()).unwrap()).unwrap();
    for (name, rule) in [
        ("bad.example", Rule::Locked),
        ("www.BAD.example", Rule::Locked),
        ("n499.example", Rule::Locked),
        ("notbad.example", Rule::Default),
        ("example", Rule::Default),
        ("n500.example", Rule::Default),
    ] {
        // Twice: the second time from what was kept of the first.
        assert_eq!(self::rule(&compiled, name), rule, "{name}");
        assert_eq!(self::rule(&compiled, name), rule, "{name} again");
    }
    let verdict = decide(&compiled, "bad.example", at(NOW));
    assert_eq!(verdict.action, Action::Block(BlockAnswer::BlockPage));
    let explanation = explain(&compiled, "www.bad.example");
    assert_eq!((explanation.entry, explanation.line), (None, None));
}

#[test]
fn plain_entry_of_a_secret_category_is_not_shown() {
    let policy = "version = 1\n[list.secret]\nfile = \"s\"\ncategory = \"csam\"\n";
    let compiled = compiled(policy, &[("secret", "bad.example\n")]);
    let explanation = explain(&compiled, "www.bad.example");
    assert_eq!((explanation.rule, explanation.entry, explanation.line), (Rule::Locked, None, None));
}

#[test]
fn addresses_of_a_list_are_kept_out_of_answers() {
    let policy = "version = 1\n[list.doh]\nfile = \"d\"\nformat = \"addresses\"\ncategory = \"bypass\"\n[group.staff]\ncategories = []\n";
    let compiled = compiled(policy, &[("doh", "192.0.2.0/24\n2001:db8::53\n")]);
    let guest = compiled.view(GroupId(0), at(NOW));
    let staff = compiled.view(GroupId(1), at(NOW));
    for (address, blocked) in [
        ("192.0.2.0", true),
        ("192.0.2.255", true),
        ("::ffff:192.0.2.7", true),
        ("192.0.3.0", false),
        ("2001:db8::53", true),
        ("2001:db8::54", false),
        ("0.0.0.0", false),
        ("::", false),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(compiled.decide_address(address, &guest).is_block(), blocked, "{address}");
        assert!(!compiled.decide_address(address, &staff).is_block(), "{address}");
    }
}

#[test]
fn canaries_say_which_edition_is_in_force() {
    let policy = format!("{SHORTEST}[canary]\nzone = \"canary.wifi.example.org\"\n");
    let policy = Policy::parse(&policy).unwrap();
    let edition = Edition::parse(&policy.lists[0], b"bad.example\n").unwrap().named("20261123");
    let compiled = Compiled::from_bytes(compile(&policy, &[edition], &mut |_| ()).unwrap()).unwrap();
    for (name, blocked) in [
        ("adult.canary.wifi.example.org", true),
        ("20261123.adult.canary.wifi.example.org", true),
        ("20261122.adult.canary.wifi.example.org", false),
        ("x.adult.canary.wifi.example.org", false),
        ("gambling.canary.wifi.example.org", false),
        ("canary.wifi.example.org", false),
    ] {
        assert_eq!(decide(&compiled, name, at(NOW)).is_block(), blocked, "{name}");
    }
}

#[test]
fn patterns_block_what_they_match() {
    let list = "/^casino[0-9]+\\.example$/\n||bet*.example.net^\n/(^|[-.])poker(s|-online)?[-.]/\n";
    let policy = "version = 1\n[list.bets]\nfile = \"b\"\nformat = \"adblock\"\ncategory = \"gambling\"\n";
    let compiled = compiled(policy, &[("bets", list)]);
    for (name, line) in [
        ("casino7.example", Some(1)),
        ("CASINO77.example", Some(1)),
        ("www.casino7.example", None),
        ("bet365.example.net", Some(2)),
        ("www.bet365.example.net", Some(2)),
        ("alphabet.example.net", None),
        ("my-poker-online.example", Some(3)),
        ("spoker.example", None),
    ] {
        assert_eq!(explain(&compiled, name).line, line, "{name}");
        assert_eq!(decide(&compiled, name, at(NOW)).is_block(), line.is_some(), "{name}");
    }
    let answer = |name| decide(&compiled, name, at(NOW)).action;
    // The expression speaks of the name alone, the wildcard of what is below too.
    assert_eq!(answer("casino7.example"), Action::Block(BlockAnswer::NullAddress));
    assert_eq!(answer("bet365.example.net"), Action::Block(BlockAnswer::Nxdomain));
}

#[test]
fn name_on_very_many_lists_is_still_blocked_by_the_strongest() {
    let mut policy = "version = 1\n[category.drugs]\nlocked = true\n".to_owned();
    let mut lists = Vec::new();
    for n in 0..60 {
        let category = if n == 59 { "drugs" } else { "adult" };
        policy += &format!("[list.l{n:02}]\nfile = \"f\"\nformat = \"adblock\"\ncategory = \"{category}\"\n");
        lists.push((format!("l{n:02}"), if n % 2 == 0 { "@@||bad.example^\n||x.test^\n" } else { "||bad.example^\n" }));
    }
    let lists: Vec<(&str, &str)> = lists.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let compiled = compiled(&policy, &lists);
    let explanation = explain(&compiled, "bad.example");
    assert_eq!((explanation.rule, explanation.list.as_deref()), (Rule::Locked, Some("l59")));
}

#[test]
fn missing_list_stops_the_compiler() {
    let policy = Policy::parse(SHORTEST).unwrap();
    let error = compile(&policy, &[], &mut |_| ()).unwrap_err().to_string();
    assert_eq!(error, "compiling the policy: list adult has no edition; give its file, or fetch it first");
}

#[test]
fn compiling_the_same_gives_the_same_file() {
    let policy = Policy::parse(SHORTEST).unwrap();
    let file = || {
        let edition = Edition::parse(&policy.lists[0], b"bad.example\nworse.example\n").unwrap();
        compile(&policy, &[edition], &mut |_| ()).unwrap()
    };
    assert_eq!(file(), file());
    let compiled = Compiled::from_bytes(file()).unwrap();
    assert_eq!(compiled.lists()[0].entries, 2);
    assert_eq!(compiled.digest(), Compiled::from_bytes(file()).unwrap().digest());
}

#[test]
fn policy_for_trying_out_blocks_by_list_and_nothing_else() {
    use std::path::Path;
    let spec =
        crate::Spec::blocking([("adult", Path::new("a")), ("my own", Path::new("b")), ("adult", Path::new("c"))]);
    let policy = spec.check().unwrap();
    let texts = ["a.example\n", "b.example\n", "c.example\n"];
    let editions: Vec<_> =
        policy.lists.iter().zip(texts).map(|(list, text)| Edition::parse(list, text.as_bytes()).unwrap()).collect();
    let compiled = Compiled::from_bytes(compile(&policy, &editions, &mut |_| ()).unwrap()).unwrap();
    for name in ["a.example", "b.example", "c.example"] {
        assert!(decide(&compiled, name, at(NOW)).is_block(), "{name}");
    }
    for name in ["www.google.com", "m.youtube.com", "use-application-dns.net", "d.example"] {
        assert_eq!(decide(&compiled, name, at(NOW)).action, Action::Allow, "{name}");
    }
}

/// A policy with something in every section.
fn everything() -> Vec<u8> {
    let policy = "version = 1\nallow = [\"good.bad.example\"]\n\
        [list.a]\nfile = \"a\"\nformat = \"adblock\"\ncategory = \"adult\"\n\
        [list.b]\nfile = \"b\"\nformat = \"addresses\"\ncategory = \"bypass\"\n\
        [list.c]\nfile = \"c\"\nformat = \"hashed\"\nkey_file = \"k\"\ncategory = \"csam\"\n";
    let policy = Policy::parse(policy).unwrap();
    let names = (0..200).map(|n| format!("||n{n}.example^\n")).collect::<String>();
    let texts = [names + "||bad.example^\n/^xx[0-9]+\\.test$/\n", "192.0.2.0/24\n".into(), "ab".repeat(32)];
    let editions: Vec<Edition> = policy
        .lists
        .iter()
        .zip(&texts)
        .map(|(list, text)| Edition::parse_parts(list, &[(list.format, text.as_bytes())], Some([1; 32])).unwrap())
        .collect();
    compile(&policy, &editions, &mut |_| ()).unwrap()
}

proptest::proptest! {
    /// Digests keep out accidents, not authors: a file whose digests are right and whose content is not must be refused
    /// or give verdicts, and never end the process.
    #[test]
    fn crafted_file_is_refused_or_gives_verdicts(
        section in 0usize..7,
        changes in proptest::collection::vec((proptest::prelude::any::<usize>(), proptest::prelude::any::<u8>()), 1..30),
        cut in proptest::option::of(proptest::prelude::any::<usize>()),
    ) {
        use crate::file::{self, Checked, Section};
        let all = [
            Section::Hot, Section::Cold, Section::Sets, Section::Meta, Section::Hashed, Section::Addresses, Section::Lines,
        ];
        let checked = Checked::from_bytes(everything()).unwrap();
        let mut sections = all.map(|section| checked.section(section).to_vec());
        let changed = &mut sections[section];
        for (at, octet) in changes {
            let at = at % changed.len();
            changed[at] = octet;
        }
        if let Some(cut) = cut {
            changed.truncate(cut % changed.len());
        }
        if let Ok(compiled) = Compiled::from_bytes(file::write(1, sections)) {
            let view = compiled.view(GroupId(0), at(NOW));
            for name in ["n7.example", "www.bad.example", "good.bad.example", "xx7.test", "other.example", "www.google.com"] {
                let wire = Name::parse(name).unwrap().wire();
                let verdict = compiled.decide(&wire, &view);
                compiled.block_text(&verdict.reason);
                proptest::prop_assert_eq!(compiled.explain(&wire, GroupId(0), at(NOW)).rule, verdict.reason.rule);
            }
            compiled.decide_address("192.0.2.1".parse().unwrap(), &view);
        }
    }
}

#[test]
fn firewall_is_told_exactly_the_addresses_that_the_category_blocks() {
    let policy = "version = 1\n[list.bypass]\nfile = \"b\"\nformat = \"addresses\"\ncategory = \"bypass\"\n\
        [list.malware]\nfile = \"m\"\nformat = \"addresses\"\ncategory = \"malware\"\n\
        [group.guest]\ncategories = [\"bypass\", \"malware\"]\n[group.staff]\nnetworks = [\"10.1.0.0/16\"]\ncategories = [\"malware\"]\n";
    let lists = [("bypass", "8.8.8.8\n1.1.1.0/30\n2620:fe::fe\n2001:db8::/127\n"), ("malware", "192.0.2.1\n1.1.1.1\n")];
    let compiled = compiled(policy, &lists);
    let guest = compiled.view(GroupId(0), Moment::Unknown);
    let closed = |view| -> Vec<String> {
        let mut closed: Vec<_> = compiled.closed_networks("bypass", view).iter().map(ToString::to_string).collect();
        closed.sort();
        closed
    };
    // 1.1.1.1 is on both, and malware decides.
    let expected = ["1.1.1.0/32", "1.1.1.1/32", "1.1.1.2/31", "2001:db8::/127", "2620:fe::fe/128", "8.8.8.8/32"];
    assert_eq!(closed(&guest), expected);
    let staff = compiled.view(compiled.group("staff").unwrap(), Moment::Unknown);
    assert!(closed(&staff).is_empty());
}
