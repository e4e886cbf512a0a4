//! Interfaces: a list of them, news about them, and macvlans.
//!
//! Goes in: macvlans to make. Comes out: index, name, state and kind of interfaces, and what
//! changed. Not here: addresses and routes; switching interfaces on and off ([`crate::address`]).
//!
//! Crate netlink-packet-route decodes the attributes, one by one and only those that are used, so
//! that one that a later kernel writes differently costs no more than itself. The sockets are
//! those of crate mnl as everywhere here; netlink-sys would be a second kind.

mod macvlan;

pub use macvlan::{Error as ChangeError, create_macvlan, delete};

use crate::news::News;
use crate::socket::{Error, Socket};
use crate::wire::{self, Message};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlaBuffer,
    NlasIterator, Parseable, ParseableParametrized,
};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::io;

/// `RTM_NEWLINK` and `RTM_DELLINK`.
pub(crate) const NEW: u16 = 16;
const DELETE: u16 = 17;

/// `IFLA_ADDRESS`, `IFLA_IFNAME`, `IFLA_LINK`, `IFLA_MASTER`, `IFLA_LINKINFO`,
/// `IFLA_LINK_NETNSID`, and in the link info `IFLA_INFO_KIND`.
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const LINK_NETNSID: u16 = 37;
const INFO_KIND: u16 = 1;

/// `RTNLGRP_LINK`.
const GROUP: u32 = 1;

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, which is not used again while the system is up.
    pub index: u32,
    /// Its name, which can change.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is switched on and can carry packets.
    pub running: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// The driver's name for its kind, such as `vlan` or `veth`; `None` for most hardware.
    pub kind: Option<String>,
    /// Index of the interface below, such as that which a VLAN is on, if it is in this namespace.
    pub parent: Option<u32>,
    /// Index of the bridge or bond that it belongs to.
    pub master: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
}

/// What became of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is new or has changed, or something else about it has.
    Changed(Link),
    /// The one with this index is gone.
    Removed(u32),
}

/// The interfaces of this network namespace.
///
/// # Errors
/// [`Error::Refused`] with the kernel's errno.
pub fn list() -> Result<Vec<Link>, Error> {
    let mut socket = Socket::open_route()?;
    let seq = socket.next_seq();
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = seq;
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetLink(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut links = Vec::new();
    socket.dump(&bytes, seq, |message| {
        if let Some(Event::Changed(link)) = event(message) {
            links.push(link);
        }
    })?;
    Ok(links)
}

/// Hears of changes.
pub type Watcher = News<Event>;

impl Watcher {
    /// Begins to listen.
    ///
    /// # Errors
    /// What `socket`, `bind` and `setsockopt` fail with.
    pub fn open() -> io::Result<Self> {
        Self::listen(&[GROUP], event)
    }
}

/// The events of a datagram. Messages that can't be read or are about something else are left out.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Event> + '_ {
    wire::messages(datagram).filter_map(|message| event(&message))
}

/// `struct ifinfomsg`: nothing about family and kind of hardware, the index, flags and which of
/// them to change.
pub(crate) fn header(index: u32, flags: u32, change: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let fields = [index, flags, change];
    for (place, field) in header.chunks_exact_mut(4).skip(1).zip(fields) {
        place.copy_from_slice(&field.to_ne_bytes());
    }
    header
}

fn event(message: &Message<'_>) -> Option<Event> {
    let header = LinkHeader::parse(message.payload).ok()?;
    // A bridge tells of its ports in the same messages under its own family: there a delete only
    // means that the interface has left the bridge.
    if header.interface_family != AddressFamily::Unspec || header.index == 0 {
        return None;
    }
    match message.kind {
        NEW => link(&header, message.payload.get(HEADER..)?).map(Event::Changed),
        DELETE => Some(Event::Removed(header.index)),
        _ => None,
    }
}

