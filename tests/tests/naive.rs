//! The positive control: through a router as one finds it, everything works that the other flows show to be closed.

use std::sync::LazyLock;

use hickory_proto::rr::RecordType;
use sheshi_tests::{BYPASS_PAGE, Lab, Options, REAL_PAGE, attacks, dns::Transport, plan};

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    Lab::start(Options { guests: 4, ..Options::naive() }).unwrap_or_else(|problem| panic!("{problem}"))
});

#[test]
fn stranger_gets_everything_out() {
    let guest = LAB.guest("guest1");
    guest.join().unwrap();
    let (_, kept) = attacks::try_all(&LAB, &guest).unwrap();
    assert_eq!(kept, Vec::<String>::new(), "did not arrive");
}

#[test]
fn stranger_resolves_and_browses_over_both_families() {
    let guest = LAB.guest("guest2");
    guest.join().unwrap();
    assert!(guest.get("xvideos.com", "/").unwrap().body.contains(REAL_PAGE));
    assert!(guest.get_at(plan::WEB_V6.into(), "xvideos.com", "/").unwrap().body.contains(REAL_PAGE));
    assert!(LAB.upstream_names().contains(&"xvideos.com".to_owned()));
}

#[test]
fn foreign_resolver_answers_and_its_answer_is_told_apart() {
    let guest = LAB.guest("guest3");
    guest.join().unwrap();
    for (server, kind, address) in [
        (std::net::IpAddr::V4(plan::FOREIGN_V4[0]), RecordType::A, std::net::IpAddr::V4(plan::BYPASS_V4)),
        (plan::FOREIGN_V6[0].into(), RecordType::AAAA, plan::BYPASS_V6.into()),
    ] {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let answer = guest.ask((server, transport.port()), "pornhub.com", kind, transport).unwrap();
            assert_eq!(answer.addresses(), [address], "{server} {transport:?}");
        }
    }
    assert!(guest.get_at(plan::BYPASS_V4.into(), "pornhub.com", "/").unwrap().body.contains(BYPASS_PAGE));
}

#[test]
fn internet_answers_as_its_names_say() {
    let guest = LAB.guest("guest4");
    guest.join().unwrap();
    let gone = guest.resolve("shop.dead.example.net", RecordType::A).unwrap();
    assert_eq!(gone.code(), hickory_proto::op::ResponseCode::NXDomain);
    let alias = guest.resolve("pornhub.com.alias.example.org", RecordType::A).unwrap();
    assert_eq!(alias.message.answers.len(), 2);
    let service = guest.resolve("pornhub.com.service.example.org", RecordType::HTTPS).unwrap();
    assert_eq!(service.message.answers.len(), 1);
    let spelled = guest.resolve("192-0-2-7.address.example.org", RecordType::A).unwrap();
    assert_eq!(spelled.addresses(), [std::net::IpAddr::from([192, 0, 2, 7])]);
}

#[test]
fn gateway_bounces_between_isolated_guests() {
    let (from, to) = (LAB.guest("guest1"), LAB.guest("guest2"));
    from.join().unwrap();
    let lease = to.join().unwrap();
    for address in [std::net::IpAddr::V4(lease.address), lease.v6[0].into()] {
        assert!(
            !attacks::reaches_neighbour(&LAB, &from, &to, address, false).unwrap(),
            "ports are not isolated: {address}"
        );
        assert!(attacks::reaches_neighbour(&LAB, &from, &to, address, true).unwrap(), "{address}");
    }
}
