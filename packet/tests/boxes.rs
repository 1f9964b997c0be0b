//! Streams of boxes: who can write, read, link and delete them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NETWORK, root, sealed, terms};
use proptest::prelude::*;
use std::collections::BTreeSet;
use veilpost_packet::{
    boxes::{BOX_CONTENT_MAX, BoxClass, BoxTag, BoxTerms, ReadCap, RenewalKey, SealedBox, WriteCap},
    codec::DecodeError,
    geometry::BOX_PLAINTEXT,
    ids::{BoxId, District, NetworkId},
    time::Day,
};

#[test]
fn a_reader_expects_and_opens_what_its_writer_sealed() {
    let (mut writer, reader) = (root(1).write_cap(), root(1).read_cap());
    let boxes: Vec<_> =
        (0..5u8).map(|i| writer.seal_next(&NETWORK, terms(20), &vec![i; usize::from(i) * 100]).unwrap()).collect();
    let expected = reader.window(5).unwrap();
    for (i, (sealed, expected)) in boxes.iter().zip(&expected).enumerate() {
        assert_eq!(expected.index, i as u64);
        assert_eq!(expected.id, sealed.id);
        assert_eq!(expected.open(&NETWORK, sealed).unwrap(), vec![i as u8; i * 100]);
        assert!(sealed.opens_ack(expected.ack_secret.expose()));
    }
    assert_eq!(writer.index(), 5);
    assert_eq!(reader.index(), 0, "looking ahead moves nothing");
}

#[test]
fn an_ack_secret_deletes_its_own_box_alone() {
    let expected = root(1).read_cap().window(2).unwrap();
    let first = sealed(1, b"first");
    assert!(!first.opens_ack(expected[1].ack_secret.expose()));
    assert!(!first.opens_ack(&first.ack_hash), "the hash is public");
    assert!(!first.opens_ack(&[0; 32]));
}

/// R, the first half of a signature: equal ones under two factors give a reader the stream's secret key.
fn nonce_point(sealed: &SealedBox) -> [u8; 32] {
    *sealed.signature.first_chunk().unwrap()
}

#[test]
fn no_two_boxes_of_a_stream_share_their_signatures_nonce() {
    let mut writer = root(1).write_cap();
    // Equal contents, equal terms: the boxes differ by nothing but their place in the stream.
    let boxes: Vec<_> = (0..64).map(|_| writer.seal_next(&NETWORK, terms(20), b"the same").unwrap()).collect();
    let nonces: BTreeSet<_> = boxes.iter().map(nonce_point).collect();
    assert_eq!(nonces.len(), boxes.len());
    assert_eq!(boxes.iter().map(|sealed| sealed.id).collect::<BTreeSet<_>>().len(), boxes.len());
    assert_eq!(boxes.iter().map(|sealed| sealed.ciphertext.clone()).collect::<BTreeSet<_>>().len(), boxes.len());
}

#[test]
fn a_renewal_has_another_nonce_and_the_same_content_hash() {
    let seal = |expiry| root(1).write_cap().seal_next(&NETWORK, terms(expiry), b"kept").unwrap();
    let (first, renewed) = (seal(20), seal(21));
    assert_eq!(first.verify(&NETWORK).unwrap(), renewed.verify(&NETWORK).unwrap());
    assert_ne!(nonce_point(&first), nonce_point(&renewed));
    // The very same seal again gives the very same bytes: a repeat after a crash shows nothing new.
    assert_eq!(first, seal(20));
}

#[test]
fn a_box_is_renewed_after_its_stream_has_gone_on_and_its_reader_notices_nothing() {
    let (mut writer, reader) = (root(1).write_cap(), root(1).read_cap());
    let key = writer.renewal_key();
    let first = writer.seal_next(&NETWORK, terms(20), b"kept").unwrap();
    (0..50).for_each(|_| drop(writer.seal_next(&NETWORK, terms(20), b"later").unwrap()));
    let (at, key) = (writer.index(), RenewalKey::new(*key.expose()));
    let renewed: Vec<_> = (21..30).map(|day| writer.renew(&NETWORK, &key, &first, Day(day)).unwrap()).collect();
    assert_eq!(writer.index(), at, "renewing moves nothing");
    for (sealed, day) in renewed.iter().zip(21..) {
        assert_eq!((sealed.id, sealed.expiry, &sealed.ciphertext), (first.id, Day(day), &first.ciphertext));
        assert_eq!(sealed.verify(&NETWORK), first.verify(&NETWORK));
        assert_eq!(reader.expected().unwrap().open(&NETWORK, sealed).unwrap(), b"kept");
    }
    // Every signature of the stream, renewals too, has a nonce of its own, and the same renewal is the same bytes.
    let later = writer.seal_next(&NETWORK, terms(21), b"kept").unwrap();
    let nonces: BTreeSet<_> = renewed.iter().chain([&first, &later]).map(nonce_point).collect();
    assert_eq!(nonces.len(), renewed.len() + 2);
    assert_eq!(writer.renew(&NETWORK, &key, &first, Day(21)).unwrap(), renewed[0]);
}

