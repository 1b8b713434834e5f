//! Right, fair and honest: fail-safe, what must work, what a blocked guest is told, lists, true answers, coverage.

use std::{fs, net::IpAddr, path::Path, time::SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use sheshi_evidence::record::Outcome;
use sheshi_lists::ListState;
use sheshi_policy::BlockAnswer;

use super::Result;
use crate::{
    gate,
    generations::Generations,
    probe::{
        dns::{self, kind},
        http::{self, Response},
        judge::{self, Bad, Found},
        known,
        round::{Round, knock},
        wire::Deed,
    },
};

/// From the guest's first moment until the gateway spoke.
pub(super) fn boot(round: &Round<'_>, probe: &str) -> Result {
    let watch = round.sight.watch().filter(|watch| watch.tried > 0);
    let watch = watch.ok_or_else(|| {
        Found::unclear("no start of the device was watched yet: reboot it, with `sheshi guest` started at the boot")
    })?;
    let saw = format!("{} tries in {} ms, {} unfiltered", watch.tried, watch.ms, watch.unfiltered);
    let ask = match probe {
        "p3" => "foreign resolvers on ports 53 and 853, from the guest's first moment until the gateway was up",
        _ => "ports 53 and 853 before the gateway was up",
    };
    let found = Found::held(watch.unfiltered == 0, ask, "nothing unfiltered", saw);
    Ok(found.figure("unfiltered", watch.unfiltered as i64))
}

/// The real pipeline, in a folder of its own, with a list that is no list or lost its entries.
async fn broken_list(round: &Round<'_>, broken: String, ask: &'static str) -> Result {
    let folder = round.sight.config.run.join("drill");
    let work = tokio::task::spawn_blocking(move || {
        let tried = try_list(&folder, &broken);
        let _ = fs::remove_dir_all(&folder);
        tried
    });
    let tried = work.await.map_err(|error| Found::unclear(error.to_string()))?;
    let (held, reason, entries) = tried.map_err(Found::unclear)?;
    let saw = format!("held: {held} ({reason}); the old edition has {entries} entries");
    Ok(Found::held(held && entries == 100, ask, "it is held, and the old one stays in force", saw))
}

fn try_list(folder: &Path, broken: &str) -> std::result::Result<(bool, String, u32), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| told(&error))?;
    let (policy, list) = (folder.join("policy.toml"), folder.join("list.txt"));
    let text = "version = 1\n[list.drill]\nfile = \"list.txt\"\ncategory = \"adult\"\n";
    fs::write(&policy, text).map_err(|error| told(&error))?;
    let good: String = (0..100).map(|n| format!("drill{n}.example\n")).collect();
    fs::write(&list, good).map_err(|error| told(&error))?;
    let generations = Generations::open(folder, None).map_err(|error| told(&error))?;
    generations.make(&policy, &mut |_| ()).map_err(|error| told(&error))?;
    fs::write(&list, broken).map_err(|error| told(&error))?;
    let made = generations.make(&policy, &mut |_| ()).map_err(|error| told(&error))?;
    let status = made.lists.first().ok_or("the list is gone")?;
    let reason = match &status.state {
        ListState::Held { reason, .. } => reason.clone(),
        ListState::Current => String::new(),
    };
    let newest = generations.newest().ok_or("no policy is left")?;
    let entries = newest.lists().first().map_or(0, |list| list.entries);
    Ok((!reason.is_empty() && made.compiled.is_none(), reason, entries))
}

pub(super) async fn corrupt_list(round: &Round<'_>) -> Result {
    let page = "<!doctype html><html><body>502 Bad Gateway</body></html>\n".to_owned();
    broken_list(round, page, "a list that has become a web page").await
}

pub(super) async fn shrunk_list(round: &Round<'_>) -> Result {
    let few = (0..60).map(|n| format!("drill{n}.example\n")).collect();
    broken_list(round, few, "a list that has lost 40 of 100 names").await
}

