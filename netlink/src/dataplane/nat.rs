//! The rules of the policy's NAT section, as chains `prerouting` and `postrouting`.
//!
//! They are plain rules, tried one by one for the first packet of a session only: a gateway has
//! few of them. A rule whose sets have several members becomes one nft rule for each combination.

use super::layout::{self, TABLE};
use crate::nft::expr::{self, Compare, Expr, Header, Meta, Reg};
use crate::nft::outcome::{self, Nat};
use crate::nft::sets;
use crate::nft::transaction::Transaction;
use crate::wire::Writer;
use nftnl::{Chain, ChainType, Hook, MsgType, Policy, Table};
use std::ffi::CStr;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most nft rules that one NAT rule may become.
pub const MAX_COMBINATIONS: usize = 4_096;

/// Names of interfaces; a trailing `*` stands for any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The name or pattern.
    pub name: String,
    /// More specific names and patterns that belong to somebody else.
    pub except: Vec<String>,
}

/// A range of upper-layer fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// IANA protocol number, or any.
    pub protocol: Option<u8>,
    /// Source ports, or ICMP types.
    pub src: (u16, u16),
    /// Destination ports, or ICMP codes.
    pub dst: (u16, u16),
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Source becomes the egress interface's address.
    Masquerade,
    /// Source becomes this address.
    SourceV4(Ipv4Addr),
    /// Source becomes this address.
    SourceV6(Ipv6Addr),
    /// Destination becomes this address and, if given, port.
    DestinationV4(Ipv4Addr, Option<u16>),
    /// Destination becomes this address and, if given, port.
    DestinationV6(Ipv6Addr, Option<u16>),
}

/// Addresses of one family as inclusive ranges; empty stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Sources.
        src: Vec<(Ipv4Addr, Ipv4Addr)>,
        /// Destinations.
        dst: Vec<(Ipv4Addr, Ipv4Addr)>,
    },
    /// IPv6.
    V6 {
        /// Sources.
        src: Vec<(Ipv6Addr, Ipv6Addr)>,
        /// Destinations.
        dst: Vec<(Ipv6Addr, Ipv6Addr)>,
    },
}

/// One NAT rule for one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Shows in `nft list`.
    pub name: String,
    /// Ingress interfaces; empty for any.
    pub ingress: Vec<Pattern>,
    /// Egress interfaces; empty for any. Not for destination NAT.
    pub egress: Vec<Pattern>,
    /// Addresses.
    pub addresses: Addresses,
    /// Services; empty for any.
    pub services: Vec<Service>,
    /// What it does.
    pub action: Action,
}

impl Rule {
    /// How many nft rules it becomes.
    #[must_use]
    pub fn combinations(&self) -> usize {
        let (src, dst) = match &self.addresses {
            Addresses::V4 { src, dst } => (src.len(), dst.len()),
            Addresses::V6 { src, dst } => (src.len(), dst.len()),
        };
        [self.ingress.len(), self.egress.len(), self.services.len(), src, dst]
            .into_iter()
            .fold(1, |product: usize, count| product.saturating_mul(count.max(1)))
    }

    fn is_destination(&self) -> bool {
        matches!(self.action, Action::DestinationV4(..) | Action::DestinationV6(..))
    }
}

