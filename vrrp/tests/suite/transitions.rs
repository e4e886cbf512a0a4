//! The whole transition table: every state with every event, in `transitions.txt`.

use crate::script::Script;
use std::collections::BTreeMap;

const TABLE: &str = include_str!("transitions.txt");

/// Priority 100, address .20, 100 ms: Active_Down_Interval is 360.9375 ms, the skew 60.9375 ms.
const CONFIG: &str = "
    group lan priority 100
    track link fault
    leg lan interface 2 vrid 7 primary 192.0.2.20 addresses 192.0.2.1 interval 10 repeats 50ms";

/// How a router comes into each state that differs in what may happen next.
pub(crate) const STATES: [(&str, &str); 10] = [
    ("stopped", "track link good"),
    ("delayed", "track link good\nstart"),
    ("faulty", "track link good\nstart\ntrack link bad"),
    ("backup", "track link good\nstart"),
    ("following", "track link good\nstart\nadvert lan from 192.0.2.30 priority 200"),
    ("held back", "track link good\nhold 10s\nstart\nadvert lan from 192.0.2.30 priority 50"),
    (
        "after zero",
        "track link good\nstart\nadvert lan from 192.0.2.30 priority 200\n
         advert lan from 192.0.2.30 priority 0",
    ),
    ("active", "track link good\nstart\npass 400ms"),
    ("asked", "track link good\nstart\npass 400ms\nhand-over lan 30ms"),
    ("resigned", "track link good\nstart\npass 400ms\nhand-over lan 30ms\npeer-ready lan"),
];

/// Everything that can happen to a router.
pub(crate) const EVENTS: [(&str, &str); 23] = [
    ("start", "start"),
    ("stop", "stop"),
    ("fault", "track link bad"),
    ("fault over", "track link good"),
    ("early poll", "poll"),
    ("timer", "due"),
    ("stalled", "at 10s\npoll"),
    ("zero", "advert lan from 192.0.2.30 priority 0"),
    ("lower", "advert lan from 192.0.2.30 priority 50"),
    ("equal, lower address", "advert lan from 192.0.2.3 priority 100"),
    ("equal, higher address", "advert lan from 192.0.2.30 priority 100"),
    ("higher", "advert lan from 192.0.2.30 priority 200 interval 20"),
    ("priority 40", "priority lan 40"),
    ("priority 250", "priority lan 250"),
    ("hold", "hold 10s"),
    ("allow", "allow"),
    ("peer alive", "peer alive"),
    ("peer active", "peer-state lan active"),
    ("peer silent", "peer silent"),
    ("peer gone", "peer gone"),
    ("hand over", "hand-over lan 30ms"),
    ("peer ready", "peer-ready lan"),
    ("cancel", "cancel lan"),
];

#[test]
fn every_state_with_every_event_does_what_the_table_says() {
    let mut table: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [state, event, outcome] = cells[..] else { panic!("not three cells: {line}") };
        assert!(table.insert((state, event), outcome).is_none(), "twice in the table: {line}");
    }
    let mut wrong = String::new();
    for (state, _) in STATES {
        for (event, _) in EVENTS {
            let came = outcome(state, event);
            let written = table.remove(&(state, event)).unwrap_or("(missing)");
            if came != written {
                wrong +=
                    &format!("- {state} | {event} | {written}\n+ {state} | {event} | {came}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(table.is_empty(), "rows of no state or event: {table:?}");
}

/// What a router in that state does, the state that it is in then, and in how long something
/// happens by itself.
fn outcome(state: &str, event: &str) -> String {
    let find = |list: &[(&str, &'static str)], name: &str| {
        list.iter().find(|(key, _)| *key == name).map(|(_, text)| *text).unwrap()
    };
    let delay = if state == "delayed" { "priority 100 start-delay 1s" } else { "priority 100" };
    let mut script = Script::new(&CONFIG.replace("priority 100", delay), false).unwrap();
    script.run(find(&STATES, state)).unwrap();
    let did = script.run(find(&EVENTS, event)).unwrap();
    let group = script.node.groups().next().unwrap().1;
    let next = script
        .node
        .next_deadline()
        .map_or("never".to_owned(), |next| format!("{:?}", next.since(script.now)));
    let did = did.iter().map(|line| line.trim_start_matches("lan ")).collect::<Vec<_>>();
    format!("{} => {}, next {next}", did.join("; "), group.state()).trim_start().to_owned()
}
