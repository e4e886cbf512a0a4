//! How the gateways of a pair elect the active one: one description, written down for `twinwalld`
//! and for keepalived, so that either can take the other's place.
//!
//! In: [`Vrrp`]. Out: configuration text, and the addresses that move. Not here: who is started
//! with it ([`crate::gateway`], [`crate::keepalived`]).

use crate::topology::Segment;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Which MAC address a virtual address has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mac {
    /// The virtual router's, on both gateways.
    #[default]
    Virtual,
    /// That of the active gateway's interface.
    Interface,
}

/// How IPv4 adverts are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// As RFC 9568 has it.
    #[default]
    Standard,
    /// With a pseudo-header, the only way that keepalived 2.2.7 knows.
    PseudoHeader,
}

/// An address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// IPv4.
    #[default]
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
}

/// What both gateways of a pair are told. `gw-a` has the higher priority.
#[derive(Clone, Debug)]
pub struct Vrrp {
    /// Time between two adverts, 10 ms to 40.95 s.
    pub interval: Duration,
    /// Which MAC address the virtual addresses have.
    pub mac: Mac,
    /// Whether the higher priority takes the addresses back.
    pub preempt: bool,
    /// How long it waits before it does.
    pub preempt_delay: Duration,
    /// Whether the active gateway takes packets to the virtual addresses.
    pub accept: bool,
    /// How IPv4 adverts of `twinwalld` are summed.
    pub checksum: Checksum,
    /// The segments that have a virtual router.
    pub segments: Vec<Segment>,
    /// The families that each of these has one for.
    pub families: Vec<Family>,
    /// Priorities of `gw-a` and `gw-b`.
    pub priorities: [u8; 2],
    /// Whether there is a second group with addresses of its own, for which the priorities are the
    /// other way round. Only for `twinwalld`, in a testbed with [`Gateways::TwoActive`].
    ///
    /// [`Gateways::TwoActive`]: crate::topology::Gateways::TwoActive
    pub active_active: bool,
    /// Lines for the group in the configuration of `twinwalld`, indented by six spaces.
    pub group_lines: String,
    /// Lines for each router in the configuration of `twinwalld`, indented by ten spaces.
    pub router_lines: String,
    /// Lines for the group in the configuration of keepalived, indented by two spaces.
    pub keepalived_lines: String,
}

impl Default for Vrrp {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            mac: Mac::default(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            accept: true,
            checksum: Checksum::default(),
            segments: Segment::BRIDGED.to_vec(),
            families: vec![Family::V4, Family::V6],
            priorities: [150, 100],
            active_active: false,
            group_lines: String::new(),
            router_lines: String::new(),
            keepalived_lines: String::new(),
        }
    }
}

/// A virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its name: the segment and the family's number, as in `lan4`.
    pub name: String,
    /// Where it is.
    pub segment: Segment,
    /// Which family its addresses have.
    pub family: Family,
    /// The group that it belongs to: 0, or 1 for the second.
    pub group: usize,
    /// Its number: 10 on the LAN, 20 on the DMZ, 30 on the WAN; one more in the second group.
    pub vrid: u8,
    /// What it holds.
    pub addresses: Vec<IpAddr>,
}

impl Router {
    /// The MAC address that RFC 9568 (section 7.3) gives it.
    #[must_use]
    pub fn mac(&self) -> String {
        let family = match self.family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        format!("00:00:5e:00:{family:02x}:{:02x}", self.vrid)
    }
}

impl Vrrp {
    /// The virtual routers.
    #[must_use]
    pub fn routers(&self) -> Vec<Router> {
        let groups = 0..1 + usize::from(self.active_active);
        let families = |group: usize, segment: Segment| {
            self.families.iter().map(move |&family| router(group, segment, family))
        };
        let segments = |group| self.segments.iter().flat_map(move |&s| families(group, s));
        groups.flat_map(segments).collect()
    }

