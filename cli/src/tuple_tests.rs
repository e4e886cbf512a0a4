//! Tests of flows in words.

use super::*;
use crate::options::{Options, Verb};
use clap::Parser;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The query of a command line behind `twinwall explain`; errors of both kinds as text.
fn read(line: &str) -> Result<FlowQuery, String> {
    let zones = ["twinwall", "explain", "--from", "lan", "--to", "wan"];
    let words = zones.into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
    let options = Options::try_parse_from(words).map_err(|error| error.to_string())?;
    let Verb::Explain(explain) = options.verb else { panic!("another verb") };
    query(&explain)
}

fn tuple(line: &str) -> (u8, String, u16, String, u16) {
    let query = read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let FlowQuery { protocol, src, src_port, dst, dst_port, .. } = query;
    (protocol, src.to_string(), src_port, dst.to_string(), dst_port)
}

#[test]
fn flow_is_read_from_words() {
    let v4 = |proto, sport, dport| (proto, "10.0.0.5".into(), sport, "198.51.100.7".into(), dport);
    let v6 =
        |proto, sport, dport| (proto, "2001:db8::5".into(), sport, "2001:db8::1".into(), dport);
    assert_eq!(tuple("tcp 10.0.0.5:40000 198.51.100.7:443"), v4(6, 40000, 443));
    assert_eq!(tuple("TCP 10.0.0.5 198.51.100.7:443"), v4(6, 0, 443));
    assert_eq!(tuple("17 10.0.0.5 198.51.100.7 --dport 53 --sport 1024"), v4(17, 1024, 53));
    assert_eq!(tuple("udp [2001:db8::5]:1 [2001:db8::1]:65535"), v6(17, 1, 65535));
    assert_eq!(tuple("udp 2001:db8::5 [2001:db8::1] --dport 53"), v6(17, 0, 53));
    assert_eq!(tuple("icmp 10.0.0.5 198.51.100.7"), v4(1, 8, 0));
    assert_eq!(tuple("icmp 10.0.0.5 198.51.100.7 --type 3 --code 1"), v4(1, 3, 1));
    assert_eq!(tuple("ipv6-icmp 2001:db8::5 2001:db8::1"), v6(58, 128, 0));
    assert_eq!(tuple("esp 10.0.0.5 198.51.100.7"), v4(50, 0, 0));
    assert_eq!(tuple("200 10.0.0.5 198.51.100.7"), v4(200, 0, 0));
}

