//! What the internet's resolvers know: every name leads to the web server, except names that say otherwise about
//! themselves. Every question is written down.
//!
//! | name | answer |
//! |---|---|
//! | `….dead.example.net` | NXDOMAIN |
//! | `NAME.alias.example.org` | CNAME to NAME, and NAME's addresses |
//! | `NAME.service.example.org` | HTTPS record that sends clients on to NAME (RFC 9460 AliasMode) |
//! | `NAME.target.example.org` | HTTPS record whose service is at NAME |
//! | `alias.`, `service.` below the canary zone | the same to the canary `adult` |
//! | the witness's name | the echo host; `subnet.` below it: TXT, the client subnet that came with the question |
//! | `sheshi-….` below com, org and al | NXDOMAIN |
//! | `a-b-c-d.address.example.org` | the address a.b.c.d |
//! | `….tunnel-lab.net` | what the tunnel's server says, where one runs |
//! | anything else | the web server; HTTPS and others: no data |

use std::{
    fs::File,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use hickory_proto::{
    op::{Edns, Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{
            CNAME, HTTPS, SOA, SVCB, TXT,
            opt::EdnsCode,
            svcb::{Alpn, SvcParamKey, SvcParamValue},
        },
    },
};

use crate::{
    arrivals::Asked,
    error::{Doing, LabError},
    plan,
};

const TTL: u32 = 60;

/// The list of asked names.
pub(crate) struct Log {
    file: Mutex<File>,
}

impl Log {
    pub(crate) fn create(path: &Path) -> Result<Self, LabError> {
        let file = File::create(path).doing(|| format!("writing {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    fn write(&self, asked: &Asked) {
        if let Ok(mut line) = serde_json::to_vec(asked) {
            line.push(b'\n');
            let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        }
    }
}

/// Answers questions of any transport.
pub(crate) struct Resolver {
    log: Log,
}

impl Resolver {
    pub(crate) fn new(log: Log) -> Self {
        Self { log }
    }

    /// Writes down a question that is somebody else's to answer: one below the zone of tunnels.
    pub(crate) fn is_for_tunnel(&self, question: &[u8], server: IpAddr) -> bool {
        let Ok(question) = Message::from_vec(question) else { return false };
        let Some(query) = question.queries.first() else { return false };
        let name = query.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        let within = name.strip_suffix(plan::TUNNEL_ZONE).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if within {
            let (name, kind) = (name.into(), query.query_type().to_string());
            self.log.write(&Asked { name, kind, transport: "udp".into(), server, foreign: false });
        }
        within
    }

    /// The reply to a question that came to `server`; `None` where there is no question in it.
    pub(crate) fn answer(&self, question: &[u8], server: IpAddr, transport: &str) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).ok()?;
        let query = question.queries.first()?.clone();
        let server = server.to_canonical();
        let foreign = server != IpAddr::V4(plan::UPSTREAM_V4) && server != IpAddr::V6(plan::UPSTREAM_V6);
        let name = query.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        let kind = query.query_type();
        self.log.write(&Asked {
            name: name.into(),
            kind: kind.to_string(),
            transport: transport.into(),
            server,
            foreign,
        });
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = question.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        // The question comes back letter for letter: a resolver may have mixed upper and lower case on purpose.
        reply.add_query(query.clone());
        if let Some(edns) = &question.edns {
            let mut own = Edns::new();
            own.set_max_payload(1232);
            own.set_dnssec_ok(edns.flags().dnssec_ok);
            reply.set_edns(own);
        }
        let subnet = question.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet));
        let told = subnet.map_or_else(|| "none".to_owned(), |subnet| format!("{subnet:?}"));
        if name == format!("subnet.{}", plan::WITNESS) && kind == RecordType::TXT {
            let record = Record::from_rdata(query.name().clone(), TTL, RData::TXT(TXT::new(vec![told])));
            reply.add_answers(vec![record]);
            return reply.to_vec().ok();
        }
        match records(query.name(), name, kind, foreign) {
            Some(records) if records.is_empty() => drop(reply.add_authority(start_of_authority()?)),
            Some(records) => drop(reply.add_answers(records)),
            None => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(start_of_authority()?);
            }
        }
        reply.to_vec().ok()
    }
}

/// The records of a name; empty is "no data", `None` is "no such name".
fn records(owner: &Name, name: &str, kind: RecordType, foreign: bool) -> Option<Vec<Record>> {
    let record = |owner: &Name, data: RData| Record::from_rdata(owner.clone(), TTL, data);
    let other = |name: &str| Name::from_str(&format!("{name}.")).ok();
    let random = name
        .split_once('.')
        .is_some_and(|(label, top)| label.starts_with("sheshi-") && ["com", "org", "al"].contains(&top));
    if random {
        return None;
    }
    let (canary, adult) = (name.strip_suffix(plan::CANARIES), format!("adult.{}", plan::CANARIES));
    if canary == Some("alias.") {
        let mut all = vec![record(owner, RData::CNAME(CNAME(other(&adult)?)))];
        if kind != RecordType::CNAME {
            all.extend(records(&other(&adult)?, &adult, kind, foreign)?);
        }
        return Some(all);
    }
    if canary == Some("service.") && kind == RecordType::HTTPS {
        let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into()])));
        return Some(vec![record(owner, RData::HTTPS(HTTPS(SVCB::new(1, other(&adult)?, vec![alpn]))))]);
    }
    if name == "dead.example.net" || name.ends_with(".dead.example.net") {
        return None;
    }
    if let Some(target) = name.strip_suffix(".alias.example.org") {
        let target_name = other(target)?;
        let mut all = vec![record(owner, RData::CNAME(CNAME(target_name.clone())))];
        if kind != RecordType::CNAME {
            all.extend(records(&target_name, target, kind, foreign)?);
        }
        return Some(all);
    }
    if kind == RecordType::HTTPS {
        let service = if let Some(target) = name.strip_suffix(".service.example.org") {
            Some(SVCB::new(0, other(target)?, Vec::new()))
        } else if let Some(target) = name.strip_suffix(".target.example.org") {
            let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into()])));
            Some(SVCB::new(1, other(target)?, vec![alpn]))
        } else {
            None
        };
        return Some(service.map(|service| record(owner, RData::HTTPS(HTTPS(service)))).into_iter().collect());
    }
    let (v4, v6) = if name == plan::WITNESS {
        (plan::ECHO_V4, plan::ECHO_V6)
    } else if foreign {
        (plan::BYPASS_V4, plan::BYPASS_V6)
    } else {
        (plan::WEB_V4, plan::WEB_V6)
    };
    let spelled =
        name.strip_suffix(".address.example.org").and_then(|text| Ipv4Addr::from_str(&text.replace('-', ".")).ok());
    Some(match kind {
        RecordType::A => vec![record(owner, RData::A(spelled.unwrap_or(v4).into()))],
        RecordType::AAAA if spelled.is_none() => vec![record(owner, RData::AAAA(v6.into()))],
        RecordType::TXT => {
            let text = if foreign { "from a foreign resolver" } else { "from the internet" };
            vec![record(owner, RData::TXT(TXT::new(vec![text.into()])))]
        }
        _ => Vec::new(),
    })
}

/// What RFC 2308 wants beside "no data" and "no such name".
fn start_of_authority() -> Option<Record> {
    let zone = Name::from_str("example.").ok()?;
    let soa =
        SOA::new(Name::from_str("ns.example.").ok()?, Name::from_str("host.example.").ok()?, 1, 3600, 600, 86_400, 30);
    Some(Record::from_rdata(zone, 30, RData::SOA(soa)))
}
