//! Adverts that are wrong in one way each: counted by kind, shown, said once, and of no effect.

use crate::bed::Bed;
use std::fmt::Write;
use std::fs;
use twinwall_control::vrrp::Counted;
use twinwall_testbed::Vrrp;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::traffic::report::Inject;

/// An advert of a host that is no gateway, to be made wrong.
#[derive(Clone)]
pub(crate) struct Advert {
    pub(crate) ttl: u8,
    pub(crate) first: u8,
    pub(crate) vrid: u8,
    pub(crate) count: u8,
    pub(crate) interval: u16,
    pub(crate) addresses: Vec<[u8; 4]>,
    pub(crate) checksum_off_by: u16,
}

impl Default for Advert {
    fn default() -> Self {
        Self {
            ttl: 255,
            first: 0x31,
            vrid: 10,
            count: 1,
            interval: 10,
            addresses: vec![[10, 0, 0, 1]],
            checksum_off_by: 0,
        }
    }
}

impl Advert {
    /// The packet from its IP header on, from `client` and with the lowest priority. The kernel
    /// fills in the header's checksum.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        const PRIORITY: u8 = 1;
        let [high, low] = self.interval.to_be_bytes();
        let mut message = vec![self.first, self.vrid, PRIORITY, self.count, high, low, 0, 0];
        message.extend(self.addresses.as_flattened());
        let sum = sum(&message).wrapping_add(self.checksum_off_by).to_be_bytes();
        message[6..8].copy_from_slice(&sum);
        let length = u16::try_from(20 + message.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0xc0, length[0], length[1], 0, 0, 0, 0, self.ttl, 112, 0, 0];
        packet.extend([10, 0, 0, 5, 224, 0, 0, 18]);
        packet.extend(message);
        packet
    }
}

/// The Internet checksum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// Sends packets from `client`, the whole list so many times.
pub(crate) fn inject(bed: &Bed, packets: &[Vec<u8>], times: u32) -> Inject {
    let mut lines = String::new();
    for packet in packets {
        packet.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        lines.push('\n');
    }
    let client = bed.testbed().node("client").unwrap();
    let command = client.traffic(["inject", "--times", &times.to_string()]).unwrap();
    command.input(lines).json().unwrap()
}

/// How often something was counted on the LAN, or said of its router: 0 if it never was.
fn counted(bed: &Bed, side: Side, kind: &str) -> u64 {
    let status = bed.said(side);
    let of = |list: &[Counted]| -> u64 {
        list.iter().filter(|row| row.kind == kind).map(|row| row.count).sum()
    };
    let discarded = status.discarded.iter().map(|row| of(&row.reasons)).sum::<u64>();
    let routers = status.groups.iter().flat_map(|group| &group.routers);
    discarded + routers.map(|router| of(&router.warnings)).sum::<u64>()
}

#[test]
fn each_kind_of_odd_advert_is_counted_by_its_name_and_changes_nothing() {
    let Some(mut bed) = Bed::build("odd adverts", Default::default(), Vrrp::default()) else {
        return;
    };
    // Adverts that may not have come from this link pass only where the policy lets them.
    let policy = bed.testbed().record().policy.clone();
    let more = "  - { seq: 60, name: vrrp, from: lan, to: self, service: vrrp, action: accept }\n";
    let text = fs::read_to_string(&policy).unwrap() + more;
    fs::write(&policy, text.replace("services:\n", "services:\n  vrrp: { protocol: 112 }\n"))
        .unwrap();
    bed.start(Side::A).unwrap();
    bed.start(Side::B).unwrap();
    bed.wait_active(Side::A).unwrap();
    let good = Advert::default();
    let odd = [
        ("version-2", Advert { first: 0x21, ..good.clone() }),
        ("type", Advert { first: 0x32, ..good.clone() }),
        ("hop-limit", Advert { ttl: 254, ..good.clone() }),
        ("checksum", Advert { checksum_off_by: 1, ..good.clone() }),
        ("vrid", Advert { vrid: 99, ..good.clone() }),
        ("no-address", Advert { count: 0, addresses: vec![], ..good.clone() }),
        ("interval-zero", Advert { interval: 0, ..good.clone() }),
        ("truncated", Advert { count: 2, ..good.clone() }),
        ("interval", Advert { interval: 100, ..good.clone() }),
        ("addresses", Advert { addresses: vec![[10, 0, 0, 77]], ..good }),
    ];
    let before = [Side::A, Side::B].map(|side| bed.takeovers(side));
    for (kind, advert) in odd {
        let earlier = counted(&bed, Side::A, kind);
        let sent = inject(&bed, &[advert.bytes()], 3);
        assert_eq!(sent.sent, 3, "{sent:?}");
        bed.wait(&format!("three more of kind {kind}"), || {
            (counted(&bed, Side::A, kind) >= earlier + 3).then_some(())
        });
    }
    let said = bed.gateway(Side::A).unwrap().twinwall(&["vrrp", "status"]).unwrap();
    let said = said.success().unwrap().stdout;
    for kind in ["version-2", "hop-limit", "checksum", "vrid"] {
        assert!(said.contains(kind), "{kind} is shown: {said}");
    }
    assert_eq!(bed.state(Side::A), "active");
    assert_eq!(bed.state(Side::B), "backup");
    assert_eq!([Side::A, Side::B].map(|side| bed.takeovers(side)), before);
}

#[test]
fn a_thousand_odd_adverts_are_said_once() {
    let Some(bed) = Bed::up("said once", Vrrp::default()) else { return };
    let before = bed.log(Side::A).lines().count();
    let packet = Advert { first: 0x21, ..Advert::default() }.bytes();
    for _ in 0..10 {
        inject(&bed, std::slice::from_ref(&packet), 100);
    }
    bed.wait("they are counted", || (counted(&bed, Side::A, "version-2") > 0).then_some(()));
    bed.wait_adverts(Side::B, 5);
    let lines: Vec<_> = bed.log(Side::A).lines().skip(before).map(str::to_owned).collect();
    assert!(lines.len() <= 3, "{lines:#?}");
}