/// `None` for messages without a name, such as those of wireless drivers about other things.
fn link(header: &LinkHeader, attributes: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: header.index,
        name: String::new(),
        up: header.flags.contains(LinkFlags::Up),
        running: header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        loopback: header.flags.contains(LinkFlags::Loopback),
        kind: None,
        parent: None,
        master: None,
        mac: None,
    };
    let mut elsewhere = false;
    for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
        match attribute.kind() {
            LINKINFO => link.kind = kind(attribute.value()),
            LINK_NETNSID => elsewhere = true,
            ADDRESS | IFNAME | LINK | MASTER => {
                match LinkAttribute::parse_with_param(&attribute, header.interface_family) {
                    Ok(LinkAttribute::IfName(name)) => link.name = name,
                    Ok(LinkAttribute::Address(address)) => link.mac = address.try_into().ok(),
                    Ok(LinkAttribute::Link(parent)) => link.parent = index(parent),
                    Ok(LinkAttribute::Controller(master)) => link.master = index(master),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if elsewhere {
        link.parent = None;
    }
    (!link.name.is_empty()).then_some(link)
}

fn index(index: u32) -> Option<u32> {
    (index != 0).then_some(index)
}

/// The kind alone: decoding the rest of the link info with it would lose the kind whenever some
/// detail of it is not as expected.
fn kind(info: &[u8]) -> Option<String> {
    let is_kind = |nla: &NlaBuffer<&[u8]>| nla.kind() == INFO_KIND;
    let nla = NlasIterator::new(info).map_while(Result::ok).find(is_kind)?;
    InfoKind::parse(&nla).ok().map(|kind| kind.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn datagram(kind: u16, family: u8, index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let attributes = attributes.concat();
        let mut bytes = (16 + HEADER as u32 + attributes.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([family, 0, 1, 0]);
        bytes.extend(index.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(attributes);
        bytes
    }

    fn vlan() -> Vec<Vec<u8>> {
        vec![
            attribute(IFNAME, b"eth0.7\0"),
            attribute(ADDRESS, &[2, 0, 0, 0, 1, 7]),
            attribute(LINK, &3u32.to_ne_bytes()),
            attribute(MASTER, &9u32.to_ne_bytes()),
            attribute(LINKINFO | 0x8000, &attribute(INFO_KIND, b"vlan\0")),
        ]
    }

    fn changed(attributes: &[Vec<u8>]) -> Option<Link> {
        match events(&datagram(NEW, 0, 5, 0x1_1043, attributes)).next() {
            Some(Event::Changed(link)) => Some(link),
            _ => None,
        }
    }

    #[test]
    fn an_interface_is_read_with_all_its_fields() {
        let link = Link {
            index: 5,
            name: "eth0.7".into(),
            up: true,
            running: true,
            loopback: false,
            kind: Some("vlan".into()),
            parent: Some(3),
            master: Some(9),
            mac: Some([2, 0, 0, 0, 1, 7]),
        };
        assert_eq!(changed(&vlan()), Some(link));
    }

    #[test]
    fn a_parent_in_another_namespace_is_none() {
        let mut attributes = vlan();
        attributes.push(attribute(LINK_NETNSID, &1u32.to_ne_bytes()));
        assert_eq!(changed(&attributes).unwrap().parent, None);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_removed() {
        let bridge = libc::AF_BRIDGE as u8;
        assert_eq!(events(&datagram(DELETE, bridge, 5, 0, &vlan())).next(), None);
        assert_eq!(events(&datagram(DELETE, 0, 5, 0, &[])).next(), Some(Event::Removed(5)));
    }

    #[test]
    fn a_message_without_a_name_changes_nothing() {
        assert_eq!(changed(&vlan()[1..]), None);
        assert_eq!(changed(&[attribute(11, b"wireless")]), None);
    }

    #[test]
    fn an_attribute_that_can_not_be_read_costs_only_itself() {
        let mut attributes = vlan();
        attributes[1] = attribute(ADDRESS, &[2, 0, 0]);
        attributes[2] = attribute(LINK, &[3]);
        attributes[4] = attribute(LINKINFO, &attribute(INFO_KIND, &[0xff, 0xfe]));
        let link = changed(&attributes).unwrap();
        assert_eq!((link.mac, link.parent, link.kind), (None, None, None));
        assert_eq!((link.name.as_str(), link.master), ("eth0.7", Some(9)));
    }

    #[test]
    fn a_kind_is_read_though_its_data_can_not_be() {
        let mut info = attribute(INFO_KIND, b"vlan\0");
        info.extend(attribute(2, &attribute(1, b"not a number")));
        let link = changed(&[attribute(IFNAME, b"a\0"), attribute(LINKINFO, &info)]).unwrap();
        assert_eq!(link.kind.as_deref(), Some("vlan"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn random_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(events(&bytes).count() <= bytes.len() / 16);
        }

        #[test]
        fn a_cut_or_overwritten_message_is_read_or_left_out(
            cut in 0usize..200,
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
        ) {
            let mut bytes = datagram(NEW, 0, 5, 1, &vlan());
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut);
            prop_assert!(events(&bytes).count() <= 1 + bytes.len() / 16);
        }
    }
}
