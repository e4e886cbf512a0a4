//! The manual page of the settings is held to what the daemon reads: every key is described, and
//! the example is accepted.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use twinwall_firewalld::config::Config;
use twinwall_policy::SourceText;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The page without the escapes of its markup.
fn page() -> String {
    let text = fs::read_to_string(root().join("docs/man/twinwalld.yaml.5")).unwrap();
    text.replace("\\-", "-").replace("\\(aq", "'")
}

#[test]
fn every_key_is_in_the_manual() {
    let page = page();
    let there: BTreeSet<&str> =
        page.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let mut keys = 0;
    for file in ["mod.rs", "vrrp.rs", "sync.rs"] {
        let source = fs::read_to_string(root().join("firewalld/src/config").join(file)).unwrap();
        for list in source.split("known: [").skip(1) {
            let list = list.split(']').next().unwrap();
            for key in list.split('"').skip(1).step_by(2) {
                keys += 1;
                assert!(there.contains(key), "{key} is missing in twinwalld.yaml.5");
            }
        }
    }
    assert!(keys > 25, "the keys are no longer read as they are written");
}

#[test]
fn the_example_is_accepted() {
    let page = page();
    let text = page.split(".EX\n").nth(1).unwrap().split(".EE").next().unwrap().to_owned();
    let config = Config::parse(SourceText { path: "example".into(), text }, "").unwrap();
    assert_eq!(config.groups.iter().map(|group| group.routers.len()).sum::<usize>(), 3);
}
