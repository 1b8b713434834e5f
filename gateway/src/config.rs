//! A gateway's configuration: one TOML file, read as a whole, every problem told at once.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::Deserialize as _;
use sheshi_policy::{
    Problems,
    read::{self, Field, Section},
};

mod egress;

use crate::{
    dns::{self, Dns},
    resolve,
};

/// The control socket unless the configuration names another.
pub const DEFAULT_CONTROL: &str = "/run/sheshi/control.sock";

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What guests and the city call this place.
    pub site: String,
    /// What must survive a reboot.
    pub state: PathBuf,
    /// What must not: a folder in memory (tmpfs).
    pub run: PathBuf,
    /// The policy.
    pub policy: PathBuf,
    /// The public key (PEM) that must have signed it, when one must.
    pub policy_key: Option<String>,
    /// Interfaces and addresses.
    pub network: Network,
    /// The resolver.
    pub dns: Dns,
    /// What each guest's device may use up.
    pub guests: sheshi_firewall::Limits,
    /// Ways round the filter that are closed besides.
    pub egress: sheshi_firewall::Ways,
    /// Names that guests reach before they are admitted, with everything below them.
    pub garden: Vec<String>,
    /// What guests see. The addresses are filled in from the guest interface when the gateway starts.
    pub portal: sheshi_captive_portal::Settings,
    /// The port of the portal's API over TLS, when it has a certificate.
    pub portal_tls: Option<u16>,
    /// The guard's socket.
    pub guard: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// The city's dashboard, if there is one.
    pub city: Option<City>,
    /// Where figures for Prometheus are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// What is recorded of the gateway's own measurements, if anything.
    pub evidence: Option<crate::evidence_log::Settings>,
    /// How the gateway measures itself, if it does.
    pub probes: Option<crate::probe::Settings>,
}

impl Config {
    /// Where the synthetic guest is told what to do.
    pub fn guest_socket(&self) -> PathBuf {
        self.run.join("guest.sock")
    }
}

/// Interfaces and addresses.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The interface that guests are behind. Its addresses are the gateway's, and its range is the guests'.
    pub guests: String,
    /// The interfaces towards the internet.
    pub uplink: Vec<String>,
    /// How guests' IPv6 reaches the internet.
    pub ipv6: Ipv6Choice,
    /// For how long an address is lent.
    pub lease: Duration,
    /// Whether `sheshi advertise` is the router that guests hear of, instead of dnsmasq.
    pub advertise: bool,
    /// TCP ports of the gateway itself that stay open towards the uplink, such as 22.
    pub admin: Vec<u16>,
}

/// How guests' IPv6 is to reach the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6Choice {
    /// By what the guest interface has: a global prefix is routed, a unique local one translated, else off.
    #[default]
    Auto,
    /// By a delegated prefix.
    Routed,
    /// By translation.
    Nat66,
    /// Not at all.
    Off,
}

impl std::str::FromStr for Ipv6Choice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "routed" => Ok(Self::Routed),
            "nat66" => Ok(Self::Nat66),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// The city's dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct City {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A file with the authorities (PEM) whose word counts on who it is; those of the system unless given.
    pub authorities: Option<PathBuf>,
}

impl City {
    /// Host and port as a request names them.
    pub fn authority(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// Its address as people write it.
    pub fn url(&self) -> String {
        format!("https://{}", self.authority())
    }
}

/// The configuration could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not right.
    #[error("{}", told(.path, .problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        problems: Problems,
    },
}

/// Problems with the file's name before each line.
pub fn told(path: &Path, problems: &Problems) -> String {
    let lines = problems.0.iter().map(|problem| format!("{}: {problem}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    parse(&text, path).map_err(|problems| ConfigError::Wrong { path: path.into(), problems })
}

/// Checks a configuration's text; paths in it are relative to the folder of `path`.
pub fn parse(text: &str, path: &Path) -> Result<Config, Problems> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (config, problems) = read::document(text, |top| whole(top, folder));
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Problems::sorted(problems)),
    }
}

