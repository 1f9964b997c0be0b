//! Retransmission as two small state machines, one for writes and one for reads. Pure: time and randomness come in.
//!
//! Copies and repeats do not depend on losses, so that an observer who drops a packet learns nothing from what follows:
//! every box, real or decoy, is sent 2 + G times whatever is answered (G geometric, mean 1/4), and every answered Get is asked
//! again with probability 1/8. Only a box that is not stored after its copies, and a Get without any answer, go on.
//!
//! Two sendings at least, as an entry that lets one answer vanish would else see half of its client's boxes written once more (E19).
//! Further copies come after gaps like those of a box that nobody has stored, so that one may be taken for the other.

use std::time::Duration;
use veilpost_packet::{
    random::{EngineRng, exponential, geometric, one_in},
    time::Timestamp,
};

/// Sendings of a box that are always planned.
const SENDINGS: u32 = 2;
/// Fixed part of the gap before the second sending.
const COPY_GAP_FLOOR: Duration = Duration::from_secs(30);
/// Mean of the exponential part of the gap before the second sending.
const COPY_GAP_MEAN: Duration = Duration::from_secs(30);
/// Mean number of planned copies beyond these.
const COPIES_MEAN: f64 = 0.25;
/// Mean gap before further copies, and before sending again what is not stored after them.
const RESEND_MEAN: Duration = Duration::from_secs(600);
/// Fixed part of the gap before a repeated Get.
const REPEAT_GAP_FLOOR: Duration = Duration::from_secs(60);
/// Mean of the exponential part of the gap before a repeated Get.
const REPEAT_GAP_MEAN: Duration = Duration::from_secs(300);
/// One answered Get in this many is repeated.
const REPEAT_ONE_IN: u32 = 8;
/// Quick tries of one Get: two for each of two holders. A single holder gets them all while K is 1.
pub const QUICK_GETS: u32 = 4;
/// Tries of one Get that fit, with the quick ones, into the two hours that a message waits for earlier ones
/// (`core::holding`): the quick four take 18 minutes on average, the further six 66 more, and of ten nine are out within the
/// two hours. If a try fails once in three times, whatever the reason, nine fail together once in 20,000 boxes; the four of
/// before failed once in 80. What lies between is what a conversation loses when its session has gone on without them.
pub const HELD_GETS: u32 = 10;
/// Fixed part and mean of the rest of the gap between those.
const HELD_GET_GAP: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// Tries after which the gap grows once more, so that the last reach over a week's outage.
const PATIENT_GETS: u32 = 14;
/// Mean gap before a Get that stays unanswered after those tries.
const SLOW_GET_MEAN: Duration = Duration::from_secs(6 * 3_600);
/// Mean gap before the last ones.
const LAST_GET_MEAN: Duration = Duration::from_secs(24 * 3_600);
/// Mean gap before asking again for what was asked for before a restart.
const RESUME_MEAN: Duration = Duration::from_secs(60);
/// Askings of one box in all, whatever restarts happen in between. A mailbox that watches the network needs about 60 askings
/// of one id to find the asker (ARCHITECTURE.md); this stays far below.
pub const GETS_MAX: u32 = 20;
/// Of these, askings whose answer could not come because the link broke and that do not count as tries of a holder.
pub const BROKEN_MAX: u32 = 4;

/// How much faster than in a real network the fixed gaps run (`Params::hurry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(pub u32);

impl Pace {
    /// A period, hurried.
    pub fn of(self, period: Duration) -> Duration {
        period / self.0.max(1)
    }

    /// `floor + Exp(mean)`, both hurried.
    pub fn gap(self, rng: &mut EngineRng, floor: Duration, mean: Duration) -> Duration {
        self.of(floor) + exponential(rng, self.of(mean))
    }
}

/// The gap before a Get that repeats another one.
pub fn repeat_gap(rng: &mut EngineRng, pace: Pace) -> Duration {
    pace.gap(rng, REPEAT_GAP_FLOOR, REPEAT_GAP_MEAN)
}

/// One box on its way to a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutRetry {
    /// Sendings that are planned whatever is answered: 2 + G.
    pub planned: u32,
    /// Sendings so far.
    pub sends: u32,
    /// A mailbox has signed that it is stored.
    pub stored: bool,
    /// When to send next, in an upkeep tick. `None`: the first sending waits for a Put slot, or nothing is left to do.
    pub next: Option<Timestamp>,
}

