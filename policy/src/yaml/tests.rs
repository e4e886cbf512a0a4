//! The tree, its places, and that every way of parsing gives the same one.

use super::*;
use crate::source::SourceText;
use crate::source::Sources;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::cell::Cell;

fn whole(text: &str) -> Result<Node<'_>, Fault> {
    check_text(text, 7, &Limits::POLICY)?;
    build::parse(text, 7, &Limits::POLICY)
}

fn tree(text: &str) -> Node<'_> {
    build::parse(text, 0, &Limits::POLICY).unwrap()
}

/// The tree with the text of every place.
fn places(text: &str, node: &Node<'_>) -> String {
    let at = &text[node.span.start as usize..node.span.end as usize];
    match (node.list(), node.map()) {
        (Some(list), _) => {
            let entries: Vec<_> = list.iter().map(|node| places(text, node)).collect();
            format!("<{at}>[{}]", entries.join(" "))
        }
        (_, Some(map)) => {
            let entries: Vec<_> =
                map.map(|(k, v)| format!("{}:{}", places(text, k), places(text, v))).collect();
            format!("<{at}>{{{}}}", entries.join(" "))
        }
        _ => format!("<{at}>"),
    }
}

#[test]
fn every_node_knows_its_place() {
    let text = "a: [ é, \"b c\" ]   # x\nb: 'd''e'  \n";
    let shown = places(text, &tree(text));
    let expected =
        "<a: [ é, \"b c\" ]   # x\nb: 'd''e'>{<a>:<[ é, \"b c\" ]>[<é> <\"b c\">] <b>:<'d''e'>}";
    assert_eq!(shown, expected);
    let text = "- a: 1\n  b:\n  - x\n\n# end\n- {}\n- [k: v]\n";
    let shown = places(text, &tree(text));
    let first = "<a: 1\n  b:\n  - x>{<a>:<1> <b>:<x>[<x>]}";
    assert_eq!(
        shown,
        format!(
            "<a: 1\n  b:\n  - x\n\n# end\n- {{}}\n- [k: v]>[{first} <{{}}>{{}} <[k: v]>[<k: v>{{<k>:<v>}}]]"
        )
    );
}

#[test]
fn scalars_keep_their_text() {
    let node = tree("- plain\n- 'si''ngle'\n- \"a\\tb\"\n- two\n  lines\n- \n- ~\n");
    let texts: Vec<_> = node.list().unwrap().iter().map(|n| n.text().unwrap()).collect();
    assert_eq!(texts, ["plain", "si'ngle", "a\tb", "two lines", "", "~"]);
    let plain: Vec<_> = node.list().unwrap().iter().map(|n| n.plain().is_some()).collect();
    assert_eq!(plain, [true, false, false, false, true, true]);
}

#[test]
fn collections_in_brackets_are_bounded() {
    let limits = Limits { flow: 1000, ..Limits::POLICY };
    for text in [
        format!("[{}]", "a, ".repeat(1_000_000)),
        format!("- {{ a: [{}] }}", "{},".repeat(1_000_000)),
        format!("a: \"{}\"", "b ".repeat(1_000_000)),
        format!("- {}", "[".repeat(200) + &"a, ".repeat(1_000_000)),
    ] {
        assert_eq!(parse(&text, 0, &limits, 1).unwrap_err().code(), codes::TOO_LARGE);
    }
    let comments = format!("a: 1\n{}b: 2\n", "# commented out\n".repeat(1000));
    assert!(parse(&comments, 0, &limits, 1).is_ok());
    let short = format!("- {{ a: [{}] }}\n", "b, ".repeat(300));
    assert!(parse(&short.repeat(1000), 0, &limits, 1).is_ok());
}

#[test]
fn counts_and_depths_are_bounded() {
    let limits = Limits { nodes: 100, depth: 5, scalar: 10, bytes: 5000, ..Limits::POLICY };
    let code = |text: &str| parse(text, 0, &limits, 1).map(|_| ()).map_err(|fault| fault.code());
    assert!(code(&"- a\n".repeat(99)).is_ok());
    assert_eq!(code(&"- a\n".repeat(100)).unwrap_err(), codes::TOO_LARGE);
    assert!(code("[[[[[a]]]]]").is_ok());
    assert_eq!(code("[[[[[[a]]]]]]").unwrap_err(), codes::TOO_LARGE);
    assert_eq!(code("- - - - - - a").unwrap_err(), codes::TOO_LARGE);
    assert_eq!(code("01234567890").unwrap_err(), codes::TOO_LARGE);
    assert_eq!(code(&" ".repeat(5001)).unwrap_err(), codes::TOO_LARGE);
}

