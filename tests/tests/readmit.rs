//! The kernel loses a guest that the gateway still has a session for, as when somebody flushes the rules while no guard is there.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use sheshi_tests::{Lab, Options, plan, until};

#[test]
fn guest_whom_the_kernel_has_lost_is_admitted_again() {
    let lab = Lab::start(Options::default()).unwrap_or_else(|problem| panic!("{problem}"));
    let guest = lab.guest("guest1");
    guest.join_and_accept().unwrap();
    let reaches = || guest.connect((plan::ECHO_V4, 7).into(), Duration::from_secs(1)).is_ok();
    assert!(reaches(), "the control: the way is open");

    // Said to the guard and not to the gateway, which so knows nothing of it.
    let message = format!("{{\"expel\":{{\"mac\":\"{}\"}}}}", plan::mac_text(plan::guest_mac(1)));
    let mut guard = UnixStream::connect(lab.folder().join("run/guard.sock")).unwrap();
    guard.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
    guard.write_all(message.as_bytes()).unwrap();
    guard.read_exact(&mut [0; 4]).unwrap();
    assert!(!reaches(), "the kernel still has the guest");

    until("the guest to be admitted again", Duration::from_secs(15), || reaches().then_some(())).unwrap();
}
