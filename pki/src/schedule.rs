//! When epochs begin, and what authorities do when inside them. Pure arithmetic over network time.
//!
//! ```text
//! epoch e                                                                 middle         epoch e+1
//! |- ... -|-descriptors-|-vote-|-certify-|-reveal-|-confirm-|-signature-|-- publish ... --|   the round for e+1
//!              1            1       s        1         s          1           half of e       phase lengths; s = max(f, 1)
//! ```
//!
//! A round is as late as it can be while its document is there half an epoch ahead: what is said in its vote, who is there above
//! all, is so as fresh as it can be. Descriptors for epoch e+1 are taken from the vote of the round before on. The first round is held
//! before the genesis, in epoch 0, which is as long as a round; so a network has a document a few phases after its authorities started.

use crate::signed::AUTHORITIES_MAX;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use veilpost_packet::time::{Epoch, Timestamp};

/// When a network's epochs begin. The same for every node and authority: it stands in the network file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Start of epoch 1, in seconds since the Unix epoch.
    pub genesis: u64,
    /// Length of an epoch in milliseconds.
    pub epoch_ms: u64,
    /// Length of one phase of a voting round in milliseconds: longer than a message and its answer take between any two
    /// authorities, clock differences included.
    pub phase_ms: u64,
}

/// What may happen at a moment of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Nodes publish what they say of themselves.
    Descriptors,
    /// Each authority tells all others what it holds, and commits to a random value.
    Vote,
    /// Authorities vouch to each other for the votes they hold; numbered from 1. What is not vouched for by then does not count.
    Certify(u32),
    /// Each authority opens its commitment.
    Reveal,
    /// Authorities vouch to each other for the reveals they hold; numbered from 1.
    Confirm(u32),
    /// Everyone tallies and signs.
    Signature,
    /// The document is there.
    Publish,
}

/// Why a schedule cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Epochs out of range.
    #[error("epochs last between 5 seconds and 7 days")]
    Epoch,
    /// Too long for the epoch or too short for a network.
    #[error("a voting round must be over by the middle of an epoch, and a phase lasts 200 milliseconds at least")]
    Phase,
}

const EPOCH_MIN: u64 = 5_000;
const EPOCH_MAX: u64 = 7 * 86_400_000;
const PHASE_MIN: u64 = 200;

/// Relay steps that make every honest authority hold the same votes although `faulty` of them lie (Dolev and Strong 1983,
/// section 4: f + 1 rounds, of which the vote itself is the first). At least one, so that a cut link costs nothing.
pub fn relay_steps(faulty: usize) -> u32 {
    u32::try_from(faulty.clamp(1, AUTHORITIES_MAX)).unwrap_or(1)
}

/// Phases before the document is published: descriptors, vote, reveal, signature, and twice the relay steps.
fn phases(faulty: usize) -> u32 {
    4 + 2 * relay_steps(faulty)
}