pub(super) async fn must_work(round: &Round<'_>) -> Result {
    let questions: Vec<_> = known::must_work().map(|name| round.question(name, kind::A)).collect();
    let asked = questions.len();
    let answers = round.ask(&questions).await;
    let tries: Vec<_> = answers.iter().map(|answer| answer.judge(|reply| judge::allowed(reply, &round.ours))).collect();
    let blocked = answers
        .iter()
        .filter(|answer| answer.reply.as_ref().is_ok_and(|r| r.error.as_ref().is_some_and(|e| matches!(e.0, 15..=17))))
        .count();
    // A site that has ceased to exist is no block, and a few always have.
    let gone = tries.iter().filter(|(_, came)| came.is_err()).count() - blocked;
    let tries = tries.into_iter().filter(|(_, came)| blocked > 0 || came.is_ok() || gone * 10 > asked).collect();
    let found =
        Found::all(format!("{asked} names that must work"), "each has an address", tries, round.dns_works().await);
    Ok(found.figure("blocked", blocked as i64).figure("asked", asked as i64).figure("gone", gone as i64))
}

pub(super) async fn allowed(round: &Round<'_>) -> Result {
    let name = format!("allowed.{}", round.zone()?);
    let answers = round.ask(&[round.question(&name, kind::A)]).await;
    let tries = vec![answers[0].judge(|reply| judge::allowed(reply, &round.ours))];
    Ok(Found::all(format!("{name} A"), "its real address", tries, &Ok(())).message(answers[0].message.clone()))
}

pub(super) async fn popular(round: &Round<'_>) -> Result {
    let path = round.settings().popular.as_ref();
    let path =
        path.ok_or_else(|| Found::unclear("no list of popular names is configured: give one as probes.popular"))?;
    let text = fs::read_to_string(path).map_err(|error| Found::unclear(format!("{}: {error}", path.display())))?;
    let names = text.lines().map(|line| line.trim().to_ascii_lowercase());
    let names =
        sheshi_evidence::sample::Names::new(names.filter(|name| !name.is_empty() && !name.starts_with('#')).collect());
    let (seed, ..) = round.sight.seed().ok_or_else(|| Found::unclear("the time is not known"))?;
    let drawn: Vec<String> = names.draw(&seed, 200).map(str::to_owned).collect();
    let mut once = drawn.clone();
    once.sort_unstable();
    once.dedup();
    let questions: Vec<_> = once.iter().map(|name| round.question(name, kind::A)).collect();
    let answers = round.ask(&questions).await;
    // A block that names its category, an order or safe search explains itself.
    let unexplained = answers.iter().filter(|answer| {
        answer.reply.as_ref().is_ok_and(|reply| {
            reply.error.as_ref().is_some_and(|(code, text)| matches!(code, 15..=17) && text.contains("by the policy"))
        })
    });
    let unexplained = unexplained.count();
    let ppm = unexplained * 1_000_000 / once.len().max(1);
    let tries = answers.iter().map(|answer| answer.judge(|_| Ok(()))).collect();
    let found =
        Found::all("200 popular names by seed", "not blocked without a category", tries, round.dns_works().await);
    Ok(found.figure("unexplained_ppm", ppm as i64))
}

pub(super) async fn reason(round: &Round<'_>) -> Result {
    let (name, _) = round.mark()?;
    let answers = round.ask(&[round.question(&name, kind::A)]).await;
    let says = |reply: &dns::Reply| {
        let text = reply.error.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let contact = value["c"].as_array().is_some_and(|contacts| !contacts.is_empty());
        let reason = value["j"].as_str().is_some_and(|reason| !reason.is_empty());
        if contact && reason { Ok(()) } else { Err(Bad::Otherwise(format!("it says {text:?}"))) }
    };
    let tries = vec![answers[0].judge(says)];
    let found = Found::all(format!("{name} A"), "a DNS error with contact and reason", tries, round.dns_works().await);
    Ok(found.message(answers[0].message.clone()))
}

pub(super) fn order(round: &Round<'_>) -> Result {
    if round.policy.lists().iter().any(|list| list.order) {
        return Ok(Found::unclear("orders are in force, and their names are not asked for by this release"));
    }
    Err(Found::not_applicable("no order is in force"))
}

