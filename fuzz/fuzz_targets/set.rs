//! A part of a set: as it is, and signed by a mailbox whose key the input cannot know.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{overwrite, signer};
use veilpost_packet::{primitives::label, set::SignedSet};

fuzz_target!(|data: &[u8]| {
    let _ = SignedSet::verify(data);
    let (mut bytes, signer) = (data.to_vec(), signer());
    // Behind network id and document hash.
    overwrite(&mut bytes, 40, signer.node_id().as_bytes());
    let signature = signer.sign(label::SET_SIGNATURE, &bytes);
    bytes.extend_from_slice(&signature);
    if let Ok(set) = SignedSet::verify(&bytes)
        && set.part().parts == 1
    {
        let again = set.part().head.sign(set.part().tags.clone(), &signer);
        assert_eq!(again.first().map(SignedSet::as_bytes), Some(&bytes[..]));
    }
});
