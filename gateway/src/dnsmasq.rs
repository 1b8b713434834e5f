//! The configuration of the DHCP server, which is dnsmasq: addresses, router advertisements and nothing else
//! (`port=0` turns its resolver off). Rendered from the gateway's own configuration so that the two cannot disagree.

use std::{fmt::Write, net::Ipv4Addr, net::Ipv6Addr, path::Path, time::Duration};

use crate::subnet::OnLink;

/// What the DHCP server is told.
#[derive(Debug)]
pub struct Dhcp<'a> {
    /// The interface that guests are behind.
    pub interface: &'a str,
    /// Our address there.
    pub v4: OnLink<Ipv4Addr>,
    /// Our IPv6 address there, when guests have IPv6.
    pub v6: Option<OnLink<Ipv6Addr>>,
    /// For how long an address is lent.
    pub lease: Duration,
    /// Whether another process sends the router advertisements; then this one answers DHCPv6 without giving addresses.
    pub advertise: bool,
    /// The captive-portal API (RFC 8910, option 114). RFC 8908 section 4.1 wants `https`; without a certificate there is none.
    pub api: Option<&'a str>,
    /// Where the leases are kept.
    pub lease_file: &'a Path,
}

/// The text for dnsmasq. `None` when the range has no room for guests.
pub fn render(dhcp: &Dhcp<'_>) -> Option<String> {
    let (first, last) = dhcp.v4.pool()?;
    let (router, mask, size) = (dhcp.v4.address, dhcp.v4.netmask(), dhcp.v4.pool_size());
    let (interface, lease, file) = (dhcp.interface, dhcp.lease.as_secs(), dhcp.lease_file.display());
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("a String takes all");
    line(format_args!("# written by sheshi: change the gateway's configuration instead"));
    line(format_args!("port=0"));
    line(format_args!("no-resolv"));
    line(format_args!("no-hosts"));
    line(format_args!("interface={interface}"));
    line(format_args!("except-interface=lo"));
    line(format_args!("bind-dynamic"));
    line(format_args!("dhcp-authoritative"));
    line(format_args!("dhcp-leasefile={file}"));
    line(format_args!("dhcp-lease-max={size}"));
    line(format_args!("dhcp-range={first},{last},{mask},{lease}s"));
    line(format_args!("dhcp-option=option:router,{router}"));
    line(format_args!("dhcp-option=option:dns-server,{router}"));
    // What a device calls itself is nobody's business.
    line(format_args!("dhcp-ignore-names"));
    line(format_args!("quiet-dhcp"));
    line(format_args!("quiet-dhcp6"));
    line(format_args!("quiet-ra"));
    if let Some(api) = dhcp.api {
        line(format_args!("dhcp-option=114,{api}"));
    }
    if let Some(v6) = dhcp.v6 {
        if dhcp.advertise {
            line(format_args!("dhcp-range=::,constructor:{interface},static,64,600s"));
            if let Some(api) = dhcp.api {
                line(format_args!("dhcp-option=option6:103,{api}"));
            }
        } else {
            line(format_args!("enable-ra"));
            line(format_args!("dhcp-range=::,constructor:{interface},ra-only,64,600s"));
            // A gateway that is gone must be forgotten within ten minutes.
            line(format_args!("ra-param={interface},60,600"));
        }
        line(format_args!("dhcp-option=option6:dns-server,[{}]", v6.address));
    }
    Some(text)
}

/// How many leases of this file are running at `now` (seconds since 1970).
pub fn leases(text: &str, now: u64) -> u32 {
    let running = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        // `duid …` lines and DHCPv6 leases are no part of the IPv4 pool.
        let (until, Some(_mac), Some(address)) = (fields.next(), fields.next(), fields.next()) else { return false };
        let Some(until) = until.and_then(|until| until.parse::<u64>().ok()) else { return false };
        address.parse::<Ipv4Addr>().is_ok() && (until == 0 || until > now)
    };
    text.lines().filter(running).count().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_text_is_the_golden_one() {
        let dhcp = Dhcp {
            interface: "guests",
            v4: OnLink { address: Ipv4Addr::new(10, 77, 0, 1), prefix: 22 },
            v6: Some(OnLink { address: "fd5e:5e:1::1".parse().unwrap(), prefix: 64 }),
            lease: Duration::from_secs(3600),
            advertise: false,
            api: Some("https://portal.sheshi.example/captive-portal/api"),
            lease_file: Path::new("/run/sheshi/leases"),
        };
        assert_eq!(render(&dhcp).unwrap(), include_str!("../testdata/dnsmasq.conf"));
        // Where another advertises: no advertisements, and the portal by DHCPv6 (RFC 8910, option 103).
        let text = render(&Dhcp { advertise: true, ..dhcp }).unwrap();
        assert!(!text.contains("enable-ra") && !text.contains("ra-param"), "{text}");
        assert!(text.contains("dhcp-range=::,constructor:guests,static,64,600s\n"), "{text}");
        assert!(text.contains("dhcp-option=option6:103,https://portal.sheshi.example/captive-portal/api\n"), "{text}");
    }

    #[test]
    fn running_leases_are_counted() {
        let text = "1000 02:00:00:00:00:01 10.77.0.10 * *\n2000 02:00:00:00:00:02 10.77.0.11 * *\n0 02:00:00:00:00:03 10.77.0.12 * *\nduid 00:01\n3000 1 fd5e::10 * *\nnonsense\n";
        assert_eq!(leases(text, 1500), 2);
    }
}