/// A canary that is answered with the block page.
fn page_mark(round: &Round<'_>) -> std::result::Result<String, Found> {
    round.zone()?;
    let pages = round.policy.categories().iter().filter(|info| info.answer == BlockAnswer::BlockPage);
    let mark = pages.filter_map(|info| round.canary(&info.name)).next();
    mark.ok_or_else(|| {
        Found::unclear("no category with a list is answered with the block page: set answer = \"block-page\" for one")
    })
}

/// Where the portal answers.
fn own_address<'a>(round: &'a Round<'_>) -> std::result::Result<&'a IpAddr, Found> {
    round.ours.iter().find(|address| address.is_ipv4()).ok_or_else(|| Found::unclear("the gateway has no address"))
}

pub(super) async fn block_page(round: &Round<'_>) -> Result {
    let (name, to) = (page_mark(round)?, own_address(round)?);
    let mut wrong = Vec::new();
    for language in ["sq", "en"] {
        let page = fetch(round, *to, &http::get(&name, "/", language)).await?;
        if !matches!(page.status, 403 | 451) {
            wrong.push(format!("status {} in {language}", page.status));
        }
        if !page.body.contains(&format!("lang=\"{language}\"")) {
            wrong.push(format!("no page in {language}"));
        }
        if !page.body.contains(&round.sight.config.portal.contact) {
            wrong.push("no way to complain".into());
        }
        if page.header("set-cookie").is_some() {
            wrong.push("a cookie".into());
        }
        wrong.extend(foreign_hosts(round, &page).into_iter().map(|host| format!("contacts {host}")));
    }
    let saw = if wrong.is_empty() { "as it should be".into() } else { wrong.join("; ") };
    let want = "403 or 451, Albanian and English, a way to complain, no cookie, nothing from elsewhere";
    Ok(Found::held(wrong.is_empty(), format!("http://{name}/"), want, saw))
}

/// Hosts that a page makes a browser contact and that are not the portal's.
pub(super) fn foreign_hosts(round: &Round<'_>, page: &Response) -> Vec<String> {
    let own = &round.sight.config.portal.name;
    let ours: Vec<String> = round.ours.iter().map(ToString::to_string).collect();
    page.hosts().into_iter().filter(|host| host != own && !ours.contains(host)).collect()
}

/// One request to a web server, and its whole answer.
pub(in crate::probe) async fn fetch(
    round: &Round<'_>,
    to: IpAddr,
    request: &str,
) -> std::result::Result<Response, Found> {
    let send = BASE64_STANDARD.encode(request);
    let deed = Deed::Tcp { to: (to, 80).into(), send, enough: 1 << 20, framed: false, within_ms: 5000 };
    let saw = round.door.act(vec![deed]).await.map_err(Found::unclear)?;
    let bytes = saw[0].reply.as_ref().and_then(|reply| BASE64_STANDARD.decode(reply).ok());
    let response = bytes.and_then(|bytes| Response::parse(&bytes));
    response.ok_or_else(|| Found::unclear(format!("no page came from {to}: {}", saw[0].end)))
}

/// A TLS handshake for this name, as far as the first flight (RFC 5246 section 7.4.1.2, RFC 6066 section 3).
fn hello(name: &str) -> Vec<u8> {
    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }
    let extension = |kind: u16, data: &[u8]| [&kind.to_be_bytes()[..], &sized(data)].concat();
    let server = sized(&[&[0][..], &sized(name.as_bytes())].concat());
    let extensions = [
        extension(0, &server),
        extension(10, &[0, 4, 0, 29, 0, 23]),
        extension(11, &[1, 0]),
        extension(13, &[0, 8, 4, 3, 8, 4, 4, 1, 8, 7]),
    ]
    .concat();
    let ciphers = sized(&[0xc0, 0x2b, 0xc0, 0x2f, 0xcc, 0xa9, 0xcc, 0xa8, 0xc0, 0x2c, 0xc0, 0x30]);
    let mut random = [7; 32];
    let _ = getrandom::fill(&mut random);
    let body = [&[3, 3][..], &random, &[0], &ciphers, &[1, 0], &sized(&extensions)].concat();
    let handshake = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&handshake)].concat()
}

