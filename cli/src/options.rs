//! The arguments of `twinwall`, and its help.

use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use twinwall_control::{DEFAULT_SOCKET, SOCKET_VARIABLE};

/// Checks and loads firewall policies, and shows what the daemon twinwalld does with them
#[derive(Clone, Debug, Parser)]
#[command(
    name = "twinwall",
    version,
    max_term_width = 100,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    after_help = MAIN
)]
pub struct Options {
    /// Print one JSON object instead of text
    #[arg(long, global = true, display_order = LAST)]
    pub json: bool,

    /// Control socket of twinwalld
    #[arg(
        long,
        global = true,
        display_order = LAST,
        value_name = "PATH",
        env = SOCKET_VARIABLE,
        hide_env_values = true,
        default_value = DEFAULT_SOCKET
    )]
    pub socket: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Check policy files without loading them
    #[command(after_help = CHECK)]
    Check(Check),
    /// Load a policy
    #[command(after_help = APPLY)]
    Apply(Apply),
    /// Keep the policy that waits for its confirmation
    #[command(after_help = CONFIRM)]
    Confirm,
    /// Load the daemon's own policy files again
    #[command(after_help = RELOAD)]
    Reload,
    /// Show the daemon, its queues and interfaces at a glance
    #[command(after_help = STATUS)]
    Status,
    /// List the rules in the order of decision, with their hits
    #[command(after_help = RULES)]
    Rules(Rules),
    /// List sessions with the rules that decide them
    #[command(after_help = SESSIONS)]
    Sessions(Sessions),
    /// Say which rule decides a packet, and why no other does
    #[command(after_help = EXPLAIN, override_usage = EXPLAIN_USAGE)]
    Explain(Explain),
    /// Show virtual routers (VRRP) and what has happened to them
    #[command(subcommand, after_help = VRRP)]
    Vrrp(Vrrp),
    /// Show how sessions are replicated to the peer
    #[command(subcommand, after_help = SYNC)]
    Sync(Sync),
    /// Give active virtual routers to the peer, and take them back
    #[command(subcommand, after_help = FAILOVER)]
    Failover(Failover),
}

/// What to show of VRRP.
#[derive(Clone, Debug, Subcommand)]
pub enum Vrrp {
    /// Show who is active, since when and why, priorities, peers, adverts and addresses
    Status,
    /// Print what has happened, one JSON object a line
    Events(Events),
}

/// Arguments of `vrrp events`.
#[derive(Clone, Debug, Args)]
pub struct Events {
    /// Go on with what happens from now on, until interrupted
    #[arg(long)]
    pub follow: bool,
}

/// What to do about session replication.
#[derive(Clone, Debug, Subcommand)]
pub enum Sync {
    /// Show the peer, both policies, sessions here, there and differing, and what went wrong
    Status,
    /// Have both nodes compare their sessions and exchange what differs
    Resync,
}

/// Which way to hand over.
#[derive(Clone, Debug, Subcommand)]
pub enum Failover {
    /// Give what is active here to the peer; returns when the peer is active
    Now(Groups),
    /// Take back what was given away, as far as priorities allow
    Back(Groups),
}

/// Arguments of `failover`.
#[derive(Clone, Debug, Args)]
pub struct Groups {
    /// Only this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// Policy file, taking policy.d/*.yaml along for policy.yaml, or directory of *.yaml files;
    /// several add up to one policy
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Exit with 2 when there are warnings
    #[arg(long)]
    pub strict: bool,
}

/// Arguments of `apply`.
#[derive(Clone, Debug, Args)]
pub struct Apply {
    /// Policy file, taking policy.d/*.yaml along for policy.yaml, or directory of *.yaml files; by
    /// default the daemon's own files
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// Go back to the policy before unless `twinwall confirm` follows within TIME, such as 60s: 1s
    /// to 1day
    #[arg(long, value_name = "TIME", value_parser = trial)]
    pub confirm: Option<Duration>,

    /// Load the policy that the other node of the pair has offered and that is kept here
    #[arg(long, conflicts_with_all = ["path", "confirm"])]
    pub offered: bool,
}

/// A time for a confirmation.
fn trial(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let fits = (Duration::from_secs(1)..=LONGEST).contains(&time);
    fits.then_some(time).ok_or_else(|| "it can be 1s to 1day".into())
}

/// Arguments of `rules`.
#[derive(Clone, Debug, Args)]
pub struct Rules {
    /// Show sessions, packets, bytes and the last hit of each rule
    #[arg(long)]
    pub hits: bool,
}

/// Arguments of `sessions`.
#[derive(Clone, Debug, Args)]
pub struct Sessions {
    /// Only sessions that this rule decides
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,

    /// Only sessions that no rule of the running policy has decided yet
    #[arg(long, conflicts_with = "rule")]
    pub stale: bool,

    /// Only sessions that this address takes part in, before or behind NAT
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,

    /// List at most N sessions; 0 only counts them
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// PROTO SRC[:PORT] DST[:PORT], or the same as options; ports of IPv6 as [2001:db8::1]:443
    #[arg(value_name = "FLOW", num_args = 0..=3)]
    pub flow: Vec<String>,

