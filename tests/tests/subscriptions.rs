//! A list by URL in a whole gateway: it opens when the list has come, and what the publisher breaks later changes nothing.

use std::{fs, time::Duration};

use hickory_proto::rr::RecordType;
use sheshi_tests::{Guest, Lab, Options, until};

const POLICY: &str = "version = 1\n[list.adult]\nurl = \"https://lists.example.org/lists/adult.txt\"\ncategory = \"adult\"\n\
    must_block = [\"listed.sheshi-lab.example\"]\n";

fn is_blocked(guest: &Guest, name: &str) -> bool {
    guest.resolve(name, RecordType::A).unwrap().is_blocked()
}

#[test]
fn gateway_opens_when_its_list_has_come_and_keeps_it_when_the_publisher_fails() {
    let own = tempfile::tempdir().unwrap();
    let policy = own.path().join("policy.toml");
    fs::write(&policy, POLICY).unwrap();
    let options = Options { policy: Some(policy), guests: 1, ..Options::default() };
    let lab = Lab::start(options).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    assert!(is_blocked(&guest, "www.listed.sheshi-lab.example"));
    assert!(!is_blocked(&guest, "later.sheshi-lab.example"));
    // The server's name went through the gateway's own upstream.
    assert!(lab.upstream_names().iter().any(|name| name == "lists.example.org"));

    let published = lab.folder().join("internet/lists/adult.txt");
    let status = |key: &str| lab.gateway_status().ok()?["policy"]["lists"][0][key].as_str().map(str::to_owned);
    let says = |key: &'static str, words: &'static str| {
        lab.sheshi(&["reload"]).unwrap();
        let told = || status(key).filter(|text| text.contains(words)).map(drop);
        until(&format!("the status to say {words:?}"), Duration::from_secs(20), told).unwrap();
        assert!(is_blocked(&guest, "listed.sheshi-lab.example"), "{words}");
    };
    fs::write(&published, "<!doctype html><h1>We have moved</h1>").unwrap();
    says("held", "a web page");
    fs::write(&published, "unlisted.sheshi-lab.example\n").unwrap();
    says("held", "does not block listed.sheshi-lab.example");
    fs::remove_file(&published).unwrap();
    says("unreachable", "404");
    assert!(lab.log("gateway").contains("not fetched: the server answered 404"), "{}", lab.log("gateway"));

    fs::write(&published, "listed.sheshi-lab.example\nlater.sheshi-lab.example\n").unwrap();
    lab.sheshi(&["reload"]).unwrap();
    let blocked = || is_blocked(&guest, "later.sheshi-lab.example").then_some(());
    until("the new edition to be in force", Duration::from_secs(20), blocked).unwrap();
    assert_eq!((status("held"), status("unreachable")), (None, None));

    // By hand back to the list as it was, and forward again.
    lab.sheshi(&["rollback"]).unwrap();
    until("the older generation", Duration::from_secs(20), || {
        (!is_blocked(&guest, "later.sheshi-lab.example")).then_some(())
    })
    .unwrap();
    assert!(lab.gateway_status().unwrap()["troubles"].to_string().contains("went back to generation"));
    lab.sheshi(&["reload"]).unwrap();
    until("the newest generation", Duration::from_secs(20), blocked).unwrap();
}
