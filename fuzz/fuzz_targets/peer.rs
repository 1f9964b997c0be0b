//! What one mailbox tells another: a hostile one is of the set too.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::peer::PeerBody;

fuzz_target!(|data: &[u8]| {
    if let Ok(items) = PeerBody::decode(data) {
        let mut body = PeerBody::default();
        items.into_iter().for_each(|item| body.push(item));
        let frame = body.to_frame();
        // The same again, but for the padding.
        let (same, padding) = frame.body().split_at(data.len().min(frame.body().len()));
        if data.len() <= frame.body().len() {
            assert_eq!(same, data);
            assert!(padding.iter().all(|byte| *byte == 0));
        }
    }
});