impl Schedule {
    /// Checks lengths for a set of authorities of which `faulty` may be hostile.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn check(&self, faulty: usize) -> Result<(), ScheduleError> {
        if !(EPOCH_MIN..=EPOCH_MAX).contains(&self.epoch_ms) {
            return Err(ScheduleError::Epoch);
        }
        let round = u64::from(phases(faulty)).saturating_mul(self.phase_ms);
        if self.phase_ms < PHASE_MIN || round > self.epoch_ms / 2 {
            return Err(ScheduleError::Phase);
        }
        Ok(())
    }

    /// Length of an epoch.
    pub fn epoch(&self) -> Duration {
        Duration::from_millis(self.epoch_ms)
    }

    /// Length of a phase.
    pub fn phase(&self) -> Duration {
        Duration::from_millis(self.phase_ms)
    }

    /// When an epoch of at least 1 begins. Epoch 0 has no beginning of its own: see [`Schedule::round_start`].
    pub fn start(&self, epoch: Epoch) -> Timestamp {
        let later = self.epoch_ms.saturating_mul(epoch.0.saturating_sub(1));
        Timestamp::from_secs(self.genesis) + Duration::from_millis(later)
    }

    /// The epoch that `now` lies in; 0 before the genesis.
    pub fn epoch_at(&self, now: Timestamp) -> Epoch {
        let genesis = Timestamp::from_secs(self.genesis);
        if now < genesis {
            return Epoch(0);
        }
        Epoch(1 + u64::try_from(now.since(genesis).as_nanos() / self.epoch().as_nanos().max(1)).unwrap_or(u64::MAX - 1))
    }

    /// When the round for an epoch begins: so that it ends half an epoch before it, or just before the genesis.
    pub fn round_start(&self, target: Epoch, faulty: usize) -> Timestamp {
        match target.0 {
            0 | 1 => self.start(Epoch(1)) - self.phase().saturating_mul(phases(faulty) + 1),
            epoch => {
                let before = self.epoch() / 2 + self.phase().saturating_mul(phases(faulty));
                self.start(Epoch(epoch)) - before.min(self.epoch())
            }
        }
    }

    /// When a phase of the round for `target` begins.
    pub fn phase_start(&self, target: Epoch, phase: Phase, faulty: usize) -> Timestamp {
        let steps = relay_steps(faulty);
        let before = match phase {
            Phase::Descriptors => 0,
            Phase::Vote => 1,
            Phase::Certify(step) => 1 + step.clamp(1, steps),
            Phase::Reveal => 2 + steps,
            Phase::Confirm(step) => 2 + steps + step.clamp(1, steps),
            Phase::Signature => 3 + 2 * steps,
            Phase::Publish => phases(faulty),
        };
        self.round_start(target, faulty) + self.phase().saturating_mul(before)
    }

    /// The phase of the round for `target`; `None` before the round begins and once its epoch has begun.
    pub fn phase_at(&self, target: Epoch, now: Timestamp, faulty: usize) -> Option<Phase> {
        if now < self.round_start(target, faulty) || now >= self.start(target) {
            return None;
        }
        self.order(faulty).rev().find(|phase| now >= self.phase_start(target, *phase, faulty))
    }

    /// The next moment after `now` at which a phase of the round for `target` begins, or its epoch.
    pub fn next_phase(&self, target: Epoch, now: Timestamp, faulty: usize) -> Timestamp {
        let starts = self.order(faulty).map(|phase| self.phase_start(target, phase, faulty));
        starts.chain([self.start(target)]).find(|start| *start > now).unwrap_or(Timestamp::FAR_FUTURE)
    }

    /// The epoch whose round is on at `now`.
    pub fn target_at(&self, now: Timestamp) -> Epoch {
        Epoch(self.epoch_at(now).0.saturating_add(1))
    }

    /// The epoch that descriptors are taken for at `now`: of the round that is on until its vote, of the next one after that.
    pub fn descriptors_for(&self, now: Timestamp, faulty: usize) -> Epoch {
        let target = self.target_at(now);
        if now < self.phase_start(target, Phase::Vote, faulty) { target } else { Epoch(target.0.saturating_add(1)) }
    }

    fn order(&self, faulty: usize) -> impl DoubleEndedIterator<Item = Phase> + use<> {
        let steps = relay_steps(faulty);
        [Phase::Descriptors, Phase::Vote]
            .into_iter()
            .chain((1..=steps).map(Phase::Certify))
            .chain([Phase::Reveal])
            .chain((1..=steps).map(Phase::Confirm))
            .chain([Phase::Signature, Phase::Publish])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOURLY: Schedule = Schedule { genesis: 1_000_000, epoch_ms: 3_600_000, phase_ms: 225_000 };

    #[test]
    fn the_first_round_ends_a_phase_before_the_genesis() {
        let genesis = Timestamp::from_secs(1_000_000);
        assert_eq!(HOURLY.phase_start(Epoch(1), Phase::Publish, 1), genesis - HOURLY.phase());
        assert_eq!(HOURLY.epoch_at(genesis - Duration::from_nanos(1)), Epoch(0));
        assert_eq!((HOURLY.epoch_at(genesis), HOURLY.start(Epoch(2))), (Epoch(1), genesis + HOURLY.epoch()));
    }

    #[test]
    fn phases_follow_one_another() {
        let start = HOURLY.start(Epoch(4));
        let at = |phases: u32| HOURLY.phase_at(Epoch(5), start + HOURLY.phase() * phases, 2);
        let expected = [
            Phase::Descriptors,
            Phase::Vote,
            Phase::Certify(1),
            Phase::Certify(2),
            Phase::Reveal,
            Phase::Confirm(1),
            Phase::Confirm(2),
            Phase::Signature,
            Phase::Publish,
            Phase::Publish,
        ];
        assert_eq!(std::array::from_fn(|n| at(n as u32).expect("within the epoch")), expected);
        assert_eq!(HOURLY.phase_at(Epoch(5), start - Duration::from_nanos(1), 2), None);
        assert_eq!(HOURLY.phase_at(Epoch(5), HOURLY.start(Epoch(5)), 2), None);
    }

    #[test]
    fn descriptors_of_the_next_epoch_are_taken_from_the_vote_on() {
        let vote = HOURLY.phase_start(Epoch(5), Phase::Vote, 1);
        assert_eq!(HOURLY.descriptors_for(vote - Duration::from_nanos(1), 1), Epoch(5));
        assert_eq!(HOURLY.descriptors_for(vote, 1), Epoch(6));
    }

    #[test]
    fn a_round_must_end_by_the_middle_of_an_epoch() {
        assert_eq!(HOURLY.check(1), Ok(()));
        assert_eq!(Schedule { phase_ms: 300_000, ..HOURLY }.check(1), Ok(()));
        assert_eq!(Schedule { phase_ms: 300_001, ..HOURLY }.check(1), Err(ScheduleError::Phase));
        assert_eq!(Schedule { phase_ms: 199, ..HOURLY }.check(1), Err(ScheduleError::Phase));
        assert_eq!(Schedule { epoch_ms: 4_999, ..HOURLY }.check(1), Err(ScheduleError::Epoch));
        assert_eq!(Schedule { epoch_ms: EPOCH_MAX + 1, ..HOURLY }.check(1), Err(ScheduleError::Epoch));
    }

    proptest! {
        #[test]
        fn every_moment_of_a_round_lies_in_the_phase_that_began_last(after in 0u64..40_000_000, faulty in 0usize..3, phase_ms in 200u64..225_000) {
            let schedule = Schedule { phase_ms, ..HOURLY };
            let now = Timestamp::from_secs(1_000_000) + Duration::from_millis(after);
            let target = schedule.target_at(now);
            match schedule.phase_at(target, now, faulty) {
                Some(phase) => prop_assert!(schedule.phase_start(target, phase, faulty) <= now),
                None => prop_assert!(now < schedule.round_start(target, faulty)),
            }
            prop_assert!(schedule.next_phase(target, now, faulty) > now);
            prop_assert!(schedule.next_phase(target, now, faulty) <= schedule.start(target));
            prop_assert_eq!(schedule.phase_start(target, Phase::Publish, faulty) + schedule.epoch() / 2, schedule.start(target));
        }
    }
}