/// `None` when the portal's section cannot be read; the problem has been noted.
fn whole(top: &mut Section<'_, '_>, folder: &Path) -> Option<Config> {
    if number(top, "version", 1..=1).is_none() && !top.has("version") {
        top.missing("version", "write version = 1 as the first line");
    }
    let site = top.required_text("site", "write what guests call this place, such as \"Sheshi Skënderbej\"");
    let site = site.map_or_else(|| "the site".to_owned(), |field| field.value);
    let state = parsed(top, "state", "a folder").unwrap_or_else(|| PathBuf::from("/var/lib/sheshi"));
    let run = parsed(top, "run", "a folder in memory").unwrap_or_else(|| PathBuf::from("/run/sheshi"));
    let policy = folder.join(top.text("policy").map_or_else(|| "policy.toml".to_owned(), |field| field.value));
    let policy_key = policy_key(top, folder);
    if !top.has("network") {
        top.missing("network", "write a section [network] with guests and uplink");
    }
    let network = top.section("network", network).unwrap_or_default();
    if !top.has("dns") {
        top.missing("dns", "write a section [dns] with upstreams");
    }
    let dns = top.section("dns", |section| dns::read(section, folder)).unwrap_or_default();
    let guests = top.section("guests", guests).unwrap_or_default();
    let egress = top.section("egress", |section| egress::egress(section, folder)).unwrap_or_default();
    let garden = top.section("garden", egress::garden).unwrap_or_default();
    let socket = |section: &mut Section<'_, '_>| parsed(section, "socket", "the path of a Unix socket");
    let guard = top.section("guard", socket).flatten().unwrap_or_else(|| run.join("guard.sock"));
    let control = top.section("control", socket).flatten().unwrap_or_else(|| DEFAULT_CONTROL.into());
    let metrics = top.section("metrics", metrics).flatten();
    let evidence = top.section("evidence", |section| evidence(section, &site, folder));
    let city = top.section("city", |section| city(section, folder)).flatten();
    let witness = top.section("witness", crate::probe::witness).flatten();
    let probes = top.section("probes", |section| crate::probe::settings(section, folder));
    let probes = probes.map(|settings| crate::probe::Settings { witness, ..settings });
    if probes.is_some() && evidence.is_none() {
        top.missing("evidence", "write a section [evidence] with gateway: what is measured has to be written down");
    }
    if !top.has("portal") {
        top.missing("portal", "write a section [portal] with name, organisation and contact");
    }
    let portal = top.section("portal", |section| portal(section, &site, &state, &run)).flatten()?;
    let portal_tls = portal.tls.as_ref().map(|tls| tls.port);
    let taken: Vec<u16> = [53, resolve::STRANGER_PORT, portal.port].into_iter().chain(portal_tls).collect();
    if let Some(clash) = dns.tls.as_ref().and_then(|tls| tls.clash(&taken)) {
        top.tell("dns", clash, "want a port that nothing else here listens on");
    }
    Some(Config {
        site,
        state,
        run,
        policy,
        policy_key,
        network,
        dns,
        guests,
        egress,
        garden,
        portal,
        portal_tls,
        guard,
        control,
        city,
        metrics,
        evidence,
        probes,
    })
}

/// The text of the key's file. One that cannot be read must not look like none.
fn policy_key(top: &mut Section<'_, '_>, folder: &Path) -> Option<String> {
    let path = folder.join(top.text("policy_key")?.value);
    let right = "want an Ed25519 public key in PEM, as `openssl pkey -pubout` writes it";
    match std::fs::read_to_string(&path) {
        Ok(key) if key.contains("-----BEGIN PUBLIC KEY-----") => Some(key),
        Ok(_) => {
            top.tell("policy_key", format!("{} is no public key", path.display()), right);
            None
        }
        Err(error) => {
            top.tell("policy_key", format!("{} cannot be read: {error}", path.display()), right);
            None
        }
    }
}

/// A text that reads as a `T`.
fn parsed<T: FromStr>(section: &mut Section<'_, '_>, key: &'static str, want: &str) -> Option<T> {
    section.parsed(key, reads(want)).map(|field| field.value)
}

fn reads<T: FromStr>(want: &str) -> impl Fn(&str) -> Result<T, (String, String)> {
    move |text| text.parse().map_err(|_| (format!("{text:?} is none"), format!("want {want}")))
}

/// A list of texts that each read as a `T`, one at least.
fn required_list<T: FromStr>(section: &mut Section<'_, '_>, key: &'static str, want: &str) -> Vec<T> {
    required_list_of(section, key, want, reads(want))
}

/// The same, each read by `parse`, which says what is wrong and what would be right.
pub(crate) fn required_list_of<T>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    want: &str,
    parse: impl Fn(&str) -> Result<T, (String, String)>,
) -> Vec<T> {
    let list = section.list(key, parse);
    if list.is_none() && !section.has(key) {
        section.missing(key, &format!("want a list of {want}"));
    }
    list.into_iter().flatten().map(|field| field.value).collect()
}

