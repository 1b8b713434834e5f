//! A device joins, meets the portal, accepts, browses; and what does not count as accepting.

use std::{
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
    time::Duration,
};

use hickory_proto::rr::RecordType;
use sheshi_tests::{
    Guest, Lab, Options, REAL_PAGE,
    dns::Transport,
    http::{self, Request, Response},
    plan, until,
};

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    Lab::start(Options { guests: 12, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"))
});

/// What Apple, Android, Windows, Firefox, GNOME and KDE fetch, and what tells them that they are online.
const PROBES: [(&str, &str, u16, &str); 9] = [
    ("captive.apple.com", "/hotspot-detect.html", 200, "<TITLE>Success</TITLE>"),
    ("www.apple.com", "/library/test/success.html", 200, "<TITLE>Success</TITLE>"),
    ("connectivitycheck.gstatic.com", "/generate_204", 204, ""),
    ("www.google.com", "/gen_204", 204, ""),
    ("www.msftconnecttest.com", "/connecttest.txt", 200, "Microsoft Connect Test"),
    ("detectportal.firefox.com", "/success.txt", 200, "success"),
    ("detectportal.firefox.com", "/canonical.html", 200, "support.mozilla.org/kb/captive-portal"),
    ("nmcheck.gnome.org", "/check_network_status.txt", 200, "NetworkManager is online"),
    ("networkcheck.kde.org", "/", 200, "OK"),
];

fn portal() -> SocketAddr {
    (plan::GATEWAY_V4, 80).into()
}

fn is_online(response: &Response, status: u16, body: &str) -> bool {
    response.status == status && response.body.contains(body)
}

/// Whether the gateway takes this guest for a stranger: the portal leads on from any page.
fn is_stranger(guest: &Guest) -> bool {
    let page = guest.get_at(plan::WEB_V4.into(), "news.example.org", "/").unwrap();
    let away = page.header("location").is_some_and(|location| location.contains(plan::PORTAL));
    assert_ne!(away, page.body.contains(REAL_PAGE), "neither portal nor page: {page:?}");
    away
}

#[test]
fn guest_joins_accepts_and_browses() {
    let guest = LAB.guest("guest1");
    let lease = guest.join().unwrap();
    assert_eq!(lease.resolver, plan::GATEWAY_V4);
    let page = guest.get("news.example.org", "/today?a=b").unwrap();
    assert_eq!(page.status, 302, "{page:?}");
    assert!(page.header("location").unwrap().starts_with(&format!("http://{}/", plan::PORTAL)), "{page:?}");
    assert_eq!(page.header("connection"), Some("close"), "a kept connection would go on talking to the portal");

    let welcome = guest.accept().unwrap();
    assert_eq!(welcome.status, 303, "{welcome:?}");
    guest.wait_for_internet().unwrap();
    for address in [IpAddr::V4(plan::WEB_V4), IpAddr::V6(plan::WEB_V6)] {
        let page = guest.get_at(address, "news.example.org", "/").unwrap();
        assert!(page.body.contains(REAL_PAGE), "{address}: {page:?}");
    }
    let status = guest.get(plan::PORTAL, "/").unwrap();
    assert!(status.field("token").is_some() && status.body.contains("/leave"), "no status page: {status:?}");
}

#[test]
fn option_114_names_the_captive_portal_api() {
    let lease = LAB.guest("guest2").join().unwrap();
    assert_eq!(lease.captive_portal, Some(format!("https://{}/captive-portal/api", plan::PORTAL)));
}

#[test]
fn captive_portal_api_tells_the_state_of_who_asks() {
    let guest = LAB.guest("guest3");
    guest.join().unwrap();
    let trusted = std::fs::read(LAB.folder().join("portal.pem")).unwrap();
    let ask = || {
        let address = guest.address_of(plan::PORTAL).unwrap();
        let request = Request::get(plan::PORTAL, "/captive-portal/api");
        let response = http::send_tls(&guest, (address, 443).into(), &request, &trusted).unwrap();
        assert_eq!(response.header("content-type"), Some("application/captive+json"), "{response:?}");
        assert!(response.header("cache-control").unwrap().contains("no-store"), "{response:?}");
        serde_json::from_str::<serde_json::Value>(&response.body).unwrap()
    };
    let before = ask();
    assert_eq!(before["captive"], true, "{before}");
    assert!(before["user-portal-url"].as_str().unwrap().contains(plan::PORTAL), "{before}");
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
    let after = ask();
    assert_eq!(after["captive"], false, "{after}");
    let left = after["seconds-remaining"].as_u64().unwrap();
    assert!((8 * 3600 - 60..=8 * 3600).contains(&left), "{after}");
}

