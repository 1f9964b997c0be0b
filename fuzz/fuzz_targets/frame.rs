//! A frame as it comes off a link.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{frame::Frame, geometry::FRAME, time::Epoch};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = Frame::from_bytes(data) {
        assert_eq!(frame.as_bytes(), data);
        let epochs = (0..32).filter(|epoch| frame.flags().is_for(Epoch(*epoch))).count();
        assert!(epochs == 2 || epochs == 0, "flags name an epoch modulo 16, or none");
    }
    // The input as the head of a frame of the right size: otherwise nearly every input is refused for its length.
    let mut whole = data.to_vec();
    whole.resize(FRAME, 0);
    if let Ok(frame) = Frame::from_bytes(&whole) {
        assert_eq!(Frame::new(frame.kind(), frame.flags(), frame.body()).expect("its own body fits"), frame);
    }
});
