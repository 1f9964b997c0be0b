//! What nodes measure of each other, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{council::descriptor, relay, view};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use veilpost_packet::{geometry::DESCRIPTOR_MAX, ids::NodeId, primitives::SigningSecret, time::Epoch};
use veilpost_pki::{
    Descriptor, Role, View,
    reliability::{
        FAIL_LINE, FULL_LINE, GOOD, Measured, REPORTS_MAX, RISE, WEIGHT, apply, medians, next, weight, worst,
    },
};

fn key(n: u8) -> SigningSecret {
    SigningSecret::from_seed(&[n; 32])
}

fn id(n: u8) -> NodeId {
    key(n).node_id()
}

/// A mix that says this of others.
fn says(n: u8, measured: Vec<Measured>) -> Descriptor {
    let plain = Descriptor::verify(&descriptor(&key(n), Role::Mix, Epoch(3))).unwrap();
    Descriptor { measured, ..plain }
}

fn of(node: NodeId, reliability: u8) -> Measured {
    Measured { reliability, node }
}

proptest! {
    /// `hostile` of the nodes say what they like of everyone, in the order and number that a descriptor allows.
    #[test]
    fn a_minority_moves_no_median_beyond_what_the_others_say(
        honest in prop::collection::vec(any::<u8>(), 3..12),
        hostile in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        prop_assume!(hostile.len() < honest.len());
        let target = id(200);
        let nodes = (1..).zip(honest.iter().chain(&hostile)).map(|(n, said)| says(n, worst([of(target, *said)])));
        let nodes: Vec<_> = nodes.collect();
        let found = medians(&nodes).get(&target).copied().unwrap_or(GOOD);
        let said = |said: &u8| if *said < FULL_LINE { *said } else { GOOD };
        let (low, high) = (honest.iter().map(said).min().unwrap(), honest.iter().map(said).max().unwrap());
        prop_assert!((low..=high).contains(&found), "{} outside of {} to {}", found, low, high);
    }

    #[test]
    fn exactly_half_pull_no_good_node_down_but_can_hold_a_bad_one_up(each in 1u8..12, lie in 0u8..FULL_LINE) {
        let target = id(200);
        let pulled = (1..=2 * each).map(|n| says(n, if n <= each { vec![of(target, lie)] } else { Vec::new() }));
        let pulled: Vec<_> = pulled.collect();
        prop_assert_eq!(medians(&pulled).get(&target).copied().unwrap_or(GOOD), GOOD);
        // One more and it is a majority.
        let majority: Vec<_> = pulled.iter().cloned().chain([says(100, vec![of(target, lie)])]).collect();
        prop_assert_eq!(medians(&majority).get(&target).copied(), Some(lie));
    }

    #[test]
    fn a_node_says_nothing_of_itself_that_counts(others in prop::collection::vec(0u8..FULL_LINE, 2..9), own in any::<u8>()) {
        let target = id(200);
        let mut nodes: Vec<_> = (1..).zip(&others).map(|(n, said)| says(n, vec![of(target, *said)])).collect();
        let without = medians(&nodes)[&target];
        nodes.push(says(200, vec![of(target, own)]));
        prop_assert_eq!(medians(&nodes)[&target], without);
    }

    #[test]
    fn reports_come_back_as_they_were_signed(measured in prop::collection::btree_map(1u8..190, 0u8..=255, 0..100)) {
        let reports = worst(measured.iter().map(|(n, reliability)| of(id(*n), *reliability)));
        let below = measured.values().filter(|reliability| **reliability < FULL_LINE).count();
        prop_assert_eq!(reports.len(), below.min(REPORTS_MAX));
        let signed = says(200, reports.clone()).sign(&key(200));
        prop_assert!(signed.len() <= DESCRIPTOR_MAX);
        prop_assert_eq!(Descriptor::verify(&signed).unwrap().measured, reports);
    }

    #[test]
    fn no_list_loses_its_last_nodes_whatever_was_measured(
        measured in prop::collection::btree_map(0u8..40, any::<u8>(), 0..40),
        known in prop::collection::btree_map(0u8..40, any::<u8>(), 0..40),
    ) {
        let mut view = wide();
        let of = |all: &BTreeMap<u8, u8>| all.iter().map(|(n, value)| (relay(*n, 1).id, *value)).collect();
        apply(&mut view, &of(&known), &of(&measured));
        for list in view.layers.iter().chain([&view.entries, &view.mailboxes]) {
            prop_assert!(list.iter().any(|relay| relay.weight == WEIGHT || relay.weight > 0));
            let best = list.iter().map(|relay| relay.reliability).max().unwrap();
            prop_assert!(list.iter().filter(|relay| relay.weight > 0).any(|relay| relay.reliability == best));
        }
    }
}

