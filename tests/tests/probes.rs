//! The synthetic guest: with nothing broken every probe passes, and what is broken in kernel or policy is seen and
//! named, by the probe whose business it is; repaired, it passes again. One lab serves all, so it is one test after another.

use std::{fs, time::Duration};

use sheshi_tests::{Lab, Options, approve_policy, policy_path, until};

type Lines = Vec<(String, String, String)>;

/// What an unbroken lab does not pass: its upstream is reached by plain DNS, samples of every category are not drawn yet, and
/// a gateway that is there before the synthetic guest leaves no start of the device to watch.
const KNOWN: [&str; 4] = ["SH-22 p4", "SH-06 p3", "SH-18 p3", "SH-18 p4"];

fn of(lines: &Lines, probe: &str) -> (String, String) {
    let line =
        lines.iter().find(|(name, ..)| name == probe).unwrap_or_else(|| panic!("{probe} was not measured: {lines:?}"));
    (line.1.clone(), line.2.clone())
}

/// Something that breaks, and which probes must say so.
struct Sabotage {
    what: &'static str,
    table: &'static str,
    red: &'static [&'static str],
}

/// Translations that come before the gateway's own: the packet leaves for where it was sent.
const IN_THE_KERNEL: [Sabotage; 4] = [
    Sabotage {
        what: "plain DNS to foreign resolvers is let out",
        table: "meta l4proto { tcp, udp } th dport 53 ip daddr != 10.77.0.1 dnat ip to ip daddr",
        red: &["SH-10 p1"],
    },
    Sabotage {
        what: "plain DNS over IPv6 is let out",
        table: "meta l4proto { tcp, udp } th dport 53 ip6 daddr != fd5e:5e:1::1 dnat ip6 to ip6 daddr",
        red: &["SH-10 p2", "SH-15 p2"],
    },
    Sabotage {
        what: "DNS over TLS is let out",
        table: "ip daddr 8.8.8.8 tcp dport 853 dnat ip to 8.8.8.8:80",
        red: &["SH-11 p1"],
    },
    Sabotage {
        what: "the synthetic guest goes a way of its own",
        table: "udp dport 853 dnat ip to 203.0.113.7:7",
        red: &["SH-23 p2"],
    },
];

fn nft(lab: &Lab, script: &str) {
    let path = lab.folder().join("sabotage.nft");
    fs::write(&path, script).unwrap();
    lab.place("gateway").output(&["nft", "-f", &path.display().to_string()]).unwrap();
}

fn expect(lab: &Lab, what: &str, probes: &[&str], outcome: &str) {
    let lines = lab.probe(probes).unwrap();
    for probe in probes {
        let (came, saw) = of(&lines, probe);
        assert_eq!(came, outcome, "{what}: {probe}: {saw}");
    }
}

#[test]
fn what_is_broken_is_named_and_what_is_whole_passes() {
    let lab = Lab::start(Options { guests: 1, probes: true, ..Options::default() })
        .unwrap_or_else(|problem| panic!("{problem}"));
    let measured = || (lab.gateway_status().ok()?["evidence"].is_object()).then_some(());
    until("the first round of probes", Duration::from_secs(120), measured).unwrap();

    // Whole: everything passes or does not apply.
    let lines = lab.probe(&[]).unwrap();
    assert!(lines.len() > 60, "only {} probes were measured", lines.len());
    let good = |probe: &str, outcome: &str| matches!(outcome, "pass" | "not applicable") || KNOWN.contains(&probe);
    let bad: Vec<_> = lines.iter().filter(|(probe, outcome, _)| !good(probe, outcome)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    nobody_is_counted(&lab);

    // The kernel lets out what it should not.
    for Sabotage { what, table, red } in IN_THE_KERNEL {
        let rule =
            format!("table inet sabotage {{ chain out {{ type nat hook prerouting priority -110; {table}; }}; }}\n");
        nft(&lab, &rule);
        expect(&lab, what, red, "fail");
        if what.contains("foreign") {
            let told = lab.drill("fail-safe").unwrap_err().to_string();
            assert!(told.contains("fail           SH-18 p1"), "{told}");
        }
        nft(&lab, "delete table inet sabotage\n");
        expect(&lab, what, red, "pass");
    }

    // The policy opens what it should not, quietly.
    let path = policy_path(lab.folder());
    let good = fs::read_to_string(&path).unwrap();
    let zone = "canary.sheshi-lab.example";
    let open = format!("allow = [\"adult.{zone}\", \"malware.{zone}\", \"pornhub.com\", ");
    let broken = good.replace("allow = [", &open)
        + "\n[safe_search]\nengines = [\"bing\"]\n[signals]\nbrowser_dns = \"allow\"\n";
    fs::write(&path, broken).unwrap();
    lab.sheshi(&["reload"]).unwrap();
    let red = ["SH-05 p1", "SH-05 p2", "SH-08 p1"];
    expect(&lab, "a policy that opens things", &red, "fail");
    fs::write(&path, &good).unwrap();
    approve_policy(lab.folder()).unwrap();
    lab.sheshi(&["reload"]).unwrap();
    expect(&lab, "the policy is good again", &red, "pass");
}

/// The synthetic guest is in no figure of guests.
fn nobody_is_counted(lab: &Lab) {
    assert_eq!(lab.sheshi(&["guests", "--json"]).unwrap().trim(), "[]");
    let status = lab.gateway_status().unwrap();
    for figure in ["sessions", "admitted", "addresses", "expelled"] {
        assert_eq!(status["portal"][figure], 0, "{figure}: {}", status["portal"]);
    }
    assert_eq!(status["network"]["leases"][0], 0, "{}", status["network"]);
}