#[test]
fn boxes_that_a_writer_leaves_out_are_left_out_by_its_reader_too() {
    let (mut writer, reader) = (root(1).write_cap(), root(1).read_cap());
    writer.skip_to(7);
    let sealed = writer.seal_next(&NETWORK, terms(20), b"seven").unwrap();
    assert_eq!(reader.window(8).unwrap()[7].open(&NETWORK, &sealed).unwrap(), b"seven");
    writer.skip_to(3);
    assert_eq!(writer.index(), 8, "never back");
}

#[test]
fn another_boxes_key_and_another_streams_seed_renew_nothing() {
    let mut writer = root(1).write_cap();
    let own = writer.renewal_key();
    let first = writer.seal_next(&NETWORK, terms(20), b"kept").unwrap();
    let next = writer.renewal_key();
    let refused = Err(DecodeError::Invalid("renewal key"));
    assert_eq!(writer.renew(&NETWORK, &next, &first, Day(21)), refused);
    assert_eq!(root(2).write_cap().renew(&NETWORK, &own, &first, Day(21)), refused);
    assert_eq!(format!("{own:?}"), "RenewalKey(..)");
}

#[test]
fn a_read_capability_opens_nothing_earlier() {
    let mut writer = root(1).write_cap();
    let boxes: Vec<_> = (0..6).map(|_| writer.seal_next(&NETWORK, terms(20), b"secret").unwrap()).collect();
    let mut late = root(1).read_cap();
    (0..3).for_each(|_| late.advance());
    let late = ReadCap::from_bytes(&late.to_bytes()).unwrap();
    let reach: Vec<_> = late.window(64).unwrap();
    for earlier in &boxes[..3] {
        assert!(reach.iter().all(|expected| expected.id != earlier.id));
        // Not even if it is told that the box is the one that it expects.
        let disguised = SealedBox { id: reach[0].id, ..earlier.clone() };
        assert!(reach[0].open(&NETWORK, &disguised).is_err());
        assert!(reach.iter().all(|expected| !earlier.opens_ack(expected.ack_secret.expose())));
    }
    for (later, expected) in boxes[3..].iter().zip(&reach) {
        assert_eq!(expected.open(&NETWORK, later).unwrap(), b"secret");
    }
}

#[test]
fn a_capability_survives_its_bytes() {
    let mut writer = root(1).write_cap();
    (0..3).for_each(|_| drop(writer.seal_next(&NETWORK, terms(20), b"before").unwrap()));
    let mut again = WriteCap::from_bytes(&writer.to_bytes()).unwrap();
    assert_eq!(again.index(), 3);
    let reader = ReadCap::from_bytes(&again.read_cap().to_bytes()).unwrap();
    let sealed = writer.seal_next(&NETWORK, terms(20), b"after").unwrap();
    assert_eq!(again.seal_next(&NETWORK, terms(20), b"after").unwrap(), sealed);
    assert_eq!(reader.expected().unwrap().open(&NETWORK, &sealed).unwrap(), b"after");
    for length in [0, 71, 73] {
        assert!(WriteCap::from_bytes(&vec![1; length]).is_err());
        assert!(ReadCap::from_bytes(&vec![1; length]).is_err());
    }
}

#[test]
fn a_capability_whose_stream_key_is_no_point_is_refused_without_a_panic() {
    let mut bytes = root(1).read_cap().to_bytes();
    let mut refused = 0;
    for low in 0..32 {
        bytes[0] = low;
        let cap = ReadCap::from_bytes(&bytes).unwrap();
        refused += usize::from(cap.expected().is_err());
        let _ = cap.window(2);
    }
    assert!((4..28).contains(&refused), "about half of all strings are no points, here {refused} of 32");
}

#[test]
fn changing_anything_that_the_signature_covers_breaks_it() {
    let good = sealed(1, b"signed");
    type Change = fn(&mut SealedBox);
    assert!(good.verify(&NETWORK).is_some());
    assert!(good.verify(&NetworkId([2; 32])).is_none(), "another network");
    let changes: [(&str, Change); 7] = [
        ("district", |sealed| sealed.district = District(1)),
        ("class", |sealed| sealed.class = BoxClass::Contested),
        ("ack hash", |sealed| sealed.ack_hash[31] ^= 1),
        ("expiry", |sealed| sealed.expiry = Day(21)),
        ("ciphertext", |sealed| sealed.ciphertext[3_335] ^= 0x80),
        ("signature", |sealed| sealed.signature[0] ^= 1),
        ("id", |sealed| sealed.id = common::sealed(2, b"").id),
    ];
    for (what, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.verify(&NETWORK).is_none(), "{what}");
        let expected = root(1).read_cap().expected().unwrap();
        assert!(expected.open(&NETWORK, &bad).is_err(), "{what}");
    }
}