impl PutRetry {
    /// A box that has not been sent; draws how many copies will be.
    pub fn new(rng: &mut EngineRng) -> Self {
        Self { planned: SENDINGS + geometric(rng, COPIES_MEAN), sends: 0, stored: false, next: None }
    }

    /// A box that was sent before and is to be put once more, under a new signature or because its mailbox lost it: as often as
    /// a fresh one, but in upkeep ticks from the first sending on.
    pub fn again(now: Timestamp, rng: &mut EngineRng, pace: Pace) -> Self {
        let first = pace.gap(rng, COPY_GAP_FLOOR, COPY_GAP_MEAN);
        Self { next: Some(now + first), ..Self::new(rng) }
    }

    /// It waits for a Put slot.
    pub fn is_fresh(&self) -> bool {
        self.sends == 0 && self.next.is_none()
    }

    /// It was sent.
    pub fn handle_sent(&mut self, now: Timestamp, rng: &mut EngineRng, pace: Pace) {
        self.sends = self.sends.saturating_add(1);
        // Drawn whether it is needed or not, so that what was answered never shifts the draws that follow.
        let (copy, resend) = (pace.gap(rng, COPY_GAP_FLOOR, COPY_GAP_MEAN), pace.gap(rng, Duration::ZERO, RESEND_MEAN));
        self.next = if self.sends < SENDINGS {
            Some(now + copy)
        } else if self.sends < self.planned || !self.stored {
            Some(now + resend)
        } else {
            None
        };
    }

    /// A mailbox signed for it.
    pub fn handle_stored(&mut self) {
        self.stored = true;
        if self.sends >= self.planned {
            self.next = None;
        }
    }

    /// Nothing is left to send.
    pub fn is_finished(&self) -> bool {
        self.stored && self.sends >= self.planned
    }
}

/// One box that is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetRetry {
    /// Askings so far, by all processes.
    pub asked: u32,
    /// Askings of this process. What an earlier one asked for was most likely lost with it, and says nothing against the
    /// mailbox: so the quick tries begin anew.
    pub tries: u32,
    /// Askings of this process that are made up for, since their answers were lost with the link.
    pub broken: u32,
    /// Some asking was answered.
    pub answered: bool,
    /// When to ask next, in an upkeep tick. `None`: the first asking waits for the get clock, or nothing is left to do.
    pub next: Option<Timestamp>,
}

impl GetRetry {
    /// A box that was named by a digest.
    pub fn new() -> Self {
        Self { asked: 0, tries: 0, broken: 0, answered: false, next: None }
    }

    /// A box that was asked for by a process that has ended: its answer is lost with that process, so it is asked for again.
    pub fn resumed(asked: u32, now: Timestamp, rng: &mut EngineRng, pace: Pace) -> Self {
        let again = pace.gap(rng, Duration::ZERO, RESUME_MEAN);
        let next = (0 < asked && asked < GETS_MAX).then_some(now + again);
        Self { asked, next, ..Self::new() }
    }

    /// It was asked for.
    pub fn handle_sent(&mut self, now: Timestamp, rng: &mut EngineRng, pace: Pace) {
        self.asked = self.asked.saturating_add(1);
        self.tries = self.tries.saturating_add(1);
        let counted = self.counted();
        let (floor, mean) = if self.tries < QUICK_GETS {
            (REPEAT_GAP_FLOOR, REPEAT_GAP_MEAN)
        } else if counted < HELD_GETS {
            HELD_GET_GAP
        } else if counted < PATIENT_GETS {
            (Duration::ZERO, SLOW_GET_MEAN)
        } else {
            (Duration::ZERO, LAST_GET_MEAN)
        };
        let gap = pace.gap(rng, floor, mean);
        self.next = if self.answered || self.asked >= GETS_MAX { None } else { Some(now + gap) };
    }

    /// Askings that say something against whoever was asked.
    fn counted(&self) -> u32 {
        self.asked.saturating_sub(self.broken)
    }

    /// The link broke while the answer to an asking of `sent` was still to come. It is asked for again as after a restart; some
    /// such askings are made up for, so that a link which breaks often does not use up what there is. Beyond those each counts
    /// and keeps its gap, or such a link would soon have a mailbox see too many.
    pub fn handle_broken(&mut self, sent: Timestamp, rng: &mut EngineRng, pace: Pace) {
        let again = sent + pace.gap(rng, Duration::ZERO, RESUME_MEAN);
        if self.answered || self.tries == 0 || self.broken >= BROKEN_MAX || self.asked >= GETS_MAX {
            return;
        }
        self.broken += 1;
        self.tries -= 1;
        self.next = Some(self.next.map_or(again, |next| next.min(again)));
    }

