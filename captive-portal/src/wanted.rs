//! The page a guest wanted when the portal came in between.

use hyper::Uri;

use crate::host::Host;

/// Longest URL that is carried along, in bytes.
const LIMIT: usize = 2048;

/// An absolute `http` or `https` URL in the characters of RFC 3986, without a name and password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    url: String,
    host: Host,
}

impl Wanted {
    /// Parses what comes back from a guest.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > LIMIT {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        // A parsed host has no `@`, so nobody reads `https://bank.example@evil.example/` the wrong way round.
        let host = Host::parse(authority)?;
        let good = tail.bytes().all(in_rfc_3986) && !tail.contains('#');
        // Written anew, so that what is shown and what is opened are the same.
        good.then(|| Self { url: format!("{scheme}://{host}{tail}"), host })
    }

    /// What a request that was led to the portal had asked for.
    pub(crate) fn of(host: &Host, uri: &Uri) -> Option<Self> {
        Self::parse(&format!("http://{host}{}", uri.path_and_query().map_or("/", |path| path.as_str())))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The host, for people to read.
    pub(crate) fn site(&self) -> String {
        self.host.to_string()
    }
}

/// RFC 3986 appendix A: unreserved, reserved, and `%` of escapes. So no quote, space, bracket of HTML or control.
fn in_rfc_3986(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// A text as the value of a query parameter.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_are_carried() {
        for url in [
            "http://example.com/",
            "https://example.com:8443/a?b=c;d",
            "http://[2001:db8::1]/%20",
            "http://example.com//evil.example",
        ] {
            assert_eq!(Wanted::parse(url).unwrap().url(), url);
        }
        assert_eq!(Wanted::parse("http://EXAMPLE.com/A").unwrap().url(), "http://example.com/A");
    }

    #[test]
    fn anything_else_is_dropped() {
        let long = format!("http://example.com/{}", "a".repeat(LIMIT));
        for text in [
            "",
            "//evil.example/",
            "/local",
            "javascript:alert(1)",
            "javascript://example.com/%0aalert(1)",
            "data:text/html,x",
            "ftp://example.com/",
            "http:/example.com",
            "http://",
            "http:///x",
            "http://a@b.example/",
            "http://a:b@c.example/",
            "http://example.com/\r\nSet-Cookie: a=b",
            "http://example.com/\"><script>",
            "http://example.com/ x",
            "http://exämple.com/",
            "http://example.com\\@evil.example/",
            "HTTP://example.com/",
            " http://example.com/",
            "http://example.com/#fragment",
            &long,
        ] {
            assert_eq!(Wanted::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_carried_is_one_line_of_safe_characters(text in "(http|https|ftp)://[a-zA-Z.@:0-9-]{1,12}(/[ -~\\r\\n\u{e0}-\u{ff}]{0,12})?") {
            if let Some(wanted) = Wanted::parse(&text) {
                // Written and read again it is the same: what is signed, shown and opened are one thing.
                assert_eq!(Wanted::parse(wanted.url()).as_ref(), Some(&wanted));
                assert!(wanted.url().bytes().all(in_rfc_3986), "{}", wanted.url());
                assert!(wanted.url().starts_with(&format!("http://{}", wanted.site())) || wanted.url().starts_with(&format!("https://{}", wanted.site())));
                assert!(!wanted.site().contains('@'));
            }
        }
    }

    #[test]
    fn escaped_text_is_one_parameter() {
        assert_eq!(escape("http://a.example/?b=c&d=é"), "http%3A%2F%2Fa.example%2F%3Fb%3Dc%26d%3D%C3%A9");
    }
}
