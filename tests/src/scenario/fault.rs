//! What is done to a pair from outside: a node that falls silent, a leg that loses its carrier, two
//! nodes that no longer hear each other. Each can be undone.
//!
//! In: a testbed. Out: nothing, but the time just before it happened. Not here: what is done to the
//! daemons ([`super::pair`]).

use crate::clock;
use crate::error::Error;
use crate::scenario::pair::Side;
use crate::testbed::Testbed;
use crate::topology::Segment;

/// A fault in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing that this node sends goes further than its own ports: in one transaction, so on all
    /// of its legs at one moment.
    Silent(Side),
    /// The node's LAN port is down at the switch, so that the node loses its carrier.
    LanDown(Side),
    /// The two nodes don't hear each other on any segment; hosts hear both.
    Apart,
}

impl Fault {
    /// Makes it happen. Returns the time just before its last step.
    ///
    /// # Errors
    /// When a command fails.
    pub fn begin(self, testbed: &Testbed) -> Result<u64, Error> {
        self.apply(testbed, true)
    }

    /// Undoes it. Returns the time just before its last step.
    ///
    /// # Errors
    /// When a command fails.
    pub fn end(self, testbed: &Testbed) -> Result<u64, Error> {
        self.apply(testbed, false)
    }

    fn apply(self, testbed: &Testbed, begin: bool) -> Result<u64, Error> {
        let scripts = match self {
            Self::Silent(side) => vec![silence(side, begin)],
            Self::LanDown(side) => {
                let state = if begin { "down" } else { "up" };
                vec![format!("ip -n switch link set {}-lan {state}", side.name())]
            }
            Self::Apart => apart(begin),
        };
        let mut now = 0;
        for script in scripts {
            now = clock::now();
            testbed.outside_nodes("sh")?.args(["-ec", &script]).run()?;
        }
        Ok(now)
    }
}

/// The sync link has no port: what the node sends there is dropped where it comes in.
fn silence(side: Side, begin: bool) -> String {
    let ports: Vec<_> =
        Segment::BRIDGED.iter().map(|s| format!("{}-{}", side.name(), s.name())).collect();
    let switch = drop_from("switch", &ports.join(", "), begin);
    let sync = drop_from(side.other().name(), Segment::Sync.gateway_interface(), begin);
    // Side by side, so that no leg is left alive while the next command starts.
    format!("{switch} &\n{sync}\nwait $!\n")
}

/// The switch comes last: when they are joined again, it is then that they hear each other.
fn apart(begin: bool) -> Vec<String> {
    let state = if begin { "on" } else { "off" };
    let ports = [Side::A, Side::B].map(|side| {
        let line =
            |s: &Segment| format!("link set dev {}-{} isolated {state}\n", side.name(), s.name());
        Segment::BRIDGED.iter().map(line).collect::<String>()
    });
    let sync = [Side::A, Side::B]
        .map(|side| drop_from(side.name(), Segment::Sync.gateway_interface(), begin))
        .join("\n");
    let switch = format!("ip netns exec switch bridge -batch - <<'END'\n{}END\n", ports.concat());
    vec![sync, switch]
}

/// A command that drops what comes in by these devices of a node, or no longer does.
fn drop_from(node: &str, devices: &str, begin: bool) -> String {
    let rules = if begin {
        format!(
            "table netdev cut {{ chain in {{ type filter hook ingress devices = {{ {devices} }} \
             priority 0; policy drop; }}; }}"
        )
    } else {
        "delete table netdev cut".to_owned()
    };
    format!("ip netns exec {node} nft '{rules}'")
}
