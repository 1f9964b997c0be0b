//! From the authorities that a network started with to those of today.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NAME, ids, view};
use std::collections::BTreeMap;
use veilpost_packet::{codec::DecodeError, primitives::SigningSecret, time::Epoch};
use veilpost_pki::{
    AuthoritySet, Document, DocumentError, UnverifiedDocument, View,
    signed::{Committee, HANDOVERS_MAX, Handover, assemble, digest},
    statement::{Kind, Statement},
};

/// The secrets of the nth set: four authorities each.
fn generation(n: u8) -> Vec<SigningSecret> {
    (0..4).map(|at| SigningSecret::from_seed(&[n * 4 + at; 32])).collect()
}

fn committee(n: u8) -> Committee {
    Committee::new(&ids(&generation(n)), 1).unwrap()
}

fn genesis() -> AuthoritySet {
    AuthoritySet::new(NAME, &ids(&generation(0)), 1).unwrap()
}

/// The hand-over that follows those of `set`, to the generation `to` from `from` on, signed by these of `by`.
fn handover(set: &AuthoritySet, from: u64, to: u8, by: &[SigningSecret]) -> Handover {
    let mut handover = Handover::new(Epoch(from), committee(to));
    by.iter().for_each(|secret| handover.sign(set, secret));
    handover
}

/// Hand-overs from generation to generation, at epochs 10, 20, 30 and so on.
fn chain(count: u8) -> AuthoritySet {
    let mut set = genesis();
    for n in 0..count {
        let next = handover(&set, 10 * (u64::from(n) + 1), n + 1, &generation(n));
        set.hand_over(next).unwrap();
    }
    set
}

fn bytes(epoch: u64, by: &[SigningSecret], handovers: &[Handover]) -> Vec<u8> {
    let view = View { network: genesis().network(), epoch: Epoch(epoch), ..view() };
    let signed = view.encode();
    let sign = |secret: &SigningSecret| {
        let (author, digest) = (secret.authority_id(), digest(&signed));
        let statement = Statement { network: view.network, epoch: view.epoch, kind: Kind::Document, author, digest };
        (author, *statement.sign(secret).signature())
    };
    assemble(&signed, &by.iter().map(sign).collect::<BTreeMap<_, _>>(), handovers)
}

fn read(bytes: &[u8], known: &AuthoritySet) -> Result<Document, DocumentError> {
    UnverifiedDocument::from_bytes(bytes)?.verify_timelessly(known)
}

#[test]
fn who_knows_the_first_authorities_alone_follows_several_hand_overs() {
    for count in 0..=5 {
        let all = chain(count);
        let document =
            read(&bytes(u64::from(count) * 10 + 5, &generation(count), all.handovers()), &genesis()).unwrap();
        assert_eq!(document.authorities(), &all, "{count}");
        assert_eq!(document.authorities().newest(), &committee(count));
        // And on from there.
        let next = handover(&all, 1_000, count + 1, &generation(count));
        let mut longer = all.clone();
        longer.hand_over(next).unwrap();
        let later = bytes(1_000, &generation(count + 1), longer.handovers());
        assert_eq!(read(&later, document.authorities()).unwrap().authorities(), &longer);
    }
}

#[test]
fn each_epoch_has_its_own_authorities() {
    let set = chain(3);
    for (epoch, n) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (u64::MAX, 3)] {
        assert_eq!(set.committee(Epoch(epoch)), &committee(n), "epoch {epoch}");
        for by in 0..=3 {
            let read = read(&bytes(epoch, &generation(by), set.handovers()), &genesis());
            match read {
                Ok(_) => assert_eq!(by, n),
                Err(error) => {
                    assert_eq!(error, DocumentError::TooFewSignatures { found: 0, needed: 3 });
                    assert_ne!(by, n, "epoch {epoch}");
                }
            }
        }
    }
}

#[test]
fn a_hand_over_needs_the_threshold_of_those_who_hand_over() {
    let mut set = genesis();
    for by in [&generation(0)[..2], &generation(1), &[]] {
        assert_eq!(set.hand_over(handover(&genesis(), 10, 1, by)), Err(DocumentError::Handover));
    }
    let strangers: Vec<_> = generation(0).into_iter().take(2).chain(generation(1)).collect();
    assert_eq!(set.hand_over(handover(&genesis(), 10, 1, &strangers)), Err(DocumentError::Handover));
    let few = handover(&genesis(), 10, 1, &generation(0)[..2]);
    assert_eq!(read(&bytes(15, &generation(1), &[few]), &genesis()).unwrap_err(), DocumentError::Handover);
    set.hand_over(handover(&genesis(), 10, 1, &generation(0)[..3])).unwrap();
}

