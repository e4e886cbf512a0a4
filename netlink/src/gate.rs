//! The tables `inet twinwall-vrrp` and `arp twinwall-vrrp`: who may answer for a virtual address,
//! and until when.
//!
//! Goes in: the virtual addresses; and again and again those that this node owns, and those that
//! it takes packets for. Comes out: transactions. Not here: who owns an address.
//!
//! A node whose daemon was killed or stopped still has the addresses, and its kernel would go on
//! answering for them. So every permission is an element with a timeout, and when nobody renews
//! it, the gate shuts by itself.
//!
//! ```text
//! arp  output  sender address in virtual4, (sender address . sender MAC) not in alive4: dropped;
//!              a question about any other address leaves without the sender's address
//! inet output  ICMPv6 from virtual6, and neighbour advertisements about it, not in alive6: dropped
//! inet input   packets to virtual4 and virtual6, not in accept4 and accept6: dropped, but for
//!              neighbour solicitations and advertisements
//! ```
//!
//! Gratuitous ARP and unsolicited neighbour advertisements that [`crate::frame`] sends pass by the
//! gate.

use crate::nft::expr::{self, Compare, Expr, Header, Meta, Reg, Verdict};
use crate::nft::sets::{self, Change, TYPE_IPV4, TYPE_IPV6, TableName};
use crate::nft::timed::{self, Set, TYPE_ETHERNET};
use crate::nft::transaction::{self, Transaction};
use crate::socket::Socket;
use crate::wire::Writer;
use nftnl::{MsgType, ProtoFamily, Table};
use std::ffi::CStr;
use std::net::IpAddr;
use std::time::Duration;

const NAME: &CStr = c"twinwall-vrrp";
const ARP: TableName<'static> =
    TableName { family: libc::NFPROTO_ARP as u8, name: "twinwall-vrrp" };
const INET: TableName<'static> =
    TableName { family: libc::NFPROTO_INET as u8, name: "twinwall-vrrp" };

const ANSWER: &str = "answer";
const ACCEPT: &str = "accept";
/// `NF_ARP_OUT`.
const ARP_OUTPUT: u32 = 1;
/// Before the chains of `inet twinwall`, which would ask the daemon about the packet.
const PRIORITY: i32 = -10;

const VIRTUAL4: &CStr = c"virtual4";
const VIRTUAL6: &CStr = c"virtual6";
const ALIVE4: &CStr = c"alive4";
const ALIVE6: &CStr = c"alive6";
const ACCEPT4: &CStr = c"accept4";
const ACCEPT6: &CStr = c"accept6";

/// Why the gate could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket could be had.
    #[error("nftables: cannot open a netlink socket: {0}")]
    Open(std::io::Error),
    /// The kernel was built without nf_tables for ARP.
    #[error("this kernel has no nftables family arp: nothing can keep it from answering ARP")]
    NoArp,
    /// A table or set is not there any more: build the gate again.
    #[error("the gate's tables are gone: {0}")]
    Missing(transaction::Error),
    /// A transaction was not applied.
    #[error(transparent)]
    Transaction(transaction::Error),
}

/// What the names of virtual routers' macvlan interfaces begin with, for IPv4 and IPv6. These must
/// not speak for themselves.
pub const MACVLANS: [&str; 2] = ["tw4-", "tw6-"];

/// The gate.
#[derive(Debug)]
pub struct Gate {
    socket: Socket,
}

impl Gate {
    /// Makes both tables, in place of those that may be there, in one transaction. All virtual
    /// addresses are shut until [`Gate::renew`] opens them.
    ///
    /// # Errors
    /// See [`Error`]; then nothing has changed.
    pub fn build(virtual_addresses: &[IpAddr]) -> Result<Self, Error> {
        let mut socket = Socket::open().map_err(Error::Open)?;
        let mut tx = Transaction::new();
        let mut writer = Writer::default();
        replace(&mut tx, &mut writer);
        write_arp(&mut tx, &mut writer);
        write_inet(&mut tx, &mut writer);
        let addresses = || virtual_addresses.iter().copied();
        add(&mut tx, &mut writer, ARP, VIRTUAL4, None, addresses().filter_map(v4));
        add(&mut tx, &mut writer, INET, VIRTUAL4, None, addresses().filter_map(v4));
        add(&mut tx, &mut writer, INET, VIRTUAL6, None, addresses().filter_map(v6));
        match tx.commit(&mut socket) {
            Ok(()) => Ok(Self { socket }),
            Err(error) if is_unsupported(&error) && !has_arp(&mut socket) => Err(Error::NoArp),
            Err(error) => Err(Error::Transaction(error)),
        }
    }

