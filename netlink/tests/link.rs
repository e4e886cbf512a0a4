//! Interfaces against the kernel, with interfaces made by the test in a namespace.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::{eventually, inside, ip};
use std::io::Write;
use std::process::{Command, Stdio};
use twinwall_netlink::link::{Event, Link, Watcher, list};
use twinwall_netlink::socket::Error;

fn find(name: &str) -> Option<Link> {
    list().unwrap().into_iter().find(|link| link.name == name)
}

/// Waits for an event that `wanted` takes something from.
fn heard<T>(watcher: &mut Watcher, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
    eventually(what, || watcher.read_events().unwrap().iter().find_map(&wanted))
}

fn named(name: &str) -> impl Fn(&Event) -> Option<Link> {
    move |event| match event {
        Event::Changed(link) if link.name == name => Some(link.clone()),
        _ => None,
    }
}

#[test]
fn a_list_holds_every_interface_with_its_kind_and_relations() {
    if !inside("a_list_holds_every_interface_with_its_kind_and_relations") {
        return;
    }
    ip("link add a0 address 02:00:00:00:00:07 type veth peer b0");
    ip("link add br0 type bridge");
    ip("link set b0 master br0");
    ip("link add mac0 link a0 type macvlan");
    ip("link set a0 up");
    let names = list().unwrap().into_iter().map(|link| link.name).collect::<Vec<_>>();
    let has = |name: &str| names.iter().any(|n| n == name);
    assert!(["lo", "a0", "b0", "br0", "mac0"].into_iter().all(has), "{names:?}");
    let (lo, a, b) = (find("lo").unwrap(), find("a0").unwrap(), find("b0").unwrap());
    assert!(lo.loopback && !lo.up && lo.kind.is_none() && lo.index == 1);
    assert!(a.up && !a.loopback);
    assert_eq!((a.kind.as_deref(), a.mac), (Some("veth"), Some([2, 0, 0, 0, 0, 7])));
    assert_eq!((a.parent, a.master), (Some(b.index), None));
    let bridge = find("br0").unwrap();
    assert_eq!((bridge.kind.as_deref(), b.master), (Some("bridge"), Some(bridge.index)));
    assert_eq!(find("mac0").unwrap().parent, Some(a.index));
    // The carrier follows with some delay.
    eventually("up, but its peer is not", || find("a0").filter(|link| link.up && !link.running));
    ip("link set b0 up");
    eventually("its peer is up too", || find("a0").filter(|link| link.running));
}

#[test]
fn every_change_of_an_interface_is_heard() {
    if !inside("every_change_of_an_interface_is_heard") {
        return;
    }
    let mut watcher = Watcher::open().unwrap();
    assert_eq!(watcher.read_events().unwrap(), []);
    ip("link add veth0 type veth peer peer0");
    let index = heard(&mut watcher, "it is added", named("veth0")).index;
    ip("link set veth0 up");
    heard(&mut watcher, "it is up", |event| named("veth0")(event).filter(|link| link.up));
    ip("link set veth0 down");
    heard(&mut watcher, "it is down", |event| named("veth0")(event).filter(|link| !link.up));
    ip("link set veth0 name veth1");
    assert_eq!(heard(&mut watcher, "it is renamed", named("veth1")).index, index);
    ip("link del veth1");
    heard(&mut watcher, "it is gone", |event| (*event == Event::Removed(index)).then_some(()));
}

#[test]
fn leaving_a_bridge_is_not_heard_as_a_removal() {
    if !inside("leaving_a_bridge_is_not_heard_as_a_removal") {
        return;
    }
    ip("link add br0 type bridge");
    ip("link add veth0 type veth peer peer0");
    let mut watcher = Watcher::open().unwrap();
    ip("link set veth0 master br0");
    heard(&mut watcher, "it joins", |event| named("veth0")(event).and_then(|link| link.master));
    ip("link set veth0 nomaster");
    ip("link add last type veth peer peer1");
    let mut events = Vec::new();
    eventually("the last change", || {
        events.extend(watcher.read_events().unwrap());
        events.iter().find_map(named("last"))
    });
    let removed = |event: &Event| matches!(event, Event::Removed(_));
    assert!(!events.iter().any(removed), "{events:?}");
    assert!(events.iter().filter_map(named("veth0")).any(|link| link.master.is_none()));
}

#[test]
fn a_watcher_that_was_too_slow_is_told_so_and_goes_on() {
    if !inside("a_watcher_that_was_too_slow_is_told_so_and_goes_on") {
        return;
    }
    ip("link add veth0 type veth peer peer0");
    let mut watcher = Watcher::open().unwrap();
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let lines = "link set veth0 up\nlink set veth0 down\n".repeat(10_000);
    batch.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(batch.wait().unwrap().success());
    let mut overruns = 0;
    loop {
        match watcher.read_events() {
            Ok(events) if events.is_empty() => break,
            Ok(_) => {}
            Err(Error::Overrun) => overruns += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(overruns > 0);
    ip("link add veth1 type veth peer peer1");
    heard(&mut watcher, "the next change", named("veth1"));
}
