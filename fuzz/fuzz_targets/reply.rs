//! The plaintext of a reply at a client.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{command::Reply, geometry::REPLY};

fuzz_target!(|data: &[u8]| {
    let _ = (Reply::decode(data), Reply::from_body(data));
    let mut whole = data.to_vec();
    whole.resize(REPLY.max(whole.len()), 0);
    if let Ok(reply) = Reply::decode(&whole) {
        assert_eq!(reply.encode(), whole);
    }
});
