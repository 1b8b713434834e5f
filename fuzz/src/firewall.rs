//! What comes in on the guard's socket: refused, or a request that means the same when it is written again, and a ruleset whose
//! rules can be written.

use std::{
    io::Write,
    net::Shutdown,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use sheshi_firewall::{
    Ruleset,
    message::{MAX_MESSAGE, Request, Response, receive},
};

pub(crate) fn run(input: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(input) {
        let again = serde_json::to_string(&request).expect("what was read can be written");
        let twice: Request = serde_json::from_str(&again).expect("and read");
        assert_eq!(serde_json::to_string(&twice).expect("and written"), again, "and means the same");
        if let Request::Apply { ruleset } = request
            && ruleset.check().is_ok()
        {
            assert!(ruleset.render().contains("policy drop"), "whatever is applied drops what it does not name");
        }
    }
    if let Ok(response) = serde_json::from_slice::<Response>(input) {
        serde_json::to_string(&response).expect("what was read can be written");
    }
    // The frame: the bytes as somebody puts them on the socket.
    if input.len() <= 1024 {
        let (mut theirs, ours) = UnixStream::pair().expect("a pair of sockets");
        theirs.write_all(input).expect("room for a short message");
        theirs.shutdown(Shutdown::Write).expect("an end");
        let announced = input.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
        let got = receive::<Request>(&ours, Instant::now() + Duration::from_secs(5), "testing");
        match got {
            Ok(None) => assert!(input.is_empty(), "only nothing is nothing"),
            Ok(Some(_)) => assert!(announced.is_some_and(|length| length <= MAX_MESSAGE && length + 4 <= input.len())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let closed = serde_json::to_string(&Ruleset::closed()).expect("a ruleset");
    let side = |network: &str, gateway: &str| format!(r#"{{"network":"{network}","gateway":"{gateway}"}}"#);
    let (v4, v6) = (side("10.80.0.0/20", "10.80.0.1"), side("2001:db8:80::/64", "2001:db8:80::1"));
    let open = format!(
        r#"{{"generation":7,"guests":[{{"interface":"br-guest","v4":{v4},"v6":[{v6}]}}],"uplinks":["wan0"],"ipv6":"routed",
        "ports":{{"dns":53,"stranger_dns":5300,"portal":80,"portal_tls":443}},"block":["192.0.2.53/32"],
        "admin":[{{"interface":"mgmt0","from":["172.20.0.0/24"],"tcp":[22]}}]}}"#
    );
    let texts = [
        format!("{{\"apply\":{{\"ruleset\":{closed}}}}}"),
        format!("{{\"apply\":{{\"ruleset\":{open}}}}}"),
        r#"{"admit":{"mac":"02:00:00:00:00:01","addresses":["192.0.2.1","2001:db8::1"],"milliseconds":60000}}"#
            .to_owned(),
        r#"{"expel":{"mac":"02:00:00:00:00:01"}}"#.to_owned(),
        r#"{"block":{"addresses":["192.0.2.0/24","2001:db8::/32"]}}"#.to_owned(),
        r#""guests""#.to_owned(),
        r#""health""#.to_owned(),
        r#"{"refused":{"problems":["a"]}}"#.to_owned(),
    ];
    let framed = |text: &String| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    texts.iter().flat_map(|text| [text.clone().into_bytes(), framed(text)]).collect()
}
