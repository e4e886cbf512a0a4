//! Tests of the packet reader: packets built field by field, then cut and overwritten at random.

use super::*;
use proptest::prelude::*;

const A4: [u8; 4] = [192, 0, 2, 1];
const B4: [u8; 4] = [198, 51, 100, 7];

fn a6() -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1).octets()
}

fn b6() -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 7).octets()
}

fn v4(protocol: u8, options: &[u8], fragment: u16, rest: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let length = 20 + options.len();
    let mut packet = vec![0x40 | (length / 4) as u8, 0];
    packet.extend(((length + rest.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(A4);
    packet.extend(B4);
    packet.extend(options);
    packet.extend(rest);
    packet
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(a6());
    packet.extend(b6());
    packet.extend(rest);
    packet
}

fn ports(a: u16, b: u16) -> Vec<u8> {
    let mut bytes = a.to_be_bytes().to_vec();
    bytes.extend(b.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0, 0, 0, 0, 0];
    bytes.extend(rest);
    bytes
}

fn fields4(protocol: u8, a: u16, b: u16) -> Fields {
    Fields { src: A4.into(), dst: B4.into(), protocol, a, b }
}

fn fields6(protocol: u8, a: u16, b: u16) -> Fields {
    Fields { src: a6().into(), dst: b6().into(), protocol, a, b }
}

fn plain(outer: Fields) -> Result<Parsed, Error> {
    Ok(Parsed { outer, later_fragment: false, inner: None })
}

/// An extension header of `length` bytes that names what follows it.
fn extension(header: u8, following: u8, length: usize) -> Vec<u8> {
    let size = match header {
        FRAGMENT => 0,
        AUTHENTICATION => length / 4 - 2,
        _ => length / 8 - 1,
    };
    // The third and fourth byte are a fragment's offset: 0.
    let mut bytes = vec![following, size as u8, 0, 0];
    bytes.resize(length, 0xee);
    bytes
}

#[test]
fn protocols_with_ports_give_them_and_others_give_zero() {
    for protocol in [TCP, UDP, UDPLITE, SCTP, DCCP] {
        assert_eq!(
            parse(&v4(protocol, &[], 0, &ports(1025, 443))),
            plain(fields4(protocol, 1025, 443))
        );
        assert_eq!(parse(&v6(protocol, &ports(1025, 443))), plain(fields6(protocol, 1025, 443)));
    }
    for protocol in [2, 47, 50, 89, 135, 139, 140, 255] {
        assert_eq!(parse(&v4(protocol, &[], 0, &ports(1025, 443))), plain(fields4(protocol, 0, 0)));
        assert_eq!(parse(&v6(protocol, &ports(1025, 443))), plain(fields6(protocol, 0, 0)));
        assert_eq!(parse(&v4(protocol, &[], 0, &[])), plain(fields4(protocol, 0, 0)));
    }
}

#[test]
fn icmp_gives_type_and_code() {
    assert_eq!(parse(&v4(ICMP, &[], 0, &icmp(8, 0, b"ping"))), plain(fields4(ICMP, 8, 0)));
    assert_eq!(parse(&v6(ICMPV6, &icmp(128, 0, b"ping"))), plain(fields6(ICMPV6, 128, 0)));
    assert_eq!(parse(&v6(ICMPV6, &icmp(137, 0, &[0; 32]))), plain(fields6(ICMPV6, 137, 0)));
}

#[test]
fn options_of_ipv4_are_skipped_by_the_header_length() {
    for words in 0..=10 {
        let packet = v4(TCP, &vec![1; words * 4], 0, &ports(7, 9));
        assert_eq!(parse(&packet), plain(fields4(TCP, 7, 9)), "{words} words of options");
    }
}

#[test]
fn a_header_length_that_can_not_be_is_an_error() {
    let good = v4(TCP, &[], 0, &ports(7, 9));
    for words in 0..5 {
        let mut packet = good.clone();
        packet[0] = 0x40 | words;
        assert_eq!(parse(&packet), Err(Error::HeaderLength), "{words} words");
    }
    let mut beyond_total = v4(TCP, &[1; 8], 0, &ports(7, 9));
    beyond_total[2..4].copy_from_slice(&20u16.to_be_bytes());
    assert_eq!(parse(&beyond_total), Err(Error::HeaderLength));
}

#[test]
fn bytes_behind_the_packet_are_not_taken_for_ports() {
    let mut packet = v4(UDP, &[], 0, &[]);
    packet.extend(ports(7, 9));
    assert_eq!(parse(&packet), Err(Error::Truncated));
    let mut packet = v6(UDP, &[0, 7]);
    packet.extend(ports(7, 9));
    assert_eq!(parse(&packet), Err(Error::Truncated));
}

#[test]
fn a_length_of_zero_means_all_that_is_there() {
    let mut packet = v4(TCP, &[], 0, &ports(7, 9));
    packet[2..4].fill(0);
    assert_eq!(parse(&packet), plain(fields4(TCP, 7, 9)));
    packet[0] = 0x4f;
    assert_eq!(parse(&packet), Err(Error::Truncated));
    let mut packet = v6(TCP, &ports(7, 9));
    packet[4..6].fill(0);
    assert_eq!(parse(&packet), plain(fields6(TCP, 7, 9)));
}

#[test]
fn every_extension_header_that_the_kernel_skips_is_skipped() {
    for (header, length) in [
        (HOP_BY_HOP, 8),
        (HOP_BY_HOP, 64),
        (ROUTING, 24),
        (FRAGMENT, 8),
        (AUTHENTICATION, 8),
        (AUTHENTICATION, 24),
        (DESTINATION, 16),
    ] {
        let mut rest = extension(header, UDP, length);
        rest.extend(ports(53, 5353));
        assert_eq!(parse(&v6(header, &rest)), plain(fields6(UDP, 53, 5353)), "{header}/{length}");
    }
}

#[test]
fn a_chain_of_extension_headers_is_skipped_up_to_the_limit_and_no_further() {
    let chain = |count: usize| {
        let mut rest = Vec::new();
        for i in 0..count {
            rest.extend(extension(DESTINATION, if i + 1 == count { TCP } else { DESTINATION }, 8));
        }
        rest.extend(ports(1, 2));
        v6(DESTINATION, &rest)
    };
    for count in 1..=MAX_EXTENSION_HEADERS {
        assert_eq!(parse(&chain(count)), plain(fields6(TCP, 1, 2)), "{count} headers");
    }
    assert_eq!(parse(&chain(MAX_EXTENSION_HEADERS + 1)), Err(Error::ExtensionHeaders));
    assert_eq!(parse(&chain(5000)), Err(Error::ExtensionHeaders));
}

#[test]
fn what_follows_esp_or_no_next_header_is_not_read() {
    assert_eq!(parse(&v6(50, &ports(1, 2))), plain(fields6(50, 0, 0)));
    assert_eq!(parse(&v6(59, &ports(1, 2))), plain(fields6(59, 0, 0)));
}

#[test]
fn a_first_fragment_has_ports_and_a_later_one_does_not() {
    const MORE: u16 = 0x2000;
    assert_eq!(parse(&v4(UDP, &[], MORE, &ports(7, 9))), plain(fields4(UDP, 7, 9)));
    for fragment in [1, 185, MORE | 185, 0x1fff] {
        let parsed = parse(&v4(UDP, &[], fragment, &ports(7, 9))).unwrap();
        assert_eq!(parsed.outer, fields4(UDP, 0, 0));
        assert!(parsed.later_fragment);
    }
    let mut rest = extension(FRAGMENT, UDP, 8);
    rest.extend(ports(7, 9));
    rest[3] = 1;
    assert_eq!(parse(&v6(FRAGMENT, &rest)), plain(fields6(UDP, 7, 9)), "first, more follow");
    rest[3] = 8;
    let parsed = parse(&v6(FRAGMENT, &rest)).unwrap();
    assert_eq!(parsed.outer, fields6(UDP, 0, 0));
    assert!(parsed.later_fragment);
}

#[test]
fn a_later_fragment_of_an_icmp_error_quotes_nothing() {
    let quoted = v4(UDP, &[], 0, &ports(7, 9));
    let parsed = parse(&v4(ICMP, &[], 100, &icmp(3, 3, &quoted))).unwrap();
    assert_eq!(parsed.inner, None);
    assert!(parsed.later_fragment);
}

#[test]
fn icmp_errors_give_the_packet_that_they_are_about() {
    for kind in [3, 4, 5, 11, 12] {
        // RFC 792 quotes no more than 8 bytes behind the header, whatever the total length says.
        let quoted = &v4(TCP, &[1; 4], 0, &ports(1025, 443))[..24 + 8];
        let parsed = parse(&v4(ICMP, &[], 0, &icmp(kind, 1, quoted))).unwrap();
        assert_eq!(parsed.outer, fields4(ICMP, kind.into(), 1));
        assert_eq!(parsed.inner, Some(fields4(TCP, 1025, 443)));
    }
    for kind in 1..=4 {
        let mut rest = extension(HOP_BY_HOP, UDP, 8);
        rest.extend(ports(1025, 53));
        let parsed = parse(&v6(ICMPV6, &icmp(kind, 0, &v6(HOP_BY_HOP, &rest)))).unwrap();
        assert_eq!(parsed.outer, fields6(ICMPV6, kind.into(), 0));
        assert_eq!(parsed.inner, Some(fields6(UDP, 1025, 53)));
    }
}

#[test]
fn an_icmp_error_about_a_ping_gives_its_type_and_no_further_packet() {
    let ping = v4(ICMP, &[], 0, &icmp(8, 0, b"data"));
    let parsed = parse(&v4(ICMP, &[], 0, &icmp(3, 1, &ping))).unwrap();
    assert_eq!(parsed.inner, Some(fields4(ICMP, 8, 0)));
    let error = v4(ICMP, &[], 0, &icmp(3, 1, &ping));
    let parsed = parse(&v4(ICMP, &[], 0, &icmp(3, 1, &error))).unwrap();
    assert_eq!(parsed.inner, Some(fields4(ICMP, 3, 1)));
}

#[test]
fn an_icmp_error_about_something_unreadable_is_an_error() {
    let later = v4(UDP, &[], 185, &ports(7, 9));
    for quoted in [&[][..], &[0x45], &v4(TCP, &[], 0, &[])[..20], &[0x95; 40], &later] {
        assert_eq!(parse(&v4(ICMP, &[], 0, &icmp(3, 0, quoted))), Err(Error::Inner));
    }
    assert_eq!(parse(&v4(ICMP, &[], 0, &[3, 1])), Err(Error::Inner), "no quotation at all");
}

#[test]
fn types_of_the_other_family_are_no_errors() {
    assert_eq!(parse(&v6(ICMP, &icmp(3, 1, &[]))), plain(fields6(ICMP, 3, 1)));
    assert_eq!(parse(&v4(ICMPV6, &[], 0, &icmp(1, 0, &[]))), plain(fields4(ICMPV6, 1, 0)));
}

#[test]
fn other_versions_are_refused_by_number() {
    for version in (0..16).filter(|v| ![4, 6].contains(v)) {
        assert_eq!(parse(&[version << 4; 64]), Err(Error::Version(version)));
    }
    assert_eq!(parse(&[]), Err(Error::Truncated));
}

fn any_header() -> impl Strategy<Value = (u8, usize)> {
    prop_oneof![
        (Just(HOP_BY_HOP), (1usize..4).prop_map(|n| n * 8)),
        (Just(ROUTING), (1usize..4).prop_map(|n| n * 8)),
        (Just(DESTINATION), (1usize..4).prop_map(|n| n * 8)),
        (Just(FRAGMENT), Just(8)),
        (Just(AUTHENTICATION), (2usize..6).prop_map(|n| n * 4)),
    ]
}

/// A valid packet, the fields that it has, and the number of bytes that they need.
fn any_packet() -> impl Strategy<Value = (Vec<u8>, Fields, usize)> {
    let transport = (prop_oneof![Just(TCP), Just(UDP), Just(SCTP)], any::<u16>(), any::<u16>());
    let v4 = (transport.clone(), 0usize..=10).prop_map(|((protocol, a, b), words)| {
        let packet = v4(protocol, &vec![1; words * 4], 0, &ports(a, b));
        (packet, fields4(protocol, a, b), 20 + words * 4 + 4)
    });
    let v6 = (transport, proptest::collection::vec(any_header(), 0..8)).prop_map(
        |((protocol, a, b), headers)| {
            let mut rest = Vec::new();
            for (i, (header, length)) in headers.iter().enumerate() {
                let following = headers.get(i + 1).map_or(protocol, |next| next.0);
                rest.extend(extension(*header, following, *length));
            }
            let needed = 40 + rest.len() + 4;
            rest.extend(ports(a, b));
            let next = headers.first().map_or(protocol, |header| header.0);
            (v6(next, &rest), fields6(protocol, a, b), needed)
        },
    );
    prop_oneof![v4, v6]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_read_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&packet);
    }

    #[test]
    fn random_bytes_behind_a_valid_first_byte_are_read_or_refused(
        first in prop_oneof![Just(0x45u8), Just(0x4f), Just(0x60)],
        mut packet in proptest::collection::vec(any::<u8>(), 1..400),
    ) {
        packet[0] = first;
        let _ = parse(&packet);
    }

    #[test]
    fn a_packet_is_read_exactly_when_its_ports_are_there(
        (packet, fields, needed) in any_packet(),
        cut in 0usize..400,
    ) {
        let cut = cut.min(packet.len());
        let expected = if cut >= needed { plain(fields) } else { Err(Error::Truncated) };
        prop_assert_eq!(parse(&packet[..cut]), expected);
    }

    #[test]
    fn an_error_about_any_packet_gives_its_fields((packet, fields, needed) in any_packet()) {
        let quoted = &packet[..needed];
        let (error, kind) = match fields.src {
            IpAddr::V4(_) => (v4(ICMP, &[], 0, &icmp(11, 0, quoted)), ICMP),
            IpAddr::V6(_) => (v6(ICMPV6, &icmp(3, 0, quoted)), ICMPV6),
        };
        let parsed = parse(&error).unwrap();
        prop_assert_eq!(parsed.outer.protocol, kind);
        prop_assert_eq!(parsed.inner, Some(fields));
    }

    #[test]
    fn an_overwritten_packet_is_read_or_refused(
        (mut packet, ..) in any_packet(),
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
    ) {
        let at = at.index(packet.len());
        packet[at] = value;
        let _ = parse(&packet);
    }
}
