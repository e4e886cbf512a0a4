//! Virtual routers.

use super::words::{grouped, printable, span};
use std::fmt::Write;
use std::time::Duration;
use twinwall_control::vrrp::{Counted, Group, HandOver, Router, Status};

/// Every group with its virtual routers, and what was discarded.
#[must_use]
pub fn vrrp(status: &Status) -> String {
    if status.groups.is_empty() {
        return "no virtual router is configured\n".to_owned();
    }
    let mut text = String::new();
    for group_ in &status.groups {
        group(&mut text, group_);
    }
    for discarded in &status.discarded {
        let place = discarded.interface.as_deref().unwrap_or("other interfaces");
        // Writing to a string can't fail.
        let _ = writeln!(text, "discarded on {}: {}", printable(place), counts(&discarded.reasons));
    }
    if status.not_looked_at > 0 {
        let _ = writeln!(text, "not looked at: {}", grouped(status.not_looked_at));
    }
    text
}

/// What became of each group.
#[must_use]
pub fn handover(report: &HandOver) -> String {
    let line = |group: &twinwall_control::vrrp::HandedOver| {
        format!("{}: {}\n", printable(&group.group), printable(&group.text))
    };
    report.groups.iter().map(line).collect()
}

fn group(text: &mut String, group: &Group) {
    let Group { priority, base_priority, .. } = group;
    let lowered =
        if priority == base_priority { String::new() } else { format!(" (of {base_priority})") };
    let (name, state) = (printable(&group.name), printable(&group.state));
    let _ = writeln!(text, "group {name}: {state}, priority {priority}{lowered}");
    if let Some(missing) = &group.missing {
        let _ = writeln!(text, "  takes no part: {}", printable(missing));
    }
    for blame in &group.blame {
        let what = match blame.lowers {
            Some(by) => format!("lowers the priority by {by}"),
            None => "keeps the group out".to_owned(),
        };
        let since = span(Duration::from_millis(blame.since_ms));
        let unknown = if blame.unknown { ", nothing is known of it yet" } else { "" };
        let _ = writeln!(text, "  {}: {what}, since {since}{unknown}", printable(&blame.name));
    }
    for router_ in &group.routers {
        router(text, router_);
    }
}

fn router(text: &mut String, router: &Router) {
    let (since, why) = (span(Duration::from_millis(router.since_ms)), printable(&router.why));
    let _ = writeln!(
        text,
        "  {}  {} VRID {} {}: {} for {since}: {why}",
        printable(&router.name),
        printable(&router.interface),
        router.vrid,
        printable(&router.family),
        printable(&router.state),
    );
    let addresses: Vec<String> = router
        .addresses
        .iter()
        .map(|address| {
            let present = if address.present { "present" } else { "not here" };
            format!("{} {present}", address.address)
        })
        .collect();
    let interval = match router.active_interval_ms {
        Some(active) if active != router.interval_ms => {
            format!("{} ms, the active router's {active} ms", router.interval_ms)
        }
        _ => format!("{} ms", router.interval_ms),
    };
    let peer = match &router.peer {
        None => "none heard".to_owned(),
        Some(peer) => {
            let gave_up = if peer.priority == 0 { ", gave up" } else { "" };
            let heard = heard(peer.heard_ms);
            format!("{}, priority {}{gave_up}, heard {heard} ago", peer.address, peer.priority)
        }
    };
    let adverts = &router.adverts;
    let [sent, received, missed, late] =
        [adverts.sent, adverts.received, adverts.missed, adverts.late].map(grouped);
    let lines = [
        ("addresses", addresses.join(", ")),
        ("peer", peer),
        ("adverts", format!("{sent} sent, {received} received, {missed} missed, {late} late")),
        ("interval", interval),
        ("from", format!("{}, Ethernet address {}", router.primary, printable(&router.mac))),
        ("odd", counts(&router.warnings)),
    ];
    for (what, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "    {what:<9} {value}");
    }
}

fn counts(counted: &[Counted]) -> String {
    let one = |row: &Counted| {
        let from = row.last_from.map(|from| format!(", last from {from}")).unwrap_or_default();
        let ago = heard(row.last_ms);
        format!("{} {} (last {ago} ago{from})", printable(&row.kind), grouped(row.count))
    };
    counted.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A short time in milliseconds, a longer one as usual.
fn heard(milliseconds: u64) -> String {
    match milliseconds {
        0..10_000 => format!("{milliseconds} ms"),
        _ => span(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinwall_control::vrrp::{Address, Adverts, Blame, Discarded, Peer};

    fn status() -> Status {
        let counted = |kind: &str| Counted {
            kind: kind.into(),
            count: 3,
            last_ms: 40,
            last_from: Some([10, 0, 0, 9].into()),
        };
        let router = Router {
            name: "lan".into(),
            interface: "eth1".into(),
            vrid: 10,
            family: "IPv4".into(),
            state: "active".into(),
            since_ms: 184_000,
            why: "heard no other router".into(),
            mac: "00:00:5e:00:01:0a".into(),
            primary: [10, 0, 0, 2].into(),
            interval_ms: 100,
            active_interval_ms: None,
            accepts: true,
            preempts: true,
            addresses: vec![Address { address: [10, 0, 0, 1].into(), present: true }],
            peer: Some(Peer { address: [10, 0, 0, 3].into(), priority: 0, heard_ms: 20 }),
            adverts: Adverts { sent: 1840, received: 2, ..Adverts::default() },
            takeovers: 1,
            warnings: vec![counted("interval")],
        };
        Status {
            groups: vec![Group {
                name: "main".into(),
                state: "active".into(),
                missing: None,
                priority: 100,
                base_priority: 150,
                blame: vec![Blame {
                    name: "interface eth3".into(),
                    lowers: Some(50),
                    unknown: false,
                    since_ms: 2000,
                }],
                routers: vec![router],
            }],
            discarded: vec![Discarded {
                interface: Some("eth1".into()),
                reasons: vec![counted("hop-limit")],
            }],
            not_looked_at: 0,
        }
    }

    #[test]
    fn status_says_who_is_active_and_why() {
        let expected = "\
group main: active, priority 100 (of 150)
  interface eth3: lowers the priority by 50, since 2s
  lan  eth1 VRID 10 IPv4: active for 3m 4s: heard no other router
    addresses 10.0.0.1 present
    peer      10.0.0.3, priority 0, gave up, heard 20 ms ago
    adverts   1,840 sent, 2 received, 0 missed, 0 late
    interval  100 ms
    from      10.0.0.2, Ethernet address 00:00:5e:00:01:0a
    odd       interval 3 (last 40 ms ago, last from 10.0.0.9)
discarded on eth1: hop-limit 3 (last 40 ms ago, last from 10.0.0.9)
";
        assert_eq!(vrrp(&status()), expected);
    }

    #[test]
    fn without_groups_it_says_so() {
        assert_eq!(vrrp(&Status::default()), "no virtual router is configured\n");
    }
}
