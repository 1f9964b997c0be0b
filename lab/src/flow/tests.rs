#![allow(clippy::unwrap_used)]

use super::*;
use std::{collections::BTreeSet, time::Duration};
use veilpost_packet::random::seeded;

/// Everything, written down.
#[derive(Default)]
struct All(Vec<Sight>);

impl Observer for All {
    fn see(&mut self, sight: &Sight) {
        self.0.push(*sight);
    }
}

fn few(count: u32) -> impl Iterator<Item = Injection> {
    (0..count).map(|n| Injection { at: START + Duration::from_millis(u64::from(n)), sender: n, receiver: n })
}

fn seen(setup: Setup, adversary: Adversary, count: u32, seed: u8) -> Vec<Sight> {
    let mut all = All::default();
    let mut flow = Flow::new(setup, adversary, few(count), seeded([seed; 32])).unwrap();
    flow.run(START + Duration::from_secs(100), &mut all).unwrap();
    all.0
}

fn sent(sight: &Sight) -> Option<(End, End, Option<Frame>)> {
    match sight.what {
        What::Sent { from, to, was, .. } => Some((from, to, was)),
        What::Arrived { .. } => None,
    }
}

#[test]
fn every_packet_takes_one_mix_of_each_layer_at_any_depth_and_reaches_its_receiver() {
    for layers in [1, 2, 3, 7] {
        let setup = Setup { layers, width: 4, ..Setup::default() };
        let all = seen(setup, Adversary::passive(), 50, 1);
        let receivers: BTreeSet<u32> = all
            .iter()
            .filter_map(sent)
            .filter_map(|(_, to, _)| match to {
                End::Receiver(receiver) => Some(receiver),
                _ => None,
            })
            .collect();
        assert_eq!(receivers.len(), 50, "{layers}");
        for (from, to, _) in all.iter().filter_map(sent) {
            let layer = |end| match end {
                End::Sender(_) => 0,
                End::Mix(mix) => mix / 4 + 1,
                End::Receiver(_) => layers + 1,
            };
            assert_eq!(layer(from) + 1, layer(to));
        }
    }
}

#[test]
fn delays_add_up_to_those_of_the_mixes_and_the_links() {
    let setup = Setup { layers: 4, width: 2, delay_per_hop: 0.1, link_latency: 0.02, ..Setup::default() };
    let all = seen(setup.clone(), Adversary::passive(), 4_000, 2);
    let took: Vec<f64> = all
        .iter()
        .filter_map(|sight| match sight.what {
            What::Arrived { to: End::Receiver(receiver) } => {
                Some(sight.at.since(START + Duration::from_millis(u64::from(receiver))).as_secs_f64())
            }
            _ => None,
        })
        .collect();
    let mean = crate::statistics::mean(&took).unwrap();
    assert!(mean.low < setup.end_to_end() && setup.end_to_end() < mean.high, "{mean:?}");
}

#[test]
fn only_corrupt_mixes_tell_which_frame_became_which() {
    let setup = Setup { layers: 3, width: 4, ..Setup::default() };
    assert!(seen(setup.clone(), Adversary::passive(), 50, 3).iter().filter_map(sent).all(|(.., was)| was.is_none()));
    let adversary = Adversary::with_mixes(0.25, 3, 4, &mut seeded([4; 32]));
    assert_eq!(adversary.mixes(), 3);
    for (from, _, was) in seen(setup, adversary.clone(), 50, 3).iter().filter_map(sent) {
        assert_eq!(was.is_some(), matches!(from, End::Mix(mix) if adversary.has(mix)));
    }
}

#[test]
fn a_share_of_frames_is_lost_on_links_and_dummies_reach_nobody() {
    let setup = Setup { layers: 2, width: 2, loss: 0.1, ..Setup::default() };
    let all = seen(setup, Adversary::passive(), 2_000, 5);
    let arrived = all.iter().filter(|sight| matches!(sight.what, What::Arrived { to: End::Receiver(_) })).count();
    let expected = 2_000.0 * 0.9f64.powi(3);
    assert!((arrived as f64 - expected).abs() < 5.0 * (expected * 0.27).sqrt(), "{arrived}");
    for dummies in [Dummies::Links, Dummies::Routes] {
        let setup = Setup { layers: 3, width: 2, dummies, dummy_rate: 100.0, ..Setup::default() };
        let all = seen(setup, Adversary::passive(), 100, 6);
        let to = |wanted: fn(End) -> bool| all.iter().filter_map(sent).filter(|(_, to, _)| wanted(*to)).count();
        assert_eq!(to(|to| matches!(to, End::Receiver(_))), 100);
        // 100 s of 50 dummies a second from each of two layers: those of a route go on from the second layer to the third.
        let third = to(|to| matches!(to, End::Mix(4 | 5)));
        let expected = if dummies == Dummies::Links { 5_000 } else { 10_000 };
        assert!(third.abs_diff(expected) < 500, "{dummies:?}: {third}");
    }
}

#[test]
fn one_seed_is_one_flow() {
    let setup = || Setup { width: 3, ..Setup::default() };
    assert_eq!(seen(setup(), Adversary::passive(), 100, 7), seen(setup(), Adversary::passive(), 100, 7));
    assert_ne!(seen(setup(), Adversary::passive(), 100, 7), seen(setup(), Adversary::passive(), 100, 8));
}

#[test]
fn networks_that_cannot_be_are_refused_in_words() {
    let setup = Setup::default;
    for (wrong, word) in [
        (Setup { layers: 0, ..setup() }, "layers"),
        (Setup { layers: 21, ..setup() }, "layers"),
        (Setup { width: 0, ..setup() }, "width"),
        (Setup { delay_per_hop: 0.0, ..setup() }, "delay_per_hop"),
        (Setup { delay_per_hop: 1e-9, ..setup() }, "documents allow"),
        (Setup { delay_per_hop: f64::NAN, ..setup() }, "delay_per_hop"),
        (Setup { link_latency: -1.0, ..setup() }, "link_latency"),
        (Setup { link_latency: f64::INFINITY, ..setup() }, "link_latency"),
        (Setup { loss: 1.1, ..setup() }, "loss"),
        (Setup { heavy: f64::NAN, ..setup() }, "heavy"),
        (Setup { layers: 1, dummies: Dummies::Links, dummy_rate: 1.0, ..setup() }, "dummies"),
    ] {
        let refused = Flow::new(wrong, Adversary::passive(), few(1), seeded([1; 32])).err().unwrap();
        assert!(refused.to_string().contains(word), "{refused}");
    }
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
        let refused = Poisson::new(rate, 10, seeded([1; 32])).err().unwrap();
        assert!(refused.to_string().contains("rate"), "{refused}");
    }
}
