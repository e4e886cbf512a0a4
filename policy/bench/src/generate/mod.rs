//! Filter sets and traces of the benchmark's own, in the manner of ClassBench.
//!
//! Goes in: a family, a size, a seed. Comes out: rules and headers, the same ones for the same
//! arguments. ClassBench draws from parameter files; this draws from figures measured on its sets
//! (`seeds`), so the sets resemble each other but no rule is copied.

mod addresses;
mod headers;
mod random;
mod rules;
mod seeds;

pub use headers::near;
pub use random::Random;

use crate::model::Rule;
use twinwall_policy::flow::Flow;

/// What the rules and headers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Access lists: long prefixes, exact destination ports.
    #[value(alias = "acl1")]
    Acl,
    /// Firewalls: one address wide open, source ports, few shapes.
    #[value(alias = "fw1")]
    Fw,
    /// IP chains: every shape.
    #[value(alias = "ipc1")]
    Ipc,
    /// IPv6 rules of all three kinds, ICMPv6 types among them.
    Ipv6,
    /// Both families of addresses, with zones.
    Zoned,
    /// Access lists and IP chains; 19 of 20 headers match no rule, many of them nearly.
    Miss,
    /// All of it at once.
    Mixed,
}

/// Rules and the headers to ask about.
#[derive(Clone, Debug)]
pub struct Load {
    /// In the order of decision.
    pub rules: Vec<Rule>,
    /// In the order of arrival.
    pub headers: Vec<Flow>,
}

/// How many headers a trace for so many rules has: as many as rules, so that nearly all rules are
/// asked for, from 100,000 to 1,000,000. Misses take longer to find, and depend less on how many.
#[must_use]
pub fn headers_for(family: Family, size: usize) -> usize {
    let most = if family == Family::Miss { 200_000 } else { 1_000_000 };
    size.clamp(100_000, most)
}

/// A set of exactly `size` different rules and a trace of `headers` headers.
#[must_use]
pub fn load(family: Family, size: usize, headers: usize, seed: u64) -> Load {
    let rules = rules::rules(family, size, seed);
    let headers = headers::headers(family, &rules, headers, seed);
    Load { rules, headers }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Acl => "acl",
            Self::Fw => "fw",
            Self::Ipc => "ipc",
            Self::Ipv6 => "ipv6",
            Self::Zoned => "zoned",
            Self::Miss => "miss",
            Self::Mixed => "mixed",
        };
        f.write_str(name)
    }
}