/// A whole number within bounds.
pub(crate) fn number(section: &mut Section<'_, '_>, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
    let field = section.integer(key)?;
    within(section, field, &bounds)
}

fn within(section: &mut Section<'_, '_>, field: Field<u64>, bounds: &RangeInclusive<u64>) -> Option<u64> {
    if bounds.contains(&field.value) {
        return Some(field.value);
    }
    let want = match (bounds.start(), bounds.end()) {
        (start, end) if start == end => format!("want {start}"),
        (start, end) => format!("want a whole number from {start} to {end}"),
    };
    section.note(field.problem(format!("{} is out of bounds", field.value), want));
    None
}

fn network(section: &mut Section<'_, '_>) -> Network {
    let interface = "an interface, such as \"br-guests\"";
    let guests =
        section.required_text("guests", &format!("want {interface}")).map_or_else(String::new, |field| field.value);
    let uplink: Vec<String> = required_list(section, "uplink", interface);
    if uplink.contains(&guests) {
        section.tell("uplink", format!("{guests:?} is the guests' interface"), "want interfaces towards the internet");
    }
    for (key, name) in [("guests", &guests)].into_iter().chain(uplink.iter().map(|name| ("uplink", name))) {
        // IFNAMSIZ is 16 with the closing zero.
        if name.len() > 15 || name.contains(['/', ' ', '"']) {
            section.tell(
                key,
                format!("{name:?} cannot be an interface"),
                "want at most 15 letters, as `ip link` shows it",
            );
        }
    }
    let ipv6 = parsed(section, "ipv6", "\"auto\", \"routed\", \"nat66\" or \"off\"").unwrap_or_default();
    let advertise = section.parsed("ra", |text| match text {
        "dnsmasq" => Ok(false),
        "sheshi" => Ok(true),
        _ => Err((format!("{text:?} is none"), "want \"dnsmasq\" or \"sheshi\"".to_owned())),
    });
    let advertise = advertise.is_some_and(|field| field.value);
    let mut admin = Vec::new();
    for port in section.integers("admin") {
        admin.extend(within(section, port, &(1..=65_535)).map(|port| port as u16));
    }
    Network { guests, uplink, ipv6, lease: lease(section), advertise, admin }
}

/// Phones change their address with every visit, so leases are short: an hour is long enough not to renew all the time.
fn lease(section: &mut Section<'_, '_>) -> Duration {
    let want = "a time such as \"1h\", from 2m (the shortest that DHCP clients bear) to 24h";
    let Some(lease) = parsed::<jiff::SignedDuration>(section, "lease", want) else { return Duration::from_secs(3600) };
    match Duration::try_from(lease) {
        Ok(lease) if (120..=86_400).contains(&lease.as_secs()) => lease,
        _ => {
            section.tell("lease", "is out of bounds", format!("want {want}"));
            Duration::from_secs(3600)
        }
    }
}

/// Rates as they are sold, in kbit/s, and data in MiB; the firewall counts bytes.
fn guests(section: &mut Section<'_, '_>) -> sheshi_firewall::Limits {
    let mut rate = |key| number(section, key, 64..=10_000_000).map(|kbit| kbit * 1000 / 8);
    let (down, up) = (rate("down_kbit"), rate("up_kbit"));
    let data = number(section, "data_mib", 1..=1_000_000).map(|mib| mib << 20);
    sheshi_firewall::Limits { down, up, data }
}

fn metrics(section: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let want = "ADDR:PORT of this box, such as \"127.0.0.1:9153\"";
    let listen = parsed::<SocketAddr>(section, "listen", want)?;
    // On every address would be on the guests' side too, and only the firewall would stand between.
    if listen.ip().is_unspecified() || listen.port() == 0 {
        section.tell("listen", format!("{listen} is everywhere or nowhere"), format!("want {want}"));
    }
    Some(listen)
}

