//! What the kernel knows of the network: who is a neighbour on the guest side, and which addresses our interfaces have.
//! Read by dump once and by events from then on; after an overrun of the event queue everything is read again.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, RwLock},
};

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::RouteAttribute,
};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use sheshi_policy::Mac;
use tokio::sync::mpsc;

/// The kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No netlink socket.
    #[error("open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// A dump failed.
    #[error("read the kernel's {what}: {source}")]
    Dump {
        /// What was read.
        what: &'static str,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A device on the guest side uses this address.
    Neighbour(Mac, IpAddr),
    /// An interface or an address came, went or changed.
    Addresses,
}

/// One of our interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

#[derive(Debug, Default)]
struct State {
    interfaces: BTreeMap<u32, Interface>,
    /// By interface index and address; entries that the kernel holds for unreachable are left out.
    neighbours: HashMap<(u32, IpAddr), Mac>,
}

/// A view of the kernel's tables that keeps itself up to date. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    state: Arc<RwLock<State>>,
    /// The name of the interface that guests are behind: neighbours of others are nobody's business.
    guests: Arc<str>,
    handle: Handle,
}

impl Network {
    /// Reads the tables and follows their changes until dropped.
    pub async fn start(guests: &str) -> Result<(Self, mpsc::Receiver<Event>), NetworkError> {
        let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Neigh,
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        tokio::spawn(connection);
        let network = Self { state: Arc::default(), guests: guests.into(), handle };
        network.read_all().await?;
        let (sender, receiver) = mpsc::channel(1024);
        let follower = network.clone();
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => {
                        let Some(event) = follower.note(message) else { continue };
                        if sender.send(event).await.is_err() {
                            return;
                        }
                    }
                    // Events were lost: what we know may be wrong in any detail.
                    NetlinkPayload::Overrun(_) => {
                        if let Err(error) = follower.read_all().await {
                            tracing::warn!(%error, "neighbours and addresses could not be read again");
                            continue;
                        }
                        for (address, mac) in follower.neighbours() {
                            let _ = sender.send(Event::Neighbour(mac, address)).await;
                        }
                        let _ = sender.send(Event::Addresses).await;
                    }
                    _ => {}
                }
            }
        });
        Ok((network, receiver))
    }

    async fn read_all(&self) -> Result<(), NetworkError> {
        let dump = |what| move |source| NetworkError::Dump { what, source };
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await.map_err(dump("interfaces"))?;
        let addresses: Vec<_> = self.handle.address().get().execute().try_collect().await.map_err(dump("addresses"))?;
        let neighbours: Vec<_> =
            self.handle.neighbours().get().execute().try_collect().await.map_err(dump("neighbours"))?;
        let mut state = State::default();
        links.into_iter().for_each(|link| state.note_link(link, true));
        addresses.into_iter().for_each(|address| state.note_address(address, true));
        neighbours.into_iter().for_each(|neighbour| {
            state.note_neighbour(neighbour, true);
        });
        *self.state.write().expect("no holder panics") = state;
        Ok(())
    }

    fn note(&self, message: RouteNetlinkMessage) -> Option<Event> {
        let mut state = self.state.write().expect("no holder panics");
        match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => {
                let index = neighbour.header.ifindex;
                let (mac, address) = state.note_neighbour(neighbour, true)?;
                (state.interfaces.get(&index)?.name == *self.guests).then_some(Event::Neighbour(mac, address))
            }
            RouteNetlinkMessage::DelNeighbour(neighbour) => {
                state.note_neighbour(neighbour, false);
                None
            }
            RouteNetlinkMessage::NewLink(link) => {
                state.note_link(link, true);
                Some(Event::Addresses)
            }
            RouteNetlinkMessage::DelLink(link) => {
                state.note_link(link, false);
                Some(Event::Addresses)
            }
            RouteNetlinkMessage::NewAddress(address) => {
                state.note_address(address, true);
                Some(Event::Addresses)
            }
            RouteNetlinkMessage::DelAddress(address) => {
                state.note_address(address, false);
                Some(Event::Addresses)
            }
            _ => None,
        }
    }

    /// The interface of this name, if there is one.
    pub fn interface(&self, name: &str) -> Option<Interface> {
        self.state
            .read()
            .expect("no holder panics")
            .interfaces
            .values()
            .find(|interface| interface.name == name)
            .cloned()
    }

    /// The device on the guest side that answers for this address.
    pub fn mac(&self, address: IpAddr) -> Option<Mac> {
        let state = self.state.read().expect("no holder panics");
        let index = state.index(&self.guests)?;
        state.neighbours.get(&(index, address.to_canonical())).copied()
    }

    /// The same, but an address that we know nothing of is looked up in the kernel itself: on a busy machine a device's first
    /// request can overtake the event that tells of the device.
    pub async fn mac_now(&self, address: IpAddr) -> Option<Mac> {
        if let Some(mac) = self.mac(address) {
            return Some(mac);
        }
        if let Err(error) = self.read_neighbours().await {
            tracing::warn!(%error, "a device could not be looked up");
        }
        self.mac(address)
    }

    async fn read_neighbours(&self) -> Result<(), NetworkError> {
        let dump: Result<Vec<_>, _> = self.handle.neighbours().get().execute().try_collect().await;
        let neighbours = dump.map_err(|source| NetworkError::Dump { what: "neighbours", source })?;
        let mut state = self.state.write().expect("no holder panics");
        for neighbour in neighbours {
            state.note_neighbour(neighbour, true);
        }
        Ok(())
    }

    /// The addresses that a device on the guest side answers for.
    pub fn addresses(&self, mac: Mac) -> Vec<IpAddr> {
        self.neighbours().into_iter().filter(|(_, other)| *other == mac).map(|(address, _)| address).collect()
    }

    /// Everybody on the guest side.
    pub fn neighbours(&self) -> Vec<(IpAddr, Mac)> {
        let state = self.state.read().expect("no holder panics");
        let Some(guests) = state.index(&self.guests) else { return Vec::new() };
        state
            .neighbours
            .iter()
            .filter(|((index, _), _)| *index == guests)
            .map(|((_, address), mac)| (*address, *mac))
            .collect()
    }

    /// Whether there is a default route, for IPv4 and for IPv6.
    pub async fn default_routes(&self) -> Result<(bool, bool), NetworkError> {
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut found = [false; 2];
        for (message, found) in [v4, v6].into_iter().zip(&mut found) {
            let mut routes = self.handle.route().get(message).execute();
            loop {
                match routes.try_next().await {
                    Ok(Some(route)) => {
                        *found |= route.header.destination_prefix_length == 0
                            && route.attributes.iter().any(|attribute| {
                                matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Oif(_))
                            });
                    }
                    Ok(None) => break,
                    Err(source) => return Err(NetworkError::Dump { what: "routes", source }),
                }
            }
        }
        Ok((found[0], found[1]))
    }
}

