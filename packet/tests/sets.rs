//! Sets: one encoding for each set of tags, small, and nothing that a stranger's bytes can break.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::NETWORK;
use proptest::prelude::*;
use rand::Rng;
use veilpost_packet::{
    boxes::BoxTag,
    codec::DecodeError,
    geometry::*,
    ids::{District, DocumentHash},
    primitives::{SigningSecret, label},
    random::seeded,
    set::{Period, SetHead, SignedSet},
    time::Tick,
};

fn mailbox() -> SigningSecret {
    SigningSecret::from_seed(&[7; 32])
}

fn head() -> SetHead {
    SetHead {
        network: NETWORK,
        document: DocumentHash([2; 8]),
        mailbox: mailbox().node_id(),
        district: District(0),
        period: Period::Day(20_000),
        made: Tick(9),
    }
}

fn uniform(count: usize) -> Vec<BoxTag> {
    let mut rng = seeded([1; 32]);
    (0..count).map(|_| BoxTag(rng.random())).collect()
}

fn joined(parts: &[SignedSet]) -> Vec<BoxTag> {
    parts.iter().flat_map(|part| SignedSet::verify(part.as_bytes()).unwrap().into_part().tags).collect()
}

fn sorted(mut tags: Vec<BoxTag>) -> Vec<BoxTag> {
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Where the fields behind the head begin.
const PARTS: usize = 83;
const COUNT: usize = 87;
const FIRST: usize = 91;
const LAST: usize = 97;
const CODES: usize = 103;

fn resigned(mut bytes: Vec<u8>) -> Result<SignedSet, DecodeError> {
    bytes.truncate(bytes.len() - SIGNATURE);
    let signature = mailbox().sign(label::SET_SIGNATURE, &bytes);
    bytes.extend(signature);
    SignedSet::verify(&bytes)
}

fn changed(tags: Vec<BoxTag>, change: impl FnOnce(&mut Vec<u8>)) -> Result<SignedSet, DecodeError> {
    let mut bytes = head().sign(tags, &mailbox()).remove(0).as_bytes().to_vec();
    change(&mut bytes);
    resigned(bytes)
}

#[test]
fn an_empty_set_says_that_nothing_is_held() {
    let parts = head().sign(vec![], &mailbox());
    assert_eq!((parts.len(), parts[0].as_bytes().len()), (1, SET_FIXED));
    let part = SignedSet::verify(parts[0].as_bytes()).unwrap().into_part();
    assert_eq!((part.head, part.tags), (head(), vec![]));
}

#[test]
fn a_million_tags_come_back_in_eight_parts_of_less_than_four_bytes_a_tag() {
    // Measured: 5.109, 4.146 and 3.706 bytes a tag; the least possible is 4.935, 4.104 and 3.689.
    for count in [1_000, 100_000, 1_000_000] {
        let tags = sorted(uniform(count));
        let parts = head().sign(tags.clone(), &mailbox());
        assert_eq!(parts.len(), count.div_ceil(SET_PART_TAGS));
        assert_eq!(joined(&parts), tags);
        let bytes: usize = parts.iter().map(|part| part.as_bytes().len()).sum();
        let each = bytes as f64 / tags.len() as f64;
        // The least possible: log2(2^48 / n) + log2(e) bits.
        let least = ((48.0 - (tags.len() as f64).log2()) + std::f64::consts::LOG2_E) / 8.0;
        assert!(each < least * 1.03 + SET_FIXED as f64 / 1_000.0, "{each}");
    }
}

#[test]
fn parts_at_the_bound_keep_to_their_size_however_the_tags_lie() {
    let number = |number: u64| BoxTag(number.to_be_bytes()[2..].try_into().unwrap());
    let full = SET_PART_TAGS as u64;
    let spread = |n: u64| number(n * ((1 << 48) / full));
    let lumps = |n: u64| number(if n < full / 2 { n } else { (1 << 48) - 1 - n });
    for tags in [(0..full).map(spread).collect(), (0..full).map(lumps).collect(), uniform(SET_PART_TAGS)] {
        let parts = head().sign(tags, &mailbox());
        assert!(parts.iter().all(|part| part.as_bytes().len() <= SET_MAX));
        assert_eq!(joined(&parts).len(), SET_PART_TAGS);
    }
    assert_eq!(SignedSet::verify(&vec![0; SET_MAX + 1]), Err(DecodeError::TooLong("set")));
}

#[test]
fn a_count_that_the_codes_cannot_hold_makes_no_room_for_it() {
    let count = |count: u32| changed(uniform(100), |bytes| bytes[COUNT..FIRST].copy_from_slice(&count.to_be_bytes()));
    assert_eq!(count(u32::MAX), Err(DecodeError::TooLong("set tags")));
    assert_eq!(count(SET_PART_TAGS as u32), Err(DecodeError::Truncated));
    assert!(count(99).is_err() && count(101).is_err() && count(100).is_ok());
}

#[test]
fn parts_that_no_set_is_cut_into_are_refused() {
    let parts = |of: u16, part: u16| {
        changed(uniform(3), |bytes| {
            bytes[PARTS..PARTS + 2].copy_from_slice(&of.to_be_bytes());
            bytes[PARTS + 2..COUNT].copy_from_slice(&part.to_be_bytes());
        })
    };
    for (of, part) in [(0, 0), (1, 1), (2, 0), (65, 64)] {
        assert_eq!(parts(of, part), Err(DecodeError::Invalid("set part")));
    }
    assert!(parts(2, 1).is_ok(), "the last part need not be full");
}

#[test]
fn only_the_one_encoding_is_taken() {
    let tags = || vec![BoxTag([1; 6]), BoxTag([2; 6]), BoxTag([4; 6])];
    assert!(changed(tags(), |_| ()).is_ok());
    let invalid = |field| Err(DecodeError::Invalid(field));
    assert_eq!(changed(tags(), |bytes| bytes[LAST + 5] += 1), invalid("set range"));
    assert_eq!(changed(tags(), |bytes| bytes[FIRST] = 5), invalid("set range"));
    assert_eq!(changed(tags(), |bytes| bytes.insert(bytes.len() - SIGNATURE, 0)), Err(DecodeError::Trailing));
    let all = changed(tags(), |_| ()).unwrap().as_bytes().len();
    let padded = changed(tags(), |bytes| bytes[all - SIGNATURE - 1] |= 1);
    assert!(padded.is_err(), "{padded:?}");
    assert_eq!(changed(vec![], |bytes| bytes[FIRST] = 1), invalid("set range"));
    assert_eq!(changed(tags(), |bytes| bytes[74] = 3), invalid("set kind"));
}

#[test]
fn a_set_of_another_signer_is_refused() {
    let mut bytes = head().sign(uniform(9), &mailbox()).remove(0).as_bytes().to_vec();
    bytes[79] ^= 1;
    assert_eq!(SignedSet::verify(&bytes), Err(DecodeError::Invalid("set signature")));
}

proptest! {
    #[test]
    fn any_tags_come_back(numbers in proptest::collection::vec(prop_oneof![0u64..300, any::<u64>()], 0..200)) {
        let tags: Vec<_> = numbers.iter().map(|n| BoxTag(n.to_be_bytes()[2..].try_into().unwrap())).collect();
        prop_assert_eq!(joined(&head().sign(tags.clone(), &mailbox())), sorted(tags));
    }

    #[test]
    fn what_is_taken_is_what_its_tags_encode_to(
        count in 0usize..60, at in 0usize..400, to in any::<u8>(), cut in 0usize..4, codes in any::<[u8; 4]>(),
    ) {
        let taken = changed(uniform(count), |bytes| {
            let signed = bytes.len() - SIGNATURE;
            if let Some(byte) = bytes[..signed].get_mut(PARTS + at) { *byte = to; }
            bytes.splice(signed.saturating_sub(cut).max(CODES)..signed, codes[..cut].iter().copied());
        });
        if let Ok(taken) = taken {
            let part = taken.part();
            if part.parts == 1 {
                let again = part.head.sign(part.tags.clone(), &mailbox());
                prop_assert_eq!(again[0].as_bytes(), taken.as_bytes());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = SignedSet::verify(&bytes);
    }
}
