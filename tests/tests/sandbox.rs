//! The running processes have shut themselves in, whatever started them.

use sheshi_tests::{Lab, Options};

#[test]
fn guard_and_gateway_have_shut_themselves_in_and_work_all_the_same() {
    let lab = Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    lab.sheshi(&["reload"]).unwrap();
    // The lab has processes of its own: what it sees of them is asked inside.
    let confined = |process: &str| {
        let comm =
            format!("grep -lx {process} /proc/[0-9]*/comm | while read f; do cat ${{f%comm}}task/*/status; done");
        let text = lab.place("gateway").output(&["sh", "-c", &comm]).unwrap();
        let threads = text.matches("Seccomp:").count();
        assert!(threads > 0, "no thread of {process} was found");
        text.matches("Seccomp:\t2").count() == threads
    };
    assert!(confined("sheshi-guard"));
    assert!(confined("sheshi"));
    // The control: somebody else's process has not.
    assert!(!confined("dnsmasq"));
}
