//! The Grafana dashboard shows figures that exist, by labels that they have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const DASHBOARD: &str = include_str!("../../docs/grafana/gateway.json");
const METRICS: &str = include_str!("../testdata/metrics.txt");

/// Each figure with its labels; `instance` is what Prometheus adds.
fn figures() -> BTreeMap<String, BTreeSet<String>> {
    let mut figures: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in METRICS.lines() {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        figures.entry(name.to_owned()).or_default().extend(labels.chain(["instance".to_owned()]));
    }
    figures
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

#[test]
fn every_figure_of_the_dashboard_exists_with_its_labels() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let figures = figures();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let named: Vec<&str> = words(expression).filter(|word| word.starts_with("sheshi_")).collect();
            assert!(!named.is_empty(), "{expression}");
            let legend = target["legendFormat"].as_str().unwrap();
            let legend = legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label);
            let grouped = expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
            let labels: BTreeSet<&str> = legend.chain(grouped.flat_map(|(labels, _)| words(labels))).collect();
            for name in named {
                let has = figures.get(name).unwrap_or_else(|| panic!("there is no {name}, in {expression}"));
                for label in &labels {
                    assert!(has.contains(*label), "{name} has no label {label}, in {expression}");
                }
                shown.insert(name.to_owned());
            }
        }
    }
    // What is measured and shown nowhere is either of no use or forgotten; these say the same as others.
    let beside = [
        "sheshi_dns_local_total",
        "sheshi_dns_redecided_in_answer_total",
        "sheshi_dns_search_targets_missing",
        "sheshi_portal_addresses",
        "sheshi_portal_connections_refused_total",
    ];
    let missing: Vec<_> =
        figures.keys().filter(|name| !shown.contains(*name) && !beside.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "shown nowhere: {missing:?}");
}
