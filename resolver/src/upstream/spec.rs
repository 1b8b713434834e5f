//! An upstream as an admin writes it: `udp://9.9.9.9`, `tls://9.9.9.9?name=dns.quad9.net`, `https://[2620:fe::fe]/dns-query?name=…`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::https::PATH;

/// A resolver that questions are forwarded to. Its address is given, never looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is asked.
    pub how: How,
}

/// How an upstream is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Over UDP, and over TCP what does not fit.
    Udp,
    /// Over TCP only.
    Tcp,
    /// Over TLS (RFC 7858), or not at all.
    Tls(Identity),
    /// Over HTTP/2 (RFC 8484), or not at all.
    Https {
        /// Who it must be.
        identity: Identity,
        /// Where it is asked, such as `/dns-query`.
        path: String,
    },
}

/// Who an upstream must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name or address that its certificate must be for.
    pub name: String,
    /// What its certificate must lead to.
    pub trust: Trust,
}

/// What an upstream's certificate must lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// One of the system's trust anchors.
    System,
    /// One of the certificates in this PEM file.
    File(PathBuf),
    /// This key itself: SHA-256 of its SubjectPublicKeyInfo, whatever name and dates the certificate has (RFC 7858 section 4.2).
    Key([u8; 32]),
}

impl Upstream {
    /// Whether nobody on the way can read or change what is asked.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.how, How::Tls(_) | How::Https { .. })
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self { address, how: How::Udp }
    }
}

/// Why a text is no upstream, and what would be right.
type Wrong = String;

impl FromStr for Upstream {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return text.parse::<SocketAddr>().map(Self::from).map_err(|_| {
                "want ADDR:PORT or one of udp://, tcp://, tls://, https:// before an address, such as tls://9.9.9.9?name=dns.quad9.net".into()
            });
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let port = match scheme {
            "udp" | "tcp" => 53,
            "tls" => 853,
            "https" => 443,
            _ => return Err(format!("{scheme:?} is no way to ask; want udp, tcp, tls or https")),
        };
        let address = address(host, port)?;
        if scheme != "https" && !path.is_empty() {
            return Err(format!("{path:?} behind the address; only https has a path"));
        }
        let encrypted = matches!(scheme, "tls" | "https");
        if !encrypted && !options.is_empty() {
            return Err(format!("{options:?} means nothing to {scheme}, which cannot tell who answers"));
        }
        let identity = identity(options, address.ip())?;
        let how = match scheme {
            "udp" => How::Udp,
            "tcp" => How::Tcp,
            "tls" => How::Tls(identity),
            _ => {
                let path = if path.is_empty() || path == "/" { PATH } else { path };
                if !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'#' | b'"')) {
                    return Err(format!("the path {path:?} is none; want such as {PATH}"));
                }
                How::Https { identity, path: path.into() }
            }
        };
        Ok(Self { address, how })
    }
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Wrong> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let alone = || Some(SocketAddr::new(bare.unwrap_or(host).parse::<IpAddr>().ok()?, port));
    let address = host.parse().ok().or_else(alone).filter(|address: &SocketAddr| address.port() != 0);
    address.ok_or_else(|| {
        format!("{host:?} is no address; want one such as 9.9.9.9 or [2620:fe::fe]:853, the name goes behind ?name=")
    })
}

fn identity(options: &str, address: IpAddr) -> Result<Identity, Wrong> {
    let mut identity = Identity { name: address.to_string(), trust: Trust::System };
    let mut seen = Vec::new();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if seen.contains(&key) || (seen.contains(&"ca") && key == "pin") || (seen.contains(&"pin") && key == "ca") {
            return Err(format!("{key} is one too many; want each once, and one of ca and pin"));
        }
        seen.push(key);
        match key {
            "name" => {
                if rustls::pki_types::ServerName::try_from(value).is_err() {
                    return Err(format!("{value:?} is no name for a certificate; want such as dns.quad9.net"));
                }
                identity.name = value.into();
            }
            "ca" if value.starts_with('/') => identity.trust = Trust::File(value.into()),
            "ca" => return Err(format!("ca is {value:?}; want the full path of a PEM file")),
            "pin" => {
                // In a URL `+` and `/` of base64 are as good as written out.
                let pin = STANDARD.decode(value).ok().and_then(|pin| pin.try_into().ok());
                identity.trust =
                    Trust::Key(pin.ok_or_else(|| {
                        format!("pin is {value:?}; want the base64 of 32 bytes, the SHA-256 of the key")
                    })?);
            }
            _ => return Err(format!("{key:?} is not known; want name, ca or pin")),
        }
    }
    Ok(identity)
}

