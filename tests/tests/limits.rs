//! What a guest may use up, as the configuration says it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use sheshi_tests::{Guest, Lab, Options, plan, until};

fn echo() -> SocketAddr {
    (plan::ECHO_V4, 7).into()
}

/// Bytes that the internet echoes within this time.
fn echoed(guest: &Guest, time: Duration) -> u64 {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = guest.connect(echo(), Duration::from_secs(1)) else { return 0 };
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let (deadline, mut total, mut buffer) = (Instant::now() + time, 0, [0; 8192]);
    while Instant::now() < deadline {
        if stream.write_all(&[b'!'; 8192]).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => total += length as u64,
            Err(_) => {}
        }
    }
    total
}

#[test]
fn session_ends_when_the_guest_has_used_up_its_data() {
    let settings = "[guests]\ndata_mib = 1\n".into();
    let lab = Lab::start(Options { settings, ..Options::default() }).unwrap_or_else(|problem| panic!("{problem}"));
    let (guest, other) = (lab.guest("guest1"), lab.guest("guest2"));
    guest.join_and_accept().unwrap();
    other.join_and_accept().unwrap();
    let had = echoed(&guest, Duration::from_secs(20));
    assert!(had > 200_000 && had < 1 << 20, "{had} bytes");
    let ended = || {
        let mac = plan::mac_text(plan::guest_mac(1));
        (!lab.sheshi(&["guests"]).ok()?.contains(&mac)).then_some(())
    };
    until("its session to end", Duration::from_secs(10), ended).unwrap();
    // Nobody brings it back: longer than the gateway takes to look for guests whom the kernel has lost.
    std::thread::sleep(Duration::from_secs(6));
    assert!(guest.connect(echo(), Duration::from_secs(1)).is_err());
    assert!(other.connect(echo(), Duration::from_secs(1)).is_ok(), "the control: who has used little goes on");
    // A new session is a new amount.
    guest.accept().unwrap();
    guest.wait_for_internet().unwrap();
}
