//! Voting rounds with hostile authorities and a hostile network.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::council::{Council, VICES, Vice};
use proptest::prelude::*;
use rand::Rng as _;
use std::collections::BTreeSet;
use veilpost_packet::{ids::NodeId, time::Epoch};
use veilpost_pki::{round::Event, schedule::Phase, statement::Kind};

impl Council {
    fn honest(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].vice.is_none()).collect()
    }

    /// Never two documents for one epoch, whoever holds them.
    fn assert_one_document_an_epoch(&self) {
        for (epoch, documents) in &self.made {
            let digests: BTreeSet<_> = documents.values().map(|document| document.digest()).collect();
            assert_eq!(digests.len(), 1, "epoch {}", epoch.0);
        }
    }

    /// Every honest member holds a document for each of these epochs.
    fn assert_documents(&self, epochs: impl IntoIterator<Item = u64>) {
        for epoch in epochs {
            for at in self.honest() {
                let held = self.made.get(&Epoch(epoch)).is_some_and(|made| made.contains_key(&at));
                let failures: Vec<_> =
                    self.events.iter().filter(|(_, event)| matches!(event, Event::Failed(..))).collect();
                assert!(held, "member {at} has no document for epoch {epoch}: {failures:?}");
            }
        }
    }

    fn document(&self, epoch: u64) -> &veilpost_pki::Document {
        self.made[&Epoch(epoch)].values().next().unwrap()
    }
}

#[test]
fn honest_authorities_make_a_document_every_epoch() {
    for (count, faulty) in [(1, 0), (3, 0), (4, 1), (7, 2)] {
        let mut council = Council::new(count, faulty, 1);
        council.run_to_epoch(6);
        council.assert_one_document_an_epoch();
        council.assert_documents(1..=6);
        let values: BTreeSet<_> = (1..=6).map(|epoch| council.document(epoch).shared_random).collect();
        assert_eq!(values.len(), 6, "the shared random value is new in every epoch");
        assert!(council.document(6).memory.withheld.is_empty() && council.document(6).memory.equivocators.is_empty());
    }
}

#[test]
fn layers_are_kept_from_epoch_to_epoch() {
    let mut council = Council::new(4, 1, 2);
    council.run_to_epoch(5);
    let layers = |epoch: u64| -> Vec<Vec<NodeId>> {
        council.document(epoch).layers.iter().map(|layer| layer.iter().map(|mix| mix.id).collect()).collect()
    };
    assert_eq!(layers(1), layers(5));
    assert!(layers(1).iter().all(|layer| layer.len() == 2), "{:?}", layers(1));
}

#[test]
fn a_member_that_is_killed_in_any_phase_stops_nothing_and_comes_back() {
    for phase in [
        Phase::Descriptors,
        Phase::Vote,
        Phase::Certify(1),
        Phase::Reveal,
        Phase::Confirm(1),
        Phase::Signature,
        Phase::Publish,
    ] {
        let mut council = Council::new(4, 1, 3);
        council.run_to(3, phase);
        council.kill(1);
        council.run_to(4, phase);
        council.start(1);
        council.run_to_epoch(7);
        council.assert_one_document_an_epoch();
        council.assert_documents(5..=7);
        let others = &council.made[&Epoch(4)];
        assert!(others.contains_key(&0) && others.contains_key(&2) && others.contains_key(&3), "{phase:?}");
    }
}

#[test]
fn a_member_that_restarts_in_a_phase_says_what_it_said_before() {
    for phase in [Phase::Vote, Phase::Certify(1), Phase::Reveal, Phase::Confirm(1), Phase::Signature, Phase::Publish] {
        let mut council = Council::new(4, 1, 4);
        council.run_to(3, phase);
        for at in 0..4 {
            council.kill(at);
            council.start(at);
        }
        council.run_to_epoch(5);
        council.assert_one_document_an_epoch();
        assert!(council.members.iter().all(|member| member.proofs.is_empty()), "{phase:?}: nobody seems to lie");
        council.assert_documents(4..=5);
    }
}

#[test]
fn a_member_whose_clock_ran_ahead_and_was_set_back_takes_part_again() {
    let mut council = Council::new(4, 1, 5);
    council.run_to_epoch(2);
    council.members[0].skew_ms = 5 * 60_000;
    council.run_to_epoch(4);
    council.members[0].skew_ms = 0;
    council.run_to_epoch(5);
    // With two of four away nothing is decided without the first.
    council.kill(3);
    council.run_to_epoch(8);
    assert_eq!((5..=8).filter(|epoch| council.made.contains_key(&Epoch(*epoch))).count(), 4);
}

