//! The section `[portal]` of the gateway's configuration, and its check.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use sheshi_policy::Mac;

use crate::{host::Name, hours::Hours, wanted::Wanted, words};

/// Longest text of terms, in bytes: with everything else a page stays under 30 kB.
const TERMS_LIMIT: usize = 10_000;
/// Longest of the short texts, in bytes.
const TEXT_LIMIT: usize = 200;

/// What the admin writes in `[portal]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The portal's host name, such as `wifi.tirana.example`; guests reach the status page under it.
    pub name: String,
    /// The gateway's addresses on the guest side; a browser that asks one of them asks for the portal.
    pub addresses: Vec<IpAddr>,
    /// The port that links to the portal name; guests see no port when it is 80.
    #[serde(default = "port")]
    pub port: u16,
    /// Who runs the hotspot.
    pub organisation: String,
    /// Where the hotspot is.
    pub venue: String,
    /// Where guests object to a block and ask about their data: an e-mail address, a URL or a telephone number.
    pub contact: String,
    /// The venue's own page (RFC 8908 `venue-info-url`), http or https.
    #[serde(default)]
    pub website: Option<String>,
    /// The supervisory authority guests may complain to; a general wording when not given.
    #[serde(default)]
    pub authority: Option<String>,
    /// Where people worried about their own or another's behaviour get help; shown where child-abuse material is blocked.
    #[serde(default)]
    pub helpline: Option<String>,
    /// Who has certified this network, if anybody has.
    #[serde(default)]
    pub certifier: Option<String>,
    /// Within how many days an objection is decided.
    #[serde(default = "objection_days")]
    pub objection_days: u16,
    /// The file of objections.
    #[serde(default = "objections")]
    pub objections: PathBuf,
    /// Languages offered, the first being for guests whose own is not among them.
    #[serde(default = "languages")]
    pub languages: Vec<String>,
    /// Terms of use by language, paragraphs separated by an empty line; our own wording where none is given.
    #[serde(default)]
    pub terms: BTreeMap<String, String>,
    /// How long an accepted session lasts, such as `8h`.
    #[serde(default = "session", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub session: Duration,
    /// What a stranger needs to be admitted.
    #[serde(default)]
    pub access: Access,
    /// When the hotspot is open, such as `mon-fri 08:00-20:00`; always when none is given.
    #[serde(default)]
    pub hours: Vec<String>,
    /// The time zone of the hours, such as `Europe/Tirane`.
    #[serde(default)]
    pub zone: Option<String>,
    /// The ticket with which guests go on at another hotspot of the city.
    #[serde(default)]
    pub roaming: Option<Roaming>,
    /// Devices that are admitted without the portal.
    #[serde(default)]
    pub staff: Vec<Staff>,
    /// The group of guests; the policy's first when not given.
    #[serde(default)]
    pub group: Option<String>,
    /// For how many days a record of consent is kept.
    #[serde(default = "keep_consent_days")]
    pub keep_consent_days: u16,
    /// The database of sessions and consent.
    #[serde(default = "database")]
    pub database: PathBuf,
    /// A folder that does not survive a reboot (tmpfs), for the key that makes pseudonyms.
    #[serde(default = "run")]
    pub run: PathBuf,
    /// What the portal takes at most.
    #[serde(default)]
    pub limits: Limits,
    /// A certificate, for the API over TLS (RFC 8908 section 3).
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// What a stranger needs to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// To accept the terms.
    #[default]
    Open,
    /// To accept the terms; a code is taken too, and gives what it says.
    OpenOrCode,
    /// To accept the terms, and a code.
    Code,
}

/// The ticket with which guests go on at another hotspot of the city (docs/roaming-ticket.md).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roaming {
    /// The file with the city's keys.
    pub keys: PathBuf,
    /// For how long a ticket is given and honoured at most.
    #[serde(default = "ticket", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub longest: Duration,
}

/// A device of the city's own, such as a till or a sign, that is admitted without the portal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staff {
    /// The device.
    pub mac: Mac,
    /// Its group.
    pub group: String,
    /// The last day on which it is admitted.
    pub until: jiff::civil::Date,
}

/// What the portal takes at most.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one device.
    pub connections_per_device: usize,
    /// Sessions at a time.
    pub sessions: usize,
    /// Addresses of one device: each takes a place in the kernel's set.
    pub addresses_per_device: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, connections_per_device: 32, sessions: 4096, addresses_per_device: 32 }
    }
}

/// Files of the portal's certificate. Read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM, the portal's own first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The port that links to the portal name; not written when it is 443.
    #[serde(default = "tls_port")]
    pub port: u16,
}

fn port() -> u16 {
    80
}

fn ticket() -> Duration {
    Duration::from_secs(12 * 3600)
}

fn tls_port() -> u16 {
    443
}