    /// Opens the gate for the `timeout` from now on (rounded down to milliseconds, at least one),
    /// and shuts it for everything that isn't named, in one transaction: for answering ARP and
    /// neighbour solicitations for the addresses in `alive`, for IPv4 with this MAC address alone;
    /// for taking packets to the addresses in `accept`.
    ///
    /// # Errors
    /// [`Error::Missing`] when the tables are gone; see [`Error`]. Then nothing has changed.
    pub fn renew(
        &mut self,
        alive: &[(IpAddr, [u8; 6])],
        accept: &[IpAddr],
        timeout: Duration,
    ) -> Result<(), Error> {
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut tx = Transaction::new();
        let mut writer = Writer::default();
        // Adding an element that is there doesn't prolong it.
        for (table, set) in [(ARP, ALIVE4), (INET, ALIVE6), (INET, ACCEPT4), (INET, ACCEPT6)] {
            sets::write_flush_map(&mut writer, table, text(set));
            tx.push_raw(&mut writer, format!("empty set {}", text(set)));
        }
        let alive4 = alive.iter().filter_map(|(address, mac)| {
            // Each part of a concatenation begins at a multiple of four bytes.
            v4(*address).map(|key| [&key[..], mac, &[0; 2]].concat())
        });
        let alive6 = alive.iter().filter_map(|(address, _)| v6(*address));
        let accept = || accept.iter().copied();
        let timeout = Some(timeout);
        add(&mut tx, &mut writer, ARP, ALIVE4, timeout, alive4);
        add(&mut tx, &mut writer, INET, ALIVE6, timeout, alive6);
        add(&mut tx, &mut writer, INET, ACCEPT4, timeout, accept().filter_map(v4));
        add(&mut tx, &mut writer, INET, ACCEPT6, timeout, accept().filter_map(v6));
        tx.commit(&mut self.socket).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => Error::Missing(error),
            _ => Error::Transaction(error),
        })
    }

    /// Deletes both tables, if they are there: the virtual addresses are then like any others.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn remove() -> Result<(), Error> {
        let mut socket = Socket::open().map_err(Error::Open)?;
        // One by one: without the family arp the other table still has to go.
        for (table, family) in FAMILIES {
            let mut tx = Transaction::new();
            delete(&mut tx, &mut Writer::default(), table, family);
            match tx.commit(&mut socket) {
                Err(error) if !is_unsupported(&error) => return Err(Error::Transaction(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

const FAMILIES: [(TableName<'static>, ProtoFamily); 2] =
    [(ARP, ProtoFamily::Arp), (INET, ProtoFamily::Inet)];

/// Makes both tables empty.
fn replace(tx: &mut Transaction, writer: &mut Writer) {
    for (table, family) in FAMILIES {
        delete(tx, writer, table, family);
        tx.push(&Table::new(NAME, family), MsgType::Add, format!("make table {}", title(table)));
    }
}

/// Deletes a table that may not be there: deleting needs something to delete.
fn delete(tx: &mut Transaction, writer: &mut Writer, table: TableName<'_>, family: ProtoFamily) {
    tx.push(&Table::new(NAME, family), MsgType::Add, format!("make table {}", title(table)));
    sets::write_delete_table(writer, table);
    tx.push_raw(writer, format!("delete table {}", title(table)));
}

fn write_arp(tx: &mut Transaction, writer: &mut Writer) {
    let (address, mac) = (Reg(0), Reg(1));
    make_set(tx, writer, ARP, VIRTUAL4, (4, TYPE_IPV4), 1);
    make_set(tx, writer, ARP, ALIVE4, (12, TYPE_IPV4 << 6 | TYPE_ETHERNET), 2);
    make_chain(tx, writer, ARP, ANSWER, ARP_OUTPUT);
    let table = Table::new(NAME, ProtoFamily::Arp);
    let mut rule = |comment, exprs: &[Expr]| tx.rule(&table, ANSWER, comment, exprs);
    // Offsets of RFC 826 for Ethernet and IPv4; the network header is the ARP message.
    let read = |offset, length, to| expr::payload(Header::Network, offset, length, to);
    rule(
        "the virtual MAC address of an address that is ours now",
        &[
            read(14, 4, address),
            read(8, 6, mac),
            expr::member(ALIVE4, address, true),
            expr::verdict(Verdict::Accept),
        ],
    );
    // The node looks for a neighbour that it wants to answer from the virtual address. Without a
    // sender's address (RFC 5227 2.1.1) the neighbour still answers and learns nothing.
    rule(
        "questions from a virtual address",
        &[
            read(14, 4, address),
            expr::member(VIRTUAL4, address, true),
            read(6, 2, mac),
            expr::compare(mac, Compare::Equal, &[0, 1]),
            read(24, 4, mac),
            expr::member(VIRTUAL4, mac, false),
            expr::count_here(),
            expr::immediate(address, &[0; 4]),
            expr::set_payload(Header::Network, 14, 4, address),
            expr::verdict(Verdict::Accept),
        ],
    );
    rule(
        "answers for a virtual address that is not ours now",
        &[
            read(14, 4, address),
            expr::member(VIRTUAL4, address, true),
            expr::count_here(),
            expr::verdict(Verdict::Drop),
        ],
    );
}

fn write_inet(tx: &mut Transaction, writer: &mut Writer) {
    for (set, id) in [VIRTUAL4, ACCEPT4].into_iter().zip(1..) {
        make_set(tx, writer, INET, set, (4, TYPE_IPV4), id);
    }
    for (set, id) in [VIRTUAL6, ALIVE6, ACCEPT6].into_iter().zip(3..) {
        make_set(tx, writer, INET, set, (16, TYPE_IPV6), id);
    }
    make_chain(tx, writer, INET, ANSWER, libc::NF_INET_LOCAL_OUT as u32);
    make_chain(tx, writer, INET, ACCEPT, libc::NF_INET_LOCAL_IN as u32);
    let table = Table::new(NAME, ProtoFamily::Inet);
    let drop_others = |virtual_set, permitted, offset, length| {
        [
            expr::payload(Header::Network, offset, length, Reg(0)),
            expr::member(virtual_set, Reg(0), true),
            expr::member(permitted, Reg(0), false),
            expr::count_here(),
            expr::verdict(Verdict::Drop),
        ]
    };
    let mut rule = |chain, comment, parts: [&[Expr]; 2]| {
        tx.rule(&table, chain, comment, &parts.concat());
    };
    // Neighbour advertisement, 136: the target is behind eight bytes (RFC 4861 4.4).
    let mut about = drop_others(VIRTUAL6, ALIVE6, 0, 16);
    let [target, ..] = &mut about;
    *target = expr::payload(Header::Transport, 8, 16, Reg(0));
    rule(
        ANSWER,
        "answers for a virtual address that is not ours now",
        [&icmpv6(Some((136, 136))), &about],
    );
    // Other messages tell the sender's Ethernet address to hosts or switches too.
    rule(
        ANSWER,
        "ICMPv6 from a virtual address that is not ours now",
        [&icmpv6(None), &drop_others(VIRTUAL6, ALIVE6, 8, 16)],
    );
    // Membership reports, which the kernel sends by itself when an interface is switched on or loses
    // its addresses, would tell switches that the virtual MAC address is here.
    for prefix in MACVLANS {
        let unspecified = [
            expr::meta(Meta::EgressName, Reg(0)),
            expr::compare(Reg(0), Compare::Equal, prefix.as_bytes()),
            expr::payload(Header::Network, 8, 16, Reg(0)),
            expr::compare(Reg(0), Compare::Equal, &[0; 16]),
            expr::count_here(),
            expr::verdict(Verdict::Drop),
        ];
        let comment = "from a virtual router's interface without an address";
        rule(ANSWER, comment, [&family(libc::NFPROTO_IPV6), &unspecified]);
    }
    rule(
        ACCEPT,
        "to a virtual address that takes no packets now",
        [&family(libc::NFPROTO_IPV4), &drop_others(VIRTUAL4, ACCEPT4, 16, 4)],
    );
    rule(
        ACCEPT,
        "neighbour solicitations and advertisements",
        [&icmpv6(Some((135, 136))), &[expr::verdict(Verdict::Accept)]],
    );
    rule(
        ACCEPT,
        "to a virtual address that takes no packets now",
        [&family(libc::NFPROTO_IPV6), &drop_others(VIRTUAL6, ACCEPT6, 24, 16)],
    );
}

fn family(number: i32) -> [Expr; 2] {
    [expr::meta(Meta::Family, Reg(0)), expr::compare(Reg(0), Compare::Equal, &[number as u8])]
}

/// Goes on for ICMPv6, of these types if some are given.
fn icmpv6(types: Option<(u8, u8)>) -> Vec<Expr> {
    let mut exprs = family(libc::NFPROTO_IPV6).to_vec();
    exprs.push(expr::meta(Meta::Protocol, Reg(0)));
    exprs.push(expr::compare(Reg(0), Compare::Equal, &[libc::IPPROTO_ICMPV6 as u8]));
    if let Some((first, last)) = types {
        exprs.push(expr::payload(Header::Transport, 0, 1, Reg(0)));
        exprs.push(expr::range(Reg(0), &[first], &[last]));
    }
    exprs
}

fn make_set(
    tx: &mut Transaction,
    writer: &mut Writer,
    table: TableName<'_>,
    name: &CStr,
    (key_length, key_type): (u32, u32),
    id: u32,
) {
    let timeouts = name != VIRTUAL4 && name != VIRTUAL6;
    let set = Set { name: text(name), key_length, key_type, timeouts };
    timed::write_set(writer, table, &set, id);
    tx.push_raw(writer, format!("make set {} of table {}", text(name), title(table)));
}

fn make_chain(
    tx: &mut Transaction,
    writer: &mut Writer,
    table: TableName<'_>,
    name: &str,
    hook: u32,
) {
    timed::write_base_chain(writer, table, name, hook, PRIORITY);
    tx.push_raw(writer, format!("make base chain {name} of table {}", title(table)));
}

fn add(
    tx: &mut Transaction,
    writer: &mut Writer,
    table: TableName<'_>,
    set: &CStr,
    timeout: Option<u64>,
    keys: impl Iterator<Item = Vec<u8>>,
) {
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        sets::write_elements(writer, table, text(set), Change::Add, &mut keys, |w, key| {
            timed::write_timed_key(w, &key, timeout);
        });
        tx.push_raw(writer, format!("add to set {}", text(set)));
    }
}

fn v4(address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => Some(address.octets().to_vec()),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address.octets().to_vec()),
    }
}

/// Whether the kernel may have refused a table for its family.
fn is_unsupported(error: &transaction::Error) -> bool {
    matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT))
}

/// Tries with a table that the same transaction deletes again.
fn has_arp(socket: &mut Socket) -> bool {
    let mut tx = Transaction::new();
    delete(&mut tx, &mut Writer::default(), ARP, ProtoFamily::Arp);
    !tx.commit(socket).is_err_and(|error| is_unsupported(&error))
}

/// A name as text; all are ASCII.
fn text(name: &CStr) -> &str {
    name.to_str().unwrap_or_default()
}

fn title(table: TableName<'_>) -> String {
    let family = if table.family == ARP.family { "arp" } else { "inet" };
    format!("{family} {}", table.name)
}
