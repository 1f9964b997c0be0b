//! The three Poisson clocks of a client, and what they send. Pure: time and randomness come in.
//!
//! The clocks run while the client is online, whatever anyone does. They are independent of each other, of the user and of
//! replies; their gaps are exact, uncapped exponentials with means from the network document. No queue changes a rate.
//!
//! A pause of the process or machine is not made up for. A clock of the computer that is set ahead or back moves the ticks with it,
//! so that each is as far away as it was.

use std::collections::VecDeque;
use veilpost_packet::{
    random::{EngineRng, exponential, fork, one_in},
    time::Timestamp,
};
use veilpost_pki::Rates;

/// What a tick is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tick {
    /// Send clock, one in [`Rates::put_slot`]: the next queued Put, else a decoy Put.
    PutSlot,
    /// Send clock, the others: a due copy, repeat or Ack, else a Loop.
    Upkeep,
    /// Get clock: the oldest digest hit, else a Loop.
    Get,
    /// Loop clock: a Want if digests are missing, else a Loop; without mixes both.
    Loop,
}

/// A tick this late is not made up for: after sleep or a stopped process a burst would show how long it was.
const LATE: std::time::Duration = std::time::Duration::from_secs(2);

#[derive(Debug)]
struct Clock {
    due: Timestamp,
    rng: EngineRng,
}

impl Clock {
    fn new(now: Timestamp, mean: std::time::Duration, rng: &mut EngineRng) -> Self {
        let mut rng = fork(rng);
        Self { due: now + exponential(&mut rng, mean), rng }
    }

    /// True if the clock ticks; the next tick follows from this one's own time, not from when it was noticed.
    fn poll(&mut self, now: Timestamp, mean: std::time::Duration) -> bool {
        if now < self.due {
            return false;
        }
        let late = now.since(self.due) > LATE;
        let from = if late { now } else { self.due };
        self.due = from + exponential(&mut self.rng, mean);
        !late
    }

    /// What is left to wait stays what it was.
    fn handle_jump(&mut self, before: Timestamp, after: Timestamp) {
        self.due = after + self.due.since(before);
    }
}

/// The three clocks.
#[derive(Debug)]
pub struct Clocks {
    send: Clock,
    get: Clock,
    looped: Clock,
    slots: EngineRng,
}

impl Clocks {
    /// Starts the clocks. Each draws from a generator of its own.
    pub fn start(now: Timestamp, rates: &Rates, rng: &mut EngineRng) -> Self {
        Self {
            send: Clock::new(now, rates.send_gap, rng),
            get: Clock::new(now, rates.get_gap, rng),
            looped: Clock::new(now, rates.loop_gap, rng),
            slots: fork(rng),
        }
    }

    /// The next tick that is due, if any.
    pub fn poll(&mut self, now: Timestamp, rates: &Rates) -> Option<Tick> {
        if self.send.poll(now, rates.send_gap) {
            let put_slot = one_in(&mut self.slots, rates.put_slot);
            return Some(if put_slot { Tick::PutSlot } else { Tick::Upkeep });
        }
        if self.get.poll(now, rates.get_gap) {
            return Some(Tick::Get);
        }
        self.looped.poll(now, rates.loop_gap).then_some(Tick::Loop)
    }

    /// The computer's clock was set: what it calls `after` it would have called `before`.
    pub fn handle_jump(&mut self, before: Timestamp, after: Timestamp) {
        for clock in [&mut self.send, &mut self.get, &mut self.looped] {
            clock.handle_jump(before, after);
        }
    }

    /// When the next tick is due.
    pub fn next_wake(&self) -> Timestamp {
        self.send.due.min(self.get.due).min(self.looped.due)
    }
}

/// Packets that are complete and wait for a tick, by what they are for. `P` is a finished packet.
///
/// Whatever a tick sends was complete before the tick. Loops are for all clocks alike: they carry nothing.
#[derive(Debug)]
pub struct Ready<P> {
    /// Real Puts in order.
    pub puts: VecDeque<P>,
    /// A decoy Put.
    pub decoy: Option<P>,
    /// A due copy, repeat or Ack.
    pub upkeep: Option<P>,
    /// Gets in order.
    pub gets: VecDeque<P>,
    /// Loops.
    pub loops: VecDeque<P>,
}

