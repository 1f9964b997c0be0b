//! A network document: as it is, and with the input as its signed part under the network's authority.
#![no_main]
use libfuzzer_sys::fuzz_target;
use veilpost_fuzz::{overwrite, signer};
use veilpost_packet::{ids::BoxId, primitives::label, random::seeded, time::Timestamp};
use veilpost_pki::{
    AuthoritySet, UnverifiedDocument, View,
    topology::{holders, reply_route},
};

fuzz_target!(|data: &[u8]| {
    let _ = UnverifiedDocument::from_bytes(data);
    let signer = signer();
    let authorities = AuthoritySet::new("fuzz", &[signer.authority_id()], 0).expect("one authority is a network");
    let mut signed = data.to_vec();
    // Behind the version.
    overwrite(&mut signed, 4, authorities.network().as_bytes());
    let mut bytes = (signed.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&signed);
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(signer.authority_id().as_bytes());
    bytes.extend_from_slice(&signer.sign(label::DOCUMENT_SIGNATURE, &signed));
    let Ok(unverified) = UnverifiedDocument::from_bytes(&bytes) else { return };
    let Ok(document) = unverified.verify(&authorities, Timestamp::from_secs(1_000)) else { return };
    let view = document.view();
    assert_eq!(View::decode(&view.encode()).as_ref(), Ok(view));
    assert!(!holders(view, &BoxId([4; 32])).is_empty());
    let entry = view.entries.first().expect("a checked view has an entry");
    let _ = reply_route(&mut seeded([6; 32]), &document, &[], &entry.id, entry.hop());
});