#[test]
fn flow_is_read_from_options() {
    let options = "--proto tcp --src 10.0.0.5 --dst 198.51.100.7 --sport 40000 --dport 443";
    assert_eq!(read(options).unwrap(), read("tcp 10.0.0.5:40000 198.51.100.7:443").unwrap());
    let options = "--proto tcp --src 10.0.0.5:40000 --dst 198.51.100.7:443";
    assert_eq!(read(options).unwrap(), read("tcp 10.0.0.5:40000 198.51.100.7:443").unwrap());
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    for (line, reason) in [
        ("tcp 10.0.0.5", "a flow is PROTO SRC[:PORT] DST[:PORT]"),
        ("", "the protocol is missing: give PROTO SRC[:PORT] DST[:PORT] or --proto"),
        ("--proto tcp --src 10.0.0.5", "the destination is missing"),
        ("tcp 10.0.0.5 10.0.0.6:1 --proto udp", "the protocol is given twice"),
        ("tcp 10.0.0.5:1 10.0.0.6:1 --sport 2", "the source port is given twice"),
        ("tcp 10.0.0.5 10.0.0.6 --dport 0", "the destination port can be 1 to 65535"),
        ("tcp 10.0.0.5 10.0.0.6", "tcp needs a destination port, such as 10.0.0.6:443 or"),
        ("tcp ::1 2001:db8::1:443", "such as [2001:db8::1:443]:443 or --dport 443"),
        ("tcp 10.0.0.5 [::1]:443", "10.0.0.5 and ::1 are of different address families"),
        (
            "tcp 10.0.0.5 10.0.0.6:443 --type 8",
            "--type and --code go with icmp and icmpv6, not tcp",
        ),
        ("icmp 10.0.0.5 10.0.0.6:8", "icmp has no ports; it has --type and --code"),
        ("icmp ::1 ::2", "icmp goes with IPv4, icmpv6 with IPv6"),
        ("icmpv6 10.0.0.5 10.0.0.6", "icmp goes with IPv4, icmpv6 with IPv6"),
        ("esp 10.0.0.5 10.0.0.6:443", "esp has no ports"),
        ("tpc 10.0.0.5 10.0.0.6:443", "`tpc` is not a protocol"),
        ("256 10.0.0.5 10.0.0.6:443", "`256` is not a protocol"),
        ("tcp 10.0.0.256 10.0.0.6:443", "`10.0.0.256` is not an address such as"),
        ("tcp 10.0.0.5:x 10.0.0.6:443", "`x` is not a port from 1 to 65535, in `10.0.0.5:x`"),
        ("tcp 10.0.0.5:0 10.0.0.6:443", "`0` is not a port from 1 to 65535"),
        ("tcp 10.0.0.5:65536 10.0.0.6:443", "`65536` is not a port"),
        ("tcp [::1 [::2]:443", "`[::1` is not an address"),
        ("tcp [::1]443 [::2]:443", "`[::1]443` is not an address"),
        ("tcp [10.0.0.5]:1 10.0.0.6:443", "`[10.0.0.5]:1` is not an address"),
        ("tcp web 10.0.0.6:443", "`web` is not an address"),
    ] {
        let error = read(line).expect_err(line);
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert_eq!(
        number("\u{1b}[2J").unwrap_err(),
        "`\u{FFFD}[2J` is not a protocol: a name such as tcp, or 0 to 255"
    );
    assert_eq!(shorten(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

/// Text that is nearly an address, port or protocol.
fn near() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("["),
        Just("]"),
        Just(":"),
        Just("::"),
        Just("."),
        Just("10.0.0.5"),
        Just("0"),
        Just("2001:db8::1"),
        Just("443"),
        Just("65536"),
        Just("tcp"),
        Just("icmp"),
        Just("é"),
        Just("\u{0}"),
        Just("-"),
        Just("/24"),
        Just("%eth0"),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn explain(flow: Vec<String>) -> impl Strategy<Value = Explain> {
    let text = || proptest::option::of(near());
    let port = || proptest::option::of(any::<u16>());
    let byte = || proptest::option::of(any::<u8>());
    (text(), text(), text(), port(), port(), byte(), byte()).prop_map(
        move |(proto, src, dst, sport, dport, icmp_type, icmp_code)| Explain {
            flow: flow.clone(),
            from: "lan".into(),
            to: "wan".into(),
            proto,
            src,
            dst,
            sport,
            dport,
            icmp_type,
            icmp_code,
            policy: None,
            brief: false,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_makes_the_parser_panic(
        explain in proptest::collection::vec(prop_oneof![near(), any::<String>()], 0..5)
            .prop_flat_map(explain)
    ) {
        if let Ok(query) = query(&explain) {
            prop_assert_eq!(query.src.is_ipv4(), query.dst.is_ipv4());
            prop_assert!(has_ports(query.protocol) == (query.dst_port != 0)
                || matches!(query.protocol, protocol::ICMP | protocol::ICMPV6));
        }
    }

    #[test]
    fn endpoint_is_read_as_it_is_written(
        address in address(),
        port in proptest::option::of(1..=u16::MAX),
    ) {
        let written = Endpoint { address, port };
        prop_assert_eq!(endpoint(&written.to_string()), Ok(written));
    }

    #[test]
    fn flow_in_words_is_read_as_the_same_flow(
        (src, dst) in (address(), address())
            .prop_filter("one family", |(a, b)| a.is_ipv4() == b.is_ipv4()),
        proto: u8,
        sport: u16,
        dport in 1..=u16::MAX,
        kind: (u8, u8),
    ) {
        let icmp = if src.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
        let (proto, sport, dport) = match proto {
            protocol::ICMP | protocol::ICMPV6 => (icmp, kind.0.into(), kind.1.into()),
            proto if has_ports(proto) => (proto, sport, dport),
            proto => (proto, 0, 0),
        };
        let words = in_words(&name(proto), (src, sport), (dst, dport));
        let query = read(&words).unwrap();
        prop_assert_eq!(
            (query.protocol, query.src, query.src_port, query.dst, query.dst_port),
            (proto, src, sport, dst, dport),
            "{}", words
        );
    }
}
