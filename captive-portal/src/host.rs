//! The `Host` of a request: who sent it is not known, so it is parsed strictly.

use std::{fmt, net::IpAddr};

use hyper::{HeaderMap, header};

/// A DNS host name: letters, digits, hyphens and underscores, lower case, no dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Parses a name of at most 253 bytes with labels of 1 to 63 bytes (RFC 1035 section 2.3.4).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let good = text.len() <= 253 && text.split('.').all(label);
        good.then(|| Self(text.to_ascii_lowercase()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The uncompressed wire form, as the policy reads it.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.') {
            // `parse` has seen to it that a label has at most 63 bytes.
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }
}

/// What a browser believes to be talking to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Site {
    Name(Name),
    Address(IpAddr),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A site with the port, where one is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) site: Site,
    pub(crate) port: Option<u16>,
}

impl Host {
    /// Parses `name`, `192.0.2.1` or `[2001:db8::1]`, each with or without `:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (site, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address: std::net::Ipv6Addr = address.parse().ok()?;
                (
                    Site::Address(IpAddr::V6(address).to_canonical()),
                    rest.strip_prefix(':').or(rest.is_empty().then_some("")),
                )
            }
            None => {
                let (site, port) = text.split_once(':').unwrap_or((text, ""));
                let site = match site.parse::<std::net::Ipv4Addr>() {
                    Ok(address) => Site::Address(address.into()),
                    Err(_) => Site::Name(Name::parse(site)?),
                };
                (site, Some(port))
            }
        };
        let port = match port? {
            "" => None,
            // `u16` would take a sign.
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { site, port })
    }

    /// The one `Host` header of a request; none, two or a malformed one is refused (RFC 9112 section 3.2).
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next()?.to_str().ok()?;
        if hosts.next().is_some() { None } else { Self::parse(host) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.site),
            None => self.site.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_read_and_written() {
        for (text, written) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:8080", "example.com:8080"),
            ("example.com:", "example.com"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:DB8::1]:81", "[2001:db8::1]:81"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn malformed_host_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "a/b",
            "a@b",
            "a:b",
            "a:+1",
            "a:1:2",
            "a:99999",
            "[::1",
            "::1",
            "[::1]x",
            "a%2e",
            "é.example",
            "a\0b",
            "<b>",
            &long,
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn host_is_read_as_it_is_written(text in "[a-zA-Z0-9.:@/%_ \\[\\]-]{0,40}") {
            if let Some(host) = Host::parse(&text) {
                assert_eq!(Host::parse(&host.to_string()), Some(host));
            }
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "a.example".parse().unwrap());
        assert!(Host::of(&headers).is_some());
        headers.append(header::HOST, "a.example".parse().unwrap());
        assert_eq!(Host::of(&headers), None);
    }

    #[test]
    fn wire_form_ends_in_the_root() {
        assert_eq!(Name::parse("ab.c").unwrap().wire(), b"\x02ab\x01c\x00");
    }
}
