//! A want's body.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::frame::Want;

fuzz_target!(|data: &[u8]| {
    if let Ok(want) = Want::decode(data) {
        assert_eq!(Want::decode(want.to_frame().body()), Ok(want));
    }
});
