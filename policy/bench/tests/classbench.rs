//! What is read from files, and what is said about files that can't be read.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do, by panicking")]

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::net::{IpAddr, Ipv4Addr};
use twinwall_classifier_bench::classbench::{
    parse_rules, parse_trace, read, write_rules, write_trace,
};
use twinwall_classifier_bench::generate::{Family, Random, load};
use twinwall_classifier_bench::model::{Networks, Rule};
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::Prefix;
use twinwall_policy::zone::{ZoneId, ZoneSet};

const RULE: &str = "@10.1.2.0/24\t192.0.2.7/32\t0 : 65535\t80 : 443\t0x06/0xFF\t0x0000/0x0200\t";
const HEADER: &str = "167837953\t3221225991\t1024\t443\t6\t4294967295\t587";

fn rule() -> Rule {
    Rule {
        networks: Networks::V4 {
            src: Prefix { bits: 0x0a01_0200, len: 24 },
            dst: Prefix { bits: 0xc000_0207, len: 32 },
        },
        protocol: Some(6),
        src_port: PortRange::ANY,
        dst_port: PortRange::new(80, 443).unwrap(),
        from: ZoneSet::ALL,
        to: ZoneSet::ALL,
    }
}

fn header() -> Flow {
    Flow {
        tuple: Tuple {
            src: Ipv4Addr::new(10, 1, 1, 1).into(),
            dst: Ipv4Addr::new(192, 0, 2, 7).into(),
            protocol: 6,
            src_port: 1024,
            dst_port: 443,
        },
        from: ZoneId::OUTSIDE,
        to: ZoneId::OUTSIDE,
    }
}

fn rule_error(line: &str) -> String {
    parse_rules("set", line).unwrap_err().to_string()
}

fn header_error(line: &str) -> String {
    parse_trace("trace", line).unwrap_err().to_string()
}

#[test]
fn rule_of_classbench_is_read_with_or_without_flags() {
    assert_eq!(parse_rules("set", RULE).unwrap(), [rule()]);
    let bare = "@10.1.2.0/24 192.0.2.7/32 0:65535 80 :443 0x06/0xFF";
    assert_eq!(parse_rules("set", bare).unwrap(), [rule()]);
}

#[test]
fn comments_and_empty_lines_are_not_rules() {
    let text = format!("# a set\n\n{RULE}\r\n   \n{RULE}");
    assert_eq!(parse_rules("set", &text).unwrap(), [rule(), rule()]);
}

#[test]
fn protocol_mask_of_zero_means_any_protocol() {
    let any = RULE.replace("0x06/0xFF", "0x06/0x00");
    assert_eq!(parse_rules("set", &any).unwrap()[0].protocol, None);
}

#[test]
fn bits_beyond_the_prefix_length_are_ignored() {
    let noisy = RULE.replace("10.1.2.0/24", "10.1.2.99/24");
    assert_eq!(parse_rules("set", &noisy).unwrap(), [rule()]);
}

#[test]
fn ipv6_rule_with_zones_is_read() {
    let text = "@2001:db8::/32\t::/0\t0 : 65535\t53 : 53\t0x11/0xFF\tfrom:0xc\tto:0x1";
    let zone = |index| ZoneId::new(index).unwrap();
    let rules = parse_rules("set", text).unwrap();
    let Networks::V6 { src, dst } = rules[0].networks else { panic!("not IPv6") };
    assert_eq!((src.bits, src.len, dst.len), (0x2001_0db8 << 96, 32, 0));
    assert_eq!(rules[0].from, ZoneSet::only(zone(2)).with(zone(3)));
    assert_eq!(rules[0].to, ZoneSet::only(zone(0)));
}

#[test]
fn header_is_read_with_and_without_flags_and_rule() {
    for columns in [5, 6, 7] {
        let line: Vec<_> = HEADER.split('\t').take(columns).collect();
        assert_eq!(parse_trace("trace", &line.join("\t")).unwrap(), [header()]);
        assert_eq!(parse_trace("trace", &line.join(" ")).unwrap(), [header()]);
    }
}

#[test]
fn small_number_beside_an_ipv6_address_is_ipv6() {
    let line = format!("{} 1 0 0 58", u128::from(u32::MAX) + 1);
    let headers = parse_trace("trace", &line).unwrap();
    assert_eq!(headers[0].tuple.src, "::1:0:0".parse::<IpAddr>().unwrap());
    assert_eq!(headers[0].tuple.dst, "::1".parse::<IpAddr>().unwrap());
}

