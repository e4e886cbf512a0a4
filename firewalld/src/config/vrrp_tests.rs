//! What the section `vrrp` takes, and what it says of mistakes.

use crate::config::Config;
use twinwall_policy::SourceText;

fn parse(text: &str) -> Result<Config, String> {
    let source = SourceText { path: "d.yaml".into(), text: text.into() };
    Config::parse(source, "nothing was changed")
}

const WHOLE: &str = "\
vrrp:
  groups:
    - name: main
      priority: 150
      preempt: false
      preempt-delay: 5s
      start-delay: 100ms
      track:
        - interface: eth3
          lower: 50
        - health: queue
          lower: 20
        - script: [/usr/bin/check, -v]
          interval: 2s
          rise: 2
          fall: 3
      routers:
        - name: lan
          interface: eth1
          vrid: 10
          addresses: [10.0.0.1, 10.0.0.9]
          interval: 10ms
          mac: interface
          accept: true
          checksum: pseudo-header
          peers: 10.0.0.3
          announce-again: [100ms, 1s]
        - interface: eth1
          vrid: 10
          addresses: [fe80::1, '2001:db8:10::1']
";

#[test]
fn every_key_is_read() {
    let config = parse(WHOLE).unwrap();
    let [group] = config.groups.as_slice() else { panic!("{config:?}") };
    assert_eq!((group.priority.get(), group.preempt), (150, false));
    let names: Vec<_> = group.tracks.iter().map(|track| track.name.as_str()).collect();
    assert_eq!(names, ["interface eth3", "queue", "check", "interface eth1 of lan"]);
    let [lan, other] = group.routers.as_slice() else { panic!("{config:?}") };
    assert_eq!((lan.interval.get(), lan.peers.len(), lan.announce_again.len()), (1, 1, 2));
    assert_eq!((other.name.as_str(), other.interval.get()), ("eth1-10-v6", 100));
}

#[test]
fn an_empty_file_has_no_groups() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("# nothing\n").unwrap(), Config::default());
}

#[test]
fn each_fault_is_told_at_its_place() {
    let cases = [
        ("vrrp: {groups: []}", "this list is empty"),
        ("vrp: {}", "did you mean `vrrp`"),
        (&WHOLE.replace("10ms", "15ms"), "an interval is a multiple of 10 ms"),
        (&WHOLE.replace("10ms", "10"), "`10` is not a duration"),
        (&WHOLE.replace("10ms", "50s"), "50s is out of range"),
        (&WHOLE.replace("vrid: 10", "vrid: 256"), "256 is out of range"),
        (&WHOLE.replace("[fe80::1, ", "["), "has to be link-local"),
        (&WHOLE.replace("priority: 150", "priority: 255"), "can't be lowered by"),
        (&WHOLE.replace("[/usr/bin/check, -v]", "check"), "absolute path"),
        (&WHOLE.replace("peers: 10.0.0.3", "peers: fe80::3"), "can't be a peer of"),
        (&WHOLE.replace("health: queue", "health: queues"), "did you mean `queue`"),
        (&WHOLE.replace("interface: eth3", "interface: eth*"), "can't be an interface"),
        (
            &WHOLE.replace("addresses: [fe80::1, '2001:db8:10::1']", "addresses: 10.0.0.7"),
            "has the same VRID and family on the same interface",
        ),
    ];
    for (text, expected) in cases {
        let message = parse(text).unwrap_err();
        assert!(message.contains(expected), "{expected}:\n{message}");
        assert!(message.contains("d.yaml:"), "{message}");
        assert!(message.contains("nothing was changed"), "{message}");
    }
}
