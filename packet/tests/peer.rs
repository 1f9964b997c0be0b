//! What one mailbox tells another: one encoding, and nothing taken that is not whole.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::sealed;
use proptest::prelude::*;
use veilpost_packet::{
    boxes::ContentHash,
    codec::DecodeError,
    geometry::FRAME_BODY,
    ids::BoxId,
    peer::{Copy, PeerBody, PeerItem, PlacementHash, Refusal},
    time::Day,
};

fn item() -> impl Strategy<Value = PeerItem> {
    let id = any::<[u8; 32]>().prop_map(BoxId);
    let content = any::<[u8; 32]>().prop_map(ContentHash);
    let signature = || any::<[u8; 32]>().prop_map(|half| [half, half].concat().try_into().unwrap());
    prop_oneof![
        (any::<bool>(), signature(), any::<u64>(), any::<bool>()).prop_map(|(held, signature, store, announced)| {
            let sealed = Box::new(sealed(1, b"copied"));
            PeerItem::Copy(Copy { sealed, held: held.then_some(signature), store, announced })
        }),
        (id.clone(), content.clone(), any::<u32>(), any::<u64>(), signature(), any::<bool>()).prop_map(
            |(id, content, expiry, store, signature, asks)| {
                PeerItem::Holds { id, content, expiry: Day(expiry), store, signature, asks }
            }
        ),
        (id.clone(), content, any::<bool>()).prop_map(|(id, content, full)| {
            PeerItem::Refuse { id, content, why: if full { Refusal::Full } else { Refusal::Busy } }
        }),
        (id.clone(), any::<[u8; 32]>()).prop_map(|(id, secret)| PeerItem::Gone { id, secret }),
        id.prop_map(|id| PeerItem::Ask { id }),
        proptest::collection::vec(any::<u8>(), 1..200).prop_map(PeerItem::Piece),
        (any::<u64>(), any::<[u8; 8]>(), any::<bool>()).prop_map(|(store, placement, swept)| PeerItem::State {
            store,
            placement: PlacementHash(placement),
            swept
        }),
    ]
}

fn encoded(items: Vec<PeerItem>) -> Vec<u8> {
    let mut body = PeerBody::default();
    items.into_iter().for_each(|item| body.push(item));
    body.to_frame().body().to_vec()
}

proptest! {
    #[test]
    fn what_fits_arrives_in_order_and_encodes_to_the_same(items in proptest::collection::vec(item(), 0..40)) {
        let bytes = encoded(items.clone());
        let again = PeerBody::decode(&bytes).unwrap();
        prop_assert!(again.iter().map(PeerItem::size).sum::<usize>() <= FRAME_BODY);
        let kinds = |items: &[PeerItem]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>();
        if items.iter().map(PeerItem::size).sum::<usize>() <= FRAME_BODY {
            prop_assert_eq!(kinds(&again), kinds(&items));
        }
        prop_assert_eq!(encoded(again), bytes);
    }

    #[test]
    fn any_bytes_are_refused_or_are_the_encoding_of_what_they_say(bytes in proptest::collection::vec(0u8..9, 0..400)) {
        if let Ok(items) = PeerBody::decode(&bytes) {
            prop_assert_eq!(&encoded(items)[..bytes.len()], &bytes[..]);
        }
    }
}

#[test]
fn a_copy_that_is_not_held_has_no_room_for_a_signature() {
    let copy = |held| PeerItem::Copy(Copy { sealed: Box::new(sealed(1, b"copied")), held, store: 1, announced: false });
    let mut bytes = encoded(vec![copy(None)]);
    assert_eq!(bytes[1], 0);
    bytes[10] = 1;
    assert_eq!(PeerBody::decode(&bytes).unwrap_err(), DecodeError::Invalid("signature of a copy that is not held"));
    assert_eq!(PeerBody::decode(&encoded(vec![copy(Some([0; 64]))])).unwrap().len(), 1);
}

#[test]
fn a_frame_of_the_shortest_items_has_as_many_as_it_says() {
    let bytes = encoded(vec![PeerItem::Piece(vec![7]); 2_000]);
    assert_eq!(PeerBody::decode(&bytes).unwrap().len(), 1_111);
    assert_eq!(PeerBody::decode(&[6, 0, 0]).unwrap_err(), DecodeError::Invalid("empty digest piece"));
}
