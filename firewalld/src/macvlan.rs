//! Telling virtual routers' macvlan interfaces from others: by their Ethernet address, which the
//! RFC reserves for them.

use twinwall_netlink::gate::MACVLANS;
use twinwall_netlink::link::Link;
use twinwall_policy::interfaces::InterfaceZones;
use twinwall_policy::zone::ZoneId;

/// Whether an interface is the macvlan of a virtual router (RFC 9568 section 7.3), whoever made it.
#[must_use]
pub(crate) fn is_virtual_router(link: &Link) -> bool {
    let ours = |mac: [u8; 6]| matches!(mac, [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]);
    link.kind.as_deref() == Some("macvlan") && link.mac.is_some_and(ours)
}

/// Whether it is one that this daemon makes.
#[must_use]
pub(crate) fn is_ours(link: &Link) -> bool {
    is_virtual_router(link) && MACVLANS.iter().any(|prefix| link.name.starts_with(prefix))
}

/// The zone of an interface: for the macvlan of a virtual router that of the interface below,
/// unless the policy lists the macvlan by its name.
#[must_use]
pub(crate) fn zone(link: &Link, links: &[Link], zones: &InterfaceZones) -> ZoneId {
    inherited(link, links, zones).unwrap_or_else(|| zones.zone(&link.name))
}

/// The zone that the macvlan of a virtual router has from the interface below.
#[must_use]
pub(crate) fn inherited(link: &Link, links: &[Link], zones: &InterfaceZones) -> Option<ZoneId> {
    let below = link.parent.filter(|_| is_virtual_router(link))?;
    let below = links.iter().find(|other| other.index == below)?;
    zones.named(&link.name).is_none().then(|| zones.zone(&below.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinwall_policy::ruleset::Zone;

    fn link(index: u32, name: &str, below: Option<(u32, [u8; 6])>) -> Link {
        Link {
            index,
            name: name.into(),
            up: true,
            running: true,
            loopback: false,
            kind: below.map(|_| "macvlan".into()),
            parent: below.map(|(parent, _)| parent),
            master: None,
            mac: below.map(|(_, mac)| mac),
        }
    }

    fn zones(named: &[(&str, &str)]) -> InterfaceZones {
        let zone = |(name, interface): &(&str, &str)| Zone {
            name: (*name).into(),
            interfaces: [(*interface).into()].into(),
        };
        let builtin = ["", ""].map(|name| Zone { name: name.into(), interfaces: [].into() });
        let all: Vec<Zone> = builtin.into_iter().chain(named.iter().map(zone)).collect();
        InterfaceZones::new(&all)
    }

    #[test]
    fn a_virtual_router_is_in_the_zone_of_the_interface_below() {
        let vrrp = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a];
        let links = [
            link(2, "eth1", None),
            link(7, "tw4-10-2", Some((2, vrrp))),
            link(8, "mac0", Some((2, [2, 0, 0, 0, 0, 1]))),
        ];
        let of = |zones: &InterfaceZones, at: usize| zone(&links[at], &links, zones);
        let plain = zones(&[("lan", "eth1"), ("rest", "*")]);
        assert_eq!(of(&plain, 1), of(&plain, 0));
        assert_ne!(of(&plain, 2), of(&plain, 0), "another macvlan is an interface of its own");
        let listed = zones(&[("lan", "eth1"), ("own", "tw4-10-2")]);
        assert_ne!(of(&listed, 1), of(&listed, 0));
    }
}
