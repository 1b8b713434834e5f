//! Safe search: which names of search engines are answered with which others.
//!
//! Each engine publishes the name of its safe mode; the gateway answers the engine's names as aliases of it, for every
//! type. Sources: the engines' own help pages; the certification document of the project lists them.

use std::net::{IpAddr, Ipv4Addr};

/// What an engine's name is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafeMode {
    /// An alias of this name.
    Alias(&'static str),
    /// The restricted mode of YouTube that the group has.
    YouTube,
    /// These addresses, and no other data.
    Addresses(&'static [IpAddr]),
    /// Not at all: the engine has no safe mode that a resolver can choose.
    Block,
}

/// A search engine.
pub(crate) struct Engine {
    /// Its name in a policy; `None` for those that cannot be held to a safe mode.
    pub(crate) name: Option<&'static str>,
    /// The names that are answered. A final `.` stands for each of [`DOMAINS`] of that engine.
    pub(crate) names: &'static [&'static str],
    /// Further domains, each taken with the prefixes that end in a dot.
    pub(crate) domains: &'static [&'static str],
    pub(crate) answer: SafeMode,
    /// Whether what is below the names is meant too.
    pub(crate) below: bool,
}

const fn engine(name: &'static str, names: &'static [&'static str], target: &'static str) -> Engine {
    Engine { name: Some(name), names, domains: &[], answer: SafeMode::Alias(target), below: false }
}

/// Alias for YouTube's strict mode.
pub(crate) const YOUTUBE_STRICT: &str = "restrict.youtube.com";
/// Alias for YouTube's moderate mode.
pub(crate) const YOUTUBE_MODERATE: &str = "restrictmoderate.youtube.com";

/// All engines.
pub(crate) const ENGINES: &[Engine] = &[
    Engine {
        name: Some("google"),
        names: &["www.google."],
        domains: GOOGLE,
        answer: SafeMode::Alias("forcesafesearch.google.com"),
        below: false,
    },
    Engine {
        name: Some("youtube"),
        names: &[
            "www.youtube.com",
            "m.youtube.com",
            "youtubei.googleapis.com",
            "youtube.googleapis.com",
            "www.youtube-nocookie.com",
        ],
        domains: &[],
        answer: SafeMode::YouTube,
        below: false,
    },
    engine("bing", &["www.bing.com", "bing.com", "edgeservices.bing.com"], "strict.bing.com"),
    engine("duckduckgo", &["duckduckgo.com", "www.duckduckgo.com", "start.duckduckgo.com"], "safe.duckduckgo.com"),
    Engine {
        name: Some("duckduckgo"),
        // No safe mode is documented for these two.
        names: &["html.duckduckgo.com", "lite.duckduckgo.com"],
        domains: &[],
        answer: SafeMode::Block,
        below: false,
    },
    Engine {
        name: Some("yandex"),
        names: &["yandex.", "www.yandex.", "ya.ru", "www.ya.ru", "xn--d1acpjx3f.xn--p1ai"],
        domains: YANDEX,
        answer: SafeMode::Addresses(&[IpAddr::V4(Ipv4Addr::new(213, 180, 193, 56))]),
        below: false,
    },
    engine("pixabay", &["pixabay.com"], "safesearch.pixabay.com"),
    engine("ecosia", &["www.ecosia.org"], "strict-safe-search.ecosia.org"),
    engine("brave", &["search.brave.com"], "forcesafe.search.brave.com"),
    engine("qwant", &["api.qwant.com"], "safeapi.qwant.com"),
    engine("startpage", &["startpage.com", "www.startpage.com"], "safe.startpage.com"),
    Engine {
        name: None,
        names: &[
            "search.yahoo.com",
            "search.aol.com",
            "ask.com",
            "baidu.com",
            "search.naver.com",
            "mojeek.com",
            "kagi.com",
            "presearch.com",
            "swisscows.com",
            "metager.org",
            "metager.de",
            "dogpile.com",
            "webcrawler.com",
            "searx.be",
            "gibiru.com",
            "yep.com",
            "sogou.com",
        ],
        domains: &[],
        answer: SafeMode::Block,
        below: true,
    },
];

/// Every engine that is known: its names, and what they are answered with where the policy holds it to its safe mode.
pub fn search_engines() -> impl Iterator<Item = (Vec<String>, SafeMode)> {
    ENGINES.iter().map(|engine| (engine.all_names().collect(), engine.answer))
}

impl Engine {
    /// Every name it is asked by.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = String> + '_ {
        self.names.iter().flat_map(|name| {
            let domains: &[&str] = if name.ends_with('.') { self.domains } else { &[""] };
            domains.iter().map(move |domain| format!("{name}{domain}"))
        })
    }
}