fn languages() -> Vec<String> {
    words::codes().map(str::to_owned).collect()
}

fn session() -> Duration {
    Duration::from_secs(8 * 3600)
}

fn keep_consent_days() -> u16 {
    30
}

fn objection_days() -> u16 {
    14
}

fn objections() -> PathBuf {
    "/var/lib/sheshi/objections.jsonl".into()
}

fn database() -> PathBuf {
    "/var/lib/sheshi/portal.sqlite".into()
}

fn run() -> PathBuf {
    "/run/sheshi".into()
}

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where in the configuration, such as `portal.session`.
    pub path: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.wrong, self.right)
    }
}

impl Settings {
    /// Everything that is wrong with the settings, in their order; empty when nothing is.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, wrong: String, right: &str| {
            problems.push(Problem { path: format!("portal.{path}"), wrong, right: right.to_owned() });
        };

        let name = Name::parse(&self.name);
        let written = name.is_some_and(|name| name.as_str().eq_ignore_ascii_case(&self.name));
        if !written || !self.name.contains('.') || self.name.parse::<IpAddr>().is_ok() {
            let right = "want a full host name of your own, such as wifi.tirana.example";
            problem("name", format!("`{}` is not a full host name", self.name), right);
        } else if crate::probes::is_probed(&self.name.to_ascii_lowercase()) {
            let right = "want a name of your own: phones ask this one to see whether they are online";
            problem("name", format!("`{}` is an operating system's", self.name), right);
        }
        if self.addresses.is_empty() {
            problem("addresses", "no address is given".into(), "want the gateway's addresses on the guest side");
        }
        for (n, address) in self.addresses.iter().enumerate() {
            if address.is_unspecified() || address.is_multicast() {
                let right = "want an address of the gateway on the guest side";
                problem(&format!("addresses[{n}]"), format!("`{address}` is not an address of one host"), right);
            }
        }
        if self.port == 0 {
            problem("port", "0 is not a port".into(), "want 80, unless something in front maps another port");
        }
        for (path, text) in [("organisation", &self.organisation), ("venue", &self.venue), ("contact", &self.contact)] {
            if let Some(wrong) = wrong_text(text) {
                problem(path, wrong, "want one line that guests understand, at most 200 bytes");
            }
        }
        for (path, text) in
            [("authority", &self.authority), ("helpline", &self.helpline), ("certifier", &self.certifier)]
        {
            if let Some(wrong) = text.as_deref().and_then(wrong_text) {
                problem(path, wrong, "want one line that guests understand, at most 200 bytes, or leave it out");
            }
        }
        if let Some(website) = &self.website
            && Wanted::parse(website).is_none()
        {
            problem(
                "website",
                format!("`{website}` is not a web address"),
                "want one such as https://www.tirana.example/",
            );
        }
        if self.languages.is_empty() {
            problem("languages", "no language is given".into(), "want at least one, such as [\"sq\", \"en\"]");
        }
        let known = words::codes().collect::<Vec<_>>().join(", ");
        for (n, language) in self.languages.iter().enumerate() {
            if words::get(language).is_none() {
                let right = format!("want some of: {known}");
                problem(&format!("languages[{n}]"), format!("`{language}` is not a language of the portal"), &right);
            } else if self.languages[..n].contains(language) {
                problem(&format!("languages[{n}]"), format!("`{language}` is given twice"), "want each language once");
            }
        }
        for (language, text) in &self.terms {
            let path = format!("terms.{language}");
            if !self.languages.contains(language) {
                problem(&path, "guests never see it".into(), "want a language of `portal.languages`");
            }
            if text.trim().is_empty() {
                problem(&path, "the text is empty".into(), "want terms of use, or leave it out for our own wording");
            }
            if text.len() > TERMS_LIMIT {
                let wrong = format!("the text has {} bytes", text.len());
                problem(&path, wrong, "want at most 10000 bytes, so that the page opens at once on a bad link");
            }
        }
        if !(Duration::from_secs(60)..=Duration::from_secs(7 * 86_400)).contains(&self.session) {
            problem(
                "session",
                format!("a session of {:?} is out of bounds", self.session),
                "want 1m to 168h, such as 8h",
            );
        }
        match &self.zone {
            None if self.hours.is_empty() => {}
            None => problem("zone", "the hours have no time zone".into(), "want one such as \"Europe/Tirane\""),
            Some(zone) => {
                if let Err(wrong) = Hours::parse(&[], zone) {
                    problem("zone", wrong, "want one such as \"Europe/Tirane\"");
                }
            }
        }
        for (n, line) in self.hours.iter().enumerate() {
            if let Err(wrong) = Hours::parse(std::slice::from_ref(line), "UTC") {
                problem(&format!("hours[{n}]"), wrong, "want days and times such as \"mon-fri 08:00-20:00\"");
            }
        }
        if let Some(roaming) = &self.roaming {
            if !roaming.keys.is_absolute() {
                let wrong = format!("`{}` is not an absolute path", roaming.keys.display());
                problem("roaming.keys", wrong, "want a path that starts with /");
            }
            if !(Duration::from_secs(1200)..=Duration::from_secs(86_400)).contains(&roaming.longest) {
                let wrong = format!("{:?} is out of bounds", roaming.longest);
                problem("roaming.longest", wrong, "want 20m to 24h: a lost ticket cannot be called back");
            }
        }
        for (n, staff) in self.staff.iter().enumerate() {
            if staff.group.is_empty() {
                problem(&format!("staff[{n}].group"), "the name is empty".into(), "want a group of the policy");
            }
            if self.staff[..n].iter().any(|other| other.mac == staff.mac) {
                problem(&format!("staff[{n}].mac"), "the device is given twice".into(), "want each device once");
            }
        }
        if self.group.as_deref().is_some_and(str::is_empty) {
            problem("group", "the name is empty".into(), "want a group of the policy, or leave it out for the first");
        }
        if !(1..=3650).contains(&self.keep_consent_days) {
            let wrong = format!("{} days is out of bounds", self.keep_consent_days);
            problem("keep_consent_days", wrong, "want 1 to 3650, no more than you can justify");
        }
        if !(1..=90).contains(&self.objection_days) {
            let wrong = format!("{} days is out of bounds", self.objection_days);
            problem("objection_days", wrong, "want 1 to 90, and somebody who decides in that time");
        }
        for (path, given) in [("database", &self.database), ("run", &self.run), ("objections", &self.objections)] {
            if !given.is_absolute() {
                problem(
                    path,
                    format!("`{}` is not an absolute path", given.display()),
                    "want a path that starts with /",
                );
            }
        }
        for (path, value, least) in [
            ("limits.connections", self.limits.connections, 16),
            ("limits.connections_per_device", self.limits.connections_per_device, 6),
            ("limits.sessions", self.limits.sessions, 1),
            ("limits.addresses_per_device", self.limits.addresses_per_device, 4),
        ] {
            if !(least..=100_000).contains(&value) {
                problem(path, format!("{value} is out of bounds"), &format!("want {least} to 100000"));
            }
        }
        problems
    }

    /// The address of a page of the portal, for links from elsewhere.
    pub(crate) fn url(&self, path: &str) -> String {
        match self.port {
            80 => format!("http://{}{path}", self.name.to_ascii_lowercase()),
            port => format!("http://{}:{port}{path}", self.name.to_ascii_lowercase()),
        }
    }
}

