//! Figures for Prometheus, made from the same values that `sheshi status` shows. Labels name categories, lists and promises;
//! never a device, an address or a name that was asked for.

use std::net::SocketAddr;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::status::{Service, Status};

/// Serves `/metrics` at this address until the process ends. To be called within a runtime, once.
pub fn start(listen: SocketAddr) -> Result<(), String> {
    PrometheusBuilder::new()
        .with_http_listener(listen)
        .install()
        .map_err(|error| format!("serve metrics on {listen}: {error}"))
}

/// Takes over the figures of a status.
pub fn note(status: &Status) {
    gauge!("sheshi_open").set(f64::from(u8::from(status.service == Service::Open)));
    gauge!("sheshi_troubles").set(status.troubles.len() as f64);
    gauge!("sheshi_addresses_lent").set(f64::from(status.network.leases.0));
    gauge!("sheshi_addresses").set(f64::from(status.network.leases.1));
    flat("sheshi_portal", &status.portal);
    flat("sheshi_dns", &status.dns);
    for (category, count) in status.dns["blocked_by_category"].as_object().into_iter().flatten() {
        counter!("sheshi_dns_blocked_by_category_total", "category" => category.clone())
            .absolute(count.as_u64().unwrap_or(0));
    }
    if let Some(policy) = &status.policy {
        gauge!("sheshi_policy_generation").set(policy.generation as f64);
        for list in &policy.lists {
            gauge!("sheshi_list_entries", "list" => list.name.clone()).set(f64::from(list.entries));
            gauge!("sheshi_list_refused_lines", "list" => list.name.clone()).set(f64::from(list.refused));
            gauge!("sheshi_list_held", "list" => list.name.clone()).set(f64::from(u8::from(list.held.is_some())));
            gauge!("sheshi_list_fetch_failures", "list" => list.name.clone()).set(f64::from(list.failures));
            gauge!("sheshi_list_stale", "list" => list.name.clone()).set(f64::from(u8::from(list.stale)));
        }
    }
    gauge!("sheshi_guard_answers").set(f64::from(u8::from(status.firewall.is_some())));
    if let Some(health) = &status.firewall {
        gauge!("sheshi_firewall_in_force").set(f64::from(u8::from(health.in_force && health.matches)));
        counter!("sheshi_firewall_restored_total").absolute(health.restored);
        for promise in &health.counters {
            // Counted anew with each ruleset, so a gauge and not a counter.
            gauge!("sheshi_firewall_packets", "promise" => promise.promise.clone()).set(promise.packets as f64);
        }
    }
}

/// What is now, among figures that otherwise only rise.
const NOW: [&str; 6] =
    ["sessions", "addresses", "open_connections", "cache_bytes", "waiting", "search_targets_missing"];

fn flat(prefix: &str, figures: &serde_json::Value) {
    for (name, value) in figures.as_object().into_iter().flatten() {
        let Some(value) = value.as_u64() else { continue };
        if NOW.contains(&name.as_str()) || (prefix == "sheshi_dns" && name == "connections") {
            gauge!(format!("{prefix}_{name}")).set(value as f64);
        } else {
            counter!(format!("{prefix}_{name}_total")).absolute(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures that exist are known by name: a new one is looked at here, by a person, for what it says about guests.
    #[test]
    fn figures_name_no_guest() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let status: Status = serde_json::from_str(include_str!("../testdata/status.json")).unwrap();
        metrics::with_local_recorder(&recorder, || note(&status));
        let text = handle.render();
        let mut names: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        names.sort_unstable();
        assert_eq!(names.join("\n"), include_str!("../testdata/metrics.txt").trim_end(), "{}", names.join("\n"));
    }
}