/// Google's domains by country.
const GOOGLE: &[&str] = &[
    "com", "ad", "ae", "al", "am", "as", "at", "az", "ba", "be", "bf", "bg", "bi", "bj", "bs", "bt", "by", "ca", "cat",
    "cc", "cd", "cf", "cg", "ch", "ci", "cl", "cm", "cn", "co.ao", "co.bw", "co.ck", "co.cr", "co.id", "co.il",
    "co.in", "co.jp", "co.ke", "co.kr", "co.ls", "co.ma", "co.mz", "co.nz", "co.th", "co.tz", "co.ug", "co.uk",
    "co.uz", "co.ve", "co.vi", "co.za", "co.zm", "co.zw", "com.af", "com.ag", "com.ai", "com.ar", "com.au", "com.bd",
    "com.bh", "com.bn", "com.bo", "com.br", "com.bz", "com.co", "com.cu", "com.cy", "com.do", "com.ec", "com.eg",
    "com.et", "com.fj", "com.gh", "com.gi", "com.gt", "com.hk", "com.jm", "com.kh", "com.kw", "com.lb", "com.ly",
    "com.mm", "com.mt", "com.mx", "com.my", "com.na", "com.nf", "com.ng", "com.ni", "com.np", "com.om", "com.pa",
    "com.pe", "com.pg", "com.ph", "com.pk", "com.pr", "com.py", "com.qa", "com.sa", "com.sb", "com.sg", "com.sl",
    "com.sv", "com.tj", "com.tr", "com.tw", "com.ua", "com.uy", "com.vc", "com.vn", "cv", "cz", "de", "dj", "dk", "dm",
    "dz", "ee", "es", "fi", "fm", "fr", "ga", "ge", "gf", "gg", "gl", "gm", "gp", "gr", "gy", "hk", "hn", "hr", "ht",
    "hu", "ie", "im", "io", "iq", "is", "it", "je", "jo", "kg", "ki", "kz", "la", "li", "lk", "lt", "lu", "lv", "md",
    "me", "mg", "mk", "ml", "mn", "ms", "mu", "mv", "mw", "ne", "nl", "no", "nr", "nu", "pl", "pn", "ps", "pt", "ro",
    "rs", "ru", "rw", "sc", "se", "sh", "si", "sk", "sm", "sn", "so", "sr", "st", "td", "tg", "tk", "tl", "tm", "tn",
    "to", "tt", "us", "vg", "vu", "ws",
];

/// Yandex's domains by country.
const YANDEX: &[&str] = &[
    "az", "by", "co.il", "com", "com.am", "com.ge", "com.ru", "com.tr", "com.ua", "de", "ee", "eu", "fi", "fr", "kz",
    "lt", "lv", "md", "net", "org", "pl", "ru", "st", "sx", "tj", "tm", "ua", "uz",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    #[test]
    fn every_name_and_target_is_a_name_and_no_target_is_rewritten() {
        let mut asked = Vec::new();
        let mut targets = vec![YOUTUBE_MODERATE, YOUTUBE_STRICT];
        for engine in ENGINES {
            asked.extend(engine.all_names());
            if let SafeMode::Alias(target) = engine.answer {
                targets.push(target);
            }
        }
        assert!(asked.contains(&"www.google.al".to_owned()));
        for name in asked.iter().map(String::as_str).chain(targets.iter().copied()) {
            assert!(Name::parse(name).is_ok(), "{name}");
        }
        for target in targets {
            assert!(!asked.iter().any(|name| name == target), "{target} would be rewritten to itself");
        }
        let count = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), count, "a name stands twice");
    }
}
