//! Datagrams about interfaces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_netlink::link::{Event, events};

fuzz_target!(|data: &[u8]| {
    let mut count = 0;
    for event in events(data) {
        count += 1;
        if let Event::Changed(link) = event {
            assert!(link.index != 0 && !link.name.is_empty());
        }
    }
    assert!(count <= data.len() / 16);
});
