//! Macvlan interfaces: an interface with a MAC address of its own on top of another one.
//!
//! Goes in: the parent, a name, a MAC address. Comes out: the index of an interface that is
//! switched off and has no addresses. Not here: switching it on; see [`crate::address::Batch`].
//!
//! The mode is VEPA. In private mode a frame to a group whose source is the MAC address of the
//! macvlan goes to the macvlan alone, and the parent never sees it: two nodes that both think they
//! own a virtual MAC address wouldn't hear each other's adverts. In VEPA mode the parent gets a
//! copy; otherwise the two are the same for an interface that talks to the outside only.

use super::{ADDRESS, DELETE, Event, IFNAME, INFO_KIND, LINK, LINKINFO, Link, NEW, header};
use crate::address::{self, Batch};
use crate::socket::{self, Socket};
use crate::wire::{self, Writer};

/// `RTM_GETLINK`.
const GET: u16 = 18;
/// `IFLA_AF_SPEC`, and in the link info `IFLA_INFO_DATA`.
const AF_SPEC: u16 = 26;
const INFO_DATA: u16 = 2;
/// `IFLA_MACVLAN_MODE`, and `MACVLAN_MODE_VEPA`.
const MODE: u16 = 1;
const MODE_VEPA: u32 = 2;
/// `IFLA_INET_CONF`; inside it `IPV4_DEVCONF_RP_FILTER` and `IPV4_DEVCONF_ARP_IGNORE`
/// (`linux/ip.h`).
const INET_CONF: u16 = 1;
const RP_FILTER: u16 = 8;
const ARP_IGNORE: u16 = 19;
/// `IFLA_INET6_ADDR_GEN_MODE`, and `IN6_ADDR_GEN_MODE_NONE`.
const INET6_ADDR_GEN_MODE: u16 = 8;
const GENERATE_NONE: u8 = 1;

/// What the driver calls this kind of interface.
const KIND: &str = "macvlan";
/// Bytes of an interface's name, without the closing zero.
const LONGEST_NAME: usize = 15;

/// Why an interface could not be made or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused, or the socket failed.
    #[error("cannot {attempt}: {source}")]
    Refused {
        /// What was attempted, on which interface.
        attempt: String,
        /// The cause.
        source: socket::Error,
    },
    /// There is an interface of this name that is something else.
    #[error("cannot make macvlan interface {name}: there is another interface of this name")]
    Taken {
        /// The name.
        name: String,
    },
    /// The name is empty, longer than 15 bytes, or has a zero, a slash or a space in it.
    #[error("cannot make macvlan interface '{name}': not a name for an interface")]
    Name {
        /// The name.
        name: String,
    },
}

/// Makes a macvlan interface, or takes one with the same name, kind, parent and MAC address that
/// is already there, and returns its index. It is switched off and has no addresses, makes none
/// for itself, and has `rp_filter` 2 and `arp_ignore` 1.
///
/// # Errors
/// See [`Error`].
pub fn create_macvlan(
    socket: &mut Socket,
    parent: u32,
    name: &str,
    mac: [u8; 6],
) -> Result<u32, Error> {
    let long = name.is_empty() || name.len() > LONGEST_NAME || name == "." || name == "..";
    if long || name.bytes().any(|b| b == 0 || b == b'/' || b == b':' || b.is_ascii_whitespace()) {
        return Err(Error::Name { name: name.into() });
    }
    let index = match find(socket, name)? {
        Some(link) if is_same(&link, parent, mac) => {
            clear(socket, &link)?;
            link.index
        }
        Some(_) => return Err(Error::Taken { name: name.into() }),
        None => {
            make(socket, parent, name, mac)?;
            // The kernel doesn't say which index it gave.
            let made = find(socket, name)?.filter(|link| is_same(link, parent, mac));
            made.ok_or_else(|| Error::Taken { name: name.into() })?.index
        }
    };
    match configure(socket, index, name) {
        Ok(()) => Ok(index),
        Err(error) => {
            // Half set up it would answer for addresses of its neighbours.
            let _ = delete(socket, index);
            Err(error)
        }
    }
}

/// Deletes the interface with this index. Succeeds when there is none.
///
/// # Errors
/// See [`Error`].
pub fn delete(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let request =
        |w: &mut Writer, seq| w.message_with(DELETE, wire::F_ACK, seq, &header(index, 0, 0));
    match ask(socket, request) {
        Err(error) if error.errno() != Some(libc::ENODEV) => {
            Err(Error::Refused { attempt: format!("delete interface {index}"), source: error })
        }
        _ => Ok(()),
    }
}

