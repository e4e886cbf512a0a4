//! Policy files: whatever they hold, they are loaded or refused with messages that can be shown.
//! A line `%%%` begins the next file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_policy::diag::render::Style;
use twinwall_policy::{Options, SourceText, load_with};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let files: Vec<_> = text
        .split("\n%%%\n")
        .enumerate()
        .map(|(i, text)| SourceText { path: format!("{i}.yaml"), text: text.to_owned() })
        .collect();
    let style = Style { colour: true, closing: Some("The running policy is unchanged.") };
    match load_with(&files, &Options { threads: 1, lint: true }) {
        Ok(loaded) => drop(loaded.text(style)),
        Err(failure) => {
            assert!(failure.error_count > 0 && !failure.diagnostics.is_empty());
            assert!(!failure.text(style).is_empty());
        }
    }
});
