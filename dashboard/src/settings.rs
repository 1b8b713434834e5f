//! What the command line says.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use jiff::tz::TimeZone;

use crate::Error;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of everything that is kept.
    pub data: PathBuf,
    /// The folder that policies name their lists in; `lists` in the data folder when not given.
    pub lists: Option<PathBuf>,
    /// How browsers reach the dashboard, where a proxy with a certificate stands before it.
    pub public: Option<Public>,
    /// Whether passwords may cross a network unencrypted.
    pub plain_http: bool,
    /// The zone in which people read times.
    pub zone: TimeZone,
}

/// The address that browsers reach the dashboard under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Host and port as a browser sends them.
    pub host: String,
}

impl FromStr for Public {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "want an address such as https://wifi.tirana.example, without a path".to_owned();
        let rest = text.strip_prefix("https://").ok_or_else(wrong)?;
        let host = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(good) { Err(wrong()) } else { Ok(Self { host }) }
    }
}

impl Settings {
    /// Refuses to listen where passwords would cross a network unencrypted.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.listen.ip().is_loopback() || self.public.is_some() || self.plain_http {
            return Ok(());
        }
        Err(Error::Setting {
            setting: "--listen",
            wrong: format!("{} is reached over a network, and passwords would cross it unencrypted", self.listen),
            right: "listen on 127.0.0.1 behind a proxy with a certificate and give its address with --public \
                    https://…, or say --plain-http where the network is yours alone"
                .into(),
        })
    }
}
