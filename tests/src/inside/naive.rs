//! A router as one finds it: forwards for anybody, resolves for anybody. The positive control of every attack.

use std::{fs, path::Path};

use crate::{
    error::{Doing, LabError},
    inside::{
        place::Place,
        supervisor::{Process, run_in},
        topology::set,
    },
    options::{Ipv6, Options},
    plan,
};

const TABLE: &str = "table inet naive {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname wan0 masquerade
  }
}
";

/// Opens the gateway to everybody and returns its DHCP and DNS server.
pub(crate) fn open(place: &Place, options: &Options, folder: &Path) -> Result<Process, LabError> {
    set(place, "net/ipv4/ip_forward", "1")?;
    set(place, "net/ipv6/conf/all/forwarding", "1")?;
    run_in(place, "nft", &["-f", "-"], TABLE)?;
    let prefix = match options.ipv6 {
        Ipv6::Off => "",
        Ipv6::Nat66 | Ipv6::Routed => "enable-ra\ndhcp-range=::,constructor:guests,ra-only,64,1h\n",
    };
    let config = format!(
        "interface=guests\nexcept-interface=lo\nbind-interfaces\nno-resolv\nno-hosts\n\
         server={}\nserver={}\ndhcp-range=10.77.0.10,10.77.3.250,255.255.252.0,1h\ndhcp-authoritative\n\
         dhcp-leasefile={}\n{prefix}",
        plan::UPSTREAM_V4,
        plan::UPSTREAM_V6,
        folder.join("naive.leases").display(),
    );
    let path = folder.join("naive.conf");
    fs::write(&path, config).doing(|| format!("writing {}", path.display()))?;
    Ok(Process {
        place: "gateway".into(),
        command: vec![
            "dnsmasq".into(),
            "--no-daemon".into(),
            "--no-ping".into(),
            format!("--conf-file={}", path.display()),
        ],
        environment: Vec::new(),
        owner: None,
    })
}