const PREROUTING: &CStr = c"prerouting";
const POSTROUTING: &CStr = c"postrouting";
/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`.
const CHAINS: [(&CStr, Hook, i32); 2] =
    [(PREROUTING, Hook::PreRouting, -100), (POSTROUTING, Hook::PostRouting, 100)];

/// Replaces the NAT chains. Without rules there are none, so that sessions don't pass through NAT
/// for nothing.
pub(super) fn write(tx: &mut Transaction, table: &Table, rules: &[Rule]) {
    let mut writer = Writer::default();
    for (name, hook, priority) in CHAINS {
        let text = layout::text(name);
        let mut chain = Chain::new(name, table);
        chain.set_type(ChainType::Nat);
        chain.set_hook(hook, priority);
        chain.set_policy(Policy::Accept);
        tx.push(&chain, MsgType::Add, format!("make chain {text}"));
        sets::write_flush_chain(&mut writer, TABLE, text);
        tx.push_raw(&mut writer, format!("empty chain {text}"));
        let mut own =
            rules.iter().filter(|r| r.is_destination() == (name == PREROUTING)).peekable();
        if own.peek().is_none() {
            sets::write_delete_chain(&mut writer, TABLE, text);
            tx.push_raw(&mut writer, format!("delete chain {text}"));
        }
        own.for_each(|rule| write_rule(tx, table, text, rule));
    }
}

fn write_rule(tx: &mut Transaction, table: &Table, chain: &str, rule: &Rule) {
    let parts = [
        interfaces(Meta::IngressName, &rule.ingress),
        interfaces(Meta::EgressName, &rule.egress),
        vec![family(&rule.addresses)],
        addresses(&rule.addresses, Side::Source),
        addresses(&rule.addresses, Side::Destination),
        services(&rule.services),
        vec![action(rule.action)],
    ];
    for exprs in product(&parts) {
        tx.rule(table, chain, &rule.name, &exprs);
    }
}

/// Every way to take one alternative of each part, one after the other.
fn product(parts: &[Vec<Vec<Expr>>]) -> Vec<Vec<Expr>> {
    parts.iter().fold(vec![Vec::new()], |prefixes, alternatives| {
        let extend = |prefix: &Vec<Expr>| {
            let prefix = prefix.clone();
            alternatives.iter().map(move |next| [prefix.as_slice(), next.as_slice()].concat())
        };
        prefixes.iter().flat_map(extend).collect()
    })
}

const A: Reg = Reg(0);
const PORT: Reg = Reg(4);

fn interfaces(which: Meta, patterns: &[Pattern]) -> Vec<Vec<Expr>> {
    let one = |pattern: &Pattern| {
        let mut exprs = vec![expr::meta(which, A)];
        exprs.extend(pattern.except.iter().map(|name| name_test(name, Compare::NotEqual)));
        exprs.push(name_test(&pattern.name, Compare::Equal));
        exprs
    };
    or_any(patterns.iter().map(one).collect())
}

/// Compares a whole name with its padding, or the bytes before the `*`.
fn name_test(name: &str, how: Compare) -> Expr {
    let mut bytes = name.as_bytes().to_vec();
    match bytes.strip_suffix(b"*") {
        Some(prefix) => bytes = prefix.to_vec(),
        None => bytes.resize(libc::IF_NAMESIZE, 0),
    }
    expr::compare(A, how, &bytes)
}

fn family(addresses: &Addresses) -> Vec<Expr> {
    let family = match addresses {
        Addresses::V4 { .. } => libc::NFPROTO_IPV4,
        Addresses::V6 { .. } => libc::NFPROTO_IPV6,
    };
    vec![expr::meta(Meta::Family, A), expr::compare(A, Compare::Equal, &[family as u8])]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

fn addresses(addresses: &Addresses, side: Side) -> Vec<Vec<Expr>> {
    let pick = |source, destination| if side == Side::Source { source } else { destination };
    match addresses {
        Addresses::V4 { src, dst } => {
            let ranges = if side == Side::Source { src } else { dst };
            let at = pick(12, 16);
            or_any(ranges.iter().map(|(a, b)| in_range(at, &a.octets(), &b.octets())).collect())
        }
        Addresses::V6 { src, dst } => {
            let ranges = if side == Side::Source { src } else { dst };
            let at = pick(8, 24);
            or_any(ranges.iter().map(|(a, b)| in_range(at, &a.octets(), &b.octets())).collect())
        }
    }
}

fn in_range(offset: u32, low: &[u8], high: &[u8]) -> Vec<Expr> {
    vec![
        expr::payload(Header::Network, offset, low.len() as u32, A),
        if low == high { expr::compare(A, Compare::Equal, low) } else { expr::range(A, low, high) },
    ]
}

fn services(services: &[Service]) -> Vec<Vec<Expr>> {
    or_any(services.iter().map(service).collect())
}

fn service(service: &Service) -> Vec<Expr> {
    let Some(protocol) = service.protocol else { return Vec::new() };
    let mut exprs =
        vec![expr::meta(Meta::Protocol, A), expr::compare(A, Compare::Equal, &[protocol])];
    let icmp = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&i32::from(protocol));
    let width = if icmp { 1 } else { 2 };
    for (offset, (low, high)) in [(0, service.src), (width, service.dst)] {
        if (low, high) == (0, u16::MAX) {
            continue;
        }
        exprs.push(expr::payload(Header::Transport, offset, width, A));
        exprs.push(if icmp {
            let byte = |value: u16| [u8::try_from(value).unwrap_or(u8::MAX)];
            expr::range(A, &byte(low), &byte(high))
        } else {
            expr::range(A, &low.to_be_bytes(), &high.to_be_bytes())
        });
    }
    exprs
}

fn action(action: Action) -> Vec<Expr> {
    let (kind, family, address, port) = match action {
        Action::Masquerade => return vec![outcome::masquerade()],
        Action::SourceV4(to) => (Nat::Source, libc::NFPROTO_IPV4, to.octets().to_vec(), None),
        Action::SourceV6(to) => (Nat::Source, libc::NFPROTO_IPV6, to.octets().to_vec(), None),
        Action::DestinationV4(to, port) => {
            (Nat::Destination, libc::NFPROTO_IPV4, to.octets().to_vec(), port)
        }
        Action::DestinationV6(to, port) => {
            (Nat::Destination, libc::NFPROTO_IPV6, to.octets().to_vec(), port)
        }
    };
    let mut exprs = vec![expr::immediate(A, &address)];
    if let Some(port) = port {
        exprs.push(expr::immediate(PORT, &port.to_be_bytes()));
    }
    exprs.push(outcome::nat(kind, family as u32, A, port.map(|_| PORT)));
    exprs
}

/// No alternative means any: one that tests nothing.
fn or_any(alternatives: Vec<Vec<Expr>>) -> Vec<Vec<Expr>> {
    if alternatives.is_empty() { vec![Vec::new()] } else { alternatives }
}