/// Ids are part of every record and cannot be changed later, so they are asked for where no default is good.
fn evidence(section: &mut Section<'_, '_>, site: &str, folder: &Path) -> crate::evidence_log::Settings {
    let want = "1 to 64 of a-z A-Z 0-9 . _ / -, such as \"gw-0042\"";
    let fits = |text: &str| {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
    };
    let gateway = section.required_text("gateway", want).map_or_else(String::new, |field| field.value);
    let place = section.text("site").map_or_else(|| crate::evidence_log::site_id(site), |field| field.value);
    for (key, id) in [("gateway", &gateway), ("site", &place)] {
        if section.has(key) && !fits(id) {
            section.tell(key, format!("{id:?} is no id"), want);
        }
    }
    let mut text = |key: &'static str, default: &str| section.text(key).map_or_else(|| default.to_owned(), |f| f.value);
    let origin = text("origin", &format!("sheshi/{gateway}"));
    let network = (text("network", "guests"), text("network_name", site));
    let profile = text("profile", "baseline");
    let time_stamps = section.text("time_stamps").map(|field| field.value);
    if time_stamps.as_ref().is_some_and(|url| !url.starts_with("http://")) {
        section.tell(
            "time_stamps",
            "is no URL of an authority",
            "want http:// and its address: a stamp is signed, its way need not be",
        );
    }
    let people = section.list("people", reads::<PathBuf>("the file of a public key"));
    // Its own file is named from the configuration's folder.
    let profile =
        if profile.contains(['/', '.']) { folder.join(profile).to_string_lossy().into_owned() } else { profile };
    if let Err(error) = crate::evidence_log::profile(&profile) {
        section.tell("profile", error.to_string(), "see docs/profiles.md");
    }
    crate::evidence_log::Settings {
        gateway,
        origin,
        site: place,
        network,
        profile,
        people: people.into_iter().flatten().map(|field| folder.join(field.value)).collect(),
        lab: section.flag("lab").is_some_and(|field| field.value),
        keep_days: number(section, "keep_days", 32..=4_000).unwrap_or(400),
        time_stamps,
    }
}

/// Never without TLS: what the gateway says is signed, yet what it hears is not.
fn city(section: &mut Section<'_, '_>, folder: &Path) -> Option<City> {
    let want = "want an address such as \"https://wifi.tirana.example\", without a path";
    let authorities = section.text("authorities").map(|field| folder.join(field.value));
    let field = section.required_text("dashboard", want)?;
    let parts = field.value.strip_prefix("https://").and_then(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').map_or((rest, Ok(443)), |(host, port)| (host, port.parse()));
        let readable = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        let good = !host.is_empty() && host.bytes().all(readable);
        Some((host.to_ascii_lowercase(), port.ok().filter(|port| good && *port > 0)?))
    });
    match parts {
        Some((host, port)) => Some(City { host, port, authorities }),
        None => {
            section.note(field.problem(format!("{:?} is none", field.value), want));
            None
        }
    }
}

/// The portal's section is that room's own: what we know better is filled in, the rest is its to check.
fn portal(
    section: &mut Section<'_, '_>,
    site: &str,
    state: &Path,
    run: &Path,
) -> Option<sheshi_captive_portal::Settings> {
    let mut table = section.rest();
    for (key, value) in [
        ("database", state.join("portal.sqlite").to_string_lossy()),
        ("objections", state.join("objections.jsonl").to_string_lossy()),
        ("run", run.to_string_lossy()),
    ] {
        table.insert(key.into(), value.as_ref().into());
    }
    table.entry("venue").or_insert_with(|| site.into());
    // The guest interface's own take this place when the gateway starts.
    table.insert("addresses".into(), vec![toml::Value::from("192.0.2.1")].into());
    match sheshi_captive_portal::Settings::deserialize(table) {
        Ok(settings) => {
            for problem in settings.check() {
                section.tell(problem.path.trim_start_matches("portal."), problem.wrong, problem.right);
            }
            Some(settings)
        }
        Err(error) => {
            let problem = section.here().problem(error.message().trim(), "see docs/configuration.md");
            section.note(problem);
            None
        }
    }
}

#[cfg(test)]
impl Config {
    /// The example that ships, as a value for tests.
    pub(crate) fn example() -> Self {
        parse(include_str!("../../examples/gateway.toml"), Path::new("/etc/sheshi/gateway.toml")).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_right() {
        let config = Config::example();
        assert_eq!(config.policy, Path::new("/etc/sheshi/policy.toml"));
        assert_eq!(config.portal.venue, config.site);
    }

    #[test]
    fn every_problem_is_told_with_place_and_remedy() {
        let text = include_str!("../testdata/broken.toml");
        let problems = parse(text, Path::new("broken.toml")).unwrap_err();
        let told = told(Path::new("broken.toml"), &problems);
        assert_eq!(told, include_str!("../testdata/broken.problems").trim_end(), "{told}");
    }
}
