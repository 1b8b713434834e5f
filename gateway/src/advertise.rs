//! `sheshi advertise`: router advertisements on the guest side (RFC 4861), with the resolver (RFC 8106) and, while its
//! certificate is good, the captive-portal API (RFC 8910), which dnsmasq's advertisements cannot carry. A process of its
//! own: it needs CAP_NET_RAW and nothing else, and reads nothing of a guest but whether a packet is a solicitation.

use std::{
    fs,
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd, RawFd},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::UdpSocket,
    signal::unix::{SignalKind, signal},
};

use crate::{
    commands::{Failure, failed},
    config::{self, Config, Ipv6Choice},
    network::Network,
    subnet::{self, OnLink},
};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// A gateway that is gone must be forgotten within ten minutes.
const LIFETIME: u16 = 600;
/// Longest time between two advertisements; a quarter less at least (RFC 4861 section 6.2.1).
const INTERVAL: Duration = Duration::from_secs(60);
/// The first three come sooner (section 10).
const FIRST_INTERVAL: Duration = Duration::from_secs(16);
/// Between two advertisements, whoever asks (section 10).
const LEAST: Duration = Duration::from_secs(3);
/// An answer waits this long at most (section 10), so that many who ask get one.
const ANSWER: Duration = Duration::from_millis(500);

/// What is advertised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// For how many seconds we are the router; 0 takes leave.
    pub lifetime: u16,
    /// Our link-layer address.
    pub mac: Option<[u8; 6]>,
    /// Our address and the range that guests make themselves addresses in.
    pub range: OnLink<Ipv6Addr>,
    /// The captive-portal API.
    pub api: Option<String>,
}

/// The ICMPv6 message; the kernel fills in the checksum.
pub fn message(wanted: &Advertisement) -> Vec<u8> {
    let Advertisement { lifetime, mac, range, api } = wanted;
    // RFC 4861 section 4.2: type, code, checksum; hop limit 64, "other configuration" by DHCPv6, no timers.
    let mut bytes = vec![134, 0, 0, 0, 64, 0x40];
    bytes.extend_from_slice(&lifetime.to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    if let Some(mac) = mac {
        bytes.extend_from_slice(&[1, 1]);
        bytes.extend_from_slice(mac);
    }
    // Section 4.6.2: on link, for addresses of their own, as long as we are the router.
    let span = u32::from(LIFETIME).to_be_bytes();
    bytes.extend_from_slice(&[3, 4, range.prefix, 0xc0]);
    bytes.extend_from_slice(&span);
    bytes.extend_from_slice(&span);
    bytes.extend_from_slice(&[0; 4]);
    let mask = u128::MAX.checked_shl(128 - u32::from(range.prefix)).unwrap_or(0);
    bytes.extend_from_slice(&(u128::from(range.address) & mask).to_be_bytes());
    // RFC 8106 section 5.1.
    bytes.extend_from_slice(&[25, 3, 0, 0]);
    bytes.extend_from_slice(&u32::from(*lifetime).to_be_bytes());
    bytes.extend_from_slice(&range.address.octets());
    // RFC 8910 section 2.3: filled up with zeros to units of eight octets.
    if let Some(api) = api.as_deref().filter(|api| *lifetime > 0 && api.len() <= 255 * 8 - 2) {
        let units = (2 + api.len()).div_ceil(8);
        bytes.extend_from_slice(&[37, units as u8]);
        bytes.extend_from_slice(api.as_bytes());
        bytes.resize(bytes.len() + units * 8 - 2 - api.len(), 0);
    }
    bytes
}

/// Whether this is a router solicitation that a router must answer (RFC 4861 section 6.1.1).
pub fn is_solicitation(bytes: &[u8], hop_limit: i32, source: Ipv6Addr) -> bool {
    // With a hop limit of 255 it was not forwarded by anybody.
    if hop_limit != 255 || bytes.len() < 8 || bytes[..2] != [133, 0] {
        return false;
    }
    let mut options = &bytes[8..];
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        if length == 0 || length > options.len() || (kind == 1 && source.is_unspecified()) {
            return false;
        }
        options = &options[length..];
    }
    options.is_empty()
}

/// `sheshi advertise`.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = config::load(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(advertise(&config))
}

/// Where advertisements go out and solicitations come in.
struct Door {
    /// A raw socket in fact; what tokio does with it is the same for both.
    socket: UdpSocket,
    index: u32,
}

impl Door {
    fn open(interface: &str) -> std::io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, index })
    }

    fn send(&self, wanted: &Advertisement) -> std::io::Result<()> {
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.index);
        self.socket.try_send_to(&message(wanted), to.into()).map(drop)
    }

    /// Waits for a solicitation.
    async fn solicitation(&self) -> std::io::Result<()> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(Interest::READABLE, || receive(self.socket.as_raw_fd())) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn receive(socket: RawFd) -> std::io::Result<bool> {
    let mut bytes = [0; 1500];
    let mut space = nix::cmsg_space!(i32);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<SockaddrIn6>(socket, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let source = received.address.map_or(Ipv6Addr::UNSPECIFIED, |address| address.ip());
    let limit = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => Some(limit),
        _ => None,
    });
    let length = received.bytes;
    Ok(limit.is_some_and(|limit| is_solicitation(&bytes[..length], limit, source)))
}

