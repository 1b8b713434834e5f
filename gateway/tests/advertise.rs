//! Router advertisements meet a real kernel: it makes itself an address and a route by them, and forgets us when we leave.

use std::{fs, process::Command};

/// Two network namespaces of our own with a cable between; the client's is a child, and both end with the script.
const SCRIPT: &str = r#"
set -eu
ip link set lo up
ip link add guests type veth peer name device
unshare -n sleep 60 & client=$!
trap 'kill $client $router 2>/dev/null || true' EXIT
router=
in_client() { nsenter -t $client -n "$@"; }
for _ in $(seq 100); do
    ip link set device netns $client 2>/dev/null && in_client ip link show device >/dev/null 2>&1 && break
    sleep 0.05
done
echo 0 > /proc/sys/net/ipv6/conf/guests/accept_dad
ip addr add fd5e:5e:1::1/64 dev guests
ip link set guests up
in_client sh -c 'echo 0 > /proc/sys/net/ipv6/conf/device/accept_dad'
in_client ip link set device up
in_client python3 -c "$LISTEN" > "$CAPTURE" & capture=$!
for _ in $(seq 200); do grep -q ready "$CAPTURE" && break; sleep 0.05; done
"$SHESHI" advertise --config "$CONFIG" & router=$!
for _ in $(seq 200); do
    in_client ip -6 route show default | grep -q 'via fe80' && in_client ip -6 addr show dev device | grep -q fd5e:5e:1: && break
    sleep 0.1
done
echo "== joined"
in_client ip -6 route show default
in_client ip -6 addr show dev device scope global
kill -TERM $router; wait $router; router=
for _ in $(seq 50); do in_client ip -6 route show default | grep -q via || break; sleep 0.1; done
echo "== left"
in_client ip -6 route show default
wait $capture || true
"#;

/// Prints the first advertisement as it came over the wire. tcpdump wants an account to change to, which a namespace of
/// one account does not have.
const LISTEN: &str = "
import socket
door = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
door.settimeout(20)
print('ready', flush=True)
while True:
    octets = door.recv(2000)
    if octets[0] == 134:
        print(octets.hex())
        break
";

fn config(folder: &std::path::Path, certificate: &str) -> std::path::PathBuf {
    let path = folder.join("gateway.toml");
    let text = format!(
        "version = 1\nsite = \"Test\"\n[network]\nguests = \"guests\"\nuplink = [\"up\"]\nra = \"sheshi\"\n\
         [dns]\nupstreams = [\"192.0.2.1:53\"]\n[portal]\nname = \"wifi.tirana.example\"\norganisation = \"A\"\n\
         contact = \"a@b.example\"\n[portal.tls]\ncertificate = \"{certificate}\"\nkey = \"{certificate}\"\n"
    );
    fs::write(&path, text).unwrap();
    path
}

fn advertise(folder: &std::path::Path, certificate: &str) -> (String, String) {
    let capture = folder.join("capture");
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", SCRIPT])
        .env("SHESHI", env!("CARGO_BIN_EXE_sheshi"))
        .env("CONFIG", config(folder, certificate))
        .env("CAPTURE", &capture)
        .env("LISTEN", LISTEN)
        .output()
        .expect("unshare, of Debian's package util-linux");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("== left"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    (said, fs::read_to_string(&capture).unwrap())
}

fn digits(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn kernel_takes_address_and_route_and_forgets_us_when_we_leave() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("certificate.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=wifi.tirana.example"])
        .args(["-keyout", "/dev/null", "-out"])
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let (said, wire) = advertise(folder.path(), certificate.to_str().unwrap());
    let (joined, left) = said.split_once("== left").unwrap();
    assert!(joined.contains("default via fe80") && joined.contains("inet6 fd5e:5e:1:"), "{said}");
    assert!(!left.contains("default"), "{said}");
    assert!(wire.contains(&digits("https://wifi.tirana.example/captive-portal/api")), "{wire}");

    // Without a good certificate the same, and no API.
    let (said, wire) = advertise(folder.path(), "/nonexistent/certificate.pem");
    assert!(said.contains("default via fe80"), "{said}");
    assert!(wire.contains("fd5e005e0001") && !wire.contains(&digits("captive-portal")), "{wire}");
}