#[test]
fn malformed_rule_is_named_by_line_and_reason() {
    let second = format!("{RULE}\nnonsense");
    let expected = "set, line 2: expected `@` and the source network, found `nonsense`";
    assert_eq!(rule_error(&second), expected);
    for (good, bad, reason) in [
        ("10.1.2.0/24", "10.1.2/24", "`10.1.2` is not an address"),
        ("10.1.2.0/24", "10.1.2.0", "`10.1.2.0` is not a network: no `/` and length"),
        ("10.1.2.0/24", "10.1.2.0/33", "a prefix length of 33 is above 32"),
        ("10.1.2.0/24", "::/24", "`::/24` and `192.0.2.7/32` are of two families"),
        ("80 : 443", "443 : 80", "destination port 443 is above 80"),
        ("80 : 443", "80 : 65536", "`65536` is not a destination port"),
        ("80 : 443", "80 443", "expected `:` between the destination ports, found `443`"),
        ("80 : 443", "80 : -1", "`-1` is not a destination port"),
        ("0x06/0xFF", "6/255", "`6` is not a protocol in hexadecimal"),
        ("0x06/0xFF", "0x06/0x0F", "the mask of the protocol is 0xf, neither 0x00 nor 0xff"),
        ("0x06/0xFF", "0x106/0xFF", "protocol 0x106 is above 0xff"),
        ("0x0000/0x0200", "rubbish", "`rubbish` is not a flag word in hexadecimal"),
        ("0x0000/0x0200", "0x0/0x0 0x0", "`0x0` comes after the last field"),
        ("0x0000/0x0200", "from:2", "`2` is not a set of zones in hexadecimal"),
    ] {
        assert_eq!(rule_error(&RULE.replace(good, bad)), format!("set, line 1: {reason}"));
    }
    let short = "@10.1.2.0/24\t192.0.2.7/32\t0 : 65535\t80 : 443";
    assert_eq!(rule_error(short), "set, line 1: the line ends before the protocol");
}

#[test]
fn malformed_header_is_named_by_line_and_reason() {
    for (good, bad, reason) in [
        ("167837953", "10.0.0", "`10.0.0` is not an address"),
        ("167837953", "::1", ""),
        ("3221225991", "::1", ""),
        ("1024", "70000", "`70000` is not a source port"),
        ("\t6\t", "\t256\t", "`256` is not a protocol"),
        ("\t587", "\tx", "`x` is not a number of flags or of a rule"),
        ("\t587", "\t587\t1", "`1` comes after the last field"),
        ("\t587", "\tfrom:64", "zone 64 is not below 64"),
    ] {
        let line = HEADER.replace(good, bad);
        if reason.is_empty() {
            // A number takes the family of the other address.
            assert!(parse_trace("trace", &line).unwrap()[0].tuple.src.is_ipv6());
        } else {
            assert_eq!(header_error(&line), format!("trace, line 1: {reason}"));
        }
    }
    let mixed = "10.0.0.1 ::1 0 0 6";
    let reason = "trace, line 1: `10.0.0.1` and `::1` are of two families";
    assert_eq!(header_error(mixed), reason);
}

#[test]
fn long_or_invisible_words_are_shown_harmlessly() {
    let long = format!("@{}/8 ::/0 0:1 0:1 0x0/0x0", "x".repeat(1000));
    assert_eq!(
        rule_error(&long),
        format!("set, line 1: `{}...` is not an address", "x".repeat(60))
    );
    assert_eq!(header_error("\x1b[2J"), "trace, line 1: `\u{fffd}[2J` is not an address");
}

#[test]
fn file_with_nothing_in_it_is_an_error() {
    assert_eq!(rule_error("# nothing\n"), "set: no rules in it");
    assert_eq!(header_error(""), "trace: no headers in it");
}

#[test]
fn what_is_written_reads_back() {
    for family in [Family::Acl, Family::Ipv6, Family::Mixed] {
        let made = load(family, 500, 2_000, 3);
        assert_eq!(parse_rules("set", &write_rules(&made.rules)).unwrap(), made.rules);
        assert_eq!(parse_trace("trace", &write_trace(&made.headers)).unwrap(), made.headers);
    }
}

#[test]
fn random_damage_is_an_error_or_a_rule_but_never_a_panic() {
    let mut random = Random::new(17);
    for _ in 0..20_000 {
        for (line, is_rule) in [(RULE, true), (HEADER, false)] {
            let mut bytes = line.as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let place = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => drop(bytes.remove(place)),
                    1 => bytes[place] = random.number() as u8,
                    _ => bytes.insert(place, b"0f:/@x \t\n9"[random.below(10) as usize]),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            let _ = if is_rule {
                parse_rules("set", &text).map(drop)
            } else {
                parse_trace("trace", &text).map(drop)
            };
        }
    }
}

#[test]
fn compressed_file_is_known_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.rules");
    let frame = compress_to_vec(RULE.as_bytes(), CompressionLevel::Fastest);
    std::fs::write(&path, &frame).unwrap();
    assert_eq!(read(&path).unwrap(), RULE);
    let two = [frame.clone(), frame.clone()].concat();
    std::fs::write(&path, two).unwrap();
    assert_eq!(read(&path).unwrap(), format!("{RULE}{RULE}"));
    for end in 1..frame.len() {
        std::fs::write(&path, &frame[..end]).unwrap();
        let text = read(&path);
        assert!(text.is_err() || end < 4, "cut off at {end}: {text:?}");
    }
}

#[test]
fn bytes_that_are_not_text_are_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.rules");
    std::fs::write(&path, [RULE.as_bytes(), b"\n\xff\xfe"].concat()).unwrap();
    let error = parse_rules("set", &read(&path).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("set, line 2: expected `@`"), "{error}");
    let missing = read(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: No such file"), "{missing}");
}
