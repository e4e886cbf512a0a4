//! IP packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinwall_netlink::nfqueue::packet::{Error, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(parsed) = parse(data) else { return };
    assert_eq!(parsed.outer.src.is_ipv4(), parsed.outer.dst.is_ipv4());
    if parsed.later_fragment {
        assert_eq!((parsed.outer.a, parsed.outer.b, parsed.inner), (0, 0, None));
    }
    // Fields come from the front: bytes behind them change nothing, fewer bytes give the same
    // fields or none.
    for cut in 0..data.len().min(128) {
        match parse(&data[..cut]) {
            Ok(part) => assert_eq!(part.outer, parsed.outer),
            Err(Error::Truncated | Error::Inner | Error::ExtensionHeaders) => {}
            Err(error) => panic!("cut to {cut} bytes: {error}"),
        }
    }
});
