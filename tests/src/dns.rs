//! Asking a resolver from a place: one question, one answer, over UDP, TCP or TLS.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};

use crate::{
    error::{Doing, LabError},
    place::Place,
    tls,
};

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain datagrams.
    Udp,
    /// A plain connection.
    Tcp,
    /// An encrypted connection (RFC 7858); who answers is not checked.
    Tls,
}

impl Transport {
    /// The port that usually serves it.
    pub fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls => 853,
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The whole message.
    pub message: Message,
}

impl Answer {
    /// The response code.
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// All addresses among the answers.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        self.message.answers.iter().filter_map(|record| address(&record.data)).collect()
    }

    /// The smallest time to live among the answers, in seconds.
    pub fn ttl(&self) -> Option<u32> {
        self.message.answers.iter().map(|record| record.ttl).min()
    }

    /// The extended error (RFC 8914): its code and text.
    pub fn extended_error(&self) -> Option<(u16, String)> {
        const EXTENDED_ERROR: u16 = 15;
        let edns = self.message.edns.as_ref()?;
        match edns.options().get(EdnsCode::from(EXTENDED_ERROR))? {
            EdnsOption::Unknown(_, data) => {
                let (code, text) = data.split_first_chunk::<2>()?;
                Some((u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()))
            }
            _ => None,
        }
    }

    /// Whether this is sheshi's block: code 15 (blocked) or 16 (censored), whatever the answer itself is.
    pub fn is_blocked(&self) -> bool {
        matches!(self.extended_error(), Some((15 | 16, _)))
    }
}

/// A question as it travels.
pub(crate) fn question(name: &str, kind: RecordType) -> Result<Vec<u8>, LabError> {
    let name = Name::from_str(name).map_err(std::io::Error::other).doing(|| format!("reading the name {name}"))?;
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().map_err(std::io::Error::other).doing(|| format!("writing the question for {name}"))
}

/// Asks one question and returns the answer that belongs to it.
pub fn ask(
    place: &Place,
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    transport: Transport,
    within: Duration,
) -> Result<Answer, LabError> {
    let question = question(name, kind)?;
    let doing = || format!("asking {server} for {name} {kind} from {}", place.name());
    let reply = match transport {
        Transport::Udp => {
            let socket = place.udp(server)?;
            socket.set_read_timeout(Some(within)).doing(doing)?;
            socket.send(&question).doing(doing)?;
            let mut room = [0; 4096];
            let length = socket.recv(&mut room);
            room[..length.doing(doing)?].to_vec()
        }
        Transport::Tcp => over(place.connect(server, within)?, &question).doing(doing)?,
        Transport::Tls => {
            let stream = place.connect(server, within)?;
            over(tls::unchecked(stream, &server.ip().to_string()).doing(doing)?, &question).doing(doing)?
        }
    };
    let message = Message::from_vec(&reply).map_err(std::io::Error::other).doing(doing)?;
    if message.metadata.id.to_be_bytes() != question[..2] {
        return Err(LabError::Refused(format!("{}: the answer is to another question", doing())));
    }
    Ok(Answer { message })
}

/// RFC 1035 section 4.2.2: a length before each message.
fn over(mut stream: impl Read + Write, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    stream.flush()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
