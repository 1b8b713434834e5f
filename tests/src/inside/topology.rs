//! The cables: `guest*` — bridge `guests` of `gateway` — `wan0` … `isp` of `internet`.
//!
//! The gateway is left as a fresh Linux machine is: addresses are there (on a real one systemd-networkd sets them) and
//! nothing is forwarded. Ports of the bridge are isolated from each other, as the stations of an access point with
//! `ap_isolate=1` are.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use crate::{
    error::{Doing, LabError},
    inside::{place::Place, place::netns_path, supervisor::run_in},
    options::{Ipv6, Options},
    plan,
};

/// Lays the cables of all places.
pub(crate) fn lay(places: &BTreeMap<String, Place>, options: &Options) -> Result<(), LabError> {
    // Every machine waits a second or two to see whether its addresses are somebody else's; the tests need not.
    for place in places.values() {
        set(place, "net/ipv6/conf/default/accept_dad", "0")?;
    }
    internet(&places["internet"])?;
    gateway(&places["gateway"], options)?;
    for number in 1..=options.guests {
        guest(&places[&format!("guest{number}")], number, options)?;
    }
    routes(&places["internet"], options)
}

fn internet(place: &Place) -> Result<(), LabError> {
    // Every address of the world is this machine: what leaks out of the gateway arrives, whatever it was meant for.
    let mut batch =
        "link set lo up\nroute add local 0.0.0.0/0 dev lo table main\nroute add local ::/0 dev lo table main\n"
            .to_owned();
    for address in plan::internet_addresses() {
        let (bits, flag) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
        _ = writeln!(batch, "addr add {address}/{bits} dev lo{flag}");
    }
    ip(place, &batch)
}

fn gateway(place: &Place, options: &Options) -> Result<(), LabError> {
    let mac = plan::mac_text(plan::UPLINK_MAC);
    let internet = netns_path("internet");
    let mut batch = format!(
        "link set lo up\n\
         link add wan0 address {mac} type veth peer name isp netns {internet}\n\
         link add guests type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n\
         addr add {v4}/22 dev guests\n\
         addr add {up4}/24 dev wan0\n\
         addr add {up6}/64 dev wan0 nodad\n",
        internet = internet.display(),
        v4 = plan::GATEWAY_V4,
        up4 = plan::UPLINK_V4,
        up6 = plan::UPLINK_V6,
    );
    match options.ipv6 {
        Ipv6::Nat66 => _ = writeln!(batch, "addr add {}/64 dev guests nodad", plan::GATEWAY_ULA),
        Ipv6::Routed => _ = writeln!(batch, "addr add {}/64 dev guests nodad", plan::GATEWAY_ROUTED),
        Ipv6::Off => {}
    }
    for number in 1..=options.guests {
        let guest = netns_path(&format!("guest{number}"));
        _ = write!(
            batch,
            "link add port{number} type veth peer name eth0 netns {}\n\
             link set port{number} master guests\n\
             link set port{number} type bridge_slave isolated on\n\
             link set port{number} up\n",
            guest.display()
        );
    }
    _ = write!(
        batch,
        "link set guests up\nlink set wan0 up\nroute add default via {}\nroute add ::/0 via {}\n",
        plan::PROVIDER_V4,
        plan::PROVIDER_V6
    );
    // As systemd-networkd's `IPv6AcceptRA=no`: a router does not take its own advertisements, which come back to it
    // before it forwards, for another router's.
    set(place, "net/ipv6/conf/default/accept_ra", "0")?;
    // A router has no `br_netfilter`; where the kernel has it built in, a new network namespace starts with it on, and then
    // the firewall sees each packet of the bridge twice.
    for family in ["iptables", "ip6tables", "arptables"] {
        let switch = format!("net/bridge/bridge-nf-call-{family}");
        if Path::new("/proc/sys").join(&switch).exists() {
            set(place, &switch, "0")?;
        }
    }
    ip(place, &batch)
}

fn guest(place: &Place, number: u8, options: &Options) -> Result<(), LabError> {
    // Nor need a device wait before it asks for routers.
    set(place, "net/ipv6/conf/eth0/router_solicitation_delay", "0")?;
    set(place, "net/ipv6/conf/eth0/router_solicitation_interval", "1")?;
    if options.ipv6 == Ipv6::Off {
        set(place, "net/ipv6/conf/eth0/accept_ra", "0")?;
    }
    // The cable is in, because the kernel takes up to a second to notice that; the device is silent until the guest joins.
    set(place, "net/ipv6/conf/eth0/disable_ipv6", "1")?;
    let mac = plan::mac_text(plan::guest_mac(number));
    ip(place, &format!("link set lo up\nlink set eth0 address {mac} up\n"))
}

fn routes(place: &Place, options: &Options) -> Result<(), LabError> {
    let mut batch = format!(
        "addr add {}/24 dev isp\naddr add {}/64 dev isp nodad\nlink set isp up\n",
        plan::PROVIDER_V4,
        plan::PROVIDER_V6
    );
    if options.ipv6 == Ipv6::Routed {
        _ = writeln!(batch, "route add {} via {}", plan::GUESTS_ROUTED, plan::UPLINK_V6);
    }
    ip(place, &batch)
}

fn ip(place: &Place, batch: &str) -> Result<(), LabError> {
    run_in(place, "ip", &["-batch", "-"], batch).map(drop).map_err(|problem| match problem {
        // `ip` names the line by its number only.
        LabError::Command { command, output } => {
            let number = output.rsplit_once("-:").and_then(|(_, number)| number.trim().parse::<usize>().ok());
            let line = number.and_then(|number| batch.lines().nth(number - 1)).unwrap_or_default();
            LabError::Command { command: format!("{command} ({line})"), output }
        }
        other => other,
    })
}

/// Sets a switch of the kernel for this place.
pub(crate) fn set(place: &Place, switch: &str, value: &'static str) -> Result<(), LabError> {
    let path = format!("/proc/sys/{switch}");
    let file = path.clone();
    place.run(move || fs::write(file, value)).and_then(|result| result).doing(|| format!("writing {path}"))
}