    /// Any answer came. One time in eight the planned repeat stays.
    pub fn handle_answered(&mut self, rng: &mut EngineRng) {
        let kept = one_in(rng, REPEAT_ONE_IN) && self.asked == 1;
        if !(self.answered || kept) {
            self.next = None;
        }
        self.answered = true;
    }

    /// Nothing is left to ask.
    pub fn is_finished(&self) -> bool {
        self.asked > 0 && self.next.is_none()
    }
}

impl Default for GetRetry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use veilpost_packet::random::seeded;

    const START: Timestamp = Timestamp::from_secs(1_000_000);
    const REAL: Pace = Pace(1);

    /// Sends until nothing is planned, with `Stored` answered at once or never within `sendings`.
    fn sendings(seed: u8, stored: bool, most: u32) -> u32 {
        let (mut rng, mut now) = (seeded([seed; 32]), START);
        let mut put = PutRetry::new(&mut rng);
        loop {
            put.handle_sent(now, &mut rng, REAL);
            if stored {
                put.handle_stored();
            }
            match put.next {
                Some(next) if put.sends < most => now = next,
                _ => return put.sends,
            }
        }
    }

    #[test]
    fn a_stored_box_is_still_sent_as_often_as_planned() {
        let total: u32 = (0..200).map(|seed| sendings(seed, true, 1_000)).sum();
        // 2 + G with mean 1/4: 450 expected, standard deviation 8.
        assert!((410..490).contains(&total), "{total}");
    }

    #[test]
    fn an_unstored_box_is_sent_until_it_is_stored() {
        assert!((0..20).all(|seed| sendings(seed, false, 50) == 50));
    }

    #[test]
    fn the_times_of_copies_do_not_depend_on_the_answer() {
        for seed in 0..50 {
            let run = |stored: bool| {
                let mut rng = seeded([seed; 32]);
                let mut put = PutRetry { planned: 3, ..PutRetry::new(&mut rng) };
                let mut times = Vec::new();
                put.handle_sent(START, &mut rng, REAL);
                if stored {
                    put.handle_stored();
                }
                times.extend(put.next);
                put.handle_sent(put.next.unwrap(), &mut rng, REAL);
                times.extend(put.next);
                times
            };
            assert_eq!(run(true), run(false));
        }
    }

    #[test]
    fn one_answered_get_in_eight_is_repeated_once() {
        let mut rng = seeded([3; 32]);
        let mut repeats = 0;
        for _ in 0..4_000 {
            let mut get = GetRetry::new();
            get.handle_sent(START, &mut rng, REAL);
            get.handle_answered(&mut rng);
            if let Some(next) = get.next {
                repeats += 1;
                assert!(next >= START + REPEAT_GAP_FLOOR);
                get.handle_sent(next, &mut rng, REAL);
                assert!(get.is_finished());
            }
        }
        assert!((420..580).contains(&repeats), "{repeats}");
    }

    #[test]
    fn an_unanswered_get_stops_at_its_bound() {
        let (mut rng, mut get, mut now) = (seeded([4; 32]), GetRetry::new(), START);
        loop {
            get.handle_sent(now, &mut rng, REAL);
            match get.next {
                Some(next) => now = next,
                None => break,
            }
        }
        assert_eq!(get.asked, GETS_MAX);
    }

    #[test]
    fn nine_tries_fit_into_the_two_hours_that_a_message_waits_for_earlier_ones() {
        let within = |seed: u8| {
            let (mut rng, mut get, mut now) = (seeded([seed; 32]), GetRetry::new(), START);
            while now.since(START) < Duration::from_secs(7_200) {
                get.handle_sent(now, &mut rng, REAL);
                now = get.next.unwrap();
            }
            get.asked
        };
        let tries: Vec<u32> = (0..200).map(within).collect();
        let nine = tries.iter().filter(|tries| **tries >= 9).count();
        assert!(tries.iter().all(|tries| (5..=PATIENT_GETS).contains(tries)) && nine > 180, "{nine}");
    }

    #[test]
    fn the_last_tries_reach_over_days_of_an_outage() {
        let last = |seed: u8| {
            let (mut rng, mut get, mut now) = (seeded([seed; 32]), GetRetry::new(), START);
            while get.asked < GETS_MAX {
                get.handle_sent(now, &mut rng, REAL);
                now = get.next.unwrap_or(now);
            }
            now.since(START).as_secs() / 86_400
        };
        let mean = (0..100).map(last).sum::<u64>() / 100;
        assert!((5..8).contains(&mean), "{mean} days");
    }

    #[test]
    fn a_get_whose_answer_a_restart_lost_is_asked_again() {
        let mut rng = seeded([5; 32]);
        let resumed = GetRetry::resumed(1, START, &mut rng, REAL);
        assert!(!resumed.is_finished() && resumed.next.unwrap() >= START);
        assert!(GetRetry::resumed(GETS_MAX, START, &mut rng, REAL).is_finished());
        assert_eq!(GetRetry::resumed(0, START, &mut rng, REAL), GetRetry::new());
    }

    #[test]
    fn a_get_whose_answer_a_broken_link_lost_does_not_count_as_a_try_four_times() {
        let (mut rng, mut get) = (seeded([7; 32]), GetRetry::new());
        for broken in 1..=BROKEN_MAX {
            get.handle_sent(START, &mut rng, REAL);
            get.handle_broken(START, &mut rng, REAL);
            assert_eq!((get.asked, get.tries, get.counted()), (broken, 0, 0));
            assert!(get.next.unwrap() < START + RESUME_MEAN * 20);
        }
        get.handle_sent(START, &mut rng, REAL);
        let next = get.next;
        get.handle_broken(START, &mut rng, REAL);
        assert_eq!((get.tries, get.counted(), get.next), (1, 1, next), "the fifth counts and keeps its gap");
        // After the last asking of all there is none, whatever became of its answer.
        let mut last = GetRetry { asked: GETS_MAX - 1, ..GetRetry::new() };
        last.handle_sent(START, &mut rng, REAL);
        last.handle_broken(START, &mut rng, REAL);
        assert!(last.is_finished());
        // What was answered is not asked for again.
        let mut answered = GetRetry::new();
        answered.handle_sent(START, &mut rng, REAL);
        answered.answered = true;
        let before = answered;
        answered.handle_broken(START, &mut rng, REAL);
        assert_eq!(answered, before);
    }

    #[test]
    fn after_a_restart_the_quick_tries_begin_anew() {
        let mut rng = seeded([6; 32]);
        let mut get = GetRetry::resumed(HELD_GETS, START, &mut rng, REAL);
        for _ in 1..QUICK_GETS {
            get.handle_sent(START, &mut rng, REAL);
            assert!(get.next.unwrap() < START + REPEAT_GAP_FLOOR + REPEAT_GAP_MEAN * 20);
        }
        let slow: Duration = (0..50)
            .map(|_| {
                let mut get = get;
                get.handle_sent(START, &mut rng, REAL);
                get.next.unwrap().since(START)
            })
            .sum();
        assert!(slow > SLOW_GET_MEAN * 25, "{slow:?}");
    }

    proptest! {
        #[test]
        fn neither_restarts_nor_broken_links_raise_the_number_of_askings(events in proptest::collection::vec(0..4u8, 1..200), seed: [u8; 32]) {
            let (mut rng, mut get, mut sent) = (seeded(seed), GetRetry::new(), 0);
            for event in events {
                match event {
                    0 => get = GetRetry::resumed(get.asked, START, &mut rng, REAL),
                    1 => get.handle_broken(START, &mut rng, REAL),
                    _ if !get.is_finished() => {
                        get.handle_sent(START, &mut rng, REAL);
                        sent += 1;
                    }
                    _ => {}
                }
            }
            prop_assert!(sent <= GETS_MAX, "{}", sent);
        }

        #[test]
        fn whatever_happens_a_finished_put_is_stored_and_a_waiting_one_has_a_time(events in proptest::collection::vec(any::<bool>(), 1..60), seed: [u8; 32]) {
            let (mut rng, mut now) = (seeded(seed), START);
            let mut put = PutRetry::new(&mut rng);
            for sent in events {
                if sent {
                    put.handle_sent(now, &mut rng, REAL);
                } else {
                    put.handle_stored();
                }
                now = put.next.unwrap_or(now);
                if put.sends > 0 {
                    prop_assert_eq!(put.next.is_none(), put.is_finished());
                }
            }
        }
    }
}