#[test]
fn without_a_quorum_there_is_no_document_and_it_heals() {
    let mut council = Council::new(4, 1, 5);
    council.run_to_epoch(3);
    council.kill(0);
    council.kill(1);
    council.run_to_epoch(6);
    assert!((4..=6).all(|epoch| !council.made.contains_key(&Epoch(epoch))));
    let failed = |(at, event): &(usize, Event)| {
        *at == 2 && matches!(event, Event::Failed(Epoch(5), reason) if reason.contains("2 votes"))
    };
    assert!(council.events.iter().any(failed), "{:?}", council.events);
    council.start(0);
    council.start(1);
    council.run_to_epoch(8);
    council.assert_documents(7..=8);
    council.assert_one_document_an_epoch();
}

#[test]
fn who_hides_what_it_committed_to_stops_nothing_and_is_left_out_of_the_randomness() {
    let mut council = Council::new(4, 1, 6);
    council.members[2].vice = Some(Vice::Withhold);
    council.run_to_epoch(3);
    council.assert_documents(1..=3);
    let withheld = &council.document(3).memory.withheld;
    assert_eq!(withheld.len(), 1);
    assert_eq!(withheld[0].0, council.members[2].engine.as_ref().unwrap().id());
    // Honest again: it is left out all the same, until its time is over.
    council.members[2].vice = None;
    council.run_to_epoch(6);
    assert_eq!(council.document(6).memory.withheld.len(), 1);
    council.assert_one_document_an_epoch();
}

#[test]
fn who_is_caught_lying_is_left_out_of_the_rounds_that_follow() {
    let mut council = Council::new(4, 1, 7);
    council.members[3].vice = Some(Vice::Equivocate);
    council.run_to_epoch(4);
    council.assert_documents(1..=4);
    let liar = council.members[3].engine.as_ref().unwrap().id();
    assert_eq!(council.document(1).memory.equivocators, [liar]);
    assert!(council.honest().iter().all(|at| council.members[*at].proofs.iter().any(|proof| proof.author() == liar)));
    council.members[3].vice = None;
    council.run_to_epoch(6);
    assert_eq!(council.document(6).memory.equivocators, [liar], "it stays out although it behaves now");
}

#[test]
fn the_vote_of_another_signed_as_ones_own_confuses_nobody() {
    for at in 0..4 {
        let mut council = Council::new(4, 1, 20 + at as u64);
        council.members[at].vice = Some(Vice::Copy);
        council.run_to_epoch(4);
        council.assert_one_document_an_epoch();
        council.assert_documents(1..=4);
    }
}

#[test]
fn a_proof_names_the_lie() {
    let mut council = Council::new(4, 1, 8);
    council.members[0].vice = Some(Vice::Equivocate);
    council.run_to_epoch(2);
    let proof = council.members[1].proofs[0];
    assert_eq!(
        (proof.author(), proof.kind(), proof.epoch()),
        (council.members[0].engine.as_ref().unwrap().id(), Kind::Vote, Epoch(1))
    );
}

#[test]
fn a_node_that_leaves_the_lists_of_a_majority_is_gone_from_the_next_document() {
    let mut council = Council::new(4, 1, 9);
    council.run_to_epoch(2);
    let gone = council.document(2).layers[0][0].id;
    for at in 0..3 {
        let mut ballot = council.members[at].ballot.clone();
        ballot.admitted.remove(&gone);
        council.members[at].ballot = ballot.clone();
        council.members[at].engine.as_mut().unwrap().set_ballot(ballot);
    }
    council.run_to_epoch(4);
    assert!(council.document(2).relay(&gone).is_some() && council.document(4).relay(&gone).is_none());
    let absent = council.document(4).memory.absent.iter().map(|absent| absent.id).collect::<Vec<_>>();
    assert_eq!(absent, [gone], "its layer waits for it");
}

#[test]
fn another_placement_set_is_announced_before_it_comes_into_force() {
    let mut council = Council::new(4, 1, 10);
    council.run_to_epoch(2);
    let gone = council.document(2).mailboxes[0].id;
    for at in 0..4 {
        let mut ballot = council.members[at].ballot.clone();
        ballot.admitted.remove(&gone);
        council.members[at].engine.as_mut().unwrap().set_ballot(ballot);
    }
    council.run_to_epoch(8);
    let announced = (3..=8).find(|epoch| council.document(*epoch).placements.len() == 2).unwrap();
    let placements = &council.document(announced).placements;
    assert_eq!(placements[1].from, Epoch(announced + 3), "three epochs ahead in this network");
    assert!(placements[0].mailboxes.contains(&gone) && !placements[1].mailboxes.contains(&gone));
    let after = &council.document(announced + 3).placements;
    assert_eq!(after.len(), 1);
    assert!(!after[0].mailboxes.contains(&gone));
}