async fn advertise(config: &Config) -> Result<(), Failure> {
    let interface = &config.network.guests;
    if !config.network.advertise {
        let what = "network.ra is \"dnsmasq\": want \"sheshi\", and dnsmasq's own configuration made anew";
        return Err(Failure::Refused(what.into()));
    }
    // Two who advertise would contradict each other as soon as one of them stops.
    let door = Door::open(interface).map_err(|error| failed(format!("advertise on {interface}: {error}")))?;
    let (network, mut events) = Network::start(interface).await.map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (mut sent, mut last) = (0_u32, None::<Instant>);
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {
                if let Some(wanted) = wanted(config, &network, LIFETIME)
                    && let Err(error) = door.send(&wanted)
                {
                    tracing::warn!("an advertisement was not sent: {error}");
                }
                (sent, last) = (sent.saturating_add(1), Some(Instant::now()));
                let longest = if sent < 3 { FIRST_INTERVAL } else { INTERVAL };
                next = Instant::now() + longest - part_of(longest / 4);
            }
            asked = door.solicitation() => {
                if let Err(error) = asked {
                    tracing::warn!("a solicitation was not read: {error}");
                    tokio::time::sleep(LEAST).await;
                }
                let soonest = last.map_or_else(Instant::now, |last| last + LEAST).max(Instant::now());
                next = next.min(soonest + part_of(ANSWER));
            }
            // The range may be another now.
            event = events.recv() => match event {
                Some(crate::network::Event::Addresses) => next = next.min(last.map_or_else(Instant::now, |last| last + LEAST)),
                Some(_) => {}
                None => return Err(failed("the kernel's network events have ended")),
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    // Section 6.2.5: who goes says so, and guests look for another router at once.
    if let Some(wanted) = wanted(config, &network, 0) {
        door.send(&wanted).map_err(failed)?;
    }
    Ok(())
}

/// Some part of a time, so that not everything that started together goes on together.
fn part_of(longest: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    longest * (nanos / 1000 % 1000) / 1000
}

/// What there is to advertise now; nothing where guests have no IPv6.
fn wanted(config: &Config, network: &Network, lifetime: u16) -> Option<Advertisement> {
    if config.network.ipv6 == Ipv6Choice::Off {
        return None;
    }
    let name = &config.network.guests;
    let interface = network.interface(name)?;
    let range = subnet::v6(&interface.addresses).next()?;
    let mac = fs::read_to_string(Path::new("/sys/class/net").join(name).join("address")).ok();
    let mac = mac.and_then(|mac| mac.trim().parse::<sheshi_policy::Mac>().ok()).map(|mac| mac.0);
    Some(Advertisement { lifetime, mac, range, api: api(config) })
}

/// The captive-portal API, while its certificate is good. Where nobody knows the date it is not announced.
pub fn api(config: &Config) -> Option<String> {
    let tls = config.portal.tls.as_ref()?;
    let sheshi_policy::Moment::At(now) = sheshi_captive_portal::Clock::moment(&sheshi_captive_portal::SystemClock)
    else {
        return None;
    };
    tls.is_valid(now).then(|| match tls.port {
        443 => format!("https://{}/captive-portal/api", config.portal.name),
        port => format!("https://{}:{port}/captive-portal/api", config.portal.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Advertisement {
        Advertisement {
            lifetime: 600,
            mac: Some([2, 0, 0, 0, 0, 1]),
            range: OnLink { address: "fd5e:5e:1::1".parse().unwrap(), prefix: 64 },
            api: Some("https://wifi.tirana.example/captive-portal/api".into()),
        }
    }

    #[test]
    fn message_is_the_golden_one() {
        let text: String = message(&example()).chunks(8).map(|row| crate::commands::hex(row) + "\n").collect();
        assert_eq!(text, include_str!("../testdata/advertisement.hex"), "{text}");
    }

    #[test]
    fn without_a_good_certificate_and_at_the_end_no_api_is_announced() {
        let whole = message(&example()).len();
        assert_eq!(message(&Advertisement { api: None, ..example() }).len(), whole - 48);
        let farewell = message(&Advertisement { lifetime: 0, ..example() });
        assert_eq!((farewell.len(), &farewell[6..8]), (whole - 48, &[0, 0][..]));
        // Every option is a whole number of units, whatever the length of the address.
        for length in 0..40 {
            let api = Some(format!("https://{}", "a".repeat(length)));
            let bytes = message(&Advertisement { api, ..example() });
            let mut options = &bytes[16..];
            while let [_, units, ..] = *options {
                options = &options[usize::from(units) * 8..];
            }
            assert!(options.is_empty(), "{length}");
        }
    }

    #[test]
    fn solicitation_that_came_from_afar_or_is_malformed_is_none() {
        let link: Ipv6Addr = "fe80::1".parse().unwrap();
        let good = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9];
        assert!(is_solicitation(&good, 255, link) && is_solicitation(&good[..8], 255, Ipv6Addr::UNSPECIFIED));
        assert!(!is_solicitation(&good, 254, link));
        assert!(!is_solicitation(&good, 255, Ipv6Addr::UNSPECIFIED), "an option that must not be there");
        for length in [0, 7, 9, 15] {
            assert!(!is_solicitation(&good[..length], 255, link), "{length}");
        }
        for (at, value) in [(0, 134), (1, 1), (9, 0), (9, 2)] {
            let mut wrong = good;
            wrong[at] = value;
            assert!(!is_solicitation(&wrong, 255, link), "{at}");
        }
    }
}