/// What is wrong with a one-line text, if anything.
fn wrong_text(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        Some("the text is empty".into())
    } else if text.len() > TEXT_LIMIT {
        Some(format!("the text has {} bytes", text.len()))
    } else if text.chars().any(char::is_control) {
        Some("the text has a line break or another control character".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
        name = 'wifi.tirana.example'
        addresses = ['192.0.2.1', '2001:db8::1']
        organisation = 'Bashkia Tiranë'
        venue = 'Sheshi Skënderbej'
        contact = 'wifi@tirana.example'
    ";

    fn with(more: &str) -> Vec<String> {
        let settings: Settings = toml::from_str(&format!("{GOOD}\n{more}")).unwrap();
        settings.check().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn five_lines_are_enough() {
        assert_eq!(with(""), [""; 0]);
        let settings: Settings = toml::from_str(GOOD).unwrap();
        assert_eq!(settings.session, Duration::from_secs(28_800));
        assert_eq!(settings.url("/x"), "http://wifi.tirana.example/x");
    }

    #[test]
    fn unknown_key_is_refused() {
        let error = toml::from_str::<Settings>(&format!("{GOOD}\nsesion = '8h'")).unwrap_err().to_string();
        assert!(error.contains("unknown field `sesion`"), "{error}");
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let told = with(
            "session = '5s'\nlanguages = ['sq', 'tlh', 'sq']\nkeep_consent_days = 0\nwebsite = 'javascript:alert(1)'\n\
             database = 'portal.sqlite'\nterms = { de = '' }\nlimits = { connections = 1 }",
        );
        let golden = include_str!("../testdata/settings-problems.txt");
        assert_eq!(told.join("\n"), golden.trim_end(), "{}", told.join("\n"));
    }

    #[test]
    fn a_phones_probe_name_is_no_portal_name() {
        for name in [
            "captive.apple.com",
            "Connectivitycheck.gstatic.com",
            "portal",
            "192.0.2.1",
            "a b.example",
            "",
            "wifi.example.",
        ] {
            let mut settings: Settings = toml::from_str(GOOD).unwrap();
            settings.name = name.into();
            assert_eq!(settings.check().len(), 1, "{name}");
        }
    }
}
