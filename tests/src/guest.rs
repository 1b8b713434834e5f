//! A guest's device: joins by DHCP and router advertisement, resolves, browses, meets the portal.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Deref,
    time::Duration,
};

use hickory_proto::rr::RecordType;

use crate::{
    control,
    dns::{self, Answer, Transport},
    error::LabError,
    http::{self, Request, Response},
    inside::load_options,
    lab::order,
    options::Ipv6,
    place::Place,
    plan,
    wait::until,
};

/// How long joining may take.
const JOIN_WITHIN: Duration = Duration::from_secs(15);

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A guest's device. All that a [`Place`] can do, it can.
#[derive(Debug, Clone)]
pub struct Guest {
    place: Place,
}

/// What a device got when it joined.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// The resolver it was told to use.
    pub resolver: Ipv4Addr,
    /// What option 114 said (RFC 8910), where it was there.
    pub captive_portal: Option<String>,
}

impl Deref for Guest {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Guest {
    pub(crate) fn new(place: Place) -> Self {
        Self { place }
    }

    /// Joins the hotspot and waits until the device has all its addresses.
    pub fn join(&self) -> Result<Lease, LabError> {
        self.bring_up()?;
        let ipv6 = load_options(self.folder())?.ipv6;
        until(&format!("{} to have joined", self.name()), JOIN_WITHIN, || self.lease(ipv6))
    }

    /// Starts the DHCP client and waits for nothing.
    pub fn bring_up(&self) -> Result<(), LabError> {
        order(self.folder(), &control::Request::Start { process: format!("{}-dhcp", self.name()) })
    }

    fn lease(&self, ipv6: Ipv6) -> Option<Lease> {
        let text = self.read("lease").ok()?;
        let lease: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let v6 = self.ipv6_addresses("eth0").ok()?;
        if v6.is_empty() && ipv6 != Ipv6::Off {
            return None;
        }
        Some(Lease {
            address: lease.get("address")?.parse().ok()?,
            v6,
            resolver: lease.get("dns")?.split(' ').next()?.parse().ok()?,
            captive_portal: lease.get("captive_portal").and_then(|hex| text_of(hex)),
        })
    }

    /// Asks the gateway's resolver.
    pub fn resolve(&self, name: &str, kind: RecordType) -> Result<Answer, LabError> {
        self.resolve_within(name, kind, ANSWER_WITHIN)
    }

    /// Asks the gateway's resolver once, and waits no longer than this.
    pub fn resolve_within(&self, name: &str, kind: RecordType, within: Duration) -> Result<Answer, LabError> {
        dns::ask(self, (plan::GATEWAY_V4, 53).into(), name, kind, Transport::Udp, within)
    }

    /// Asks any resolver.
    pub fn ask(
        &self,
        server: impl Into<SocketAddr>,
        name: &str,
        kind: RecordType,
        transport: Transport,
    ) -> Result<Answer, LabError> {
        dns::ask(self, server.into(), name, kind, transport, ANSWER_WITHIN)
    }

    /// Opens `http://HOST/PATH` as a browser does: resolves the name, connects, asks once, follows nothing.
    pub fn get(&self, host: &str, path: &str) -> Result<Response, LabError> {
        let address = self.address_of(host)?;
        http::send(self, SocketAddr::new(address, 80), &Request::get(host, path))
    }

    /// Opens a page of a host at this address, over IPv4 or IPv6.
    pub fn get_at(&self, address: IpAddr, host: &str, path: &str) -> Result<Response, LabError> {
        http::send(self, SocketAddr::new(address, 80), &Request::get(host, path))
    }

    /// The first IPv4 address of a name, or the address it spells.
    pub fn address_of(&self, host: &str) -> Result<IpAddr, LabError> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(address);
        }
        let answer = self.resolve(host, RecordType::A)?;
        answer
            .addresses()
            .first()
            .copied()
            .ok_or_else(|| LabError::Refused(format!("{host} has no address for {}: {}", self.name(), answer.code())))
    }

    /// Meets the portal and accepts its terms, as a person would: from any page to the terms, then the button.
    pub fn accept(&self) -> Result<Response, LabError> {
        let page = self.open_portal()?;
        if page.field("token").is_none() {
            return Err(LabError::Refused(format!("the portal's page has no token: {}", page.body)));
        }
        let form = page.form();
        let request = Request::post(plan::PORTAL, "/accept", &form);
        let answer = http::send(self, (plan::GATEWAY_V4, 80).into(), &request)?;
        if answer.status == 303 {
            return Ok(answer);
        }
        Err(LabError::Refused(format!("the portal did not admit {}: {answer:?}", self.name())))
    }

    /// The terms page, reached from `http://neverssl.com/` by the redirect a browser would follow.
    pub fn open_portal(&self) -> Result<Response, LabError> {
        let mut host = "neverssl.com".to_owned();
        let mut path = "/".to_owned();
        for _ in 0..5 {
            let response = self.get(&host, &path)?;
            if response.field("token").is_some() {
                return Ok(response);
            }
            let Some(next) = response.header("location").map(str::to_owned) else {
                return Err(LabError::Refused(format!("http://{host}{path} led to no portal: {}", response.body)));
            };
            let rest = next.strip_prefix("http://").map(str::to_owned);
            (host, path) = match rest.as_deref().map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
                Some((next_host, next_path)) => (next_host.to_owned(), format!("/{next_path}")),
                None => (host, next),
            };
        }
        Err(LabError::Refused("the portal redirects in a circle".into()))
    }

    /// Joins, accepts, and waits until the internet is there.
    pub fn join_and_accept(&self) -> Result<Lease, LabError> {
        let lease = self.join()?;
        self.accept()?;
        self.wait_for_internet()?;
        Ok(lease)
    }

    /// Waits until a page of the real internet opens, in each family that guests have.
    pub fn wait_for_internet(&self) -> Result<(), LabError> {
        let within = Duration::from_secs(5);
        until(&format!("the internet to open for {}", self.name()), within, || {
            let page = self.get("news.example.org", "/").ok()?;
            page.body.contains(REAL_PAGE).then_some(())
        })?;
        let Some(gateway) = load_options(self.folder())?.gateway_v6() else { return Ok(()) };
        // A gateway learns an IPv6 address when it is first used; devices try again, and so do we.
        until(&format!("IPv6 to open for {}", self.name()), within, || {
            let within = Duration::from_millis(500);
            self.connect((plan::WEB_V6, 443).into(), within).ok()?;
            let server = (gateway, 53).into();
            let answer = dns::ask(self, server, "news.example.org", RecordType::AAAA, Transport::Udp, within).ok()?;
            (answer.addresses() == [plan::WEB_V6]).then_some(())
        })
    }
}

/// What every page of the lab's internet says.
pub const REAL_PAGE: &str = "the real page";
/// What every page says to which only an answer of a foreign resolver leads.
pub const BYPASS_PAGE: &str = "round the filter";

/// udhcpc hands over unknown options in hexadecimal.
fn text_of(hex: &str) -> Option<String> {
    let octets = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(octets.collect::<Option<Vec<u8>>>()?).ok().filter(|text| !text.is_empty())
}