#[test]
fn a_chain_out_of_order_or_with_a_gap_is_refused() {
    let set = chain(3);
    let [one, two, three] = set.handovers() else { panic!("three") };
    for wrong in [vec![two, one, three], vec![one, three], vec![two, three], vec![one, one, two, three], vec![three]] {
        let wrong: Vec<_> = wrong.into_iter().cloned().collect();
        assert_eq!(read(&bytes(35, &generation(3), &wrong), &genesis()).unwrap_err(), DocumentError::Handover);
    }
    // The time must come later too.
    for from in [0, 9, 10] {
        let mut known = chain(1);
        let early = handover(&known, from, 2, &generation(1));
        assert_eq!(known.hand_over(early), Err(DocumentError::Handover));
    }
    // What was signed as the second is none as the first.
    let mut known = genesis();
    let second = handover(&chain(1), 20, 2, &generation(0));
    assert_eq!(known.hand_over(second), Err(DocumentError::Handover));
}

#[test]
fn who_knows_a_hand_over_takes_nothing_that_hides_it() {
    let set = chain(2);
    let one = &set.handovers()[..1];
    for (hidden, by) in [(one, 1), (&[][..], 0)] {
        let stale = bytes(25, &generation(by), hidden);
        assert!(read(&stale, &genesis()).is_ok(), "who does not know it is taken in by those who handed over");
        assert_eq!(read(&stale, &set).unwrap_err(), DocumentError::Handover);
    }
    // Documents from before a hand-over say nothing of it, and stay good.
    for (epoch, by, shown) in [(9, 0, &[][..]), (9, 0, one), (19, 1, one), (9, 0, set.handovers())] {
        let document = read(&bytes(epoch, &generation(by), shown), &set).unwrap();
        assert_eq!(document.authorities(), &set, "and forget nothing");
    }
}

#[test]
fn another_history_is_refused() {
    let set = chain(2);
    let mut forked = chain(1);
    let other = handover(&forked, 20, 9, &generation(1));
    forked.hand_over(other).unwrap();
    assert!(read(&bytes(25, &generation(9), forked.handovers()), &genesis()).is_ok());
    assert_eq!(read(&bytes(25, &generation(9), forked.handovers()), &set).unwrap_err(), DocumentError::Handover);
}

/// The signatures under a hand-over are not part of what the authorities of a document sign: anyone who passes it on can leave
/// one out or add one.
#[test]
fn copies_of_a_hand_over_with_other_signatures_are_the_same_hand_over() {
    let by = generation(0);
    let (three, others, four) = (&by[..3], &by[1..], &by[..]);
    for known in [three, others, four] {
        let mut set = genesis();
        set.hand_over(handover(&genesis(), 10, 1, known)).unwrap();
        for shown in [three, others, four] {
            let copy = handover(&genesis(), 10, 1, shown);
            assert!(read(&bytes(15, &generation(1), &[copy]), &set).is_ok());
        }
    }
}

#[test]
fn signatures_of_strangers_are_not_handed_on() {
    let with_strangers: Vec<_> = generation(0).into_iter().chain(generation(7)).collect();
    let mut set = genesis();
    set.hand_over(handover(&genesis(), 10, 1, &with_strangers)).unwrap();
    assert_eq!(set.handovers(), [handover(&genesis(), 10, 1, &generation(0))]);
}

#[test]
fn there_are_so_many_hand_overs_and_no_more() {
    // To the same authorities, again and again.
    let mut set = genesis();
    for n in 0..HANDOVERS_MAX as u64 {
        let next = handover(&set, n + 1, 0, &generation(0));
        set.hand_over(next).unwrap();
    }
    let document = bytes(1_000, &generation(0), set.handovers());
    assert_eq!(read(&document, &genesis()).unwrap().authorities(), &set);
    let more = handover(&set, 5_000, 0, &generation(0));
    assert_eq!(set.clone().hand_over(more.clone()), Err(DocumentError::Handover));
    let many: Vec<_> = set.handovers().iter().cloned().chain([more]).collect();
    let refused = read(&bytes(6_000, &generation(0), &many), &genesis()).unwrap_err();
    assert_eq!(refused, DocumentError::Malformed(DecodeError::TooLong("hand-overs")));
}