#[test]
fn a_parameter_changes_only_when_a_majority_wants_it() {
    let mut council = Council::new(4, 1, 11);
    council.run_to_epoch(2);
    let change = |council: &mut Council, members: std::ops::Range<usize>| {
        for at in members {
            let mut ballot = council.members[at].ballot.clone();
            ballot.params.box_days = 20;
            council.members[at].engine.as_mut().unwrap().set_ballot(ballot);
        }
    };
    change(&mut council, 0..2);
    council.run_to_epoch(4);
    assert_eq!(council.document(4).params.box_days, 15, "two against two: nothing changes");
    change(&mut council, 2..3);
    council.run_to_epoch(6);
    assert_eq!(council.document(6).params.box_days, 20);
}

#[test]
fn ticks_and_days_keep_their_length_whatever_is_voted() {
    let mut council = Council::new(4, 1, 12);
    council.run_to_epoch(2);
    for at in 0..4 {
        let mut ballot = council.members[at].ballot.clone();
        ballot.params.tick *= 2;
        ballot.params.box_days = 20;
        council.members[at].engine.as_mut().unwrap().set_ballot(ballot);
    }
    council.run_to_epoch(4);
    let (before, after) = (council.document(2).params.clone(), council.document(4).params.clone());
    assert_eq!((after.tick, after.box_days), (before.tick, 20));
}

fn hostile_council(count: u8, faulty: usize, seed: u64, vices: &[usize]) -> Council {
    let mut council = Council::new(count, faulty, seed);
    for (n, vice) in vices.iter().enumerate() {
        let at = (seed as usize + n * 3) % usize::from(count);
        council.members[at].vice = Some(VICES[*vice]);
    }
    assert_eq!(council.hostile(), vices.len());
    council
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// With up to f hostile ones, whatever they do, and a network that delays and reorders: a document every epoch, one only,
    /// and the same for all.
    #[test]
    fn seven_authorities_bear_two_hostile_ones(seed: u64, vices in proptest::collection::vec(0..VICES.len(), 2)) {
        let mut council = hostile_council(7, 2, seed, &vices);
        for member in &mut council.members {
            member.skew_ms = council.rng.random_range(-150..150);
        }
        council.run_to_epoch(4);
        council.assert_one_document_an_epoch();
        council.assert_documents(2..=4);
    }

    #[test]
    fn four_authorities_bear_one_hostile_one(seed: u64, vice in 0..VICES.len()) {
        let mut council = hostile_council(4, 1, seed, &[vice]);
        council.run_to_epoch(5);
        council.assert_one_document_an_epoch();
        council.assert_documents(2..=5);
    }

    /// A network that also cuts any link at any time, members that crash, clocks that are minutes off: never two documents; and
    /// once it is quiet, a document again within two epochs.
    #[test]
    fn whatever_the_network_does_there_are_never_two_documents(
        seed: u64,
        vices in proptest::collection::vec(0..VICES.len(), 2),
        faults in proptest::collection::vec((0usize..7, 0usize..7, 0u8..4, 1u64..9_000), 10..60),
    ) {
        let mut council = hostile_council(7, 2, seed, &vices);
        council.delay_max = std::time::Duration::from_millis(1_500);
        for (one, other, fault, wait) in faults {
            match fault {
                0 => { council.cut.insert((one, other)); }
                1 => { council.cut.remove(&(one, other)); council.heal(); }
                2 => if council.members[one].engine.is_some() { council.kill(one) } else { council.start(one) },
                _ => council.members[one].skew_ms = council.rng.random_range(-180_000..180_000),
            }
            let end = council.now + std::time::Duration::from_millis(wait);
            council.run_until(end);
        }
        council.assert_one_document_an_epoch();
        council.delay_max = std::time::Duration::from_millis(200);
        for at in 0..7 {
            council.members[at].skew_ms = 0;
            council.kill(at);
            council.start(at);
        }
        council.heal();
        // What a wrong clock made it say about epochs to come, a member does not take back.
        let spoken = council.members.iter().filter_map(|member| member.said.keys().next_back()).max();
        let epoch = council.schedule.epoch_at(council.now).0.max(spoken.map_or(0, |epoch| epoch.0));
        council.run_to_epoch(epoch + 3);
        council.assert_one_document_an_epoch();
        council.assert_documents(epoch + 2..=epoch + 3);
    }
}
