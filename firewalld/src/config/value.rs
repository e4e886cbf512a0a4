//! Single values that policies don't have: durations, switches, interfaces, programs.

use std::net::IpAddr;
use std::time::Duration;
use twinwall_policy::diag::{Fault, Faults, codes};
use twinwall_policy::form::scalar::{Word, Words, one_or_more, shorten};
use twinwall_policy::form::{network, wrong_kind};
use twinwall_policy::yaml::Node;

/// Words for what is either so or not.
pub(super) const SWITCH: Words<bool> = Words {
    of: "a truth value",
    known: &[("true", true), ("false", false)],
    others: &[("yes", "true"), ("on", "true"), ("no", "false"), ("off", "false")],
};

/// A duration within bounds, such as `10ms` or `1s 500ms`.
pub(super) fn duration(
    node: &Node<'_>,
    least: Duration,
    most: Duration,
    faults: &mut Faults,
) -> Option<Duration> {
    let Some(text) = node.text().filter(|text| !text.is_empty()) else {
        faults.push(wrong_kind(node, "a duration belongs here"));
        return None;
    };
    // A number without a unit would be a guess.
    let fault = match humantime::parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => return Some(duration),
        Ok(_) => {
            let [least, most] = [least, most].map(humantime::format_duration);
            Fault::error(codes::BAD_NUMBER, format!("{} is out of range", shorten(text)))
                .at(node.span, format!("can be {least} to {most}"))
        }
        Err(_) => Fault::error(codes::BAD_NUMBER, format!("`{}` is not a duration", shorten(text)))
            .at(node.span, "a number and its unit, such as 100ms, 5s or 2m"),
    };
    faults.push(fault);
    None
}

/// Addresses, one or several.
pub(super) fn addresses(node: &Node<'_>, faults: &mut Faults) -> Option<Vec<IpAddr>> {
    let list = one_or_more(node, "an address or a list of addresses", faults)?;
    let mut good = Vec::new();
    for entry in list {
        let text = entry.text().unwrap_or("");
        match text.parse() {
            Ok(address) => good.push(address),
            Err(_) => {
                let message = format!("`{}` is not an address", shorten(text));
                let fault = Fault::error(codes::BAD_ADDRESS, message);
                let label =
                    if text.contains('/') { "write it without a prefix length" } else { "" };
                faults.push(fault.at(entry.span, label));
            }
        }
    }
    (good.len() == list.len()).then_some(good)
}

/// The name of one interface.
pub(super) fn interface(node: &Node<'_>, faults: &mut Faults) -> Option<String> {
    let Some(word) = Word::of(node).filter(|word| !word.text.is_empty()) else {
        faults.push(wrong_kind(node, "the name of an interface belongs here"));
        return None;
    };
    network::interface(word, false, faults).then(|| word.text.to_owned())
}

/// A program and its arguments. The program's path is absolute: a daemon has no PATH to rely on.
pub(super) fn program(node: &Node<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let list = one_or_more(node, "a program, or a list of a program and its arguments", faults)?;
    let words: Vec<String> =
        list.iter().filter_map(|entry| Some(entry.text()?.to_owned())).collect();
    match words.first() {
        Some(program) if program.starts_with('/') => Some(words),
        _ => {
            let fault = Fault::error(codes::BAD_WORD, "the program needs an absolute path");
            faults.push(fault.at(node.span, "such as /usr/local/bin/check-uplink"));
            None
        }
    }
}