    /// The names of the groups.
    #[must_use]
    pub const fn groups(&self) -> &'static [&'static str] {
        if self.active_active { &["first", "second"] } else { &["pair"] }
    }

    /// Every address that moves.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.routers().into_iter().flat_map(|router| router.addresses).collect()
    }

    /// The addresses of a group.
    #[must_use]
    pub fn addresses_of(&self, group: usize) -> Vec<IpAddr> {
        let routers = self.routers().into_iter().filter(|router| router.group == group);
        routers.flat_map(|router| router.addresses).collect()
    }

    /// How long a backup of this priority waits for an advert: three intervals and the skew time
    /// (RFC 9568, section 6.1).
    #[must_use]
    pub fn down_interval(&self, priority: u8) -> Duration {
        self.interval * 3 + self.interval * (256 - u32::from(priority)) / 256
    }

    /// The priority of a gateway.
    #[must_use]
    pub fn priority(&self, gateway: &str) -> u8 {
        let [a, b] = self.priorities;
        if gateway == "gw-a" { a } else { b }
    }

    /// The configuration of `twinwalld` on this gateway.
    #[must_use]
    pub fn twinwalld(&self, gateway: &str) -> String {
        let mut text = String::from("vrrp:\n  groups:\n");
        for (group, name) in self.groups().iter().enumerate() {
            self.group(&mut text, gateway, group, name);
        }
        text
    }

    fn group(&self, text: &mut String, gateway: &str, group: usize, name: &str) {
        let mut line = |words: String| {
            // Writing to a String never fails.
            let _ = writeln!(text, "{words}");
        };
        line(format!("    - name: {name}"));
        let other = if gateway == "gw-a" { "gw-b" } else { "gw-a" };
        let priority = self.priority(if group == 0 { gateway } else { other });
        line(format!("      priority: {priority}"));
        line(format!("      preempt: {}", self.preempt));
        line(format!("      preempt-delay: {}ms", self.preempt_delay.as_millis()));
        if !self.group_lines.is_empty() {
            line(self.group_lines.trim_end().to_owned());
        }
        line("      routers:".to_owned());
        let interval = self.interval.as_millis();
        for router in self.routers().into_iter().filter(|router| router.group == group) {
            let addresses: Vec<_> = router.addresses.iter().map(|a| format!("\"{a}\"")).collect();
            line(format!("        - name: {}", router.name));
            line(format!("          interface: {}", router.segment.gateway_interface()));
            line(format!("          vrid: {}", router.vrid));
            line(format!("          addresses: [{}]", addresses.join(", ")));
            line(format!("          interval: {interval}ms"));
            line(format!("          accept: {}", self.accept));
            if self.mac == Mac::Interface {
                line("          mac: interface".to_owned());
            }
            if self.checksum == Checksum::PseudoHeader && router.family == Family::V4 {
                line("          checksum: pseudo-header".to_owned());
            }
            if !self.router_lines.is_empty() {
                line(self.router_lines.trim_end().to_owned());
            }
        }
    }

    /// The same for keepalived, with the real-time priority that its manual advises for short
    /// intervals.
    #[must_use]
    pub fn keepalived(&self, gateway: &str) -> String {
        let mut text = format!(
            "global_defs {{\n  router_id {gateway}\n  vrrp_version 3\n  vrrp_rt_priority 50\n  \
             script_user root\n}}\n"
        );
        let mut line = |words: String| {
            // Writing to a String never fails.
            let _ = writeln!(text, "{words}");
        };
        let routers = self.routers();
        line("vrrp_sync_group pair {\n  group {".to_owned());
        for router in &routers {
            line(format!("    {}", router.name));
        }
        line(format!("  }}\n{}}}", self.keepalived_lines));
        for router in &routers {
            line(format!("vrrp_instance {} {{", router.name));
            line(format!("  interface {}", router.segment.gateway_interface()));
            line("  state BACKUP".to_owned());
            line(format!("  virtual_router_id {}", router.vrid));
            line(format!("  priority {}", self.priority(gateway)));
            line(format!("  advert_int {}", self.interval.as_secs_f64()));
            if self.mac == Mac::Virtual {
                let family = if router.family == Family::V4 { 4 } else { 6 };
                line(format!("  use_vmac v{family}-{}", router.vrid));
            }
            if !self.preempt {
                line("  nopreempt".to_owned());
            }
            if !self.preempt_delay.is_zero() {
                line(format!("  preempt_delay {}", self.preempt_delay.as_secs_f64()));
            }
            line(format!("  {}", if self.accept { "accept" } else { "no_accept" }));
            line("  virtual_ipaddress {".to_owned());
            for address in &router.addresses {
                let length = if address.is_ipv4() { 32 } else { 128 };
                line(format!("    {address}/{length}"));
            }
            line("  }\n}".to_owned());
        }
        text
    }
}

fn router(group: usize, segment: Segment, family: Family) -> Router {
    let (number, vrid) = (if family == Family::V4 { 4 } else { 6 }, 10 + group as u8);
    Router {
        name: format!("{}{number}{}", segment.name(), if group == 0 { "" } else { "-second" }),
        segment,
        family,
        group,
        vrid: match segment {
            Segment::Lan => vrid,
            Segment::Dmz => vrid + 10,
            Segment::Wan => vrid + 20,
            Segment::Sync => vrid + 89,
        },
        addresses: match (group, family) {
            (0, Family::V4) => segment.virtual_v4(),
            (0, Family::V6) => segment.virtual_v6(),
            (_, Family::V4) => segment.second_v4(),
            (_, Family::V6) => segment.second_v6(),
        },
    }
}

/// The section of `twinwalld`'s configuration by which the gateways of a pair replicate sessions
/// over the link between them.
#[must_use]
pub fn sync_section(gateway: &str, key: &Path) -> String {
    let [a, b] = [1, 2].map(|host| Segment::Sync.address(host));
    let (local, peer) = if gateway == "gw-a" { (a, b) } else { (b, a) };
    format!("sync:\n  local: {local}\n  peer: {peer}\n  key-file: {}\n", key.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leg_has_a_router_in_each_family() {
        let routers = Vrrp::default().routers();
        let names: Vec<_> = routers.iter().map(|router| router.name.as_str()).collect();
        assert_eq!(names, ["wan4", "wan6", "lan4", "lan6", "dmz4", "dmz6"]);
        assert_eq!(routers[3].mac(), "00:00:5e:00:02:0a");
        assert_eq!(routers[3].addresses[0].to_string(), "fe80::1:10");
    }

    #[test]
    fn the_down_interval_is_the_one_of_the_rfc() {
        let vrrp = Vrrp { interval: Duration::from_millis(10), ..Vrrp::default() };
        assert_eq!(vrrp.down_interval(100), Duration::from_nanos(36_093_750));
        assert_eq!(vrrp.down_interval(254), Duration::from_nanos(30_078_125));
    }

    #[test]
    fn both_configurations_name_every_address() {
        let vrrp = Vrrp { mac: Mac::Interface, preempt: false, ..Vrrp::default() };
        let (ours, theirs) = (vrrp.twinwalld("gw-a"), vrrp.keepalived("gw-b"));
        for address in vrrp.addresses() {
            assert!(ours.contains(&format!("\"{address}\"")), "{ours}");
            assert!(theirs.contains(&format!("    {address}/")), "{theirs}");
        }
        assert!(ours.contains("priority: 150") && theirs.contains("priority 100"));
        assert!(ours.contains("preempt: false") && theirs.contains("nopreempt"));
        assert!(ours.contains("mac: interface") && !theirs.contains("use_vmac"));
    }
}