#[test]
fn nothing_a_stranger_asks_reaches_an_upstream() {
    let guest = LAB.guest("guest4");
    guest.join().unwrap();
    let mut number = 0;
    let mut name = |prefix: &str| {
        number += 1;
        format!("{prefix}{number}.tunnel.sx-lab.net")
    };
    let mut servers: Vec<IpAddr> = vec![plan::GATEWAY_V4.into(), plan::GATEWAY_ULA.into(), plan::UPSTREAM_V4.into()];
    servers.extend(plan::FOREIGN_V4.map(IpAddr::V4));
    servers.extend(plan::FOREIGN_V6.map(IpAddr::V6));
    for server in servers {
        for transport in [Transport::Udp, Transport::Tcp] {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::NULL, RecordType::MX] {
                let answer = guest.ask((server, 53), &name("payload"), kind, transport).unwrap();
                let led_elsewhere = answer
                    .addresses()
                    .iter()
                    .any(|address| *address != plan::GATEWAY_V4 && *address != plan::GATEWAY_ULA);
                assert!(!led_elsewhere, "{server} {kind}: {:?}", answer.addresses());
                assert!(answer.ttl().unwrap_or(0) <= 10, "{server} {kind}: kept for {:?} s", answer.ttl());
            }
        }
    }
    for kind in [RecordType::CNAME, RecordType::SRV, RecordType::HTTPS, RecordType::NS, RecordType::ANY] {
        guest.resolve(&name("payload"), kind).unwrap();
    }
    // The control: the same guest's names do go upstream once it is admitted, and then the log has them.
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
    guest.resolve(&name("control"), RecordType::A).unwrap();
    let asked: Vec<_> = LAB.asked().into_iter().filter(|asked| asked.name.ends_with("tunnel.sx-lab.net")).collect();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.name.starts_with("control")), "{asked:?}");
}

#[test]
fn os_probes_say_captive_before_and_online_after() {
    let guest = LAB.guest("guest5");
    guest.join().unwrap();
    for (host, path, status, body) in PROBES {
        let answer = guest.get(host, path).unwrap();
        assert!(!is_online(&answer, status, body), "{host}{path} says online: {answer:?}");
        assert_eq!(answer.status, 302, "{host}{path}: {answer:?}");
    }
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
    for (host, path, status, body) in PROBES {
        // From the system's own server, and from us where the device still holds our address for it.
        let resolved = guest.address_of(host).unwrap();
        for address in [resolved, plan::GATEWAY_V4.into()] {
            let answer = guest.get_at(address, host, path).unwrap();
            assert!(is_online(&answer, status, body), "{host}{path} at {address}: {answer:?}");
        }
    }
}

#[test]
fn post_to_another_host_admits_nobody() {
    let guest = LAB.guest("guest6");
    guest.join().unwrap();
    let form = guest.open_portal().unwrap().form();
    for (host, path) in [
        ("update.googleapis.com", "/service/update2/json"),
        ("update.googleapis.com", "/accept"),
        ("10.0.0.1", "/accept"),
    ] {
        let _ = http::send(&guest, portal(), &Request::post(host, path, &form));
        assert!(is_stranger(&guest), "POST http://{host}{path} admitted");
    }
    assert_accepting_works(&guest);
}

#[test]
fn post_without_its_own_token_admits_nobody() {
    let (guest, other) = (LAB.guest("guest7"), LAB.guest("guest8"));
    guest.join().unwrap();
    other.join().unwrap();
    let others = other.open_portal().unwrap().form();
    for form in ["", "token=", "token=0000", "token[]=a", &others] {
        let answer = http::send(&guest, portal(), &Request::post(plan::PORTAL, "/accept", form)).unwrap();
        assert_ne!(answer.status, 303, "{form}: {answer:?}");
        assert!(is_stranger(&guest), "{form} admitted");
    }
    let own = guest.open_portal().unwrap().form();
    let get = http::send(&guest, portal(), &Request::get(plan::PORTAL, &format!("/accept?{own}"))).unwrap();
    assert!(get.status >= 400 && is_stranger(&guest), "a GET admitted: {get:?}");
    let foreign =
        Request { headers: &[("Origin", "http://evil.example")], ..Request::post(plan::PORTAL, "/accept", &own) };
    http::send(&guest, portal(), &foreign).unwrap();
    assert!(is_stranger(&guest), "a form of another site admitted");
    assert_accepting_works(&guest);
}

#[test]
fn headers_identify_nobody() {
    let (guest, other) = (LAB.guest("guest9"), LAB.guest("guest10"));
    let lease = guest.join_and_accept().unwrap();
    other.join().unwrap();
    let address = lease.address.to_string();
    for header in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-MAC", "Client-IP"] {
        let value = if header == "Forwarded" { format!("for={address}") } else { address.clone() };
        let request = Request { headers: &[(header, &value)], ..Request::get(plan::PORTAL, "/?mac=02:00:5e:00:01:09") };
        let page = http::send(&other, portal(), &request).unwrap();
        assert!(page.body.contains("/accept") && !page.body.contains("/leave"), "{header}: {page:?}");
        assert!(is_stranger(&other));
    }
    assert!(!is_stranger(&guest));
}

#[test]
fn guest_who_leaves_is_a_stranger_again() {
    let guest = LAB.guest("guest11");
    guest.join_and_accept().unwrap();
    let form = guest.get(plan::PORTAL, "/").unwrap().form();
    let left = http::send(&guest, portal(), &Request::post(plan::PORTAL, "/leave", &form)).unwrap();
    assert_eq!(left.status, 303, "{left:?}");
    until("the guest to be a stranger", Duration::from_secs(2), || is_stranger(&guest).then_some(())).unwrap();
}

#[test]
fn stranger_is_led_to_the_portal_over_ipv6_too() {
    let guest = LAB.guest("guest12");
    guest.join().unwrap();
    let page = guest.get_at(plan::WEB_V6.into(), "news.example.org", "/").unwrap();
    assert_eq!(page.status, 302, "{page:?}");
    let terms = http::send(&guest, (plan::GATEWAY_ULA, 80).into(), &Request::get(plan::PORTAL, "/")).unwrap();
    assert!(terms.field("token").is_some(), "{terms:?}");
}

/// The control of every refusal: the right form does admit.
fn assert_accepting_works(guest: &Guest) {
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
}
