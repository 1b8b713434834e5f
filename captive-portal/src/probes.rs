//! The OS probes: what systems ask to learn whether they are online, as a table of data (`probes.toml`).

use std::{collections::HashMap, sync::LazyLock};

use serde::Deserialize;

static PROBES: LazyLock<Vec<Probe>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        probe: Vec<Probe>,
    }
    let file: File =
        toml::from_str(include_str!("../probes.toml")).unwrap_or_else(|error| panic!("probes.toml: {error}"));
    file.probe
});

static BY_PLACE: LazyLock<HashMap<(&str, &str), &Probe>> =
    LazyLock::new(|| PROBES.iter().map(|probe| ((&*probe.host, &*probe.path), probe)).collect());

/// What a system asks, and the answer that tells it that it is online.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    /// Which system asks.
    #[allow(dead_code)]
    pub(crate) system: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) answer: Answer,
    /// Media type of the body.
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) body: String,
    /// How we know.
    #[allow(dead_code)]
    pub(crate) source: String,
}

/// What tells a system that it is online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// 204 without a body.
    NoContent,
    /// 200 with exactly this body.
    Body,
    /// Not a check, but what the system opens for people to sign in: they get the portal, also when they are in.
    SignIn,
}

/// The probe that this host and path are, whatever the query.
pub(crate) fn find(host: &str, path: &str) -> Option<&'static Probe> {
    BY_PLACE.get(&(host, path)).copied()
}

/// Whether a system has a probe under this host.
pub(crate) fn is_probed(host: &str) -> bool {
    PROBES.iter().any(|probe| probe.host == host)
}

/// Host names of all OS probes, in lower case, each once: names that a walled garden must never hold, because a system
/// that can reach them believes to be online.
pub fn probe_hosts() -> Vec<&'static str> {
    let mut hosts: Vec<_> = PROBES.iter().map(|probe| &*probe.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

#[cfg(test)]
pub(crate) fn all() -> &'static [Probe] {
    &PROBES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_there_once_and_says_how_we_know() {
        assert_eq!(BY_PLACE.len(), PROBES.len());
        for probe in all() {
            assert_eq!(crate::host::Name::parse(&probe.host).unwrap().as_str(), probe.host);
            assert!(probe.path.starts_with('/'), "{}", probe.path);
            let with_body = probe.answer == Answer::Body;
            assert_eq!(
                (probe.kind.is_empty(), probe.body.is_empty()),
                (!with_body, !with_body),
                "{} {}",
                probe.host,
                probe.path
            );
            assert!(!probe.system.is_empty() && probe.source.len() > 10, "{} {}", probe.host, probe.path);
        }
    }

    #[test]
    fn every_big_system_is_there() {
        for (host, path) in [
            ("captive.apple.com", "/hotspot-detect.html"),
            ("connectivitycheck.gstatic.com", "/generate_204"),
            ("www.msftconnecttest.com", "/connecttest.txt"),
            ("detectportal.firefox.com", "/canonical.html"),
            ("nmcheck.gnome.org", "/check_network_status.txt"),
            ("networkcheck.kde.org", "/"),
        ] {
            assert!(find(host, path).is_some(), "{host}{path}");
        }
        assert!(find("captive.apple.com", "/other").is_none());
    }
}
