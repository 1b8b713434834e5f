//! The filter cannot be walked around: other resolvers, encrypted DNS, IPv6, other types and spellings.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Result;
use crate::probe::{
    dns::{self, kind},
    http,
    judge::{self, Bad, Found, Signature},
    known,
    round::{KNOCK_MS, Question, Round, knock},
    wire::Deed,
};

type Tries = Vec<(String, std::result::Result<(), Bad>)>;

/// The adult canary asked of resolvers that guests set by hand: our answer comes, or none.
pub(super) async fn foreign(round: &Round<'_>, v6: bool) -> Result {
    if v6 && !round.ipv6 {
        return Err(Found::not_applicable("guests have no IPv6 here"));
    }
    let (name, signature) = round.mark()?;
    let ask = format!("{name} A of foreign resolvers over IPv{}, UDP and TCP", if v6 { 6 } else { 4 });
    let tries = foreign_tries(round, &name, &signature, v6).await;
    let control = round.way_out(v6).await;
    Ok(Found::all(ask, "blocked, or no answer", tries, control))
}

async fn foreign_tries(round: &Round<'_>, name: &str, signature: &Signature, v6: bool) -> Tries {
    let questions: Vec<_> = known::foreign(v6)
        .flat_map(|to| [false, true].map(|tcp| Question { to: (to, 53).into(), name: name.into(), kind: kind::A, tcp }))
        .collect();
    let answers = round.ask(&questions).await;
    let closed = |answer: &crate::probe::round::Answer| match &answer.reply {
        Err(Bad::Unclear(end)) if matches!(end.as_str(), "silent" | "refused" | "unreachable") => {
            (answer.told.clone(), Ok(()))
        }
        _ => answer.judge(|reply| judge::blocked(reply, signature, &round.ours)),
    };
    answers.iter().map(closed).collect()
}

/// Bytes that are no DNS come back from nowhere.
pub(super) async fn no_dns_on_53(round: &Round<'_>) -> Result {
    let witness = round.witness()?;
    let nonce = crate::probe::ledger::run().to_string();
    let mut tries = Tries::new();
    let addresses: Vec<SocketAddr> = match witness.v6.filter(|_| round.ipv6) {
        Some(v6) => vec![(witness.v4, 53).into(), (v6, 53).into()],
        None => vec![(witness.v4, 53).into()],
    };
    // Neither a question nor anything else that a resolver would so much as refuse: it reads as a reply.
    let send = BASE64_STANDARD.encode([&[0xff; 12][..], nonce.as_bytes()].concat());
    let deeds =
        addresses.iter().map(|to| Deed::Udp { to: *to, send: send.clone(), within_ms: 1000, times: 2 }).collect();
    let saw = round.door.act(deeds).await.map_err(Found::unclear)?;
    for (to, saw) in addresses.iter().zip(&saw) {
        tries.push((format!("UDP to {to}"), judge::closed(saw)));
    }
    Ok(Found::all("bytes that are no DNS to port 53 of the witness", "no reply", tries, round.way_out(false).await))
}

pub(super) async fn own_resolver(round: &Round<'_>) -> Result {
    let (name, signature) = round.mark()?;
    let (tries, message) = round.blocked(&[(name.clone(), signature)], &[kind::A]).await;
    let found = Found::all(format!("{name} A of the gateway"), "our own block answer", tries, round.dns_works().await);
    Ok(found.message(message))
}

fn some(v6: bool, count: usize) -> Vec<IpAddr> {
    known::foreign(v6).take(count).collect()
}

async fn knocked(round: &Round<'_>, at: &[SocketAddr]) -> std::result::Result<Tries, Found> {
    let saw = round.door.act(at.iter().map(|to| knock(*to)).collect()).await.map_err(Found::unclear)?;
    Ok(at.iter().zip(&saw).map(|(to, saw)| (format!("TCP {to}"), judge::closed(saw))).collect())
}

pub(super) async fn over_tls(round: &Round<'_>, v6: bool) -> Result {
    let at: Vec<_> = some(v6, 4).into_iter().map(|address| (address, 853).into()).collect();
    let tries = knocked(round, &at).await?;
    Ok(Found::all("TCP to port 853 of public resolvers", "no connection", tries, round.way_out(v6).await))
}

