//! A descriptor: as it is, and signed by a node whose key the input cannot know.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{overwrite, signer};
use veilpost_packet::primitives::label;
use veilpost_pki::Descriptor;

fuzz_target!(|data: &[u8]| {
    let _ = Descriptor::verify(data);
    let (mut bytes, signer) = (data.to_vec(), signer());
    // Behind the version.
    overwrite(&mut bytes, 1, signer.node_id().as_bytes());
    let signature = signer.sign(label::DESCRIPTOR_SIGNATURE, &bytes);
    bytes.extend_from_slice(&signature);
    if let Ok(descriptor) = Descriptor::verify(&bytes) {
        assert_eq!(Descriptor::verify(&descriptor.sign(&signer)), Ok(descriptor));
    }
});
