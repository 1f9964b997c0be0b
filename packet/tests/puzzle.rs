//! The client puzzle: what a solution is good for, and what is none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::NETWORK;
use proptest::prelude::*;
use std::sync::LazyLock;
use veilpost_packet::{
    geometry::PUZZLE,
    ids::{BoxId, NetworkId, NodeId, SessionAddress},
    puzzle::{Challenge, EFFORT_MAX, Effort, Puzzle, SESSION_EFFORT_MAX, SessionAsk},
    time::Day,
};

const HOLDER: NodeId = NodeId([3; 32]);
const BOX: BoxId = BoxId([5; 32]);
const RANDOM: [u8; 32] = [9; 32];
const EXPIRY: Day = Day(20);

fn of_put(effort: u32) -> Puzzle {
    let challenge = Challenge::of_put(&NETWORK, &RANDOM, &HOLDER, &BOX, EXPIRY);
    Puzzle { challenge, effort: Effort(effort) }
}

/// Solutions at the efforts 1 and 4.
static SOLVED: LazyLock<[[u8; PUZZLE]; 2]> = LazyLock::new(|| [1, 4].map(|effort| of_put(effort).solve().unwrap()));

#[test]
fn a_solution_is_good_for_its_effort_and_for_less() {
    let [one, four] = *SOLVED;
    assert!(of_put(1).verify(&one));
    assert!((1..=4).all(|effort| of_put(effort).verify(&four)));
}

#[test]
fn a_solution_of_little_effort_is_seldom_good_for_much() {
    let [one, _] = *SOLVED;
    assert!(!of_put(u32::MAX).verify(&one));
}

#[test]
fn without_effort_the_room_is_zero_and_nothing_else_is_taken() {
    assert_eq!(of_put(0).solve(), Some([0; PUZZLE]));
    assert!(of_put(0).verify(&[0; PUZZLE]));
    assert!(!of_put(0).verify(&SOLVED[0]));
    assert!(!of_put(1).verify(&[0; PUZZLE]), "and with effort the zero room is no solution");
}

#[test]
fn a_solution_is_bound_to_network_epoch_holder_box_and_expiry() {
    let solution = SOLVED[1];
    let others = [
        Challenge::of_put(&NetworkId([2; 32]), &RANDOM, &HOLDER, &BOX, EXPIRY),
        Challenge::of_put(&NETWORK, &[8; 32], &HOLDER, &BOX, EXPIRY),
        Challenge::of_put(&NETWORK, &RANDOM, &NodeId([4; 32]), &BOX, EXPIRY),
        Challenge::of_put(&NETWORK, &RANDOM, &HOLDER, &BoxId([6; 32]), EXPIRY),
        Challenge::of_put(&NETWORK, &RANDOM, &HOLDER, &BOX, Day(21)),
    ];
    for challenge in others {
        assert!(!Puzzle { challenge, effort: Effort(1) }.verify(&solution));
    }
}

#[test]
fn more_effort_than_is_ever_asked_is_not_solved() {
    assert_eq!(of_put(EFFORT_MAX.0 + 1).solve(), None);
}

#[test]
fn the_usual_expiry_costs_the_document_s_effort_and_longer_ones_a_multiple() {
    let cost = |days| Effort(2).for_days(days, 15).0;
    assert_eq!([0, 1, 14, 15, 16].map(cost), [2; 5], "a document of the day before included");
    assert_eq!([17, 31, 32, 46].map(cost), [4, 4, 6, 6]);
    assert_eq!(Effort::NONE.for_days(400, 15), Effort::NONE);
    assert_eq!(Effort(u32::MAX).for_days(u32::MAX, 0), Effort(u32::MAX), "no overflow");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_solution_with_any_other_bytes_is_none(at in 0usize..PUZZLE, change in 1u8..) {
        let mut solution = SOLVED[1];
        solution[at] ^= change;
        prop_assert!(!of_put(4).verify(&solution));
    }

    #[test]
    fn bytes_that_nobody_solved_are_no_solution(bytes in any::<[u8; PUZZLE]>(), effort in 1u32..) {
        prop_assert!(!of_put(effort).verify(&bytes));
    }

    #[test]
    fn longer_retention_never_costs_less(days in any::<u32>(), more in 0u32..1_000, box_days in 1u32..=60) {
        let cost = |days| Effort(4).for_days(days, box_days);
        prop_assert!(cost(days) <= cost(days.saturating_add(more)));
    }
}

#[test]
fn what_an_entry_asks_travels_in_the_room_of_its_hello() {
    let ask = SessionAsk { seed: [7; SessionAsk::SEED], effort: Effort(3) };
    assert_eq!(SessionAsk::from_room(&ask.to_room()), Some(ask));
    assert_eq!(SessionAsk::from_room(&[0; PUZZLE]), None);
    assert!(SESSION_EFFORT_MAX <= EFFORT_MAX, "what may be asked can be solved");
}

#[test]
fn a_sessions_solution_is_bound_to_network_entry_seed_and_address() {
    let (ask, address) = (SessionAsk { seed: [7; SessionAsk::SEED], effort: Effort(1) }, SessionAddress([8; 32]));
    let solution = ask.puzzle(&NETWORK, &HOLDER, &address).solve().unwrap();
    assert!(ask.puzzle(&NETWORK, &HOLDER, &address).verify(&solution));
    let seed = SessionAsk { seed: [6; SessionAsk::SEED], ..ask };
    for other in [
        ask.puzzle(&NetworkId([2; 32]), &HOLDER, &address),
        ask.puzzle(&NETWORK, &NodeId([4; 32]), &address),
        seed.puzzle(&NETWORK, &HOLDER, &address),
        ask.puzzle(&NETWORK, &HOLDER, &SessionAddress([9; 32])),
    ] {
        assert!(!other.verify(&solution));
    }
}
