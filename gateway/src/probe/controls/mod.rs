//! Each probe of the catalogue that a gateway can measure: what is sent, and what it means. One file a chapter or two.

mod bypass;
mod fair;
mod minors;
mod rights;
mod trust;

pub(super) use fair::fetch;
pub(super) use rights::walk;

use super::{judge::Found, round::Round};

/// Probes that are about what a stranger meets: measured before the guest accepts.
pub(super) const OF_STRANGERS: [(&str, &str); 5] =
    [("SH-27", "p1"), ("SH-27", "p2"), ("SH-27", "p3"), ("SH-27", "p4"), ("SH-27", "p6")];

/// Whether this probe is one of those.
pub(super) fn is_of_strangers(control: &str, probe: &str) -> bool {
    OF_STRANGERS.contains(&(control, probe))
}

/// Measures one probe.
pub(super) async fn measure(round: &Round<'_>, control: &str, probe: &str) -> Found {
    let found = match (control, probe) {
        ("SH-01", _) => minors::abuse(round),
        ("SH-02", "p1" | "p3") => minors::floor(round, probe),
        ("SH-02", _) => minors::floor_holds(round).await,
        ("SH-03", _) => minors::terror(round),
        ("SH-05", "p1") => minors::adult(round).await,
        ("SH-05", "p2") => minors::well_known(round).await,
        ("SH-05", "p3") => minors::drawn(round, &["adult"], 300).await,
        ("SH-05", "p5") => minors::alias(round).await,
        ("SH-06", "p1" | "p2") => minors::city(round, probe == "p1").await,
        ("SH-07", "p1") => minors::threats(round).await,
        ("SH-07", "p2") => Ok(Found::not_applicable("no vendor's test names are in the set")),
        ("SH-07", "p3") => minors::drawn(round, &["malware", "phishing", "scam"], 50).await,
        ("SH-08", "p1") => minors::engines(round, false).await,
        ("SH-08", "p2") => minors::engines(round, true).await,
        ("SH-08", "p3") => minors::closed_engines(round).await,
        ("SH-09", "p1") => minors::youtube(round).await,
        ("SH-10", "p1") => bypass::foreign(round, false).await,
        ("SH-10", "p2") => bypass::foreign(round, true).await,
        ("SH-10", "p3") => bypass::no_dns_on_53(round).await,
        ("SH-10", "p4") => bypass::own_resolver(round).await,
        ("SH-11", "p1") => bypass::over_tls(round, false).await,
        ("SH-11", "p2") => bypass::over_quic(round, false, 853).await,
        ("SH-11", "p3") => bypass::way_out(round).await,
        ("SH-12", "p1") => bypass::encrypted_names(round).await,
        ("SH-12", "p2") => bypass::encrypted_addresses(round, false).await,
        ("SH-12", "p3") => bypass::real_query_over_https(round).await,
        ("SH-13", "p1") => bypass::signal(round, &["use-application-dns.net"]).await,
        ("SH-13", "p2") => bypass::signal(round, &["mask.icloud.com", "mask-h2.icloud.com"]).await,
        ("SH-13", "p3") => bypass::designated(round).await,
        ("SH-13", "p4") => bypass::named_resolvers(round).await,
        ("SH-14", "p1") => bypass::every_type(round).await,
        ("SH-14", "p2") => bypass::every_spelling(round).await,
        ("SH-14", "p3") => bypass::service(round).await,
        ("SH-14", "p4") => Ok(Found::not_applicable("the policy leaves encrypted client hello as it is")),
        ("SH-15", "p1") => bypass::addresses(round).await,
        ("SH-15", "p2") => bypass::all_over_v6(round).await,
        ("SH-15", "p3") => bypass::witness_over_v6(round).await,
        ("SH-15", "p4") => bypass::routers(round).await,
        ("SH-18", "p3" | "p4") => fair::boot(round, probe),
        ("SH-18", "p2") => fair::corrupt_list(round).await,
        ("SH-19", "p1") => fair::must_work(round).await,
        ("SH-19", "p2") => fair::allowed(round).await,
        ("SH-19", "p3") => fair::popular(round).await,
        ("SH-20", "p1") => fair::reason(round).await,
        ("SH-20", "p2") => fair::order(round),
        ("SH-20", "p3") => fair::block_page(round).await,
        ("SH-20", "p4") => fair::no_forged_certificate(round).await,
        ("SH-20", "p5") => Ok(Found::not_applicable("this gateway keeps no register of complaints")),
        ("SH-21", "p1") => fair::ages(round),
        ("SH-21", "p2") => fair::dated(round).await,
        ("SH-21", "p3") => fair::shrunk_list(round).await,
        ("SH-21", "p4") => fair::digest(round),
        ("SH-22", "p1") => Ok(Found::not_applicable("signatures are checked by the upstream, not here")),
        ("SH-22", "p2") => fair::no_such_name(round).await,
        ("SH-22", "p3") => fair::true_answer(round).await,
        ("SH-22", "p4") => fair::upstream(round),
        ("SH-23", "p1") => fair::networks(round),
        ("SH-23", "p2") => fair::counters(round).await,
        ("SH-24", _) => trust::approved(round, probe),
        ("SH-25", "p4") => trust::clocks(round).await,
        ("SH-25", _) => trust::log(round, probe),
        ("SH-26", "p2") => rights::tables(round),
        ("SH-26", "p3") => rights::no_query_log(round),
        ("SH-27", "p5") => rights::no_client_subnet(round).await,
        ("SH-27", _) => rights::portal(round, probe).await,
        _ => Ok(Found::unclear("this release does not measure it")),
    };
    found.unwrap_or_else(|found| found)
}

/// A probe's result: what stops it early is a result too.
pub(super) type Result = std::result::Result<Found, Found>;
