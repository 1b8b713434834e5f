//! The way out changes under a running gateway: whatever makes the guests' range ambiguous closes it, and says how to mend it.

use std::time::Duration;

use sheshi_tests::{Lab, Options, plan, until};

fn status(lab: &Lab) -> serde_json::Value {
    lab.gateway_status().unwrap()
}

#[test]
fn overlapping_uplink_closes_the_network_until_it_is_mended() {
    let lab = Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    assert_eq!(guest.get("news.example.org", "/").unwrap().status, 200);
    let reaches = || guest.connect((plan::ECHO_V4, 7).into(), Duration::from_secs(2)).is_ok();
    assert!(reaches(), "the control: the way is open");
    let address =
        |change: &str| lab.place("gateway").output(&["ip", "address", change, "10.77.2.9/24", "dev", "wan0"]).unwrap();

    // The uplink gets an address in the guests' own range, as a hotel's or a phone's network may give out.
    address("add");
    until("the network to be closed", Duration::from_secs(5), || (status(&lab)["service"] == "closed").then_some(()))
        .unwrap();
    let told = status(&lab)["troubles"].to_string();
    assert!(told.contains("overlaps") && told.contains("172.29.0.1/22"), "{told}");
    until("the rules to be closed", Duration::from_secs(5), || {
        (status(&lab)["firewall"]["closed"] == true).then_some(())
    })
    .unwrap();
    assert!(!reaches(), "a closed network forwards");

    address("del");
    until("the network to be open again", Duration::from_secs(5), || (status(&lab)["service"] == "open").then_some(()))
        .unwrap();
    until("the guest to be through again", Duration::from_secs(5), || {
        guest.get("news.example.org", "/").ok().filter(|page| page.status == 200)
    })
    .unwrap();
}
