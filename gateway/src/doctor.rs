//! `sheshi doctor`: looks at everything a gateway stands on from outside the daemon, one line each, with the fix.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use sheshi_captive_portal::{Clock as _, SystemClock};
use sheshi_firewall::Guard;
use sheshi_policy::Moment;
use sheshi_resolver::Upstream;

use crate::{
    cli::DoctorArgs,
    commands::{Failure, failed, print, print_json},
    config::{self, Config},
    control::{self, Request},
    generations::Generations,
    network::Network,
    plan::{self, Seen},
    resolve,
    status::Status,
};

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    well: bool,
    found: String,
    fix: Option<String>,
}

fn well(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, well: true, found: found.into(), fix: None }
}

fn ill(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { what, well: false, found: found.into(), fix: Some(fix.into()) }
}

/// `sheshi doctor`.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut findings = Vec::new();
    runtime.block_on(network(&config, &mut findings)).map_err(failed)?;
    findings.extend([dns(&config.dns.upstreams), clock(), policy(&config), firewall(&config), daemon(&config)]);
    let portal = config.portal.tls.as_ref().map(|tls| [&tls.certificate, &tls.key]);
    findings.push(match portal {
        Some(files) => certificate("portal.tls", files),
        None => well("certificate", "none: phones find the portal by their own probes only (RFC 8908 wants one)"),
    });
    findings.extend(config.dns.tls.as_ref().map(|tls| certificate("dns.tls", [&tls.certificate, &tls.key])));
    if args.json {
        print_json(&findings)?;
    } else {
        let line = |finding: &Finding| {
            let mark = if finding.well { "ok  " } else { "ILL " };
            let fix = finding.fix.as_ref().map_or(String::new(), |fix| format!("\n              fix: {fix}"));
            format!("{mark} {:<9} {}{fix}", finding.what, finding.found)
        };
        print(&findings.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    let bad = findings.iter().filter(|finding| !finding.well).count();
    if bad == 0 { Ok(()) } else { Err(failed(format!("{bad} of {} findings need mending", findings.len()))) }
}

async fn network(config: &Config, findings: &mut Vec<Finding>) -> Result<(), crate::network::NetworkError> {
    let (network, _events) = Network::start(&config.network.guests).await?;
    let missing =
        config.network.uplink.iter().find(|name| !network.interface(name).is_some_and(|uplink| uplink.running));
    let routes = network.default_routes().await?;
    findings.push(match (missing, routes) {
        (Some(name), _) => ill(
            "uplink",
            format!("{name} is not there or has no carrier"),
            "plug in the cable, or correct network.uplink",
        ),
        (None, (false, false)) => {
            ill("uplink", "there is no default route", "see that the uplink gets an address (networkctl, ip route)")
        }
        (None, (v4, v6)) => {
            let families = [(v4, "IPv4"), (v6, "IPv6")].into_iter().filter(|(there, _)| *there).map(|(_, name)| name);
            well("uplink", format!("default route for {}", families.collect::<Vec<_>>().join(" and ")))
        }
    });
    let seen = Seen {
        guests: network.interface(&config.network.guests),
        uplinks: config.network.uplink.iter().filter_map(|name| network.interface(name)).collect(),
    };
    let plan = plan::plan(config, &seen, Some((0, Vec::new())));
    findings.push(match plan.troubles.first() {
        Some(trouble) => ill("guests", trouble.what.clone(), trouble.fix.clone()),
        None => well("guests", format!("{} at {:?}", config.network.guests, plan.addresses)),
    });
    Ok(())
}

fn dns(upstreams: &[Upstream]) -> Finding {
    let failed: Vec<_> = upstreams
        .iter()
        .filter_map(|upstream| {
            let why = sheshi_resolver::probe(upstream, resolve::clock()).err()?;
            Some(format!("{upstream}: {why}"))
        })
        .collect();
    match failed.len() {
        0 => well("dns", format!("all {} upstreams answer", upstreams.len())),
        count if count < upstreams.len() => {
            ill("dns", failed.join("; "), "the others carry on; remove it from dns.upstreams if it is gone for good")
        }
        _ => ill("dns", failed.join("; "), "see that the uplink lets it out, or name other resolvers in dns.upstreams"),
    }
}

fn clock() -> Finding {
    match SystemClock.moment() {
        Moment::At(now) => well("clock", now.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        Moment::Unknown => ill(
            "clock",
            "has never been set: schedules block and exceptions do not hold",
            "systemctl enable --now systemd-timesyncd",
        ),
    }
}

fn policy(config: &Config) -> Finding {
    match Generations::at(&config.state).newest() {
        None => {
            ill("lists", "no policy was ever compiled here", "run `sheshi check` on the policy, then start the gateway")
        }
        Some(compiled) => {
            let empty: Vec<_> =
                compiled.lists().iter().filter(|list| list.entries == 0).map(|list| &*list.name).collect();
            let entries: u64 = compiled.lists().iter().map(|list| u64::from(list.entries)).sum();
            let found =
                format!("generation {}: {} lists, {entries} entries", compiled.generation(), compiled.lists().len());
            if !empty.is_empty() {
                ill("lists", format!("{found}; empty: {}", empty.join(", ")), "see what `sheshi check` says of them")
            } else if entries == 0 {
                ill("lists", found, "name lists in the policy: nothing is blocked as it is")
            } else {
                well("lists", found)
            }
        }
    }
}

fn firewall(config: &Config) -> Finding {
    match Guard::connect(&config.guard, Duration::from_secs(3)).and_then(|guard| guard.health()) {
        Err(error) => ill(
            "rules",
            format!("the guard cannot be asked: {error}"),
            "systemctl start sheshi-guard, and run this as root",
        ),
        Ok(health) if !health.in_force => ill("rules", "not in force", "systemctl restart sheshi-guard"),
        Ok(health) if !health.matches => ill(
            "rules",
            format!("changed by somebody: {}", health.difference),
            "find out who else writes nftables rules here; systemctl restart sheshi-guard",
        ),
        Ok(health) => well("rules", format!("in force as rendered, generation {}", health.generation)),
    }
}

fn daemon(config: &Config) -> Finding {
    match control::ask::<Status>(&config.control, &Request::Status) {
        Err(error) => {
            ill("gateway", error.to_string().lines().next().unwrap_or_default(), "systemctl start sheshi-gateway")
        }
        Ok(status) => match status.troubles.first() {
            Some(trouble) => ill("gateway", trouble.what.clone(), trouble.fix.clone()),
            None => well("gateway", "runs, and knows of no trouble"),
        },
    }
}

fn certificate(section: &str, files: [&PathBuf; 2]) -> Finding {
    let readable = |path: &Path| File::open(path).and_then(|mut file| file.read(&mut [0; 1]));
    for path in files {
        if let Err(error) = readable(path) {
            let fix = format!("correct {section}, or let the gateway's account read it");
            return ill("certificate", format!("{}: {error}", path.display()), fix);
        }
    }
    well("certificate", files[0].display().to_string())
}
