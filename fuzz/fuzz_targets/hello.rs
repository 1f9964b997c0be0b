//! A hello's body.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{frame::Hello, geometry::FRAME_BODY};

fuzz_target!(|data: &[u8]| {
    if let Ok(hello) = Hello::decode(data) {
        if data.len() <= FRAME_BODY {
            assert_eq!(Hello::decode(hello.to_frame().body()), Ok(hello));
        }
    }
});