pub(super) async fn no_forged_certificate(round: &Round<'_>) -> Result {
    let (name, to) = (page_mark(round)?, own_address(round)?);
    let send = BASE64_STANDARD.encode(hello(&name));
    let deed = Deed::Tcp { to: (*to, 443).into(), send, enough: 5, framed: false, within_ms: 3000 };
    let saw = round.door.act(vec![deed]).await.map_err(Found::unclear)?;
    let first = saw[0]
        .reply
        .as_ref()
        .and_then(|reply| BASE64_STANDARD.decode(reply).ok())
        .and_then(|bytes| bytes.first().copied());
    let ask = format!("https://{name}/");
    let want = "refused at once, or an alert: no certificate";
    Ok(match (first, saw[0].connected, saw[0].end.as_str()) {
        // Content type 22 is a handshake: a certificate follows.
        (Some(22), ..) => Found::held(false, ask, want, "a certificate for a name that is not ours"),
        (Some(21), ..) => Found::held(true, ask, want, "an alert"),
        (_, _, "silent") => Found::held(false, ask, want, "silence: the guest waits"),
        (_, _, end) => Found::held(true, ask, want, end),
    })
}

pub(super) fn ages(round: &Round<'_>) -> Result {
    let now = SystemTime::now();
    let lists = round.sight.lists();
    let old: Vec<_> = lists.iter().filter(|list| list.is_stale(now)).map(|list| list.name.clone()).collect();
    let empty = round.policy.lists().iter().filter(|list| !list.order && list.entries == 0).count();
    if lists.is_empty() || round.policy.lists().is_empty() {
        return Err(Found::new(Outcome::Fail, "the loaded lists", "each within its age", "no list is loaded")
            .figure("over_age", 0));
    }
    let saw = format!("{} lists; too old: {}; empty: {empty}", lists.len(), old.join(" "));
    let found =
        Found::held(old.is_empty() && empty == 0, "the loaded lists", "each within its age, and none empty", saw);
    Ok(found.figure("over_age", old.len() as i64))
}

/// The dated canary of each edition is blocked; one of an edition that does not exist is not.
pub(super) async fn dated(round: &Round<'_>) -> Result {
    let zone = round.zone()?;
    let mut names = Vec::new();
    for canary in round.policy.canaries() {
        let list = &round.policy.lists()[canary.list];
        let info = list.category.map(|category| &round.policy.categories()[usize::from(category.0)]);
        let open = info.is_none_or(|info| {
            let view = round.policy.view(sheshi_policy::GroupId(0), sheshi_policy::Moment::At(jiff::Timestamp::now()));
            let at = list.category.map_or(0, |category| category.0);
            view.blocked >> at & 1 == 0 && !info.locked
        });
        if let Some(signature) = info.filter(|_| !open).and_then(|info| round.signature(&info.name)) {
            names.push((canary.of_edition, signature));
        }
    }
    let other = format!("edition-that-never-was.{}.{zone}", names.len());
    let (mut tries, message) = round.blocked(&names, &[kind::A]).await;
    let answers = round.ask(&[round.question(&other, kind::A)]).await;
    tries.push(answers[0].judge(|reply| judge::allowed(reply, &round.ours)));
    let ask = format!("the canaries of {} editions, and of one that never was", names.len());
    let want = "blocked; the last one not";
    Ok(Found::all(ask, want, tries, round.dns_works().await).message(message))
}

/// What is in memory is what lies on the disk.
pub(super) fn digest(round: &Round<'_>) -> Result {
    let newest = round.sight.generations.newest();
    let newest = newest
        .ok_or_else(|| Found::new(Outcome::Fail, "the newest generation on disk", "that in force", "there is none"))?;
    let (loaded, kept) = (crate::commands::hex(&round.policy.digest()), crate::commands::hex(&newest.digest()));
    let saw = format!("in force {}, on disk {}", &loaded[..16], &kept[..16]);
    Ok(Found::held(loaded == kept, "digest of the policy in force", "that of the newest generation", saw))
}

pub(super) async fn no_such_name(round: &Round<'_>) -> Result {
    let label = format!("sheshi-{}", crate::probe::ledger::run());
    let questions: Vec<_> = ["com", "org", "al"].map(|top| round.question(&format!("{label}.{top}"), kind::A)).into();
    let answers = round.ask(&questions).await;
    let none = |reply: &dns::Reply| match reply.code {
        3 => Ok(()),
        0 => Err(Bad::Otherwise(reply.told())),
        _ => Err(Bad::Unclear(reply.told())),
    };
    let tries = answers.iter().map(|answer| answer.judge(none)).collect();
    Ok(Found::all("random names below com, org and al", "no such name", tries, round.dns_works().await))
}

