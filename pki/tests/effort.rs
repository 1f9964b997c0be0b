//! How hard the puzzle of a Put is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::view;
use proptest::prelude::*;
use std::time::Duration;
use veilpost_packet::{
    codec::DecodeError,
    ids::{BoxId, NodeId},
    puzzle::Effort,
    time::Day,
};
use veilpost_pki::{
    Params, View,
    effort::{PUT_EFFORT_MAX, put_effort},
};

#[test]
fn the_effort_grows_at_50_70_and_85_percent() {
    let of = |fill: u8| put_effort(0, &mut [fill]);
    assert_eq!([0, 49, 50, 69, 70, 84, 85, 100].map(of), [0, 0, 1, 1, 2, 2, 4, 4]);
}

#[test]
fn the_parameter_is_the_least_and_four_the_most() {
    assert_eq!(put_effort(2, &mut [50]), 2);
    assert_eq!(put_effort(2, &mut [85]), 4);
    assert_eq!(put_effort(3, &mut []), 3);
    assert_eq!(put_effort(u32::MAX, &mut [255]), PUT_EFFORT_MAX);
}

#[test]
fn half_of_the_mailboxes_cannot_raise_the_effort_of_all() {
    assert_eq!(put_effort(0, &mut [100, 10]), 0);
    assert_eq!(put_effort(0, &mut [100, 10, 10, 100]), 0);
    assert_eq!(put_effort(0, &mut [100, 10, 100]), 4);
}

#[test]
fn a_document_below_its_parameter_or_above_the_bound_is_refused() {
    let with = |parameter, put_effort| {
        let params = Params { put_effort: parameter, ..Params::standard() };
        View::decode(&View { params, put_effort, ..view() }.encode()).map(|view| view.put_effort)
    };
    assert_eq!(with(0, 4), Ok(4));
    assert_eq!(with(2, 2), Ok(2));
    for (parameter, effort) in [(2, 1), (0, 5), (0, u32::MAX)] {
        assert_eq!(with(parameter, effort), Err(DecodeError::Invalid("put effort")));
    }
}

#[test]
fn a_put_pays_by_the_days_from_its_epoch_s_own_day() {
    let admission = View { put_effort: 2, ..view() }.put_admission();
    let effort = |days| admission.puzzle(&NodeId([1; 32]), &BoxId([2; 32]), admission.day.plus(days)).effort;
    assert_eq!(admission.day, Day::at(view().valid_after, Duration::from_secs(86_400)));
    assert_eq!([0, 15, 16, 17, 31].map(effort), [2, 2, 2, 4, 4].map(Effort));
}

#[test]
fn each_holder_and_each_epoch_has_a_puzzle_of_its_own() {
    let puzzle = |view: View, holder| view.put_admission().puzzle(&NodeId([holder; 32]), &BoxId([2; 32]), Day(9));
    let first = puzzle(view(), 1);
    assert_ne!(first.challenge, puzzle(view(), 2).challenge);
    assert_ne!(first.challenge, puzzle(View { shared_random: [6; 32], ..view() }, 1).challenge);
}

proptest! {
    #[test]
    fn the_effort_stays_in_its_bounds_and_never_falls_when_a_mailbox_fills(
        parameter in 0u32..=4,
        mut fills in proptest::collection::vec(0u8..=100, 0..9),
        at: proptest::sample::Index,
        more in 0u8..=100,
    ) {
        let before = put_effort(parameter, &mut fills.clone());
        prop_assert!((parameter..=PUT_EFFORT_MAX).contains(&before));
        if !fills.is_empty() {
            let at = at.index(fills.len());
            fills[at] = fills[at].max(more);
            prop_assert!(put_effort(parameter, &mut fills) >= before);
        }
    }
}