/// Lines of all kinds that come up in a list, and around it.
const LINES: &[&str] = &[
    "  - { seq: 10, name: web, src: [lan-net, 10.0.0.0/8], service: { tcp: [80] } }",
    "  - {a: b}",
    "  - { a: 2001:db8::/32, b: \"quoted, text: #1\", c: \"\" }   # comment",
    "  - { a: 1,b: [x,y ,z] }  ",
    "  - { a: 1, }",
    "  - { }",
    "  - { a: b: c }",
    "  - { a: b } x",
    "  - { a: b }: c",
    "  - { a: \"b\\n\" }",
    "  - { a: [b, [c, {d: e}]] }",
    "  - { a: { b: { c: d } } }",
    "  - { a: - }",
    "  - { a: x:, b: :y, c: x::y }",
    "  - { a: é, b: \"é\" }",
    "  - { a: b }#c",
    "  - { a: b,",
    "      c: d }",
    "  - {a: b",
    "  }",
    "  - plain",
    "  - plain: value",
    "    next: value",
    "    list:",
    "      - x",
    "      - { y: z }",
    "  - \"quoted",
    "    on\"",
    "  - \"open",
    "  - 'x'",
    "  - |",
    "    text { a: b }",
    "  - >-",
    "  -",
    "  - - nested",
    "    - more",
    "  # comment with \" and { and '",
    "# comment",
    "",
    "   ",
    "    { a: b }",
    " - less",
    "- none",
    "  -x",
    "  x: y",
    "rules:",
    "key:",
    "other: value",
    "other: { a: b }",
    "---",
    "...",
    "%YAML 1.2",
    "a: &b c",
    "  - *b",
    "  - !t x",
    "\"q\": x",
    "? complex",
    ": value",
    "  - ? k",
    "    : v",
    "  - { a: b }\r",
    "\t- x",
];

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn a_text_cut_into_pieces_gives_the_same_tree() {
    let likely = prop::collection::vec(select(&LINES[..4]), 0..12);
    let odd = prop::collection::vec((any::<prop::sample::Index>(), select(LINES)), 0..3);
    let (cut, cases) = (Cell::new(0), 3000);
    let outcome = runner(cases).run(&(likely, odd, 1_usize..5), |(likely, odd, threads)| {
        let mut lines = vec!["version: 1", "rules:"];
        lines.extend(likely);
        lines.push("tail: 1");
        for (index, line) in odd {
            lines.insert(index.index(lines.len() + 1), line);
        }
        let text = lines.join("\n");
        if let Some(tree) = split::parse(&text, 7, &Limits::POLICY, threads, 1) {
            prop_assert_eq!(Ok(tree), whole(&text), "{}", text);
            cut.set(cut.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(cut.get() > cases / 4, "only {} of {cases} texts were cut", cut.get());
}

#[test]
fn any_text_gives_a_tree_or_a_fault() {
    let parts = prop::collection::vec(select(LINES), 0..8);
    let noise = "[ -~\n\t\r\"'{}\\[\\],:#&*!|>%@é東\u{feff}-]{0,40}";
    let at = any::<prop::sample::Index>();
    let outcome = runner(3000).run(&(parts, noise, at), |(parts, noise, at)| {
        let mut text = parts.join("\n");
        let at = text.floor_char_boundary(at.index(text.len() + 1));
        text.insert_str(at, &noise);
        check_tree(&text);
        Ok(())
    });
    outcome.unwrap();
}

/// Whatever comes of a text, its places lie within the text and on characters.
fn check_tree(text: &str) {
    fn check(node: &Node<'_>, text: &str) {
        let Span { start, end } = node.span;
        assert!(text.get(start as usize..end as usize).is_some(), "{text:?} {:?}", node.span);
        for (key, value) in node.map().into_iter().flatten() {
            assert!(key.text().is_some());
            check(key, text);
            check(value, text);
        }
        node.list().into_iter().flatten().for_each(|entry| check(entry, text));
    }
    match parse(text, 0, &Limits::POLICY, 2) {
        Ok(node) => check(&node, text),
        Err(fault) => {
            let files = [SourceText { path: "x".into(), text: text.into() }];
            let sources = Sources::new(&files);
            assert!(sources.locate(fault.span().unwrap()).is_some());
        }
    }
}
