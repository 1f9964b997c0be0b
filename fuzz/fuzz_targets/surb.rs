//! A SURB that a stranger made, used for a reply.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{
    geometry::{PLAINTEXT, SURB},
    sphinx::Surb,
};

fuzz_target!(|data: &[u8]| {
    let mut bytes = [0; SURB];
    let length = data.len().min(SURB);
    bytes[..length].copy_from_slice(&data[..length]);
    if let Ok(surb) = Surb::from_bytes(&bytes) {
        assert_eq!(surb.as_bytes(), bytes);
        let _ = surb.first_hop();
        let _ = surb.reply(&[1; PLAINTEXT]);
    }
});