/// Real Puts and Gets that are kept ready.
pub const READY_AHEAD: usize = 2;
/// Loops that are kept ready: one for each clock, and one more for a tick right behind another.
pub const LOOPS_AHEAD: usize = 4;

impl<P> Default for Ready<P> {
    fn default() -> Self {
        Self { puts: VecDeque::new(), decoy: None, upkeep: None, gets: VecDeque::new(), loops: VecDeque::new() }
    }
}

impl<P> Ready<P> {
    /// What this tick sends. `None` only right after a start, before anything is complete.
    pub fn take(&mut self, tick: Tick) -> Option<P> {
        let chosen = match tick {
            Tick::PutSlot => self.puts.pop_front().or_else(|| self.decoy.take()),
            Tick::Upkeep => self.upkeep.take(),
            Tick::Get => self.gets.pop_front(),
            Tick::Loop => None,
        };
        chosen.or_else(|| self.loops.pop_front())
    }

    /// Takes out the packets that came too late to be sent, of all kinds.
    pub fn take_stale(&mut self, stale: impl Fn(&P) -> bool) -> Vec<P> {
        let mut taken = Vec::new();
        for queue in [&mut self.puts, &mut self.gets, &mut self.loops] {
            let (gone, kept) = std::mem::take(queue).into_iter().partition::<VecDeque<P>, _>(&stale);
            taken.extend(gone);
            *queue = kept;
        }
        for one in [&mut self.decoy, &mut self.upkeep] {
            taken.extend(one.take_if(|packet| stale(packet)));
        }
        taken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, time::Duration};
    use veilpost_packet::{profile::Profile, random::seeded};
    use veilpost_pki::Params;

    fn rates() -> Rates {
        Params::standard().rates(Profile::Standard)
    }

    /// Runs the clocks for a virtual day and counts ticks.
    fn day(rates: &Rates, seed: u8) -> BTreeMap<Tick, u32> {
        let mut rng = seeded([seed; 32]);
        let (start, mut counts) = (Timestamp::from_secs(1_000), BTreeMap::new());
        let mut clocks = Clocks::start(start, rates, &mut rng);
        while clocks.next_wake() < start + Duration::from_secs(86_400) {
            let now = clocks.next_wake();
            while let Some(tick) = clocks.poll(now, rates) {
                *counts.entry(tick).or_insert(0) += 1;
            }
        }
        counts
    }

    #[test]
    fn a_day_of_ticks_has_the_documents_rates() {
        for (profile, slower) in [(Profile::Standard, 1.0), (Profile::Metered, 4.0)] {
            let counts = day(&Params::standard().rates(profile), 1);
            let near = |tick: Tick, expected: f64| {
                let (found, expected) = (f64::from(counts[&tick]), expected / slower);
                assert!((found - expected).abs() < 5.0 * expected.sqrt(), "{tick:?}: {found} instead of {expected}");
            };
            near(Tick::PutSlot, 86_400.0 / 2.0 / 4.0);
            near(Tick::Upkeep, 86_400.0 / 2.0 * 0.75);
            near(Tick::Get, 86_400.0 / 3.0);
            near(Tick::Loop, 86_400.0 / 30.0);
        }
    }

    #[test]
    fn after_an_hour_of_sleep_no_burst_follows() {
        let (rates, mut rng) = (rates(), seeded([2; 32]));
        let mut clocks = Clocks::start(Timestamp::from_secs(0), &rates, &mut rng);
        let woken = Timestamp::from_secs(3_600);
        assert_eq!(std::iter::from_fn(|| clocks.poll(woken, &rates)).count(), 0);
        assert!(clocks.next_wake() > woken);
    }

