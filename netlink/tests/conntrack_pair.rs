//! Sessions of real traffic, read on one gateway and written on another.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod common;

use common::space::{CLIENT, INNER, OUTER, Pair, SERVER};
use common::traffic::{
    FIRST, SECOND, connect, echo, entries, exchange, expectations, listen, portable, replicate,
};
use common::{eventually, inside};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use twinwall_netlink::conntrack::{
    Conntrack, Entry, Expectation, Layer4, ProtoInfo, Status, TcpEnd, TcpInfo,
};

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1);

fn assert_same(first: &[Entry], second: &[Entry]) {
    assert_eq!(first.len(), second.len());
    for entry in first {
        let twin = second.iter().find(|twin| twin.original == entry.original).unwrap();
        assert_eq!(portable(entry.clone()), portable(twin.clone()));
        let (here, there) = (entry.timeout.unwrap(), twin.timeout.unwrap());
        assert!(here.abs_diff(there) <= 2, "timeouts {here} and {there}");
    }
}

#[test]
fn sessions_of_every_kind_are_the_same_on_both_and_flow_on_through_the_second() {
    if !inside("sessions_of_every_kind_are_the_same_on_both_and_flow_on_through_the_second") {
        return;
    }
    let pair = Pair::new([FIRST, SECOND]);
    for port in [80, 443, 9000] {
        echo(listen(&pair, port));
    }
    let mut streams = [
        connect(&pair, (INNER, 8080)),
        connect(&pair, (SERVER, 443)),
        connect(&pair, (SERVER, 9000)),
        connect(&pair, (SERVER6, 9000)),
    ];
    for stream in &mut streams {
        exchange(stream, 3_000_000);
    }
    let udp = pair.server.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53)).unwrap());
    let ask4 = pair.client.run(|| UdpSocket::bind((CLIENT, 5353)).unwrap());
    let ask6 = pair.client.run(|| UdpSocket::bind((CLIENT6, 5353)).unwrap());
    let ask = |socket: &UdpSocket, to: IpAddr| {
        udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.send_to(b"question", (to, 53)).unwrap();
        let mut buffer = [0; 20];
        let (_, from) = udp.recv_from(&mut buffer).unwrap();
        udp.send_to(b"answer", from).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 6);
    };
    ask(&ask4, SERVER.into());
    ask(&ask6, SERVER6.into());
    let ping = |to: IpAddr| {
        pair.client.run(|| {
            let output = std::process::Command::new("ping")
                .args(["-c1", "-w10", "-e77", &to.to_string()])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        });
    };
    ping(SERVER.into());
    ping(SERVER6.into());

    let (first, second) = replicate(&pair, TcpInfo::portable);
    assert_same(&first, &second);
    let [both, source, none, none6] =
        streams.each_ref().map(|stream| stream.local_addr().unwrap().port());
    let of = |port| {
        let found = second.iter().find(|entry| match entry.original.layer4 {
            Layer4::Ports { src, .. } => src == port,
            _ => false,
        });
        found.unwrap()
    };
    let nat = |entry: &Entry| {
        let status = entry.status.unwrap();
        (status.has(Status::SRC_NAT), status.has(Status::DST_NAT))
    };
    assert_eq!(nat(of(both)), (true, true));
    assert_eq!(nat(of(source)), (true, false));
    assert_eq!(nat(of(none)), (false, false));
    assert_eq!(nat(of(none6)), (false, false));
    for entry in &second {
        assert_eq!((entry.mark, entry.labels), (Some(0xaa00_0007), Some(1 << 77)));
    }
    for port in [both, source, none, none6] {
        let Some(ProtoInfo::Tcp(tcp)) = of(port).proto else { panic!("no TCP state") };
        assert_eq!(tcp.state, 3);
        for end in tcp.ends.unwrap() {
            assert!(end.scale > 0 && end.flags & TcpEnd::BE_LIBERAL == 0, "{end:?}");
        }
    }
    assert_eq!(second.iter().filter(|entry| matches!(entry.original.protocol, 1 | 58)).count(), 2);

    pair.take_over();
    for stream in &mut streams {
        exchange(stream, 3_000_000);
    }
    ask(&ask4, SERVER.into());
    ask(&ask6, SERVER6.into());
    ping(SERVER.into());
    ping(SERVER6.into());
    let mut second = pair.gateways[1].run(|| Conntrack::open().unwrap());
    for entry in entries(&mut second) {
        let (forth, back) = entry.counters.unwrap();
        assert!(forth.packets > 0 && back.packets > 0, "nothing went through {entry:?}");
    }
}