/// A first QUIC packet of a version that does not exist: a server answers it with those that it speaks (RFC 9000 section 6).
pub(super) fn quic() -> String {
    let mut packet = vec![0; 1200];
    packet[0] = 0xc0;
    packet[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    packet[5] = 8;
    let _ = getrandom::fill(&mut packet[6..14]);
    packet[14] = 8;
    let _ = getrandom::fill(&mut packet[15..23]);
    BASE64_STANDARD.encode(packet)
}

async fn quic_tries(round: &Round<'_>, at: &[SocketAddr]) -> std::result::Result<Tries, Found> {
    let deeds = at.iter().map(|to| Deed::Udp { to: *to, send: quic(), within_ms: 1000, times: 2 }).collect();
    let saw = round.door.act(deeds).await.map_err(Found::unclear)?;
    Ok(at.iter().zip(&saw).map(|(to, saw)| (format!("QUIC {to}"), judge::closed(saw))).collect())
}

pub(super) async fn over_quic(round: &Round<'_>, v6: bool, port: u16) -> Result {
    let at: Vec<_> = some(v6, 2).into_iter().map(|address| (address, port).into()).collect();
    let tries = quic_tries(round, &at).await?;
    let ask = format!("a first QUIC packet to port {port} of public resolvers");
    Ok(Found::all(ask, "no answer", tries, round.way_out(v6).await))
}

pub(super) async fn way_out(round: &Round<'_>) -> Result {
    let witness = round.witness()?;
    let ask = format!("TCP 443 to the witness {}", witness.v4);
    Ok(match round.way_out(false).await {
        Ok(()) => Found::held(true, ask, "a connection", "it came about"),
        // What must work and does not is no proof that a door is open.
        Err(why) => Found { ask, ..Found::unclear(why.clone()) },
    })
}

pub(super) async fn encrypted_names(round: &Round<'_>) -> Result {
    let signature = Signature { code: round.category("bypass").map_or(15, |info| info.ede), words: None };
    let names: Vec<_> = known::ENCRYPTED.iter().map(|name| ((*name).to_owned(), signature.clone())).collect();
    let (mut tries, message) = round.blocked(&names, &[kind::A]).await;
    // Thirty more by seed, where a list of them is loaded.
    let drawn = super::minors::drawn(round, &["bypass"], 30).await;
    let mut sample = None;
    if let Ok(found) = drawn {
        if found.figures.get("misses").is_some_and(|misses| *misses > 0) {
            tries.push(("drawn by seed".into(), Err(Bad::Otherwise(found.saw))));
        }
        sample = found.sample;
    }
    let misses = tries.iter().filter(|(_, came)| matches!(came, Err(Bad::Otherwise(_)))).count();
    let ask = "22 known names of DNS over HTTPS, and 30 by seed from the list";
    let found = Found::all(ask, "blocked", tries, round.dns_works().await);
    Ok(Found { sample, ..found.message(message).figure("misses", misses as i64) })
}

pub(super) async fn encrypted_addresses(round: &Round<'_>, v6: bool) -> Result {
    let at: Vec<SocketAddr> =
        known::RESOLVERS.iter().filter(|a| a.is_ipv6() == v6).take(12).map(|address| (*address, 443).into()).collect();
    let mut tries = knocked(round, &at).await?;
    tries.extend(quic_tries(round, &at[..2.min(at.len())]).await?);
    Ok(Found::all("TCP and QUIC to port 443 of known resolvers", "closed", tries, round.way_out(v6).await))
}

pub(super) async fn real_query_over_https(round: &Round<'_>) -> Result {
    let (name, _) = round.mark()?;
    let body = dns::question(0, &name, kind::A).unwrap_or_default();
    let head = http::post_head("dns.google", "/dns-query", "application/dns-message", body.len());
    let send = BASE64_STANDARD.encode([head.as_bytes(), &body].concat());
    // Over plain port 443: who closes the port answers nothing, and who leaves it open has been reached.
    let deeds = known::foreign(false)
        .take(2)
        .map(|to| Deed::Tcp { to: (to, 443).into(), send: send.clone(), enough: 1, framed: false, within_ms: KNOCK_MS })
        .collect();
    let saw = round.door.act(deeds).await.map_err(Found::unclear)?;
    let tries = saw.iter().map(|saw| ("POST /dns-query".to_owned(), judge::closed(saw))).collect();
    Ok(Found::all("a query over HTTPS to two known resolvers", "no connection", tries, round.way_out(false).await))
}

/// A negative answer at once: no such name, or no address.
pub(super) async fn signal(round: &Round<'_>, names: &[&str]) -> Result {
    let questions: Vec<_> =
        names.iter().flat_map(|name| [kind::A, kind::AAAA].map(|kind| round.question(name, kind))).collect();
    let answers = round.ask(&questions).await;
    let negative = |reply: &dns::Reply| match (reply.code, reply.addresses().is_empty()) {
        (3, _) | (0, true) => Ok(()),
        (0, false) => Err(Bad::Otherwise(reply.told())),
        _ => Err(Bad::Unclear(reply.told())),
    };
    let late = |ms: u64| (ms > 1000).then(|| Err(Bad::Otherwise(format!("only after {ms} ms"))));
    let tries = answers.iter().map(|answer| {
        let (told, came) = answer.judge(negative);
        (told, late(answer.ms).unwrap_or(came))
    });
    let found =
        Found::all(names.join(" "), "no such name, or no address, at once", tries.collect(), round.dns_works().await);
    Ok(found.message(answers.first().and_then(|answer| answer.message.clone())))
}

pub(super) async fn designated(round: &Round<'_>) -> Result {
    let answers = round.ask(&[round.question("_dns.resolver.arpa", kind::SVCB)]).await;
    let nobody = |reply: &dns::Reply| match reply.code {
        0 | 3 if reply.answers.is_empty() => Ok(()),
        0 | 3 => Err(Bad::Otherwise(reply.told())),
        _ => Err(Bad::Unclear(reply.told())),
    };
    let tries = vec![answers[0].judge(nobody)];
    let found = Found::all("_dns.resolver.arpa SVCB", "nobody", tries, round.dns_works().await);
    Ok(found.message(answers[0].message.clone()))
}

/// What DHCP and router advertisements name.
pub(super) async fn named_resolvers(round: &Round<'_>) -> Result {
    let lease = round.joined.lease.as_ref().ok_or_else(|| Found::unclear("the guest has no lease"))?;
    let routers = if round.ipv6 { round.door.routers(3000).await.map_err(Found::unclear)? } else { Vec::new() };
    let mut wrong: Vec<String> =
        lease.resolvers.iter().filter(|r| !round.ours.contains(&IpAddr::V4(**r))).map(ToString::to_string).collect();
    let announced = routers.iter().flat_map(|router| &router.resolvers);
    wrong.extend(
        announced
            .filter(|r| !round.ours.contains(&IpAddr::V6(**r)) && !r.is_unicast_link_local())
            .map(ToString::to_string),
    );
    if lease.names_encrypted_resolver || routers.iter().any(|router| router.names_encrypted_resolver) {
        wrong.push("an encrypted resolver (RFC 9463)".into());
    }
    let saw = if wrong.is_empty() { "only the gateway".to_owned() } else { wrong.join(" ") };
    Ok(Found::held(wrong.is_empty(), "DHCP and router advertisements", "they name no resolver but the gateway", saw))
}

pub(super) async fn every_type(round: &Round<'_>) -> Result {
    let (name, signature) = round.mark()?;
    let kinds = [kind::A, kind::AAAA, kind::HTTPS, kind::SVCB, kind::CNAME, kind::TXT, 15, 2];
    let (tries, message) = round.blocked(&[(name.clone(), signature)], &kinds).await;
    let ask = format!("{name} A AAAA HTTPS SVCB CNAME TXT MX NS");
    Ok(Found::all(ask, "blocked for each type", tries, round.dns_works().await).message(message))
}

pub(super) async fn every_spelling(round: &Round<'_>) -> Result {
    let (name, signature) = round.mark()?;
    let mixed: String = name.char_indices().map(|(n, c)| if n % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    // Below the canary are other editions' names; below a listed site is that site.
    let below = format!("a.b.{}", known::ADULT[0]);
    let names: Vec<_> =
        [name.to_uppercase(), mixed, format!("{name}."), below].map(|name| (name, signature.clone())).into();
    let (tries, message) = round.blocked(&names, &[kind::A]).await;
    let found = Found::all("upper, mixed, dotted and lower spellings", "blocked", tries, round.dns_works().await);
    Ok(found.message(message))
}

pub(super) async fn service(round: &Round<'_>) -> Result {
    let (zone, (_, signature)) = (round.zone()?, round.mark()?);
    let name = format!("service.{zone}");
    let (tries, message) = round.blocked(&[(name.clone(), signature)], &[kind::HTTPS]).await;
    let want = "blocked: its target is the adult canary";
    Ok(Found::all(format!("{name} HTTPS"), want, tries, round.dns_works().await).message(message))
}

/// What addresses the guest has and who announced them.
pub(super) async fn addresses(round: &Round<'_>) -> Result {
    let routers = round.door.routers(3000).await.map_err(Found::unclear)?;
    let v6 = &round.joined.v6;
    let saw = format!("{} routers, {} global addresses", routers.iter().filter(|r| r.lifetime > 0).count(), v6.len());
    let want = if round.ipv6 { "a router and an address of our prefix" } else { "neither router nor global address" };
    let ours = |address: &std::net::Ipv6Addr| {
        round.ours.iter().any(|our| matches!(our, IpAddr::V6(our) if our.segments()[..4] == address.segments()[..4]))
    };
    let holds = match round.ipv6 {
        true => !routers.is_empty() && !v6.is_empty() && v6.iter().all(ours),
        false => routers.iter().all(|router| router.lifetime == 0) && v6.is_empty(),
    };
    // A router advertisement may be late; that a foreign one came is seen at once.
    if round.ipv6 && v6.is_empty() {
        return Err(Found { saw, ..Found::unclear("no IPv6 address yet") });
    }
    Ok(Found::held(holds, "router solicitation", want, saw))
}

pub(super) async fn routers(round: &Round<'_>) -> Result {
    if !round.ipv6 {
        return Err(Found::not_applicable("guests have no IPv6 here"));
    }
    let routers = round.door.routers(3000).await.map_err(Found::unclear)?;
    let mut from: Vec<_> = routers.iter().filter(|router| router.lifetime > 0).map(|router| router.from).collect();
    from.dedup();
    if from.is_empty() {
        return Err(Found::unclear("no router answered"));
    }
    let local = round.sight.link_local();
    let foreign: Vec<_> = from.iter().filter(|from| !local.contains(from)).map(ToString::to_string).collect();
    let saw = format!("{} routers, {} not the gateway", from.len(), foreign.len());
    Ok(Found::held(foreign.is_empty(), "router solicitation", "the gateway alone answers", saw))
}

/// What SH-05, 10, 11 and 12 measure, over IPv6.
pub(super) async fn all_over_v6(round: &Round<'_>) -> Result {
    if !round.ipv6 {
        return Err(Found::not_applicable("guests have no IPv6 here"));
    }
    let (name, signature) = round.mark()?;
    let to = round.resolver(true).ok_or_else(|| Found::unclear("the gateway has no IPv6 address"))?;
    let answers = round.ask(&[Question { to, name: name.clone(), kind: kind::A, tcp: false }]).await;
    let mut tries = vec![answers[0].judge(|reply| judge::blocked(reply, &signature, &round.ours))];
    tries.extend(foreign_tries(round, &name, &signature, true).await);
    let at: Vec<_> = some(true, 3).into_iter().flat_map(|a| [(a, 853).into(), (a, 443).into()]).collect();
    tries.extend(knocked(round, &at).await?);
    tries.extend(quic_tries(round, &[(some(true, 1)[0], 853).into()]).await?);
    let want = "blocked or closed, as over IPv4";
    Ok(Found::all("canary, foreign resolvers, 853 and 443 over IPv6", want, tries, round.way_out(true).await))
}

pub(super) async fn witness_over_v6(round: &Round<'_>) -> Result {
    let address =
        round.witness()?.v6.ok_or_else(|| Found::unclear("the witness has no IPv6 address ([witness] v6)"))?;
    let saw = round.door.act(vec![knock((address, 443).into())]).await.map_err(Found::unclear)?;
    let ask = format!("TCP 443 to the witness {address}");
    let want = if round.ipv6 { "a connection" } else { "none" };
    if round.ipv6 && !saw[0].connected {
        return Err(Found { ask, want: want.into(), ..Found::unclear(format!("no connection: {}", saw[0].end)) });
    }
    if let Err(why) = round.way_out(false).await {
        return Err(Found::unclear(why.clone()));
    }
    Ok(Found::held(saw[0].connected == round.ipv6, ask, want, saw[0].end.clone()))
}
