//! What a guest's browser says about where it is and where it wants to go: refused, or one line of safe characters that reads the
//! same again.

use sheshi_captive_portal::inside;

/// The first byte: 0 a `Host` header, 1 a URL, 2 what stands behind `?`.
pub(crate) fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    if how % 3 == 0 {
        if let Some(host) = inside::host(rest) {
            assert_eq!(inside::host(host.as_bytes()).as_ref(), Some(&host), "it reads the same again");
            assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte)), "{host}");
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let wanted = if how % 3 == 1 { inside::wanted(text) } else { inside::wanted_by_query(text) };
    if let Some((url, site)) = wanted {
        assert_eq!(inside::wanted(&url), Some((url.clone(), site.clone())), "it reads the same again");
        assert!(url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)), "{url}");
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        assert!(matches!(scheme, "http" | "https"), "{url}");
        let authority = rest.split(['/', '?', '#']).next().expect("a first part");
        assert_eq!(authority, site, "what is shown is where it leads");
        assert!(!site.contains('@'), "{url}");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hosts = [
        "portal.example",
        "PORTAL.example.:80",
        "192.0.2.1:8080",
        "[2001:db8::1]:443",
        "a_b.example",
        "::ffff:1.2.3.4",
    ];
    let urls =
        ["http://example.com/a?b=c", "https://[2001:db8::1]:8443/%20", "http://a@b.example/", "javascript:alert(1)"];
    let queries = ["to=http%3A%2F%2Fexample.com%2F&sig=00", "to=a&to=b", "lang=sq&to=https://x.example/?y", "%ff=%00"];
    let seed = |how: u8| move |text: &&str| [&[how], text.as_bytes()].concat();
    let hosts = hosts.iter().map(seed(0));
    hosts.chain(urls.iter().map(seed(1))).chain(queries.iter().map(seed(2))).collect()
}
