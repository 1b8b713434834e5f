//! The section `[dns]` of a configuration.

use std::path::{Path, PathBuf};

use sheshi_policy::read::Section;
use sheshi_resolver::{Secure, Upstream};

use crate::config::{number, required_list_of};

/// The resolver.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    /// Whom to ask, in order of preference.
    pub upstreams: Vec<Upstream>,
    /// How many threads answer from cache and policy.
    pub threads: usize,
    /// How much memory the cache may take, in MiB.
    pub cache_mib: usize,
    /// How many names that nobody has asked for lately a guest may ask for in a minute below one domain; 0 for any number.
    pub new_names: u16,
    /// DNS over TLS and HTTPS for guests, if it is offered.
    pub tls: Option<Tls>,
}

/// DNS over TLS and HTTPS for guests.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate with its chain, a PEM file.
    pub certificate: PathBuf,
    /// Its key, a PEM file.
    pub key: PathBuf,
    /// Our name in the certificate; the portal's unless another is given.
    pub name: Option<String>,
    /// The port of DNS over TLS.
    pub dot: u16,
    /// The port of DNS over HTTPS.
    pub https: u16,
}

/// The port of DNS over HTTPS: 443 is the portal's, and guests are told of this one (RFC 9462).
const HTTPS: u16 = 8443;

/// Reads the section; paths in it are relative to `folder`.
pub(crate) fn read(section: &mut Section<'_, '_>, folder: &Path) -> Dns {
    let upstreams = required_list_of(section, "upstreams", "upstreams, such as \"9.9.9.9:53\"", upstream);
    if let (Some(plain), Some(_)) = (
        upstreams.iter().find(|upstream| !upstream.is_encrypted()),
        upstreams.iter().find(|upstream| upstream.is_encrypted()),
    ) {
        section.tell(
            "upstreams",
            format!(
                "{plain} is plain and others are encrypted, so that cutting those off would lay bare what is asked"
            ),
            "want all of them plain or all of them encrypted",
        );
    }
    Dns {
        upstreams,
        threads: number(section, "threads", 1..=256).unwrap_or(1) as usize,
        cache_mib: number(section, "cache_mib", 1..=65_536).unwrap_or(16) as usize,
        new_names: number(section, "new_names", 0..=6000).unwrap_or(60) as u16,
        tls: section.section("tls", |section| tls(section, folder)),
    }
}

/// What is wrong and what would be right.
fn upstream(text: &str) -> Result<Upstream, (String, String)> {
    text.parse().map_err(|why: String| match why.split_once("want ") {
        Some((wrong, right)) => {
            let wrong = wrong.trim_end_matches("; ");
            let because = if wrong.is_empty() { String::new() } else { format!(": {wrong}") };
            (format!("{text:?} is no upstream{because}"), format!("want {right}"))
        }
        None => (format!("{text:?} is no upstream"), why),
    })
}

fn tls(section: &mut Section<'_, '_>, folder: &Path) -> Tls {
    let mut file = |key| {
        let path = section.required_text(key, "want the path of a PEM file");
        path.map_or_else(PathBuf::new, |path| folder.join(path.value))
    };
    let (certificate, key) = (file("certificate"), file("key"));
    let name = section.text("name").map(|name| name.value);
    let mut port = |key, otherwise| number(section, key, 1..=65_535).map_or(otherwise, |port| port as u16);
    Tls { certificate, key, name, dot: port("dot", 853), https: port("https", HTTPS) }
}

impl Tls {
    /// What is wrong with its ports: each has to be a port of its own among `taken`.
    pub(crate) fn clash(&self, taken: &[u16]) -> Option<String> {
        let clash = |key, port: u16| taken.contains(&port).then(|| format!("dns.tls.{key} is {port}, which is taken"));
        clash("dot", self.dot).or_else(|| clash("https", self.https)).or_else(|| {
            (self.dot == self.https).then(|| format!("dns.tls.dot and dns.tls.https are both {}", self.dot))
        })
    }

    /// The listeners at these addresses of ours.
    pub(crate) fn secure(&self, addresses: &[std::net::IpAddr], portal: &str) -> Secure {
        let at = |port| addresses.iter().map(|address| (*address, port).into()).collect();
        Secure {
            tls: at(self.dot),
            https: at(self.https),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            name: Some(self.name.clone().unwrap_or_else(|| portal.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;

    fn problems(dns: &str) -> String {
        let text = include_str!("../../examples/gateway.toml");
        let (before, rest) = text.split_once("[dns]").unwrap();
        let (_, after) = rest.split_once("[portal]").unwrap();
        let text = format!("{before}[dns]\n{dns}\n[portal]{after}");
        config::parse(&text, Path::new("/etc/sheshi/gateway.toml"))
            .err()
            .map_or_else(String::new, |wrong| wrong.to_string())
    }

    #[test]
    fn upstreams_are_read_and_mixed_ones_refused() {
        let quad9 = "tls://9.9.9.9?name=dns.quad9.net";
        assert_eq!(problems(&format!("upstreams = [\"{quad9}\", \"https://149.112.112.112?name=dns.quad9.net\"]")), "");
        assert_eq!(problems("upstreams = [\"udp://9.9.9.9\", \"tcp://9.9.9.9\"]"), "");
        assert!(
            problems(&format!("upstreams = [\"{quad9}\", \"9.9.9.9:53\"]")).contains("want all of them plain or all")
        );
        assert!(problems("upstreams = [\"tls://dns.quad9.net\"]").contains("behind ?name="));
    }

    #[test]
    fn certificate_needs_its_key_and_ports_of_its_own() {
        let upstreams = "upstreams = [\"9.9.9.9:53\"]\n[dns.tls]\ncertificate = \"dns.pem\"\n";
        assert!(problems(upstreams).contains("dns.tls.key"));
        assert_eq!(problems(&format!("{upstreams}key = \"dns.key\"")), "");
        for (ports, words) in [
            ("https = 80", "dns.tls.https is 80"),
            ("dot = 53", "dns.tls.dot is 53"),
            ("dot = 8443", "are both 8443"),
            ("dot = 0", "out of bounds"),
        ] {
            let told = problems(&format!("{upstreams}key = \"dns.key\"\n{ports}"));
            assert!(told.contains(words), "{ports}: {told}");
        }
    }
}
