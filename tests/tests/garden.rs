//! The garden: names that strangers reach, from the configuration to the packet.

use std::{net::IpAddr, time::Duration};

use hickory_proto::rr::RecordType;
use sheshi_tests::{Lab, Options, REAL_PAGE, plan};

#[test]
fn strangers_reach_the_names_of_the_garden_and_no_other() {
    let settings = "[garden]\nnames = [\"museum.example.org\"]\n".into();
    let lab = Lab::start(Options { settings, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join().unwrap();
    // Its web server has the garden's address, which nobody has resolved yet.
    let away = |address| guest.connect((address, 443).into(), Duration::from_secs(1)).is_err();
    assert!(away(IpAddr::V4(plan::WEB_V4)), "open before anybody asked");

    let answer = guest.resolve("www.museum.example.org", RecordType::A).unwrap();
    assert_eq!(answer.addresses(), [IpAddr::V4(plan::WEB_V4)]);
    // At once: what was answered is open.
    assert!(!away(IpAddr::V4(plan::WEB_V4)));
    let page = guest.get("www.museum.example.org", "/").unwrap();
    assert!(page.body.contains(REAL_PAGE), "{page:?}");

    // Everything else is as it was: other names, other ports, other addresses, the portal.
    let portal = IpAddr::V4(plan::GATEWAY_V4);
    for name in ["evilmuseum.example.org", "example.org", "news.example.org", "captive.apple.com"] {
        assert_eq!(guest.resolve(name, RecordType::A).unwrap().addresses(), [portal], "{name}");
    }
    assert!(away(IpAddr::V4(plan::ECHO_V4)));
    assert!(guest.connect((plan::WEB_V4, 22).into(), Duration::from_secs(1)).is_err());
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
}