    /// What may happen to a computer for some seconds.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Runs(u32),
        /// Sleeps, or stops the process.
        Pauses(u32),
        /// Its clock is set so far ahead or back; the shell says so.
        Jumps(i64),
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            4 => (1u32..300).prop_map(Fate::Runs),
            1 => (1u32..40_000).prop_map(Fate::Pauses),
            1 => (-20_000i64..20_000).prop_map(Fate::Jumps),
            1 => (-90i64..90).prop_map(Fate::Jumps),
        ]
    }

    /// Real times of all ticks, in milliseconds, and the time spent running.
    fn live(seed: u8, fates: &[Fate]) -> (Vec<u64>, u64) {
        let (rates, mut rng) = (rates(), seeded([seed; 32]));
        let (mut real, mut running, mut ticks) = (0u64, 0u64, Vec::new());
        let mut wall = Timestamp::from_secs(1_000_000);
        let mut clocks = Clocks::start(wall, &rates, &mut rng);
        for fate in fates {
            match *fate {
                Fate::Runs(seconds) => {
                    for _ in 0..u64::from(seconds) * 20 {
                        (real, running, wall) = (real + 50, running + 50, wall + Duration::from_millis(50));
                        while clocks.poll(wall, &rates).is_some() {
                            ticks.push(real);
                        }
                    }
                }
                Fate::Pauses(seconds) => {
                    real += u64::from(seconds) * 1_000;
                    wall = wall + Duration::from_secs(seconds.into());
                }
                Fate::Jumps(seconds) => {
                    let by = Duration::from_secs(seconds.unsigned_abs());
                    let after = if seconds < 0 { wall - by } else { wall + by };
                    clocks.handle_jump(wall, after);
                    wall = after;
                }
            }
        }
        (ticks, running)
    }

    proptest! {
        #[test]
        fn no_window_has_more_ticks_than_poisson_gives_and_none_is_silent_whatever_the_clock_does(
            seed: u8, fates in prop::collection::vec(fate(), 1..30),
        ) {
            let (ticks, running) = live(seed, &fates);
            let rate = rates().up();
            for window in [2_000u64, 10_000, 60_000] {
                // What a pause is late by counts as part of the window it ends in.
                let mean = (window + 2_000) as f64 / 1_000.0 * rate;
                let most = mean + 8.0 * mean.sqrt() + 8.0;
                for (at, first) in ticks.iter().enumerate() {
                    let within = ticks[at..].iter().take_while(|tick| **tick <= first + window).count();
                    prop_assert!((within as f64) < most, "{within} ticks in {window} ms");
                }
            }
            // Each pause may swallow the ticks that were due in it, and nothing else does.
            let mean = running as f64 / 1_000.0 * rate;
            let least = mean - 8.0 * mean.sqrt() - 8.0 - 6.0 * fates.len() as f64;
            prop_assert!(ticks.len() as f64 > least, "{} ticks of {mean}", ticks.len());
        }

        #[test]
        fn a_clock_that_is_set_moves_no_tick(seed: u8, jumps in prop::collection::vec(-20_000i64..20_000, 0..6)) {
            let still: Vec<_> = (0..6).map(|_| Fate::Runs(60)).collect();
            let moved: Vec<_> = still.iter().enumerate().flat_map(|(at, run)| {
                [Some(*run), jumps.get(at).map(|by| Fate::Jumps(*by))].into_iter().flatten()
            }).collect();
            prop_assert_eq!(live(seed, &still).0, live(seed, &moved).0);
        }
    }

    #[test]
    fn a_put_slot_takes_a_real_put_first_then_a_decoy_then_a_loop() {
        let mut ready = Ready::default();
        ready.puts.push_back("real");
        ready.decoy = Some("decoy");
        ready.loops.push_back("loop");
        let taken: Vec<_> = std::iter::from_fn(|| ready.take(Tick::PutSlot)).collect();
        assert_eq!(taken, ["real", "decoy", "loop"]);
    }

    #[test]
    fn stale_packets_of_every_kind_are_taken_out_and_the_others_keep_their_order() {
        let mut ready = Ready { decoy: Some(1), upkeep: Some(2), ..Ready::default() };
        ready.puts.extend([1, 2]);
        ready.gets.extend([1]);
        ready.loops.extend([2, 1, 3]);
        assert_eq!(ready.take_stale(|packet| *packet == 1), [1; 4]);
        assert_eq!((ready.decoy, ready.upkeep, ready.puts.len(), ready.gets.len()), (None, Some(2), 1, 0));
        assert_eq!(ready.loops, [2, 3]);
    }

    #[test]
    fn a_tick_without_work_sends_a_loop() {
        for tick in [Tick::Upkeep, Tick::Get, Tick::Loop] {
            let mut ready = Ready::default();
            ready.puts.push_back("real");
            ready.loops.push_back("loop");
            assert_eq!(ready.take(tick), Some("loop"), "{tick:?}");
        }
    }
}