impl State {
    fn index(&self, name: &str) -> Option<u32> {
        self.interfaces.iter().find(|(_, interface)| interface.name == name).map(|(index, _)| *index)
    }

    fn note_link(&mut self, link: LinkMessage, there: bool) {
        let index = link.header.index;
        if !there {
            self.interfaces.remove(&index);
            self.neighbours.retain(|(of, _), _| *of != index);
            return;
        }
        let interface = self.interfaces.entry(index).or_default();
        interface.running = link.header.flags.contains(LinkFlags::Running);
        for attribute in link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                interface.name = name;
            }
        }
    }

    fn note_address(&mut self, message: AddressMessage, there: bool) {
        let interface = self.interfaces.entry(message.header.index).or_default();
        // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL ours.
        let (mut ours, mut peer) = (None, None);
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(address) => ours = Some(address),
                AddressAttribute::Address(address) => peer = Some(address),
                _ => {}
            }
        }
        let Some(address) = ours.or(peer) else { return };
        let entry = (address, message.header.prefix_len);
        interface.addresses.retain(|other| *other != entry);
        if there {
            interface.addresses.push(entry);
        }
    }

    fn note_neighbour(&mut self, message: NeighbourMessage, there: bool) -> Option<(Mac, IpAddr)> {
        let (mut mac, mut address) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(v6)),
                NeighbourAttribute::LinkLayerAddress(octets) => mac = octets.try_into().ok().map(Mac),
                _ => {}
            }
        }
        let key = (message.header.ifindex, address?);
        let reachable = !matches!(
            message.header.state,
            NeighbourState::Failed | NeighbourState::Incomplete | NeighbourState::None | NeighbourState::Noarp
        );
        match mac {
            Some(mac) if there && reachable => {
                self.neighbours.insert(key, mac);
                Some((mac, key.1))
            }
            _ => {
                self.neighbours.remove(&key);
                None
            }
        }
    }
}
