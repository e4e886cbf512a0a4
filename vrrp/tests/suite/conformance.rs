//! The cases of `conformance/`: what a node does in the scenarios that matter, as text.

use crate::script::Script;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_case_comes_out_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut wrong = String::new();
    let mut cases = 0;
    for case in sorted(&root) {
        if !case.is_dir() {
            continue;
        }
        cases += 1;
        assert!(case.join("README.md").exists(), "{} has no README.md", case.display());
        wrong += &run(&case);
    }
    assert!(cases >= 12, "only {cases} cases in {}", root.display());
    assert!(wrong.is_empty(), "{wrong}");
}

/// Runs a case; returns what came out otherwise than written.
fn run(case: &Path) -> String {
    let config = fs::read_to_string(case.join("node")).unwrap();
    let mut script = Script::new(&config, true).unwrap_or_else(|e| panic!("{case:?}: {e}"));
    let inputs = sorted(case).into_iter().filter(|path| path.to_string_lossy().ends_with("-input"));
    let (mut wrong, mut steps) = (String::new(), 0);
    for input in inputs {
        steps += 1;
        let text = fs::read_to_string(&input).unwrap();
        let mut lines = script.run(&text).unwrap_or_else(|e| panic!("{}: {e}", input.display()));
        lines.extend(script.states());
        let came = lines.join("\n") + "\n";
        let output = PathBuf::from(input.to_string_lossy().replace("-input", "-output"));
        let written = fs::read_to_string(&output).unwrap_or_default();
        if came != written {
            wrong += &format!("--- {}\n{written}+++ came\n{came}", output.display());
        }
    }
    assert!(steps > 0, "{} has no input", case.display());
    wrong
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}
