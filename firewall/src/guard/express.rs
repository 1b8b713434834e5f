//! From the IR's expressions to the kernel's, as nft would translate the same text: what a match depends on is tested
//! first, once a rule. Values are compared in register 1.

use std::{ffi::CString, net::IpAddr};

use nftnl::{
    ProtoFamily, Rule,
    expr::{
        Bitwise, Cmp, CmpOp, Conntrack, Counter, Expression, IcmpCode, Immediate, LLHeaderField, Lookup, Masquerade,
        Meta, NetworkHeaderField, Payload, Register, RejectionType, TransportHeaderField, Verdict,
    },
    nftnl_sys as nft,
    nftnl_sys::libc,
    set::{Set, SetKey},
};
use sheshi_firewall::{
    Network,
    ir::{Expr, Family, L4},
};

use crate::sys::{Raw, Value};

const REGISTER_1: u32 = libc::NFT_REG_1 as u32;
/// The third register of four bytes: behind a MAC, which fills two. The kernel, too, writes it so.
const REGISTER_AFTER_MAC: u32 = libc::NFT_REG32_00 as u32 + 2;
const ARPHRD_ETHER: u16 = 1;
// linux/netfilter/nf_tables.h; libnftnl has no names for these.
const FIB_RESULT_OIF: u32 = 1;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_SADDR: u32 = 1;
const FIB_DADDR: u32 = 2;
const FIB_IIF: u32 = 8;
const FIB_PRESENT: u32 = 32;
const RTN_LOCAL: u32 = 2;
const RT_TCPMSS: u32 = 3;
const TCPOPT_MAXSEG: u8 = 2;
const EXTHDR_OP_TCPOPT: u32 = 1;
const BYTEORDER_HTON: u32 = 1;
const NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
const IPS_DST_NAT: u32 = 32;
const DYNSET_ADD: u32 = 0;
const CONNLIMIT_OVER: u32 = 1;
/// NFT_LIMIT_F_INV and NFT_QUOTA_F_INV.
const OVER: u32 = 1;
const LIMIT_BYTES: u32 = 1;

/// Adds the expressions to the rule.
pub(crate) fn add(exprs: &[Expr], rule: &mut Rule<'_>) {
    let mut writer = Writer { rule, family: None, l4: None };
    for expr in exprs {
        writer.expr(expr);
    }
}

/// A measure that matches above so many bytes a second, the first second's worth and `burst` at once.
pub(crate) fn rate(bytes: u64, burst: u32) -> Raw {
    let attributes = vec![
        (nft::NFTNL_EXPR_LIMIT_RATE, Value::U64(bytes)),
        (nft::NFTNL_EXPR_LIMIT_UNIT, Value::U64(1)),
        (nft::NFTNL_EXPR_LIMIT_BURST, Value::U32(burst)),
        (nft::NFTNL_EXPR_LIMIT_TYPE, Value::U32(LIMIT_BYTES)),
        (nft::NFTNL_EXPR_LIMIT_FLAGS, Value::U32(OVER)),
    ];
    Raw { name: c"limit", attributes }
}

/// A measure that matches above so many bytes, of which some are used already.
pub(crate) fn data(bytes: u64, used: u64) -> Raw {
    let attributes = vec![
        (nft::NFTNL_EXPR_QUOTA_BYTES, Value::U64(bytes)),
        (nft::NFTNL_EXPR_QUOTA_FLAGS, Value::U32(OVER)),
        (nft::NFTNL_EXPR_QUOTA_CONSUMED, Value::U64(used)),
    ];
    Raw { name: c"quota", attributes }
}

struct Writer<'r, 'c> {
    rule: &'r mut Rule<'c>,
    /// What this rule has tested already.
    family: Option<Family>,
    l4: Option<L4>,
}

