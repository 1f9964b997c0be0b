//! An authority's vote: as it is, and a good one with places that the input edits.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use veilpost_fuzz::{edited, statement, vote};
use veilpost_packet::time::Epoch;
use veilpost_pki::{
    Params,
    statement::EquivocationProof,
    vote::{Base, Vote},
};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let proof = EquivocationProof::new(statement(1, 0, [1; 32]), statement(1, 0, [2; 32]));
    let base = Some(Base { epoch: Epoch(3), digest: [7; 32] });
    Vote { base, proofs: proof.into_iter().collect(), ..vote(0, Epoch(1), Params::standard(), &[1; 32]) }.encode()
});

fuzz_target!(|data: &[u8]| {
    for bytes in [data, &edited(&GOOD, data)] {
        if let Ok(vote) = Vote::decode(bytes) {
            assert_eq!(vote.encode(), bytes);
        }
    }
});
