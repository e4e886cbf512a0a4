//! Which interfaces and addresses there are now.
//!
//! Goes in: news of the kernel. Comes out: answers about interfaces by name, and the address that
//! adverts of an interface come from. Not here: changing anything.

use super::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use twinwall_netlink::address::{self, Address};
use twinwall_netlink::link::{self, Link};
use twinwall_netlink::socket;
use twinwall_vrrp::types::Family;

/// `RT_SCOPE_UNIVERSE` of `linux/rtnetlink.h`.
const GLOBAL: u8 = 0;

/// The interfaces and addresses of this network namespace, and the sockets that tell of changes.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// News of interfaces.
    pub(super) links: link::Watcher,
    /// News of addresses.
    pub(super) addresses: address::Watcher,
    by_index: BTreeMap<u32, Link>,
    present: Vec<Address>,
}

impl Surroundings {
    /// Begins to listen, and looks.
    ///
    /// # Errors
    /// When no netlink socket can be had or the kernel doesn't answer.
    pub(super) fn open() -> Result<Self, Error> {
        let io = |source| Error::Io { attempt: "watch interfaces and addresses", source };
        let mut surroundings = Self {
            links: link::Watcher::open().map_err(io)?,
            addresses: address::Watcher::open().map_err(io)?,
            by_index: BTreeMap::new(),
            present: Vec::new(),
        };
        surroundings
            .look()
            .map_err(|source| Error::Kernel { attempt: "list interfaces and addresses", source })?;
        Ok(surroundings)
    }

    fn look(&mut self) -> Result<(), socket::Error> {
        self.by_index = link::list()?.into_iter().map(|link| (link.index, link)).collect();
        self.present = address::list()?;
        Ok(())
    }

    /// Takes in what has happened; whether anything has.
    pub(super) fn catch_up(&mut self) -> bool {
        match self.read() {
            Ok(news) => news,
            Err(error) => {
                // Also when news were lost: the lists have everything.
                tracing::debug!(%error, "news of interfaces and addresses were lost");
                self.look_anew();
                true
            }
        }
    }

    /// Looks at everything, whatever the news have been.
    pub(super) fn look_anew(&mut self) {
        if let Err(error) = self.look() {
            tracing::warn!(%error, "cannot list interfaces and addresses");
        }
    }

    fn read(&mut self) -> Result<bool, socket::Error> {
        let mut news = false;
        loop {
            let links = self.links.read_events()?;
            let addresses = self.addresses.read_events()?;
            if links.is_empty() && addresses.is_empty() {
                return Ok(news);
            }
            news = true;
            for event in links {
                match event {
                    link::Event::Changed(link) => drop(self.by_index.insert(link.index, link)),
                    link::Event::Removed(index) => {
                        self.by_index.remove(&index);
                        self.present.retain(|address| address.interface != index);
                    }
                }
            }
            for event in addresses {
                let (address, added) = match event {
                    address::Event::Added(address) => (address, true),
                    address::Event::Removed(address) => (address, false),
                };
                let same = |other: &Address| {
                    (other.interface, other.address, other.prefix_length)
                        == (address.interface, address.address, address.prefix_length)
                };
                match self.present.iter_mut().find(|other| same(other)) {
                    Some(known) if added => *known = address,
                    Some(_) => self.present.retain(|other| !same(other)),
                    None if added => self.present.push(address),
                    None => {}
                }
            }
        }
    }

    /// The interface of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Link> {
        self.by_index.values().find(|link| link.name == name)
    }

    /// The interface of this index.
    pub(super) fn link(&self, index: u32) -> Option<&Link> {
        self.by_index.get(&index)
    }

    /// Whether an interface has an address.
    pub(super) fn has(&self, interface: u32, address: IpAddr) -> bool {
        self.present.iter().any(|known| (known.interface, known.address) == (interface, address))
    }

    /// The address that adverts of an interface come from: the primary IPv4 address, or a
    /// link-local IPv6 address, and no virtual one (RFC 9568 section 5.1). `before` stays as long as
    /// it is there.
    pub(super) fn primary(
        &self,
        interface: u32,
        family: Family,
        virtual_addresses: &BTreeSet<IpAddr>,
        before: Option<IpAddr>,
    ) -> Option<IpAddr> {
        let fits = |known: &&Address| {
            known.interface == interface
                && !virtual_addresses.contains(&known.address)
                && match (family, known.address) {
                    (Family::V4, IpAddr::V4(_)) => known.scope == GLOBAL && !known.flags.secondary,
                    (Family::V6, IpAddr::V6(address)) => {
                        address.is_unicast_link_local()
                            && !known.flags.tentative
                            && !known.flags.duplicate
                    }
                    _ => false,
                }
        };
        let candidates = || self.present.iter().filter(fits).map(|known| known.address);
        match family {
            _ if before.is_some_and(|before| candidates().any(|known| known == before)) => before,
            Family::V4 => candidates().next(),
            // The kernel lists the newest first; the lowest doesn't depend on that.
            Family::V6 => candidates().min(),
        }
    }
}