fn make(socket: &mut Socket, parent: u32, name: &str, mac: [u8; 6]) -> Result<(), Error> {
    ask(socket, |w, seq| {
        let flags = wire::F_ACK | wire::F_CREATE | wire::F_EXCL;
        w.message_with(NEW, flags, seq, &header(0, 0, 0));
        w.string(IFNAME, name);
        w.bytes(LINK, &parent.to_ne_bytes());
        w.bytes(ADDRESS, &mac);
        w.nest(LINKINFO, |w| {
            w.string(INFO_KIND, KIND);
            w.nest(INFO_DATA, |w| w.bytes(MODE, &MODE_VEPA.to_ne_bytes()));
        });
    })
    .map_err(|source| {
        let attempt = format!("make macvlan interface {name} on interface {parent}");
        Error::Refused { attempt, source }
    })
}

/// The mode, and what the kernel ignores while an interface is being made: settings of the address
/// families. Each by itself, since IPv6 can be switched off.
fn configure(socket: &mut Socket, index: u32, name: &str) -> Result<(), Error> {
    let refused = |what: &str, source| {
        let attempt = format!("set {what} of macvlan interface {name}");
        Error::Refused { attempt, source }
    };
    ask(socket, |w, seq| {
        w.message_with(NEW, wire::F_ACK, seq, &header(index, 0, 0));
        w.nest(LINKINFO, |w| {
            w.string(INFO_KIND, KIND);
            w.nest(INFO_DATA, |w| w.bytes(MODE, &MODE_VEPA.to_ne_bytes()));
        });
        w.nest(AF_SPEC, |w| {
            w.nest(libc::AF_INET as u16, |w| {
                w.nest(INET_CONF, |w| {
                    w.bytes(RP_FILTER, &2u32.to_ne_bytes());
                    w.bytes(ARP_IGNORE, &1u32.to_ne_bytes());
                });
            });
        });
    })
    .map_err(|source| refused("mode, rp_filter and arp_ignore", source))?;
    let outcome = ask(socket, |w, seq| {
        w.message_with(NEW, wire::F_ACK, seq, &header(index, 0, 0));
        w.nest(AF_SPEC, |w| {
            w.nest(libc::AF_INET6 as u16, |w| w.byte(INET6_ADDR_GEN_MODE, GENERATE_NONE));
        });
    });
    match outcome {
        Err(error) if !matches!(error.errno(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
            Err(refused("IPv6 address generation", error))
        }
        _ => Ok(()),
    }
}

/// Switches an interface off and removes its addresses.
fn clear(socket: &mut Socket, link: &Link) -> Result<(), Error> {
    let refused = |source| {
        let attempt = format!("list the addresses of macvlan interface {}", link.name);
        Error::Refused { attempt, source }
    };
    let mut batch = Batch::new();
    batch.link_down(link.index);
    let addresses = address::list().map_err(refused)?;
    for found in addresses.iter().filter(|found| found.interface == link.index) {
        batch.remove(link.index, found.address, found.prefix_length);
    }
    let failed = batch.commit(socket).err().unwrap_or_default();
    failed.into_iter().next().map_or(Ok(()), |error| {
        Err(Error::Refused { attempt: error.step.to_string(), source: error.source })
    })
}

fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut found = None;
    let seq = socket.next_seq();
    let mut writer = Writer::default();
    writer.message_with(GET, wire::F_ACK, seq, &header(0, 0, 0));
    writer.string(IFNAME, name);
    let outcome = socket.request(writer.finished().unwrap_or_default(), seq, |message| {
        if let Some(Event::Changed(link)) = super::event(message) {
            found = Some(link);
        }
    });
    match outcome {
        Ok(()) => Ok(found),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        Err(source) => {
            Err(Error::Refused { attempt: format!("look for interface {name}"), source })
        }
    }
}

fn is_same(link: &Link, parent: u32, mac: [u8; 6]) -> bool {
    link.kind.as_deref() == Some(KIND) && link.parent == Some(parent) && link.mac == Some(mac)
}

fn ask(socket: &mut Socket, write: impl FnOnce(&mut Writer, u32)) -> Result<(), socket::Error> {
    let seq = socket.next_seq();
    let mut writer = Writer::default();
    write(&mut writer, seq);
    socket.request(writer.finished().ok_or(socket::Error::TooLong)?, seq, |_| {})
}