#[test]
fn a_box_id_of_small_order_signs_nothing() {
    // The identity point with R = identity and s = 0 satisfies the plain Ed25519 equation for every message.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut sealed = sealed(1, b"anything");
    sealed.id = BoxId(identity);
    sealed.signature = [0; 64];
    sealed.signature[0] = 1;
    assert!(sealed.verify(&NETWORK).is_none());
}

#[test]
fn a_mailbox_cannot_pass_one_box_for_another() {
    let mut writer = root(1).write_cap();
    let _first = writer.seal_next(&NETWORK, terms(20), b"first").unwrap();
    let second = writer.seal_next(&NETWORK, terms(20), b"second").unwrap();
    let expected = root(1).read_cap().expected().unwrap();
    assert_eq!(expected.open(&NETWORK, &second), Err(DecodeError::Invalid("box id")));
    assert_eq!(expected.open(&NETWORK, &sealed(2, b"first")), Err(DecodeError::Invalid("box id")));
}

#[test]
fn content_fills_a_box_to_the_bound_and_one_byte_more_does_not_fit() {
    assert_eq!(BOX_CONTENT_MAX, BOX_PLAINTEXT - 2);
    let expected = root(1).read_cap().expected().unwrap();
    for length in [0, 1, BOX_CONTENT_MAX] {
        let content = vec![0xAB; length];
        assert_eq!(expected.open(&NETWORK, &sealed(1, &content)).unwrap(), content);
    }
    for length in [BOX_CONTENT_MAX + 1, 65_535, 65_536 + 10] {
        let mut writer = root(1).write_cap();
        assert_eq!(writer.seal_next(&NETWORK, terms(20), &vec![0; length]).unwrap_err().0, length);
        assert_eq!(writer.index(), 0, "a refused content uses up no index");
    }
}

#[test]
fn stored_bytes_are_of_one_size_and_nothing_may_follow() {
    let sealed = sealed(1, b"stored");
    let mut bytes = sealed.to_bytes();
    assert_eq!(bytes.len(), SealedBox::SIZE);
    assert_eq!(SealedBox::from_bytes(&bytes).unwrap(), sealed);
    assert_eq!(SealedBox::from_bytes(&bytes[1..]), Err(DecodeError::Truncated));
    bytes.push(0);
    assert_eq!(SealedBox::from_bytes(&bytes), Err(DecodeError::Trailing));
    bytes.pop();
    bytes[34] = 2;
    assert_eq!(SealedBox::from_bytes(&bytes), Err(DecodeError::Invalid("box class")));
}

#[test]
fn nothing_of_a_stream_is_printed() {
    let sealed = sealed(1, b"hidden");
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        root(1),
        root(1).write_cap(),
        root(1).read_cap(),
        sealed.id,
        BoxTag::of(&sealed.id),
        sealed
    );
    assert_eq!(
        shown,
        "StreamRoot(Secret32(..)) WriteCap { index: 0, .. } ReadCap { index: 0, .. } BoxId(..) BoxTag(..) \
         SealedBox { class: Solo, .. }"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_box_of_any_stream_opens_for_its_reader_alone(
        seed: [u8; 32], network: [u8; 32], district: u16, contested: bool, expiry: u32, skip in 0usize..20,
        content in proptest::collection::vec(any::<u8>(), 0..=BOX_CONTENT_MAX),
    ) {
        let network = NetworkId(network);
        let class = if contested { BoxClass::Contested } else { BoxClass::Solo };
        let terms = BoxTerms { district: District(district), class, expiry: Day(expiry) };
        let stream = veilpost_packet::boxes::StreamRoot::new(seed);
        let (mut writer, mut reader) = (stream.write_cap(), stream.read_cap());
        for _ in 0..skip {
            writer.seal_next(&network, terms, b"").unwrap();
            reader.advance();
        }
        let sealed = writer.seal_next(&network, terms, &content).unwrap();
        let back = SealedBox::from_bytes(&sealed.to_bytes()).unwrap();
        prop_assert!(back == sealed && back.verify(&network).is_some());
        prop_assert_eq!(reader.expected().unwrap().open(&network, &back).unwrap(), content);
        let mut other = seed;
        other[0] ^= 1;
        let other = veilpost_packet::boxes::StreamRoot::new(other).read_cap();
        prop_assert!(other.expected().unwrap().open(&network, &back).is_err());
    }
}
