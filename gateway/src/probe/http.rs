//! Enough of HTTP/1.1 to meet a portal: a request, a response, the fields of a form.

/// A response.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Its code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The page.
    pub body: String,
}

/// `GET`.
pub fn get(host: &str, path: &str, language: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Language: {language}\r\nConnection: close\r\n\r\n")
}

/// The head of a `POST`.
pub fn post_head(host: &str, path: &str, kind: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
}

impl Response {
    /// Reads a response that has come whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<_> = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
        Some(Self { status, headers, body })
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The hidden fields of the first form that has a token, as a browser would send them.
    pub fn form(&self) -> Option<String> {
        let fields: Vec<_> = self.hidden().collect();
        fields.iter().any(|(name, _)| *name == "token").then(|| {
            let pairs = fields.iter().map(|(name, value)| format!("{name}={}", escape(&value.replace("&amp;", "&"))));
            pairs.collect::<Vec<_>>().join("&")
        })
    }

    fn hidden(&self) -> impl Iterator<Item = (&str, &str)> {
        let inputs = self.body.split("<input").skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag));
        let hidden = inputs.filter(|tag| tag.contains("type=\"hidden\""));
        hidden.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
    }

    /// Hosts that the page makes a browser contact: sources, stylesheets, frames; not links, which a person follows.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = Vec::new();
        for tag in self.body.split('<').filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag)) {
            let name = tag.split_ascii_whitespace().next().unwrap_or_default();
            let attribute_name = if name == "link" { "href" } else { "src" };
            let loads =
                matches!(name, "link" | "script" | "img" | "iframe" | "audio" | "video" | "source" | "embed" | "input");
            if let Some(url) = attribute(tag, attribute_name).filter(|_| loads)
                && let Some((_, rest)) = url.split_once("//")
            {
                hosts.push(rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned());
            }
        }
        hosts
    }
}

fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_and_foreign_hosts_are_found() {
        let page = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n\r\n<link rel=\"icon\" href=\"data:,\"><a href=\"https://elsewhere.example/\">x</a>\
                    <img src=\"//cdn.example/x.png\"><form><input type=\"hidden\" name=\"token\" value=\"a&amp;b\"></form>";
        let response = Response::parse(page.as_bytes()).unwrap();
        assert_eq!(response.form().as_deref(), Some("token=a%26b"));
        assert_eq!(response.hosts(), ["cdn.example"]);
        assert_eq!(response.header("set-cookie"), Some("a=b"));
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
