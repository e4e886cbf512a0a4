//! Traffic through the first gateway of a pair, and its sessions on the second.
//!
//! Goes in: a [`Pair`]. Comes out: connections, and what conntrack has of them. Not here: claims.

use super::space::Pair;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Expectation, Outcome, ProtoInfo, Request, Select, Status, TcpInfo, Writer,
};

/// The first gateway lets new sessions through; marks, labels and translates them.
pub(crate) const FIRST: &str = r#"
table inet filter {
    ct helper ftp-standard { type "ftp" protocol tcp; }
    chain pre {
        type filter hook prerouting priority -150;
        tcp dport 21 ct helper set "ftp-standard"
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        ct state new ct mark set 0xaa000007 ct label set 77 accept
    }
}
table ip nat {
    chain pre {
        type nat hook prerouting priority -100;
        ip daddr 10.1.0.254 tcp dport 8080 dnat to 10.2.0.1:80
    }
    chain post {
        type nat hook postrouting priority 100;
        oifname "out" tcp dport { 21, 80, 443 } snat to 10.2.0.254:30000-30010
        oifname "out" ip protocol icmp snat to 10.2.0.254
    }
}
"#;

/// The second lets through what it knows of. Nothing is marked, but a rule could set labels.
pub(crate) const SECOND: &str = r#"
table inet filter {
    ct helper ftp-standard { type "ftp" protocol tcp; }
    chain pre {
        type filter hook prerouting priority -150;
        tcp dport 21 ct helper set "ftp-standard"
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        ct state new ct mark 0xffffffff ct label set 77
    }
}
table ip nat {
    chain post { type nat hook postrouting priority 100; }
}
"#;

/// Answers each byte of each connection with the same byte.
pub(crate) fn echo(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(buffer.get(..length).unwrap()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Sends this many bytes and gets them back.
pub(crate) fn exchange(stream: &mut TcpStream, length: usize) {
    let sent = (0..length).map(|i| (i * 31) as u8).collect::<Vec<_>>();
    let mut reader = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&sent).unwrap());
        let mut seen = vec![0; length];
        reader.read_exact(&mut seen).unwrap();
        assert!(seen == sent, "other bytes came back");
    });
}

pub(crate) fn connect(pair: &Pair, to: impl Into<SocketAddr>) -> TcpStream {
    let to = to.into();
    let stream = pair.client.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(10)));
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(crate) fn listen(pair: &Pair, port: u16) -> TcpListener {
    pair.server.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap()
}

/// All sessions of a gateway but those of neighbour discovery and the like.
pub(crate) fn entries(conntrack: &mut Conntrack) -> Vec<Entry> {
    let mut entries = Vec::new();
    let dumped = conntrack.entries(Select::default(), |entry| entries.push(entry)).unwrap();
    assert_eq!(dumped.unreadable, 0);
    entries.sort_by_key(|entry| (entry.original.protocol, format!("{:?}", entry.original)));
    entries
}

pub(crate) fn expectations(conntrack: &mut Conntrack) -> Vec<Expectation> {
    let mut all = Vec::new();
    conntrack.expectations(|expectation| all.push(expectation)).unwrap();
    all
}

/// What has to be the same on both gateways.
pub(crate) fn portable(mut entry: Entry) -> Entry {
    (entry.id, entry.counters, entry.timeout) = (None, None, None);
    // Only a session that is translated has these on the gateway that it was written to.
    let settled = Status::SRC_NAT_DONE.0 | Status::DST_NAT_DONE.0;
    entry.status = entry.status.map(|status| Status(status.0 & !settled));
    if let Some(ProtoInfo::Tcp(tcp)) = entry.proto {
        entry.proto = Some(ProtoInfo::Tcp(tcp.portable()));
    }
    entry
}

/// Writes the sessions of the first gateway to the second, masters first; what becomes of the
/// state of TCP on the way is for `adapt` to say. Returns the sessions of both.
pub(crate) fn replicate(
    pair: &Pair,
    adapt: impl Fn(TcpInfo) -> TcpInfo,
) -> (Vec<Entry>, Vec<Entry>) {
    let [first, second] = &pair.gateways;
    let mut first = first.run(|| Conntrack::open().unwrap());
    let mut entries_first = entries(&mut first);
    entries_first.sort_by_key(|entry| entry.master.is_some());
    let expected = expectations(&mut first);
    let adapted = entries_first.iter().map(|entry| match entry.proto {
        Some(ProtoInfo::Tcp(tcp)) => {
            Entry { proto: Some(ProtoInfo::Tcp(adapt(tcp))), ..entry.clone() }
        }
        _ => entry.clone(),
    });
    let adapted = adapted.collect::<Vec<_>>();
    let requests = adapted.iter().map(Request::Put);
    let requests = requests.chain(expected.iter().map(Request::Expect)).collect::<Vec<_>>();
    let mut writer = second.run(|| Writer::open().unwrap());
    let mut outcomes = Vec::new();
    writer.write(&requests, &mut outcomes).unwrap();
    for (request, outcome) in requests.iter().zip(&outcomes) {
        assert_eq!(*outcome, Outcome::Created, "{request:?}");
    }
    let mut second = second.run(|| Conntrack::open().unwrap());
    (entries_first, entries(&mut second))
}
