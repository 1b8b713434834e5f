//! The rules as text: golden, accepted by nft, and said the way nft says them.

mod common;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use common::{golden, library, network, rulesets, side, square};
use sheshi_firewall::{Admin, Error, Promise, Ruleset, contract};

/// Runs nft in a network namespace of its own, with the text on its standard input.
fn nft(script: &str, text: &str) -> String {
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-ec", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare from util-linux");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rendered_text_is_golden() {
    for (name, ruleset) in rulesets() {
        ruleset.check().unwrap();
        golden(&format!("{name}.nft"), &ruleset.render());
    }
}

#[test]
fn nft_accepts_the_rendered_text_and_lists_it_back_word_by_word() {
    for (name, ruleset) in rulesets() {
        let text = ruleset.render();
        nft("nft --check --file -", &text);
        let listed = nft("nft --file -; nft --stateless list ruleset", &text);
        // nft wraps the elements of a set in its own way.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&listed), words(&text), "{name}");
    }
}

#[test]
fn nft_refuses_a_text_with_a_broken_rule() {
    let broken = square().render().replace("ct state invalid", "ct state confused");
    let refused = std::panic::catch_unwind(|| nft("nft --check --file - 2>/dev/null", &broken));
    assert!(refused.is_err());
}

#[test]
fn every_rule_names_a_promise_and_every_promise_has_a_rule() {
    let mut kept = std::collections::BTreeSet::new();
    for ruleset in [square(), library(), rulesets()[2].1.clone()] {
        for rule in contract::tables(&ruleset).iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules) {
            assert_eq!(Promise::of_comment(&rule.comment()), Some(rule.promise));
            // The kernel takes 128 bytes, with header and terminating zero.
            assert!(rule.comment().len() < 120 && rule.comment().is_ascii());
            kept.insert(rule.promise);
        }
    }
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), Promise::ALL.map(|(promise, _)| promise));
}

#[test]
fn check_before_state_in_every_chain_a_guest_can_enter() {
    for (name, ruleset) in rulesets() {
        for table in contract::tables(&ruleset) {
            for chain in table.chains.iter().filter(|chain| chain.name == "from_guests") {
                let text = chain.to_string();
                assert!(
                    !text.contains("ct state"),
                    "{name}: a connection's state is looked at before the pair:\n{text}"
                );
            }
        }
    }
}

#[test]
fn closed_ruleset_accepts_nothing_in_forward() {
    for ruleset in [Ruleset::closed(), Ruleset { closed: true, ..library() }] {
        let working = contract::working(&ruleset);
        for name in ["forward", "from_guests", "refused"] {
            for chain in working.chains.iter().filter(|chain| chain.name == name) {
                assert!(!chain.to_string().contains(" accept"), "{chain}");
            }
        }
        assert!(!ruleset.render().contains("admitted"));
    }
}

#[test]
fn contract_document_states_each_promise_as_the_rules_do() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/network-contract.md")).unwrap();
    for (promise, title) in Promise::ALL {
        assert!(
            document.contains(&format!("### {promise} {title}\n")),
            "docs/network-contract.md lacks \"### {promise} {title}\""
        );
    }
}

#[test]
fn contract_document_names_a_test_for_each_promise_and_each_is_there() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let sources: String = [
        "chaos.rs",
        "garden.rs",
        "guard.rs",
        "impostors.rs",
        "limits.rs",
        "packets.rs",
        "render.rs",
        "root.rs",
        "ways.rs",
        "../../tests/tests/bypass.rs",
    ]
    .map(|name| std::fs::read_to_string(format!("{folder}/{name}")).unwrap())
    .concat();
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/network-contract.md")).unwrap();
    let promises: Vec<_> = document.split("\n### ").skip(1).collect();
    assert_eq!(promises.len(), 38);
    for promise in promises {
        let tests = promise.split("**Test** ").nth(1).unwrap_or_else(|| panic!("no test: {promise}"));
        let tests = tests.split("\n\n").next().unwrap();
        if let Some(other) = tests.strip_prefix("as ") {
            assert!(document.contains(&format!("### {}", &other[..3])), "{promise}");
            continue;
        }
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{promise}");
        for name in names {
            assert!(sources.contains(&format!("#[test]\nfn {name}() {{")), "{name} is no test");
        }
    }
}

#[test]
fn every_problem_of_a_ruleset_is_told_at_once() {
    let mut ruleset = library();
    ruleset.guests[1].interface = "br-guest".into();
    ruleset.guests[1].v4 = Some(side("10.80.4.0/24", "10.80.5.1"));
    ruleset.uplinks[0] = "wan0\" accept".into();
    ruleset.ports.portal = 53;
    ruleset.block.push(network("0.0.0.0/0"));
    ruleset.admin.push(Admin { interface: "br-guest".into(), from: vec![network("::/0")], tcp: vec![0] });
    let Err(Error::Refused(problems)) = ruleset.check() else { panic!("accepted") };
    for path in [
        "guests[1].interface: \"br-guest\" is named twice",
        "guests[1].v4.gateway: 10.80.5.1 is not",
        "guests[1].v4.network: 10.80.4.0/24 overlaps guests[0].v4.network",
        "uplinks[0]: \"wan0\\\" accept\" is no interface",
        "ports.portal: 53 is taken",
        "block[3]: 0.0.0.0/0 is too wide",
        "admin[2].interface: \"br-guest\" is a guest's",
        "admin[2].from[0]: ::/0 is everybody",
        "admin[2].tcp: want",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(path)), "{path} not among {problems:#?}");
    }
    assert_eq!(problems.len(), 9, "{problems:#?}");
}

#[test]
fn open_ruleset_without_sides_is_refused() {
    let open = Ruleset { closed: false, ..Ruleset::closed() };
    let Err(Error::Refused(problems)) = open.check() else { panic!("accepted") };
    assert_eq!(problems.len(), 2);
}

#[test]
fn library_does_not_depend_on_nftnl() {
    let tree = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--locked",
                "--edges",
                "normal",
                "--package",
                "sheshi-firewall",
                "--prefix",
                "none",
            ])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!tree(&["--no-default-features"]).contains("nftnl"));
    assert!(tree(&[]).contains("nftnl"), "the control: the guard does");
}
