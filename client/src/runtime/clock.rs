//! Network time on a person's machine, which sleeps and whose clock is set now and then.
//!
//! Two clocks are read together: the wall clock, and one that nobody can set and that goes on while the machine sleeps
//! (Linux: `CLOCK_BOOTTIME`). Where they differ by more than [`DRIFT_MAX`] since the last look, the wall clock was set. Time then goes
//! on from the wall clock, as network time must, ahead or back, and the engine is told by how much, so that ticks move
//! with it: they are due after so much time that really passes.

use crate::core::ClockJump;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use veilpost_packet::time::Timestamp;

/// The wall clock may be off from what passes by this before it counts as set: clocks of computers are slewed by less.
const DRIFT_MAX: Duration = Duration::from_secs(1);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    /// Since some moment of the past; never set.
    steady: Duration,
}

impl Reading {
    fn take() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall: Timestamp::ZERO + wall, steady: steady() }
    }
}

/// Follows the wall clock, and notices when it was set.
#[derive(Debug)]
pub(super) struct Clock {
    last: Timestamp,
    read: Duration,
}

impl Clock {
    /// Starts at the wall clock.
    pub(super) fn start() -> Self {
        Self::at(Reading::take())
    }

    fn at(reading: Reading) -> Self {
        Self { last: reading.wall, read: reading.steady }
    }

    /// Now, and the jump of the wall clock since the last look if there was one.
    pub(super) fn now(&mut self) -> (Timestamp, Option<ClockJump>) {
        self.advance(Reading::take())
    }

    fn advance(&mut self, reading: Reading) -> (Timestamp, Option<ClockJump>) {
        let before = self.last + reading.steady.saturating_sub(self.read);
        self.read = reading.steady;
        let off = reading.wall.since(before).max(before.since(reading.wall));
        if off <= DRIFT_MAX {
            self.last = before;
            return (before, None);
        }
        self.last = reading.wall;
        (reading.wall, Some(ClockJump { before, after: reading.wall }))
    }
}

#[cfg(target_os = "linux")]
fn steady() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// Stands still while the machine sleeps, so that a sleep looks as if the clock had been set ahead: harmless but for the warning.
#[cfg(not(target_os = "linux"))]
fn steady() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn reading(wall: Timestamp, steady: u32) -> Reading {
        Reading { wall, steady: SECOND * steady }
    }

    #[test]
    fn a_machine_that_sleeps_wakes_at_the_right_time_and_has_not_jumped() {
        let mut clock = Clock::at(reading(NOON, 10));
        assert_eq!(clock.advance(reading(NOON + SECOND * 30_000, 30_010)), (NOON + SECOND * 30_000, None));
    }

    #[test]
    fn a_wall_clock_that_is_set_is_followed_both_ways_and_told_once() {
        for after in [NOON + SECOND * 7_200, NOON - SECOND * 7_200, NOON - SECOND * 90] {
            let mut clock = Clock::at(reading(NOON, 10));
            let jump = ClockJump { before: NOON + SECOND, after };
            assert_eq!(clock.advance(reading(after, 11)), (after, Some(jump)));
            assert_eq!(clock.advance(reading(after + SECOND, 12)), (after + SECOND, None));
        }
    }

    #[test]
    fn up_to_a_second_off_is_drift_and_time_goes_on_as_it_really_passes() {
        let mut clock = Clock::at(reading(NOON, 10));
        assert_eq!(clock.advance(reading(NOON + SECOND * 2, 11)), (NOON + SECOND, None), "a second ahead");
        assert_eq!(clock.advance(reading(NOON + SECOND, 12)), (NOON + SECOND * 2, None), "a second behind");
        let far = NOON + SECOND * 4 + Duration::from_nanos(1);
        assert_eq!(clock.advance(reading(far, 13)), (far, Some(ClockJump { before: NOON + SECOND * 3, after: far })));
    }

    #[test]
    fn the_clocks_of_this_machine_can_be_read() {
        let mut clock = Clock::start();
        let (first, jump) = clock.now();
        assert!(first.as_secs() > 1_700_000_000 && jump.is_none());
        assert!(clock.now().0 >= first);
    }
}