    /// Zone that the packet comes from; `self` for the gateway
    #[arg(long, value_name = "ZONE")]
    pub from: String,

    /// Zone that the packet goes to; `self` for the gateway
    #[arg(long, value_name = "ZONE")]
    pub to: String,

    /// Protocol, by name (tcp, udp, icmp, icmpv6, esp, ...) or number
    #[arg(long, value_name = "PROTO")]
    pub proto: Option<String>,

    /// Source address
    #[arg(long, value_name = "IP")]
    pub src: Option<String>,

    /// Destination address, before destination NAT
    #[arg(long, value_name = "IP")]
    pub dst: Option<String>,

    /// Source port [default: any]
    #[arg(long, value_name = "PORT")]
    pub sport: Option<u16>,

    /// Destination port
    #[arg(long, value_name = "PORT")]
    pub dport: Option<u16>,

    /// ICMP type [default: echo request]
    #[arg(long = "type", value_name = "N")]
    pub icmp_type: Option<u8>,

    /// ICMP code [default: 0]
    #[arg(long = "code", value_name = "N")]
    pub icmp_code: Option<u8>,

    /// Ask this policy file or directory instead of the daemon
    #[arg(long, value_name = "PATH")]
    pub policy: Option<PathBuf>,

    /// Leave out rules that differ from the packet in more than one field
    #[arg(long)]
    pub brief: bool,
}

/// Options of every verb stand behind those of the verb itself, before --help.
const LAST: usize = 900;

const MAIN: &str = "\
Examples:
  twinwall check policy.yaml       find mistakes before they matter
  twinwall apply policy.yaml       load it; running sessions follow the new rules
  twinwall rules --hits            what each rule has decided
  twinwall explain --from lan --to wan tcp 10.0.0.5 198.51.100.7:443

Exit code: 0 done, 1 error, 2 warnings where --strict asks.";

const CHECK: &str = "\
Needs neither daemon nor privilege. Runs the policy's own tests too.

Examples:
  twinwall check /etc/twinwall/policy.yaml
  twinwall check --strict policy.yaml && echo clean";

const APPLY: &str = "\
Once this returns, no packet is decided or counted by the old policy. A policy with an error changes
nothing. Sessions move to the rules that decide them now; those that are refused are cut off. On a
pair the other node gets the policy too, once it is confirmed; without --confirm it is so at once.

Examples:
  twinwall apply policy.yaml       from a file, until the daemon's own files are reloaded
  twinwall apply                   from the daemon's own files
  twinwall apply --confirm 60s policy.yaml && twinwall confirm";

const CONFIRM: &str = "\
Without it, the policy before comes back when the time of `apply --confirm` is over, and when the
daemon starts again before that.

Examples:
  twinwall apply --confirm 60s policy.yaml
  twinwall confirm";

const RELOAD: &str = "\
The same as apply without PATH. While a policy waits for its confirmation, nothing is reloaded.

Examples:
  twinwall reload
  systemctl reload twinwall";

const STATUS: &str = "\
Examples:
  twinwall status
  twinwall status --json | jq .generation";

const RULES: &str = "\
Counters belong to a rule's name: renumbering and reloading keep them.

Examples:
  twinwall rules --hits
  twinwall rules --json | jq -r '.rules[] | select(.packets == 0).name'";

const SESSIONS: &str = "\
Each line ends with the flow as `twinwall explain` takes it.

Examples:
  twinwall sessions --rule lan-web
  twinwall sessions --address 10.0.0.5 --limit 20
  twinwall sessions --stale --limit 0";

const VRRP: &str = "\
Examples:
  twinwall vrrp status
  twinwall vrrp status --json | jq -r '.groups[] | .name + \" \" + .state'
  twinwall vrrp events --follow";

const SYNC: &str = "\
Examples:
  twinwall sync status
  twinwall sync status --json | jq .differing";

const FAILOVER: &str = "\
Nothing is lost: this node forwards until the peer is heard to be active. It stays backup, whatever
its priority, until it takes the group back or the peer fails.

Examples:
  twinwall failover now
  twinwall failover back --group main";

const EXPLAIN_USAGE: &str =
    "twinwall explain --from <ZONE> --to <ZONE> [OPTIONS] <PROTO> <SRC[:PORT]> <DST[:PORT]>";

const EXPLAIN: &str = "\
The packet is taken as it arrives: before NAT. With a daemon its live session is shown too.

Examples:
  twinwall explain --from lan --to wan tcp 10.0.0.5:40000 198.51.100.7:443
  twinwall explain --from lan --to self udp [2001:db8::5] [2001:db8::1]:53
  twinwall explain --from lan --to wan icmp 10.0.0.5 198.51.100.7 --type 8
  twinwall explain --from wan --to dmz --proto tcp --src 198.51.100.7 --dst 203.0.113.10 --dport 80
  twinwall explain --policy new.yaml --brief --from lan --to wan udp 10.0.0.5 9.9.9.9:53";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_fit_together() {
        Options::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal_of_100_columns() {
        let mut command = Options::command();
        command.build();
        for verb in command.get_subcommands_mut() {
            for line in verb.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 100, "{}: {line}", line.chars().count());
            }
        }
    }
}
