//! More network namespaces than one: a client and a server, and two gateways between them of which
//! one has the addresses.
//!
//! Goes in: rulesets for the gateways. Comes out: namespaces in which the test can work, and a
//! takeover. Not here: what is sent.

use super::{eventually, ip};
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Addresses of the client and the server, and those that the gateways share.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const INNER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub(crate) const OUTER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 254);

/// A network namespace; it ends with its owner.
pub(crate) struct Space {
    keeper: Child,
    net: File,
}

impl Space {
    pub(crate) fn new() -> Self {
        // The process ends when its standard input does, so that it can't outlive the test.
        let mut command = Command::new("unshare");
        let keeper = command.args(["-n", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let path = format!("/proc/{}/ns/net", keeper.id());
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        eventually("the namespace", || fs::read_link(&path).ok().filter(|other| *other != own));
        let space = Self { keeper, net: File::open(&path).unwrap() };
        space.run(|| ip("link set lo up"));
        space
    }

    /// Does some work inside. Sockets that are opened there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.net.as_fd(), kind).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs `ip` with these words.
    pub(crate) fn ip(&self, words: &str) {
        self.run(|| ip(words));
    }

    /// Sets a file below `/proc/sys/net`.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.run(|| fs::write(format!("/proc/sys/net/{name}"), value)).unwrap();
    }

    /// Loads a ruleset.
    pub(crate) fn nft(&self, ruleset: &str) {
        self.run(|| {
            let mut command = Command::new("nft");
            command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut nft = command.spawn().unwrap();
            nft.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
            let output = nft.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        });
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Client, server, two gateways, and two bridges that join them in the test's own namespace.
pub(crate) struct Pair {
    pub(crate) client: Space,
    pub(crate) server: Space,
    pub(crate) gateways: [Space; 2],
}

impl Pair {
    /// The first gateway has the addresses.
    pub(crate) fn new(rulesets: [&str; 2]) -> Self {
        let (client, server) = (Space::new(), Space::new());
        let gateways = [Space::new(), Space::new()];
        for bridge in ["inner", "outer"] {
            ip(&format!("link add {bridge} type bridge"));
            ip(&format!("link set {bridge} up"));
        }
        let join = |bridge: &str, port: &str, space: &Space, leg: &str| {
            let id = space.keeper.id();
            ip(&format!("link add {port} type veth peer name {leg} netns {id}"));
            ip(&format!("link set {port} master {bridge} up"));
            space.ip(&format!("link set {leg} up"));
        };
        join("inner", "client", &client, "leg");
        join("outer", "server", &server, "leg");
        for (gateway, name) in gateways.iter().zip(["a", "b"]) {
            join("inner", &format!("{name}-in"), gateway, "in");
            join("outer", &format!("{name}-out"), gateway, "out");
            gateway.set("ipv4/ip_forward", "1");
            gateway.set("ipv6/conf/all/forwarding", "1");
            gateway.set("netfilter/nf_conntrack_acct", "1");
        }
        for (gateway, ruleset) in gateways.iter().zip(rulesets) {
            gateway.nft(ruleset);
        }
        for (space, leg, own, via) in [(&client, 1, 1, "fd01::fe"), (&server, 2, 1, "fd02::fe")] {
            space.ip(&format!("addr add 10.{leg}.0.{own}/24 dev leg"));
            space.ip(&format!("addr add fd0{leg}::{own}/64 dev leg nodad"));
            space.ip(&format!("route add default via 10.{leg}.0.254"));
            space.ip(&format!("route add default via {via}"));
        }
        let pair = Self { client, server, gateways };
        pair.addresses(0, "add");
        pair
    }

    /// The second gateway takes the addresses of the first.
    pub(crate) fn take_over(&self) {
        self.hand_over(0, 1);
    }

    /// One gateway takes the addresses of the other.
    pub(crate) fn hand_over(&self, from: usize, to: usize) {
        self.addresses(from, "del");
        self.addresses(to, "add");
        for host in [&self.client, &self.server] {
            host.ip("neigh flush all");
        }
    }

    fn addresses(&self, index: usize, what: &str) {
        for (leg, number) in [("in", 1), ("out", 2)] {
            let gateway = self.gateways.get(index).unwrap();
            gateway.ip(&format!("addr {what} 10.{number}.0.254/24 dev {leg}"));
            gateway.ip(&format!("addr {what} fd0{number}::fe/64 dev {leg} nodad"));
        }
    }
}