pub(super) async fn true_answer(round: &Round<'_>) -> Result {
    let witness = round.witness()?;
    let answers = round.ask(&[round.question(&witness.name, kind::A)]).await;
    let same = |reply: &dns::Reply| match reply.addresses().as_slice() {
        [address] if *address == IpAddr::V4(witness.v4) => Ok(()),
        _ if reply.code == 2 => Err(Bad::Unclear(reply.told())),
        _ => Err(Bad::Otherwise(reply.told())),
    };
    let tries = vec![answers[0].judge(same)];
    let found = Found::all(format!("{} A", witness.name), format!("{}", witness.v4), tries, &Ok(()));
    Ok(found.message(answers[0].message.clone()))
}

/// How the gateway reaches its upstreams.
pub(super) fn upstream(round: &Round<'_>) -> Result {
    let upstreams: Vec<_> = round.sight.config.dns.upstreams.iter().map(ToString::to_string).collect();
    // Inside the site's own network a resolver needs no encryption on the way to it.
    let safe =
        |upstream: &sheshi_resolver::Upstream| upstream.is_encrypted() || !known::is_public(upstream.address.ip());
    let holds = round.sight.config.dns.upstreams.iter().all(safe);
    let saw = upstreams.join(" ");
    Ok(Found::held(holds, "the configured upstreams", "encrypted, with a checked certificate, or within the site", saw))
}

/// Each network that guests are on has a probe.
pub(super) fn networks(round: &Round<'_>) -> Result {
    let plan = round.sight.plan.borrow();
    let guests: Vec<_> = plan.rules.guests.iter().map(|side| side.interface.clone()).collect();
    let here = round.joined.lease.as_ref().is_some_and(|lease| {
        plan.rules
            .guests
            .iter()
            .any(|side| side.v4.as_ref().is_some_and(|v4| v4.network.contains(lease.address.into())))
    });
    let without = guests.len() - usize::from(here).min(guests.len());
    let saw = format!("guests on {}; probes on {}", guests.join(" "), u8::from(here));
    let found = Found::held(without == 0, "the networks of the firewall's rules", "a probe on each", saw);
    Ok(found.figure("without_probe", without as i64))
}

/// How many packets are sent to be counted.
const COUNTED: u32 = 40;

/// The guests' way counts as many packets as the probe sent.
pub(super) async fn counters(round: &Round<'_>) -> Result {
    let witness = round.witness()?;
    let read = async || {
        let health = gate::ask(&round.sight.guard, sheshi_firewall::Guard::health).await.ok()?;
        Some(health.counters.iter().find(|counter| counter.promise == "C12")?.packets)
    };
    let before = read().await.ok_or_else(|| Found::unclear("the guard does not tell its counters"))?;
    // Doors that are closed for guests, on a host that would answer: each packet meets the guests' rules, and no other's.
    let deeds = (0..COUNTED / 20)
        .map(|_| Deed::Udp {
            to: (witness.v4, 853).into(),
            send: BASE64_STANDARD.encode("count me"),
            within_ms: 0,
            times: 20,
        })
        .chain([knock((witness.v4, 443).into())])
        .collect();
    let saw = round.door.act(deeds).await.map_err(Found::unclear)?;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let after = read().await.ok_or_else(|| Found::unclear("the guard does not tell its counters"))?;
    let risen = after.saturating_sub(before);
    let ask = format!("{COUNTED} datagrams to port 853 of the witness");
    let want = "the counter of the guests' rule rises by as many";
    if !saw.last().is_some_and(|saw| saw.connected) {
        return Err(Found { ask, want: want.into(), ..Found::unclear("the witness does not answer on port 443") });
    }
    let found = Found::held(risen >= u64::from(COUNTED), ask, want, format!("by {risen}"));
    Ok(found.figure("sent", i64::from(COUNTED)).figure("counted", risen as i64))
}
