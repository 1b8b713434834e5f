//! From the IR to the messages of one transaction.

use std::{
    ffi::CString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nftnl::{
    Batch, Chain, ChainType, Hook, MsgType, Policy, ProtoFamily, Rule, Table,
    set::{Set, SetKey},
};
use sheshi_firewall::{
    Network, contract,
    ir::{self, Content, Key, Kind, Measure},
};
use sheshi_policy::Mac;

use crate::{
    allowance::Device,
    express,
    netlink::{self, Batched},
    sys::{self, FlaggedTable, With},
};

const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
const NFT_SET_TIMEOUT: u32 = 16;
const NFT_SET_EVAL: u32 = 32;

/// Bytes that may come on top of a second's worth: the kernel hands us up to 64 KiB as one packet, which must fit whole.
const BURST: u32 = 64 * 1024;

/// What of a table is in the kernel already.
#[derive(Debug, Default, Clone)]
pub(crate) struct Present {
    pub(crate) exists: bool,
    pub(crate) chains: Vec<String>,
}

/// Messages that take effect together or not at all.
pub(crate) struct Transaction {
    batch: Batch,
    /// What each message is about, for the error that names it.
    labels: Vec<String>,
}

impl Transaction {
    pub(crate) fn new() -> Self {
        Self { batch: Batch::new(), labels: Vec::new() }
    }

    /// Makes the kernel's table what the IR says. Sets with times keep their elements; chains are emptied and refilled,
    /// so that no packet meets a table without rules.
    pub(crate) fn install(&mut self, table: &ir::Table, present: &Present, flags: u32) {
        let name = c(table.name);
        self.batch.add(&FlaggedTable::new(&name, flags), MsgType::Add);
        self.label(format!("table {}", table.name));
        let nft_table = sys::table(&name);
        for (index, set) in table.sets.iter().enumerate() {
            self.set(&nft_table, set, index as u32 + 1);
        }
        for old in &present.chains {
            let chain = Chain::new(c(old), &nft_table);
            // A deletion that names no rule deletes them all.
            self.batch.add(&Rule::new(&chain), MsgType::Del);
            self.label(format!("rules of the old chain {old}"));
        }
        for old in present.chains.iter().filter(|old| table.chains.iter().all(|chain| chain.name != **old)) {
            self.batch.add(&Chain::new(c(old), &nft_table), MsgType::Del);
            self.label(format!("the old chain {old}"));
        }
        for chain in &table.chains {
            self.batch.add(&nft_chain(chain, &nft_table), MsgType::Add);
            self.label(format!("chain {}", chain.name));
        }
        for chain in &table.chains {
            let nft_chain = Chain::new(c(chain.name), &nft_table);
            for rule in &chain.rules {
                let mut nft_rule = Rule::new(&nft_chain);
                express::add(&rule.exprs, &mut nft_rule);
                let comment = rule.comment();
                nft_rule.set_comment(c(&comment)).expect("comments are far below the kernel's 256 bytes");
                self.batch.add(&nft_rule, MsgType::Add);
                self.label(format!("rule \"{comment}\" in chain {}", chain.name));
            }
        }
    }

    /// Removes a table and all in it. It must be there.
    pub(crate) fn remove(&mut self, name: &str) {
        self.batch.add(&sys::table(&c(name)), MsgType::Del);
        self.label(format!("table {name}"));
    }

    /// Adds admitted pairs, each with its time in milliseconds. Fails with EEXIST if one is there already.
    pub(crate) fn admit(&mut self, guests: &[(Mac, IpAddr, u64)]) {
        self.pairs(guests, MsgType::Add);
    }

    /// Takes pairs out. Fails with ENOENT if one is not there.
    pub(crate) fn expel(&mut self, guests: &[(Mac, IpAddr, u64)]) {
        self.pairs(guests, MsgType::Del);
    }

    /// Opens addresses to strangers, each for a time in milliseconds. Fails with EEXIST if one is open already.
    pub(crate) fn open(&mut self, addresses: &[(IpAddr, u64)]) {
        self.garden(addresses, MsgType::Add);
    }

    /// Closes addresses to strangers. Fails with ENOENT if one is not open.
    pub(crate) fn close(&mut self, addresses: &[(IpAddr, u64)]) {
        self.garden(addresses, MsgType::Del);
    }

    /// Adds devices with what they may use up.
    pub(crate) fn limit(&mut self, devices: &[(Mac, Device)]) {
        self.devices(devices, MsgType::Add);
    }

    /// Takes devices out with what they may use up. Fails with ENOENT if one is not there.
    pub(crate) fn unlimit(&mut self, devices: &[(Mac, Device)]) {
        self.devices(devices, MsgType::Del);
    }

    /// The bytes for the kernel.
    pub(crate) fn finish(self) -> Batched {
        let pages = self.batch.finalize();
        let bytes: Vec<u8> = pages.iter().flatten().copied().collect();
        netlink::Batched::new(bytes, self.labels)
    }

    fn label(&mut self, text: String) {
        self.labels.push(text);
    }

    fn pairs(&mut self, guests: &[(Mac, IpAddr, u64)], message: MsgType) {
        let table = sys::table(&c(contract::WORKING));
        let mut set4 = Set::<Pair4>::new_named(&c(contract::GUEST4), 0, &table, ProtoFamily::Inet);
        let mut set6 = Set::<Pair6>::new_named(&c(contract::GUEST6), 0, &table, ProtoFamily::Inet);
        for (mac, address, milliseconds) in guests {
            match address {
                IpAddr::V4(address) => {
                    sys::element(&mut set4, &Pair4::new(&[&mac.0, &address.octets()]), &With::Time(*milliseconds));
                }
                IpAddr::V6(address) => {
                    sys::element(&mut set6, &Pair6::new(&[&mac.0, &address.octets()]), &With::Time(*milliseconds));
                }
            }
        }
        self.elements(&set4, message, contract::GUEST4);
        self.elements(&set6, message, contract::GUEST6);
    }

    fn garden(&mut self, addresses: &[(IpAddr, u64)], message: MsgType) {
        let table = sys::table(&c(contract::WORKING));
        let mut set4 = Set::<Address4>::new_named(&c(contract::GARDEN4), 0, &table, ProtoFamily::Inet);
        let mut set6 = Set::<Address6>::new_named(&c(contract::GARDEN6), 0, &table, ProtoFamily::Inet);
        for (address, milliseconds) in addresses {
            let time = With::Time(*milliseconds);
            match address {
                IpAddr::V4(_) => sys::element(&mut set4, &Bytes::address(*address), &time),
                IpAddr::V6(_) => sys::element(&mut set6, &Bytes::address(*address), &time),
            }
        }
        self.elements(&set4, message, contract::GARDEN4);
        self.elements(&set6, message, contract::GARDEN6);
    }

    fn devices(&mut self, devices: &[(Mac, Device)], message: MsgType) {
        let table = sys::table(&c(contract::WORKING));
        let mut leads = Set::<Hardware>::new_named(&c(contract::DEVICE), 0, &table, ProtoFamily::Inet);
        let named = |name: &str| Set::<Mark>::new_named(&c(name), 0, &table, ProtoFamily::Inet);
        let (mut up, mut down, mut data) = (named(contract::UP), named(contract::DOWN), named(contract::DATA));
        for (mac, device) in devices {
            sys::element(&mut leads, &Hardware::new(&[&mac.0]), &With::Value(device.mark));
            let mark = Mark::new(&[&device.mark.to_ne_bytes()]);
            for (set, rate) in [(&mut up, device.limits.up), (&mut down, device.limits.down)] {
                if let Some(rate) = rate {
                    sys::element(set, &mark, &With::Measure(express::rate(rate, BURST)));
                }
            }
            if let Some(bytes) = device.limits.data {
                sys::element(&mut data, &mark, &With::Measure(express::data(bytes, device.used)));
            }
        }
        self.elements(&leads, message, contract::DEVICE);
        for (set, name) in [(&up, contract::UP), (&down, contract::DOWN), (&data, contract::DATA)] {
            self.elements(set, message, name);
        }
    }

    fn elements<K>(&mut self, set: &Set<'_, K>, message: MsgType, name: &str) {
        // libnftnl begins a new message whenever one is full; without elements it makes none.
        for part in set.elems_iter() {
            self.batch.add(&part, message);
            self.label(format!("elements of the set {name}"));
        }
    }

    fn set(&mut self, table: &Table, set: &ir::Set, id: u32) {
        match set.key {
            Key::Mac => self.typed_set::<{ Hardware::TYPE }, 6>(table, set, id),
            Key::MacIpv4 => self.typed_set::<{ Pair4::TYPE }, 12>(table, set, id),
            Key::MacIpv6 => self.typed_set::<{ Pair6::TYPE }, 24>(table, set, id),
            Key::Ipv4 => self.typed_set::<{ Address4::TYPE }, 4>(table, set, id),
            Key::Ipv6 => self.typed_set::<{ Address6::TYPE }, 16>(table, set, id),
            Key::Mark => self.typed_set::<{ Mark::TYPE }, 4>(table, set, id),
        }
    }

    fn typed_set<const TYPE: u32, const LENGTH: usize>(&mut self, table: &Table, set: &ir::Set, id: u32) {
        let name = c(set.name);
        let mut nft_set = Set::<Bytes<TYPE, LENGTH>>::new_named(&name, id, table, ProtoFamily::Inet);
        match &set.content {
            Content::Timed { size } | Content::Counted { size } => {
                let timed = matches!(set.content, Content::Timed { .. });
                sys::shape(&mut nft_set, if timed { NFT_SET_TIMEOUT } else { NFT_SET_EVAL }, *size);
                self.batch.add(&nft_set, MsgType::Add);
                self.label(format!("set {}", set.name));
            }
            Content::Marks { size } => {
                sys::shape(&mut nft_set, NFT_SET_MAP, *size);
                sys::leads_to(&mut nft_set, Mark::TYPE, Mark::LEN);
                self.batch.add(&nft_set, MsgType::Add);
                self.label(format!("map {}", set.name));
            }
            Content::Measured { size, measure } => {
                sys::shape(&mut nft_set, 0, *size);
                let nothing = match measure {
                    Measure::Rate => express::rate(1, 0),
                    Measure::Data => express::data(1, 0),
                };
                sys::measures(&mut nft_set, &nothing);
                self.batch.add(&nft_set, MsgType::Add);
                self.label(format!("set {}", set.name));
            }
            Content::Networks(networks) => {
                sys::shape(&mut nft_set, NFT_SET_INTERVAL, 0);
                self.batch.add(&nft_set, MsgType::Add);
                self.label(format!("set {}", set.name));
                sys::empty(&mut self.batch, &nft_set);
                self.label(format!("old elements of the set {}", set.name));
                for network in networks {
                    sys::element(&mut nft_set, &Bytes::address(network.address()), &With::Nothing);
                    // Where no address follows, the interval has no end and goes to the last address.
                    if let Some(after) = following(network) {
                        sys::element(&mut nft_set, &Bytes::address(after), &With::IntervalEnd);
                    }
                }
                self.elements(&nft_set, MsgType::Add, set.name);
            }
        }
    }
}

fn following(network: &Network) -> Option<IpAddr> {
    match sheshi_firewall::last_address(network) {
        IpAddr::V4(last) => last.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(last) => last.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

fn nft_chain<'t>(chain: &ir::Chain, table: &'t Table) -> Chain<'t> {
    let mut nft_chain = Chain::new(c(chain.name), table);
    if let Some(base) = &chain.base {
        let hook = match base.hook {
            ir::Hook::Prerouting => Hook::PreRouting,
            ir::Hook::Input => Hook::In,
            ir::Hook::Forward => Hook::Forward,
            ir::Hook::Postrouting => Hook::PostRouting,
        };
        nft_chain.set_hook(hook, base.priority);
        nft_chain.set_type(match base.kind {
            Kind::Filter => ChainType::Filter,
            Kind::Nat => ChainType::Nat,
        });
        nft_chain.set_policy(if base.drop { Policy::Drop } else { Policy::Accept });
    }
    nft_chain
}

/// Names here are our own or have passed the ruleset's check: no zero byte gets this far.
fn c(text: &str) -> CString {
    CString::new(text).expect("names have no zero byte")
}

/// A key's bytes. nft's type numbers: 7 IPv4, 8 IPv6, 9 MAC, 19 mark; a concatenation has six bits for each.
struct Bytes<const TYPE: u32, const LENGTH: usize>([u8; LENGTH]);
type Hardware = Bytes<9, 6>;
type Mark = Bytes<19, 4>;
type Address4 = Bytes<7, 4>;
type Address6 = Bytes<8, 16>;
type Pair4 = Bytes<{ (9 << 6) | 7 }, 12>;
type Pair6 = Bytes<{ (9 << 6) | 8 }, 24>;

impl<const TYPE: u32, const LENGTH: usize> Bytes<TYPE, LENGTH> {
    /// The key of these parts, each of which fills whole registers of four bytes.
    fn new(parts: &[&[u8]]) -> Self {
        let mut bytes = [0; LENGTH];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len().next_multiple_of(4);
        }
        Self(bytes)
    }

    fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::new(&[&address.octets()]),
            IpAddr::V6(address) => Self::new(&[&address.octets()]),
        }
    }
}

impl<const TYPE: u32, const LENGTH: usize> SetKey for Bytes<TYPE, LENGTH> {
    const TYPE: u32 = TYPE;
    const LEN: u32 = LENGTH as u32;

    fn data(&self) -> Box<[u8]> {
        self.0.into()
    }
}
