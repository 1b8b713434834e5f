//! Guests' rights: nothing is kept about what they look at, and the portal leaks nothing.

use std::{fs, path::Path};

use super::{
    Result,
    fair::{fetch, foreign_hosts},
};
use crate::probe::{
    dns::{self, Record, kind},
    http::{self, Response},
    judge::{Bad, Found},
    round::Round,
};

/// Whether what is kept has room for a device and a name together.
pub(super) fn tables(round: &Round<'_>) -> Result {
    let mut hits = Vec::new();
    let devices: Vec<String> = round.sight.portal.sessions().iter().map(|session| session.mac.to_string()).collect();
    let name = format!("allowed.{}", round.policy.canary_zone().unwrap_or("canary.invalid"));
    let mut searched = 0_u64;
    for folder in [&round.sight.config.state, &round.sight.config.run] {
        walk(folder, &mut |path, bytes| {
            searched += bytes.len() as u64;
            let has = |text: &str| bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes());
            // A name that only the guest asked for, beside a device that is admitted, in one file.
            if !path.starts_with(crate::evidence_log::folder(&round.sight.config.state))
                && path.extension().is_none_or(|kind| kind != "policy")
                && has(&name)
                && devices.iter().any(|device| has(device))
            {
                hits.push(path.display().to_string());
            }
        });
    }
    let saw = format!("{searched} bytes searched; both in: {}", hits.join(" "));
    let found = Found::held(hits.is_empty(), "every file of the gateway", "none has a device and a name", saw);
    Ok(found.figure("hits", hits.len() as i64))
}

/// Every file below a folder that can be read.
pub(in crate::probe) fn walk(folder: &Path, see: &mut impl FnMut(&Path, &[u8])) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, see),
            Ok(kind) if kind.is_file() => {
                if let Ok(bytes) = fs::read(&path) {
                    see(&path, &bytes);
                }
            }
            _ => {}
        }
    }
}

/// There is no query log to switch on; what could print names is debug logging.
pub(super) fn no_query_log(round: &Round<'_>) -> Result {
    let level = tracing::level_filters::LevelFilter::current();
    let debug = level >= tracing::level_filters::LevelFilter::DEBUG;
    let saw = format!("log level {level}");
    let _ = round;
    Ok(Found::held(!debug, "the level of logging", "above debug", saw))
}

/// What the upstream was told about who asks: the witness's own resolver says so.
pub(super) async fn no_client_subnet(round: &Round<'_>) -> Result {
    let name = format!("subnet.{}", round.witness()?.name);
    let answers = round.ask(&[round.question(&name, kind::TXT)]).await;
    let none = |reply: &dns::Reply| {
        let text = reply.answers.iter().find_map(|record| match record {
            Record::Text(text) => Some(text.as_str()),
            _ => None,
        });
        match text {
            Some("none") => Ok(()),
            Some(text) => Err(Bad::Otherwise(format!("the upstream was told {text}"))),
            None => Err(Bad::Unclear(format!(
                "{name} TXT says nothing: have the witness's server answer `none` or the subnet"
            ))),
        }
    };
    let tries = vec![answers[0].judge(none)];
    let found = Found::all(format!("{name} TXT"), "no client subnet went upstream", tries, round.dns_works().await);
    Ok(found.message(answers[0].message.clone()))
}

/// The portal as a stranger meets it.
pub(super) async fn portal(round: &Round<'_>, probe: &str) -> Result {
    if probe == "p6" && round.sight.config.portal_tls.is_none() {
        return Err(Found::not_applicable("the portal has no certificate, so DHCP names no API"));
    }
    let to = round
        .ours
        .iter()
        .find(|address| address.is_ipv4())
        .ok_or_else(|| Found::unclear("the gateway has no address"))?;
    let host = &round.sight.config.portal.name;
    if probe == "p6" {
        let lease = round.joined.lease.as_ref().ok_or_else(|| Found::unclear("the guest has no lease"))?;
        let request = http::get(host, "/captive-portal/api", "en")
            .replace("Connection", "Accept: application/captive+json\r\nConnection");
        let answer = fetch(round, *to, &request).await?;
        let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let holds = lease.captive_portal.is_some() && value["captive"].is_boolean();
        let saw = format!("option 114 {:?}, captive {}", lease.captive_portal, value["captive"]);
        return Ok(Found::held(holds, "DHCP option 114 and the API", "both tell the state", saw));
    }
    let mut pages = Vec::new();
    for language in ["sq", "en"] {
        pages.push((language, fetch(round, *to, &http::get(host, "/terms", language)).await?));
    }
    let wrong: Vec<String> = pages.iter().flat_map(|(language, page)| look(round, probe, language, page)).collect();
    let want = match probe {
        "p1" => "contacts only its own hosts",
        "p2" => "no cookie but the session's",
        "p3" => "controller, contact, purposes, retention, rights, the Commissioner",
        _ => "says in Albanian and English that the network is filtered",
    };
    let saw = if wrong.is_empty() { "so it is".into() } else { wrong.join("; ") };
    Ok(Found::held(wrong.is_empty(), format!("http://{host}/terms in two languages"), want, saw))
}

fn look(round: &Round<'_>, probe: &str, language: &str, page: &Response) -> Vec<String> {
    let mut wrong = Vec::new();
    if page.status != 200 {
        wrong.push(format!("status {} in {language}", page.status));
    }
    let text = page.body.to_lowercase();
    let mut must = |words: &[&str]| {
        if !words.iter().any(|word| text.contains(&word.to_lowercase())) {
            wrong.push(format!("{language}: none of {}", words.join(", ")));
        }
    };
    match probe {
        "p1" => wrong.extend(foreign_hosts(round, page).into_iter().map(|host| format!("contacts {host}"))),
        "p2" => wrong.extend(page.header("set-cookie").map(|cookie| format!("a cookie: {cookie}"))),
        "p3" => {
            must(&[&round.sight.config.portal.organisation]);
            must(&[&round.sight.config.portal.contact]);
            must(&["idp.al", "commissioner", "komision", "complain", "anko"]);
            must(&["days", "ditë", "dite"]);
            must(&["right", "drejt"]);
        }
        _ => must(&["filter", "block", "bllok"]),
    }
    wrong
}
