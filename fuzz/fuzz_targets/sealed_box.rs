//! A box of a hostile mailbox or writer, given to the mailbox's check and to a reader.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_packet::{
    boxes::{SealedBox, StreamRoot},
    ids::NetworkId,
};

const NETWORK: NetworkId = NetworkId([1; 32]);

fuzz_target!(|data: &[u8]| {
    let mut whole = data.to_vec();
    whole.resize(SealedBox::SIZE.max(whole.len()), 0);
    if let Ok(sealed) = SealedBox::from_bytes(&whole) {
        assert_eq!(sealed.to_bytes(), whole);
        let _ = sealed.verify(&NETWORK);
        let _ = sealed.opens_ack(&[5; 32]);
        let expected = StreamRoot::new([2; 32]).read_cap().expected().expect("a stream of ours");
        assert!(expected.open(&NETWORK, &SealedBox { id: expected.id, ..sealed }).is_err());
    }
});