impl fmt::Display for Upstream {
    /// As an admin writes it, without what is the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = match &self.how {
            How::Udp => return write!(f, "udp://{}", self.address),
            How::Tcp => return write!(f, "tcp://{}", self.address),
            How::Tls(identity) => {
                write!(f, "tls://{}", self.address)?;
                identity
            }
            How::Https { identity, path } => {
                write!(f, "https://{}{path}", self.address)?;
                identity
            }
        };
        write!(f, "?name={}", identity.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_admin_writes_is_read() {
        let pin = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for (text, told) in [
            ("9.9.9.9:53", "udp://9.9.9.9:53"),
            ("[2620:fe::fe]:53", "udp://[2620:fe::fe]:53"),
            ("udp://9.9.9.9", "udp://9.9.9.9:53"),
            ("tcp://[2620:fe::fe]:5353", "tcp://[2620:fe::fe]:5353"),
            ("tls://9.9.9.9?name=dns.quad9.net", "tls://9.9.9.9:853?name=dns.quad9.net"),
            ("tls://1.1.1.1", "tls://1.1.1.1:853?name=1.1.1.1"),
            ("tls://[2620:fe::fe]?name=dns.quad9.net&ca=/etc/ca.pem", "tls://[2620:fe::fe]:853?name=dns.quad9.net"),
            (&format!("tls://192.0.2.1:8853?pin={pin}"), "tls://192.0.2.1:8853?name=192.0.2.1"),
            ("https://9.9.9.9?name=dns.quad9.net", "https://9.9.9.9:443/dns-query?name=dns.quad9.net"),
            ("https://8.8.8.8/resolve?name=dns.google", "https://8.8.8.8:443/resolve?name=dns.google"),
        ] {
            let upstream: Upstream = text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            assert_eq!(upstream.to_string(), told, "{text}");
            assert_eq!(upstream.is_encrypted(), text.starts_with("tls") || text.starts_with("https"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_would_be_right() {
        for (text, words) in [
            ("9.9.9.9", "want ADDR:PORT"),
            ("dns.quad9.net:853", "want ADDR:PORT"),
            ("quic://9.9.9.9", "want udp, tcp, tls or https"),
            ("http://9.9.9.9", "want udp, tcp, tls or https"),
            ("tls://dns.quad9.net", "behind ?name="),
            ("https://dns.quad9.net/dns-query", "behind ?name="),
            ("tls://9.9.9.9:0", "behind ?name="),
            ("tls://9.9.9.9/dns-query", "only https has a path"),
            ("udp://9.9.9.9?name=dns.quad9.net", "cannot tell who answers"),
            ("tls://9.9.9.9?name=", "is no name"),
            ("tls://9.9.9.9?name=a b", "is no name"),
            ("tls://9.9.9.9?ca=ca.pem", "full path"),
            ("tls://9.9.9.9?pin=AAAA", "32 bytes"),
            ("tls://9.9.9.9?ca=/a&pin=AAAA", "one of ca and pin"),
            ("tls://9.9.9.9?name=a.example&name=b.example", "each once"),
            ("tls://9.9.9.9?insecure", "is not known"),
            ("https://9.9.9.9/dns-query{?dns}", "is not known"),
        ] {
            let wrong = text.parse::<Upstream>().expect_err(text);
            assert!(wrong.contains(words), "{text}: {wrong}");
        }
    }
}
