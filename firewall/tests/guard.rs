//! The guard against a real kernel: what it holds, who is admitted, who may speak, and what survives what.

mod common;
#[path = "common/lab.rs"]
mod lab;

use std::{collections::BTreeSet, time::Duration};

use common::{rulesets, square};
use lab::*;
use sheshi_firewall::{Error, Ipv6Mode, Ruleset, contract};

/// The sets and chains of a text, each as a line. The kernel lists chains in the order in which they first came.
fn parts(text: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    let mut part = String::new();
    for line in text.lines().filter(|line| line.starts_with('\t')) {
        part = format!("{part} {}", line.trim());
        if line == "\t}" {
            parts.insert(std::mem::take(&mut part));
        }
    }
    parts
}

#[test]
fn kernel_holds_what_was_rendered() {
    lab("kernel_holds_what_was_rendered", |lab| {
        let guard = lab.guard();
        for (name, ruleset) in rulesets() {
            guard.apply(&ruleset).unwrap();
            let text = ruleset.render();
            for table in contract::tables(&ruleset) {
                let listed = run("nft", &format!("--stateless list table inet {}", table.name));
                // nft of Debian 12 knows no `persist` and lists the flags of an owned table as it can.
                let listed = listed.replace("\tflags owner\n", "").replace("192.0.2.53, ", "192.0.2.53,\n\t");
                assert_eq!(parts(&listed), parts(&table.to_string()), "{name}, table {}", table.name);
            }
            let health = guard.health().unwrap();
            assert!(health.in_force && health.matches, "{name}: {}", health.difference);
            assert_eq!((health.generation, health.closed, health.restored), (ruleset.generation, ruleset.closed, 0));
            assert_eq!(health.forwarding.v4, !ruleset.closed);
            assert_eq!(health.forwarding.v6, !ruleset.closed && ruleset.ipv6 != Ipv6Mode::Off);
        }
    });
}