/// Four mixes in each layer.
fn wide() -> View {
    let mut view = view();
    let four = |first: u8| (first..first + 4).map(|n| relay(n, 1)).collect::<Vec<_>>();
    view.layers = vec![four(0), four(4), four(8)];
    view.entries = four(12);
    view.mailboxes = four(16);
    view
}

fn weights(view: &View) -> BTreeSet<(NodeId, u32)> {
    view.layers.iter().flatten().map(|mix| (mix.id, mix.weight)).collect()
}

#[test]
fn a_descriptor_with_reports_out_of_order_twice_of_the_good_or_of_itself_is_refused() {
    let (a, b) = (of(id(1), 10), of(id(2), 20));
    let good = says(200, vec![a, b]).sign(&key(200));
    assert_eq!(Descriptor::verify(&good).unwrap().measured, [a, b]);
    let many: Vec<_> = worst((0..=REPORTS_MAX as u8).map(|n| of(NodeId([n; 32]), n)));
    assert_eq!(many.len(), REPORTS_MAX);
    for bad in [vec![b, a], vec![a, of(id(1), 20)], vec![of(id(1), FULL_LINE)], vec![of(id(200), 10)]] {
        assert!(Descriptor::verify(&says(200, bad.clone()).sign(&key(200))).is_err(), "{bad:?}");
    }
    assert!(Descriptor::verify(&says(200, many).sign(&key(200))).is_ok(), "64 at most");
}

#[test]
fn the_share_falls_from_full_to_none_between_the_lines() {
    assert_eq!((weight(GOOD), weight(FULL_LINE), weight(FAIL_LINE), weight(0)), (WEIGHT, WEIGHT, 0, 0));
    assert!((0..GOOD).all(|reliability| weight(reliability) <= weight(reliability + 1)));
}

#[test]
fn a_mix_that_drops_a_fifth_is_out_at_once_and_back_only_after_epochs_of_behaving() {
    let (bad, mut view) = (relay(5, 1).id, wide());
    let fifth = BTreeMap::from([(bad, 204)]);
    apply(&mut view, &BTreeMap::new(), &fifth);
    assert!(weights(&view).contains(&(bad, 0)));
    // It drops every other time that it is used: then it is used every third epoch, with a small share.
    let mut reliability = 204;
    let mut used = Vec::new();
    for _ in 0..30 {
        used.push(weight(reliability));
        reliability = next(reliability, if weight(reliability) > 0 { 204 } else { GOOD });
    }
    assert!(used.iter().filter(|weight| **weight > 0).count() <= 10 && used.iter().all(|weight| *weight < 150));
    // It behaves for good: back in the second epoch, and with a full share in the fifth.
    let behaves: Vec<_> = (0..6).scan(204, |now, _| Some(std::mem::replace(now, next(*now, GOOD)))).collect();
    assert_eq!(behaves, [204, 212, 220, 228, 236, 244]);
    assert_eq!(behaves.iter().position(|reliability| *reliability >= FULL_LINE), Some(5));
}

#[test]
fn who_dropped_everything_and_behaves_again_waits_for_a_day() {
    let mut reliability = 0;
    let epochs = (1..100).find(|_| {
        reliability = next(reliability, GOOD);
        weight(reliability) > 0
    });
    assert_eq!(epochs, Some(28));
    assert_eq!(next(GOOD, GOOD), GOOD);
    assert_eq!(next(0, 3), 3.min(RISE));
}

#[test]
fn on_a_day_when_most_mixes_look_bad_the_measurement_is_to_blame() {
    let mut view = wide();
    let bad = |count: u8| (0..count).map(|n| (relay(n, 1).id, 0)).collect::<BTreeMap<_, _>>();
    // Half of all, the whole first layer among them: its best stay.
    apply(&mut view, &BTreeMap::new(), &bad(6));
    let first = &view.layers[0];
    assert!(first.iter().all(|mix| (mix.reliability, mix.weight) == (0, WEIGHT)), "all are as bad: all stay");
    assert!(view.layers[1][..2].iter().all(|mix| mix.weight == 0));
    // One more, and nothing of it is believed.
    let mut view = wide();
    apply(&mut view, &BTreeMap::new(), &bad(7));
    assert!(view.layers.iter().flatten().all(|mix| (mix.reliability, mix.weight) == (GOOD, WEIGHT)));
}

#[test]
fn the_best_of_a_failing_layer_stays() {
    let mut view = wide();
    let measured = (0..4).map(|n| (relay(n, 1).id, 10 * n)).collect();
    apply(&mut view, &BTreeMap::new(), &measured);
    let shares: Vec<_> = view.layers[0].iter().map(|mix| mix.weight).collect();
    assert_eq!(shares, [0, 0, 0, WEIGHT]);
}
