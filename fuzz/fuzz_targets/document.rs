//! A network document: as it is, and one with places that the input edits, under the network's authorities and with a chain of
//! hand-overs to them.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, sync::LazyLock};
use veilpost_fuzz::{authorities, authority, edited, view};
use veilpost_packet::{
    ids::BoxId,
    random::seeded,
    time::{Epoch, Timestamp},
};
use veilpost_pki::{
    UnverifiedDocument, View,
    signed::{Handover, assemble, digest},
    statement::{Kind, Statement},
    topology::{holders, reply_route},
};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| view().encode());

fuzz_target!(|data: &[u8]| {
    let _ = UnverifiedDocument::from_bytes(data);
    let _ = View::decode(data);
    let [form, edits @ ..] = data else { return };
    let (set, all) = authorities();
    let signed = edited(&GOOD, edits);
    let Ok(view) = View::decode(&signed) else { return };
    // An address has more than one spelling, and a time finer than it is kept; what is read is kept.
    let again = view.encode();
    assert_eq!(View::decode(&again).as_ref(), Ok(&view));
    // A chain to the same authorities, of as many hand-overs as the input says.
    let mut chain = set.clone();
    for n in 0..form % 3 {
        let mut handover = Handover::new(Epoch(u64::from(n) + 1), set.newest().clone());
        let signers = 2 + (form >> 6);
        (0..signers.min(4)).for_each(|n| handover.sign(&chain, authority(n)));
        if chain.hand_over(handover).is_err() {
            break;
        }
    }
    let sign = |n: usize| {
        let (network, epoch, author) = (set.network(), view.epoch, all[n].authority_id());
        let statement = Statement { network, epoch, kind: Kind::Document, author, digest: digest(&signed) };
        (author, *statement.sign(&all[n]).signature())
    };
    let signatures: BTreeMap<_, _> = (0..usize::from(form >> 3) % 5).map(sign).collect();
    let bytes = assemble(&signed, &signatures, chain.handovers());
    let unverified = UnverifiedDocument::from_bytes(&bytes).expect("its view decodes");
    let enough = signatures.len() >= set.threshold() && view.network == set.network();
    let Ok(document) = unverified.verify_timelessly(set) else { return assert!(!enough) };
    assert!(enough && document.view() == &view && *document.bytes() == bytes[..]);
    assert_eq!(document.authorities(), &chain);
    let _ = UnverifiedDocument::from_bytes(&bytes).map(|document| document.verify(set, Timestamp::from_secs(1_000)));
    for (place, relay) in view.relays() {
        assert_eq!(document.relay(&relay.id), Some((place, relay)));
        assert_eq!(document.relay_by_link(&relay.link_key), Some((place, relay)));
    }
    assert!(!holders(&view, &BoxId([4; 32])).is_empty());
    let entry = view.entries.first().expect("a checked view has an entry");
    let _ = reply_route(&mut seeded([6; 32]), &document, &[], &entry.id, entry.hop());
});
