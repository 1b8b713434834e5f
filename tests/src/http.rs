//! A small HTTP client for a place: one request, one response, one connection. It follows nothing and resolves nothing
//! by itself, so that a test sees each step a browser would take.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use crate::{
    error::{Doing, LabError},
    place::Place,
    tls,
};

/// How long a request may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

/// Short enough to be read in the report of a failed test: of a page only what a person would see first.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self.body.split_once("<main>").map_or(self.body.as_str(), |(_, main)| main);
        let start: String = page.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
        write!(f, "{} {:?} {start:?}", self.status, self.header("location").unwrap_or_default())
    }
}

impl Response {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The hidden fields of the page, in order.
    pub fn fields(&self) -> Vec<(&str, &str)> {
        let attribute = |tag: &'_ str, name: &str| -> Option<(usize, usize)> {
            let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
            Some((start, start + tag[start..].find('"')?))
        };
        let inputs = self.body.split('<').filter(|tag| tag.starts_with("input") && tag.contains("type=\"hidden\""));
        inputs
            .filter_map(|tag| {
                let (name, value) = (attribute(tag, "name")?, attribute(tag, "value")?);
                Some((&tag[name.0..name.1], &tag[value.0..value.1]))
            })
            .collect()
    }

    /// The value of a hidden field of the page.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The hidden fields as a browser would send them.
    pub fn form(&self) -> String {
        let fields = self.fields();
        let pairs = fields.into_iter().map(|(name, value)| format!("{name}={}", escape(&value.replace("&amp;", "&"))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// A text as the value of a form field.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// What the `Host` header says.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, for `POST`.
    pub body: &'a str,
}

impl<'a> Request<'a> {
    /// `GET http://host/path`.
    pub fn get(host: &'a str, path: &'a str) -> Self {
        Self { method: "GET", host, path, headers: &[], body: "" }
    }

    /// `POST http://host/path` with a form.
    pub fn post(host: &'a str, path: &'a str, body: &'a str) -> Self {
        Self { method: "POST", body, ..Self::get(host, path) }
    }

    fn text(&self) -> String {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.path, self.host);
        for (name, value) in self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.method == "POST" {
            text += "Content-Type: application/x-www-form-urlencoded\r\n";
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        text + "\r\n" + self.body
    }
}

/// Sends one request to `server` and reads the whole response.
pub fn send(place: &Place, server: SocketAddr, request: &Request<'_>) -> Result<Response, LabError> {
    let doing =
        || format!("{} http://{}{} from {} at {server}", request.method, request.host, request.path, place.name());
    let stream = place.connect(server, WITHIN)?;
    exchange(stream, request).doing(doing)
}

/// Sends one request over TLS to the host that the certificate `trusted` (PEM) names.
pub fn send_tls(
    place: &Place,
    server: SocketAddr,
    request: &Request<'_>,
    trusted: &[u8],
) -> Result<Response, LabError> {
    let doing =
        || format!("{} https://{}{} from {} at {server}", request.method, request.host, request.path, place.name());
    let stream = place.connect(server, WITHIN)?;
    tls::checked(stream, request.host, trusted).and_then(|stream| exchange(stream, request)).doing(doing)
}

fn exchange(mut stream: impl Read + Write, request: &Request<'_>) -> io::Result<Response> {
    stream.write_all(request.text().as_bytes())?;
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Ok(_) => {}
        // A server that closes while we still send resets the connection, and one that speaks TLS may not say goodbye;
        // what it said before that counts.
        Err(problem)
            if matches!(problem.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) && !reply.is_empty() => {
        }
        Err(problem) => return Err(problem),
    }
    parse(&reply).ok_or_else(|| io::Error::other("no HTTP response came back"))
}

fn parse(reply: &[u8]) -> Option<Response> {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&reply[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = &reply[end + 4..];
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        let start = end + 2;
        whole.extend_from_slice(body.get(start..start + size)?);
        body = body.get(start + size + 2..)?;
    }
}
