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

    #[test]
    fn without_groups_it_says_so() {
        assert_eq!(vrrp(&Status::default()), "no virtual router is configured\n");
    }
}