/// One line of the control connection.
fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

#[test]
fn ftp_goes_on_with_its_expectation_its_data_connection_and_its_shifted_numbers() {
    if !inside("ftp_goes_on_with_its_expectation_its_data_connection_and_its_shifted_numbers") {
        return;
    }
    let pair = Pair::new([FIRST, SECOND]);
    let listener = listen(&pair, 21);
    let mut client = BufReader::new(connect(&pair, (SERVER, 21)));
    let (server, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_canonical(), IpAddr::from(OUTER));
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut server = BufReader::new(server);
    let data = [40_001u16, 40_002, 40_003]
        .map(|port| pair.client.run(|| TcpListener::bind((CLIENT, port)).unwrap()));
    // The helper takes the first line of each side only to learn where lines begin.
    server.get_ref().write_all(b"220 ready.\r\n").unwrap();
    assert_eq!(line(&mut client), "220 ready.\r\n");
    client.get_ref().write_all(b"USER anonymous\r\n").unwrap();
    assert_eq!(line(&mut server), "USER anonymous\r\n");
    // The client names its own address, which the gateway replaces by the one that it translates
    // to: two characters more.
    let mut announce = |port: u16, client: &mut BufReader<TcpStream>| {
        let [high, low] = port.to_be_bytes();
        client.get_ref().write_all(format!("PORT 10,1,0,1,{high},{low}\r\n").as_bytes()).unwrap();
        let heard = line(&mut server);
        let mut numbers = heard.trim().trim_start_matches("PORT ").split(',');
        let numbers: Vec<u8> = numbers.by_ref().map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers[..4], OUTER.octets(), "{heard}");
        server.get_ref().write_all(b"200 PORT command successful.\r\n").unwrap();
        assert!(line(client).starts_with("200 "));
        u16::from_be_bytes([numbers[4], numbers[5]])
    };
    let dial = |port: u16, listener: &TcpListener| {
        let to = SocketAddr::from((OUTER, port));
        let dialled = pair.server.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(10)));
        let dialled = dialled.unwrap();
        (dialled, listener.accept().unwrap().0)
    };
    let port = announce(40_001, &mut client);
    let (mut far, mut near) = dial(port, &data[0]);
    far.write_all(b"first").unwrap();
    let mut buffer = [0; 5];
    near.read_exact(&mut buffer).unwrap();
    let port = announce(40_002, &mut client);

    let (first, second) = replicate(&pair, TcpInfo::portable);
    assert_same(&first, &second);
    let control = second.iter().find(|entry| entry.helper.is_some()).unwrap();
    assert_eq!(control.helper.as_deref(), Some("ftp"));
    let [forth, _] = control.seq_adjust.unwrap();
    assert_eq!((forth.before, forth.after), (2, 4));
    assert!(control.status.unwrap().has(Status::SEQ_ADJUST));
    let child = second.iter().find(|entry| entry.master.is_some()).unwrap();
    assert_eq!(child.master, Some(control.original));
    assert_eq!(child.helper, None);
    assert!(child.status.unwrap().has(Status::EXPECTED));
    let [first, second] = [0, 1].map(|i: usize| {
        let mut conntrack = pair.gateways[i].run(|| Conntrack::open().unwrap());
        expectations(&mut conntrack)
    });
    let [one] = &first[..] else { panic!("{first:?}") };
    let [other] = &second[..] else { panic!("{second:?}") };
    assert!(one.timeout.unwrap().abs_diff(other.timeout.unwrap()) <= 2);
    assert_eq!(*one, Expectation { id: one.id, timeout: one.timeout, ..other.clone() });
    assert!(one.nat.is_some() && one.function.is_some());

    pair.take_over();
    far.write_all(b"again").unwrap();
    near.read_exact(&mut buffer).unwrap();
    near.write_all(b"reply").unwrap();
    far.read_exact(&mut buffer).unwrap();
    let (mut far, mut near) = dial(port, &data[1]);
    far.write_all(b"other").unwrap();
    near.read_exact(&mut buffer).unwrap();
    // The helper goes on too: the first line here names a port.
    let port = announce(40_003, &mut client);
    let (mut far, mut near) = dial(port, &data[2]);
    far.write_all(b"third").unwrap();
    near.read_exact(&mut buffer).unwrap();
    let mut conntrack = pair.gateways[1].run(|| Conntrack::open().unwrap());
    eventually("the second gateway has the new data connections with their master", || {
        let found = entries(&mut conntrack).into_iter().filter(|entry| entry.master.is_some());
        (found.count() == 3).then_some(())
    });
}