impl Writer<'_, '_> {
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Iifname(name) => self.interface(&Meta::IifName, name),
            Expr::Oifname(name) => self.interface(&Meta::OifName, name),
            Expr::Family(family) => self.family(*family),
            Expr::Protocol(l4) => self.l4(*l4),
            Expr::Dport(l4, port) => {
                self.l4(*l4);
                self.push(&transport(2, 2));
                self.equal(&port.to_be_bytes());
            }
            Expr::Icmp(icmp) => {
                self.family(icmp.family);
                self.l4(match icmp.family {
                    Family::Ipv4 => L4::Icmp,
                    Family::Ipv6 => L4::Icmpv6,
                });
                self.push(&transport(0, 1));
                self.equal(&[icmp.number]);
            }
            Expr::Target(address) => {
                self.push(&transport(8, 16));
                self.equal(&address.octets());
            }
            Expr::FromNeighbour => {
                self.family(Family::Ipv6);
                self.push(&network(7, 1));
                self.equal(&[255]);
            }
            Expr::Saddr(source) => self.source(source),
            Expr::DaddrIn(set, family) => {
                self.family(*family);
                let (offset, length) = match family {
                    Family::Ipv4 => (16, 4),
                    Family::Ipv6 => (24, 16),
                };
                self.push(&network(offset, length));
                self.lookup(set);
            }
            Expr::PairIn(set, family) => self.pair(set, *family),
            Expr::State(states) => {
                self.push(&Conntrack::State);
                self.any_bit(states.0);
            }
            Expr::Translated => {
                self.push(&Conntrack::Status);
                self.any_bit(IPS_DST_NAT);
            }
            Expr::Reply => {
                let key = libc::NFT_CT_DIRECTION as u32;
                self.raw(
                    c"ct",
                    [(nft::NFTNL_EXPR_CT_KEY, Value::U32(key)), (nft::NFTNL_EXPR_CT_DREG, Value::U32(REGISTER_1))],
                );
                self.equal(&[1]);
            }
            Expr::MarkBegins(bits) => {
                self.push(&Conntrack::Mark { set: false });
                self.push(&Bitwise::new(0xff00_0000_u32, 0_u32));
                self.equal(&(u32::from(*bits) << 24).to_ne_bytes());
            }
            Expr::SetMark(mark) => {
                self.push(&Immediate::new(*mark, Register::Reg1));
                self.push(&Conntrack::Mark { set: true });
            }
            Expr::SetMarkOfMac(set) => {
                self.push(&Meta::IifType);
                self.push(&Cmp::new(CmpOp::Eq, ARPHRD_ETHER));
                self.push(&Payload::LinkLayer(LLHeaderField::Saddr));
                self.raw(
                    c"lookup",
                    [
                        (nft::NFTNL_EXPR_LOOKUP_SREG, Value::U32(REGISTER_1)),
                        (nft::NFTNL_EXPR_LOOKUP_DREG, Value::U32(REGISTER_1)),
                        (nft::NFTNL_EXPR_LOOKUP_SET, Value::Text(CString::new(*set).expect("set names are ours"))),
                    ],
                );
                self.push(&Conntrack::Mark { set: true });
            }
            Expr::Over(set) => {
                self.push(&Conntrack::Mark { set: false });
                self.lookup(set);
            }
            Expr::Syn => {
                self.l4(L4::Tcp);
                self.push(&transport(13, 1));
                self.push(&Bitwise::new(0x06_u8, 0_u8));
                self.equal(&[0x02]);
            }
            Expr::SourceAstray => {
                self.fib(FIB_RESULT_OIF, FIB_SADDR | FIB_IIF | FIB_PRESENT);
                self.equal(&[0; 4]);
            }
            Expr::NotOfThisInterface => {
                self.fib(FIB_RESULT_ADDRTYPE, FIB_DADDR | FIB_IIF);
                self.push(&Cmp::new(CmpOp::Neq, RTN_LOCAL));
            }
            Expr::Limit(rate) => self.raw(
                c"limit",
                [
                    (nft::NFTNL_EXPR_LIMIT_RATE, Value::U64(u64::from(*rate))),
                    (nft::NFTNL_EXPR_LIMIT_UNIT, Value::U64(1)),
                    (nft::NFTNL_EXPR_LIMIT_BURST, Value::U32(*rate)),
                    (nft::NFTNL_EXPR_LIMIT_TYPE, Value::U32(0)),
                ],
            ),
            Expr::TooMany(set, most) => self.too_many(set, *most),
            Expr::Count => self.push(&Counter),
            Expr::ClampMss => self.clamp_mss(),
            Expr::Redirect(port) => {
                self.push(&Immediate::new(port.to_be_bytes(), Register::Reg1));
                // The kernel fills in the upper end when it is left out, and dumps it.
                self.raw(
                    c"redir",
                    [
                        (nft::NFTNL_EXPR_REDIR_REG_PROTO_MIN, Value::U32(REGISTER_1)),
                        (nft::NFTNL_EXPR_REDIR_REG_PROTO_MAX, Value::U32(REGISTER_1)),
                        (nft::NFTNL_EXPR_REDIR_FLAGS, Value::U32(NAT_RANGE_PROTO_SPECIFIED)),
                    ],
                );
            }
            Expr::Masquerade => self.push(&Masquerade),
            Expr::Accept => self.push(&Verdict::Accept),
            Expr::Drop => self.push(&Verdict::Drop),
            Expr::Reset => self.push(&Verdict::Reject(RejectionType::TcpRst)),
            Expr::Prohibit => self.push(&Verdict::Reject(RejectionType::Icmp(IcmpCode::AdminProhibited))),
            Expr::Goto(chain) => {
                self.push(&Verdict::Goto { chain: CString::new(*chain).expect("chain names are ours") });
            }
        }
    }

    fn push(&mut self, expr: &impl Expression) {
        self.rule.add_expr(expr);
    }

    fn raw<const COUNT: usize>(&mut self, name: &'static std::ffi::CStr, attributes: [(u32, Value); COUNT]) {
        self.push(&Raw { name, attributes: attributes.into() });
    }

    fn equal(&mut self, value: &[u8]) {
        self.push(&Cmp::new(CmpOp::Eq, value));
    }

    fn any_bit(&mut self, bits: u32) {
        self.push(&Bitwise::new(bits, 0_u32));
        self.push(&Cmp::new(CmpOp::Neq, 0_u32));
    }

    fn interface(&mut self, which: &Meta, name: &str) {
        let mut padded = [0; libc::IFNAMSIZ];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.push(which);
        self.equal(&padded);
    }

    fn family(&mut self, family: Family) {
        if self.family.replace(family) != Some(family) {
            self.push(&Meta::NfProto);
            self.equal(&[match family {
                Family::Ipv4 => libc::NFPROTO_IPV4 as u8,
                Family::Ipv6 => libc::NFPROTO_IPV6 as u8,
            }]);
        }
    }

    fn l4(&mut self, l4: L4) {
        if self.l4.replace(l4) != Some(l4) {
            self.push(&Meta::L4Proto);
            self.equal(&[l4.number()]);
        }
    }

    fn source(&mut self, source: &Network) {
        self.family(if source.address().is_ipv4() { Family::Ipv4 } else { Family::Ipv6 });
        let (offset, bytes, mask) = match (source.address(), source.length()) {
            (IpAddr::V4(first), prefix) => {
                (12, first.octets().to_vec(), (u32::MAX << (32 - u32::from(prefix))).to_be_bytes().to_vec())
            }
            (IpAddr::V6(first), prefix) => {
                (8, first.octets().to_vec(), (u128::MAX << (128 - u32::from(prefix))).to_be_bytes().to_vec())
            }
        };
        if source.length().is_multiple_of(8) {
            let whole = usize::from(source.length() / 8);
            self.push(&network(offset, whole as u32));
            self.equal(&bytes[..whole]);
        } else {
            self.push(&network(offset, bytes.len() as u32));
            let zero = vec![0_u8; mask.len()];
            self.push(&Bitwise::new(mask.as_slice(), zero.as_slice()));
            self.equal(&bytes);
        }
    }

    fn pair(&mut self, set: &str, family: Family) {
        let (ethertype, offset, length) = match family {
            Family::Ipv4 => (0x0800_u16, 12, 4),
            Family::Ipv6 => (0x86dd, 8, 16),
        };
        // Without the first test nft lists the MAC as a raw payload.
        self.push(&Meta::IifType);
        self.push(&Cmp::new(CmpOp::Eq, ARPHRD_ETHER));
        self.push(&Payload::LinkLayer(LLHeaderField::EtherType));
        self.equal(&ethertype.to_be_bytes());
        self.push(&Payload::LinkLayer(LLHeaderField::Saddr));
        self.raw(
            c"payload",
            [
                (nft::NFTNL_EXPR_PAYLOAD_DREG, Value::U32(REGISTER_AFTER_MAC)),
                (nft::NFTNL_EXPR_PAYLOAD_BASE, Value::U32(libc::NFT_PAYLOAD_NETWORK_HEADER as u32)),
                (nft::NFTNL_EXPR_PAYLOAD_OFFSET, Value::U32(offset)),
                (nft::NFTNL_EXPR_PAYLOAD_LEN, Value::U32(length)),
            ],
        );
        self.lookup(set);
        self.family = Some(family);
    }

    fn too_many(&mut self, set: &str, most: u32) {
        self.push(&Meta::IifType);
        self.push(&Cmp::new(CmpOp::Eq, ARPHRD_ETHER));
        self.push(&Payload::LinkLayer(LLHeaderField::Saddr));
        let over = vec![
            (nft::NFTNL_EXPR_CONNLIMIT_COUNT, Value::U32(most)),
            (nft::NFTNL_EXPR_CONNLIMIT_FLAGS, Value::U32(CONNLIMIT_OVER)),
        ];
        self.raw(
            c"dynset",
            [
                (nft::NFTNL_EXPR_DYNSET_OP, Value::U32(DYNSET_ADD)),
                (nft::NFTNL_EXPR_DYNSET_SET_NAME, Value::Text(CString::new(set).expect("set names are ours"))),
                (nft::NFTNL_EXPR_DYNSET_SREG_KEY, Value::U32(REGISTER_1)),
                (nft::NFTNL_EXPR_DYNSET_EXPRESSIONS, Value::Inner(Raw { name: c"connlimit", attributes: over })),
            ],
        );
    }

    fn lookup(&mut self, set: &str) {
        // Only the name goes into the expression.
        let name = CString::new(set).expect("set names are ours");
        let lookup =
            Lookup::new(&Set::<Named>::new_named(&name, 0, self.rule.get_chain().get_table(), ProtoFamily::Inet));
        self.push(&lookup);
    }

    fn fib(&mut self, result: u32, flags: u32) {
        self.raw(
            c"fib",
            [
                (nft::NFTNL_EXPR_FIB_FLAGS, Value::U32(flags)),
                (nft::NFTNL_EXPR_FIB_RESULT, Value::U32(result)),
                (nft::NFTNL_EXPR_FIB_DREG, Value::U32(REGISTER_1)),
            ],
        );
    }

    /// The route's MSS, in network order, into the option's two bytes; the kernel only ever lowers it.
    fn clamp_mss(&mut self) {
        self.raw(
            c"rt",
            [(nft::NFTNL_EXPR_RT_KEY, Value::U32(RT_TCPMSS)), (nft::NFTNL_EXPR_RT_DREG, Value::U32(REGISTER_1))],
        );
        self.raw(
            c"byteorder",
            [
                (nft::NFTNL_EXPR_BYTEORDER_SREG, Value::U32(REGISTER_1)),
                (nft::NFTNL_EXPR_BYTEORDER_DREG, Value::U32(REGISTER_1)),
                (nft::NFTNL_EXPR_BYTEORDER_OP, Value::U32(BYTEORDER_HTON)),
                (nft::NFTNL_EXPR_BYTEORDER_LEN, Value::U32(2)),
                (nft::NFTNL_EXPR_BYTEORDER_SIZE, Value::U32(2)),
            ],
        );
        self.raw(
            c"exthdr",
            [
                (nft::NFTNL_EXPR_EXTHDR_SREG, Value::U32(REGISTER_1)),
                (nft::NFTNL_EXPR_EXTHDR_TYPE, Value::U8(TCPOPT_MAXSEG)),
                (nft::NFTNL_EXPR_EXTHDR_OFFSET, Value::U32(2)),
                (nft::NFTNL_EXPR_EXTHDR_LEN, Value::U32(2)),
                (nft::NFTNL_EXPR_EXTHDR_OP, Value::U32(EXTHDR_OP_TCPOPT)),
            ],
        );
    }
}

fn network(offset: u32, length: u32) -> Payload {
    Payload::Network(NetworkHeaderField::Raw { offset_bits: offset, length_bits: length })
}

fn transport(offset: u32, length: u32) -> Payload {
    Payload::Transport(TransportHeaderField::Raw { offset_bits: offset, length_bits: length })
}

/// A key of no consequence: a lookup names its set only.
struct Named;

impl SetKey for Named {
    const TYPE: u32 = 0;
    const LEN: u32 = 0;

    fn data(&self) -> Box<[u8]> {
        Box::default()
    }
}
