//! Which document is in force, and how long keys live, when rounds succeed, fail and come late.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{NOW, authorities, set, view};
use proptest::prelude::*;
use std::time::Duration;
use veilpost_packet::time::{Epoch, Timestamp};
use veilpost_pki::{
    Document, Documents, NotTaken, Params, UnverifiedDocument, View, documents::DOCUMENTS_MAX, signed::sign_view,
};

const EPOCH: Duration = Duration::from_secs(3_600);
const GRACE: Duration = Duration::from_secs(600);
const TINY: Duration = Duration::from_nanos(1);

/// Start of an epoch.
fn start(epoch: u64) -> Timestamp {
    NOW + EPOCH * epoch as u32
}

/// The document of an epoch, valid for its own epoch and two more.
fn document(epoch: u64) -> Document {
    let valid_until = start(epoch) + EPOCH * 3;
    let view =
        View { epoch: Epoch(epoch), valid_after: start(epoch), valid_until, params: Params::standard(), ..view() };
    UnverifiedDocument::from_bytes(&sign_view(&view, &authorities(4)))
        .unwrap()
        .verify_early(&set(), start(epoch))
        .unwrap()
}

fn documents(epochs: &[u64]) -> Documents {
    let mut documents = Documents::default();
    for epoch in epochs {
        documents.insert(start(epochs[0]), document(*epoch)).unwrap();
    }
    documents
}

fn in_force(documents: &Documents, now: Timestamp) -> Option<u64> {
    documents.in_force(now).map(|document| document.epoch.0)
}

fn live(documents: &Documents, now: Timestamp) -> Vec<u64> {
    documents.live(now).map(|document| document.epoch.0).collect()
}

#[test]
fn the_next_document_comes_into_force_at_its_own_time() {
    let documents = documents(&[1, 2]);
    assert_eq!(in_force(&documents, start(1) - TINY), None);
    assert_eq!(in_force(&documents, start(1)), Some(1));
    assert_eq!(in_force(&documents, start(2) - TINY), Some(1));
    assert_eq!(in_force(&documents, start(2)), Some(2));
}

#[test]
fn keys_live_from_when_the_document_is_known_until_their_grace_is_over() {
    let documents = documents(&[1, 2]);
    assert_eq!(live(&documents, start(1)), [1, 2]);
    assert_eq!(live(&documents, start(2) + GRACE - TINY), [1, 2]);
    assert_eq!(live(&documents, start(2) + GRACE), [2]);
    assert_eq!(documents.key_until(Epoch(1)), Some(start(2) + GRACE));
    assert_eq!(documents.key_until(Epoch(3)), None);
}

#[test]
fn when_rounds_fail_the_old_document_stays_in_force_until_its_validity_ends() {
    let alone = documents(&[1]);
    assert_eq!(in_force(&alone, start(4) - TINY), Some(1));
    assert_eq!(in_force(&alone, start(4)), None);
    assert_eq!(alone.current(start(9)).unwrap().epoch, Epoch(1));
    assert_eq!(live(&alone, start(4) + GRACE), [0_u64; 0]);
    assert_eq!(
        [start(1), start(2) - TINY, start(2), start(3)].map(|now| alone.failed_rounds(now, Epoch(1))),
        [0, 0, 1, 2]
    );
    let jumped = documents(&[1, 4]);
    assert_eq!((in_force(&jumped, start(4)), live(&jumped, start(4))), (Some(4), vec![1, 4]));
    assert_eq!(jumped.failed_rounds(start(4) + GRACE, Epoch(1)), 2);
    assert_eq!(documents(&[1, 2]).failed_rounds(start(3), Epoch(1)), 0);
}

#[test]
fn a_document_that_came_late_ends_the_old_one_by_network_time() {
    let mut documents = documents(&[1]);
    let late = start(2) + GRACE * 2;
    assert_eq!(live(&documents, late), [1]);
    documents.insert(late, document(2)).unwrap();
    assert_eq!((in_force(&documents, late), live(&documents, late)), (Some(2), vec![2]));
}

#[test]
fn what_is_known_older_or_second_is_refused() {
    let mut documents = documents(&[2, 3]);
    assert_eq!(documents.insert(start(2), document(2)), Err(NotTaken::Known));
    assert_eq!(documents.insert(start(2), document(1)), Err(NotTaken::Superseded));
    let other = View { shared_random: [6; 32], ..document(3).view().clone() };
    let other = UnverifiedDocument::from_bytes(&sign_view(&other, &authorities(4))).unwrap();
    let other = other.verify_early(&set(), start(3)).unwrap();
    assert_eq!(documents.insert(start(2), other), Err(NotTaken::SecondOfEpoch));
    // What is in force may come after what follows it.
    let mut late = Documents::from(document(3));
    late.insert(start(2), document(2)).unwrap();
    assert_eq!(in_force(&late, start(2)), Some(2));
    assert_eq!(late.newest().unwrap().epoch, Epoch(3));
}

#[test]
fn at_the_bound_the_oldest_goes_but_never_the_one_in_force() {
    let mut held = documents(&[1, 2, 3, 4]);
    assert_eq!(held.iter().count(), DOCUMENTS_MAX);
    assert_eq!(held.insert(start(1), document(5)), Err(NotTaken::TooMany));
    held.insert(start(4), document(5)).unwrap();
    assert_eq!(held.iter().map(|document| document.epoch.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn documents_with_dead_keys_are_forgotten_but_the_last_one_stays() {
    let mut held = documents(&[1, 2]);
    assert!(!held.forget(start(2)));
    assert!(held.forget(start(2) + GRACE));
    assert!(!held.forget(start(9)));
    assert_eq!(held.newest().unwrap().epoch, Epoch(2));
}

proptest! {
    #[test]
    fn nothing_changes_between_two_moments_of_change(epochs in proptest::collection::btree_set(1_u64..8, 1..4), at in 0_u32..40_000) {
        let mut documents = Documents::default();
        for epoch in epochs {
            let _ = documents.insert(start(1), document(epoch));
        }
        let now = start(0) + Duration::from_secs(u64::from(at));
        let state = |now| {
            let failed: Vec<_> = documents.live(now).map(|one| documents.failed_rounds(now, one.epoch)).collect();
            (in_force(&documents, now), live(&documents, now), failed)
        };
        match documents.next_change(now) {
            Some(next) => {
                prop_assert!(next > now);
                prop_assert_eq!(state(now), state(next - TINY));
            }
            None => prop_assert_eq!(state(now), state(now + EPOCH * 100)),
        }
    }
}
