//! The manual pages are held to the programs: every verb, option, policy key and JSON field that
//! exists is described, options that are described exist, and the example policy loads.
#![expect(clippy::panic, reason = "a failed test is a panic")]

use clap::{Command, CommandFactory};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use twinwall_cli::options::Options;
use twinwall_policy::SourceText;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A manual page without the escapes of its markup.
fn page(name: &str) -> String {
    let text = read(&format!("docs/man/{name}"));
    text.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", "\"")
}

/// The part of a page from a heading to the next one of the same kind.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")) + 1;
    let rest = &page[start + heading.len()..];
    let kinds: &[&str] = if heading.starts_with(".SS") { &["\n.SS", "\n.SH"] } else { &["\n.SH"] };
    let end = kinds.iter().filter_map(|kind| rest.find(kind)).min().unwrap_or(rest.len());
    &rest[..end]
}

/// Every word of letters, digits, `_` and `-`, with the dashes in front of options.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').collect()
}

fn long_options(command: &Command) -> BTreeSet<String> {
    let long = |arg: &clap::Arg| arg.get_long().map(|long| format!("--{long}"));
    command.get_arguments().filter(|arg| !arg.is_global_set()).filter_map(long).collect()
}

fn command() -> Command {
    let mut command = Options::command();
    command.build();
    command
}

#[test]
fn verbs_and_their_options_are_in_the_manual() {
    let page = page("twinwall.1");
    let command = command();
    let mut known = BTreeSet::from(["--version".to_owned()]);
    for arg in command.get_arguments() {
        let option = format!("--{}", arg.get_long().expect("options only"));
        assert!(words(section(&page, ".SH OPTIONS")).contains(&*option), "{option}");
        known.insert(option);
    }
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let text = section(&page, &format!(".SS {}", verb.get_name()));
        let there = words(text);
        for below in verb.get_subcommands().filter(|below| below.get_name() != "help") {
            assert!(there.contains(below.get_name()), "{} {}", verb.get_name(), below.get_name());
        }
        let below = verb.get_subcommands().flat_map(long_options);
        for option in long_options(verb).into_iter().chain(below) {
            let global = option == "--help";
            assert!(global || there.contains(&*option), "{} {option}", verb.get_name());
            known.insert(option);
        }
        for positional in verb.get_positionals().filter(|_| verb.get_name() != "explain") {
            let name = positional.get_value_names().unwrap()[0].as_str();
            assert!(there.contains(name), "{} {name}", verb.get_name());
        }
    }
    let described = words(&page).into_iter().filter(|word| word.starts_with("--"));
    for option in described {
        assert!(known.contains(option), "{option} is described, but no option");
    }
    let verbs: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
    for heading in section(&page, ".SH VERBS").lines().filter_map(|line| line.strip_prefix(".SS "))
    {
        assert!(verbs.contains(heading), "{heading} is described, but no verb");
    }
}

#[test]
fn fields_of_json_are_in_the_manual() {
    fn fields(value: &Value, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    out.insert(name.clone());
                    fields(value, out);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| fields(value, out)),
            _ => {}
        }
    }
    let page = page("twinwall.1");
    let json = section(&page, ".SH JSON OUTPUT");
    for report in ["apply", "confirm", "status", "rules", "sessions", "explain", "vrrp", "sync"] {
        let value =
            serde_json::from_str(&read(&format!("cli/tests/golden/{report}.json"))).unwrap();
        let mut names = BTreeSet::new();
        fields(&value, &mut names);
        let mut paragraphs = json.split("\n.TP\n");
        let of = |text: &&str| words(text.lines().next().unwrap_or("")).contains(report);
        let paragraph = paragraphs.find(of).expect(report);
        let there = words(if report == "explain" { json } else { paragraph });
        for name in names {
            assert!(there.contains(&*name), "{report}: {name}");
        }
    }
}

#[test]
fn options_of_the_daemon_are_in_its_manual() {
    let source = read("firewalld/src/options.rs");
    let page = page("twinwalld.8");
    let text = section(&page, ".SH OPTIONS");
    let there = words(text);
    let mut known: BTreeSet<String> = ["--help".into(), "--version".into()].into();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(attributes) = line.strip_prefix("#[arg(") else { continue };
        let field = lines.next().unwrap();
        let name = field.strip_prefix("pub ").and_then(|field| field.split(':').next());
        let option = format!("--{}", name.expect("a field on one line").replace('_', "-"));
        assert!(there.contains(&*option), "{option} is missing in twinwalld.8");
        let quoted = attributes.split("default_value = \"").nth(1);
        let plain = attributes.split("default_value_t = ").nth(1);
        let default = quoted
            .and_then(|rest| rest.split('"').next())
            .or_else(|| plain.and_then(|rest| rest.split(')').next()));
        if let Some(default) = default {
            let described = text.split("\n.TP").find(|entry| words(entry).contains(&*option));
            assert!(described.unwrap().contains(default), "default {default} of {option}");
        }
        known.insert(option);
    }
    assert!(known.len() > 3, "options.rs is no longer read as it is written");
    for option in there.into_iter().filter(|word| word.starts_with("--")) {
        assert!(known.contains(option), "{option} is described, but no option");
    }
}

#[test]
fn keys_of_the_policy_language_are_in_its_manual() {
    let page = page("twinwall-policy.5");
    let there = words(&page);
    let mut keys = 0;
    for entry in fs::read_dir(root().join("policy/src/syntax")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        for list in source.split("known: [").skip(1) {
            let list = list.split(']').next().unwrap();
            for key in list.split('"').skip(1).step_by(2) {
                keys += 1;
                assert!(there.contains(key), "{key} is missing in twinwall-policy.5");
            }
        }
    }
    assert!(keys > 40, "the keys are no longer read as they are written");
}

#[test]
fn example_of_the_manual_loads_without_a_warning() {
    let page = page("twinwall-policy.5");
    let example = section(&page, ".SH EXAMPLE");
    let text = example.split(".EX\n").nth(1).unwrap().split(".EE").next().unwrap().to_owned();
    let loaded = twinwall_policy::load(&[SourceText { path: "example".into(), text }]);
    let loaded = loaded.unwrap_or_else(|failure| panic!("{}", failure.text(Default::default())));
    assert_eq!(loaded.text(Default::default()), "");
    assert_eq!(loaded.tests, 2);
}
