//! An outside clock for checkpoints: RFC 3161 over plain HTTP, bounded in time and size, tried a few times. The answer is
//! signed by the authority, so the way to it need not be. What comes back is kept beside the report, and whoever verifies checks it.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// For one attempt, from the first packet to the last.
const TIME: Duration = Duration::from_secs(5);
/// A usual response has 2 to 6 kB.
const LONGEST: u64 = 65_536;
/// Pauses before the second and third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Asks an authority to stamp these bytes.
///
/// # Errors
/// Says what came of the last attempt.
pub fn fetch(url: &str, stamped: &[u8]) -> Result<Vec<u8>, String> {
    let query = sheshi_evidence::tsp::query(stamped);
    let mut failed = String::new();
    for pause in [Duration::ZERO].into_iter().chain(PAUSES) {
        std::thread::sleep(pause);
        match ask(url, &query) {
            Ok(response) if sheshi_evidence::tsp::is_granted(&response) => return Ok(response),
            Ok(_) => failed = "the authority did not grant it".into(),
            Err(error) => failed = error.to_string(),
        }
    }
    Err(format!("ask {url} for a time stamp: {failed}"))
}

fn ask(url: &str, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let wrong = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("want an address that begins with http://"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port.to_socket_addrs()?.next().ok_or_else(|| wrong("its name has no address"))?;
    let end = Instant::now() + TIME;
    let mut stream = TcpStream::connect_timeout(&address, TIME)?;
    stream.set_write_timeout(Some(TIME))?;
    // HTTP/1.0, so that the answer ends with the connection and comes in one piece.
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/timestamp-query\r\n\
         Accept: application/timestamp-reply\r\nContent-Length: {}\r\n\r\n",
        query.len()
    );
    stream.write_all(&[head.as_bytes(), query].concat())?;
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    loop {
        // A server that sends a byte now and then does not get more time by it.
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(std::io::ErrorKind::TimedOut)?))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
        if answer.len() as u64 > LONGEST {
            return Err(wrong("its answer is too long"));
        }
    }
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| wrong("its answer is no HTTP"))?;
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if !answer.starts_with(b"HTTP/1.") || status.get(..3) != Some(b"200") {
        return Err(wrong("it refused"));
    }
    Ok(answer[split + 4..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that says the same to each of so many callers.
    fn server(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/stamp", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let _ = stream.read(&mut [0; 2_048]);
                let _ = stream.write_all(&answer);
            }
        });
        url
    }

    fn ok(body: &[u8]) -> Vec<u8> {
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\n\r\n", body].concat()
    }

    #[test]
    fn stamp_is_fetched_again_after_a_refusal() {
        let granted = [0x30, 7, 0x30, 3, 2, 1, 0, 0x30, 0];
        let url = server(vec![b"HTTP/1.1 503 Busy\r\n\r\n".to_vec(), ok(&granted)]);
        assert_eq!(fetch(&url, b"checkpoint").unwrap(), granted);
    }

    #[test]
    fn answers_that_are_no_stamp_are_told_and_end() {
        let rejected = [0x30, 5, 0x30, 3, 2, 1, 2];
        let began = Instant::now();
        for answer in [ok(&rejected), ok(b"<html>"), b"nonsense".to_vec(), ok(&vec![7; 70_000])] {
            let error = fetch(&server(vec![answer; 3]), b"checkpoint").unwrap_err();
            assert!(error.contains("ask http://127.0.0.1"), "{error}");
        }
        assert!(fetch("http://127.0.0.1:1/", b"x").unwrap_err().contains("refused"));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
