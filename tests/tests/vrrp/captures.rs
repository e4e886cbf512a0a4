//! Adverts on the wire, as tshark reads them: nothing to object to.

use crate::bed::Bed;
use std::path::Path;
use twinwall_testbed::scenario::pair::Side;
use twinwall_testbed::testing::need;
use twinwall_testbed::vrrp::Checksum;
use twinwall_testbed::{Process, Signal, Vrrp, host};

/// What is said of an advert, one column each.
const FIELDS: [&str; 10] = [
    "eth.src",
    "eth.dst",
    "ip.ttl",
    "ipv6.hlim",
    "vrrp.version",
    "vrrp.virt_rtr_id",
    "vrrp.prio",
    "vrrp.checksum.status",
    "_ws.expert.message",
    "_ws.malformed",
];

/// The virtual router's MAC of each family (RFC 9568, section 7.3).
const VIRTUAL_MACS: [(&str, &str); 2] =
    [("ip", "00:00:5e:00:01:0a"), ("ipv6", "00:00:5e:00:02:0a")];

/// Captures VRRP at the port of `gw-a` on the LAN.
fn capture(bed: &Bed, file: &Path) -> Process {
    let command = bed.testbed().node("switch").unwrap().command("tcpdump").unwrap();
    let filter = ["-Q", "in", "ip proto 112 or ip6 proto 112"];
    let command = command.args(["-i", "gw-a-lan", "-Z", "root", "--immediate-mode", "-U", "-w"]);
    let command = command.arg(file).args(filter);
    let mut process = command.spawn().unwrap();
    process.wait_for("listening on", crate::bed::SOON).unwrap();
    process
}

/// The adverts of a capture as tshark reads them, field by field; nothing of a file whose end has
/// not been written yet.
fn read(bed: &Bed, file: &Path, checksum: Checksum) -> Option<Vec<Vec<String>>> {
    let as_in_v2 = checksum == Checksum::Standard;
    let command = bed.testbed().node("switch").unwrap().command("tshark").unwrap();
    let mut command = command.arg("-r").arg(file).args(["-Y", "vrrp", "-T", "fields", "-E"]);
    command = command.args(["separator=|", "-o"]);
    command =
        command.arg(format!("vrrp.v3_checksum_as_in_v2:{}", as_in_v2.to_string().to_uppercase()));
    for field in FIELDS {
        command = command.args(["-e", field]);
    }
    let text = command.env("HOME", "/nonexistent").run().ok()?;
    Some(text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

/// Adverts sent by this virtual router's MAC.
fn of<'a>(adverts: &'a [Vec<String>], mac: &str) -> Vec<&'a Vec<String>> {
    adverts.iter().filter(|fields| fields[0] == mac).collect()
}

/// Enough were captured, up to the one by which a node resigns.
fn is_whole(adverts: &[Vec<String>]) -> bool {
    VIRTUAL_MACS.iter().all(|(_, mac)| {
        let of = of(adverts, mac);
        of.len() >= 10 && of.iter().any(|fields| fields[6] == "0")
    })
}

fn assert_decodes(checksum: Checksum) {
    let tools = [("tcpdump", "tcpdump"), ("tshark", "tshark")];
    for (tool, package) in tools {
        if need("a capture", host::require(tool, package)).is_none() {
            return;
        }
    }
    let vrrp = Vrrp { checksum, ..Vrrp::default() };
    let Some(mut bed) = Bed::up("a capture", vrrp) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adverts.pcap");
    let mut capturing = capture(&bed, &file);
    bed.wait_adverts(Side::B, 10);
    bed.stop(Side::A).unwrap();
    bed.wait_active(Side::B).unwrap();
    // What tcpdump hasn't read when it is told to end is not captured.
    let adverts = bed.wait("all adverts are captured", || {
        read(&bed, &file, checksum).filter(|adverts| is_whole(adverts))
    });
    capturing.signal(Signal::TERM).unwrap();
    capturing.finish().unwrap().success().unwrap();
    for (family, mac) in VIRTUAL_MACS {
        let of = of(&adverts, mac);
        for fields in &of {
            let hops = if family == "ip" { &fields[2] } else { &fields[3] };
            assert_eq!(hops, "255", "{fields:?}");
            assert_eq!(fields[4..6], ["3", "10"], "{fields:?}");
            assert_eq!(fields[7], "1", "the checksum is good: {fields:?}");
            assert_eq!(fields[8..], ["", ""], "nothing to object to: {fields:?}");
        }
        assert!(of.iter().any(|fields| fields[6] == "150"), "{of:?}");
    }
    let multicast = |fields: &Vec<String>| {
        ["01:00:5e:00:00:12", "33:33:00:00:00:12"].contains(&fields[1].as_str())
    };
    assert!(adverts.iter().all(multicast), "{adverts:?}");
}

#[test]
fn tshark_has_nothing_to_object_to() {
    assert_decodes(Checksum::Standard);
}

#[test]
fn tshark_has_nothing_to_object_to_with_a_pseudo_header() {
    assert_decodes(Checksum::PseudoHeader);
}
