//! The cable: a pair of devices, one a port of the guests' bridge, the other in a network namespace of our own.

use std::{fs, io, net::Ipv6Addr, os::fd::AsRawFd, time::Duration};

use futures_util::TryStreamExt;
use netlink_packet_route::{AddressFamily, link::InfoBridgePort, route::RouteScope};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sheshi_policy::Mac;

use crate::probe::wire::Lease;

/// The port's name on the bridge.
pub(super) const PORT: &str = "probe0";
/// A predecessor's devices go with its namespace, which the kernel takes away when it finds the time.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The guest's side of the cable.
pub(super) struct Handle {
    inner: rtnetlink::Handle,
    index: u32,
}

/// Leaves the machine's network for a new one and connects it to the bridge.
///
/// Must be called before any thread is started: namespaces belong to threads.
pub(super) async fn lay(bridge: &str, device: &str, mac: Mac) -> io::Result<Handle> {
    let (connection, outside, _) = rtnetlink::new_connection()?;
    let outer = tokio::spawn(connection);
    let bridge = index(&outside, bridge).await?;
    if let Ok(old) = index(&outside, PORT).await {
        let _ = outside.link().del(old).execute().await;
    }
    unshare(CloneFlags::CLONE_NEWNET)?;
    let space = fs::File::open("/proc/thread-self/ns/net")?;
    let end = tokio::time::Instant::now() + GONE_WITHIN;
    let far = format!("{PORT}-far");
    loop {
        match outside.link().add(LinkVeth::new(PORT, &far).build()).execute().await {
            Ok(()) => break,
            Err(error) if tokio::time::Instant::now() > end => return Err(io::Error::other(error)),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    let (near, far) = (index(&outside, PORT).await?, index(&outside, &far).await?);
    let moved =
        LinkUnspec::new_with_index(far).name(device).address(mac.0.to_vec()).setns_by_fd(space.as_raw_fd()).build();
    outside.link().set(moved).execute().await.map_err(io::Error::other)?;
    let port = LinkUnspec::new_with_index(near).controller(bridge).build();
    outside.link().set(port).execute().await.map_err(io::Error::other)?;
    // As the stations of an access point that keeps them apart: guests are none of our business, nor we of theirs.
    let apart = LinkBridgePort::new(near).append_info_data(InfoBridgePort::Isolated(true)).build();
    outside.link().set_port(apart).execute().await.map_err(io::Error::other)?;
    outside.link().set(LinkUnspec::new_with_index(near).up().build()).execute().await.map_err(io::Error::other)?;
    // From here on nothing of ours reaches the machine's network.
    drop(outside);
    outer.abort();

    let (connection, inner, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    for name in ["lo", device] {
        let index = index(&inner, name).await?;
        inner.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.map_err(io::Error::other)?;
    }
    let index = index(&inner, device).await?;
    // Before there is an address: a kernel that checks sources by their way back (rp_filter) would drop the server's offer.
    let here = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
        .output_interface(index)
        .scope(RouteScope::Link)
        .priority(10_000)
        .build();
    inner.route().add(here).execute().await.map_err(io::Error::other)?;
    Ok(Handle { inner, index })
}

async fn index(handle: &rtnetlink::Handle, name: &str) -> io::Result<u32> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await.map_err(|error| io::Error::other(format!("{name}: {error}")))? {
        Some(link) => Ok(link.header.index),
        None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}"))),
    }
}

/// Keeps what joining needs inside our own namespace, and nothing that leads out of it.
pub(super) fn give_up_rights() -> io::Result<()> {
    let kept = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(io::Error::from)
}

impl Handle {
    /// Takes the address of a lease, and its router for the way out.
    pub(super) async fn take(&self, lease: &Lease) -> io::Result<()> {
        let mut old = self.inner.address().get().set_link_index_filter(self.index).execute();
        let mut gone = Vec::new();
        while let Some(message) = old.try_next().await.map_err(io::Error::other)? {
            if message.header.family == AddressFamily::Inet {
                gone.push(message);
            }
        }
        for message in gone {
            let _ = self.inner.address().del(message).execute().await;
        }
        let address = lease.address.into();
        self.inner
            .address()
            .add(self.index, address, lease.bits)
            .replace()
            .execute()
            .await
            .map_err(io::Error::other)?;
        let Some(router) = lease.router else { return Ok(()) };
        let route = RouteMessageBuilder::<std::net::Ipv4Addr>::new().gateway(router).build();
        self.inner.route().add(route).replace().execute().await.map_err(io::Error::other)
    }
}

/// Addresses that the kernel made from router advertisements and that are settled.
pub(super) fn global_v6(device: &str) -> Vec<Ipv6Addr> {
    /// `IFA_F_TENTATIVE` and `IFA_F_DADFAILED` (linux/if_addr.h).
    const UNSETTLED: u32 = 0x48;
    let text = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let settled = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [address, _, _, "00", flags, name] = fields.as_slice() else { return None };
        let settled = u32::from_str_radix(flags, 16).ok()? & UNSETTLED == 0 && *name == device;
        settled.then_some(Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?))
    };
    text.lines().filter_map(settled).collect()
}
