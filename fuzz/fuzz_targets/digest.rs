//! A digest: as it is, and signed by a mailbox whose key the input cannot know.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{overwrite, signer};
use veilpost_packet::{digest::SignedDigest, primitives::label};

fuzz_target!(|data: &[u8]| {
    let _ = SignedDigest::verify(data);
    let (mut bytes, signer) = (data.to_vec(), signer());
    // Behind network id and document hash.
    overwrite(&mut bytes, 40, signer.node_id().as_bytes());
    let signature = signer.sign(label::DIGEST_SIGNATURE, &bytes);
    bytes.extend_from_slice(&signature);
    if let Ok(digest) = SignedDigest::verify(&bytes) {
        let again = digest.digest().clone().sign(&signer);
        assert_eq!(again.as_bytes(), bytes);
    }
});
