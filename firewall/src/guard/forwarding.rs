//! The kernel's switches: whether it forwards at all. Switched on only behind rules that are in force.

use std::{fs, io, path::PathBuf};

use sheshi_firewall::{Forwarding, Ruleset};

const V4: &str = "net/ipv4/ip_forward";
const V6: &str = "net/ipv6/conf/all/forwarding";

/// How the switches stand. A family the kernel does not have does not forward.
pub(crate) fn read() -> Forwarding {
    Forwarding { v4: value(V4) == "1", v6: value(V6) == "1" }
}

/// Switches forwarding as the ruleset needs it: off where nothing is to be forwarded, so that a lost table alone opens
/// nothing. To be called after the ruleset is in force.
pub(crate) fn follow(ruleset: &Ruleset) -> io::Result<()> {
    if ruleset.forwards_ipv6() {
        // A kernel that forwards stops listening to router advertisements unless told 2 (ip-sysctl, accept_ra): without
        // this the uplink would lose its default route.
        for uplink in &ruleset.uplinks {
            let accept = format!("net/ipv6/conf/{uplink}/accept_ra");
            if value(&accept) == "1" {
                write(&accept, "2")?;
            }
        }
    }
    // A redirect would tell a guest to go to its neighbour directly (C05). The kernel sends them if either switch is on.
    for interface in ruleset.guests.iter().map(|guest| guest.interface.as_str()).chain(["all"]) {
        let redirects = format!("net/ipv4/conf/{interface}/send_redirects");
        if value(&redirects) == "1" {
            write(&redirects, "0")?;
        }
    }
    // With br_netfilter the packets of a bridge meet the rules once more, and what we refuse goes back without a look at the
    // neighbour table, so that a guest's new address would never be learned from it.
    for family in ["iptables", "ip6tables"] {
        let bridge = format!("net/bridge/bridge-nf-call-{family}");
        if value(&bridge) == "1" {
            write(&bridge, "0")?;
        }
    }
    set(V4, !ruleset.closed)?;
    set(V6, ruleset.forwards_ipv6())
}

/// Switches forwarding off, both families, whatever of it works.
pub(crate) fn off() -> io::Result<()> {
    let v4 = set(V4, false);
    set(V6, false).and(v4)
}

fn set(switch: &str, on: bool) -> io::Result<()> {
    let wanted = if on { "1" } else { "0" };
    // Writing even the same value to v6 makes the kernel walk all interfaces.
    if value(switch) == wanted || !on && !path(switch).exists() {
        return Ok(());
    }
    write(switch, wanted)
}

fn write(switch: &str, text: &str) -> io::Result<()> {
    let path = path(switch);
    fs::write(&path, text)
        .map_err(|error| io::Error::new(error.kind(), format!("writing {text} to {}: {error}", path.display())))
}

fn value(switch: &str) -> String {
    fs::read_to_string(path(switch)).unwrap_or_default().trim().to_string()
}

fn path(switch: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(switch)
}
